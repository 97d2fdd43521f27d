"""Matrix products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smalti.ir.arrays import Array, widened
from smalti.ir.dims import Dim
from smalti.ir.schema import Op, operation
from smalti.ir.shapes import require
from smalti.ir.types import TensorType

__all__ = ["MatMul"]


@operation("a", "weights")
@dataclass(frozen=True, slots=True)
class MatMul(Op):
    """Matrix product of two 2-D tensors; ``transpose_b`` is about the second, the weights."""

    transpose_a: bool = False
    transpose_b: bool = False

    def result(self, a: TensorType, weights: TensorType) -> TensorType:
        """Rows of the first, columns of the second."""
        b = weights
        require(a.rank == 2 and b.rank == 2, f"MatMul takes 2-D tensors, not {a} and {b}")
        require(a.dtype is b.dtype, f"MatMul of {a.dtype.value} with {b.dtype.value}")
        m, k = reversed(a.shape) if self.transpose_a else a.shape
        k2, n = reversed(b.shape) if self.transpose_b else b.shape
        require(k == k2, f"MatMul: inner sizes {k} and {k2} differ")
        return TensorType(a.dtype, (m, n))

    @staticmethod
    def meaning(a: Array, weights: Array, *, transpose_a: bool, transpose_b: bool) -> Array:
        """``a @ b``; half precision is summed in float32."""
        left, right = widened(a), widened(weights)
        result = (left.T if transpose_a else left) @ (right.T if transpose_b else right)
        return np.asarray(result).astype(a.dtype)

    def multiply_adds(self, result: TensorType, weights: TensorType) -> int | Dim:
        """The inner size for each result."""
        return result.elements * weights.shape[1 if self.transpose_b else 0]
