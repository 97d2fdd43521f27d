"""Integer random numbers and integer noise: the same bits on every machine and with every numpy.

SplitMix64 (Steele, Lea, Flood 2014) is used as a stream for single numbers and as a hash of coordinates for arrays;
numpy's own generators promise no stable stream of ranged integers between versions.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_MASK: Final = (1 << 64) - 1
_STEP: Final = 0x9E3779B97F4A7C15
_MIX1: Final = 0xBF58476D1CE4E5B9
_MIX2: Final = 0x94D049BB133111EB


class Stream:
    """A stream of random integers, fully given by its seed."""

    def __init__(self, seed: int) -> None:
        self._state = (seed * 0xD1342543DE82EF95 + _STEP) & _MASK

    def bits(self) -> int:
        """Return the next 64 random bits as an int >= 0."""
        self._state = (self._state + _STEP) & _MASK
        value = self._state
        value = ((value ^ (value >> 30)) * _MIX1) & _MASK
        value = ((value ^ (value >> 27)) * _MIX2) & _MASK
        return value ^ (value >> 31)

    def between(self, low: int, high: int) -> int:
        """Return an integer of ``low`` to ``high``, both included."""
        return low + (((self.bits() >> 32) * (high - low + 1)) >> 32)

    def chance(self, percent: int) -> bool:
        """Return True in ``percent`` of 100 cases."""
        return self.between(0, 99) < percent


def hashed(seed: int, count: int) -> NDArray[np.int64]:
    """Return ``count`` hashed integers of 0 to 2**31 - 1, int64 [count]."""
    value = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STEP) + np.uint64(seed & _MASK)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(_MIX1)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(_MIX2)
    return (value >> np.uint64(33)).astype(np.int64)


def smooth_noise(seed: int, height: int, width: int, cell: int) -> NDArray[np.int64]:
    """Return noise of -128 to 127, int64 [height, width]: hashed corners every ``cell`` pixels, bilinear between."""
    rows, columns = height // cell + 2, width // cell + 2
    corners = (hashed(seed, rows * columns) >> 23).reshape(rows, columns) - 128
    y, fy = np.divmod(np.arange(height, dtype=np.int64), cell)
    x, fx = np.divmod(np.arange(width, dtype=np.int64), cell)
    lines = corners[y] * (cell - fy)[:, None] + corners[y + 1] * fy[:, None]
    noise: NDArray[np.int64] = (lines[:, x] * (cell - fx) + lines[:, x + 1] * fx) // (cell * cell)
    return noise


def grain(seed: int, height: int, width: int, strength: int) -> NDArray[np.int64]:
    """Return noise without neighbours of about -strength to strength, triangular, int64 [height, width, 3]."""
    value = hashed(seed, height * width * 3).reshape(height, width, 3)
    total = (value & 1023) + ((value >> 10) & 1023)
    return (total - 1023) * strength >> 10
