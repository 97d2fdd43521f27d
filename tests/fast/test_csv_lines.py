"""The CSV of every report reads back as written, whatever stands in a name."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.bench.layers import Layer, LayerTable
from smalti.bench.peak import Peaks
from smalti.bench.report import layers_csv
from smalti.comparing.result import CompareResult, LayerDifference, TapEffect
from smalti.comparing.sensitivity import SensitivityResult, SensitivityRow
from smalti.comparing.stats import Differences
from smalti.comparing.trials import Score
from smalti.jobs.csv_lines import csv_line
from smalti.quant.modes import QuantMode
from smalti.runtime.profile import Profile
from smalti.scoring.report import to_csv
from smalti.scoring.rows import AccuracyRow, AccuracyTable
from smalti.vision.metrics import ConfusionMatrix

NAME = 'a\rb\n"c", d\r'
CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))


def read_back(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@given(st.lists(st.lists(CELLS, min_size=1), min_size=1))
def test_every_text_reads_back(rows: list[list[str]]) -> None:
    assert read_back("".join(map(csv_line, rows))) == rows


def test_numbers_and_nothing() -> None:
    assert csv_line((1, 0.5, None, "x", "y z")) == "1,0.5,,x,y z\n"


def layers_of_a_comparison() -> str:
    differences = Differences(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 8, 9)
    layer = LayerDifference(NAME, "Conv2d", "float32", differences, 0.1)
    taps = TapEffect(1, 1, (), 0)
    return CompareResult("m", "p", "r", 1, 0.1, (layer,), (), taps, (), None, (), 1.0).to_csv()


def layers_by_sensitivity() -> str:
    score = Score(0.5, 0.25, 0.125)
    rows = (SensitivityRow(NAME, ("x", "y"), score),)
    return SensitivityResult("m", 1, score, score, score, rows, 1.0).to_csv()


def rows_of_accuracy() -> str:
    row = AccuracyRow(
        QuantMode.FORCE_FLOAT32,
        True,
        "",
        ConfusionMatrix(None).result(),
        {},
        {},
        1.0,
        3,
        9,
        "m",
        "0",
        "a",
        1,
        "CPU",
        1.0,
    )
    return to_csv(AccuracyTable(NAME, "", "", 1, (row,)))


def steps_of_a_profile() -> str:
    layer = Layer(1, "step", "Conv2d", "k", (1, 2), 1.0, 1.0, 0, 8)
    return layers_csv([LayerTable(NAME, 1, 1, 1.0, Peaks({}), (layer,), Profile((), 0, 2), 0)])


@pytest.mark.parametrize("write", [layers_of_a_comparison, layers_by_sensitivity, rows_of_accuracy, steps_of_a_profile])
def test_a_name_may_hold_ends_of_lines(write: Callable[[], str]) -> None:
    head, *rows = read_back(write())
    assert [row[0] for row in rows] == [NAME] and {len(row) for row in rows} == {len(head)}
