"""Number types of tensors, and the rounding of quantised ones: the single source.

A quantised tensor holds integers ``q`` that stand for ``(q - zero_point) * scale``.  The integers that layers compute
are the same on every CPU because each of the few float32 operations between two integers is rounded once, to nearest
even, in a stated order; no fused multiply-add takes part.
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import DTypeLike, NDArray


class DType(Enum):
    """Element type of a tensor.  The value is the name used in text forms and in the offline model file."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    UINT8 = "uint8"
    INT8 = "int8"
    UINT16 = "uint16"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"
    UINT32 = "uint32"
    UINT64 = "uint64"

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return _ITEMSIZE[self]

    @property
    def is_float(self) -> bool:
        """Whether this is a floating-point type."""
        return self in (DType.FLOAT32, DType.FLOAT64, DType.FLOAT16, DType.BFLOAT16)

    @property
    def is_integer(self) -> bool:
        """Whether this is an integer type (bool is not)."""
        return not self.is_float and self is not DType.BOOL

    @property
    def is_unsigned(self) -> bool:
        """Whether this is an integer type without a sign."""
        return self in (DType.UINT8, DType.UINT16, DType.UINT32, DType.UINT64)

    @property
    def limits(self) -> tuple[int, int]:
        """Lowest and highest value of an integer type."""
        bits = 8 * self.itemsize
        return (0, (1 << bits) - 1) if self.is_unsigned else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The numpy dtype; bfloat16 has none and is carried as uint16 bits."""
        return np.dtype(np.uint16) if self is DType.BFLOAT16 else np.dtype(self.value)

    @classmethod
    def from_numpy(cls, dtype: DTypeLike) -> DType:
        """Return the element type of a numpy dtype.

        Raises:
            ValueError: the dtype is not one of ours (complex, object, string, ...).
        """
        return cls(np.dtype(dtype).name)


_ITEMSIZE = {
    DType.FLOAT32: 4,
    DType.FLOAT64: 8,
    DType.FLOAT16: 2,
    DType.BFLOAT16: 2,
    DType.UINT8: 1,
    DType.INT8: 1,
    DType.UINT16: 2,
    DType.INT16: 2,
    DType.INT32: 4,
    DType.INT64: 8,
    DType.BOOL: 1,
    DType.UINT32: 4,
    DType.UINT64: 8,
}


def quantise(values: NDArray[np.float32], scale: float, zero_point: int, low: int, high: int) -> NDArray[np.int32]:
    """Return the integers that stand for float32 ``values``.

    ``q = clip(rint(values * (1 / scale)), low - zero_point, high - zero_point) + zero_point`` with the reciprocal
    rounded to float32 first; halves round to even; NaN becomes ``low``.
    """
    return round_and_clip(values * (np.float32(1) / np.float32(scale)), zero_point, low, high)


def dequantise(values: NDArray[np.generic], scale: float, zero_point: int) -> NDArray[np.float32]:
    """Return ``(q - zero_point) * scale`` in float32; the difference is exact."""
    return (values.astype(np.int32) - np.int32(zero_point)).astype(np.float32) * np.float32(scale)


def round_and_clip(steps: NDArray[np.float32], zero_point: int, low: int, high: int) -> NDArray[np.int32]:
    """Return ``rint(steps) + zero_point`` within ``[low, high]``; halves round to even, NaN becomes ``low``."""
    bottom, top = np.float32(low - zero_point), np.float32(high - zero_point)
    limited = np.where(np.isnan(steps), bottom, np.clip(steps, bottom, top))
    return np.rint(limited).astype(np.int32) + np.int32(zero_point)


def requantise(
    sums: NDArray[np.int32],
    multiplier: NDArray[np.float32],
    addend: NDArray[np.float32] | None = None,
    residual: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return integer sums in steps of the result (or as real numbers), not rounded yet.

    ``float32(sum) * multiplier``, then ``+ addend``, then ``+ residual``, each operation rounded to float32.

    Args:
        sums: int32 ``[..., channels]``.
        multiplier, addend: float32 ``[channels]``.
        residual: float32, shaped as ``sums``.
    """
    steps = sums.astype(np.float32) * multiplier
    if addend is not None:
        steps = steps + addend
    return steps if residual is None else steps + residual
