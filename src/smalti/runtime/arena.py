"""Placement of a model's temporaries in one workspace: buffers that are alive at the same step never overlap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smalti.artifact.manifest import ArenaBuffer

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Placement:
    """Byte offset of every buffer (multiples of 64) and the bytes of the whole workspace."""

    offsets: tuple[int, ...]
    total: int


class ArenaPlanner:
    """Places the same buffers for changing sizes.

    Greedy best fit: buffers are taken by decreasing size (or size x lifetime, whichever ends smaller); each goes into
    the tightest gap between the buffers alive with it, or behind them.  Deterministic.  Lifetimes do not depend on
    sizes, so who conflicts with whom is computed once.
    """

    def __init__(self, buffers: Sequence[ArenaBuffer]) -> None:
        self._lifetimes = [b.last - b.first + 1 for b in buffers]
        self._conflicts = [
            frozenset(j for j, c in enumerate(buffers) if j != i and b.first <= c.last and c.first <= b.last)
            for i, b in enumerate(buffers)
        ]

    def place(self, sizes: Sequence[int]) -> Placement:
        """Return a placement for these sizes in bytes (not negative), one per buffer."""
        rounded = [-(-size // ALIGNMENT) * ALIGNMENT for size in sizes]
        keys: tuple[Callable[[int], int], ...] = (
            lambda i: rounded[i],
            lambda i: rounded[i] * self._lifetimes[i],
        )
        candidates = [self._place(rounded, sorted(range(len(rounded)), key=lambda i: (-key(i), i))) for key in keys]
        return min(candidates, key=lambda placement: placement.total)

    def _place(self, sizes: Sequence[int], order: Sequence[int]) -> Placement:
        offsets = [0] * len(sizes)
        placed: list[tuple[int, int, int]] = []  # (offset, end, buffer), sorted by offset
        total = 0
        for i in order:
            size = sizes[i]
            if size == 0:
                continue
            offsets[i] = _best_gap(placed, self._conflicts[i], size)
            end = offsets[i] + size
            total = max(total, end)
            placed.append((offsets[i], end, i))
            placed.sort()
        return Placement(tuple(offsets), total)


def _best_gap(placed: Sequence[tuple[int, int, int]], conflicts: frozenset[int], size: int) -> int:
    best, best_gap, end = -1, 0, 0
    for offset, stop, j in placed:
        if j not in conflicts:
            continue
        gap = offset - end
        if gap >= size and (best < 0 or gap < best_gap):
            best, best_gap = end, gap
        end = max(end, stop)
    return best if best >= 0 else end
