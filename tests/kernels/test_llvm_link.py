"""The back end and the linker: what may be linked gives the right addresses, what may not is refused by name."""

from __future__ import annotations

import ctypes
import struct

import pytest

from model_kit import LABEL_MODULE, REVERSE_MODULE, build
from smalti.errors import CompilerError
from smalti.llvm.backend import Options, emit_assembly, emit_object, emit_optimised_ir
from smalti.llvm.link import link
from smalti.llvm.team import with_team
from smalti.runtime.memory import map_code
from smalti.target.host import resolve_target
from smalti.target.target import Target, known_names

_TABLES = """
@values = internal constant [5 x i32] [i32 7, i32 11, i32 13, i32 17, i32 19], align 64
@wide = internal constant <4 x i32> <i32 1, i32 2, i32 3, i32 4>
define internal i32 @helper(i32 %x) noinline nounwind {
  %r = mul i32 %x, 3
  ret i32 %r
}
define i32 @pick(i64 %i) nounwind {
  %a = getelementptr i32, ptr @values, i64 %i
  %v = load i32, ptr %a, align 4
  %h = call i32 @helper(i32 %v)
  ret i32 %h
}
define i32 @jump(i32 %i) nounwind {
  switch i32 %i, label %other [ i32 0, label %a
    i32 1, label %b
    i32 2, label %c
    i32 3, label %d
    i32 4, label %e ]
a:
  %ra = call i32 @pick(i64 4)
  ret i32 %ra
b:
  ret i32 -5
c:
  %rc = call i32 @pick(i64 2)
  ret i32 %rc
d:
  %rd = call i32 @helper(i32 99)
  ret i32 %rd
e:
  ret i32 1234
other:
  ret i32 0
}
"""


def _native(text: str) -> dict[str, object]:
    blob = build(text)
    region = map_code(blob.code)
    functions: dict[str, object] = {"region": region}
    for name, offset in blob.entries.items():
        functions[name] = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64)(region.address + offset)
    return functions


def test_constants_calls_and_jump_tables_run() -> None:
    functions = _native(_TABLES)
    assert [functions["pick"](i) for i in range(5)] == [21, 33, 39, 51, 57]  # type: ignore[operator]
    assert [functions["jump"](i) for i in range(6)] == [57, -5, 39, 297, 1234, 0]  # type: ignore[operator]


def test_entries_are_the_global_functions() -> None:
    blob = build(_TABLES)
    assert list(blob.entries) == ["jump", "pick"]
    assert build(_TABLES) == blob


@pytest.mark.parametrize(
    "name", [*known_names(), "x86-64-v3+vnni", "x86-64-v4+bf16+vnni", "aarch64+bf16+dotprod+fp16+i8mm"]
)
@pytest.mark.parametrize("text", [_TABLES, with_team(REVERSE_MODULE), LABEL_MODULE])
def test_every_target_links(name: str, text: str) -> None:
    blob = build(text, Target.parse(name))
    assert blob.code and blob.entries
    assert build(text, Target.parse(name)).code == blob.code


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("declare void @elsewhere()\ndefine void @f() { call void @elsewhere() ret void }", "'elsewhere'"),
        ("@v = external global i32\ndefine i32 @f() { %x = load i32, ptr @v ret i32 %x }", "'v'"),
        (
            "@v = internal global i32 5\n"
            "define i32 @f(i32 %y) { %x = load i32, ptr @v store i32 %y, ptr @v ret i32 %x }",
            r"writable data \(section .data",
        ),
        (
            "@v = internal global i32 0\n"
            "define i32 @f(i32 %y) { %x = load i32, ptr @v store i32 %y, ptr @v ret i32 %x }",
            r"writable data \(section .bss",
        ),
        (
            "@v = internal thread_local global i32 3\ndefine ptr @f() { ret ptr @v }",
            "writable data|__tls_get_addr|not PC-relative",
        ),
        (
            "@t = internal constant [2 x ptr] [ptr @a, ptr @b]\n"
            "define internal i32 @a() noinline { ret i32 1 }\ndefine internal i32 @b() noinline { ret i32 2 }\n"
            "define i32 @f(i64 %i) { %p = getelementptr ptr, ptr @t, i64 %i %q = load ptr, ptr %p "
            "%x = call i32 %q() ret i32 %x }",
            "not PC-relative",
        ),
        (
            "declare float @llvm.exp.f32(float)\n"
            "define float @f(float %x) { %y = call float @llvm.exp.f32(float %x) ret float %y }",
            "'expf'",
        ),
        (
            "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)\n"
            "define void @f(ptr %p, i64 %n) { call void @llvm.memset.p0.i64(ptr %p, i8 0, i64 %n, i1 0) ret void }",
            "'memset'",
        ),
    ],
    ids=["call", "global", "data", "bss", "tls", "table of pointers", "exp", "memset"],
)
def test_refused_by_name(text: str, message: str) -> None:
    for name in ("x86-64-v3", "aarch64"):
        with pytest.raises(CompilerError, match=message):
            link(emit_object(text, Target.parse(name)))


