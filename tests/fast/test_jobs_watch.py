"""The watch on other load: made-up counters, what counts as noisy, and the mark where a time stands."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from smalti.cli import ui
from smalti.jobs import timing, watch
from smalti.jobs.stream import Stage, StageTimes
from smalti.jobs.table import stages_table
from smalti.jobs.timing import Patience, Timing, time_in_turns
from smalti.jobs.watch import UNKNOWN_LOAD, Load, LoadWatch, legend, marked, read_load
from smalti.labelling.infer import InferResult
from smalti.labelling.summary import infer_summary
from smalti.quant.modes import QuantMode
from smalti.scoring.report import accuracy_rows_table, to_csv, to_markdown
from smalti.scoring.rows import AccuracyRow, AccuracyTable, read_table
from smalti.vision.metrics import ConfusionMatrix

QUIET = Load(1.5, 0.0)
BUSY = Load(45.2, 0.0, is_noisy=True)
STOLEN = Load(3.0, 8.4, is_noisy=True)
LEGEND = "~ too slow and noisy: other processes took 45 % of the CPUs meanwhile"
TICK = os.sysconf("SC_CLK_TCK")


class Machine:
    """Two CPUs whose counters a test moves."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._file = root / "proc/stat"
        self._file.parent.mkdir()
        self.wall = self.process = self._busy = self._steal = 0.0
        monkeypatch.setattr(watch, "allowed_cpus", lambda: (0, 1))
        monkeypatch.setattr(watch.time, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(watch.time, "process_time", lambda: self.process)
        self.go_on(0, 0, 0, 0)

    def go_on(self, wall: float, own: float, others: float, steal: float) -> None:
        """Let some seconds go by, in which the CPUs were so long busy."""
        self.wall += wall
        self.process += own
        self._busy += own + others
        self._steal += steal
        user, stolen = round(self._busy * TICK), round(self._steal * TICK)
        lines = [f"cpu0 {user} 0 0 7 9 0 0 {stolen} 0 0", "cpu1 0 0 0 7 9 0 0 0 0 0", "cpu2 99 0 0 0 0 0 0 99 0 0", ""]
        self._file.write_text("\n".join(lines))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((10, 15, 1.0, 0), Load(5.0, 0.0, is_noisy=False)),
        ((10, 15, 4.0, 0), Load(20.0, 0.0, is_noisy=True)),
        ((10, 15, 0, 1.0), Load(0.0, 5.0, is_noisy=True)),
        ((10, 15, 0, 0.2), Load(0.0, 1.0, is_noisy=False)),
        ((0.1, 0.1, 0.03, 0), Load(15.0, 0.0, is_noisy=False)),  # two ticks of two CPUs are a tenth of the time
        ((0.1, 0.1, 0.06, 0), Load(30.0, 0.0, is_noisy=True)),
    ],
)
def test_load_is_what_others_took(machine: Machine, tmp_path: Path, seconds: tuple[float, ...], expected: Load) -> None:
    machine.go_on(100, 7, 200, 3)  # before the watch
    seen = LoadWatch(tmp_path)
    machine.go_on(*seconds)
    load = seen.load()
    assert [_rounded(load.others_percent), _rounded(load.steal_percent)] == [
        _rounded(expected.others_percent),
        _rounded(expected.steal_percent),
    ]
    assert load.is_noisy is expected.is_noisy


@pytest.mark.parametrize(
    "text", [None, "", "\n\n", "cpu0 1 2 3", "cpu0 a b c d e f g h i j", "cpu7 1 2 3 4 5 6 7 8 9 0"]
)
def test_what_cannot_be_read_is_unknown_and_marks_nothing(
    tmp_path: Path, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "allowed_cpus", lambda: (0, 1))
    if text is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/stat").write_text(text)
    load = LoadWatch(tmp_path).load()
    assert load == UNKNOWN_LOAD and load.to_json()["others_percent"] is None
    assert marked("1.50", load) == "1.50" and legend([load]) == ""


def test_the_mark_stands_before_a_disturbed_time_alone() -> None:
    assert marked("92.10", BUSY) == "~92.10" and marked("28.20", QUIET) == "28.20"
    assert marked("92.10", QUIET, STOLEN) == "~92.10"
    assert legend([QUIET, BUSY]) == LEGEND
    assert legend([STOLEN]).endswith("the hypervisor took 8 % of the CPUs meanwhile")
    both = legend([BUSY, STOLEN])
    assert "other processes took up to 45 % of the CPUs and the hypervisor took up to 8 % of the CPUs" in both


percents = st.none() | st.floats(0, 200, allow_nan=False)


@given(percents, percents, st.booleans())
def test_load_as_json_and_back(others: float | None, steal: float | None, is_noisy: bool) -> None:
    load = Load(others, steal, is_noisy)
    assert read_load(json.loads(json.dumps(load.to_json(), allow_nan=False)), "load") == load


def _rounded(value: float | None) -> float | None:
    """Return a number without the last bits of sums of decimal fractions."""
    return None if value is None else round(value, 6)


# ---- timing ---------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that moves on by the labellers' own times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.order: list[int] = []
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def labeller(self, number: int, seconds: float) -> Callable[[NDArray[np.uint8]], NDArray[np.integer]]:
        def label(picture: NDArray[np.uint8]) -> NDArray[np.integer]:
            self.now += seconds * int(picture[0, 0, 0])
            self.order.append(number)
            return np.zeros((1, 1), np.int32)

        return label


