"""Resizes, and the label map that ends a segmentation network."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from smalti.errors import never
from smalti.ir.arrays import Array
from smalti.ir.dims import Dim
from smalti.ir.ops.reduction import INTEGERS, ArgMax
from smalti.ir.schema import AFTER_IMPORT, Op, attributes_of, operation
from smalti.ir.shapes import require
from smalti.ir.types import TensorType
from smalti.numerics import DType

__all__ = ["Resize", "ResizeArgMax", "ResizeFn"]


class ResizeFn(Enum):
    """Interpolation of a resize."""

    BILINEAR = "bilinear"
    NEAREST = "nearest"


_RESIZES = frozenset((ResizeFn.BILINEAR, ResizeFn.NEAREST))


@operation("x", values={"fn": _RESIZES})
@dataclass(frozen=True, slots=True)
class Resize(Op):
    """Resize of an NHWC tensor to ``size`` (height, width); bilinear gives float32, nearest keeps the dtype."""

    fn: ResizeFn
    size: tuple[int | Dim, int | Dim]
    align_corners: bool = False
    half_pixel_centers: bool = False

    def result(self, x: TensorType) -> TensorType:
        """The stated height and width."""
        require(x.rank == 4, f"Resize needs a 4-D image tensor, not {x}")
        both = self.align_corners and self.half_pixel_centers
        require(not both, "align_corners and half_pixel_centers exclude each other")
        nothing = any(isinstance(s, int) and s <= 0 for s in (*self.size, *x.shape[1:3]))
        require(not nothing, "Resize to or from nothing")
        dtype = DType.FLOAT32 if self.fn is ResizeFn.BILINEAR else x.dtype
        return TensorType(dtype, (x.shape[0], *self.size, x.shape[3]))

    @staticmethod
    def meaning(
        x: Array, *, fn: ResizeFn, size: tuple[int, int], align_corners: bool, half_pixel_centers: bool
    ) -> Array:
        """Bilinear: along the row, then between rows, each ``a + (b - a) * fraction`` in float32; nearest: a gather."""
        height, width = size
        if fn is ResizeFn.NEAREST:
            rows = nearest_axis(x.shape[1], height, align_corners, half_pixel_centers)
            return x[:, rows][:, :, nearest_axis(x.shape[2], width, align_corners, half_pixel_centers)]
        if fn is ResizeFn.BILINEAR:
            x = x.astype(np.float32)
            if x.shape[1:3] == (height, width):
                return x
            top, bottom, fy = bilinear_axis(x.shape[1], height, align_corners, half_pixel_centers)
            left, right, fx = bilinear_axis(x.shape[2], width, align_corners, half_pixel_centers)
            across = x[:, :, left]
            across = across + (x[:, :, right] - across) * fx[:, None]
            upper = across[:, top]
            return upper + (across[:, bottom] - upper) * fy[:, None, None]
        never(fn)


@operation("x", levels=AFTER_IMPORT, values={"dtype": INTEGERS})
@dataclass(frozen=True, slots=True)
class ResizeArgMax(Op):
    """``argmax`` over channels of one or two bilinear resizes, cut to the top left ``crop``; result ``[N, h, w]``.

    ``stages`` are the resizes in order; ``crop`` is the (height, width) kept of the last stage's label map.  Only
    passes make it.
    """

    stages: tuple[Resize, ...]
    crop: tuple[int | Dim, int | Dim]
    dtype: DType

    def result(self, x: TensorType) -> TensorType:
        """The crop, one label for each pixel."""
        require(1 <= len(self.stages) <= 2, "ResizeArgMax has one or two stages")
        require(all(s.fn is ResizeFn.BILINEAR for s in self.stages), "ResizeArgMax takes bilinear stages")
        require(x.rank == 4 and x.shape[3] != 0, f"ResizeArgMax needs a 4-D image tensor, not {x}")
        return TensorType(self.dtype, (x.shape[0], *self.crop))

    @staticmethod
    def meaning(x: Array, *, stages: tuple[Resize, ...], crop: tuple[int, int], dtype: DType) -> Array:
        """The composition of the resizes, the crop and the argmax over channels."""
        for stage in stages:
            x = Resize.meaning(x, **attributes_of(stage, {}))
        return ArgMax.meaning(x[:, : crop[0], : crop[1]], axis=3, dtype=dtype)


def _scale(before: int, after: int, align_corners: bool) -> np.float32:
    if align_corners and after > 1:
        return np.float32(before - 1) / np.float32(after - 1)
    return np.float32(before) / np.float32(after)


def bilinear_axis(
    before: int, after: int, align_corners: bool, half_pixel_centers: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return (lower index, upper index, fraction of upper) for each result position of one axis.

    The positions are computed in float32 as TensorFlow's ResizeBilinear does: ``i * scale``, or
    ``(i + 0.5) * scale - 0.5`` with half-pixel centres.
    """
    scale = _scale(before, after, align_corners)
    position = np.arange(after, dtype=np.float32)
    if half_pixel_centers:
        source = (position + np.float32(0.5)) * scale - np.float32(0.5)
    else:
        source = position * scale
    base = np.floor(source)
    upper = np.minimum(np.ceil(source).astype(np.int64), before - 1)
    lower = np.minimum(np.maximum(base.astype(np.int64), 0), upper)
    return lower, upper, source - base


def nearest_axis(before: int, after: int, align_corners: bool, half_pixel_centers: bool) -> NDArray[np.int64]:
    """Return the source index of each result position of one axis, as TensorFlow's ResizeNearestNeighbor does.

    With ``align_corners`` halves are rounded away from zero (C ``roundf``), else down.
    """
    scale = _scale(before, after, align_corners)
    position = np.arange(after, dtype=np.float32)
    source = (position + np.float32(0.5)) * scale if half_pixel_centers else position * scale
    # Adding 0.5 in float64 is exact, so this is roundf for the non-negative positions that occur.
    index = np.floor(source.astype(np.float64) + (0.5 if align_corners else 0.0)).astype(np.int64)
    return np.clip(index, 0, before - 1)
