"""Convolutions and pooling: windows over height and width, in either layout."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from smalti.frontend.context import Lowering
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Node, TensorType
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
    record: type[ops.Conv2d] | type[ops.DepthwiseConv2d],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: Padding,
    layout: Layout,
) -> Value:
    """2-D convolution of float images of ``layout`` with weights ``[height, width, in, out or multiplier]``; see
    :func:`convolution_of`.
    """
    ctx.require_float(x, weights)
    ctx.require_rank(x, 4)
    ctx.require_rank(weights, 4)
    pads = _pads(padding, x.type, layout, _kernel_size(ctx, weights.type), stride, dilation)
    images, filters = ctx.node_of(x), ctx.node_of(weights)
    op, filters = convolution_of(ctx, images, filters, record, stride, dilation, pads, layout)
    return ctx.emit(op, (images, filters))


def convolution_of(
    ctx: Lowering,
    x: Node,
    weights: Node,
    record: type[ops.Conv2d] | type[ops.DepthwiseConv2d],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pads: Pads,
    layout: Layout,
) -> tuple[ops.Conv2d | ops.DepthwiseConv2d, Node]:
    """Return the operation of a convolution, and its weights as it takes them.

    Where weights of a plain convolution take a part of the channels, there are as many groups as parts; where they take
    one channel, it is a depthwise convolution.
    """
    kernel = _kernel_size(ctx, weights.type)
    channels, taken = x.type.shape[spatial_axes(layout)[2]], weights.type.shape[2]
    if record is ops.DepthwiseConv2d or not (
        isinstance(channels, int) and isinstance(taken, int) and 0 < taken < channels
    ):
        return record(stride, dilation, pads, layout), weights
    results = weights.type.shape[3]
    if taken == 1 and isinstance(results, int) and results % channels == 0:
        filters = ctx.part(ops.Reshape((*kernel, channels, results // channels)), (weights,), "filters")
        return ops.DepthwiseConv2d(stride, dilation, pads, layout), filters
    return ops.Conv2d(stride, dilation, pads, layout, groups=channels // taken), weights


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
    kernel = _kernel_size(ctx, weights)
    pads = _pads(padding, TensorType(weights.dtype, (1, *size, 1)), Layout.NHWC, kernel, stride, dilation)
    if not (isinstance(pads[0], int) and isinstance(pads[2], int)):
        ctx.unsupported("a padding that depends on the image size")
    return pads[0], pads[2]


def _kernel_size(ctx: Lowering, weights: TensorType) -> tuple[int, int]:
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
