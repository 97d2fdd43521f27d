"""Statistics of timings: percentiles, and a bootstrap interval for the ratio of two medians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rounds = Sequence[Sequence[float]]
RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of medians with its 95 % interval."""

    value: float
    low: float
    high: float


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` per cent of the values lie (linear between neighbours)."""
    return float(np.percentile(np.asarray(values, np.float64), share))


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return percentile(values, 50)


def ratio_of_medians(upper: Rounds, lower: Rounds, resamples: int = RESAMPLES, seed: int = 1) -> Ratio:
    """Return ``median(upper) / median(lower)`` with a percentile-bootstrap interval.

    Both arguments hold one list of timings per round, taken in the same rounds.  Whole rounds are drawn, the same ones
    for both sides, so what disturbs a round disturbs both sides of a draw alike (a paired block bootstrap).

    Raises:
        ValueError: the two have different numbers of rounds, or none.
    """
    if len(upper) != len(lower) or not upper:
        raise ValueError(f"{len(upper)} and {len(lower)} rounds cannot be compared")
    above, below = _rectangle(upper), _rectangle(lower)
    draws = np.random.default_rng(seed).integers(0, len(upper), (resamples, len(upper)))
    ratios = np.nanmedian(above[draws], axis=(1, 2)) / np.nanmedian(below[draws], axis=(1, 2))
    low, high = np.percentile(ratios, (2.5, 97.5))
    return Ratio(float(np.nanmedian(above) / np.nanmedian(below)), float(low), float(high))


def _rectangle(rounds: Rounds) -> NDArray[np.float64]:
    """Return the rounds as rows of one array, short ones filled up with NaN."""
    table = np.full((len(rounds), max(len(r) for r in rounds)), np.nan)
    for row, values in zip(table, rounds, strict=True):
        row[: len(values)] = values
    return table
