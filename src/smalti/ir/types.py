"""Tensor types: element type and shape, where a size is a number or an expression of the image size."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from smalti.ir.dims import Dim, product
from smalti.numerics import DType

Size = int | Dim
Shape = tuple[int | Dim, ...]
Pads = tuple[int | Dim, int | Dim, int | Dim, int | Dim]
"""top, bottom, left, right"""


class Layout(Enum):
    """Order of the dimensions of an image tensor."""

    NHWC = "NHWC"
    NCHW = "NCHW"


class Level(Enum):
    """How far a graph has come; each level has its own rules in ``smalti.ir.verify``."""

    IMPORTED = "imported"
    CANONICAL = "canonical"
    QUANTISED = "quantised"


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape of a tensor."""

    dtype: DType
    shape: Shape

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def elements(self) -> int | Dim:
        """Number of elements."""
        return product(self.shape)

    @property
    def nbytes(self) -> int | Dim:
        """Bytes of the dense tensor."""
        return self.elements * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype.value}[{', '.join(str(s) for s in self.shape)}]"
