"""Shapes, and operations that move elements without computing: reshape, transpose, pack, concat, pad, tile."""

from __future__ import annotations

from smalti.frontend.lower import fill as filling
from smalti.frontend.lower import join
from smalti.frontend.lower import pad as padding
from smalti.frontend.lower import shape as shapes
from smalti.frontend.lower.checks import check_amounts
from smalti.frontend.lower.pad import Amounts
from smalti.frontend.tensorflow.registry import Context, Handled, check_number, tf_op
from smalti.frontend.tensorflow.tensors import TfType
from smalti.ir.ops import PadMode
from smalti.numerics import DType


def read_index_type(ctx: Context) -> DType:
    """Return the integer type that ``out_type`` states."""
    kind = ctx.attrs.kind("out_type", TfType.INT32)
    if kind not in (TfType.INT32, TfType.INT64):
        ctx.unsupported(f"out_type {kind.label}")
    return DType.INT32 if kind is TfType.INT32 else DType.INT64


@tf_op("Shape", inputs=1, ignore=("T",))
def shape(ctx: Context) -> Handled:
    """The shape as a vector."""
    dtype = read_index_type(ctx)
    return shapes.shape_of(ctx, ctx.value(0), dtype)


@tf_op("ShapeN", inputs=(1, 4096), ignore=("T",))
def shape_n(ctx: Context) -> Handled:
    """The shapes of several tensors."""
    dtype = read_index_type(ctx)
    check_number(ctx, len(ctx.inputs))
    return tuple(shapes.shape_of(ctx, value, dtype, i) for i, value in enumerate(ctx.values()))


@tf_op("Rank", inputs=1, ignore=("T",))
def rank(ctx: Context) -> Handled:
    """The number of dimensions."""
    return shapes.rank_of(ctx, ctx.value(0))


@tf_op("Size", inputs=1, ignore=("T",))
def size(ctx: Context) -> Handled:
    """The number of elements."""
    dtype = read_index_type(ctx)
    return shapes.elements_of(ctx, ctx.value(0), dtype)


@tf_op("Reshape", inputs=2, types={"T": 0, "Tshape": 1})
def reshape(ctx: Context) -> Handled:
    """The same elements with another shape; one size may be -1."""
    sizes = ctx.sizes(1, "the shape")
    shapes.check_sizes(ctx, sizes)
    return shapes.reshape(ctx, ctx.value(0), sizes)


@tf_op("ExpandDims", inputs=2, types={"T": 0, "Tdim": 1}, note="constant axis")
def expand_dims(ctx: Context) -> Handled:
    """Puts in a dimension of size 1."""
    return shapes.expand(ctx, ctx.value(0), ctx.integer(1, "the axis"))


@tf_op("Squeeze", inputs=1, types={"T": 0})
def squeeze(ctx: Context) -> Handled:
    """Takes out dimensions of size 1."""
    axes = ctx.attrs.ints("axis" if "axis" in ctx.attrs else "squeeze_dims", ())
    return shapes.squeeze(ctx, ctx.value(0), axes)


@tf_op("Transpose", inputs=2, types={"T": 0, "Tperm": 1}, note="constant permutation")
def transpose(ctx: Context) -> Handled:
    """Permutation of the dimensions."""
    return shapes.transpose(ctx, ctx.value(0), ctx.ints(1, "the permutation"))


@tf_op("Pack", inputs=(1, 4096), types={"T": 0})
def pack(ctx: Context) -> Handled:
    """Stacks tensors along a new axis."""
    axis = ctx.attrs.integer("axis", 0)
    check_number(ctx, len(ctx.inputs))
    return join.stack(ctx, ctx.values(), axis)


@tf_op("ConcatV2", "Concat", inputs=(2, 4096), types={}, ignore=("T", "Tidx"), note="constant axis")
def concat(ctx: Context) -> Handled:
    """Concatenation along a constant axis."""
    count = len(ctx.inputs) - 1
    check_number(ctx, count)
    first, last = (0, count) if ctx.op == "ConcatV2" else (1, 0)
    values = [ctx.value(first + i) for i in range(count)]
    return join.concat(ctx, values, ctx.axis(last, values[0].type.rank))


