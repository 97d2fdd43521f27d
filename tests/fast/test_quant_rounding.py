"""Rounding of depthwise filters."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smalti.quant.rounding import pixel_covariance, round_filters

EDGE = np.array([[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]])


def cost(error: np.ndarray) -> float:
    flat = error.reshape(-1)
    return float(flat @ pixel_covariance(*error.shape) @ flat)


@given(st.integers(0, 10_000))
def test_errors_on_smooth_pictures_are_smaller_than_with_nearest_integers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = (EDGE[:, :, None] * rng.uniform(0.5, 2.0, 4) + rng.normal(0, 0.1, (3, 3, 4))).astype(np.float32)
    finest = np.abs(weights).max(axis=(0, 1)).astype(np.float64) / 127.0
    values, scales = round_filters(weights, finest, 127)
    nearest = np.rint(weights / finest) * finest
    for channel in range(4):
        ours = cost(values[..., channel] * scales[channel] - weights[..., channel])
        assert ours <= cost(nearest[..., channel] - weights[..., channel])


def test_integers_and_scales_stay_within_their_limits() -> None:
    rng = np.random.default_rng(1)
    weights = rng.normal(0, 1, (3, 3, 64)).astype(np.float32)
    finest = np.abs(weights).max(axis=(0, 1)) / 127.0
    values, scales = round_filters(weights, finest, 127)
    assert np.abs(values).max() <= 127
    assert np.all(values == np.rint(values))
    assert np.all(scales >= finest)
    assert np.abs(values * scales - weights).max() < 3 * scales.max()


def test_zeros_stay_zeros() -> None:
    values, _ = round_filters(np.zeros((3, 3, 2), np.float32), np.ones(2), 127)
    assert not values.any()


def test_a_window_of_one_pixel_is_rounded_to_the_nearest() -> None:
    values, scales = round_filters(np.full((1, 1, 1), 0.6, np.float32), np.array([0.6 / 127]), 127)
    assert abs(float(values[0, 0, 0] * scales[0]) - 0.6) < 1e-6
