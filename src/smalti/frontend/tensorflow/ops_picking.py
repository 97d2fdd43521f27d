"""The largest along an axis, one-hot rows, turned axes, and pieces written into a tensor."""

from __future__ import annotations

from smalti.frontend.lower import grids, join, picking, slices
from smalti.frontend.lower.checks import check_axes
from smalti.frontend.lower.slices import Span, read_span
from smalti.frontend.tensorflow.registry import Context, Handled, tf_op
from smalti.frontend.tensorflow.tensors import TfType
from smalti.ir import ops
from smalti.numerics import DType

_SCATTERS = {
    "TensorScatterUpdate": ops.ScatterFn.SET,
    "TensorScatterAdd": ops.ScatterFn.ADD,
    "TensorScatterMax": ops.ScatterFn.MAXIMUM,
    "TensorScatterMin": ops.ScatterFn.MINIMUM,
}


@tf_op("OneHot", inputs=4, types={"TI": 0, "T": 2}, note="constant depth")
def one_hot(ctx: Context) -> Handled:
    """A new axis that is ``on`` at the place of the index and ``off`` elsewhere; an index outside is nowhere."""
    picked, depth = ctx.value(0), ctx.integer(1, "the depth")
    axis = ctx.attrs.integer("axis", -1)
    choices = [ctx.value(i) for i in (3, 2)]
    if any(c.type.rank != 0 for c in choices) or choices[0].type != choices[1].type:
        ctx.invalid(f"on and off are {choices[1].type} and {choices[0].type}")
    place = ctx.check_axis(axis, picked.type.rank + 1)
    pair = join.stack(ctx, choices, 0)
    return grids.one_hot(ctx, picked, depth, pair, place, wraps=False)


@tf_op("TopK", inputs=1, types={"T": 0}, ignore=("sorted",))
@tf_op("TopKV2", inputs=2, types={"T": 0, "Tk": 1}, ignore=("sorted",), note="constant k")
def top_k(ctx: Context) -> Handled:
    """The largest of the last axis, and where they are; of equal ones the first."""
    count = ctx.attrs.integer("k") if ctx.op == "TopK" else ctx.integer(1, "k")
    dtype = ctx.attrs.kind("index_type", TfType.INT32).dtype
    x = ctx.value(0)
    if x.type.rank == 0 or dtype is None:
        ctx.invalid(f"the largest of {x.type}")
    best, places = picking.top_k(ctx, x, count, x.type.rank - 1, largest=True)
    return best, places if dtype is places.type.dtype else ctx.emit(ops.Cast(dtype), (places,), 1)


@tf_op("ReverseV2", inputs=2, types={"T": 0, "Tidx": 1}, note="constant axes")
def reverse(ctx: Context) -> Handled:
    """The last first, along each of some axes."""
    x = ctx.value(0)
    axes = check_axes(ctx, ctx.ints(1, "the axes"), x.type.rank)
    turned = [
        read_span(ctx, size, None, None, -1) if axis in axes else Span(0, size)
        for axis, size in enumerate(x.type.shape)
    ]
    return slices.sliced(ctx, x, turned, x.type.shape)


@tf_op(*_SCATTERS, inputs=3, ignore=("bad_indices_policy",), types={"T": 0, "Tindices": 1})
def scatter(ctx: Context) -> Handled:
    """Pieces written into a tensor, or added, or kept where they are larger or smaller; one outside changes nothing."""
    x, indices, updates = ctx.values()
    if not indices.type.dtype.is_integer or indices.type.dtype is DType.BOOL:
        ctx.invalid(f"positions {indices.type}")
    return ctx.emit(ops.ScatterNd(_SCATTERS[ctx.op]), (x, indices, updates))
