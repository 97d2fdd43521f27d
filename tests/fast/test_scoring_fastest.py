"""Which precision mode `--quant-mode auto` takes, from made-up times and accuracies, and what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.bench.stats import ratio_of_medians
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.jobs.timing import Timing
from smalti.jobs.watch import UNKNOWN_LOAD, Load
from smalti.quant.modes import QuantMode
from smalti.scoring.fastest import AUTO_MODES, NO_CALIBRATION, Candidate, FastestResult, choose, fastest_table
from smalti.target.host import arch

F32, BF16, F16, Q8_F16, Q8_F32 = AUTO_MODES
ROUNDS = 20


def candidate(mode: QuantMode, ms: float | Sequence[float], drop: float, file_bytes: int = 100) -> Candidate:
    """Return a candidate of float32's mIoU of 0.8 less a drop; one number of ms is a steady time."""
    times = tuple(ms) if isinstance(ms, Sequence) else (ms,) * ROUNDS
    return Candidate(mode, "", Timing(times, UNKNOWN_LOAD), None, 0.8 - drop, drop, file_bytes)


def noisy(ms: float) -> list[float]:
    """Return times whose median is as asked, and that spread so widely that a hundredth is not seen in them."""
    return [ms * (1 + 0.3 * (i % 5 - 2)) for i in range(ROUNDS)]


@pytest.mark.parametrize(
    ("candidates", "chosen", "whys"),
    [
        ([candidate(F32, 10, 0)], F32, ["chosen: the fastest"]),
        (
            [candidate(F32, 10, 0), candidate(BF16, 5, 0.001), candidate(Q8_F16, 2, 0.02)],
            BF16,
            ["2.00 times as slow", "chosen: the fastest", "loses more than 0.2 points"],
        ),
        (
            [candidate(F32, 10, 0), candidate(F16, 10, 0.0001), candidate(BF16, 12, 0.0002)],
            F32,
            ["chosen: the fastest", "as fast, loses more", "1.20 times as slow"],
        ),
        (
            [candidate(F32, noisy(10), 0), candidate(F16, noisy(9.9)[1:] + noisy(9.9)[:1], 0.001)],
            F32,
            ["chosen: as fast as f16, loses less", "as fast, loses more"],
        ),
        (
            [candidate(F32, 10, 0, 400), candidate(F16, 10, 0, 200)],
            F16,
            ["as fast, file no smaller", "chosen: as fast as f32, smaller"],
        ),
        (
            [candidate(F32, 10, 0), candidate(F16, 5, 0.002)],
            F16,
            ["2.00 times as slow", "chosen: the fastest"],
        ),
    ],
)
def test_the_choice(candidates: list[Candidate], chosen: QuantMode, whys: list[str]) -> None:
    found = choose(candidates, 0.002)
    assert [each.mode for each in found if each.is_chosen] == [chosen]
    assert [each.why for each in found] == whys
    best = next(each for each in found if each.is_chosen)
    assert best.ratio is not None and best.ratio.value == 1


times = st.lists(st.floats(0.5, 20), min_size=8, max_size=8)


@given(st.lists(st.tuples(times, st.floats(-0.05, 0.05)), min_size=1, max_size=4), times, st.floats(0, 0.05))
def test_the_choice_holds_the_bound_and_nothing_that_holds_it_is_surely_faster(
    others: list[tuple[list[float], float]], float32: list[float], bound: float
) -> None:
    modes = zip(AUTO_MODES[1:], others, strict=False)
    candidates = [candidate(F32, float32, 0.0), *(candidate(mode, ms, drop) for mode, (ms, drop) in modes)]
    found = choose(candidates, bound)
    best = [each for each in found if each.is_chosen]
    assert len(best) == 1 and best[0].drop <= bound + 1e-9
    assert all(each.why and each.ratio is not None for each in found)
    fastest = min((each for each in found if each.drop <= bound), key=lambda each: each.timing.median)  # type: ignore[union-attr]
    assert best[0].timing is not None and fastest.timing is not None
    assert ratio_of_medians(best[0].timing.ms, fastest.timing.ms, paired=True).low <= 1


def result(load: Load) -> FastestResult:
    measured = choose(
        [
            candidate(F32, 10, 0),
            Candidate(F16, "", Timing((5.0,) * ROUNDS, load), None, 0.801, -0.001, 50),
        ],
        0.002,
    )
    missing = Candidate(Q8_F16, NO_CALIBRATION)
    return FastestResult(None, (*measured, missing), 0.002, 7, 2, "x86-64-v3", load)  # type: ignore[arg-type]


def test_the_table_and_json_say_what_was_not_built_and_mark_disturbed_times() -> None:
    quiet, busy = result(UNKNOWN_LOAD), result(Load(40.0, 0.0, is_noisy=True))
    assert [row[:4] for row in fastest_table(quiet).rows] == [
        ("f32", "10.00", "0.8000", "0.000"),
        ("f16", "5.00", "0.8010", "gain 0.100"),
        ("q8_f16", "-", "-", "-"),
    ]
    assert fastest_table(quiet).rows[2][-1] == NO_CALIBRATION and not fastest_table(quiet).legend
    assert fastest_table(busy).rows[1][1] == "~5.00" and "other processes took 40 %" in fastest_table(busy).legend
    said = json.loads(json.dumps(quiet.to_json(), allow_nan=False))
    assert said["quant_mode"] == "force_float16" and [each["chosen"] for each in said["candidates"]] == [0, 1, 0]
    assert said["candidates"][1]["one_picture_ms"] == 5 and said["candidates"][2]["miou"] is None
    assert math.isclose(said["candidates"][0]["times_the_chosen"]["value"], 2)
    assert busy.to_json()["other_load"]["noisy"] is True


@pytest.mark.parametrize(
    ("more", "needs"),
    [
        ([], "add --max-miou-drop 0.002"),
        (["--max-miou-drop", "0.01"], "--image-dir, --eval-list and --gt-dir"),
        (["--max-miou-drop", "0.01", "--image-dir", "v", "--eval-list", "e.txt"], "--gt-dir"),
        (["--dump-dir", "d"], "leave --dump-dir out"),
        (["--calib-num", "5"], "--calib-num is about calibrating"),
        (["--save-ranges", "r.json"], "--save-ranges is about calibrating"),
        (["--file-list", "e.txt"], "calibrate and measure on different pictures"),
        (["--target", "foreign"], "add native to --target"),
    ],
)
def test_refusals(
    more: list[str],
    needs: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.txt").write_text("p0\n")
    (tmp_path / "v").mkdir()
    foreign = "aarch64" if arch() == "x86_64" else "x86-64-v2"
    whole = ["--max-miou-drop", "0.01", "--image-dir", "v", "--eval-list", "e.txt", "--gt-dir", "v"]
    said = [foreign if word == "foreign" else word for word in more]
    arguments = said if not said or said[0] == "--max-miou-drop" else [*whole, *said]
    code = run(["build", "--tf-model", "g.pb", "--output-model-path", "m.smalti", "--quant-mode", "auto", *arguments])
    assert code == ExitCode.USAGE
    shown = " ".join(capsys.readouterr().err.split())
    assert needs in shown and not (tmp_path / "m.smalti").exists()
