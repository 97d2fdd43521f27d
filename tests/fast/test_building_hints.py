"""A build names the modes that its CPU is made for, with figures that stand in docs/performance.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smalti.building.hints import speed_hint
from smalti.quant.modes import QuantMode
from smalti.target.target import Target

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


@pytest.mark.parametrize(
    ("target", "modes"),
    [
        ("x86-64-v2", []),
        ("x86-64-v3", []),
        ("x86-64-v3+vnni", ["q8_f16"]),
        ("x86-64-v4+bf16", ["bf16"]),
        ("x86-64-v4+bf16+vnni", ["bf16", "q8_f16"]),
        ("aarch64+dotprod", ["q8_f16"]),
    ],
)
def test_modes_that_the_cpu_has_are_named(target: str, modes: list[str]) -> None:
    hint = speed_hint(QuantMode.FORCE_FLOAT32, Target.parse(target))
    assert re.findall(r"--quant-mode (\w+)", hint or "") == modes
    assert (hint is None) is (not modes)


@pytest.mark.parametrize("mode", QuantMode, ids=lambda mode: mode.alias)
def test_only_float_builds_are_told(mode: QuantMode) -> None:
    told = speed_hint(mode, Target.parse("x86-64-v4+bf16+vnni")) is not None
    assert told is (mode in (QuantMode.FORCE_FLOAT32, QuantMode.FORCE_FLOAT16))


def test_the_figures_are_those_of_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    hint = speed_hint(QuantMode.FORCE_FLOAT32, Target.parse("x86-64-v4+bf16+vnni")) or ""
    for mode, row in (("bf16", "force_bfloat16"), ("q8_f16", "qint8_mixed_float16")):
        said = float(re.findall(rf"{mode}[^(]*\(about ([0-9.]+) times", hint)[0])
        measured = float(re.findall(rf"^\| `{row}` \| 2 .*\| ([0-9.]+) \([^|]*\) \|$", page, re.MULTILINE)[0])
        assert said == round(measured, 1)
