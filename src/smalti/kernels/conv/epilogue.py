"""From the float32 sums of a convolution to elements of its result.

The parameters of a channel lie in vectors: for float results the bias, with which sums begin; for a quantised
convolution the multiplier and then the addend, ``span`` bytes behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from smalti.ir.ops import Activation
from smalti.kernels.half.bfloat import narrowed_bfloat16
from smalti.kernels.values import load_value, number, store_value
from smalti.llvm.builder import F32, I16, I32, Fn, lanes_of, vector
from smalti.numerics import DType


@dataclass(frozen=True, slots=True)
class Steps:
    """A quantised convolution: ``sum * multiplier + addend + (residual - residual_zero_point) * residual_scale``.

    An integer result is that, rounded, plus ``zero_point``, within ``[low, high]``.
    """

    zero_point: int
    low: int
    high: int
    residual_zero_point: int
    residual_scale: float


@dataclass(frozen=True, slots=True)
class Epilogue:
    """What becomes of sums: ``dtype`` is that of the result (and of the residual).

    ``native`` says that the CPU narrows to bfloat16 itself (it takes subnormal numbers for zero), ``wide`` that results
    are kept as float32 because the next convolution reads them from scratch.
    """

    dtype: DType = DType.FLOAT32
    activation: Activation = Activation.NONE
    steps: Steps | None = None
    native: bool = False
    wide: bool = False

    @property
    def stored(self) -> DType:
        """Element type of results in memory."""
        return DType.FLOAT32 if self.wide else self.dtype

    @property
    def key(self) -> str:
        """Text that names the functions it is part of."""
        steps = self.steps
        text = "" if steps is None else "_".join(str(v).replace("-", "m") for v in (
            steps.zero_point, steps.low, steps.high, steps.residual_zero_point, float(steps.residual_scale).hex()
        ))  # fmt: skip
        return f"{self.dtype.value}{'n' if self.native else ''}{'w' if self.wide else ''}_{self.activation.value}{text}"

    def first(self, fn: Fn, parameters: ir.Value, lanes: int) -> ir.Value:
        """Return what the sums of a channel vector begin with."""
        if self.steps is not None:
            return fn.f32(0.0, lanes)
        return fn.load(vector(F32, lanes), parameters)

    def finish(
        self, fn: Fn, value: ir.Value, parameters: ir.Value, span: int | ir.Value, residual: ir.Value | None
    ) -> ir.Value:
        """Return the result of sums as float32 (rounded to integers where the result is one)."""
        lanes, steps = lanes_of(value), self.steps
        kind = vector(F32, lanes)
        if steps is not None:
            value = fn.fma(value, fn.load(kind, parameters), fn.load(kind, fn.at(parameters, span)))
        if residual is not None:
            value = fn.b.fadd(value, self._residual(fn, residual, lanes))
        if steps is None or self.dtype.is_float:
            return activate(fn, value, self.activation)
        value = fn.clamp_low(value, float(steps.low - steps.zero_point))
        value = fn.clamp_high(value, float(steps.high - steps.zero_point))
        value = fn.intrinsic("llvm.nearbyint", kind, value)
        return fn.b.fadd(value, fn.f32(float(steps.zero_point), lanes)) if steps.zero_point else value

    def _residual(self, fn: Fn, address: ir.Value, lanes: int) -> ir.Value:
        value = load_wide(fn, self.dtype, address, lanes)
        steps = self.steps
        if steps is None:
            return value
        if steps.residual_zero_point:
            value = fn.b.fsub(value, fn.f32(float(steps.residual_zero_point), lanes))
        return fn.b.fmul(value, fn.f32(steps.residual_scale, lanes))

    def store(self, fn: Fn, value: ir.Value, address: ir.Value) -> None:
        """Store finished values."""
        if self.stored is DType.BFLOAT16 and self.native:
            fn.store(narrowed_bfloat16(fn, value), address)
        elif self.stored.is_float:
            store_value(fn, self.stored, value, address, lanes_of(value))
        else:
            whole = fn.b.fptosi(value, vector(I32, lanes_of(value)))
            fn.store(fn.b.trunc(whole, vector(I16, lanes_of(value))), address)


def activate(fn: Fn, value: ir.Value, activation: Activation) -> ir.Value:
    """Apply a fused activation; NaN stays NaN as in TensorFlow."""
    if activation is Activation.NONE:
        return value
    value = fn.clamp_low(value, 0.0)
    return fn.clamp_high(value, 6.0) if activation is Activation.RELU6 else value


def load_wide(fn: Fn, dtype: DType, address: ir.Value, lanes: int, offset: float = 0.0) -> ir.Value:
    """Load elements as float32, less ``offset``."""
    value = load_value(fn, dtype, address, lanes)
    if not dtype.is_float:
        convert = fn.b.uitofp if dtype is DType.UINT8 else fn.b.sitofp
        value = convert(value, vector(F32, lanes))
    return fn.b.fsub(value, number(value.type, offset)) if offset else value
