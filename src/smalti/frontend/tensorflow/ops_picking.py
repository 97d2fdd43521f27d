"""Elements by computed positions: the largest, one-hot vectors, updates of a tensor, and tensors turned round."""

from __future__ import annotations

import numpy as np

from smalti.frontend.lower import picking, slices
from smalti.frontend.lower.fill import kept
from smalti.frontend.lower.grids import MAX_DEPTH
from smalti.frontend.lower.grids import zero as zero_of
from smalti.frontend.lower.slices import Span
from smalti.frontend.symbolic import constants
from smalti.frontend.tensorflow.registry import Context, Handled, tf_op
from smalti.frontend.tensorflow.tensors import TfType
from smalti.ir import ops
from smalti.ir.ops import BinaryFn
from smalti.numerics import DType

_INTEGERS = {TfType.INT32: DType.INT32, TfType.INT64: DType.INT64}
_UPDATES = {
    "TensorScatterUpdate": ops.ScatterFn.SET,
    "TensorScatterAdd": ops.ScatterFn.ADD,
    "TensorScatterMax": ops.ScatterFn.MAXIMUM,
    "TensorScatterMin": ops.ScatterFn.MINIMUM,
}


@tf_op("TopK", inputs=1, ignore=("sorted",), types={"T": 0})
@tf_op("TopKV2", inputs=2, ignore=("sorted",), types={"T": 0, "Tk": 1}, note="k constant or of the image size")
def top_k(ctx: Context) -> Handled:
    """The largest numbers of the last axis and their positions, the largest first; of equal ones the first."""
    kind = TfType.INT32 if ctx.op == "TopK" else ctx.attrs.kind("index_type", TfType.INT32)
    stated = ctx.attrs.integer("k") if ctx.op == "TopK" else None
    if kind not in _INTEGERS:
        ctx.unsupported(f"index_type {kind.label}")
    x = ctx.value(0)
    axis = ctx.check_axis(-1, x.type.rank)
    if stated is None:
        known = ctx.known(1, "k")
        if known.size != 1:
            ctx.invalid(f"k must be one number, not {ctx.type_of(1)}")
        stated = known.item(0)
    largest, places = picking.top_k(ctx, x, stated, axis, largest=True)
    return largest, places if kind is TfType.INT64 else ctx.emit(ops.Cast(DType.INT32), (places,), 1)


@tf_op("OneHot", inputs=4, types={"T": 2, "TI": 0}, note="constant depth")
def one_hot(ctx: Context) -> Handled:
    """One number where the position along a new axis is the index, another elsewhere; a negative index is nowhere."""
    axis = ctx.attrs.integer("axis", -1)
    picked, depth, on, off = ctx.value(0), ctx.integer(1, "the depth"), ctx.value(2), ctx.value(3)
    shape = picked.type.shape
    axis = ctx.check_axis(axis, len(shape) + 1)
    if not 0 <= depth <= MAX_DEPTH or not picked.type.dtype.is_integer:
        ctx.invalid(f"a depth of {depth} for {picked.type}")
    if on.type.rank or off.type.rank or on.type != off.type:
        ctx.invalid(f"the numbers {on.type} and {off.type}, which must be two of one type")
    node = ctx.node_of(picked)
    if picked.type.dtype is not DType.INT64:
        node = ctx.part(ops.Cast(DType.INT64), (node,), "index")
    node = ctx.part(ops.Reshape((*shape[:axis], 1, *shape[axis:])), (node,), "column")
    places = np.arange(depth).reshape(-1, *(1,) * (len(shape) - axis))
    there = ctx.part(ops.Binary(BinaryFn.EQUAL), (node, kept(ctx, places, "places")), "there")
    return ctx.emit(ops.Select(), (there, on, off))


@tf_op(*_UPDATES, inputs=3, ignore=("bad_indices_policy",), types={"T": 0, "Tindices": 1})
def update(ctx: Context) -> Handled:
    """A tensor with pieces written or added at positions; one outside changes nothing."""
    return picking.folded(ctx, ops.ScatterNd(_UPDATES[ctx.op]), ctx.values())


@tf_op("ReverseV2", inputs=2, types={"T": 0, "Tidx": 1}, note="constant axes")
@tf_op("Reverse", inputs=2, types={"T": 0}, note="constant axes")
def reverse(ctx: Context) -> Handled:
    """The elements along some axes in the opposite order."""
    x = ctx.value(0)
    rank = x.type.rank
    if ctx.op == "Reverse":
        flags = constants(ctx.known(1, "the axes"))
        if flags is None or ctx.type_of(1).shape != (rank,):
            ctx.invalid(f"axes {ctx.type_of(1)} for {x.type}")
        axes = {a for a, turned in enumerate(flags) if turned}
    else:
        stated = ctx.ints(1, "the axes")
        axes = {ctx.check_axis(a, rank) for a in stated}
        if len(axes) != len(stated):
            ctx.invalid(f"the axes {list(stated)} repeat")
    spans = [Span(n - 1, n, -1) if a in axes and n != 0 else Span(0, n) for a, n in enumerate(x.type.shape)]
    return slices.sliced(ctx, x, spans, x.type.shape)


@tf_op("DivNoNan", "MulNoNan", inputs=2, types={"T": 0})
def without_nan(ctx: Context) -> Handled:
    """A quotient or product that is 0 where the second operand is 0, whatever the first is."""
    a, b = ctx.floats(0, 1)
    fn = BinaryFn.DIV if ctx.op == "DivNoNan" else BinaryFn.MUL
    node = ctx.part(ops.Binary(fn), (a, b), "plain")
    zero = zero_of(ctx, b.type.dtype)
    is_zero = ctx.part(ops.Binary(BinaryFn.EQUAL), (b, zero), "is_zero")
    return ctx.emit(ops.Select(), (is_zero, zero, node))
