"""Convolutions, pooling, bias, batch normalisation, matrix product."""

from __future__ import annotations

from smalti.frontend.context import NodeContext
from smalti.frontend.tensorflow.registry import Handled, tf_op
from smalti.frontend.values import Special
from smalti.ir import ops
from smalti.ir.graph import TensorType
from smalti.ir.ops import Layout, Pads
from smalti.ir.shapes import same_pads, spatial_axes

_EMPTY: tuple[int, ...] = ()
_ONES = (1, 1, 1, 1)
MAX_WINDOW = 1 << 20


def read_layout(ctx: NodeContext) -> Layout:
    """Return the layout that ``data_format`` states."""
    text = ctx.attrs.text("data_format", "NHWC")
    if text not in ("NHWC", "NCHW"):
        ctx.unsupported(f"data_format {text[:20]}")
    return Layout(text)


def _pair(ctx: NodeContext, values: tuple[int, ...], what: str, layout: Layout) -> tuple[int, int]:
    """Return the spatial pair of a list of four; batch and channels must be 1."""
    if len(values) != 4:
        ctx.invalid(f"{what} must list 4 numbers, not {len(values)}")
    h, w, c = spatial_axes(layout)
    if values[0] != 1 or values[c] != 1:
        ctx.unsupported(f"{what} over batch or channels")
    if not (0 < values[h] <= MAX_WINDOW and 0 < values[w] <= MAX_WINDOW):
        ctx.invalid(f"{what} {list(values)} must be positive and at most {MAX_WINDOW}")
    return values[h], values[w]


def _read_padding(ctx: NodeContext, layout: Layout) -> str | tuple[int, int, int, int]:
    padding = ctx.attrs.text("padding")
    explicit = ctx.attrs.ints("explicit_paddings", _EMPTY)
    if padding in ("SAME", "VALID"):
        if any(explicit):
            ctx.invalid(f"explicit_paddings given with padding {padding}")
        return padding
    if padding != "EXPLICIT":
        ctx.unsupported(f"padding {padding[:20]}")
    if len(explicit) != 8:
        ctx.invalid(f"explicit_paddings must list 8 numbers, not {len(explicit)}")
    if any(not 0 <= v <= MAX_WINDOW for v in explicit):
        ctx.invalid(f"explicit_paddings {list(explicit)} must not be negative or above {MAX_WINDOW}")
    h, w, c = spatial_axes(layout)
    if any(explicit[2 * a + k] for a in (0, c) for k in (0, 1)):
        ctx.unsupported("explicit_paddings over batch or channels")
    return explicit[2 * h], explicit[2 * h + 1], explicit[2 * w], explicit[2 * w + 1]


