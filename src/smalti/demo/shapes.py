"""Shapes and surfaces of the demo pictures, in integers: lengths are quarter pixels, rotations are integer vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smalti.demo.lattice import Stream

Plane = NDArray[np.int64]
SCALE: Final = 4


@dataclass(frozen=True, slots=True)
class Turn:
    """A rotation by the integer vector (a, b); ``norm`` is its rounded-down length."""

    a: int
    b: int
    norm: int

    def axes(self, x: Plane, y: Plane) -> tuple[Plane, Plane]:
        """Return the rotated coordinates of the points (x [W], y [H, 1]), each int64 [H, W]."""
        return (x * self.a + y * self.b) // self.norm, (y * self.a - x * self.b) // self.norm


def random_turn(stream: Stream) -> Turn:
    """Return a rotation by a random angle."""
    while True:
        a, b = stream.between(-127, 127), stream.between(-127, 127)
        if 48 * 48 <= a * a + b * b <= 127 * 127:
            return Turn(a, b, isqrt(a * a + b * b))


def _disk(u: Plane, v: Plane, r: int) -> NDArray[np.bool_]:
    return u * u + v * v <= r * r


def _square(u: Plane, v: Plane, r: int) -> NDArray[np.bool_]:
    side = r * 13 // 16
    return np.maximum(np.abs(u), np.abs(v)) <= side


def _triangle(u: Plane, v: Plane, r: int) -> NDArray[np.bool_]:
    """An equilateral triangle with its corners at distance r; 443 / 256 stands for the root of 3."""
    return (2 * v <= r) & (256 * (v + r) >= 443 * np.abs(u))


def _ring(u: Plane, v: Plane, r: int) -> NDArray[np.bool_]:
    distance = u * u + v * v
    inner = r // 2
    return (distance <= r * r) & (distance > inner * inner)


def _star(u: Plane, v: Plane, r: int) -> NDArray[np.bool_]:
    """A star with six points: two triangles."""
    return _triangle(u, v, r) | _triangle(u, -v, r)


def _cross(u: Plane, v: Plane, r: int) -> NDArray[np.bool_]:
    arm, length = r * 5 // 16, r * 15 // 16
    across, along = np.abs(u), np.abs(v)
    return ((across <= arm) & (along <= length)) | ((along <= arm) & (across <= length))


Outline = Callable[[Plane, Plane, int], NDArray[np.bool_]]
OUTLINES: Final[tuple[Outline, ...]] = (_disk, _square, _triangle, _ring, _star, _cross)


def coverage(
    outline: Outline, turn: Turn, centre: tuple[int, int], radius: int, flatten: int, size: tuple[int, int]
) -> Plane:
    """Return how many of the 4 samples of each pixel lie in a shape, int64 [H, W].

    ``centre`` is (y, x) and ``radius`` a length, in quarter pixels; ``flatten`` of 256 to 320 shrinks one axis by
    256 / flatten; ``size`` is (height, width) in pixels.
    """
    height, width = size
    result = np.zeros((height, width), dtype=np.int64)
    reach = radius * 3 // 2
    top, bottom = max(0, (centre[0] - reach) // SCALE), min(height, (centre[0] + reach) // SCALE + 1)
    left, right = max(0, (centre[1] - reach) // SCALE), min(width, (centre[1] + reach) // SCALE + 1)
    if top >= bottom or left >= right:
        return result
    y = (np.arange(2 * top, 2 * bottom, dtype=np.int64) * 2 + 1 - centre[0])[:, None]
    x = np.arange(2 * left, 2 * right, dtype=np.int64) * 2 + 1 - centre[1]
    u, v = turn.axes(x, y)
    inside = outline(u, v * flatten // 256, radius).astype(np.int64)
    rows = inside[0::2] + inside[1::2]
    result[top:bottom, left:right] = rows[:, 0::2] + rows[:, 1::2]
    return result


def bands(turn: Turn, period: int, size: tuple[int, int], *, crossed: bool) -> Plane:
    """Return 0 and 1 in stripes, or in squares when ``crossed``; each ``period`` quarter pixels wide, int64 [H, W]."""
    y = np.arange(size[0], dtype=np.int64)[:, None] * SCALE
    x = np.arange(size[1], dtype=np.int64) * SCALE
    u, v = turn.axes(x, y)
    count = u // period + (v // period if crossed else 0)
    return count & 1


def ramp(turn: Turn, size: tuple[int, int], low: int, high: int) -> Plane:
    """Return values that go from ``low`` to ``high`` along a direction over the whole picture, int64 [H, W]."""
    y = np.arange(size[0], dtype=np.int64)[:, None] * SCALE
    x = np.arange(size[1], dtype=np.int64) * SCALE
    u, _ = turn.axes(x, y)
    first = int(u.min())
    return low + (u - first) * (high - low) // max(1, int(u.max()) - first)
