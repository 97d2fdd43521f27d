"""Percentiles, the stop rule and the bootstrap of ``smalti bench``, on numbers whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from smalti.bench.stats import Ratio, StopRule, drift, ratio_of_medians, summarise, trace_averages
from smalti.errors import UsageError
from tolerance import Tol, assert_close


def test_a_summary_of_known_values() -> None:
    found = summarise([float(v) for v in np.random.default_rng(1).permutation(np.arange(1, 101))])
    assert found is not None
    assert (found.count, found.minimum, found.maximum, found.mean, found.median) == (100, 1, 100, 50.5, 50.5)
    # Type 7: the place of p90 among 100 sorted values is 0.9 * 99 = 89.1, counted from 0.
    assert_close(np.array([found.p90, found.p95, found.p99]), np.array([90.1, 95.05, 99.01]), Tol.ULP(4))
    assert list(found.to_json()) == ["count", "min", "max", "mean", "median", "p90", "p95", "p99"]


def test_a_summary_of_one_value_and_of_none() -> None:
    one = summarise([2.5])
    assert one is not None and (one.minimum, one.median, one.p99, one.count) == (2.5, 2.5, 2.5, 1)
    assert summarise([]) is None


@pytest.mark.parametrize(
    ("iterations", "seconds", "met"), [(9, 5.0, False), (10, 0.9, False), (10, 1.0, True), (500, 0.0, False)]
)
def test_a_run_stops_when_both_limits_are_met(iterations: int, seconds: float, met: bool) -> None:
    assert StopRule(10, 1.0).is_met(iterations, seconds) is met


def test_trace_averages_are_in_order_and_the_last_may_be_short() -> None:
    assert trace_averages([1, 3, 5, 7, 10], 2) == [2, 6, 10]
    assert trace_averages([], 100) == []


def test_drift_compares_the_halves() -> None:
    assert drift([1.0] * 10 + [1.5] * 10) == 1.5
    assert drift([2.0] * 40) == 1.0
    assert drift([1.0] * 7) is None


@pytest.mark.parametrize("paired", [True, False])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(paired: bool) -> None:
    """Skewed values, true ratio of medians 1.1, 200 experiments: 95 % coverage is 190 +- 3 (standard deviations 3)."""
    generator = np.random.default_rng(7)
    hits = 0
    for seed in range(200):
        below = 2 + generator.gamma(2.0, 0.2, 80)
        above = 1.1 * (2 + generator.gamma(2.0, 0.2, 80))
        found = ratio_of_medians(above, below, paired=paired, resamples=400, seed=seed)
        hits += found.low <= 1.1 <= found.high
    assert 178 <= hits <= 199


def test_pairs_measured_in_one_disturbance_give_a_narrow_interval() -> None:
    generator = np.random.default_rng(3)
    load = np.repeat(generator.uniform(1, 3, 40), 5)
    base = load * generator.normal(1, 0.01, 200)
    other = 1.2 * load * generator.normal(1, 0.01, 200)
    paired = ratio_of_medians(other, base, paired=True)
    loose = ratio_of_medians(other, base, paired=False)
    assert paired.high - paired.low < 0.5 * (loose.high - loose.low)
    assert paired.low <= 1.2 <= paired.high
    assert ratio_of_medians(other, base, paired=True) == paired


def test_values_that_resemble_their_neighbours_widen_the_interval() -> None:
    """A slow random walk holds less information than as many independent values of the same spread."""
    generator = np.random.default_rng(5)
    walk = 10 + np.repeat(generator.normal(0, 1, 25), 8)
    mixed = generator.permutation(walk)
    steady = np.full(200, 10.0)
    widths = [r.high - r.low for r in (ratio_of_medians(v, steady, paired=False) for v in (walk, mixed))]
    assert widths[0] > 1.3 * widths[1]


@pytest.mark.parametrize(
    ("upper", "lower", "paired"),
    [([], [1.0], False), ([1.0], [0.0], False), ([1.0, float("nan")], [1.0, 1.0], True), ([1.0], [1.0, 1.0], True)],
)
def test_what_cannot_be_compared_is_refused(upper: list[float], lower: list[float], paired: bool) -> None:
    with pytest.raises(UsageError):
        ratio_of_medians(upper, lower, paired=paired)


def test_a_ratio_exceeds_an_allowance_only_with_its_whole_interval() -> None:
    assert Ratio(1.2, 1.06, 1.3).exceeds(5)
    assert not Ratio(1.2, 1.04, 1.3).exceeds(5)
