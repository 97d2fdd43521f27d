"""Rounding of filters: which integers stand for the few weights of a channel, together rather than one by one.

A filter that looks for edges has large weights that cancel, and its answer is small beside them.  Rounding each weight
to the nearest integer then errs in proportion to the large ones.  But neighbouring pixels are nearly the same, so what
an error does to the answer is nearly its sum: rounding that keeps the sum costs far less.  Errors are passed on from
weight to weight as in optimal brain compression (Frantar and Alistarh, "Optimal Brain Compression", 2022), with a fixed
correlation of pixels in place of observed ones, and several scales are tried for each channel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CORRELATION = 0.95
"""Of the values of two neighbouring pixels; it falls with each step between them."""

STRETCHES = np.linspace(1.0, 1.25, 26)
"""Scales that are tried, as multiples of the finest that holds the largest weight."""

Array = NDArray[np.float64]


def round_filters(weights: NDArray[np.float32], finest: Array, levels: int) -> tuple[Array, Array]:
    """Return the integers (as float64) and scales that err least on smooth pictures.

    Args:
        weights: ``[kh, kw, channels]``.
        finest: the smallest scale that each channel may have.
        levels: the largest integer.

    Returns:
        Integers ``[kh, kw, channels]`` and scales ``[channels]``.
    """
    height, width, channels = weights.shape
    taps = weights.reshape(-1, channels).astype(np.float64)
    covariance = pixel_covariance(height, width)
    best_cost = np.full(channels, np.inf)
    best, scales = np.zeros_like(taps), finest.copy()
    nearest = np.clip(np.rint(taps / finest), -levels, levels)
    tried = [(finest, nearest), *((s, _passed_on(taps, s, covariance, levels)) for s in finest * STRETCHES[:, None])]
    for scale, values in tried:
        error = values * scale - taps
        cost = np.einsum("kc,kj,jc->c", error, covariance, error)
        better = cost < best_cost
        best_cost = np.where(better, cost, best_cost)
        best, scales = np.where(better, values, best), np.where(better, scale, scales)
    return best.reshape(weights.shape), scales


def pixel_covariance(height: int, width: int) -> Array:
    """Return the assumed covariance of the pixels under a window ``[height * width, height * width]``."""
    y, x = (axis.reshape(-1) for axis in np.indices((height, width)))
    steps = np.abs(y[:, None] - y) + np.abs(x[:, None] - x)
    return np.asarray(CORRELATION**steps, np.float64)


def _passed_on(taps: Array, scale: Array, covariance: Array, levels: int) -> Array:
    """Round one weight after another; each passes its error on to those not rounded yet."""
    left = taps.copy()
    values = np.zeros_like(left)
    upper = np.linalg.cholesky(np.linalg.inv(covariance)).T
    for i in range(left.shape[0]):
        values[i] = np.clip(np.rint(left[i] / scale), -levels, levels)
        error = (left[i] - values[i] * scale) / upper[i, i]
        left[i + 1 :] -= upper[i, i + 1 :, None] * error
    return values
