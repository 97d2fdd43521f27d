"""Benchmarks: statistics, the choice of CPUs, the verdict and texts."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from benchmarks.layers import tile_text
from benchmarks.machine import NeighbourWatch, choose_cpus, describe
from benchmarks.output import neighbours_text, positive
from benchmarks.peers import verdict
from benchmarks.precision import RIVALS, Precision, labels_are_right, precision_of
from benchmarks.stats import median, percentile, ratio_of_medians
from benchmarks.workers import one_line

from smalti.errors import UsageError
from smalti.kernels.conv.depthwise import DepthwiseTile
from smalti.kernels.matrix.shapes import GemmTile, Group, Panel
from smalti.quant.modes import QuantMode


@dataclass
class _Entrant:
    name: str
    rounds: list[list[float]]
    agree: float = 1.0
    failure: str | None = None
    precision: Precision = Precision.FLOAT32
    takes_default: bool = False

    @property
    def right(self) -> bool:
        return labels_are_right(self.agree, self.precision)

    @property
    def samples(self) -> list[float]:
        return [t for times in self.rounds for t in times]


def _entrant(name: str, level: float, agree: float = 1.0, failure: str | None = None) -> _Entrant:
    rng = np.random.default_rng(len(name))
    return _Entrant(name, (level * rng.uniform(0.99, 1.01, (12, 4))).tolist(), agree, failure)


def test_every_mode_has_a_class_with_rivals_and_a_bound() -> None:
    classes = {mode: precision_of(mode) for mode in QuantMode}
    assert classes[QuantMode.QINT8_MIXED_FLOAT16] is Precision.INT8
    assert classes[QuantMode.FORCE_BFLOAT16] is Precision.BFLOAT16
    assert classes[QuantMode.QINT16_MIXED_FLOAT32] is Precision.INT16
    assert all(p in RIVALS[p] for p in classes.values())
    assert labels_are_right(0.95, Precision.INT8)
    assert not labels_are_right(0.95, Precision.FLOAT32)
    assert labels_are_right(float("nan"), Precision.FLOAT32)


def test_only_engines_of_the_same_class_are_rivals() -> None:
    ours = replace(_entrant("smalti", 20.0, 0.98), precision=Precision.INT8)
    int8 = replace(_entrant("litert", 40.0, 0.97), precision=Precision.INT8)
    wrong = replace(_entrant("onnxruntime", 25.0, 0.5), precision=Precision.INT8)
    own_float = _entrant("smalti-float32", 80.0)
    found = verdict([ours, int8, wrong, own_float], Precision.INT8)  # type: ignore[list-item]
    assert found["best_peer"] == "litert"
    assert 1.9 < found["speedup"] < 2.1
    assert 3.8 < found["own_float32"] < 4.2


def test_defaults_stand_beside_engines_of_the_same_class() -> None:
    contenders = [
        _entrant("smalti", 80),
        _entrant("litert", 100),
        _entrant("openvino", 110),
        replace(_entrant("openvino-default", 53, 0.98), precision=Precision.BFLOAT16),
    ]
    got = verdict(contenders)  # type: ignore[arg-type]
    assert got["best_peer"] == "litert" and 1.2 < got["speedup"] < 1.3
    assert (got["default_peer"], got["default_precision"]) == ("openvino-default", "bfloat16")
    assert 0.6 < got["default_speedup"] < 0.7, "slower than what the peer does by itself is said, too"
    assert got["own_float32"] is None
    same = verdict([*contenders[:2], replace(contenders[2], takes_default=True)])  # type: ignore[list-item]
    assert same["default_peer"] == "litert"
    in_bfloat16 = [
        replace(_entrant("smalti", 43, 0.98), precision=Precision.BFLOAT16),
        _entrant("smalti-float32", 80),
        replace(_entrant("openvino", 53, 0.98), precision=Precision.BFLOAT16, takes_default=True),
    ]
    got = verdict(in_bfloat16, Precision.BFLOAT16)  # type: ignore[arg-type]
    assert got["best_peer"] == got["default_peer"] == "openvino"
    assert got["speedup"] > 1.2 and got["own_float32"] > 1.8 and got["default_speedup"] < 0.7


def test_percentiles() -> None:
    values = [4.0, 1.0, 3.0, 2.0, 5.0]
    assert median(values) == 3.0
    assert abs(percentile(values, 90) - 4.6) < 1e-12


def test_the_interval_holds_the_true_ratio() -> None:
    rng = np.random.default_rng(7)
    slow = (120 * rng.uniform(0.95, 1.05, (20, 4))).tolist()
    fast = (100 * rng.uniform(0.95, 1.05, (20, 4))).tolist()
    ratio = ratio_of_medians(slow, fast)
    assert ratio.low < 1.2 < ratio.high
    assert ratio.low < ratio.value < ratio.high
    assert ratio_of_medians(slow, fast) == ratio


def test_what_disturbs_a_round_disturbs_both_sides() -> None:
    rng = np.random.default_rng(8)
    load = rng.uniform(1, 4, (20, 1))
    slow, fast = (120 * load * np.ones((1, 4))).tolist(), (100 * load * np.ones((1, 4))).tolist()
    paired = ratio_of_medians(slow, fast)
    assert abs(paired.low - 1.2) < 1e-9 and abs(paired.high - 1.2) < 1e-9
    shuffled = [fast[i] for i in rng.permutation(20)]
    unpaired = ratio_of_medians(slow, shuffled)
    assert unpaired.high - unpaired.low > 0.2


@pytest.mark.parametrize("rounds", [([], []), ([[1.0]], [[1.0], [2.0]])])
def test_rounds_that_do_not_match_are_refused(rounds: tuple[list[list[float]], list[list[float]]]) -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        ratio_of_medians(*rounds)


def test_the_best_peer_is_the_fastest_with_right_labels() -> None:
    contenders = [
        _entrant("smalti", 100),
        _entrant("litert", 130),
        _entrant("openvino", 120),
        _entrant("tensorflow", 90, agree=0.5),
        _entrant("onnxruntime", 80, failure="round 2: ended"),
    ]
    got = verdict(contenders)  # type: ignore[arg-type]
    assert got["best_peer"] == "openvino"
    low, high = got["speedup_ci95"]
    assert low <= got["speedup"] <= high and 1.15 < got["speedup"] < 1.25


def test_without_right_labels_of_its_own_smalti_has_no_speedup() -> None:
    got = verdict([_entrant("smalti", 10, agree=0.9), _entrant("litert", 130)])  # type: ignore[arg-type]
    assert got["best_peer"] == "litert"
    assert got["speedup"] is None
    assert verdict([_entrant("smalti", 10)])["best_peer"] is None  # type: ignore[arg-type]


def test_cpus_are_the_last_allowed_ones_or_those_asked_for() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    assert choose_cpus(1) == (allowed[-1],)
    assert choose_cpus(10_000) == tuple(allowed)
    assert choose_cpus(1, str(allowed[0])) == (allowed[0],)
    assert choose_cpus(1, f"{allowed[0]}-{allowed[0]}") == (allowed[0],)


@pytest.mark.parametrize("wanted", ["", "a", "0-", "99999", "-1"])
def test_a_wrong_list_of_cpus_is_refused(wanted: str) -> None:
    with pytest.raises(UsageError):
        choose_cpus(1, wanted)


def test_the_watch_sees_no_work_of_its_own() -> None:
    watch = NeighbourWatch([])
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        sum(range(1000))
    busy = watch.finish()
    # The system counts in ticks of 10 ms or so, which round to some tenths of a CPU over so short a time.
    assert busy is None or 0 <= busy <= (os.cpu_count() or 1) + 1
    assert describe((0,))["cpus_used"] == [0]


def test_a_crowded_machine_is_named() -> None:
    machine = {"cpus_used": [0, 1], "neighbours_cpus": 0.19}
    assert "crowded" not in neighbours_text(machine)
    assert "do not quote" in neighbours_text({**machine, "neighbours_cpus": 0.21})
    assert "not known" in neighbours_text({**machine, "neighbours_cpus": None})


def test_small_texts() -> None:
    narrow, wide = Panel(16, (Group(1, 16),), 14), Panel(48, (Group(1, 16),) * 3, 9)
    assert tile_text(GemmTile((wide, wide, narrow), 192, 192)) == "2*9x3+14x1 /192"
    assert tile_text(GemmTile((wide,), 192, 48)) == "9x3 /192/48"
    assert tile_text(DepthwiseTile(96, 8)) == "96c 8r"
    assert tile_text(None) == ""
    assert one_line("a\n b", 10) == "a b"
    assert one_line("x" * 20, 10) == "x" * 9 + "…"
    assert positive("3") == 3
    with pytest.raises(argparse.ArgumentTypeError):
        positive("0")
