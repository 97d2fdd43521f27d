"""Numpy meaning of convolutions, batch norm, pooling and resizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.dims import evaluate
from smalti.ir.ops import Activation, PoolFn, ResizeFn
from smalti.ir.reference_elementwise import argmax, lowest_highest
from smalti.ir.reference_shape import from_nhwc, sizes, to_nhwc

Array = NDArray[Any]
Env = Mapping[str, int]


def padded(x: Array, pads: ops.Pads, env: Env, value: Any = 0) -> Array:
    top, bottom, left, right = sizes(pads, env)
    if min(top, bottom, left, right) < 0:
        raise CompilerError(f"negative padding {(top, bottom, left, right)}")
    if not (top or bottom or left or right):
        return x
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def taps(
    x: Array, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> Iterator[tuple[int, int, Array]]:
    """Yield (ky, kx, view): the pixel that each window of NHWC ``x`` has under that position."""
    (kh, kw), (sy, sx), (dy, dx) = kernel, stride, dilation
    rows = (x.shape[1] - ((kh - 1) * dy + 1)) // sy + 1
    columns = (x.shape[2] - ((kw - 1) * dx + 1)) // sx + 1
    if rows < 0 or columns < 0:
        raise CompilerError("a window is larger than the padded image")
    for ky in range(kh):
        for kx in range(kw):
            top, left = ky * dy, kx * dx
            bottom, right = top + (rows - 1) * sy + 1, left + (columns - 1) * sx + 1
            yield ky, kx, x[:, top : max(bottom, 0) : sy, left : max(right, 0) : sx]


def activate(x: Array, activation: Activation) -> Array:
    if activation is Activation.NONE:
        return x
    positive: Array = np.maximum(x, x.dtype.type(0))
    return positive if activation is Activation.RELU else np.minimum(positive, x.dtype.type(6))


def _wide(x: Array) -> Array:
    return x.astype(np.float32) if x.dtype == np.float16 else x


def conv2d(op: ops.Conv2d, operands: Sequence[Array], env: Env) -> Array:
    """One matrix product per tap, summed in the weights' precision (half precision: in float32), taps in C order."""
    x, w = to_nhwc(operands[0], op.layout), _wide(operands[1])
    x = x.astype(w.dtype)
    if op.input_offset:
        x = x - w.dtype.type(op.input_offset)
    kh, kw, cin, cout = w.shape
    total: Array | None = None
    for ky, kx, view in taps(padded(x, op.pads, env), (kh, kw), op.stride, op.dilation):
        part = (np.ascontiguousarray(view).reshape(-1, cin) @ w[ky, kx]).reshape(*view.shape[:3], cout)
        total = part if total is None else np.add(total, part, out=total)
    if total is None:
        raise CompilerError("a convolution without taps")
    if op.bias:
        total = total + _wide(operands[2])
    if op.residual:
        total = total + _wide(to_nhwc(operands[-1], op.layout))
    return from_nhwc(activate(total, op.activation).astype(operands[1].dtype), op.layout)


def depthwise_conv2d(op: ops.DepthwiseConv2d, operands: Sequence[Array], env: Env) -> Array:
    """Sum over taps in C order; result channel ``c * multiplier + m``."""
    x, w = _wide(to_nhwc(operands[0], op.layout)), _wide(operands[1])
    kh, kw, cin, multiplier = w.shape
    total: Array | None = None
    for ky, kx, view in taps(padded(x, op.pads, env), (kh, kw), op.stride, op.dilation):
        part = (view[..., None] * w[ky, kx]).reshape(*view.shape[:3], cin * multiplier)
        total = part if total is None else np.add(total, part, out=total)
    if total is None:
        raise CompilerError("a convolution without taps")
    if op.bias:
        total = total + _wide(operands[2])
    return from_nhwc(activate(total, op.activation).astype(operands[0].dtype), op.layout)


def batch_norm(op: ops.BatchNorm, operands: Sequence[Array], env: Env) -> Array:
    """TensorFlow's order in float32: ``(x - mean) * (rsqrt(variance + epsilon) * gamma) + beta``."""
    x = to_nhwc(operands[0], op.layout)
    gamma, beta, mean, variance = (_wide(p) for p in operands[1:])
    one, epsilon = variance.dtype.type(1), variance.dtype.type(op.epsilon)
    scale = one / np.sqrt(variance + epsilon) * gamma
    return from_nhwc(((_wide(x) - mean) * scale + beta).astype(x.dtype), op.layout)


