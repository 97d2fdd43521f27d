"""Elements picked by computed positions, and written to computed positions.

A position that is negative counts from the back.  Positions are data of a run, so nothing can be said of them before:
one that lies outside takes the nearest element where elements are read, and changes nothing where they are written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from smalti.ir.arrays import Array
from smalti.ir.dims import Dim, nonnegative
from smalti.ir.schema import Op, operation
from smalti.ir.shapes import require, shape_text
from smalti.ir.types import TensorType
from smalti.numerics import DType

__all__ = ["GatherElements", "GatherNd", "ScatterElements", "ScatterFn", "ScatterNd", "TopK"]

INDEX_TYPES = (DType.INT32, DType.INT64)


class ScatterFn(Enum):
    """What an update does to the element that it finds."""

    SET = "set"
    ADD = "add"
    MUL = "mul"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"


_AT: dict[ScatterFn, Callable[[Array, tuple[Array, ...], Array], None]] = {
    ScatterFn.ADD: np.add.at,
    ScatterFn.MUL: np.multiply.at,
    ScatterFn.MAXIMUM: np.maximum.at,
    ScatterFn.MINIMUM: np.minimum.at,
}
_SCATTER = frozenset((ScatterFn.SET, *_AT))


def _check_indices(indices: TensorType, what: str) -> None:
    require(indices.dtype in INDEX_TYPES, f"{what}: indices must be int32 or int64, not {indices}")


def _depth(indices: TensorType) -> int:
    """Return the length of the rows of indices; 0 where there are none of a known length."""
    depth = indices.shape[-1] if indices.rank else 0
    return depth if isinstance(depth, int) else 0


def _check_extent(extent: int | Dim, what: str) -> None:
    """Refuse an extent of which every position is outside."""
    require(nonnegative(extent - 1), f"{what}: nothing to take from an axis of {extent} elements")


def _check_inside(indices: TensorType, x: TensorType, axis: int, what: str) -> None:
    """Refuse indices that leave the operand along an axis other than ``axis``."""
    require(indices.rank == x.rank and 0 <= axis < x.rank, f"{what}: indices {indices} along axis {axis} of {x}")
    for a, (taken, there) in enumerate(zip(indices.shape, x.shape, strict=True)):
        require(a == axis or nonnegative(there - taken), f"{what}: indices {indices} are larger than {x}")


def from_front(indices: Array, extent: int) -> Array:
    """Return positions with negative ones counted from the back; they may still lie outside."""
    wide = indices.astype(np.int64)
    return np.where(wide < 0, wide + extent, wide)


def _nearest(indices: Array, extent: int) -> Array:
    return np.clip(from_front(indices, extent), 0, extent - 1)


def _grid(indices: Array, axis: int, along: Array) -> tuple[Array, ...]:
    """Return an index of every element of ``indices``: its own place, but ``along`` on the axis."""
    places: list[Array] = list(np.indices(indices.shape, sparse=True))
    places[axis] = along
    return tuple(np.broadcast_arrays(*places))


def _scattered(x: Array, index: tuple[Array, ...], updates: Array, inside: Array, fn: ScatterFn) -> Array:
    """Return ``x`` with the updates of which ``inside`` holds, one after the other."""
    result = x.copy()
    chosen = tuple(part[inside] for part in index)
    if fn is ScatterFn.SET:
        result[chosen] = updates[inside]
    else:
        _AT[fn](result, chosen, updates[inside])
    return result


@operation("x", "indices", moves=True, half=True)
@dataclass(frozen=True, slots=True)
class GatherNd(Op):
    """Pieces of ``x``, each at the position that a row of ``indices`` (its last dimension) gives.

    ``batch`` dimensions at the front are common to both; a row says where in the dimensions behind them.
    """

    batch: int = 0

    def result(self, x: TensorType, indices: TensorType) -> TensorType:
        """The shape of the indices without rows, then what is left of ``x``."""
        _check_indices(indices, "GatherNd")
        taken = self.batch + _depth(indices)
        fits = 0 <= self.batch < indices.rank and self.batch < taken <= x.rank
        require(fits and x.shape[: self.batch] == indices.shape[: self.batch], f"GatherNd: {indices} into {x}")
        for extent in x.shape[self.batch : taken]:
            _check_extent(extent, "GatherNd")
        return TensorType(x.dtype, indices.shape[:-1] + x.shape[taken:])

    @staticmethod
    def meaning(x: Array, indices: Array, *, batch: int) -> Array:
        """A piece for each row; a position outside takes the nearest."""
        places: list[Array] = list(np.indices(indices.shape[:-1], sparse=True)[:batch])
        rows = indices.shape[:-1]
        for i in range(indices.shape[-1]):
            places.append(_nearest(indices[..., i], x.shape[batch + i]))
        return np.asarray(x[tuple(np.broadcast_to(place, rows) for place in places)])


@operation("x", "indices", moves=True, half=True)
@dataclass(frozen=True, slots=True)
class GatherElements(Op):
    """One element for each index: its own place, with the index as the position along ``axis`` (non-negative)."""

    axis: int

    def result(self, x: TensorType, indices: TensorType) -> TensorType:
        """The shape of the indices."""
        _check_indices(indices, "GatherElements")
        _check_inside(indices, x, self.axis, "GatherElements")
        _check_extent(x.shape[self.axis], "GatherElements")
        return TensorType(x.dtype, indices.shape)

    @staticmethod
    def meaning(x: Array, indices: Array, *, axis: int) -> Array:
        """A position outside takes the nearest."""
        return x[_grid(indices, axis, _nearest(indices, x.shape[axis]))]


@operation("x", "indices", "updates", values={"fn": _SCATTER})
@dataclass(frozen=True, slots=True)
class ScatterNd(Op):
    """``x`` with pieces changed, each at the position that a row of ``indices`` (its last dimension) gives.

    Updates come one after the other, in C order; where two set one element, the last is there.
    """

    fn: ScatterFn

    def result(self, x: TensorType, indices: TensorType, updates: TensorType) -> TensorType:
        """The type of ``x``."""
        _check_indices(indices, "ScatterNd")
        require(1 <= _depth(indices) <= x.rank, f"ScatterNd: {indices} into {x}")
        wanted = indices.shape[:-1] + x.shape[_depth(indices) :]
        fits = updates.shape == wanted and updates.dtype is x.dtype
        require(fits, f"ScatterNd: the updates are {updates}, not {x.dtype.value}{shape_text(wanted)}")
        require(self.fn is ScatterFn.SET or x.dtype is not DType.BOOL, f"ScatterNd: {self.fn.value} of bool")
        return x

    @staticmethod
    def meaning(x: Array, indices: Array, updates: Array, *, fn: ScatterFn) -> Array:
        """A piece outside changes nothing."""
        depth = indices.shape[-1]
        rows = [from_front(indices[..., i], x.shape[i]) for i in range(depth)]
        inside = np.ones(indices.shape[:-1], bool)
        for row, extent in zip(rows, x.shape[:depth], strict=True):
            inside &= (row >= 0) & (row < extent)
        return _scattered(x, tuple(rows), updates, inside, fn)


@operation("x", "indices", "updates", values={"fn": _SCATTER})
@dataclass(frozen=True, slots=True)
class ScatterElements(Op):
    """``x`` with one element changed for each update: its own place, with the index as the position along ``axis``.

    Updates come one after the other, in C order; where two set one element, the last is there.
    """

    axis: int
    fn: ScatterFn

    def result(self, x: TensorType, indices: TensorType, updates: TensorType) -> TensorType:
        """The type of ``x``."""
        _check_indices(indices, "ScatterElements")
        _check_inside(indices, x, self.axis, "ScatterElements")
        fits = updates.shape == indices.shape and updates.dtype is x.dtype
        require(fits, f"ScatterElements: the updates are {updates} for indices {indices}")
        require(self.fn is ScatterFn.SET or x.dtype is not DType.BOOL, f"ScatterElements: {self.fn.value} of bool")
        return x

    @staticmethod
    def meaning(x: Array, indices: Array, updates: Array, *, axis: int, fn: ScatterFn) -> Array:
        """An update outside changes nothing."""
        along = from_front(indices, x.shape[axis])
        inside = (along >= 0) & (along < x.shape[axis])
        return _scattered(x, _grid(indices, axis, along), updates, inside, fn)


@operation("x")
@dataclass(frozen=True, slots=True)
class TopK(Op):
    """The positions of the ``k`` largest (or smallest) numbers along ``axis``, int64, the best first.

    Of equal numbers the first counts as the better.  What is no number is larger than every number.
    """

    k: int | Dim
    axis: int
    largest: bool = True

    def result(self, x: TensorType) -> TensorType:
        """``k`` along the axis."""
        require(0 <= self.axis < x.rank, f"TopK: axis {self.axis} is outside {x}")
        require(x.dtype is not DType.BOOL, "TopK does not take bool")
        fits = nonnegative(self.k) and nonnegative(x.shape[self.axis] - self.k)
        require(fits, f"TopK: {self.k} elements of axis {self.axis} of {x}")
        return TensorType(DType.INT64, (*x.shape[: self.axis], self.k, *x.shape[self.axis + 1 :]))

    @staticmethod
    def meaning(x: Array, *, k: int, axis: int, largest: bool) -> Array:
        """A stable order: ascending as it is, descending by that of the reversed numbers."""
        if largest:
            backwards = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
            order = np.flip(x.shape[axis] - 1 - backwards, axis)
        else:
            order = np.argsort(x, axis=axis, kind="stable")
        return np.take(order, np.arange(k), axis=axis).astype(np.int64)
