"""What a graph begins with: inputs, constants, sizes as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError, GraphError
from smalti.ir.arrays import Array
from smalti.ir.dims import Dim, product
from smalti.ir.ops.elementwise import DTYPES
from smalti.ir.schema import Op, operation
from smalti.ir.shapes import require
from smalti.ir.types import Shape, TensorType
from smalti.numerics import DType

__all__ = ["Constant", "Input", "Iota", "SizeTensor"]


@operation()
@dataclass(frozen=True, slots=True)
class Input(Op):
    """A graph input; the node's name is TensorFlow's tensor name (``ImageTensor:0``)."""

    def result(self) -> TensorType:
        """An input's type is given to it."""
        raise CompilerError("an input's type is given, not inferred")

    @staticmethod
    def meaning() -> Array:
        """An input's value is given to it."""
        raise CompilerError("an input's value is given, not computed")


@operation()
@dataclass(frozen=True, slots=True, eq=False)
class Constant(Op):
    """A constant array (never written to); ``bfloat16`` says that its uint16 elements are bits of bfloat16."""

    value: NDArray[np.generic]
    bfloat16: bool = False

    def result(self) -> TensorType:
        """The type of the array."""
        try:
            dtype = DType.BFLOAT16 if self.bfloat16 else DType.from_numpy(self.value.dtype)
        except ValueError as error:
            raise GraphError(f"constants of type {self.value.dtype} are not supported") from error
        return TensorType(dtype, tuple(self.value.shape))

    @staticmethod
    def meaning(*, value: Array, bfloat16: bool) -> Array:
        """The value itself (not a copy)."""
        return value

    def problems(self) -> Iterator[str]:
        """Constants are read-only and in C order."""
        if self.value.flags.writeable:
            yield "its array is writable"
        if not self.value.flags.c_contiguous:
            yield "its array is not in C order"


@operation(signed_sizes=True, values={"dtype": DTYPES})
@dataclass(frozen=True, slots=True)
class SizeTensor(Op):
    """An integer tensor whose elements are sizes, in C order; ``shape`` is its own (constant) shape."""

    values: Shape
    shape: tuple[int, ...]
    dtype: DType

    def result(self) -> TensorType:
        """Its own shape."""
        require(self.dtype.is_integer, "a size tensor holds integers")
        require(product(self.shape) == len(self.values), "a size tensor has one value for each element")
        return TensorType(self.dtype, self.shape)

    @staticmethod
    def meaning(*, values: tuple[int, ...], shape: tuple[int, ...], dtype: DType) -> Array:
        """The sizes as an integer tensor."""
        return np.array(values, np.int64).astype(dtype.numpy).reshape(shape)


@operation(signed_sizes=True, values={"dtype": DTYPES})
@dataclass(frozen=True, slots=True)
class Iota(Op):
    """The integers ``first, first + step, ...``: ``count`` of them in a vector, where only a run knows how many."""

    first: int | Dim
    step: int
    count: int | Dim
    dtype: DType

    def result(self) -> TensorType:
        """A vector."""
        require(self.dtype in (DType.INT32, DType.INT64), f"a range of {self.dtype.value}")
        return TensorType(self.dtype, (self.count,))

    @staticmethod
    def meaning(*, first: int, step: int, count: int, dtype: DType) -> Array:
        """``first + step * i``; what does not fit wraps."""
        return (np.arange(count, dtype=np.int64) * step + first).astype(dtype.numpy)
