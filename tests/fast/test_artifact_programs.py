"""Model files with several programs: their order, which one a CPU takes, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import smalti
from artifact_kit import forge_programs, reverse_manifest
from smalti.artifact.format import MAX_PROGRAMS, SectionKind
from smalti.artifact.program import Program, choose_program
from smalti.artifact.reader import open_model
from smalti.artifact.schema import manifest_json
from smalti.artifact.writer import model_chunks, program_chunks, write_programs
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.delivery.inspect import facts_table, inspect
from smalti.errors import CompilerError, DamagedModelError, TargetError, UsageError
from smalti.runtime import engine as engine_module
from smalti.target.host import Host
from smalti.target.target import Caches, Target

X86 = ("x86-64-v4+bf16+vnni", "x86-64-v4+bf16", "x86-64-v4+vnni", "x86-64-v4", "x86-64-v3", "x86-64-v2")
ARM = ("aarch64+dotprod+i8mm", "aarch64+dotprod", "aarch64")
IN_ORDER = (*ARM, *X86)
CONSTANTS = bytes(range(256)) * 20


def program(name: str, **changes: Any) -> Program:
    """A program whose code only says which one it is."""
    manifest = replace(reverse_manifest(Target.parse(name)), **changes)
    return Program(manifest, name.encode().ljust(64))


def host(name: str, *without: str, extra: Sequence[str] = ()) -> Host:
    target = Target.parse(name)
    return Host(target.arch, "Some CPU", frozenset({*target.features, *extra}) - {*without}, Caches(0, 0, 0))


def fat(path: Path, *names: str) -> Path:
    write_programs(path, [program(name) for name in names], CONSTANTS)
    return path


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What an engine wanted to run; nothing becomes executable."""
    seen: list[bytes] = []

    def refuse(code: bytes) -> None:
        seen.append(code)
        raise MemoryError("not in this test")

    monkeypatch.setattr(engine_module, "map_code", refuse)
    return seen


def data(programs: Sequence[Program]) -> bytes:
    return b"".join(bytes(chunk) for chunk in program_chunks(programs, CONSTANTS))


def test_programs_lie_in_order_of_preference_however_they_are_given() -> None:
    programs = [program(name) for name in IN_ORDER]
    parts = [(manifest_json(p.manifest), p.code, p.manifest.target) for p in programs]
    assert data(programs) == forge_programs(parts, CONSTANTS)
    assert data(programs[::-1]) == data(programs[4:] + programs[:4]) == data(programs)
    first = programs[0]
    assert data([first]) == b"".join(bytes(c) for c in model_chunks(first.manifest, CONSTANTS, first.code))
    assert data([first]) == forge_programs(parts[:1], CONSTANTS)


def test_round_trip(tmp_path: Path) -> None:
    path = fat(tmp_path / "m", *reversed(IN_ORDER))
    with open_model(path) as file:
        assert file.targets == IN_ORDER and [p.manifest.target for p in file.programs()] == list(IN_ORDER)
        assert [p.code for p in file.programs()] == [program(name).code for name in IN_ORDER]
        assert file.manifest == file.first.manifest == program(IN_ORDER[0]).manifest
        assert len(file.header.all(SectionKind.MANIFEST)) == len(IN_ORDER)
        kept = bytearray(file.constants.size)
        file.read_constants(memoryview(kept))
        assert kept == CONSTANTS


