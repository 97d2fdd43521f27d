"""Images read at computed positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from smalti.errors import never
from smalti.ir.arrays import Array
from smalti.ir.dims import nonnegative
from smalti.ir.schema import Op, operation
from smalti.ir.shapes import image_sizes, require
from smalti.ir.types import TensorType
from smalti.numerics import DType

__all__ = ["GridSample", "SampleEdge", "SampleFn"]

CUBIC_ALPHA = -0.75
FAR = 4
"""Positions are limited to this many pixels outside the image; all that a window of 4 x 4 there sees is outside."""


class SampleFn(Enum):
    """How pixels around a position become one."""

    NEAREST = "nearest"
    LINEAR = "linear"
    CUBIC = "cubic"


class SampleEdge(Enum):
    """What stands outside the image."""

    ZEROS = "zeros"
    BORDER = "border"
    REFLECTION = "reflection"


FIRST_TAP = {SampleFn.NEAREST: 0, SampleFn.LINEAR: 0, SampleFn.CUBIC: -1}
TAPS = {SampleFn.NEAREST: 1, SampleFn.LINEAR: 2, SampleFn.CUBIC: 4}


@operation("x", "grid", values={"fn": frozenset(SampleFn), "edge": frozenset(SampleEdge)})
@dataclass(frozen=True, slots=True)
class GridSample(Op):
    """NHWC images read where ``grid`` ``[n, rows, columns, 2]`` says: (x, y), from -1 at one edge to 1 at the other.

    An edge is the middle of the outermost pixel where ``align_corners``, else its outer border.  A position that is no
    number lies far to the left, or above.
    """

    fn: SampleFn
    edge: SampleEdge
    align_corners: bool

    def result(self, x: TensorType, grid: TensorType) -> TensorType:
        """As many pixels as the grid has positions."""
        h, w, c = image_sizes(x, "GridSample")
        fits = grid.rank == 4 and grid.shape[0] == x.shape[0] and grid.shape[3] == 2 and grid.dtype is x.dtype
        require(fits, f"GridSample: a grid {grid} for images {x}")
        require(x.dtype in (DType.FLOAT32, DType.FLOAT64), f"GridSample of {x.dtype.value}")
        require(nonnegative(h - 1) and nonnegative(w - 1), f"GridSample: images without pixels: {x}")
        return TensorType(x.dtype, (*grid.shape[:3], c))

    @staticmethod
    def meaning(x: Array, grid: Array, *, fn: SampleFn, edge: SampleEdge, align_corners: bool) -> Array:
        """Sums of columns first, then of rows; positions and weights have the type of the images."""
        image = np.arange(x.shape[0]).reshape(-1, 1, 1)
        result = np.zeros((*grid.shape[:3], x.shape[3]), x.dtype)
        columns = list(_taps(grid[..., 0], x.shape[2], fn, edge, align_corners))
        for row, row_weight, row_there in _taps(grid[..., 1], x.shape[1], fn, edge, align_corners):
            line = np.zeros_like(result)
            for column, weight, there in columns:
                pixel = np.where((there & row_there)[..., None], x[image, row, column], x.dtype.type(0))
                line = line + weight[..., None] * pixel
            result = result + row_weight[..., None] * line
        return result


def _taps(
    positions: Array, extent: int, fn: SampleFn, edge: SampleEdge, align_corners: bool
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield (index, weight, whether it is in the image) for each pixel along one axis that a position reads."""
    kind = positions.dtype.type
    low, high = (kind(0), kind(extent - 1)) if align_corners else (kind(-0.5), kind(extent - 0.5))
    if align_corners:
        at = (positions + kind(1)) / kind(2) * kind(extent - 1)
    else:
        at = ((positions + kind(1)) * kind(extent) - kind(1)) / kind(2)
    if fn is SampleFn.NEAREST:
        at = np.rint(at)
    at = _limited(_brought_in(at, low, high, extent, edge), kind(-FAR), kind(extent - 1 + FAR))
    whole = np.floor(at)
    for number, weight in enumerate(_weights(at - whole, fn)):
        tap = whole + kind(FIRST_TAP[fn] + number)
        there = np.ones(tap.shape, bool)
        if edge is SampleEdge.ZEROS:
            there = (tap >= 0) & (tap <= extent - 1)
        elif edge is SampleEdge.REFLECTION:
            tap = _reflected(tap, low, high)
        yield _limited(tap, kind(0), kind(extent - 1)).astype(np.int64), weight, there


def _brought_in(at: Array, low: Array, high: Array, extent: int, edge: SampleEdge) -> Array:
    if edge is SampleEdge.ZEROS:
        return at
    outside = ~((at >= low) & (at <= high))
    if edge is SampleEdge.BORDER:
        return np.where(outside, _limited(at, at.dtype.type(0), at.dtype.type(extent - 1)), at)
    if edge is SampleEdge.REFLECTION:
        return _reflected(at, low, high)
    never(edge)


def _limited(at: Array, low: Array, high: Array) -> Array:
    at = np.where(at > low, at, low)
    return np.where(at < high, at, high)


def _reflected(at: Array, low: Array, high: Array) -> Array:
    """Return positions mirrored at both edges until they lie between them."""
    span = high - low
    if span <= 0:
        return np.full_like(at, low)
    beyond = np.where(at < low, low - at, at - high)
    times = np.trunc(beyond / span)
    rest = beyond - times * span
    from_low = (np.fmod(times, 2) == 0) == (at < low)
    mirrored = np.where(from_low, low + rest, high - rest)
    return np.where((at < low) | (at > high), mirrored, at)


def _weights(part: Array, fn: SampleFn) -> tuple[Array, ...]:
    """Return the weights of the pixels around a position that lies ``part`` behind a pixel."""
    kind = part.dtype.type
    one = kind(1)
    if fn is SampleFn.NEAREST:
        return (np.ones_like(part),)
    if fn is SampleFn.LINEAR:
        return one - part, part
    if fn is SampleFn.CUBIC:
        alpha = kind(CUBIC_ALPHA)
        near = [((alpha + 2) * d - (alpha + 3)) * d * d + 1 for d in (part, one - part)]
        far = [((alpha * d - 5 * alpha) * d + 8 * alpha) * d - 4 * alpha for d in (part + 1, kind(2) - part)]
        return far[0], near[0], near[1], far[1]
    never(fn)
