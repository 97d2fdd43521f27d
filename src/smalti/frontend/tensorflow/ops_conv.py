"""Convolutions, pooling, bias, batch normalisation, matrix product."""

from __future__ import annotations

from smalti.frontend.lower import blocks, dense, transposed, window
from smalti.frontend.lower.fill import kept
from smalti.frontend.lower.transposed import Transposed
from smalti.frontend.lower.window import Auto, Padding
from smalti.frontend.tensorflow.places import MOST_TAPS, Places
from smalti.frontend.tensorflow.registry import Context, Handled, tf_op
from smalti.frontend.tensorflow.tensors import TfType
from smalti.frontend.values import Special
from smalti.ir import ops
from smalti.ir.ops import Layout
from smalti.ir.shapes import spatial_axes
from smalti.numerics import DType

_EMPTY: tuple[int, ...] = ()
_ONES = (1, 1, 1, 1)
_AUTO = {"SAME": Auto.SAME, "VALID": Auto.VALID}


def read_layout(ctx: Context) -> Layout:
    """Return the layout that ``data_format`` states."""
    text = ctx.attrs.text("data_format", "NHWC")
    if text not in ("NHWC", "NCHW"):
        ctx.unsupported(f"data_format {text[:20]}")
    return Layout(text)


def _pair(ctx: Context, values: tuple[int, ...], what: str, layout: Layout) -> tuple[int, int]:
    """Return the spatial pair of a list of four; batch and channels must be 1."""
    if len(values) != 4:
        ctx.invalid(f"{what} must list 4 numbers, not {len(values)}")
    h, w, c = spatial_axes(layout)
    if values[0] != 1 or values[c] != 1:
        ctx.unsupported(f"{what} over batch or channels")
    return window.read_extents(ctx, values, what, (h, w))


def _read_padding(ctx: Context, layout: Layout) -> Padding:
    """Return the padding that ``padding`` and ``explicit_paddings`` state."""
    padding = ctx.attrs.text("padding")
    explicit = ctx.attrs.ints("explicit_paddings", _EMPTY)
    if padding in _AUTO:
        if any(explicit):
            ctx.invalid(f"explicit_paddings given with padding {padding}")
        return _AUTO[padding]
    if padding != "EXPLICIT":
        ctx.unsupported(f"padding {padding[:20]}")
    if len(explicit) != 8:
        ctx.invalid(f"explicit_paddings must list 8 numbers, not {len(explicit)}")
    window.check_paddings(ctx, explicit, "explicit_paddings")
    h, w, c = spatial_axes(layout)
    if any(explicit[2 * a + k] for a in (0, c) for k in (0, 1)):
        ctx.unsupported("explicit_paddings over batch or channels")
    return explicit[2 * h], explicit[2 * h + 1], explicit[2 * w], explicit[2 * w + 1]


def _read_window(ctx: Context) -> tuple[Layout, tuple[int, int], tuple[int, int], Padding]:
    """Return layout, stride, dilation and padding of a convolution."""
    layout = read_layout(ctx)
    stride = _pair(ctx, ctx.attrs.ints("strides"), "strides", layout)
    dilation = _pair(ctx, ctx.attrs.ints("dilations", _ONES), "dilations", layout)
    return layout, stride, dilation, _read_padding(ctx, layout)


@tf_op(
    "Conv2D",
    inputs=2,
    ignore=("use_cudnn_on_gpu",),
    types={"T": 0},
    note="NHWC and NCHW; SAME, VALID, EXPLICIT; dilations; groups",
)
@tf_op(
    "DepthwiseConv2dNative",
    inputs=2,
    types={"T": 0},
    note="NHWC and NCHW; SAME, VALID, EXPLICIT; dilations; any multiplier",
)
def convolution(ctx: Context) -> Handled:
    """2-D convolution, plain and depthwise."""
    layout, stride, dilation, padding = _read_window(ctx)
    x, filters = ctx.value(0), ctx.value(1)
    if ctx.op == "DepthwiseConv2dNative":
        filters = window.depthwise_filters(ctx, x, filters, layout)
    return window.convolution(ctx, x, filters, stride, dilation, padding, layout)


