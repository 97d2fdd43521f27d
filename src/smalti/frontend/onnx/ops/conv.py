"""Convolutions and transposed convolutions of images with one or two spatial dimensions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smalti.frontend.lower.checks import Size
from smalti.frontend.lower.steps import Steps
from smalti.frontend.lower.transposed import Transposed, transposed_convolution
from smalti.frontend.lower.window import kernel_size
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.onnx.windows import LINE, PLANE, Window, flat_pads, plane, read_window, two, unplane
from smalti.frontend.table import Handled
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, Layout
from smalti.numerics import DType

MAX_MORE = 1 << 20
"""Pixels behind a result."""


@onnx_op("Conv", inputs=(2, 3), since=(1, 11, 22), note="one and two spatial dimensions")
def conv(ctx: Context) -> Handled:
    """Convolution, in any number of groups."""
    x, weights = ctx.floats(0, 1)
    groups = ctx.attrs.integer("group", 1)
    window = read_window(ctx, x.type.rank, _sizes(ctx, x, weights))
    channels, taken = x.type.shape[1], weights.type.shape[1]
    if groups < 1 or channels != taken * groups:
        ctx.invalid(f"{groups} groups of {taken} channels of images {x.type}")
    s = Steps(ctx, x.type.dtype, exact=True)
    image = plane(s, x)
    filters = _plane_filters(s, weights)
    filters = s.op(ops.Transpose((2, 3, 1, 0)), filters)
    pads = window.pads_for((image.type.shape[2], image.type.shape[3]))
    kernel_size(ctx, filters.type)
    op = ops.Conv2d(two(window.stride), two(window.dilation), flat_pads(pads), Layout.NCHW, groups=groups)
    result = s.op(op, image, filters)
    if ctx.has(2):
        result = s.binary(BinaryFn.ADD, result, _bias(ctx, s, ctx.value(2), weights.type.shape[0]))
    return s.result(unplane(s, result, x.type.rank))


@onnx_op("ConvTranspose", inputs=(2, 3), since=(1, 11, 22), note="one and two spatial dimensions; constant weights")
def conv_transpose(ctx: Context) -> Handled:
    """The gradient of a convolution with respect to its input, which upsamples."""
    x, weights = ctx.floats(0, 1)
    groups, rank = ctx.attrs.integer("group", 1), x.type.rank
    window = read_window(ctx, rank, _sizes(ctx, x, weights))
    sides = x.type.shape[2:]
    more = ctx.attrs.ints("output_padding", (0,) * len(sides))
    shape = ctx.attrs.ints("output_shape") if "output_shape" in ctx.attrs else None
    if len(more) != len(sides) or any(not 0 <= m <= MAX_MORE for m in more):
        ctx.invalid(f"attribute output_padding {list(more)} for images {x.type}")
    if shape is not None and len(shape) not in (len(sides), rank):
        ctx.invalid(f"attribute output_shape {list(shape)} for images {x.type}")
    places = [_place(ctx, window, axis, side, more[axis], shape) for axis, side in enumerate(sides)]
    if rank == LINE:
        places.insert(0, (0, 1))
    before, size = (places[0][0], places[1][0]), (places[0][1], places[1][1])
    how = Transposed(two(window.stride), two(window.dilation), before, size, Layout.NCHW)
    bias = ctx.value(2) if ctx.has(2) else None
    narrow = x.type.dtype is DType.BFLOAT16
    if rank == PLANE and not narrow:
        return transposed_convolution(ctx, x, weights, how, "iohw", bias, groups)
    if weights.array is None:
        ctx.unsupported("a transposed convolution whose weights are not constant")
    s = Steps(ctx, x.type.dtype, exact=not narrow)
    image = plane(s, x)
    # A constant of bfloat16 is kept as float32 numbers, in which it is computed with here.
    filters = ctx.constant(np.ascontiguousarray(weights.array if rank == PLANE else weights.array[:, :, None]))
    if narrow and bias is not None and bias.array is not None:
        bias = ctx.constant(np.array(bias.array))
    given = Value(image.type, image.name, node=image)
    found = transposed_convolution(ctx, given, filters, how, "iohw", bias, groups)
    node = replace(ctx.node_of(found), name=f"{ctx.raw.name}/plane")
    return s.result(unplane(s, node, rank))


def _place(
    ctx: Context, window: Window, axis: int, side: Size, more: int, shape: tuple[int, ...] | None
) -> tuple[int, Size]:
    """Return how many pixels an axis of the result leaves out at its beginning, and how many it has."""
    at = axis + 2 - len(ctx.type_of(0).shape[2:])
    stride, extent = window.stride[at], window.extent[at]
    whole = stride * (side - 1) + more + extent
    if shape is None and window.auto not in ("SAME_UPPER", "SAME_LOWER"):
        before, after = window.pads[at]
        return before, whole - before - after
    size: Size = side * stride if shape is None else shape[axis - len(ctx.type_of(0).shape[2:])]
    total = whole - size
    if not isinstance(total, int):
        ctx.unsupported("attribute output_shape for images of open size")
    total = max(total, 0)
    return (total // 2 if window.auto == "SAME_UPPER" else total - total // 2), size


def _sizes(ctx: Context, x: Value, weights: Value) -> tuple[int, ...]:
    """Return the spatial sizes of weights."""
    if x.type.rank != weights.type.rank:
        ctx.invalid(f"weights {weights.type} for images {x.type}")
    sizes = tuple(size for size in weights.type.shape[2:] if isinstance(size, int))
    if len(sizes) != len(weights.type.shape[2:]) or not all(isinstance(n, int) for n in weights.type.shape[:2]):
        ctx.unsupported("weights whose size depends on the image")
    return sizes


def _plane_filters(s: Steps, weights: Value) -> Node:
    node = s.take(weights)
    if weights.type.rank == PLANE:
        return node
    results, taken, width = weights.type.shape
    return s.op(ops.Reshape((results, taken, 1, width)), node)


def _bias(ctx: Context, s: Steps, bias: Value, channels: Size) -> Node:
    if bias.type.shape != (channels,):
        ctx.invalid(f"a bias {bias.type} for {channels} channels")
    return s.op(ops.Reshape((channels, 1, 1)), s.take(bias))
