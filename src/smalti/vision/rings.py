"""Closed rings of points: their area, the points they need, and whether several of them stay apart."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]
_PAIRS_AT_ONCE: Final = 2**20


def ring_area(ring: Numbers) -> float:
    """Return the signed area of a ring [N, 2] of (x, y), positive where x turns to y."""
    # Sums of int64 are exact; those of float64 are below 2**53, which is more than any picture has.
    points = ring.astype(np.int64) if np.issubdtype(ring.dtype, np.integer) else ring - ring[0]
    x, y = points[:, 0], points[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def corners(ring: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return a ring of upright edges without points that stand twice in a row or lie on a straight line."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    is_upright = ring[:, 0] == np.roll(ring[:, 0], 1)
    turning: NDArray[np.int32] = ring[is_upright != np.roll(is_upright, -1)]
    return turning


def crossings(ring: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return where the middle lines of rows of pixels cross a ring: row, x, and -1 where the edge goes down, else 1."""
    start, end = ring, np.roll(ring, -1, axis=0)
    low = np.ceil(np.minimum(start[:, 1], end[:, 1]) - 0.5).astype(np.int64)
    high = np.ceil(np.maximum(start[:, 1], end[:, 1]) - 0.5).astype(np.int64)
    counts = high - low
    edge = np.repeat(np.arange(len(ring)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + low[edge]
    (x, y), (dx, dy) = start[edge].T, (end - start)[edge].T
    return row, x + (row + 0.5 - y) * dx / dy, np.where(dy > 0, -1, 1)


def are_apart(rings: Sequence[NDArray[np.float64]]) -> bool:
    """Whether no ring touches itself or another, and all but the first lie in the first and not in each other.

    The first ring has a positive area, the others have a negative one; coordinates are whole numbers.
    """
    starts = np.concatenate(rings)
    ends = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    firsts = [0, *itertools.accumulate(len(ring) for ring in rings)][:-1]
    after = np.concatenate([np.roll(np.arange(len(r)), -1) + at for r, at in zip(rings, firsts, strict=True)])
    if _touch(starts, ends, after):
        return False
    # Along a row one is by turns outside and inside once, never inside twice: a whole ring crosses at least one row.
    parts = [crossings(ring) for ring in rings]
    row, x, turn = (np.concatenate([part[i] for part in parts]) for i in range(3))
    inside = np.cumsum(turn[np.lexsort((x, row))])
    return bool(((inside == 0) | (inside == 1)).all())


def _touch(starts: Numbers, ends: Numbers, after: NDArray[np.int64]) -> bool:
    """Whether two edges have a point in common that they need not have; ``after`` is the edge that follows each."""
    order = np.argsort(np.minimum(starts[:, 0], ends[:, 0]), kind="stable")
    low = np.minimum(starts, ends)[order]
    high = np.maximum(starts, ends)[order]
    # Only an edge that begins before another one ends, from left to right, can meet it.
    behind = np.searchsorted(low[:, 0], high[:, 0], side="right")
    counts = behind - np.arange(len(order)) - 1
    total = np.cumsum(counts)
    first = 0
    while first < len(order):
        done = total[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(total, done + _PAIRS_AT_ONCE, side="right")))
        one = np.repeat(np.arange(first, last), counts[first:last])
        other = np.arange(len(one)) - np.repeat(total[first:last] - counts[first:last] - done, counts[first:last])
        other += one + 1
        near = (low[one, 1] <= high[other, 1]) & (low[other, 1] <= high[one, 1])
        if _meet(starts, ends, after, order[one[near]], order[other[near]]):
            return True
        first = last
    return False


def _meet(starts: Numbers, ends: Numbers, after: Numbers, one: Numbers, other: Numbers) -> bool:
    a, b, c, d = starts[one], ends[one], starts[other], ends[other]
    sides = _side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b)
    crossing = (sides[0] * sides[1] <= 0) & (sides[2] * sides[3] <= 0)
    follows = (after[one] == other) | (after[other] == one)
    # Edges in a row share a point. They share more where one goes back over the other.
    back = (sides[0] == 0) & (sides[1] == 0) & (((b - a) * (d - c)).sum(axis=1) < 0)
    return bool((crossing & (~follows | back)).any())


def _side(a: Numbers, b: Numbers, point: Numbers) -> Numbers:
    across: Numbers = (b[:, 0] - a[:, 0]) * (point[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (point[:, 0] - a[:, 0])
    return np.sign(across)