@tf_op(
    "Conv2DBackpropInput",
    inputs=3,
    ignore=("use_cudnn_on_gpu",),
    types={"T": 2},
    note="transposed convolution: NHWC and NCHW; SAME, VALID, EXPLICIT; dilations; constant filters",
)
def transposed_convolution(ctx: Context) -> Handled:
    """Transposed convolution: the gradient of a convolution with respect to its input."""
    layout, stride, dilation, padding = _read_window(ctx)
    sizes, filters, x = ctx.sizes(0, "the size of the result"), ctx.value(1), ctx.value(2)
    if len(sizes) != 4:
        ctx.invalid(f"the size of the result must be 4 numbers, not {len(sizes)}")
    ctx.require_rank(filters, 4)
    h, w, c = spatial_axes(layout)
    if sizes[0] != x.type.shape[0] or sizes[c] != filters.type.shape[2]:
        ctx.invalid(f"a result of {[str(s) for s in sizes]} for images {x.type} and filters {filters.type}")
    before = window.pads_before(ctx, padding, (sizes[h], sizes[w]), filters.type, stride, dilation)
    how = Transposed(stride, dilation, before, (sizes[h], sizes[w]), layout)
    return transposed.transposed_convolution(ctx, x, filters, how, "hwoi")


@tf_op(
    "DepthwiseConv2dNativeBackpropInput",
    inputs=3,
    types={"T": 2},
    note="transposed convolution of each channel: NHWC and NCHW; SAME, VALID, EXPLICIT; dilations; constant filters",
)
def transposed_depthwise(ctx: Context) -> Handled:
    """Transposed depthwise convolution: as one of groups of channels."""
    layout, stride, dilation, padding = _read_window(ctx)
    sizes, filters, x = ctx.sizes(0, "the size of the result"), ctx.value(1), ctx.value(2)
    ctx.require_rank(filters, 4)
    if len(sizes) != 4 or filters.array is None:
        ctx.unsupported("filters that are not constant" if len(sizes) == 4 else f"{len(sizes)} sizes of the result")
    rows, columns, channels, multiplier = filters.array.shape
    h, w, c = spatial_axes(layout)
    if sizes[0] != x.type.shape[0] or sizes[c] != channels:
        ctx.invalid(f"a result of {[str(s) for s in sizes]} for images {x.type} and filters {filters.type}")
    flat = kept(ctx, filters.array.reshape(rows, columns, 1, channels * multiplier), "filters", filters.type.dtype)
    before = window.pads_before(ctx, padding, (sizes[h], sizes[w]), flat.type, stride, dilation)
    how = Transposed(stride, dilation, before, (sizes[h], sizes[w]), layout)
    return transposed.transposed_convolution(ctx, x, flat, how, "hwoi", groups=channels)


@tf_op("AvgPool", inputs=1, types={"T": 0})
@tf_op("MaxPool", inputs=1, types={"T": 0})
def pool(ctx: Context) -> Handled:
    """Average and maximum over windows; padding does not count."""
    layout = read_layout(ctx)
    size = _pair(ctx, ctx.attrs.ints("ksize"), "ksize", layout)
    stride = _pair(ctx, ctx.attrs.ints("strides"), "strides", layout)
    padding = _read_padding(ctx, layout)
    fn = ops.PoolFn.AVG if ctx.op == "AvgPool" else ops.PoolFn.MAX
    return window.pool(ctx, ctx.value(0), fn, size, stride, padding, layout)


