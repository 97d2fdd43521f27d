"""Data movement: the values stay, their places change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

import numpy as np

from smalti.errors import CompilerError, InputError, never
from smalti.ir.arrays import Array
from smalti.ir.dims import Dim, product
from smalti.ir.schema import Op, operation
from smalti.ir.shapes import broadcast, require, shape_text
from smalti.ir.sizes import evaluate
from smalti.ir.types import Shape, TensorType
from smalti.numerics import DType

__all__ = ["BroadcastTo", "Concat", "Gather", "Pad", "PadMode", "Reshape", "Slice", "Transpose"]


class PadMode(Enum):
    """What stands in the padding."""

    CONSTANT = "constant"
    REFLECT = "reflect"
    SYMMETRIC = "symmetric"
    EDGE = "edge"
    WRAP = "wrap"


_PAD_MODES = frozenset((PadMode.CONSTANT, PadMode.REFLECT, PadMode.SYMMETRIC, PadMode.EDGE, PadMode.WRAP))


@operation("parts*", moves=True, half=True)
@dataclass(frozen=True, slots=True)
class Concat(Op):
    """Concatenation along ``axis`` (non-negative)."""

    axis: int

    def result(self, *parts: TensorType) -> TensorType:
        """The sizes along the axis add up; all others are equal."""
        first = parts[0]
        require(0 <= self.axis < first.rank, f"Concat: axis {self.axis} is outside {first}")
        total: int | Dim = 0
        for t in parts:
            same = t.rank == first.rank and all(
                i == self.axis or s == r for i, (s, r) in enumerate(zip(t.shape, first.shape, strict=True))
            )
            require(same and t.dtype is first.dtype, f"Concat of {first} with {t} along axis {self.axis}")
            total = total + t.shape[self.axis]
        return TensorType(first.dtype, (*first.shape[: self.axis], total, *first.shape[self.axis + 1 :]))

    @staticmethod
    def meaning(*parts: Array, axis: int) -> Array:
        """Concatenation along an axis."""
        return np.concatenate(parts, axis=axis)


@operation("x", moves=True, half=True, values={"mode": _PAD_MODES})
@dataclass(frozen=True, slots=True)
class Pad(Op):
    """Padding by ``(before, after)`` per dimension."""

    amounts: tuple[tuple[int | Dim, int | Dim], ...]
    mode: PadMode = PadMode.CONSTANT
    value: float = 0.0

    def result(self, x: TensorType) -> TensorType:
        """Every size grows by its pair."""
        require(len(self.amounts) == x.rank, f"Pad: {len(self.amounts)} pairs for {x}")
        for before, after in self.amounts:
            require(all(not isinstance(v, int) or v >= 0 for v in (before, after)), "Pad: negative padding")
        return TensorType(x.dtype, tuple(s + b + a for s, (b, a) in zip(x.shape, self.amounts, strict=True)))

    @staticmethod
    def meaning(x: Array, *, amounts: tuple[tuple[int, int], ...], mode: PadMode, value: float) -> Array:
        """REFLECT leaves the border element out, SYMMETRIC repeats it; EDGE is the border element, WRAP goes round."""
        if any(v < 0 for pair in amounts for v in pair):
            raise CompilerError(f"negative padding {list(amounts)}")
        name: Literal["reflect", "symmetric"]
        if mode is PadMode.CONSTANT:
            return np.pad(x, amounts, constant_values=np.asarray(value).astype(x.dtype))
        if mode is PadMode.REFLECT:
            name, short = "reflect", 1
        elif mode is PadMode.SYMMETRIC:
            name, short = "symmetric", 0
        elif mode is PadMode.EDGE:
            return _padded_from_inside(x, amounts, "edge")
        elif mode is PadMode.WRAP:
            return _padded_from_inside(x, amounts, "wrap")
        else:
            never(mode)
        for extent, pair in zip(x.shape, amounts, strict=True):
            if max(pair) > max(extent - short, 0):
                raise InputError(f"a {mode.value} padding of {pair} does not fit {extent} elements")
        return np.pad(x, amounts, mode=name)


def _padded_from_inside(x: Array, amounts: tuple[tuple[int, int], ...], mode: Literal["edge", "wrap"]) -> Array:
    """Return a padding of any width with elements of ``x``, of which there must be one."""
    if any(extent == 0 and max(pair) for extent, pair in zip(x.shape, amounts, strict=True)):
        raise InputError(f"a padding with the elements of an axis that has none: {list(x.shape)}")
    return np.pad(x, amounts, mode=mode)


@operation("x", moves=True, half=True, signed_sizes=True)
@dataclass(frozen=True, slots=True)
class Slice(Op):
    """``x[begin : begin + size*stride : stride]`` per dimension.

    ``size`` counts result elements; strides may be negative, and an empty slice may begin at -1 (``x[::-1]`` of
    nothing).
    """

    begin: Shape
    size: Shape
    stride: tuple[int, ...]

    def result(self, x: TensorType) -> TensorType:
        """The sizes of the slice."""
        require(len(self.begin) == len(self.size) == len(self.stride) == x.rank, f"Slice does not fit {x}")
        require(0 not in self.stride, "Slice: a stride is zero")
        for extent, begin, size, stride in zip(x.shape, self.begin, self.size, self.stride, strict=True):
            values = (extent, begin, size)
            if all(isinstance(v, int) for v in values):
                e, b, s = (evaluate(v, {}) for v in values)
                last = b + (s - 1) * stride
                require(s == 0 or (0 <= b < e and 0 <= last < e), f"Slice: elements {b}..{last} are outside {x}")
        return TensorType(x.dtype, self.size)

    @staticmethod
    def meaning(x: Array, *, begin: tuple[int, ...], size: tuple[int, ...], stride: tuple[int, ...]) -> Array:
        """``x[begin : begin + size*stride : stride]`` per dimension.

        Raises:
            InputError: an element lies outside the operand at these image sizes.
        """
        index: list[slice] = []
        for extent, first, count, step in zip(x.shape, begin, size, stride, strict=True):
            last = first + (count - 1) * step
            if count < 0 or (count > 0 and not (0 <= first < extent and 0 <= last < extent)):
                raise InputError(f"a slice takes elements {first}..{last} of {extent}")
            stop = first + count * step
            index.append(slice(0, 0) if count == 0 else slice(first, stop if stop >= 0 else None, step))
        return x[tuple(index)]


@operation("x", moves=True, half=True)
@dataclass(frozen=True, slots=True)
class Reshape(Op):
    """The same elements in C order with another shape."""

    shape: Shape

    def result(self, x: TensorType) -> TensorType:
        """The stated shape, of as many elements."""
        require(product(self.shape) == x.elements, f"Reshape of {x} to {shape_text(self.shape)}")
        return TensorType(x.dtype, self.shape)

    @staticmethod
    def meaning(x: Array, *, shape: tuple[int, ...]) -> Array:
        """The same elements in C order."""
        return x.reshape(shape)


@operation("x", moves=True, half=True)
@dataclass(frozen=True, slots=True)
class Transpose(Op):
    """Permutation of the dimensions."""

    perm: tuple[int, ...]

    def result(self, x: TensorType) -> TensorType:
        """The permuted sizes."""
        require(sorted(self.perm) == list(range(x.rank)), f"Transpose: {self.perm} does not permute {x}")
        return TensorType(x.dtype, tuple(x.shape[p] for p in self.perm))

    @staticmethod
    def meaning(x: Array, *, perm: tuple[int, ...]) -> Array:
        """Permutation of the dimensions."""
        return np.transpose(x, perm)


@operation("x", moves=True, half=True)
@dataclass(frozen=True, slots=True)
class BroadcastTo(Op):
    """Numpy broadcasting to ``shape``."""

    shape: Shape

    def result(self, x: TensorType) -> TensorType:
        """The stated shape."""
        require(broadcast(x.shape, self.shape) == self.shape, f"{x} does not broadcast to {shape_text(self.shape)}")
        return TensorType(x.dtype, self.shape)

    @staticmethod
    def meaning(x: Array, *, shape: tuple[int, ...]) -> Array:
        """Broadcasting to a shape."""
        return np.broadcast_to(x, shape)


@operation("x", "indices", moves=True)
@dataclass(frozen=True, slots=True)
class Gather(Op):
    """``take(x, indices, axis)``; indices are int32 or int64."""

    axis: int

    def result(self, x: TensorType, indices: TensorType) -> TensorType:
        """The shape of the indices stands in the place of the axis."""
        require(0 <= self.axis < x.rank, f"Gather: axis {self.axis} is outside {x}")
        require(indices.dtype in (DType.INT32, DType.INT64), "Gather: indices must be int32 or int64")
        return TensorType(x.dtype, x.shape[: self.axis] + indices.shape + x.shape[self.axis + 1 :])

    @staticmethod
    def meaning(x: Array, indices: Array, *, axis: int) -> Array:
        """``take(x, indices, axis)``.

        Raises:
            InputError: an index is negative or too large (TensorFlow's CPU kernel reports the same).
        """
        if indices.size and not (0 <= indices.min() and indices.max() < x.shape[axis]):
            raise InputError(f"a gather index is outside [0, {x.shape[axis]})")
        return np.take(x, indices, axis=axis)
