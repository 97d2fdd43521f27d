"""Reductions over constant axes, also of sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from smalti.frontend import symbolic
from smalti.frontend.context import Lowering
from smalti.frontend.lower.checks import check_axes
from smalti.frontend.lower.steps import Steps
from smalti.frontend.symbolic import NotSymbolic
from smalti.frontend.values import Value
from smalti.ir import dims, ops
from smalti.ir.ops import ReduceFn
from smalti.numerics import DType

_Rule = tuple[Callable[..., object], object]
_SYMBOLIC: Mapping[ReduceFn, _Rule] = {
    ReduceFn.SUM: (lambda a, b: a + b, 0),
    ReduceFn.PROD: (symbolic.multiply, 1),
    ReduceFn.MAX: (dims.maximum, None),
    ReduceFn.MIN: (dims.minimum, None),
}
_LOGICAL: Mapping[bool, _Rule] = {
    True: (lambda a, b: a and b, True),
    False: (lambda a, b: a or b, False),
}


def reduce(ctx: Lowering, fn: ReduceFn, x: Value, axes: tuple[int, ...], keep_dims: bool) -> Value:
    """Reduction over axes, each named once; a mean is of floats, and over no axes ``x`` stays as it is."""
    axes = check_axes(ctx, axes, x.type.rank)
    rule = _SYMBOLIC.get(fn)
    result = _symbolic(ctx, rule, x, axes, keep_dims) if rule is not None else None
    if result is not None:
        return result
    if fn is ReduceFn.MEAN:
        ctx.require_float(x)
    if not axes:
        return x
    if fn is ReduceFn.MEAN and any(x.type.shape[a] == 0 for a in axes):
        ctx.unsupported("a mean of no elements")
    return ctx.emit(ops.Reduce(fn, axes, keep_dims), (x,))


def reduce_logical(ctx: Lowering, every: bool, x: Value, axes: tuple[int, ...], keep_dims: bool) -> Value:
    """Whether all (``every``) or any of the elements are true; of none, all are."""
    axes = check_axes(ctx, axes, x.type.rank)
    result = _symbolic(ctx, _LOGICAL[every], x, axes, keep_dims)
    if result is not None or not axes:
        return result or x
    s = Steps(ctx, DType.UINT8)
    extreme = s.op(ops.Reduce(ReduceFn.MIN if every else ReduceFn.MAX, axes, keep_dims), s.take(x))
    return s.result(s.op(ops.Cast(DType.BOOL), extreme))


def _symbolic(ctx: Lowering, rule: _Rule, x: Value, axes: tuple[int, ...], keep_dims: bool) -> Value | None:
    sym, dtype = x.sym, x.type.dtype
    if sym is None or dtype.is_float:
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