@pytest.mark.parametrize(
    ("cpu", "taken"),
    [
        (host("x86-64-v4+bf16+vnni", extra=("amx-tile",)), "x86-64-v4+bf16+vnni"),
        (host("x86-64-v4+vnni"), "x86-64-v4+vnni"),
        (host("x86-64-v4+bf16"), "x86-64-v4+bf16"),
        (host("x86-64-v4"), "x86-64-v4"),
        (host("x86-64-v4", "avx512cd"), "x86-64-v3"),
        (host("x86-64-v3+vnni"), "x86-64-v3"),
        (host("x86-64-v3", "avx2", "fma", "bmi", "bmi2", "movbe", "lzcnt", "f16c"), "x86-64-v2"),
        (host("x86-64-v2"), "x86-64-v2"),
        (host("aarch64+dotprod+fp16"), "aarch64+dotprod"),
        (host("aarch64"), "aarch64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_cpu_takes_the_first_program_that_it_can_run(cpu: Host, taken: str, tmp_path: Path) -> None:
    with open_model(fat(tmp_path / "m", *IN_ORDER)) as file:
        assert choose_program(file.programs(), cpu).manifest.target == taken


def test_features_of_the_manifest_decide_too() -> None:
    demanding = program("x86-64-v2", features=("amx-tile", *Target.parse("x86-64-v2").features))
    with pytest.raises(TargetError, match="lacks amx-tile"):
        choose_program([demanding], host("x86-64-v4"))


def test_no_fitting_program_says_what_each_one_misses() -> None:
    programs = [program(name) for name in ("aarch64", "x86-64-v4", "x86-64-v3")]
    odd = Program(replace(programs[0].manifest, target="riscv64"), b"")
    with pytest.raises(TargetError) as caught:
        choose_program([odd, *programs], host("x86-64-v3", "avx2", "fma"))
    text = str(caught.value)
    assert "none of the 4 programs" in text and "Some CPU" in text and "--target native" in text
    assert "riscv64 is not known to this Smalti; aarch64 is for aarch64 CPUs; x86-64-v4 lacks avx2, avx512bw," in text
    assert "x86-64-v3 lacks avx2, fma." in text and "sse" not in text
    with pytest.raises(TargetError, match=r"the model was built for x86-64-v4, but this CPU \(Some CPU\) lacks avx512"):
        choose_program([programs[1]], host("x86-64-v3"))


def test_programs_behind_the_taken_one_are_not_read(tmp_path: Path) -> None:
    good = program("x86-64-v3")
    text = manifest_json(good.manifest)
    path = tmp_path / "m"
    path.write_bytes(forge_programs([(text, good.code, "x86-64-v3"), (b"{}", b"\xc3", "x86-64-v2")], CONSTANTS))
    with open_model(path) as file:
        assert choose_program(file.programs(), host("x86-64-v3")) == good
        with pytest.raises(DamagedModelError, match=f"^{path}: .* its manifest lacks format"):
            choose_program(file.programs(), host("x86-64-v2"))
    with pytest.raises(DamagedModelError):
        inspect(path)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("one target twice", lambda s: s[4].__setitem__(4, s[3][4])),
        ("names swapped", lambda s: (s[3].__setitem__(4, b"x86-64-v2"), s[4].__setitem__(4, b"x86-64-v3"))),
        ("constants first", lambda s: (s[0].__setitem__(0, 2), s[2].__setitem__(0, 1))),
        ("code between", lambda s: (s[2].__setitem__(0, 3), s[2].__setitem__(4, b"z"), s[3].__setitem__(0, 2))),
        ("named manifest", lambda s: s[1].__setitem__(4, b"x86-64-v2")),
        ("second manifest overlaps", lambda s: s[1].__setitem__(2, s[0][2])),
        ("codes share bytes", lambda s: s[4].__setitem__(2, s[3][2])),
    ],
)
def test_wrong_section_tables(tmp_path: Path, what: str, change: Any) -> None:
    parts = [(manifest_json(program(n).manifest), program(n).code, n) for n in ("x86-64-v3", "x86-64-v2")]
    path = tmp_path / "m"
    path.write_bytes(forge_programs(parts, CONSTANTS, change))
    with pytest.raises(DamagedModelError):
        open_model(path)


def test_counts_of_sections(tmp_path: Path) -> None:
    text = manifest_json(program("x86-64-v2").manifest)
    most = [(text, b"\xc3" * 64, "x86-64-v2"), *((b"", b"", f"t{i}") for i in range(1, MAX_PROGRAMS + 1))]
    path = tmp_path / "m"
    path.write_bytes(forge_programs(most[:-1], b""))
    with open_model(path) as file:
        assert len(file.targets) == MAX_PROGRAMS
    path.write_bytes(forge_programs(most, b""))
    with pytest.raises(DamagedModelError, match="a header cannot have"):
        open_model(path)
    for count in (2, 4):
        path.write_bytes(forge_programs(most[:2], b"", lambda s, count=count: s.__delitem__(slice(count, None))))
        with pytest.raises(DamagedModelError):
            open_model(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "force_float16"},
        {"labels": ("a",)},
        {"batch_size": 3},
        {"shape_mutable": False},
        {"preprocess": {"input_size": 3}},
        {"quantisation": {"keep": ["x"]}},
        {"graph": {"name": "other"}},
        {"inputs": (replace(reverse_manifest().inputs[0], name="z:0"),)},
        {"symbols": (replace(reverse_manifest().symbols[0], maximum=9),)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_writer_refuses_programs_that_do_not_belong_together(changes: dict[str, Any]) -> None:
    with pytest.raises(CompilerError, match=f"x86-64-v3 and x86-64-v2 differ in their {next(iter(changes))}"):
        data([program("x86-64-v3"), program("x86-64-v2", **changes)])


def test_the_writer_refuses_wrong_targets_and_numbers() -> None:
    odd = Program(replace(program("x86-64-v2").manifest, target="z80"), b"\xc3")
    cases: list[tuple[list[Program], str]] = [
        ([program("x86-64-v3"), program("x86-64-v3")], "two programs for one target"),
        ([program("x86-64-v4+vnni+bf16"), program("x86-64-v4+bf16+vnni")], "two programs for one target"),
        ([program("x86-64-v3"), odd], "known targets"),
        ([], "not 0"),
        ([program("x86-64-v3")] * (MAX_PROGRAMS + 1), "not 17"),
        ([program("x86-64-v3"), program("x86-64-v2", entry=64)], "entry point"),
    ]
    for programs, message in cases:
        with pytest.raises(CompilerError, match=message):
            data(programs)


def test_load_takes_the_program_that_is_asked_for(
    tmp_path: Path, mapped: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smalti.artifact.program.read_host", lambda: host("x86-64-v4+bf16+vnni"))
    path = fat(tmp_path / "m", *IN_ORDER)
    for name, taken in ((None, X86[0]), ("x86-64-v4+vnni+bf16", X86[0]), ("x86-64-v3", "x86-64-v3")):
        with pytest.raises(MemoryError):
            smalti.load(path, threads=1, target=name)
        assert mapped.pop() == program(taken).code
    with pytest.raises(UsageError, match="no program for 'x86-64-v3.vnni', only for aarch64.dotprod.i8mm, "):
        smalti.load(path, threads=1, target="x86-64-v3+vnni")
    with pytest.raises(TargetError, match="aarch64"):
        smalti.load(path, threads=1, target="aarch64")
    for strange in (5, True, b"x86-64-v3", []):
        with pytest.raises(UsageError, match="a target is a name such as 'aarch64"):
            smalti.load(path, threads=1, target=strange)  # type: ignore[arg-type]
    assert not mapped


def test_inspect_lists_the_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("smalti.artifact.program", "smalti.delivery.inspect"):
        monkeypatch.setattr(import_module(module), "read_host", lambda: host("x86-64-v3"))
    sharing = {"constants": {"bytes": 5000, "shared": 4000}}
    path = tmp_path / "m"
    write_programs(path, [program(n, report=sharing) for n in ("x86-64-v2", "x86-64-v3", "x86-64-v4")], CONSTANTS)
    seen = inspect(path)
    assert [(p.target, p.obstacle is None) for p in seen.programs] == [
        ("x86-64-v4", False),
        ("x86-64-v3", True),
        ("x86-64-v2", True),
    ]
    assert seen.manifest.target == "x86-64-v3" and seen.obstacle is None and seen.section_bytes["code"] == 3 * 64
    assert inspect(path, target="x86-64-v4").manifest.target == "x86-64-v4"
    assert (seen.programs[0].constant_bytes, seen.programs[0].shared_bytes) == (5000, 4000)
    rows = dict(facts_table(seen).rows)
    assert rows["runs here"] == "yes: x86-64-v3" and "4,000 bytes of them shared" in rows["x86-64-v4"]
    assert run(["inspect", str(path), "--json"]) == ExitCode.OK
    record = json.loads(capsys.readouterr().out)
    assert [p["runs_here"] for p in record["programs"]] == [False, True, True]
    assert record["programs"][0]["obstacle"].startswith("lacks avx512bw") and record["programs"][0]["code_bytes"] == 64
    assert run(["inspect", str(path), "--target", "aarch64"]) == ExitCode.USAGE


def test_a_file_without_constants_in_its_report_can_be_inspected(tmp_path: Path) -> None:
    for report in ({}, {"constants": 7}, {"constants": {"bytes": "x"}}):
        write_programs(tmp_path / "m", [program(n, report=report) for n in X86[-2:]], CONSTANTS)
        seen = inspect(tmp_path / "m")
        assert {(p.constant_bytes, p.shared_bytes) for p in seen.programs} == {(len(CONSTANTS), 0)}
