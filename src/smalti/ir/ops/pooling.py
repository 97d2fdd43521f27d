"""Pooling over windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from smalti.errors import never
from smalti.ir.arrays import Array, Numbers, from_nhwc, lowest_highest, padded, taps, to_nhwc
from smalti.ir.ops.blocks import LAYOUTS
from smalti.ir.schema import Op, operation
from smalti.ir.shapes import image_shape, spatial_axes, windows
from smalti.ir.types import Layout, Pads, TensorType

__all__ = ["Pool", "PoolFn"]


class PoolFn(Enum):
    """Pooling function; padded positions do not count in the average."""

    AVG = "avg"
    MAX = "max"


_POOLS = frozenset((PoolFn.AVG, PoolFn.MAX))


@operation("x", half=True, values={"fn": _POOLS, "layout": LAYOUTS})
@dataclass(frozen=True, slots=True)
class Pool(Op):
    """Average or maximum over windows."""

    fn: PoolFn
    size: tuple[int, int]
    stride: tuple[int, int]
    pads: Pads = (0, 0, 0, 0)
    layout: Layout = Layout.NHWC

    def result(self, x: TensorType) -> TensorType:
        """A pixel for each window."""
        size = windows(x.shape, self.layout, self.size, self.stride, (1, 1), self.pads)
        channels = x.shape[spatial_axes(self.layout)[2]]
        return TensorType(x.dtype, image_shape(x.shape[0], size, channels, self.layout))

    @staticmethod
    def meaning(
        x: Array, *, fn: PoolFn, size: tuple[int, int], stride: tuple[int, int], pads: Numbers, layout: Layout
    ) -> Array:
        """Maximum or average over windows; padding counts in neither.

        The average of floats is accumulated in float64 and rounded once, that of integers in int64 and truncated; a
        window of padding alone gives 0 (average) or the lowest value (maximum).  The maximum keeps NaN, which
        TensorFlow drops.
        """
        x = to_nhwc(x, layout)
        if fn is PoolFn.MAX:
            low, _ = lowest_highest(x.dtype)
            views = taps(padded(x, pads, low), size, stride, (1, 1))
            _, _, first = next(views)
            best = first.copy()
            for _, _, view in views:
                np.maximum(best, view, out=best)
            return from_nhwc(best, layout)
        if fn is PoolFn.AVG:
            wide = x.astype(np.float64 if x.dtype.kind == "f" else np.int64)
            inside = np.ones((1, *x.shape[1:3], 1), wide.dtype)
            total = _window_sum(wide, size, stride, pads)
            count = np.maximum(_window_sum(inside, size, stride, pads), 1)
            average = total / count if x.dtype.kind == "f" else np.trunc(total / count)
            return from_nhwc(average.astype(x.dtype), layout)
        never(fn)

    def problems(self) -> Iterator[str]:
        """Windows and strides are positive."""
        if min(*self.size, *self.stride) <= 0:
            yield f"size {self.size} and stride {self.stride} must be positive"


def _window_sum(x: Array, window: tuple[int, int], step: tuple[int, int], pads: Numbers) -> Array:
    """Sum over windows, first along columns and then along rows: the work grows with h + w of the window."""
    top, bottom, left, right = pads
    for size, stride, around in (
        ((1, window[1]), (1, step[1]), (0, 0, left, right)),
        ((window[0], 1), (step[0], 1), (top, bottom, 0, 0)),
    ):
        views = taps(padded(x, around), size, stride, (1, 1))
        _, _, first = next(views)
        total = first.copy()
        for _, _, view in views:
            np.add(total, view, out=total)
        x = total
    return x
