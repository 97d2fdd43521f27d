"""Reductions and ArgMax."""

from __future__ import annotations

from smalti.frontend.lower import reduce as lower
from smalti.frontend.tensorflow.registry import Context, Handled, tf_op
from smalti.frontend.tensorflow.tensors import TfType
from smalti.ir import ops
from smalti.ir.ops import ReduceFn
from smalti.numerics import DType

_REDUCE = {
    "Sum": ReduceFn.SUM,
    "Mean": ReduceFn.MEAN,
    "Max": ReduceFn.MAX,
    "Min": ReduceFn.MIN,
    "Prod": ReduceFn.PROD,
}


@tf_op("Sum", "Max", "Min", "Prod", inputs=2, types={"T": 0, "Tidx": 1}, note="constant axes")
@tf_op("Mean", inputs=2, types={"T": 0, "Tidx": 1}, note="constant axes; floating point")
@tf_op("All", "Any", inputs=2, types={"Tidx": 1}, note="of sizes and constants")
def reduce(ctx: Context) -> Handled:
    """Reductions over constant axes."""
    keep_dims = ctx.attrs.flag("keep_dims", False)
    x, axes = ctx.value(0), ctx.ints(1, "the axes")
    if ctx.op in _REDUCE:
        return lower.reduce(ctx, _REDUCE[ctx.op], x, axes, keep_dims)
    return lower.reduce_logical(ctx, ctx.op == "All", x, axes, keep_dims)


@tf_op("Cumsum", inputs=2, types={"T": 0, "Tidx": 1}, note="constant axis")
def cum_sum(ctx: Context) -> Handled:
    """Running sums along an axis."""
    x, exclusive, reverse = ctx.value(0), ctx.attrs.flag("exclusive", False), ctx.attrs.flag("reverse", False)
    return ctx.emit(ops.CumSum(ctx.axis(1, x.type.rank), exclusive, reverse), (x,))


@tf_op("ArgMax", inputs=2, types={"T": 0, "Tidx": 1}, note="constant axis; int32 or int64 result")
def arg_max(ctx: Context) -> Handled:
    """Number of the first largest element along an axis."""
    result = ctx.attrs.kind("output_type", TfType.INT64)
    if result not in (TfType.INT32, TfType.INT64):
        ctx.unsupported(f"output_type {result.label}")
    x = ctx.value(0)
    axis = ctx.axis(1, x.type.rank)
    return ctx.emit(ops.ArgMax(axis, DType.INT32 if result is TfType.INT32 else DType.INT64), (x,))
