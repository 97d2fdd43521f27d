"""Convolutions and pooling: windows over height and width, in either layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

from smalti.frontend.context import Lowering
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import TensorType
from smalti.ir.ops import Layout, Pads
from smalti.ir.shapes import same_pads, spatial_axes

MAX_WINDOW = 1 << 20


class Auto(Enum):
    """Padding that follows from the sizes."""

    SAME = "same"
    """As many windows as strides fit; what is left over goes below and to the right."""
    VALID = "valid"
    """None."""


Padding = Auto | tuple[int, int, int, int]
"""Or ``(top, bottom, left, right)``."""


def read_extents(ctx: Lowering, values: Sequence[int], what: str, axes: tuple[int, int]) -> tuple[int, int]:
    """Return the two of a list of numbers that are of height and width; they must be positive."""
    height, width = (values[axis] for axis in axes)
    if not (0 < height <= MAX_WINDOW and 0 < width <= MAX_WINDOW):
        ctx.invalid(f"{what} {list(values)} must be positive and at most {MAX_WINDOW}")
    return height, width


def check_paddings(ctx: Lowering, values: Sequence[int], what: str) -> None:
    """Refuse explicit paddings that are negative or huge."""
    if any(not 0 <= value <= MAX_WINDOW for value in values):
        ctx.invalid(f"{what} {list(values)} must not be negative or above {MAX_WINDOW}")


def convolution(
    ctx: Lowering,
    x: Value,
    weights: Value,
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: Padding,
    layout: Layout,
) -> Value:
    """2-D convolution of float images of ``layout`` with weights ``[height, width, in / groups, out]``.

    There are as many groups as parts of the channels that the weights take.
    """
    ctx.require_float(x, weights)
    ctx.require_rank(x, 4)
    ctx.require_rank(weights, 4)
    pads = _pads(padding, x.type, layout, kernel_size(ctx, weights.type), stride, dilation)
    channels, taken = x.type.shape[spatial_axes(layout)[2]], weights.type.shape[2]
    # Without a whole number of parts the record refuses the weights.
    groups = channels // taken if isinstance(channels, int) and isinstance(taken, int) and 0 < taken < channels else 1
    op = ops.Conv2d(stride, dilation, pads, layout, groups=groups)
    return ctx.emit(op, (ctx.node_of(x), ctx.node_of(weights)))


def depthwise_filters(ctx: Lowering, x: Value, weights: Value, layout: Layout) -> Value:
    """Return filters ``[height, width, channels, multiplier]`` as weights of as many groups as there are channels.

    Multiplier ``m`` of channel ``c`` gives the result channel ``c * multiplier + m``.
    """
    ctx.require_rank(x, 4)
    ctx.require_rank(weights, 4)
    channels, (height, width, taken, multiplier) = x.type.shape[spatial_axes(layout)[2]], weights.type.shape
    if channels != taken:
        ctx.invalid(f"filters {weights.type} for images {x.type}, which do not have {taken} channels")
    type_ = TensorType(weights.type.dtype, (height, width, 1, taken * multiplier))
    if weights.array is not None:
        rows, columns, depth, factor = weights.array.shape
        array = weights.array.reshape(rows, columns, 1, depth * factor)
        return replace(weights, type=type_, node=None, array=array, sym=None)
    node = ctx.part(ops.Reshape(type_.shape), (weights,), "filters")
    return Value(type_, node.name, node=node)


def pool(
    ctx: Lowering,
    x: Value,
    fn: ops.PoolFn,
    size: tuple[int, int],
    stride: tuple[int, int],
    padding: Padding,
    layout: Layout,
) -> Value:
    """Average or maximum over windows of float images; padding does not count."""
    ctx.require_float(x)
    ctx.require_rank(x, 4)
    pads = _pads(padding, x.type, layout, size, stride)
    if not isinstance(padding, Auto) and (max(padding[:2]) >= size[0] or max(padding[2:]) >= size[1]):
        ctx.invalid("a window would see padding alone")
    return ctx.emit(ops.Pool(fn, size, stride, pads, layout), (x,))


def pads_before(
    ctx: Lowering,
    padding: Padding,
    size: tuple[int | Dim, int | Dim],
    weights: TensorType,
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[int, int]:
    """Return the padding above and at the left of an image of ``size``, which must not depend on that size."""
    kernel = kernel_size(ctx, weights)
    pads = _pads(padding, TensorType(weights.dtype, (1, *size, 1)), Layout.NHWC, kernel, stride, dilation)
    if not (isinstance(pads[0], int) and isinstance(pads[2], int)):
        ctx.unsupported("a padding that depends on the image size")
    return pads[0], pads[2]


def kernel_size(ctx: Lowering, weights: TensorType) -> tuple[int, int]:
    """Return height and width of weights ``[height, width, in, out]``, which must be known and sensible."""
    height, width = weights.shape[:2]
    if not (isinstance(height, int) and isinstance(width, int)):
        ctx.unsupported("weights whose size depends on the image")
    if not (0 < height <= MAX_WINDOW and 0 < width <= MAX_WINDOW):
        ctx.invalid(f"empty or huge weights {weights}")
    return height, width


def _pads(
    padding: Padding,
    x: TensorType,
    layout: Layout,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> Pads:
    if not isinstance(padding, Auto):
        return padding
    if padding is Auto.VALID:
        return 0, 0, 0, 0
    height, width, _ = spatial_axes(layout)
    top, bottom = same_pads(x.shape[height], kernel[0], stride[0], dilation[0])
    left, right = same_pads(x.shape[width], kernel[1], stride[1], dilation[1])
    return top, bottom, left, right
