"""``smalti doctor``: machines of several kinds, read from made-up /proc and /sys."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from smalti.cli.main import run
from smalti.delivery.doctor import NEEDED, doctor, doctor_table
from smalti.target.host import Host
from smalti.target.target import Caches, Target

CACHES = Caches(32768, 1 << 20, 1 << 24)


def _host(target: str) -> Host:
    found = Target.parse(target)
    return Host(found.arch, f"a CPU of {target}", frozenset(found.features), CACHES)


def _notes(target: str) -> str:
    return "\n".join(doctor(host=_host(target)).notes)


@pytest.mark.parametrize(
    ("target", "bfloat16", "int8"),
    [
        ("x86-64-v2", False, False),
        ("x86-64-v3", False, False),
        ("x86-64-v3+vnni", False, True),
        ("x86-64-v4+bf16+vnni", True, True),
        ("aarch64+dotprod", False, True),
        ("aarch64+bf16+dotprod", True, True),
    ],
)
def test_what_a_cpu_has_is_told(target: str, bfloat16: bool, int8: bool) -> None:
    found = doctor(host=_host(target))
    assert (found.target, found.bfloat16, found.int8) == (target, bfloat16, int8)
    assert ("no 8-bit dot products" in _notes(target)) is not int8
    assert ("does not multiply bfloat16" in _notes(target)) is not bfloat16
    assert ("no AVX2" in _notes(target)) is (target == "x86-64-v2")


def test_a_cpu_below_every_target_is_told() -> None:
    found = doctor(host=Host("x86_64", "an old CPU", frozenset(), CACHES))
    assert found.target is None and "which every target needs: nothing runs here" in found.notes[0]
    assert ("target", "none fits") in doctor_table(found).rows


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "pillow":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = doctor()
    assert found.packages["pillow"] is None and set(found.packages) == set(NEEDED)
    assert "pillow is missing, needed to decode pictures: pip install pillow" in found.notes
    assert ("pillow", "missing: needed to decode pictures") in doctor_table(found).rows


def test_threads_and_memory_that_do_not_suffice_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   500000 kB\n")
    monkeypatch.setenv("SMALTI_THREADS", "64")
    found = doctor(tmp_path, _host("x86-64-v3"))
    assert found.memory_mb == 512 and any("only 512 MB of memory" in note for note in found.notes)
    assert found.threads == 64 and any("64 threads share" in note for note in found.notes)
    assert doctor(tmp_path / "nothing").memory_mb is None


def test_every_note_says_what_to_do() -> None:
    notes = doctor(host=_host("x86-64-v2")).notes
    assert len(notes) >= 2 and all(":" in note or ";" in note for note in notes)


def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "this machine" in text and "\n- " in text
    assert run(["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["packages"]["numpy"] == metadata.version("numpy") and said["threads"] >= 1