def test_llvm_refuses_with_its_own_words() -> None:
    target = resolve_target("generic")
    with pytest.raises(CompilerError, match="expected"):
        emit_object("define i32 @f() { ret }", target)
    with pytest.raises(CompilerError, match="type"):
        emit_object("define i32 @f() { ret float 1.0 }", target)


def test_malformed_objects() -> None:
    good = emit_object(_TABLES, resolve_target("generic"))
    for bad in (b"", b"\x7fELF", good[:40], good[:200], good[:-1], b"\x7fELF\x01\x01" + good[6:]):
        with pytest.raises(CompilerError):
            link(bad)
    for at in range(64):
        changed = bytearray(good)
        changed[at] ^= 0xFF
        try:
            link(bytes(changed))
        except CompilerError:
            continue


def test_optimisation_levels_and_texts() -> None:
    target = resolve_target("generic")
    assert "pick:" in emit_assembly(_TABLES, target)
    assert "%" in emit_optimised_ir(_TABLES, target) and target.triple in emit_optimised_ir(_TABLES, target)
    slow = emit_assembly(_TABLES, target, Options(level=0))
    assert slow != emit_assembly(_TABLES, target)


def test_wide_vectors_use_wide_registers() -> None:
    text = (
        "define void @f(ptr %p) { %x = load <16 x float>, ptr %p %y = fadd <16 x float> %x, %x "
        "store <16 x float> %y, ptr %p ret void }"
    )
    assert "%zmm" in emit_assembly(text, Target.parse("x86-64-v4"))
    assert "%zmm" not in emit_assembly(text, Target.parse("x86-64-v3"))


def _arm_words(text: str) -> tuple[list[int], bytes, dict[str, int]]:
    blob = link(emit_object(text, Target.parse("aarch64")))
    return (
        [word for (word,) in struct.iter_unpack("<I", blob.code[: len(blob.code) // 4 * 4])],
        blob.code,
        dict(blob.entries),
    )


def test_arm_addresses() -> None:
    """Follow adrp + add/ldr and bl by hand: they must end at the table and at the helper."""
    words, code, entries = _arm_words(_TABLES)
    table = code.index(struct.pack("<5i", 7, 11, 13, 17, 19))
    start = entries["pick"] // 4
    pages = [i for i in range(start, start + 12) if words[i] & 0x9F000000 == 0x90000000]
    assert pages, "no adrp in pick"
    at = pages[0]
    immediate = (words[at] >> 29 & 3) | (words[at] >> 5 & 0x7FFFF) << 2
    page = (at * 4 >> 12) + (immediate - (1 << 21) if immediate >> 20 else immediate)
    low = next(words[i] >> 10 & 0xFFF for i in range(at + 1, at + 4) if words[i] & 0xFF800000 == 0x91000000)
    assert (page << 12) + low == table
    branch = next(i for i in range(start, start + 12) if words[i] >> 26 in (0b100101, 0b000101))
    distance = words[branch] & 0x3FFFFFF
    helper = branch + (distance - (1 << 26) if distance >> 25 else distance)
    assert 0 <= helper * 4 < len(code) and helper * 4 not in entries.values()
