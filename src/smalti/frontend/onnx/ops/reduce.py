"""Reductions, softmax and its relatives, and the places of the largest and smallest elements."""

from __future__ import annotations

from smalti.frontend.lower import reduce as plain
from smalti.frontend.lower import reductions
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.table import Handled
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.ops import ReduceFn
from smalti.numerics import DType

_PLAIN = {"ReduceSum": ReduceFn.SUM, "ReduceMean": ReduceFn.MEAN, "ReduceProd": ReduceFn.PROD}
_EXTREMES = {"ReduceMax": ReduceFn.MAX, "ReduceMin": ReduceFn.MIN}
_COMPOSED = {
    "ReduceL1": reductions.norm1,
    "ReduceL2": reductions.norm2,
    "ReduceSumSquare": reductions.sum_of_squares,
    "ReduceLogSum": reductions.log_of_sum,
    "ReduceLogSumExp": reductions.log_of_sum_of_powers,
}
_LOGS = ("ReduceLogSum", "ReduceLogSumExp")
_OTHERS = ("ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare")
_SOFTMAX = {"Softmax": reductions.softmax, "LogSoftmax": reductions.log_softmax, "Hardmax": reductions.hardmax}
_CONSTANT_AXES = "constant axes"


@onnx_op("ReduceSum", inputs=1, since=(1, 11))
@onnx_op("ReduceMax", "ReduceMin", inputs=1, since=(1, 11, 12, 13))
@onnx_op(*_OTHERS, *_LOGS, inputs=1, since=(1, 11, 13))
def reduce_over_attribute(ctx: Context) -> Handled:
    """Reductions whose axes are an attribute; without it, over all axes."""
    axes, keep_dims = ctx.attrs.ints("axes", ()), ctx.attrs.flag("keepdims", True)
    x = ctx.value(0)
    return _reduce(ctx, x, axes or tuple(range(x.type.rank)), keep_dims)


@onnx_op("ReduceSum", inputs=(1, 2), since=(13,), note=_CONSTANT_AXES)
@onnx_op("ReduceMax", "ReduceMin", inputs=(1, 2), since=(18, 20), note=_CONSTANT_AXES)
@onnx_op(*_OTHERS, inputs=(1, 2), since=(18,), note=_CONSTANT_AXES)
@onnx_op(*_LOGS, inputs=(1, 2), since=(18, 28), note=_CONSTANT_AXES)
def reduce_over_operand(ctx: Context) -> Handled:
    """Reductions whose axes are an operand; without it, over all axes or over none (``noop_with_empty_axes``)."""
    keep_dims, none = ctx.attrs.flag("keepdims", True), ctx.attrs.flag("noop_with_empty_axes", False)
    x = ctx.value(0)
    axes = ctx.ints(1, "the axes") if ctx.has(1) else ()
    return _reduce(ctx, x, axes or (() if none else tuple(range(x.type.rank))), keep_dims)


@onnx_op("Softmax", "LogSoftmax", "Hardmax", inputs=1, since=(1, 11), note="all dimensions from the axis on as one")
def softmax_of_rows(ctx: Context) -> Handled:
    """Softmax, its logarithm, or 1 at the largest and else 0, over all dimensions from an axis on."""
    return _softmax(ctx, 1, True)


@onnx_op("Softmax", "LogSoftmax", "Hardmax", inputs=1, since=(13,))
def softmax(ctx: Context) -> Handled:
    """Softmax, its logarithm, or 1 at the largest and else 0, along an axis."""
    return _softmax(ctx, -1, False)


@onnx_op("ArgMax", "ArgMin", inputs=1, since=(1, 11, 12, 13))
def place_of_extreme(ctx: Context) -> Handled:
    """The number of the largest or smallest element along an axis, the first of several or the last."""
    axis, keep_dims = ctx.attrs.integer("axis", 0), ctx.attrs.flag("keepdims", True)
    last = ctx.raw.version >= 12 and ctx.attrs.flag("select_last_index", False)
    largest = ctx.op == "ArgMax"
    return reductions.place_of_extreme(
        ctx, ctx.value(0), axis, DType.INT64, largest=largest, keep_dims=keep_dims, last=last
    )


@onnx_op("CumSum", inputs=2, since=(11, 14), note="constant axis")
def cum_sum(ctx: Context) -> Handled:
    """Running sums along an axis, from either end, with or without the element at the place itself."""
    exclusive, reverse = ctx.attrs.flag("exclusive", False), ctx.attrs.flag("reverse", False)
    x = ctx.value(0)
    return ctx.emit(ops.CumSum(ctx.axis(1, x.type.rank), exclusive, reverse), (x,))


def _reduce(ctx: Context, x: Value, axes: tuple[int, ...], keep_dims: bool) -> Value:
    if ctx.op in _PLAIN:
        return plain.reduce(ctx, _PLAIN[ctx.op], x, axes, keep_dims)
    if ctx.op in _EXTREMES:
        return reductions.reduce_any(ctx, _EXTREMES[ctx.op], x, axes, keep_dims)
    return _COMPOSED[ctx.op](ctx, x, axes, keep_dims)


def _softmax(ctx: Context, axis: int, flat: bool) -> Value:
    axis = ctx.attrs.integer("axis", axis)
    x = ctx.value(0)
    return _SOFTMAX[ctx.op](ctx, x, ctx.check_axis(axis, x.type.rank), flat)
