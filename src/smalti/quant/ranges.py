"""From what was observed of a tensor to the range that its integers stand for."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from smalti.numerics import DType
from smalti.quant.modes import ActivationScheme, CalibAlgo
from smalti.quant.observers import Histogram

Floats = NDArray[np.float64]
Range = tuple[float, float]

PERCENTILE = 99.99
"""Share of the values, in percent, that lie below the upper end of a range (and above its lower one)."""

STEPS = 100
"""Candidates of one search for the best end of a range."""

ROUNDS = 3
ENTROPY_LEVELS = 128
"""Levels on each side of zero; a tensor that is never negative has twice as many."""

ENTROPY_STRIDE = 16


def choose_range(
    low: float, high: float, histogram: Histogram, algo: CalibAlgo, scheme: ActivationScheme, dtype: DType
) -> Range:
    """Return the range ``(low, high)`` for a tensor.

    Args:
        low, high: lowest and highest value seen; the result lies within.
        histogram: of the values.
        algo: ``linear`` takes what was seen; ``percentile`` leaves out 0.01 % of the values at each end; ``mse`` makes
            the sum of the squared rounding and clipping errors smallest; ``entropy`` makes the relative entropy of
            the quantised distribution smallest (Migacz, "8-bit inference with TensorRT", 2017).
        scheme: whether the range will be made symmetric around zero.
        dtype: type of the integers.
    """
    if algo is CalibAlgo.LINEAR or not histogram.total or low == high:
        return low, high
    if algo is CalibAlgo.PERCENTILE:
        return _percentile(low, high, histogram)
    if algo is CalibAlgo.ENTROPY:
        limit = _entropy_limit(histogram, ENTROPY_LEVELS * (1 if low < 0.0 else 2))
        return max(low, -limit), min(high, limit)
    first, last = dtype.limits
    if low < 0.0 and (scheme is ActivationScheme.SYMMETRIC or dtype is DType.INT16):
        limit = _symmetric_limit(low, high, histogram, last - first - 1)
        return max(low, -limit), min(high, limit)
    return _least_squares(low, high, histogram, last - first)


def clipped_share(low: float, high: float, histogram: Histogram) -> float:
    """Return the share of the values in cells that lie wholly outside ``[low, high]`` widened to hold zero."""
    starts, total = histogram.starts, histogram.total
    outside = (starts + histogram.width <= min(low, 0.0)) | (starts > max(high, 0.0))
    return int(histogram.counts[outside].sum()) / total if total else 0.0


def _percentile(low: float, high: float, histogram: Histogram) -> Range:
    running = np.cumsum(histogram.counts)
    total = int(running[-1])
    left_out = total * (1.0 - PERCENTILE / 100.0)
    first = int(np.searchsorted(running, left_out, side="right"))
    last = int(np.searchsorted(running, total - left_out, side="left"))
    edges = ((histogram.first + first) * histogram.width, (histogram.first + last + 1) * histogram.width)
    return max(low, edges[0]), min(high, edges[1])


# ---- least squares --------------------------------------------------------------------------------------------------


def squared_error(lows: Floats, highs: Floats, histogram: Histogram, levels: int) -> Floats:
    """Return the sum of squared errors for each candidate range, the zero point rounded as it will be."""
    used = np.flatnonzero(histogram.counts)
    values, counts = histogram.starts[used] + histogram.width / 2, histogram.counts[used].astype(np.float64)
    errors = np.empty(lows.size)
    for i, (low, high) in enumerate(zip(np.minimum(lows, 0.0), np.maximum(highs, 0.0), strict=True)):
        scale = (high - low) / levels
        zero = np.rint(-low / scale)
        steps = np.clip(np.rint(values / scale), -zero, levels - zero)
        errors[i] = counts @ np.square(values - steps * scale)
    return errors


def _least_squares(low: float, high: float, histogram: Histogram, levels: int) -> Range:
    if low >= 0.0:
        return low, _search(high, lambda c: squared_error(np.zeros_like(c), c, histogram, levels))
    if high <= 0.0:
        return -_search(-low, lambda c: squared_error(-c, np.zeros_like(c), histogram, levels)), high
    factor = _search(1.0, lambda c: squared_error(low * c, high * c, histogram, levels))
    best = low * factor, high * factor
    for _ in range(ROUNDS):
        above = _best_high(best[0], high, histogram, levels)
        found = _best_low(low, above, histogram, levels), above
        if found == best:
            break
        best = found
    return best


def _best_high(low: float, high: float, histogram: Histogram, levels: int) -> float:
    return _search(high, lambda c: squared_error(np.full_like(c, low), c, histogram, levels))


def _best_low(low: float, high: float, histogram: Histogram, levels: int) -> float:
    return -_search(-low, lambda c: squared_error(-c, np.full_like(c, high), histogram, levels))


def _symmetric_limit(low: float, high: float, histogram: Histogram, levels: int) -> float:
    return _search(max(-low, high), lambda c: squared_error(-c, c, histogram, levels))


def _search(largest: float, error: Callable[[Floats], Floats]) -> float:
    """Return the best number in ``(0, largest]``: first in steps of a hundredth, then finer around the best."""
    grid = np.arange(1, STEPS + 1) / STEPS
    best = float(grid[np.argmin(error(grid * largest))])
    fine = np.clip(best + np.arange(-STEPS // 10, STEPS // 10 + 1) / STEPS / 10, grid[0], 1.0)
    return largest * float(fine[np.argmin(error(fine * largest))])


# ---- relative entropy -----------------------------------------------------------------------------------------------


def _entropy_limit(histogram: Histogram, levels: int) -> float:
    """Return the magnitude at which clipping loses the least information.

    For each candidate limit, the magnitudes below it (those above counted at the limit) are compared with what that
    many levels leave of them.
    """
    counts = _magnitudes(histogram)
    # Zeros are exact in every range; the many that a ReLU makes would drown the rest.
    counts[0] = counts[1] if counts.size > 1 else counts[0]
    if counts.size <= levels:
        return counts.size * histogram.width
    limits = [*range(levels, counts.size, ENTROPY_STRIDE), counts.size]
    divergences = [_divergence(counts, limit, levels) for limit in limits]
    return float(limits[int(np.argmin(divergences))] * histogram.width)


def _magnitudes(histogram: Histogram) -> Floats:
    """Return the histogram of absolute values, cell 0 beginning at zero."""
    cells = np.arange(histogram.counts.size) + histogram.first
    magnitude = np.where(cells < 0, -1 - cells, cells)
    counts: Floats = np.bincount(magnitude, histogram.counts.astype(np.float64)).astype(np.float64)
    return counts


def _divergence(counts: Floats, limit: int, levels: int) -> float:
    """Return the relative entropy of magnitudes clipped at ``limit`` cells to their quantised form."""
    kept = counts[:limit]
    wanted = kept.copy()
    wanted[-1] += counts[limit:].sum()
    level = np.arange(limit) * levels // limit
    occupied = kept > 0.0
    sums = np.bincount(level, kept, minlength=levels)
    members = np.bincount(level, occupied, minlength=levels)
    made = np.where(occupied, (sums / np.maximum(members, 1.0))[level], 0.0)
    if not made.sum():
        return math.inf
    p, q = wanted / wanted.sum(), made / made.sum()
    # A value clipped into an empty cell has no counterpart; a small share of the mass stands for it.
    smallest = 1e-4 / limit
    where = p > 0.0
    return float(np.sum(p[where] * np.log(p[where] / np.maximum(q[where], smallest))))
