"""Number types of tensors: the single source for their names, sizes and numpy equivalents."""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import DTypeLike


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
}
