"""Operations of level quantised, exact to the last bit (see :mod:`smalti.numerics`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from smalti import numerics
from smalti.ir.arrays import Array, Numbers
from smalti.ir.dims import Dim, product
from smalti.ir.ops.convolution import (
    FUSED,
    Activation,
    activate,
    positive,
    sum_of_taps,
    weight_sizes,
)
from smalti.ir.ops.reduction import axes_problems, reduced
from smalti.ir.schema import QUANTISED, Op, operation
from smalti.ir.shapes import image_shape, require, windows
from smalti.ir.types import Layout, Pads, Shape, TensorType
from smalti.numerics import DType

__all__ = ["Dequantise", "ImageConv2d", "Quantise", "QuantisedConv2d", "QuantisedMean"]

QUANTISED_TYPES = (DType.UINT8, DType.INT16)
"""Types of quantised activations."""
BYTES = 256
LARGEST_DOUBLE_OFFSET = 510
"""Twice the largest pixel."""

_INTEGERS = frozenset(QUANTISED_TYPES)
_FLOATS = frozenset((DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16, DType.FLOAT64))
_RESULTS = frozenset((*QUANTISED_TYPES, DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16))


def step_problems(scale: float, zero_point: int, dtype: DType | None) -> Iterator[str]:
    """Yield what is wrong with the step of a tensor."""
    if not (np.isfinite(scale) and scale > 0 and float(np.float32(scale)) == scale):
        yield f"scale is {scale}, not a positive float32 value"
    if dtype is not None and dtype in QUANTISED_TYPES:
        low, high = dtype.limits
        if not low <= zero_point <= high:
            yield f"zero point {zero_point} is outside {dtype.value}"


def range_problems(low: int, high: int, dtype: DType) -> Iterator[str]:
    """Yield what is wrong with the limits of integer results."""
    lowest, highest = dtype.limits
    if not lowest <= low <= high <= highest:
        yield f"results in [{low}, {high}] are outside {dtype.value}"


@operation("x", levels=QUANTISED, values={"dtype": _INTEGERS})
@dataclass(frozen=True, slots=True)
class Quantise(Op):
    """The integers that stand for a float tensor (see :func:`smalti.numerics.quantise`).

    ``scale`` (a float32 value) is what one step stands for; results lie in the range of ``dtype``.
    """

    scale: float
    zero_point: int = 0
    dtype: DType = DType.UINT8

    def result(self, x: TensorType) -> TensorType:
        """The same shape."""
        require(x.dtype.is_float, f"Quantise of {x.dtype.value}")
        return TensorType(self.dtype, x.shape)

    @staticmethod
    def meaning(x: Array, *, scale: float, zero_point: int, dtype: DType) -> Array:
        """Integers that stand for a float tensor."""
        return numerics.quantise(x.astype(np.float32), scale, zero_point, *dtype.limits).astype(dtype.numpy)

    def problems(self) -> Iterator[str]:
        """The step is a positive float32 value, the zero point one of the integers."""
        yield from step_problems(self.scale, self.zero_point, self.dtype)


@operation("x", levels=QUANTISED, values={"dtype": _FLOATS})
@dataclass(frozen=True, slots=True)
class Dequantise(Op):
    """``(x - zero_point) * scale`` in float32, rounded to ``dtype``."""

    scale: float
    zero_point: int = 0
    dtype: DType = DType.FLOAT32

    def result(self, x: TensorType) -> TensorType:
        """The same shape."""
        require(x.dtype in QUANTISED_TYPES, f"Dequantise of {x.dtype.value}")
        return TensorType(self.dtype, x.shape)

    @staticmethod
    def meaning(x: Array, *, scale: float, zero_point: int, dtype: DType) -> Array:
        """Real numbers that integers stand for."""
        return numerics.dequantise(x, scale, zero_point).astype(dtype.numpy)

    def problems(self) -> Iterator[str]:
        """The step is a positive float32 value."""
        yield from step_problems(self.scale, self.zero_point, None)


@operation(
    "x",
    "weights",
    "multiplier",
    "bias?",
    "addend?",
    "residual?",
    levels=QUANTISED,
    values={"dtype": _RESULTS, "activation": FUSED},
    silent=("scale",),
)
@dataclass(frozen=True, slots=True)
class QuantisedConv2d(Op):
    """2-D convolution of integers, NHWC; a depthwise one has as many groups as channels.

    Operands: x (uint8, or int16), weights (int8, or int16) ``[kh, kw, in / groups, out]``, multiplier float32
    ``[out]``, bias int32 ``[out]``, addend float32 ``[out]`` (it may be computed at run time), residual (type and shape
    of the result).

    ``sum = conv(x - zero_point, w) + bias``; padded positions count as zero.  Then, in float32 with one rounding for
    each operation, ``t = sum * multiplier + addend + (residual - residual_zero_point) * residual_scale``.  A result of
    type uint8 or int16 is ``clip(rint(t) + result_zero_point, low, high)``, and with a ``table`` of 256 bytes the entry
    of that byte; a float result is ``activation(t)``.

    With int16 weights sums are float32 (``x * w`` needs 32 bits alone), so the last step may differ between CPUs; with
    int8 weights sums are int32 and results are the same everywhere.

    ``scale`` is what one step of the result stands for; the arithmetic does not use it.
    """

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    zero_point: int = 0
    bias: bool = False
    addend: bool = False
    residual: bool = False
    residual_zero_point: int = 0
    residual_scale: float = 0.0
    dtype: DType = DType.UINT8
    scale: float = 1.0
    result_zero_point: int = 0
    low: int = 0
    high: int = 255
    activation: Activation = Activation.NONE
    table: tuple[int, ...] = ()
    groups: int = 1

    def result(
        self,
        x: TensorType,
        weights: TensorType,
        multiplier: TensorType,
        bias: TensorType | None = None,
        addend: TensorType | None = None,
        residual: TensorType | None = None,
    ) -> TensorType:
        """An image of ``out`` channels."""
        kh, kw, _, cout = weight_sizes(x, weights, Layout.NHWC, "QuantisedConv2d", self.groups)
        size = windows(x.shape, Layout.NHWC, (kh, kw), self.stride, self.dilation, self.pads)
        result = TensorType(self.dtype, image_shape(x.shape[0], size, cout, Layout.NHWC))
        _check_operands(self.dtype, (cout,), x, weights, multiplier, bias, addend)
        require(residual in (None, result), f"QuantisedConv2d: the residual is {residual}, the result {result}")
        return result

    @staticmethod
    def meaning(
        x: Array,
        weights: Array,
        multiplier: Array,
        bias: Array | None = None,
        addend: Array | None = None,
        residual: Array | None = None,
        *,
        stride: tuple[int, int],
        dilation: tuple[int, int],
        pads: Numbers,
        zero_point: int,
        residual_zero_point: int,
        residual_scale: float,
        dtype: DType,
        result_zero_point: int,
        low: int,
        high: int,
        activation: Activation,
        table: tuple[int, ...],
        groups: int,
    ) -> Array:
        """Exact sums over all taps, then the requantisation."""
        # Sums of at most 2^32 products of 8-bit integers are exact in float64, and float64 has a fast matrix product.
        wide = x.astype(np.float64) - zero_point
        total = sum_of_taps(wide, weights.astype(np.float64), stride, dilation, pads, groups)
        real = None
        if residual is not None:
            steps = (residual.astype(np.int32) - np.int32(residual_zero_point)).astype(np.float32)
            real = steps * np.float32(residual_scale)
        scaled = _scaled(total, weights, multiplier, bias, addend, real)
        return _rounded(scaled, dtype, result_zero_point, low, high, activation, table)

    def multiply_adds(self, result: TensorType, weights: TensorType) -> int | Dim:
        """Taps and input channels for each result."""
        return result.elements * product(weights.shape[:3])

    def problems(self) -> Iterator[str]:
        """Strides are positive; integer results have a step and limits, float ones an activation."""
        yield from positive(self.stride, self.dilation)
        fits = len(self.table) in (0, BYTES) and set(self.table) <= set(range(BYTES))
        if not fits or (self.table and self.dtype is not DType.UINT8):
            yield "a table is of 256 bytes, for results that are bytes"
        if self.dtype.is_float:
            return
        yield from step_problems(self.scale, self.result_zero_point, self.dtype)
        yield from range_problems(self.low, self.high, self.dtype)
        if self.activation is not Activation.NONE:
            yield "an integer result has limits, no activation"


@operation("x", "weights", "multiplier", "bias?", levels=QUANTISED, silent=("scale",))
@dataclass(frozen=True, slots=True)
class ImageConv2d(Op):
    """The first convolution of a picture, exact in integers, NHWC.

    Operands: x uint8, weights int16 ``[kh, kw, in, out]``, multiplier float32 ``[out]``, bias int32 ``[out]``.
    ``sum = conv(2 * x - double_offset, w) + bias`` in int32 (whoever chooses the weights sees to it that it
    fits); padded positions count as zero.  The result is uint8:
    ``clip(rint(float32(sum) * multiplier) + result_zero_point, low, high)``, each operation rounded to float32.

    ``double_offset=255`` stands for pixels less 127.5, which no integer zero point can say.  ``scale`` is what one
    step of the result stands for; the arithmetic does not use it.
    """

    stride: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    double_offset: int = 0
    bias: bool = False
    scale: float = 1.0
    result_zero_point: int = 0
    low: int = 0
    high: int = 255

    def result(
        self, x: TensorType, weights: TensorType, multiplier: TensorType, bias: TensorType | None = None
    ) -> TensorType:
        """A uint8 image of ``out`` channels."""
        kh, kw, _, cout = weight_sizes(x, weights, Layout.NHWC, "ImageConv2d")
        size = windows(x.shape, Layout.NHWC, (kh, kw), self.stride, (1, 1), self.pads)
        pair = (x.dtype, weights.dtype)
        fits = pair == (DType.UINT8, DType.INT16)
        require(fits, f"ImageConv2d of {x.dtype.value} with {weights.dtype.value} weights")
        require(multiplier == TensorType(DType.FLOAT32, (cout,)), f"the multiplier is {multiplier}")
        require(bias in (None, TensorType(DType.INT32, (cout,))), f"the bias is {bias}")
        return TensorType(DType.UINT8, image_shape(x.shape[0], size, cout, Layout.NHWC))

    @staticmethod
    def meaning(
        x: Array,
        weights: Array,
        multiplier: Array,
        bias: Array | None = None,
        *,
        stride: tuple[int, int],
        pads: Numbers,
        double_offset: int,
        result_zero_point: int,
        low: int,
        high: int,
    ) -> Array:
        """Exact sums over all taps, one product, one rounding."""
        total = sum_of_taps(2.0 * x - double_offset, weights.astype(np.float64), stride, (1, 1), pads)
        sums = (total if bias is None else total + bias).astype(np.int64).astype(np.int32)
        steps = numerics.requantise(sums, multiplier)
        return numerics.round_and_clip(steps, result_zero_point, low, high).astype(np.uint8)

    def multiply_adds(self, result: TensorType, weights: TensorType) -> int | Dim:
        """Taps and input channels for each result."""
        return result.elements * product(weights.shape[:3])

    def problems(self) -> Iterator[str]:
        """Strides are positive; the offset is that of a pixel; results have a step and limits."""
        yield from positive(self.stride)
        if not 0 <= self.double_offset <= LARGEST_DOUBLE_OFFSET:
            yield f"double_offset is {self.double_offset}, not in 0..{LARGEST_DOUBLE_OFFSET}"
        yield from step_problems(self.scale, self.result_zero_point, DType.UINT8)
        yield from range_problems(self.low, self.high, DType.UINT8)


@operation("x", levels=QUANTISED, silent=("scale",))
@dataclass(frozen=True, slots=True)
class QuantisedMean(Op):
    """Mean over ``axes`` of integers, in steps of its own.

    ``t = (float32(sum) / float32(count) - zero_point) * multiplier``, each operation rounded to float32; the result is
    ``clip(rint(t) + result_zero_point)``.  The sum is exact.  ``multiplier`` (a float32 value) is the operand's step
    over the result's, which is ``scale``.  ``axes`` are sorted and non-negative; they stay with size 1 if
    ``keep_dims``.
    """

    axes: tuple[int, ...]
    keep_dims: bool
    zero_point: int = 0
    multiplier: float = 1.0
    scale: float = 1.0
    result_zero_point: int = 0

    def result(self, x: TensorType) -> TensorType:
        """The axes are gone, or of size 1."""
        require(x.dtype in QUANTISED_TYPES, f"QuantisedMean of {x.dtype.value}")
        low, high = x.dtype.limits
        require(low <= self.result_zero_point <= high, f"QuantisedMean: zero point {self.result_zero_point}")
        return reduced(x, self.axes, self.keep_dims)

    @staticmethod
    def meaning(
        x: Array,
        *,
        axes: tuple[int, ...],
        keep_dims: bool,
        zero_point: int,
        multiplier: float,
        result_zero_point: int,
    ) -> Array:
        """Exact sum, then a division, a difference and a product in float32, and one rounding."""
        total = x.sum(axis=axes, keepdims=keep_dims, dtype=np.int64)
        count = np.float32(np.prod([x.shape[a] for a in axes], dtype=np.int64))
        steps = np.asarray((total.astype(np.float32) / count - np.float32(zero_point)) * np.float32(multiplier))
        limits = DType.from_numpy(x.dtype).limits
        return numerics.round_and_clip(steps, result_zero_point, *limits).astype(x.dtype)

    def problems(self) -> Iterator[str]:
        """Axes are sorted; steps are float32 values."""
        yield from axes_problems(self.axes)
        yield from step_problems(self.scale, self.result_zero_point, None)
        if not (np.isfinite(self.multiplier) and float(np.float32(self.multiplier)) == self.multiplier):
            yield f"multiplier is {self.multiplier}, not a float32 value"


def _check_operands(
    dtype: DType,
    channels: Shape,
    x: TensorType,
    weights: TensorType,
    multiplier: TensorType,
    bias: TensorType | None,
    addend: TensorType | None,
) -> None:
    pair = (x.dtype, weights.dtype)
    fits = pair in ((DType.UINT8, DType.INT8), (DType.INT16, DType.INT16))
    require(fits, f"a quantised convolution of {x.dtype.value} with {weights.dtype.value} weights")
    require(dtype is x.dtype or dtype.is_float, f"a result of {dtype.value}")
    require(multiplier == TensorType(DType.FLOAT32, channels), f"the multiplier is {multiplier}")
    require(bias in (None, TensorType(DType.INT32, channels)), f"the bias is {bias}")
    require(addend in (None, TensorType(DType.FLOAT32, channels)), f"the addend is {addend}")


def _scaled(
    total: Array, weights: Array, multiplier: Array, bias: Array | None, addend: Array | None, residual: Array | None
) -> Array:
    """Return sums in steps of the result, or as real numbers, not rounded yet."""
    whole = total if bias is None else total + bias
    if weights.dtype == np.int8:
        return numerics.requantise(whole.astype(np.int64).astype(np.int32), multiplier, addend, residual)
    # Sums of 16-bit integers are float32 in generated code; here they are exact before they are rounded to that.
    steps: Array = whole.astype(np.float32) * multiplier
    steps = steps if addend is None else steps + addend
    return steps if residual is None else steps + residual


def _rounded(
    steps: Array, dtype: DType, zero_point: int, low: int, high: int, activation: Activation, table: tuple[int, ...]
) -> Array:
    if dtype.is_float:
        return activate(steps, activation).astype(np.float16 if dtype is DType.FLOAT16 else np.float32)
    whole = numerics.round_and_clip(steps, zero_point, low, high)
    return (np.asarray(table)[whole] if table else whole).astype(dtype.numpy)