def pictures(*values: int) -> list[NDArray[np.uint8]]:
    return [np.full((1, 1, 3), value, np.uint8) for value in values]


def test_labellers_take_turns_on_the_same_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    labellers = [clock.labeller(0, 0.001), clock.labeller(1, 0.002), clock.labeller(2, 0.004)]
    found = time_in_turns(labellers, pictures(1, 3), Patience(4, 0.0, 9.0))
    assert clock.order == [0, 1, 2] * 2 + [0, 1, 2, 1, 2, 0, 2, 0, 1, 0, 1, 2]
    assert [[_rounded(ms) for ms in each.ms] for each in found] == [[ms, 3 * ms] * 2 for ms in (1, 2, 4)]
    assert [_rounded(each.median) for each in found] == [2 * ms for ms in (1, 2, 4)]


@pytest.mark.parametrize(
    ("patience", "seconds", "calls"),
    [
        (Patience(20, 0.25, 3.0), 0.1, 20),
        (Patience(20, 0.25, 3.0), 0.001, 250),  # long enough for the watch
        (Patience(20, 0.25, 3.0), 1.0, 3),
        (Patience(20, 0.25, 3.0), 9.0, 1),
        (Patience(5, 0.0, 0.0), 0.1, 1),
    ],
)
def test_how_long_calls_are_timed(
    monkeypatch: pytest.MonkeyPatch, patience: Patience, seconds: float, calls: int
) -> None:
    clock = Clock(monkeypatch)
    found = time_in_turns([clock.labeller(0, seconds)], pictures(1), patience)
    assert abs(len(found[0].ms) - calls) <= (1 if calls > 100 else 0)  # a sum of floats may end a call later


# ---- where times stand ----------------------------------------------------------------------------------------------


def stages() -> tuple[StageTimes, ...]:
    return (StageTimes(Stage.INFER, 3, 92.1, 92.2, 92.3, 276.4),)


def test_stages_are_marked_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    table = stages_table(stages(), 2, 1, BUSY)
    assert table.rows[0] == ("infer", "~92.10", "~92.20", "~92.30", "~0.28") and table.legend == LEGEND
    ui.draw(table)
    shown = capsys.readouterr().out
    assert "~92.20" in shown and " ".join(shown.split()).count(LEGEND) == 1
    assert f"\n\n{LEGEND}\n" in table.to_markdown()
    quiet = stages_table(stages(), 2, 1, QUIET)
    assert "~" not in quiet.to_markdown() and not quiet.legend


def test_infer_tells_one_picture_and_the_stream_apart() -> None:
    one = Timing((86.4, 86.1, 90.0), QUIET)
    plain = InferResult(20, (), 2.0, stages(), 2, None, Path("labels"), at_once=2, one_picture=one, load=QUIET)  # type: ignore[arg-type]
    assert infer_summary(plain) == (
        "one picture: 86.40 ms, engine alone, 2 threads, median of 3 calls",
        "stream: 20 images in 2.00 s, 10.0 a second with reading and saving -> labels",
    )
    noisy = replace(plain, stages=(), load=BUSY, resumed=4, failed=1, left=2, output_dir=None)
    assert infer_summary(noisy) == (
        "one picture: ~86.40 ms, engine alone, 2 threads, median of 3 calls",
        "stream: 16 images in ~2.00 s, ~8.0 a second with reading and 4 by earlier runs, 1 skipped, 2 left",
        LEGEND,
    )
    assert len(infer_summary(replace(plain, load=BUSY))) == 2, "the table of stages has the legend"
    without = replace(plain, one_picture=None, threads=1)
    assert [line.split(":")[0] for line in infer_summary(without)] == ["stream"]


def accuracies() -> AccuracyTable:
    counter = ConfusionMatrix(("ground", "thing"))
    counter.add(np.array([[0, 1]], np.uint8), np.array([[0, 1]], np.uint8))
    loads = itertools.cycle((QUIET, BUSY))
    rows = tuple(
        AccuracyRow(mode, True, "k", counter.result(), {"a": 0}, {"a": 2}, 92.0, 3, 9, "m", "0", "l", 1, "CPU", 1.0,
                    load=load)
        for mode, load in zip((QuantMode.FORCE_FLOAT32, QuantMode.QINT8_MIXED_FLOAT16), loads, strict=False)
    )  # fmt: skip
    return AccuracyTable("net", "0" * 64, "0" * 64, 1, rows)


def test_accuracy_marks_its_times(tmp_path: Path) -> None:
    table = accuracies()
    for drawn in (accuracy_rows_table(table), accuracy_rows_table(table, with_model=False)):
        assert [row[-2] for row in drawn.rows] == ["92.00", "~92.00"] and drawn.legend == LEGEND
    assert LEGEND in to_markdown(table)
    header, first, second = (line.split(",") for line in to_csv(table).splitlines())
    assert header[-3:] == ["noisy", "others_percent", "steal_percent"]
    assert (first[-3:], second[-3:]) == (["false", "1.5", "0.0"], ["true", "45.2", "0.0"])
    file = tmp_path / "accuracy.json"
    file.write_bytes(table.to_bytes())
    assert [row.load for row in read_table(file).rows] == [QUIET, BUSY]
    said = json.loads(file.read_bytes())
    assert [row["other_load"]["noisy"] for row in said["rows"]] == [False, True]
    for row in said["rows"]:
        del row["other_load"]  # a table of an earlier version
    file.write_text(json.dumps(said))
    assert [row.load for row in read_table(file).rows] == [UNKNOWN_LOAD, UNKNOWN_LOAD]
