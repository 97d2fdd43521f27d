"""Reductions and ArgMax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from smalti.frontend import symbolic
from smalti.frontend.context import NodeContext
from smalti.frontend.symbolic import NotSymbolic
from smalti.frontend.tensorflow.registry import Handled, tf_op
from smalti.frontend.tensorflow.tensors import TfType
from smalti.frontend.values import Value
from smalti.ir import dims, ops
from smalti.ir.ops import ReduceFn
from smalti.numerics import DType

_REDUCE = {
    "Sum": ReduceFn.SUM,
    "Mean": ReduceFn.MEAN,
    "Max": ReduceFn.MAX,
    "Min": ReduceFn.MIN,
    "Prod": ReduceFn.PROD,
}
_SYMBOLIC: dict[str, tuple[Callable[..., object], object]] = {
    "Sum": (lambda a, b: a + b, 0),
    "Prod": (symbolic.multiply, 1),
    "Max": (dims.maximum, None),
    "Min": (dims.minimum, None),
    "All": (lambda a, b: a and b, True),
    "Any": (lambda a, b: a or b, False),
}


def _read_axes(ctx: NodeContext) -> tuple[int, ...]:
    rank = ctx.type_of(0).rank
    axes = [ctx.check_axis(a, rank) for a in ctx.ints(1, "the axes")]
    if len(set(axes)) != len(axes):
        ctx.invalid(f"the axes {axes} repeat")
    return tuple(sorted(axes))


@tf_op("Sum", "Max", "Min", "Prod", inputs=2, types={"T": 0, "Tidx": 1}, note="constant axes")
@tf_op("Mean", inputs=2, types={"T": 0, "Tidx": 1}, note="constant axes; floating point")
@tf_op("All", "Any", inputs=2, types={"Tidx": 1}, note="of sizes and constants")
def reduce(ctx: NodeContext) -> Handled:
    """Reductions over constant axes."""
    keep_dims = ctx.attrs.flag("keep_dims", False)
    axes = _read_axes(ctx)
    x = ctx.value(0)
    result = _symbolic_reduce(ctx, axes, keep_dims)
    if result is not None:
        return result
    if ctx.op in ("All", "Any"):
        ctx.unsupported("of a tensor that depends on the pixels")
    if ctx.op == "Mean":
        ctx.require_float(0)
    if not axes:
        return x
    if ctx.op != "Sum" and any(x.type.shape[a] == 0 for a in axes):
        ctx.unsupported("a reduction over no elements")
    return ctx.emit(ops.Reduce(_REDUCE[ctx.op], axes, keep_dims), (ctx.node(0),))


def _symbolic_reduce(ctx: NodeContext, axes: tuple[int, ...], keep_dims: bool) -> Value | None:
    sym, rule = ctx.sym(0), _SYMBOLIC.get(ctx.op)
    dtype = ctx.type_of(0).dtype
    if sym is None or rule is None or dtype.is_float:
        return None
    fn, start = rule
    kept = [a for a in range(sym.ndim) if a not in axes]
    rows = np.transpose(sym, [*kept, *axes]).reshape([int(np.prod([sym.shape[a] for a in kept], dtype=np.int64)), -1])
    shape = [1 if a in axes else s for a, s in enumerate(sym.shape) if keep_dims or a not in axes]
    found: list[object] = []
    try:
        for row in rows.tolist() if sym.size else []:
            total = start if start is not None else row[0]
            for element in row if start is not None else row[1:]:
                total = symbolic.checked(fn(total, element), dtype)
            found.append(total)
    except NotSymbolic:
        return None
    if len(found) != int(np.prod(shape, dtype=np.int64)):
        return None
    return ctx.symbolic(symbolic.make(found, shape), dtype)


@tf_op("ArgMax", inputs=2, types={"T": 0, "Tidx": 1}, note="constant axis; int32 or int64 result")
def arg_max(ctx: NodeContext) -> Handled:
    """Number of the first largest element along an axis."""
    result = ctx.attrs.kind("output_type", TfType.INT64)
    if result not in (TfType.INT32, TfType.INT64):
        ctx.unsupported(f"output_type {result.label}")
    axis = ctx.axis(1, ctx.type_of(0).rank)
    dtype = DType.INT32 if result is TfType.INT32 else DType.INT64
    return ctx.emit(ops.ArgMax(axis, dtype), (ctx.node(0),))
