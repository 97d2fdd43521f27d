"""Bad files: the C library refuses what Python refuses, in the same class and the same words."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smalti
from artifact_kit import Parts, forge, forge_manifest, label_manifest, plain_parts, reverse_manifest, seal
from native_kit import Library, builder, load
from smalti.artifact.format import MAX_MANIFEST_BYTES
from smalti.artifact.program import Program
from smalti.artifact.reader import open_model
from smalti.artifact.schema import manifest_json
from smalti.artifact.writer import write_programs
from smalti.errors import ModelFileError, SmaltiError
from smalti.target.host import arch, resolve_target
from smalti.target.target import Target

PARTS = plain_parts()
DATA = PARTS.data()
TEXT = manifest_json(PARTS.manifest)
TARGET = resolve_target("generic").name.encode()
HEADER = 128 + 3 * 64
FOREIGN = "aarch64" if arch() == "x86_64" else "x86-64-v2"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return load(builder(tmp_path_factory).library())


def python_says(path: Path, **options: Any) -> tuple[str, str]:
    try:
        smalti.load(path, threads=1, **options).close()
    except SmaltiError as error:
        return type(error).__name__, str(error)
    return "OK", ""


def c_says(library: Library, path: Path, **options: Any) -> tuple[str, str]:
    try:
        library.open(path, **options).close()
    except SmaltiError as error:
        return type(error).__name__, str(error)
    return "OK", ""


def compare(library: Library, path: Path, data: bytes | None = None, what: str = "", **options: Any) -> tuple[str, str]:
    """Give a file to both; return what they say."""
    if data is not None:
        path.write_bytes(data)
    want = python_says(path, **options)
    got = c_says(library, path, **options)
    assert got[0] == want[0] and got[1] == want[1].encode()[:1019].decode(errors="ignore"), what
    return got


def test_flipped_bits(library: Library, tmp_path: Path) -> None:
    rng = random.Random(1)
    bits = [*range(0, HEADER * 8, 5), *(rng.randrange(HEADER * 8, len(DATA) * 8) for _ in range(200))]
    path = tmp_path / "bad.smalti"
    for bit in bits:
        data = bytearray(DATA)
        data[bit // 8] ^= 1 << bit % 8
        assert compare(library, path, bytes(data), f"bit {bit}")[0] == (
            "NotAModelError" if bit < 64 else "DamagedModelError"
        )
    assert compare(library, path, DATA) == ("OK", "")


def test_cut_files_and_appended_bytes(library: Library, tmp_path: Path) -> None:
    rng = random.Random(2)
    path = tmp_path / "cut.smalti"
    for length in {*range(0, 330, 3), *(rng.randrange(330, len(DATA)) for _ in range(60)), len(DATA) - 1}:
        kind, text = compare(library, path, DATA[:length], f"{length} bytes")
        assert kind == ("DamagedModelError" if length >= 2 else "NotAModelError"), text
    for extra in (b"\0", b"x", bytes(4096), b"\x89SMALTI\n"):
        assert compare(library, path, DATA + extra)[0] == "DamagedModelError"


@pytest.mark.parametrize(
    "data", [b"\x89", b"GIF89a", bytes(5000), b"\x7fELF" + bytes(200), b"{}", b"\x89PNG\r\n\x1a\n"]
)
def test_something_else(library: Library, tmp_path: Path, data: bytes) -> None:
    assert compare(library, tmp_path / "other", data)[0] == "NotAModelError"


def test_versions(library: Library, tmp_path: Path) -> None:
    newer = forge(b"from the future", b"", b"", "x", sections=[(9, 9, 9, 9, b"?")], version=7)
    assert compare(library, tmp_path / "newer", newer)[0] == "ModelVersionError"
    zero = forge(TEXT, b"", PARTS.code, TARGET.decode(), version=0)
    assert compare(library, tmp_path / "zero", zero)[0] == "DamagedModelError"


def test_folders_pipes_and_devices(library: Library, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    started = time.perf_counter()
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        assert compare(library, path)[0] == "NotAModelError"
    assert compare(library, tmp_path / "missing")[0] == "ModelFileError"
    for name in ("\n é \x7f", "x" * 3000):
        assert compare(library, tmp_path / name)[0] == "ModelFileError"
    for start in (b"", DATA):
        path = tmp_path / "sparse"
        path.write_bytes(start)
        os.truncate(path, 1 << 40)
        compare(library, path)
    path.write_bytes(seal([(1, 0, 320, (1 << 40) - 320, b"")] * 3, b"", HEADER, 1 << 40))
    os.truncate(path, 1 << 40)
    assert "more than any model" in compare(library, path)[1]
    assert time.perf_counter() - started < 30


def test_expected_digest(library: Library, tmp_path: Path) -> None:
    path = PARTS.write(tmp_path / "m.smalti")
    with open_model(path) as file:
        assert file.manifest == PARTS.manifest
    assert compare(library, path, sha256="0" * 64)[0] == "DamagedModelError"
    for wrong in ("0" * 63, "g" * 64, "0" * 65, ""):
        assert compare(library, path, sha256=wrong)[0] == "UsageError"
    digest = hashlib.sha256(DATA).hexdigest()
    assert compare(library, path, sha256=digest)[0] == "OK"
    assert compare(library, path, sha256=digest.upper())[0] == "OK"


TABLES = {
    "overlap": lambda s: s[1].__setitem__(2, s[0][2]),
    "hole": lambda s: s[2].__setitem__(2, s[2][2] + 4096),
    "misaligned": lambda s: s[1].__setitem__(2, s[1][2] + 8),
    "before the header ends": lambda s: s[0].__setitem__(2, 64),
    "offset 2^64 - 1": lambda s: s[1].__setitem__(2, 2**64 - 1),
    "size 2^64 - 1": lambda s: s[1].__setitem__(3, 2**64 - 1),
    "size that wraps": lambda s: s[1].__setitem__(3, 2**64 - 4096),
    "size one more": lambda s: s[2].__setitem__(3, s[2][3] + 1),
    "size one less": lambda s: s[2].__setitem__(3, s[2][3] - 1),
    "manifest too large": lambda s: s[0].__setitem__(3, MAX_MANIFEST_BYTES + 1),
    "kind 0": lambda s: s[0].__setitem__(0, 0),
    "kind 4": lambda s: s[1].__setitem__(0, 4),
    "two manifests": lambda s: s[1].__setitem__(0, 1),
    "swapped": lambda s: (s[1].__setitem__(0, 3), s[2].__setitem__(0, 2)),
    "reserved": lambda s: s[1].__setitem__(1, 1),
    "named constants": lambda s: s[1].__setitem__(4, b"c"),
    "nameless code": lambda s: s[2].__setitem__(4, b""),
    "other target": lambda s: s[2].__setitem__(4, b"x86-64-v9"),
    "NUL inside the name": lambda s: s[2].__setitem__(4, TARGET + b"\0x"),
    "name not ASCII": lambda s: s[2].__setitem__(4, b"\xff"),
    "name of 40": lambda s: s[2].__setitem__(4, b"x" * 40),
    "no sections": lambda s: s.clear(),
    "one section": lambda s: s.__delitem__(slice(1, 3)),
    "two code sections": lambda s: s.append(list(s[2])),
    "35 sections": lambda s: s.extend([list(s[2])] * 32),
}


@pytest.mark.parametrize("what", TABLES)
def test_section_tables_with_right_checksums(library: Library, tmp_path: Path, what: str) -> None:
    sections = [
        [k + 1, 0, place, len(c), name]
        for k, (place, c, name) in enumerate(
            zip((320, 4096, 4096 * 3), (TEXT, PARTS.constants, PARTS.code), (b"", b"", TARGET), strict=True)
        )
    ]
    TABLES[what](sections)
    header = 128 + 64 * len(sections)
    body = DATA[HEADER:]
    data = seal([tuple(s) for s in sections], body, header, header + len(body))  # type: ignore[misc]
    assert compare(library, tmp_path / "bad", data)[0] == "DamagedModelError"


def test_headers_with_right_checksums(library: Library, tmp_path: Path) -> None:
    for header in (0, 127, 128, 191, 321, 2240, 2241, 2**32 - 1):
        data = seal([(1, 0, 128, 10, b"")], bytes(2500), header, 192 + 2500)
        assert compare(library, tmp_path / "bad", data)[0] == "DamagedModelError"
    padded = bytearray(DATA)
    padded[4095] = 1
    sections = [(1, 0, 320, len(TEXT), b""), (2, 0, 4096, len(PARTS.constants), b""), (3, 0, 12288, 64, TARGET)]
    data = seal(sections, bytes(padded[HEADER:]), HEADER, len(padded))
    assert "between its sections" in compare(library, tmp_path / "bad", data)[1]


# ---- manifests -------------------------------------------------------------------------------------------------------

GOOD = json.loads(TEXT)
NASTY = (None, True, -1, 0, 1, 5, 2**63 - 1, 2**63, -(2**63), 1.5, "", "x" * 4097, "é" * 4096, [], [[]], {}, {"a": 1})


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(inner for key, below in items for inner in places(below, (*path, key)))]


def replaced(path: tuple[Any, ...], value: Any) -> Any:
    record = copy.deepcopy(GOOD)
    place = record
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return record


def test_every_value_of_a_manifest_replaced(library: Library, tmp_path: Path) -> None:
    rng, seen = random.Random(3), set()
    for path in places(GOOD)[1:]:
        for value in rng.sample(NASTY, 4):
            data = forge_manifest(PARTS, replaced(path, value))
            seen.add(compare(library, tmp_path / "bad", data, f"{path}: {value!r}"[:300])[0])
    for key in GOOD:
        data = forge_manifest(PARTS, {k: v for k, v in GOOD.items() if k != key})
        assert f"lacks {key}" in compare(library, tmp_path / "bad", data)[1]
    assert seen >= {"OK", "DamagedModelError"}


RULES: tuple[tuple[tuple[Any, ...], Any], ...] = (
    (("unheard",), 1),
    (("a\nb'é\u2028\ud800\x7f",), 1),
    (("both \" and '",), 1),
    (("x" * 100,), 1),
    (("symbols", 0, "step"), 1),
    (("dims", 3), ["mul", 1, 3]),
    (("dims", 1), ["symbol", 1]),
    (("dims", 1), ["const", 5]),
    (("dims", 0), ["const", 1, 1]),
    (("dims", 0), ["pow", 0, 0]),
    (("dims", 0), [3, 1]),
    (("dims", 0), ["const", 2**64]),
    (("dims", 0), ["const", True]),
    (("dims", 3), ["mul", 1, -1]),
    (("inputs", 0, "shape"), [0, 5]),
    (("inputs", 0, "shape"), [0] * 17),
    (("inputs", 0, "dtype"), "string"),
    (("inputs",), [*GOOD["inputs"], *GOOD["inputs"]]),
    (("outputs",), []),
    (("arena", 0, "last"), 2),
    (("arena", 0, "size"), 5),
    (("steps", 0, "inner"), [5]),
    (("steps", 0, "macs"), 5),
    (("symbols", 0, "max"), 0),
    (("symbols", 0, "min"), 100_001),
    (("entry",), 64),
    (("team",), {"drive": 64, "serve": 0}),
    (("team",), {"drive": 0, "serve": 64}),
    (("team",), {"drive": 0}),
    (("features",), ["b", "a"]),
    (("features",), ["a", "a"]),
    (("format",), "smalti-model-2"),
    (("labels",), ["a", 1]),
    (("labels",), ["\0", "a\0b"]),
    (("target",), "x86-64-v2\0"),
)


@pytest.mark.parametrize("rule", range(len(RULES)))
def test_rules_between_the_parts(library: Library, tmp_path: Path, rule: int) -> None:
    compare(library, tmp_path / "bad", forge_manifest(PARTS, replaced(*RULES[rule])))


HOSTILE = (
    b"",
    b" ",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b"[" * 200_000,
    b'{"a":' * 100_000,
    b"[]",
    b"[1,]",
    b"[,1]",
    b"{,}",
    b'{"a":1,}',
    b'{"a" 1}',
    b"{'a':1}",
    b"{a:1}",
    b'{"format":1,"format":1}',
    b'{"format":1,"\\u0066ormat":1}',
    b'{"format":{"a":1,"b":2,"a":3}}',
    b'{"format":NaN}',
    b'{"format":-Infinity}',
    b'{"format":Infinity',
    b'{"format":nul}',
    b'{"format":1e999}',
    b'{"format":-1e309}',
    b'{"format":1.7976931348623158e308}',
    b'{"format":1.7976931348623159e308}',
    b'{"format":' + str(2**1024 - 2**970).encode() + b".0}",
    b'{"format":' + str(2**1024 - 2**970 - 1).encode() + b".9}",
    b'{"format":0.' + b"0" * 400 + b"1e800}",
    b'{"format":0e99999999999999999999}',
    b'{"format":1e-99999999999999999999}',
    b'{"format":' + b"9" * 4300 + b"}",
    b'{"format":' + b"9" * 4301 + b"}",
    b'{"format":01}',
    b'{"format":-}',
    b'{"format":1.}',
    b'{"format":.5}',
    b'{"format":1e}',
    b'{"format":+1}',
    b'{"format":-0}',
    b'{"format":"\x01"}',
    b'{"format":"\x7f"}',
    b'{"format":"\\x41"}',
    b'{"format":"\\u12g4"}',
    b'{"format":"\\ud83d\\ude00"}',
    b'{"format":"\\ude00\\ud83d"}',
    b'{"format":"\xc0\x80"}',
    b'{"format":"\xed\xa0\x80"}',
    b'{"format":"\xf4\x90\x80\x80"}',
    b'{"format":"\xf0\x9f\x98\x80"}',
    b'{"format":"',
    b'{"format":"\\',
    b'{"format":"smalti-model-1"} x',
    b'\t\r\n {"format" : "smalti-model-1" } \n',
    b'{"\\u0066ormat":"smalti\\u002dmodel-1"}',
    b"null",
    b"true",
    b"-1",
    b'"text"',
)


def test_hostile_texts(library: Library, tmp_path: Path) -> None:
    for text in HOSTILE:
        assert (
            compare(library, tmp_path / "bad", forge_manifest(PARTS, text), repr(text[:60]))[0] == "DamagedModelError"
        )


def test_spliced_manifests(library: Library, tmp_path: Path) -> None:
    rng = random.Random(5)
    alphabet = [
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"0",
        b"-",
        b"1e5",
        b"9" * 20,
        b"\xc3",
        b"null",
        b"\\u00e9",
        b" ",
    ]
    for number in range(400):
        at = rng.randrange(len(TEXT))
        splice = b"".join(rng.choices(alphabet, k=rng.randrange(4)))
        text = TEXT[:at] + splice + TEXT[at + rng.choice((0, len(splice), 3)) :]
        compare(library, tmp_path / "bad", forge_manifest(PARTS, text), f"{number}: {splice!r} at {at}")


# ---- targets ---------------------------------------------------------------------------------------------------------


def test_programs_for_other_machines(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "m.smalti"
    base = resolve_target("generic")
    wanted = Target(
        base.name, base.arch, base.cpu, tuple(sorted(("amx-tile", "zz", *base.features))), 128, base.triple, base.caches
    )
    strange = [
        Target(name, "riscv64", "", (), 128, "", base.caches) for name in ("riscv64", base.name + "+", "x86-64-v4+a")
    ]
    for target in (wanted, *strange, Target.parse(FOREIGN)):
        Parts(reverse_manifest(target), b"", b"\xc3").write(path)
        assert compare(library, path, what=target.name)[0] == "TargetError"
    programs = [Program(reverse_manifest(t), b"\xc3") for t in (wanted, Target.parse(FOREIGN))]
    write_programs(path, programs, b"")
    kind, text = compare(library, path)
    assert kind == "TargetError" and "none of the 2 programs" in text


def test_programs_asked_for(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "m.smalti"
    names = ("x86-64-v4+bf16+vnni", "x86-64-v3", "x86-64-v2", "aarch64")
    write_programs(path, [Program(reverse_manifest(Target.parse(name)), b"\xc3" * 9) for name in names], b"")
    for name in (*names, "x86-64-v4+vnni+bf16", "x86-64-v4+vnni", "x86-64-v4+vnni+vnni", "", "x", "it's", "x86-64-v2+"):
        compare(library, path, target=name, what=name)
    assert compare(library, path, target="x86-64-v1")[0] == "UsageError"


def test_later_programs_are_checked_when_they_are_taken(library: Library, tmp_path: Path) -> None:
    path = tmp_path / "m.smalti"
    good = [
        Program(label_manifest(target=Target.parse(name)), b"\xc3" * 9)
        for name in (FOREIGN, resolve_target("generic").name)
    ]
    write_programs(path, good, b"")
    data = path.read_bytes()
    with open_model(path) as file:
        first, second, *_ = file.header.sections
        codes = [(s.kind, 0, s.offset, s.size, s.name.encode()) for s in file.header.sections]
    for section in (first, second):
        body = bytearray(data[file.header.header_bytes :])
        body[section.offset - file.header.header_bytes] = ord("[")
        damaged = seal(codes, bytes(body), file.header.header_bytes, len(data))  # type: ignore[arg-type]
        assert compare(library, path, damaged) == (
            "DamagedModelError",
            f"{path}: the file is damaged: its manifest is not JSON",
        )


def test_memory_says_the_same_without_a_path(library: Library, tmp_path: Path) -> None:
    for data in (DATA, DATA[:-1], DATA[:40], b"", DATA + b"x", bytes(100), DATA[:5000] + b"x" + DATA[5001:]):
        path = tmp_path / "bad"
        kind, text = compare(library, path, data)
        array = np.frombuffer(data or b"\0", np.uint8)
        try:
            library.open_memory(array, size=len(data)).close()
            said = ("OK", "")
        except ModelFileError as error:
            said = (type(error).__name__, f"{path}: {error}")
        assert said == (kind, text)


def test_long_messages_are_cut(library: Library, tmp_path: Path) -> None:
    name = "é" * 127
    path = tmp_path
    for _ in range(6):
        path = path / name
    path.mkdir(parents=True)
    kind, text = compare(library, path / "x", b"no model")
    assert kind == "NotAModelError" and 1010 < len(text.encode()) < 1020