@tf_op("Unpack", inputs=1, types={"T": 0})
def unpack(ctx: Context) -> Handled:
    """Takes a tensor apart along an axis."""
    axis, count = ctx.attrs.integer("axis", 0), ctx.attrs.integer("num")
    return join.unstack(ctx, ctx.value(0), axis, count, "attribute num")


@tf_op("Fill", inputs=2, types={"index_type": 0, "T": 1})
def fill(ctx: Context) -> Handled:
    """A tensor of one value."""
    sizes = ctx.sizes(0, "the shape")
    check_amounts(ctx, sizes, "a size")
    if ctx.type_of(1).rank != 0:
        ctx.invalid(f"the value must be a single number, not {ctx.type_of(1)}")
    return filling.broadcast(ctx, ctx.value(1), sizes)


@tf_op("BroadcastTo", inputs=2, types={"T": 0, "Tidx": 1})
def broadcast_to(ctx: Context) -> Handled:
    """Numpy broadcasting to a shape."""
    sizes = ctx.sizes(1, "the shape")
    check_amounts(ctx, sizes, "a size")
    return filling.broadcast(ctx, ctx.value(0), sizes)


@tf_op("ZerosLike", "OnesLike", inputs=1, types={"T": 0})
def constant_like(ctx: Context) -> Handled:
    """Zeros or ones of the input's shape."""
    return filling.filled_like(ctx, int(ctx.op == "OnesLike"), ctx.type_of(0))


@tf_op("Range", inputs=3, types={"Tidx": 0}, note="constant bounds, at most 65,536 numbers")
def range_(ctx: Context) -> Handled:
    """``start, start + delta, ...`` below ``limit``."""
    dtype = ctx.type_of(0).dtype
    names = enumerate(("start", "limit", "delta"))
    start, limit, delta = (filling.read_bound(ctx, ctx.value(i), dtype, what) for i, what in names)
    return filling.arange(ctx, start, limit, delta, dtype)


@tf_op("Tile", inputs=2, types={"T": 0, "Tmultiples": 1})
def tile(ctx: Context) -> Handled:
    """Repeats a tensor along each dimension."""
    return filling.tile(ctx, ctx.value(0), ctx.sizes(1, "the multiples"))


def read_amounts(ctx: Context) -> Amounts:
    """Return the (before, after) paddings that input 1 gives for each dimension."""
    known = ctx.known(1, "the paddings")
    if known.shape != (ctx.type_of(0).rank, 2) or not ctx.type_of(1).dtype.is_integer:
        ctx.invalid(f"paddings {ctx.type_of(1)} for {ctx.type_of(0)}")
    check_amounts(ctx, tuple(known.ravel().tolist()), "a padding")
    return tuple((before, after) for before, after in known.tolist())


@tf_op("Pad", inputs=2, types={"T": 0, "Tpaddings": 1})
@tf_op("PadV2", inputs=3, types={"T": 0, "Tpaddings": 1}, note="constant value")
def pad(ctx: Context) -> Handled:
    """Padding with a constant."""
    amounts, x = read_amounts(ctx), ctx.value(0)
    number = padding.read_number(ctx, ctx.value(2), x) if ctx.op == "PadV2" else 0.0
    return padding.pad(ctx, x, amounts, number)


@tf_op("MirrorPad", inputs=2, types={"T": 0, "Tpaddings": 1})
def mirror_pad(ctx: Context) -> Handled:
    """Padding with the mirrored image."""
    mode = ctx.attrs.text("mode")
    if mode not in ("REFLECT", "SYMMETRIC"):
        ctx.unsupported(f"mode {mode[:20]}")
    amounts = read_amounts(ctx)
    return padding.mirror(ctx, ctx.value(0), amounts, PadMode(mode.lower()))
