"""Statistics of latencies: percentiles, when to stop, and a bootstrap interval for the ratio of two medians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import UsageError

Values = Sequence[float] | NDArray[np.float64]

PERCENTILES = (90, 95, 99)
RESAMPLES = 2000
CONFIDENCE = 95.0
_CELLS = 1_000_000


@dataclass(frozen=True, slots=True)
class Summary:
    """What a set of measurements looks like; the unit is that of the values.

    A percentile lies linearly between the two nearest sorted values (numpy's default, Hyndman and Fan's type 7).
    """

    count: int
    minimum: float
    maximum: float
    mean: float
    median: float
    p90: float
    p95: float
    p99: float

    def to_json(self) -> dict[str, float]:
        """Return plain values; the keys are the columns of the tables."""
        return {
            "count": self.count,
            "min": self.minimum,
            "max": self.maximum,
            "mean": self.mean,
            "median": self.median,
            "p90": self.p90,
            "p95": self.p95,
            "p99": self.p99,
        }


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of medians with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"value": self.value, "ci95": [self.low, self.high]}

    def exceeds(self, percent: float) -> bool:
        """Return whether the whole interval lies above ``1 + percent / 100``."""
        return self.low > 1 + percent / 100


@dataclass(frozen=True, slots=True)
class StopRule:
    """A run ends when it has made ``iterations`` and has lasted ``seconds``: both, not one of them."""

    iterations: int
    seconds: float

    def is_met(self, iterations: int, seconds: float) -> bool:
        """Return whether a run that made this many iterations in this time is done."""
        return iterations >= self.iterations and seconds >= self.seconds


def summarise(values: Values) -> Summary | None:
    """Return the summary of some values, or None where there are none."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return None
    median, p90, p95, p99 = (float(v) for v in np.percentile(array, (50, *PERCENTILES)))
    return Summary(array.size, float(array.min()), float(array.max()), float(array.mean()), median, p90, p95, p99)


def trace_averages(values: Values, runs: int) -> list[float]:
    """Return the mean of each ``runs`` values in their order; the last group may be shorter."""
    array = np.asarray(values, dtype=np.float64)
    return [float(array[i : i + runs].mean()) for i in range(0, array.size, runs)]


def drift(values: Values) -> float | None:
    """Return the median of the second half over the median of the first; None for fewer than eight values."""
    array = np.asarray(values, dtype=np.float64)
    half = array.size // 2
    if half < 4:
        return None
    first = float(np.median(array[:half]))
    return float(np.median(array[half:])) / first if first > 0 else None


def ratio_of_medians(upper: Values, lower: Values, *, paired: bool, resamples: int = RESAMPLES, seed: int = 1) -> Ratio:
    """Return ``median(upper) / median(lower)`` with a 95 % interval by the circular block bootstrap.

    Neighbouring timings resemble each other (other load, frequency), so blocks of about the cube root of the number of
    values are drawn rather than single values (Politis and Romano, 1992).  ``paired`` draws the same blocks for both
    sides: for values that were measured in turns, where what disturbs a round disturbs both sides alike.

    Raises:
        UsageError: a side has no values or one that is not positive, or paired sides differ in length.
    """
    above, below = np.asarray(upper, dtype=np.float64), np.asarray(lower, dtype=np.float64)
    for side in (above, below):
        if side.size == 0 or not np.isfinite(side).all() or float(side.min()) <= 0:
            raise UsageError("only positive timings can be compared, and at least one on each side")
    if paired and above.size != below.size:
        raise UsageError(f"{above.size} and {below.size} rounds cannot be compared in pairs")
    generator = np.random.default_rng(seed)
    largest = max(above.size, below.size)
    at_once = max(1, _CELLS // largest)
    ratios: list[NDArray[np.float64]] = []
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        chosen = _blocks(rows, above.size, generator)
        others = chosen if paired else _blocks(rows, below.size, generator)
        ratios.append(np.median(above[chosen], axis=1) / np.median(below[others], axis=1))
    tail = (100 - CONFIDENCE) / 2
    low, high = (float(v) for v in np.percentile(np.concatenate(ratios), (tail, 100 - tail)))
    return Ratio(float(np.median(above)) / float(np.median(below)), low, high)


def _blocks(rows: int, count: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """Return ``rows`` draws of ``count`` places each, in blocks of neighbours."""
    length = max(1, round(count ** (1 / 3)))
    starts = generator.integers(0, count, (rows, -(-count // length), 1))
    chosen: NDArray[np.intp] = ((starts + np.arange(length)) % count).reshape(rows, -1)[:, :count]
    return chosen
