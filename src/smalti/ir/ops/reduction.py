"""Reductions over axes, softmax and arg-max."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from smalti.errors import never
from smalti.ir.arrays import Array, divide, lowest_highest
from smalti.ir.schema import Op, operation
from smalti.ir.shapes import require
from smalti.ir.types import TensorType
from smalti.numerics import DType

__all__ = ["ArgMax", "CumSum", "Reduce", "ReduceFn", "Softmax"]


class ReduceFn(Enum):
    """Reduction over axes."""

    SUM = "sum"
    MEAN = "mean"
    MAX = "max"
    MIN = "min"
    PROD = "prod"


_REDUCTIONS = frozenset((ReduceFn.SUM, ReduceFn.MEAN, ReduceFn.MAX, ReduceFn.MIN, ReduceFn.PROD))
INTEGERS = frozenset(dtype for dtype in DType if dtype.is_integer)
"""Element types of indices."""


def reduced(x: TensorType, axes: tuple[int, ...], keep_dims: bool) -> TensorType:
    """Return the type of a reduction.

    Raises:
        GraphError: an axis is outside.
    """
    require(all(0 <= a < x.rank for a in axes), f"an axis of {axes} is outside {x}")
    require(x.dtype is not DType.BOOL, "bool cannot be reduced")
    if keep_dims:
        return TensorType(x.dtype, tuple(1 if i in axes else s for i, s in enumerate(x.shape)))
    return TensorType(x.dtype, tuple(s for i, s in enumerate(x.shape) if i not in axes))


def axes_problems(axes: tuple[int, ...]) -> Iterator[str]:
    """Yield what is wrong with the axes of a reduction."""
    if list(axes) != sorted(set(axes)):
        yield f"axes {axes} are not sorted or not distinct"


@operation("x", half=True, values={"fn": _REDUCTIONS})
@dataclass(frozen=True, slots=True)
class Reduce(Op):
    """Reduction over ``axes`` (non-negative, sorted)."""

    fn: ReduceFn
    axes: tuple[int, ...]
    keep_dims: bool

    def result(self, x: TensorType) -> TensorType:
        """The axes are gone, or of size 1."""
        return reduced(x, self.axes, self.keep_dims)

    @staticmethod
    def meaning(x: Array, *, fn: ReduceFn, axes: tuple[int, ...], keep_dims: bool) -> Array:
        """Sums, means and products of floats are accumulated in float64 and rounded once.

        Integer sums wrap; the mean of integers truncates.  MAX of nothing is the lowest value, MIN the highest.
        """
        low, high = lowest_highest(x.dtype)
        wide = np.float64 if x.dtype.kind == "f" else x.dtype
        if fn is ReduceFn.MAX:
            return np.asarray(np.max(x, axis=axes, keepdims=keep_dims, initial=low))
        if fn is ReduceFn.MIN:
            return np.asarray(np.min(x, axis=axes, keepdims=keep_dims, initial=high))
        if fn is ReduceFn.PROD:
            return np.asarray(np.prod(x, axis=axes, keepdims=keep_dims, dtype=wide)).astype(x.dtype)
        total = np.asarray(np.sum(x, axis=axes, keepdims=keep_dims, dtype=wide))
        if fn is ReduceFn.SUM:
            return total.astype(x.dtype)
        if fn is ReduceFn.MEAN:
            count = int(np.prod([x.shape[a] for a in axes], dtype=np.int64))
            if x.dtype.kind == "f":
                return (total / np.float64(count)).astype(x.dtype)
            return divide(total, np.asarray(count).astype(x.dtype))
        never(fn)

    def problems(self) -> Iterator[str]:
        """Axes are sorted and distinct."""
        yield from axes_problems(self.axes)


@operation("x")
@dataclass(frozen=True, slots=True)
class CumSum(Op):
    """Running sums along ``axis`` (non-negative), from its end if ``reverse``.

    A sum holds the element at its place, or if ``exclusive`` only those before it.
    """

    axis: int
    exclusive: bool = False
    reverse: bool = False

    def result(self, x: TensorType) -> TensorType:
        """The type of the operand."""
        require(0 <= self.axis < x.rank, f"CumSum: axis {self.axis} is outside {x}")
        require(x.dtype is not DType.BOOL, "CumSum does not take bool")
        return x

    @staticmethod
    def meaning(x: Array, *, axis: int, exclusive: bool, reverse: bool) -> Array:
        """Sums of floats are accumulated in float64 and rounded once; integer sums wrap."""
        terms = np.moveaxis(x, axis, 0)[:: -1 if reverse else 1]
        total = np.cumsum(terms, axis=0, dtype=np.float64 if x.dtype.kind == "f" else x.dtype)
        if exclusive:
            total = np.concatenate([np.zeros_like(total[:1]), total[:-1]])
        return np.moveaxis(total[:: -1 if reverse else 1], 0, axis).astype(x.dtype)


@operation("x")
@dataclass(frozen=True, slots=True)
class Softmax(Op):
    """Softmax over the last axis."""

    def result(self, x: TensorType) -> TensorType:
        """The type of the operand."""
        require(x.rank >= 1 and x.dtype.is_float, f"Softmax takes a float tensor, not {x}")
        return x

    @staticmethod
    def meaning(x: Array) -> Array:
        """``exp(x - max) / sum(exp(x - max))`` over the last axis, in float64, rounded once."""
        if not x.size:
            return x
        wide = x.astype(np.float64)
        powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True)).astype(x.dtype)


@operation("x", values={"dtype": INTEGERS})
@dataclass(frozen=True, slots=True)
class ArgMax(Op):
    """Index of the first largest element along ``axis``."""

    axis: int
    dtype: DType

    def result(self, x: TensorType) -> TensorType:
        """The axis is gone; indices are of the stated type."""
        require(0 <= self.axis < x.rank, f"ArgMax: axis {self.axis} is outside {x}")
        require(x.shape[self.axis] != 0, "ArgMax over no elements")
        return TensorType(self.dtype, x.shape[: self.axis] + x.shape[self.axis + 1 :])

    @staticmethod
    def meaning(x: Array, *, axis: int, dtype: DType) -> Array:
        """Index of the first largest; NaN counts as minus infinity, so all NaN gives 0 (as in TensorFlow)."""
        if x.dtype.kind == "f" and np.isnan(x).any():
            x = np.where(np.isnan(x), x.dtype.type(-np.inf), x)
        return np.asarray(np.argmax(x, axis=axis)).astype(dtype.numpy)