def _pads(
    padding: str | tuple[int, int, int, int],
    x: TensorType,
    layout: Layout,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> Pads:
    if not isinstance(padding, str):
        return padding
    if padding == "VALID":
        return 0, 0, 0, 0
    h, w, _ = spatial_axes(layout)
    top, bottom = same_pads(x.shape[h], kernel[0], stride[0], dilation[0])
    left, right = same_pads(x.shape[w], kernel[1], stride[1], dilation[1])
    return top, bottom, left, right


def _kernel_size(ctx: NodeContext, w: TensorType) -> tuple[int, int]:
    kh, kw = w.shape[:2]
    if not (isinstance(kh, int) and isinstance(kw, int)):
        ctx.unsupported("weights whose size depends on the image")
    if not (0 < kh <= MAX_WINDOW and 0 < kw <= MAX_WINDOW):
        ctx.invalid(f"empty or huge weights {w}")
    return kh, kw


@tf_op(
    "Conv2D",
    inputs=2,
    ignore=("use_cudnn_on_gpu",),
    types={"T": 0},
    note="NHWC and NCHW; SAME, VALID, EXPLICIT; dilations; one group",
)
@tf_op(
    "DepthwiseConv2dNative",
    inputs=2,
    types={"T": 0},
    note="NHWC and NCHW; SAME, VALID, EXPLICIT; dilations; any multiplier",
)
def convolution(ctx: NodeContext) -> Handled:
    """2-D convolution, plain and depthwise."""
    layout = read_layout(ctx)
    stride = _pair(ctx, ctx.attrs.ints("strides"), "strides", layout)
    dilation = _pair(ctx, ctx.attrs.ints("dilations", _ONES), "dilations", layout)
    padding = _read_padding(ctx, layout)
    x, w = ctx.type_of(0), ctx.type_of(1)
    ctx.require_float(0, 1)
    ctx.require_rank(0, 4)
    ctx.require_rank(1, 4)
    kernel = _kernel_size(ctx, w)
    channels, taken = x.shape[spatial_axes(layout)[2]], w.shape[2]
    if isinstance(channels, int) and isinstance(taken, int) and 0 < taken < channels and channels % taken == 0:
        ctx.unsupported("a convolution in groups")
    pads = _pads(padding, x, layout, kernel, stride, dilation)
    record = ops.Conv2d if ctx.op == "Conv2D" else ops.DepthwiseConv2d
    return ctx.emit(record(stride, dilation, pads, layout), (ctx.node(0), ctx.node(1)))


@tf_op("AvgPool", inputs=1, types={"T": 0})
@tf_op("MaxPool", inputs=1, types={"T": 0})
def pool(ctx: NodeContext) -> Handled:
    """Average and maximum over windows; padding does not count."""
    layout = read_layout(ctx)
    size = _pair(ctx, ctx.attrs.ints("ksize"), "ksize", layout)
    stride = _pair(ctx, ctx.attrs.ints("strides"), "strides", layout)
    padding = _read_padding(ctx, layout)
    ctx.require_float(0)
    ctx.require_rank(0, 4)
    pads = _pads(padding, ctx.type_of(0), layout, size, stride)
    if not isinstance(padding, str) and (max(padding[:2]) >= size[0] or max(padding[2:]) >= size[1]):
        ctx.invalid("a window would see padding alone")
    fn = ops.PoolFn.AVG if ctx.op == "AvgPool" else ops.PoolFn.MAX
    return ctx.emit(ops.Pool(fn, size, stride, pads, layout), (ctx.node(0),))


@tf_op("BiasAdd", inputs=2, types={"T": 0})
@tf_op("BiasAddV1", inputs=2, types={"T": 0})
def bias_add(ctx: NodeContext) -> Handled:
    """Adds one number per channel."""
    layout = read_layout(ctx) if ctx.op == "BiasAdd" else Layout.NHWC
    x, bias = ctx.type_of(0), ctx.type_of(1)
    if x.rank < 2 or bias.rank != 1:
        ctx.invalid(f"a bias {bias} for {x}")
    axis = x.rank - 1 if layout is Layout.NHWC else 1
    if x.shape[axis] != bias.shape[0]:
        ctx.invalid(f"a bias {bias} for {x}")
    operand = ctx.node(1)
    if axis != x.rank - 1:
        operand = ctx.part(ops.Reshape((*bias.shape, *(1,) * (x.rank - 1 - axis))), (operand,), "bias")
    return ctx.emit(ops.Binary(ops.BinaryFn.ADD), (ctx.node(0), operand))


@tf_op("FusedBatchNorm", inputs=5, ignore=("exponential_avg_factor",), types={"T": 0}, note="is_training=false")
@tf_op(
    "FusedBatchNormV2",
    "FusedBatchNormV3",
    inputs=5,
    ignore=("exponential_avg_factor",),
    types={"T": 0, "U": 1},
    note="is_training=false",
)
def fused_batch_norm(ctx: NodeContext) -> Handled:
    """Batch normalisation with fixed mean and variance."""
    layout = read_layout(ctx)
    epsilon = ctx.attrs.number("epsilon", 1e-4)
    if ctx.attrs.flag("is_training", True):
        ctx.unsupported("is_training=true")
    if not 0 <= epsilon < float("inf"):
        ctx.invalid(f"attribute epsilon is {epsilon}")
    ctx.require_float(0, 1, 2, 3, 4)
    result = ctx.emit(ops.BatchNorm(epsilon, layout), [ctx.node(i) for i in range(5)])
    # Without training the batch statistics are the given ones.
    mean, variance = ctx.value(3), ctx.value(4)
    return result, mean, variance, Special.ABSENT, Special.ABSENT, Special.ABSENT


@tf_op("MatMul", inputs=2, ignore=("grad_a", "grad_b"), types={"T": 0})
def matmul(ctx: NodeContext) -> Handled:
    """Product of two matrices."""
    transposed = ctx.attrs.flag("transpose_a", False), ctx.attrs.flag("transpose_b", False)
    ctx.require_float(0, 1)
    return ctx.emit(ops.MatMul(*transposed), (ctx.node(0), ctx.node(1)))


@tf_op("Softmax", inputs=1, types={"T": 0})
def softmax(ctx: NodeContext) -> Handled:
    """Softmax over the last axis."""
    ctx.require_float(0)
    return ctx.emit(ops.Softmax(), (ctx.node(0),))


@tf_op("SpaceToDepth", inputs=1, types={"T": 0})
@tf_op("DepthToSpace", inputs=1, types={"T": 0})
def space_depth(ctx: NodeContext) -> Handled:
    """Blocks of pixels become channels, or the other way round."""
    layout = read_layout(ctx)
    block = ctx.attrs.integer("block_size")
    if not 1 <= block <= MAX_WINDOW:
        ctx.invalid(f"attribute block_size is {block}")
    record = ops.SpaceToDepth if ctx.op == "SpaceToDepth" else ops.DepthToSpace
    return ctx.emit(record(block, layout), (ctx.node(0),))
