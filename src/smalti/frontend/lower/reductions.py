"""Reductions that are made of several steps, and what stands on them: softmax along any axis, places of extremes."""

from __future__ import annotations

import math

import numpy as np

from smalti.frontend import symbolic
from smalti.frontend.context import Lowering
from smalti.frontend.lower import reduce as plain
from smalti.frontend.lower.checks import Size, check_axes
from smalti.frontend.lower.steps import Steps
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.ir.infer import constant
from smalti.ir.ops import BinaryFn, ReduceFn, UnaryFn
from smalti.numerics import DType

MAX_CLASSES = 1 << 16


def reduce_any(ctx: Lowering, fn: ReduceFn, x: Value, axes: tuple[int, ...], keep_dims: bool) -> Value:
    """The largest or smallest over axes, of bool too: whether any is true, or all are."""
    if x.type.dtype is DType.BOOL:
        return plain.reduce_logical(ctx, fn is ReduceFn.MIN, x, axes, keep_dims)
    return plain.reduce(ctx, fn, x, axes, keep_dims)


def norm1(ctx: Lowering, x: Value, axes: tuple[int, ...], keep_dims: bool) -> Value:
    """The sum of the magnitudes."""
    s, v, axes = _begin(ctx, x, axes)
    return s.result(_reduced(s, ReduceFn.SUM, s.unary(UnaryFn.ABS, v), axes, keep_dims))


def norm2(ctx: Lowering, x: Value, axes: tuple[int, ...], keep_dims: bool) -> Value:
    """The root of the sum of the squares, of floats."""
    ctx.require_float(x)
    s, v, axes = _begin(ctx, x, axes)
    return s.result(s.unary(UnaryFn.SQRT, _reduced(s, ReduceFn.SUM, s.unary(UnaryFn.SQUARE, v), axes, keep_dims)))


def sum_of_squares(ctx: Lowering, x: Value, axes: tuple[int, ...], keep_dims: bool) -> Value:
    """The sum of the squares."""
    s, v, axes = _begin(ctx, x, axes)
    return s.result(_reduced(s, ReduceFn.SUM, s.unary(UnaryFn.SQUARE, v), axes, keep_dims))


def log_of_sum(ctx: Lowering, x: Value, axes: tuple[int, ...], keep_dims: bool) -> Value:
    """The logarithm of the sum, of floats."""
    ctx.require_float(x)
    s, v, axes = _begin(ctx, x, axes)
    return s.result(s.unary(UnaryFn.LOG, _reduced(s, ReduceFn.SUM, v, axes, keep_dims)))


def log_of_sum_of_powers(ctx: Lowering, x: Value, axes: tuple[int, ...], keep_dims: bool) -> Value:
    """``log(sum(e^x))`` of floats, which overflows only where the result does."""
    ctx.require_float(x)
    s, v, axes = _begin(ctx, x, axes)
    peak = _reduced(s, ReduceFn.MAX, v, axes, True)
    # Infinity minus infinity is no number: without its peak such a row gives the infinity that it is.
    endless = s.binary(BinaryFn.EQUAL, s.unary(UnaryFn.ABS, peak), math.inf)
    peak = s.op(ops.Select(), endless, 0.0, peak)
    powers = s.unary(UnaryFn.EXP, s.binary(BinaryFn.SUB, v, peak))
    total = s.add(s.unary(UnaryFn.LOG, _reduced(s, ReduceFn.SUM, powers, axes, True)), peak)
    if keep_dims or not axes:
        return s.result(total)
    return s.result(s.op(ops.Reshape(tuple(n for a, n in enumerate(x.type.shape) if a not in axes)), total))


def softmax(ctx: Lowering, x: Value, axis: int, flat: bool) -> Value:
    """``e^x`` over its sum along an axis; ``flat`` takes all dimensions from the axis on as one."""
    ctx.require_float(x)
    s = Steps(ctx, x.type.dtype)
    v, axis = _flattened(s, x, axis, flat)
    last = v.type.rank - 1
    if axis == last:
        return s.result(_unflattened(s, s.op(ops.Softmax(), v), x))
    perm = (*(a for a in range(last + 1) if a != axis), axis)
    back = tuple(perm.index(a) for a in range(last + 1))
    return s.result(s.op(ops.Transpose(back), s.op(ops.Softmax(), s.op(ops.Transpose(perm), v))))


