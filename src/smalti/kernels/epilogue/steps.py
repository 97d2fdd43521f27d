"""An epilogue: the frozen tuple of small steps that a sum goes through before it is stored.

Some steps take a number for each channel.  Those lie in rows, which belong to the steps in the order of the steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.ops import Activation, UnaryFn
from smalti.kernels.elementwise.functions import supports_unary
from smalti.numerics import DType

BYTE_VALUES = 256


@dataclass(frozen=True, slots=True)
class Begin:
    """Sums begin with a row (it has the type of the sums); without this step they begin with zero."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Times a row."""


@dataclass(frozen=True, slots=True)
class Add:
    """Plus a row."""


@dataclass(frozen=True, slots=True)
class ScaleAdd:
    """Times a row, plus the next one, rounded once where the CPU can."""


@dataclass(frozen=True, slots=True)
class Residual:
    """Plus ``(residual - zero_point) * scale``; without a scale plus the residual as it is."""

    dtype: DType
    zero_point: int = 0
    scale: float | None = None


@dataclass(frozen=True, slots=True)
class Apply:
    """An elementwise function of the table in :mod:`smalti.kernels.elementwise.functions`; NaN stays NaN."""

    fn: UnaryFn
    alpha: float = 0.0


@dataclass(frozen=True, slots=True)
class Requantise:
    """``clip(rint(t) + zero_point, low, high)``.

    ``bounded`` says that ``t`` surely fits int32, so that bytes need no clamp before the conversion.
    """

    dtype: DType
    zero_point: int = 0
    low: int = 0
    high: int = 255
    bounded: bool = False


@dataclass(frozen=True, slots=True)
class Quantise:
    """``rint(t / scale) + zero_point`` within the range of ``dtype``; NaN becomes the lowest.  (No scale: ``t``.)"""

    dtype: DType
    zero_point: int = 0
    scale: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A function of bytes: the result for each of the 256 values."""

    values: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.values) != BYTE_VALUES or not all(0 <= v < BYTE_VALUES for v in self.values):
            raise CompilerError("a table of bytes has 256 entries from 0 to 255")


Step: TypeAlias = Begin | Scale | Add | ScaleAdd | Residual | Apply | Requantise | Quantise | Table
StepT = TypeVar("StepT", bound=Step)


@dataclass(frozen=True, slots=True)
class Epilogue:
    """Steps, and the element type in memory of what they give.

    ``native`` says that the CPU narrows to bfloat16 itself (it takes subnormal numbers for zero).
    """

    steps: tuple[Step, ...]
    stored: DType
    native: bool = False

    def find(self, kind: type[StepT]) -> StepT | None:
        """Return the first step of a kind."""
        return next((step for step in self.steps if isinstance(step, kind)), None)

    @property
    def itemsize(self) -> int:
        """Bytes of one result."""
        return self.stored.itemsize

    @property
    def residual(self) -> bool:
        """Whether a residual is added."""
        return self.find(Residual) is not None

    @property
    def makes_bytes(self) -> bool:
        """Whether sums are narrowed to bytes: groups of two or four vectors then narrow well."""
        step = self.find(Requantise)
        return step is not None and step.dtype is DType.UINT8


_BY_NAME = {fn.value: fn for fn in UnaryFn if supports_unary(fn, DType.FLOAT32)}
FUSED = {kind: _BY_NAME[kind.value] for kind in Activation if kind.value in _BY_NAME}
"""The function of each activation that an operation may have fused behind it: the one of the same name."""

ACTIVATIONS = frozenset((Activation.NONE, *FUSED))
"""What kernels with an epilogue say of an operation's ``activation``."""


def activation(kind: Activation) -> tuple[Apply, ...]:
    """Return the steps of a fused activation.

    Raises:
        CompilerError: nobody has said what it computes.
    """
    if kind is Activation.NONE:
        return ()
    if kind not in FUSED:
        raise CompilerError(f"no code for the activation {kind.value}")
    return (Apply(FUSED[kind]),)


def of_floats(kind: Activation, dtype: DType, residual: bool) -> tuple[Step, ...]:
    """Return what follows the sums of a float convolution (they have begun with the bias)."""
    return (*((Residual(dtype),) if residual else ()), *activation(kind))


def of_integers(op: ops.QuantisedConv2d, bounded: bool = False) -> tuple[Step, ...]:
    """Return what follows the scaled sums of an integer convolution: residual, limits and table, or an activation."""
    steps: tuple[Step, ...] = ()
    if op.residual:
        steps = (Residual(op.dtype, op.residual_zero_point, float(np.float32(op.residual_scale))),)
    if op.dtype.is_float:
        return (*steps, *activation(op.activation))
    limits = Requantise(op.dtype, op.result_zero_point, op.low, op.high, bounded)
    return (*steps, limits, *((Table(op.table),) if op.table else ()))


def quantising(op: ops.Quantise) -> Quantise:
    """Return the step that does what a Quantise node does."""
    return Quantise(op.dtype, op.zero_point, op.scale)