def pool(op: ops.Pool, operands: Sequence[Array], env: Env) -> Array:
    """Maximum or average over windows; padding counts in neither.

    The average of floats is accumulated in float64 and rounded once, that of integers in int64 and truncated; a window
    of padding alone gives 0 (average) or the lowest value (maximum).  The maximum keeps NaN, which TensorFlow drops.
    """
    x = to_nhwc(operands[0], op.layout)
    if op.fn is PoolFn.MAX:
        low, _ = lowest_highest(x.dtype)
        views = taps(padded(x, op.pads, env, low), op.size, op.stride, (1, 1))
        _, _, first = next(views)
        best = first.copy()
        for _, _, view in views:
            np.maximum(best, view, out=best)
        return from_nhwc(best, op.layout)
    wide = x.astype(np.float64 if x.dtype.kind == "f" else np.int64)
    inside = np.ones((1, *x.shape[1:3], 1), wide.dtype)
    total, count = _window_sum(wide, op, env), np.maximum(_window_sum(inside, op, env), 1)
    average = total / count if x.dtype.kind == "f" else np.trunc(total / count)
    return from_nhwc(average.astype(x.dtype), op.layout)


def _window_sum(x: Array, op: ops.Pool, env: Env) -> Array:
    """Sum over windows, first along columns and then along rows: the work grows with h + w of the window."""
    top, bottom, left, right = sizes(op.pads, env)
    for size, stride, pads in (
        ((1, op.size[1]), (1, op.stride[1]), (0, 0, left, right)),
        ((op.size[0], 1), (op.stride[0], 1), (top, bottom, 0, 0)),
    ):
        views = taps(padded(x, pads, env), size, stride, (1, 1))
        _, _, first = next(views)
        total = first.copy()
        for _, _, view in views:
            np.add(total, view, out=total)
        x = total
    return x


def _scale(before: int, after: int, align_corners: bool) -> np.float32:
    if align_corners and after > 1:
        return np.float32(before - 1) / np.float32(after - 1)
    return np.float32(before) / np.float32(after)


def bilinear_axis(
    before: int, after: int, align_corners: bool, half_pixel_centers: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return (lower index, upper index, fraction of upper) for each result position of one axis.

    The positions are computed in float32 as TensorFlow's ResizeBilinear does: ``i * scale``, or
    ``(i + 0.5) * scale - 0.5`` with half-pixel centres.
    """
    scale = _scale(before, after, align_corners)
    position = np.arange(after, dtype=np.float32)
    if half_pixel_centers:
        source = (position + np.float32(0.5)) * scale - np.float32(0.5)
    else:
        source = position * scale
    base = np.floor(source)
    upper = np.minimum(np.ceil(source).astype(np.int64), before - 1)
    lower = np.minimum(np.maximum(base.astype(np.int64), 0), upper)
    return lower, upper, source - base


def nearest_axis(before: int, after: int, align_corners: bool, half_pixel_centers: bool) -> NDArray[np.int64]:
    """Return the source index of each result position of one axis, as TensorFlow's ResizeNearestNeighbor does.

    With ``align_corners`` halves are rounded away from zero (C ``roundf``), else down.
    """
    scale = _scale(before, after, align_corners)
    position = np.arange(after, dtype=np.float32)
    source = (position + np.float32(0.5)) * scale if half_pixel_centers else position * scale
    # Adding 0.5 in float64 is exact, so this is roundf for the non-negative positions that occur.
    index = np.floor(source.astype(np.float64) + (0.5 if align_corners else 0.0)).astype(np.int64)
    return np.clip(index, 0, before - 1)


def resize(op: ops.Resize, operands: Sequence[Array], env: Env) -> Array:
    """Bilinear: along the row, then between the rows, each ``a + (b - a) * fraction`` in float32; nearest: a gather."""
    (x,) = operands
    height, width = sizes(op.size, env)
    align, half = op.align_corners, op.half_pixel_centers
    if op.fn is ResizeFn.NEAREST:
        rows = nearest_axis(x.shape[1], height, align, half)
        return x[:, rows][:, :, nearest_axis(x.shape[2], width, align, half)]
    x = x.astype(np.float32)
    if x.shape[1:3] == (height, width):
        return x
    top, bottom, fy = bilinear_axis(x.shape[1], height, align, half)
    left, right, fx = bilinear_axis(x.shape[2], width, align, half)
    across = x[:, :, left]
    across = across + (x[:, :, right] - across) * fx[:, None]
    upper = across[:, top]
    return upper + (across[:, bottom] - upper) * fy[:, None, None]


def resize_argmax(op: ops.ResizeArgMax, operands: Sequence[Array], env: Env) -> Array:
    """The composition of the resizes, the crop and the argmax over channels."""
    x = operands[0]
    for stage in op.stages:
        x = resize(stage, (x,), env)
    height, width = evaluate(op.crop[0], env), evaluate(op.crop[1], env)
    return argmax(ops.ArgMax(3, op.dtype), (x[:, :height, :width],), env)
