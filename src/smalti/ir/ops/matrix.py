"""Matrix products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smalti.ir.arrays import Array, widened
from smalti.ir.dims import Dim
from smalti.ir.schema import Op, operation
from smalti.ir.shapes import broadcast, require
from smalti.ir.types import TensorType

__all__ = ["MatMul"]


@operation("a", "weights")
@dataclass(frozen=True, slots=True)
class MatMul(Op):
    """Matrix products of the last two dimensions of two tensors; the dimensions before them are broadcast.

    ``transpose_b`` is about the second, the weights.
    """

    transpose_a: bool = False
    transpose_b: bool = False

    def result(self, a: TensorType, weights: TensorType) -> TensorType:
        """The broadcast dimensions, then the rows of the first and the columns of the second."""
        b = weights
        require(a.rank >= 2 and b.rank >= 2, f"MatMul takes tensors of 2 dimensions or more, not {a} and {b}")
        require(a.dtype is b.dtype, f"MatMul of {a.dtype.value} with {b.dtype.value}")
        m, k = reversed(a.shape[-2:]) if self.transpose_a else a.shape[-2:]
        k2, n = reversed(b.shape[-2:]) if self.transpose_b else b.shape[-2:]
        require(k == k2, f"MatMul: inner sizes {k} and {k2} differ")
        return TensorType(a.dtype, (*broadcast(a.shape[:-2], b.shape[:-2]), m, n))

    @staticmethod
    def meaning(a: Array, weights: Array, *, transpose_a: bool, transpose_b: bool) -> Array:
        """``a @ b``; half precision is summed in float32."""
        left, right = widened(a), widened(weights)
        left, right = (
            (left.swapaxes(-1, -2) if transpose_a else left),
            (right.swapaxes(-1, -2) if transpose_b else right),
        )
        return np.asarray(left @ right).astype(a.dtype)

    def multiply_adds(self, result: TensorType, weights: TensorType) -> int | Dim:
        """The inner size for each result."""
        return result.elements * weights.shape[-1 if self.transpose_b else -2]
