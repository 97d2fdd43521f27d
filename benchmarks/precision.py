"""Classes of number types: which engines are compared with each other, and what counts as a right answer."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from smalti.numerics import DType
from smalti.quant.modes import QuantMode


class Precision(Enum):
    """The type of an engine's convolutions.  The value is its name in reports."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"
    INT16 = "int16"


# Share of TensorFlow's float32 labels that an engine must give to count.  Fewer mantissa bits, and still more so
# quantisation, flip labels along the borders of objects without being wrong.
RIGHT_LABELS: Mapping[Precision, float] = {
    Precision.FLOAT32: 0.99,
    Precision.FLOAT16: 0.99,
    Precision.BFLOAT16: 0.97,
    Precision.INT8: 0.90,
    Precision.INT16: 0.97,
}

# Half types and 16-bit integers have no peer of their own on every CPU; float32 is then what a user would take instead.
RIVALS: Mapping[Precision, frozenset[Precision]] = {
    Precision.FLOAT32: frozenset({Precision.FLOAT32}),
    Precision.FLOAT16: frozenset({Precision.FLOAT16, Precision.FLOAT32}),
    Precision.BFLOAT16: frozenset({Precision.BFLOAT16}),
    Precision.INT8: frozenset({Precision.INT8}),
    Precision.INT16: frozenset({Precision.INT16, Precision.FLOAT32}),
}

_OF_TYPES = {
    DType.FLOAT32: Precision.FLOAT32,
    DType.FLOAT16: Precision.FLOAT16,
    DType.BFLOAT16: Precision.BFLOAT16,
    DType.UINT8: Precision.INT8,
    DType.INT16: Precision.INT16,
}


def precision_of(mode: QuantMode) -> Precision:
    """Return the class of a mode: what it quantises to, else its float type."""
    return _OF_TYPES[mode.quantised or mode.float_type]


_OF_FLOATS = {"f32": Precision.FLOAT32, "f16": Precision.FLOAT16, "bf16": Precision.BFLOAT16}


def precision_of_floats(name: str) -> Precision | None:
    """Return the class of a float type by an engine's short name for it, ``None`` where it is none of these."""
    return _OF_FLOATS.get(name)


def labels_are_right(agree: float, precision: Precision) -> bool:
    """Return whether a share of agreeing labels is enough; it is where there is no reference (NaN)."""
    return not agree < RIGHT_LABELS[precision]