@tf_op("MaxPoolWithArgmax", inputs=1, types={"T": 0}, note="windows of at most 256 elements; int32 or int64 positions")
def max_pool_with_argmax(ctx: Context) -> Handled:
    """The largest element of each window, and where it stands in the image (or batch) counted through; the first."""
    size = _pair(ctx, ctx.attrs.ints("ksize"), "ksize", Layout.NHWC)
    stride = _pair(ctx, ctx.attrs.ints("strides"), "strides", Layout.NHWC)
    padding = _read_padding(ctx, Layout.NHWC)
    whole_batch = ctx.attrs.flag("include_batch_in_index", False)
    kind = ctx.attrs.kind("Targmax", TfType.INT64)
    if kind not in (TfType.INT32, TfType.INT64):
        ctx.unsupported(f"Targmax {kind.label}")
    if size[0] * size[1] > MOST_TAPS:
        ctx.unsupported(f"positions in a window of more than {MOST_TAPS} elements")
    x = ctx.value(0)
    pooled = window.pool(ctx, x, ops.PoolFn.MAX, size, stride, padding, Layout.NHWC)
    pads = pooled.node.op.pads if pooled.node is not None and isinstance(pooled.node.op, ops.Pool) else (0, 0, 0, 0)
    places = Places(ctx, x, size, stride, pads, pooled.type.shape).counted(whole_batch)
    return pooled, ctx.emit(ops.Cast(DType.INT32 if kind is TfType.INT32 else DType.INT64), (places,), 1)


@tf_op("BiasAdd", inputs=2, types={"T": 0})
@tf_op("BiasAddV1", inputs=2, types={"T": 0})
def bias_add(ctx: Context) -> Handled:
    """Adds one number per channel."""
    layout = read_layout(ctx) if ctx.op == "BiasAdd" else Layout.NHWC
    return dense.bias_add(ctx, ctx.value(0), ctx.value(1), layout)


@tf_op("FusedBatchNorm", inputs=5, ignore=("exponential_avg_factor",), types={"T": 0}, note="is_training=false")
@tf_op(
    "FusedBatchNormV2",
    "FusedBatchNormV3",
    inputs=5,
    ignore=("exponential_avg_factor",),
    types={"T": 0, "U": 1},
    note="is_training=false",
)
def fused_batch_norm(ctx: Context) -> Handled:
    """Batch normalisation with fixed mean and variance."""
    layout = read_layout(ctx)
    epsilon = ctx.attrs.number("epsilon", 1e-4)
    if ctx.attrs.flag("is_training", True):
        ctx.unsupported("is_training=true")
    dense.check_epsilon(ctx, epsilon)
    x, scale, offset, mean, variance = ctx.floats(0, 1, 2, 3, 4)
    result = dense.batch_norm(ctx, x, scale, offset, mean, variance, epsilon, layout)
    # Without training the batch statistics are the given ones.
    return result, mean, variance, Special.ABSENT, Special.ABSENT, Special.ABSENT


@tf_op("MatMul", inputs=2, ignore=("grad_a", "grad_b"), types={"T": 0})
def matmul(ctx: Context) -> Handled:
    """Product of two matrices."""
    transpose_a, transpose_b = ctx.attrs.flag("transpose_a", False), ctx.attrs.flag("transpose_b", False)
    a, b = ctx.floats(0, 1)
    return dense.matmul(ctx, a, b, transpose_a, transpose_b)


@tf_op("Softmax", inputs=1, types={"T": 0})
def softmax(ctx: Context) -> Handled:
    """Softmax over the last axis."""
    return dense.softmax(ctx, ctx.value(0))


@tf_op("SpaceToDepth", inputs=1, types={"T": 0})
@tf_op("DepthToSpace", inputs=1, types={"T": 0})
def space_depth(ctx: Context) -> Handled:
    """Blocks of pixels become channels, or the other way round."""
    layout = read_layout(ctx)
    block = ctx.attrs.integer("block_size")
    blocks.check_block(ctx, block, "attribute block_size")
    record = ops.SpaceToDepth if ctx.op == "SpaceToDepth" else ops.DepthToSpace
    return blocks.space_depth(ctx, ctx.value(0), record, block, layout)
