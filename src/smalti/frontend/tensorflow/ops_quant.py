"""Dequantize of constants: weights stored in eight bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from smalti.frontend.signals import UnknownInput
from smalti.frontend.symbolic import integer_range
from smalti.frontend.tensorflow.registry import Context, Handled, tf_op
from smalti.frontend.tensorflow.tensors import TfType
from smalti.frontend.values import Value
from smalti.numerics import DType

F32 = np.float32
FloatArray = NDArray[np.float32]


@tf_op("Dequantize", inputs=3, ignore=("T",), note="of QINT8, QUINT8, QINT16, QUINT16, QINT32 constants; all modes")
def dequantize(ctx: Context) -> Handled:
    """Real numbers from quantised constants, in float32 as TensorFlow's kernel computes them."""
    mode = ctx.attrs.text("mode", "MIN_COMBINED")
    narrow = ctx.attrs.flag("narrow_range", False)
    axis = ctx.attrs.integer("axis", -1)
    kind = ctx.attrs.kind("dtype", TfType.FLOAT)
    if mode not in ("MIN_COMBINED", "MIN_FIRST", "SCALED"):
        ctx.unsupported(f"mode {mode[:20]}")
    if kind is not TfType.FLOAT:
        ctx.unsupported(f"attribute dtype: result type {kind.label}")
    source, low, high = ctx.inputs[0], _range(ctx, 1), _range(ctx, 2)
    if not isinstance(source, Value):
        raise UnknownInput
    if source.quantised is None or source.array is None:
        ctx.unsupported("a tensor that is not a quantised constant")
    array = source.array
    if low.shape != high.shape:
        ctx.invalid("min_range and max_range have different shapes")
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        ctx.invalid("min_range and max_range are not a range")
    if axis == -1:
        if low.size != 1:
            ctx.invalid("min_range and max_range must be single numbers")
        low, high = low.reshape(()), high.reshape(())
    else:
        axis = ctx.check_axis(axis, array.ndim) if axis >= 0 else ctx.invalid(f"attribute axis is {axis}")
        if low.size != array.shape[axis]:
            ctx.invalid(f"{low.size} ranges for {array.shape[axis]} slices")
        shape = [array.shape[axis] if a == axis else 1 for a in range(array.ndim)]
        low, high = low.reshape(shape), high.reshape(shape)
    first, last = integer_range(source.type.dtype)
    with np.errstate(all="ignore"):
        real = _real(array, mode, narrow, low, high, first, last)
    return ctx.constant(real, dtype=DType.FLOAT32)


def _range(ctx: Context, i: int) -> FloatArray:
    value = ctx.value(i)
    if value.array is None or value.type.dtype is not DType.FLOAT32 or value.array.size == 0:
        ctx.unsupported("a range that is not constant")
    return value.array.astype(F32)


def _real(
    array: NDArray[np.generic], mode: str, narrow: bool, low: FloatArray, high: FloatArray, first: int, last: int
) -> FloatArray:
    x = array.astype(F32)
    if mode == "SCALED":
        scale = high / F32(last)
        if first < 0:
            scale = np.maximum(low / F32(first + (1 if narrow else 0)), scale)
        return (x * scale).astype(F32)
    if mode == "MIN_COMBINED":
        scale = (high - low) / (F32(last) - F32(first))
        half = F32(0) if first == 0 else (F32(last) - F32(first) + F32(1)) / F32(2)
        return ((x + half) * scale + low).astype(F32)
    steps = float(last - first)
    scale = ((high - low).astype(np.float64) / steps).astype(F32)
    safe = np.where(scale == 0, F32(1), scale).astype(F32)
    ratio = (low / safe).astype(F32)
    rounded = np.copysign(np.floor(np.abs(ratio) + F32(0.5)), ratio).astype(F32) * safe
    start = np.where(high == low, low, rounded).astype(F32)
    return ((x - F32(first)) * scale + start).astype(F32)
