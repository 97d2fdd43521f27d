"""Closed rings of points: their area, the points they need, and whether several of them stay apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]
_PAIRS_AT_ONCE: Final = 2**20
_STRIP: Final = 16


def ring_area(ring: Numbers) -> float:
    """Return the signed area of a ring [N, 2] of (x, y), positive where x turns to y."""
    # Sums of int64 are exact; those of float64 are below 2**53, which is more than any picture has.
    points = ring.astype(np.int64) if np.issubdtype(ring.dtype, np.integer) else ring - ring[0]
    x, y = points[:, 0], points[:, 1]
    closing = x[-1] * y[0] - y[-1] * x[0]
    return float(np.dot(x[:-1], y[1:]) - np.dot(y[:-1], x[1:]) + closing) / 2


def corners(ring: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return a ring of upright edges without points that stand twice in a row or lie on a straight line."""
    before = _before(ring)
    ring = ring[(ring[:, 0] != before[:, 0]) | (ring[:, 1] != before[:, 1])]
    x = ring[:, 0]
    is_upright = x == _before(x)
    turning: NDArray[np.int32] = ring[is_upright != np.concatenate((is_upright[1:], is_upright[:1]))]
    return turning


def _before(values: Numbers) -> Numbers:
    """Return for each place what stands before it in a ring. np.roll does it too, in many times the time."""
    return np.concatenate((values[-1:], values[:-1]))


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
    """Whether rings meet only where two corners are in one place, and all others lie in the first, none in another.

    The first ring has a positive area, the others have a negative one; coordinates are whole numbers.
    """
    if _touch(np.concatenate(rings), np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])):
        return False
    # Along a row one is by turns outside and inside once, never inside twice: a whole ring crosses at least one row.
    parts = [crossings(ring) for ring in rings]
    row, x, turn = (np.concatenate([part[i] for part in parts]) for i in range(3))
    inside = np.cumsum(turn[np.lexsort((x, row))])
    return bool(((inside == 0) | (inside == 1)).all())


def _touch(starts: Numbers, ends: Numbers) -> bool:
    """Whether two edges have a point in common that is not an end of both."""
    low, high = np.minimum(starts, ends), np.maximum(starts, ends)
    # Edges are looked at in strips of rows, laid side by side: those far above each other are never a pair.
    strip = (low[:, 1] // _STRIP).astype(np.int64)
    strips = (high[:, 1] // _STRIP).astype(np.int64) - strip + 1
    edge = np.repeat(np.arange(len(starts)), strips)
    strip = np.arange(len(edge)) - np.repeat(np.cumsum(strips) - strips - strip, strips)
    aside = strip * (high[:, 0].max() - low[:, 0].min() + 1)
    order = np.argsort(low[edge, 0] + aside, kind="stable")
    edge, aside = edge[order], aside[order]
    starts, ends, low, high = starts[edge], ends[edge], low[edge], high[edge]
    # Only an edge that begins before another one ends, from left to right, can meet it.
    behind = np.searchsorted(low[:, 0] + aside, high[:, 0] + aside, side="right")
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
        near &= edge[one] != edge[other]
        one, other = one[near], other[near]
        if _meet(starts[one], ends[one], starts[other], ends[other]):
            return True
        first = last
    return False


def _meet(a: Numbers, b: Numbers, c: Numbers, d: Numbers) -> bool:
    """Whether an edge from a to b and that from c to d, whose boxes meet, share more than an end of both."""
    sides = _cross(b - a, c - a), _cross(b - a, d - a), _cross(d - c, a - c), _cross(d - c, b - c)
    meeting = (np.sign(sides[0]) * np.sign(sides[1]) <= 0) & (np.sign(sides[2]) * np.sign(sides[3]) <= 0)
    at_a = _same(a, c) | _same(a, d)
    at_b = _same(b, c) | _same(b, d)
    at_c = _same(c, a) | _same(c, b)
    # From a common end both may lead along one line, then the shorter lies on the longer.
    away = np.where(at_a[:, None], b - a, a - b)
    also = np.where(at_c[:, None], d - c, c - d)
    along = (_cross(away, also) == 0) & ((away * also).sum(axis=1) > 0)
    return bool((meeting & (~(at_a | at_b) | along)).any())


def _cross(u: Numbers, v: Numbers) -> Numbers:
    across: Numbers = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    return across


def _same(one: Numbers, other: Numbers) -> Numbers:
    equal: Numbers = (one == other).all(axis=1)
    return equal
