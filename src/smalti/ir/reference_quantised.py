"""Numpy meaning of quantised operations, exact to the last bit (see :mod:`smalti.numerics`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti import numerics
from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.reference_image import activate, padded, taps
from smalti.numerics import DType

Array = NDArray[Any]
Env = Mapping[str, int]
QuantisedConvolution = ops.QuantisedConv2d | ops.QuantisedDepthwiseConv2d


def quantise(op: ops.Quantise, operands: Sequence[Array], env: Env) -> Array:
    """Integers that stand for a float tensor."""
    values = numerics.quantise(operands[0].astype(np.float32), op.scale, op.zero_point, *op.dtype.limits)
    return values.astype(op.dtype.numpy)


def dequantise(op: ops.Dequantise, operands: Sequence[Array], env: Env) -> Array:
    """Real numbers that integers stand for."""
    return numerics.dequantise(operands[0], op.scale, op.zero_point).astype(op.dtype.numpy)


def conv2d(op: ops.QuantisedConv2d, operands: Sequence[Array], env: Env) -> Array:
    """Exact sums over all taps, then the requantisation."""
    w = operands[1].astype(np.float64)
    kh, kw, cin, cout = w.shape
    x = padded(operands[0].astype(np.float64) - op.zero_point, op.pads, env)
    total: Array | None = None
    # Sums of at most 2^32 products of 8-bit integers are exact in float64, and float64 has a fast matrix product.
    for ky, kx, view in taps(x, (kh, kw), op.stride, op.dilation):
        part = (np.ascontiguousarray(view).reshape(-1, cin) @ w[ky, kx]).reshape(*view.shape[:3], cout)
        total = part if total is None else np.add(total, part, out=total)
    residual = None
    if op.residual:
        steps = (operands[-1].astype(np.int32) - np.int32(op.residual_zero_point)).astype(np.float32)
        residual = steps * np.float32(op.residual_scale)
    return _finish(op, operands, total, residual)


def image_conv2d(op: ops.ImageConv2d, operands: Sequence[Array], env: Env) -> Array:
    """Exact sums over all taps, one product, one rounding."""
    w = operands[1].astype(np.float64)
    kh, kw, cin, cout = w.shape
    x = padded(2.0 * operands[0] - op.double_offset, op.pads, env)
    total: Array = np.asarray(operands[3] if op.bias else np.zeros(cout), np.float64)
    for ky, kx, view in taps(x, (kh, kw), op.stride, (1, 1)):
        total = total + (np.ascontiguousarray(view).reshape(-1, cin) @ w[ky, kx]).reshape(*view.shape[:3], cout)
    steps = numerics.requantise(total.astype(np.int64).astype(np.int32), operands[2])
    return numerics.round_and_clip(steps, op.result_zero_point, op.low, op.high).astype(np.uint8)


def depthwise_conv2d(op: ops.QuantisedDepthwiseConv2d, operands: Sequence[Array], env: Env) -> Array:
    """Exact sums over all taps, then the requantisation."""
    w = operands[1].astype(np.float64)
    x = padded(operands[0].astype(np.float64) - op.zero_point, op.pads, env)
    total: Array | None = None
    for ky, kx, view in taps(x, w.shape[:2], op.stride, op.dilation):
        part = view * w[ky, kx, :, 0]
        total = part if total is None else np.add(total, part, out=total)
    return _finish(op, operands, total, None)


def mean(op: ops.QuantisedMean, operands: Sequence[Array], env: Env) -> Array:
    """Exact sum, then a division, a difference and a product in float32, and one rounding."""
    (x,) = operands
    total = x.sum(axis=op.axes, keepdims=op.keep_dims, dtype=np.int64)
    count = np.float32(np.prod([x.shape[a] for a in op.axes], dtype=np.int64))
    steps = np.asarray((total.astype(np.float32) / count - np.float32(op.zero_point)) * np.float32(op.multiplier))
    dtype = DType.from_numpy(x.dtype)
    return numerics.round_and_clip(steps, op.result_zero_point, *dtype.limits).astype(x.dtype)


def _finish(op: QuantisedConvolution, operands: Sequence[Array], total: Array | None, residual: Array | None) -> Array:
    if total is None:
        raise CompilerError("a convolution without taps")
    bias = operands[3] if op.bias else np.int32(0)
    addend = operands[3 + op.bias] if op.addend else None
    if operands[1].dtype == np.int8:
        sums = (total + bias).astype(np.int64).astype(np.int32)
        steps = numerics.requantise(sums, operands[2], addend, residual)
    else:
        # Sums of 16-bit integers are float32 in generated code; here they are exact before they are rounded to that.
        steps = (total + bias).astype(np.float32) * operands[2]
        steps = steps if addend is None else steps + addend
        steps = steps if residual is None else steps + residual
    if op.dtype.is_float:
        return activate(steps, op.activation).astype(np.float16 if op.dtype is DType.FLOAT16 else np.float32)
    return numerics.round_and_clip(steps, op.result_zero_point, op.low, op.high).astype(op.dtype.numpy)