def log_softmax(ctx: Lowering, x: Value, axis: int, flat: bool) -> Value:
    """The logarithm of :func:`softmax`, which loses nothing where that is 0."""
    ctx.require_float(x)
    s = Steps(ctx, x.type.dtype)
    v, axis = _flattened(s, x, axis, flat)
    above = s.binary(BinaryFn.SUB, v, s.op(ops.Reduce(ReduceFn.MAX, (axis,), True), v))
    total = s.op(ops.Reduce(ReduceFn.SUM, (axis,), True), s.unary(UnaryFn.EXP, above))
    return s.result(_unflattened(s, s.binary(BinaryFn.SUB, above, s.unary(UnaryFn.LOG, total)), x))


def hardmax(ctx: Lowering, x: Value, axis: int, flat: bool) -> Value:
    """1 at the first largest element along an axis, else 0."""
    ctx.require_float(x)
    s = Steps(ctx, x.type.dtype, exact=True)
    v, axis = _flattened(s, x, axis, flat)
    count = v.type.shape[axis]
    if not isinstance(count, int) or count > MAX_CLASSES:
        ctx.unsupported(f"along an axis of {count} elements; their number must be constant and at most {MAX_CLASSES}")
    place = s.op(ops.Reshape(_kept(v, axis)), s.op(ops.ArgMax(axis, DType.INT32), v))
    numbers = np.arange(count, dtype=np.int32).reshape(-1, *(1,) * (v.type.rank - 1 - axis))
    here = s.binary(BinaryFn.EQUAL, place, constant(numbers, f"{ctx.raw.name}/numbers"))
    return s.result(_unflattened(s, s.op(ops.Cast(x.type.dtype), here), x))


def place_of_extreme(
    ctx: Lowering, x: Value, axis: int, dtype: DType, *, largest: bool, keep_dims: bool, last: bool
) -> Value:
    """The number of the largest or smallest element along an axis: the first such, or the ``last``."""
    axis = ctx.check_axis(axis, x.type.rank)
    if x.type.dtype is DType.BOOL:
        ctx.unsupported("element type bool")
    s = Steps(ctx, x.type.dtype, exact=True)
    v = s.take(x)
    if not largest:
        v = s.unary(UnaryFn.NEG, v) if x.type.dtype.is_float else s.binary(BinaryFn.SUB, _mirror(x.type.dtype), v)
    count = x.type.shape[axis]
    if last:
        begin = tuple(count - 1 if a == axis else 0 for a in range(x.type.rank))
        v = s.op(ops.Slice(begin, x.type.shape, tuple(-1 if a == axis else 1 for a in range(x.type.rank))), v)
    place = s.op(ops.ArgMax(axis, dtype), v)
    if last:
        end = ctx.node_of(ctx.symbolic(symbolic.make([count - 1], ()), dtype))
        place = s.binary(BinaryFn.SUB, end, place)
    return s.result(s.op(ops.Reshape(_kept(v, axis)), place) if keep_dims else place)


def _begin(ctx: Lowering, x: Value, axes: tuple[int, ...]) -> tuple[Steps, Node, tuple[int, ...]]:
    if x.type.dtype is DType.BOOL:
        ctx.unsupported("element type bool")
    axes = check_axes(ctx, axes, x.type.rank)
    s = Steps(ctx, x.type.dtype)
    return s, s.take(x), axes


def _reduced(s: Steps, fn: ReduceFn, v: Node, axes: tuple[int, ...], keep_dims: bool) -> Node:
    return s.op(ops.Reduce(fn, axes, keep_dims), v) if axes else v


def _flattened(s: Steps, x: Value, axis: int, flat: bool) -> tuple[Node, int]:
    v = s.take(x)
    if not flat:
        return v, axis
    shape = x.type.shape
    if axis == len(shape) - 1:
        return v, axis
    return s.op(ops.Reshape((product(shape[:axis]), product(shape[axis:]))), v), 1


def _unflattened(s: Steps, node: Node, x: Value) -> Node:
    return node if node.type.shape == x.type.shape else s.op(ops.Reshape(x.type.shape), node)


def _kept(v: Node, axis: int) -> tuple[Size, ...]:
    """Return the shape of what is reduced along an axis that stays with one element."""
    return (*v.type.shape[:axis], 1, *v.type.shape[axis + 1 :])


def _mirror(dtype: DType) -> int:
    """Return the number from which integers are taken to turn their order round, without overflow."""
    return dtype.limits[1] if dtype.limits[0] == 0 else -1
