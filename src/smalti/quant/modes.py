"""Precision modes and the choices that go with them, by the names that users of other tools know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from smalti.errors import UsageError
from smalti.numerics import DType

_USUAL_WORDS: Final = {
    **dict.fromkeys(("int8", "i8", "q8", "qint8", "uint8"), "q8_f16"),
    **dict.fromkeys(("int16", "i16", "q16", "qint16"), "q16_f16"),
    **dict.fromkeys(("float32", "fp32", "float"), "f32"),
    **dict.fromkeys(("float16", "fp16", "half"), "f16"),
    "bfloat16": "bf16",
}
"""What other programs call the modes; as a mode each could mean two here, so it is asked for."""


class QuantMode(Enum):
    """Precision mode: the number types of constants and activations."""

    FORCE_FLOAT32 = "force_float32"
    FORCE_FLOAT16 = "force_float16"
    FORCE_BFLOAT16 = "force_bfloat16"
    QINT8_MIXED_FLOAT16 = "qint8_mixed_float16"
    QINT8_MIXED_FLOAT32 = "qint8_mixed_float32"
    QINT16_MIXED_FLOAT16 = "qint16_mixed_float16"
    QINT16_MIXED_FLOAT32 = "qint16_mixed_float32"

    @property
    def alias(self) -> str:
        """Short name."""
        return _ALIASES[self]

    @property
    def quantised(self) -> DType | None:
        """Type of quantised activations (their weights are int8 or int16), or ``None`` where nothing is quantised."""
        if self in (QuantMode.QINT8_MIXED_FLOAT16, QuantMode.QINT8_MIXED_FLOAT32):
            return DType.UINT8
        if self in (QuantMode.QINT16_MIXED_FLOAT16, QuantMode.QINT16_MIXED_FLOAT32):
            return DType.INT16
        return None

    @property
    def float_type(self) -> DType:
        """Type of everything that is not quantised."""
        if self in (QuantMode.FORCE_FLOAT32, QuantMode.QINT8_MIXED_FLOAT32, QuantMode.QINT16_MIXED_FLOAT32):
            return DType.FLOAT32
        return DType.BFLOAT16 if self is QuantMode.FORCE_BFLOAT16 else DType.FLOAT16

    @classmethod
    def parse(cls, text: str) -> QuantMode:
        """Return the mode of a name or alias.

        Raises:
            UsageError: there is no such mode; the message lists them.
        """
        for mode in cls:
            if text.lower() in (mode.value, mode.alias):
                return mode
        known = ", ".join(f"{mode.value} ({mode.alias})" for mode in cls)
        usual = _USUAL_WORDS.get(text.lower())
        hint = f": give {usual} for it" if usual else ""
        raise UsageError(f"there is no precision mode {text!r}{hint}; the modes are {known}")

    @classmethod
    def parse_list(cls, text: str) -> tuple[QuantMode, ...]:
        """Return the modes of a list with commas (or ``all``), each once.

        Raises:
            UsageError: one of them is no mode.
        """
        if text.strip().lower() == "all":
            return tuple(cls)
        return tuple(dict.fromkeys(cls.parse(word.strip()) for word in text.split(",")))


_ALIASES = {
    QuantMode.FORCE_FLOAT32: "f32",
    QuantMode.FORCE_FLOAT16: "f16",
    QuantMode.FORCE_BFLOAT16: "bf16",
    QuantMode.QINT8_MIXED_FLOAT16: "q8_f16",
    QuantMode.QINT8_MIXED_FLOAT32: "q8_f32",
    QuantMode.QINT16_MIXED_FLOAT16: "q16_f16",
    QuantMode.QINT16_MIXED_FLOAT32: "q16_f32",
}


class CalibAlgo(Enum):
    """How the range of a tensor is chosen from what was observed."""

    LINEAR = "linear"
    PERCENTILE = "percentile"
    MSE = "mse"
    ENTROPY = "entropy"


class Granularity(Enum):
    """Whether weights have one scale for each output channel or one for the tensor."""

    PER_AXIS = "per_axis"
    PER_TENSOR = "per_tensor"


class ActivationScheme(Enum):
    """Whether the range of an activation may lie anywhere around zero, or reaches equally far on both sides."""

    ASYMMETRIC = "asymmetric"
    SYMMETRIC = "symmetric"


@dataclass(frozen=True, slots=True)
class QuantOptions:
    """A precision mode with its choices.

    Attributes:
        mode: the number types.
        calib_algo: how ranges are chosen from observations.
        weight_granularity: scales of weights.
        activation: scales of activations.
        keep: names of layers that are not quantised but stay in the mode's float type.
    """

    mode: QuantMode = QuantMode.FORCE_FLOAT32
    calib_algo: CalibAlgo = CalibAlgo.LINEAR
    weight_granularity: Granularity = Granularity.PER_AXIS
    activation: ActivationScheme = ActivationScheme.ASYMMETRIC
    keep: tuple[str, ...] = ()
