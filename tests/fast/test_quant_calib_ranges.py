"""Histograms of any values in one pass, and the range that each algorithm chooses from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from smalti.numerics import DType
from smalti.quant.modes import ActivationScheme, CalibAlgo
from smalti.quant.observers import BINS, Histogram
from smalti.quant.params import activation_params
from smalti.quant.ranges import choose_range, clipped_share
from tolerance import Tol, assert_close

Floats = NDArray[np.float32]
RNG = np.random.default_rng(4)


def histogram(*parts: Any) -> Histogram:
    made = Histogram()
    for part in parts:
        values = np.asarray(part, np.float32)
        made.add(values, float(values.min()), float(values.max()))
    return made


def choose(values: Floats, algo: CalibAlgo, dtype: DType = DType.UINT8, symmetric: bool = False) -> tuple[float, float]:
    scheme = ActivationScheme.SYMMETRIC if symmetric else ActivationScheme.ASYMMETRIC
    return choose_range(float(values.min()), float(values.max()), histogram(values), algo, scheme, dtype)


def error_of(values: Floats, low: float, high: float) -> float:
    """Return the mean squared error of the values as uint8 of a range."""
    p = activation_params(low, high, DType.UINT8, ActivationScheme.ASYMMETRIC)
    q = np.clip(np.rint(values.astype(np.float64) / p.scale) + p.zero_point, 0, 255)
    return float(np.square((q - p.zero_point) * p.scale - values).mean())


PARTS = {
    "normal": [RNG.normal(0, s, 500) for s in (1.0, 3.0, 0.1, 40.0)],
    "relu6": [np.clip(RNG.normal(1, 3, 800), 0, 6) for _ in range(3)],
    "zeros first": [np.zeros(50), np.zeros(3), RNG.normal(5, 0.01, 200)],
    "zeros last": [RNG.normal(5, 0.01, 200), np.zeros(53)],
    "one value": [np.full(7, 1.25), np.full(9, 1.25)],
    "negative": [-np.abs(RNG.normal(0, 2, 300)) - 1],
    "tiny": [RNG.normal(0, 1e-37, 300)],
    "huge": [RNG.normal(0, 1e37, 300)],
    "far from zero": [1000 + RNG.normal(0, 1e-3, 300)],
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS.keys())
def test_a_histogram_counts_every_value_in_its_cell(parts: list[Floats]) -> None:
    made, values = histogram(*parts), np.concatenate(parts).astype(np.float32)
    assert made.total == values.size
    assert made.counts.size <= BINS
    cells = np.floor(values.astype(np.float64) / made.width).astype(np.int64) - made.first
    assert_close(made.counts, np.bincount(cells, minlength=made.counts.size), Tol.EXACT)
    assert np.log2(made.width) == round(np.log2(made.width))


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS.keys())
def test_the_order_of_the_parts_does_not_matter(parts: list[Floats]) -> None:
    forward, backward, whole = histogram(*parts), histogram(*parts[::-1]), histogram(np.concatenate(parts))
    for other in (backward, whole):
        assert (other.width, other.first) == (forward.width, forward.first)
        assert_close(other.counts, forward.counts, Tol.EXACT)


def test_cells_are_fine_enough_for_256_levels() -> None:
    for values in (RNG.normal(0, 1, 4000), np.abs(RNG.normal(0, 1, 4000)), RNG.uniform(-1, 7, 4000)):
        made = histogram(values)
        assert made.width * 4 <= (values.max() - values.min()) / 255


def test_a_tensor_that_is_always_zero_has_the_range_zero() -> None:
    for algo in CalibAlgo:
        assert choose(np.zeros(9, np.float32), algo) == (0.0, 0.0)
    assert clipped_share(0.0, 0.0, histogram(np.zeros(9))) == 0.0


def test_linear_is_what_was_seen_and_clips_nothing() -> None:
    values = RNG.normal(0, 1, 5000).astype(np.float32)
    low, high = choose(values, CalibAlgo.LINEAR)
    assert (low, high) == (float(values.min()), float(values.max()))
    assert clipped_share(low, high, histogram(values)) == 0.0


def test_percentile_leaves_out_one_in_ten_thousand_at_each_end() -> None:
    values = RNG.normal(0, 1, 200_000).astype(np.float32)
    low, high = choose(values, CalibAlgo.PERCENTILE)
    width = histogram(values).width
    for got, want in ((low, np.quantile(values, 0.0001)), (high, np.quantile(values, 0.9999))):
        assert abs(got - want) <= 2 * width
    assert 0.0001 < clipped_share(low, high, histogram(values)) < 0.0003
    few = values[:100]
    assert choose(few, CalibAlgo.PERCENTILE) == (float(few.min()), float(few.max()))


SHAPES = {
    "normal": RNG.normal(0, 1, 60_000),
    "laplace": RNG.laplace(0.3, 1, 60_000),
    "relu": np.maximum(RNG.laplace(-1, 1, 60_000), 0),
    "relu6": np.clip(RNG.normal(0, 3, 60_000), 0, 6),
    "outliers": np.concatenate([RNG.normal(0, 1, 60_000), [200.0, -90.0]]),
    "negative": -np.abs(RNG.laplace(0, 1, 60_000)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_mse_is_as_good_as_any_range_of_a_fine_grid(name: str) -> None:
    values = SHAPES[name].astype(np.float32)
    seen = float(values.min()), float(values.max())
    low, high = choose(values, CalibAlgo.MSE)
    assert seen[0] <= low <= high <= seen[1]
    best = min(
        error_of(values, seen[0] * a, seen[1] * b)
        for a in (np.linspace(0.05, 1, 24) if seen[0] < 0 else [1.0])
        for b in (np.linspace(0.05, 1, 24) if seen[1] > 0 else [1.0])
    )
    assert error_of(values, low, high) <= 1.02 * best
    assert error_of(values, low, high) <= 1.001 * error_of(values, *seen)


def test_mse_of_a_tensor_that_is_never_negative_begins_at_its_lowest_value() -> None:
    values = SHAPES["relu6"].astype(np.float32)
    low, high = choose(values, CalibAlgo.MSE)
    assert low == 0.0 and high > 5.5


def test_mse_for_a_symmetric_range_and_for_int16() -> None:
    values = SHAPES["laplace"].astype(np.float32)
    low, high = choose(values, CalibAlgo.MSE, symmetric=True)
    assert low == -high and 4 < high < 0.9 * np.abs(values).max()
    plain = SHAPES["normal"].astype(np.float32)
    wide = choose(plain, CalibAlgo.MSE, DType.INT16)
    assert wide[1] > choose(plain, CalibAlgo.MSE)[1] and max(-wide[0], wide[1]) > 0.98 * np.abs(plain).max()


def test_entropy_cuts_a_long_tail_but_not_a_full_range() -> None:
    tail = np.concatenate([RNG.normal(0, 1, 100_000), RNG.uniform(-50, 50, 30)]).astype(np.float32)
    low, high = choose(tail, CalibAlgo.ENTROPY)
    assert 3 < high < 25 and low == -high
    full = RNG.uniform(0, 6, 100_000).astype(np.float32)
    low, high = choose(full, CalibAlgo.ENTROPY)
    assert low == float(full.min()) and high > 5.9


def test_the_zeros_of_a_relu_do_not_change_the_entropy_range() -> None:
    positive = np.abs(RNG.normal(0, 1, 50_000)).astype(np.float32)
    with_zeros = np.concatenate([positive, np.zeros(10**6, np.float32)])
    assert choose(with_zeros, CalibAlgo.ENTROPY)[1] == choose(positive, CalibAlgo.ENTROPY)[1]


def test_the_clipped_share_is_the_share_outside() -> None:
    values = RNG.uniform(-1, 3, 100_000).astype(np.float32)
    assert abs(clipped_share(-0.5, 2.5, histogram(values)) - 0.25) < 0.01
    assert clipped_share(1.0, 2.5, histogram(values)) < clipped_share(0.0, 2.0, histogram(values))
