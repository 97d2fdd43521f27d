"""Normalisations with statistics of the tensor itself, made of reductions and arithmetic, of floats."""

from __future__ import annotations

from smalti.frontend.context import Lowering
from smalti.frontend.lower.checks import Size, check_axes
from smalti.frontend.lower.dense import check_epsilon
from smalti.frontend.lower.steps import Operand, Steps
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, ReduceFn, UnaryFn
from smalti.ir.shapes import broadcast
from smalti.numerics import DType

MAX_NEIGHBOURS = 64
_MVN_EPSILON = 1e-9


def instance_norm(ctx: Lowering, x: Value, scale: Value, offset: Value, epsilon: float) -> Value:
    """``(x - mean) / sqrt(variance + epsilon) * scale + offset``, of each channel (the second dimension) by itself."""
    s, v = _begin(ctx, x, epsilon, 2)
    _check_channels(ctx, x, scale, offset)
    y = _standard(s, v, tuple(range(2, x.type.rank)), epsilon)
    return s.result(_scaled(s, y, *(_upright(s, s.take(p), x.type.rank) for p in (scale, offset))))


def group_norm(
    ctx: Lowering, x: Value, scale: Value, offset: Value, epsilon: float, groups: int, per_group: bool
) -> Value:
    """The same with statistics of groups of channels; ``per_group`` says that scale and offset are of groups too."""
    s, v = _begin(ctx, x, epsilon, 2)
    n, channels = x.type.shape[:2]
    if not isinstance(channels, int) or groups < 1 or channels % groups:
        ctx.invalid(f"{channels} channels do not split into {groups} groups")
    rest = product(x.type.shape[2:])
    y = s.op(ops.Reshape((n, groups, rest * (channels // groups))), v)
    y = _standard(s, y, (2,), epsilon)
    parts = [s.take(p) for p in (scale, offset)]
    if per_group:
        if any(p.type.shape != (groups,) for p in (scale, offset)):
            ctx.invalid(f"scale and offset {scale.type}, {offset.type} for {groups} groups")
        y = _scaled(s, y, *(_upright(s, p, 3) for p in parts))
        return s.result(s.op(ops.Reshape(x.type.shape), y))
    _check_channels(ctx, x, scale, offset)
    y = s.op(ops.Reshape(x.type.shape), y)
    return s.result(_scaled(s, y, *(_upright(s, p, x.type.rank) for p in parts)))


def layer_norm(
    ctx: Lowering, x: Value, scale: Value, offset: Value | None, epsilon: float, axis: int, outputs: int
) -> tuple[Value, ...]:
    """The same with statistics over all dimensions from ``axis`` on; scale and offset are broadcast to ``x``.

    Results are as many as asked for of: the normalised tensor, the mean, and 1 over the deviation, both float32.
    """
    s, v = _begin(ctx, x, epsilon)
    _check_broadcast(ctx, x, scale, *(() if offset is None else (offset,)))
    axes = tuple(range(ctx.check_axis(axis, x.type.rank), x.type.rank))
    mean = s.op(ops.Reduce(ReduceFn.MEAN, axes, True), v)
    above = s.binary(BinaryFn.SUB, v, mean)
    inverse = s.unary(UnaryFn.RSQRT, _variance(s, above, axes, epsilon))
    y = s.mul(s.mul(above, inverse), s.take(scale))
    if offset is not None:
        y = s.add(y, s.take(offset))
    found = [s.result(y)]
    for output, node in enumerate((mean, inverse)[: outputs - 1], 1):
        found.append(ctx.emit(ops.Cast(DType.FLOAT32), (node,), output))
    return tuple(found)


def rms_norm(ctx: Lowering, x: Value, scale: Value, epsilon: float, axis: int) -> Value:
    """``x / sqrt(mean(x^2) + epsilon) * scale``, the mean over all dimensions from ``axis`` on."""
    s, v = _begin(ctx, x, epsilon)
    _check_broadcast(ctx, x, scale)
    axes = tuple(range(ctx.check_axis(axis, x.type.rank), x.type.rank))
    inverse = s.unary(UnaryFn.RSQRT, _variance(s, v, axes, epsilon))
    return s.result(s.mul(s.mul(v, inverse), s.take(scale)))


def mean_variance_norm(ctx: Lowering, x: Value, axes: tuple[int, ...]) -> Value:
    """``(x - mean) / (deviation + 1e-9)`` over axes."""
    axes = check_axes(ctx, axes, x.type.rank)
    s, v = _begin(ctx, x, 0.0)
    if not axes:
        ctx.unsupported("a normalisation over no axes")
    above = s.binary(BinaryFn.SUB, v, s.op(ops.Reduce(ReduceFn.MEAN, axes, True), v))
    deviation = s.unary(UnaryFn.SQRT, _variance(s, above, axes, 0.0))
    return s.result(s.binary(BinaryFn.DIV, above, s.add(deviation, _MVN_EPSILON)))


def lp_norm(ctx: Lowering, x: Value, axis: int, p: int) -> Value:
    """``x`` over the sum of its magnitudes (``p`` is 1) or over the root of that of its squares (2); 0 over 0 is 0."""
    s, v = _begin(ctx, x, 0.0)
    axis = ctx.check_axis(axis, x.type.rank)
    sums = ops.Reduce(ReduceFn.SUM, (axis,), True)
    if p == 1:
        length = s.op(sums, s.unary(UnaryFn.ABS, v))
    else:
        length = s.unary(UnaryFn.SQRT, s.op(sums, s.unary(UnaryFn.SQUARE, v)))
    # A length of 0 has only zeros above it: over 1 they stay.
    safe = s.op(ops.Select(), s.binary(BinaryFn.EQUAL, length, 0.0), 1.0, length)
    return s.result(s.binary(BinaryFn.DIV, v, safe))


def local_response_norm(ctx: Lowering, x: Value, axis: int, size: int, alpha: float, beta: float, bias: float) -> Value:
    """``x / (bias + alpha * sum)^beta``, the sum of the squares of ``size`` channels (along ``axis``) around each."""
    s, v = _begin(ctx, x, 0.0, 2)
    if not 1 <= size <= MAX_NEIGHBOURS:
        ctx.unsupported(f"sums over {size} channels; the limit is {MAX_NEIGHBOURS}")
    amounts: list[tuple[Size, Size]] = [(0, 0)] * x.type.rank
    amounts[axis] = ((size - 1) // 2, size // 2)
    squares = s.unary(UnaryFn.SQUARE, v)
    whole = s.op(ops.Pad(tuple(amounts)), squares) if size > 1 else squares
    total: Operand = 0.0
    for i in range(size):
        begin = tuple(i if a == axis else 0 for a in range(x.type.rank))
        part = s.op(ops.Slice(begin, x.type.shape, (1,) * x.type.rank), whole)
        total = part if i == 0 else s.add(total, part)
    base = s.add(s.mul(total, alpha), bias)
    return s.result(s.binary(BinaryFn.DIV, v, s.binary(BinaryFn.POW, base, beta)))


def _begin(ctx: Lowering, x: Value, epsilon: float, rank: int = 0) -> tuple[Steps, Node]:
    check_epsilon(ctx, epsilon)
    ctx.require_float(x)
    if x.type.rank < rank:
        ctx.invalid(f"{x.type} has no dimension of channels")
    s = Steps(ctx, x.type.dtype)
    return s, s.take(x)


def _variance(s: Steps, above: Node, axes: tuple[int, ...], epsilon: float) -> Node:
    variance = s.op(ops.Reduce(ReduceFn.MEAN, axes, True), s.unary(UnaryFn.SQUARE, above))
    return s.add(variance, epsilon) if epsilon else variance


def _standard(s: Steps, v: Node, axes: tuple[int, ...], epsilon: float) -> Node:
    above = s.binary(BinaryFn.SUB, v, s.op(ops.Reduce(ReduceFn.MEAN, axes, True), v))
    return s.mul(above, s.unary(UnaryFn.RSQRT, _variance(s, above, axes, epsilon)))


def _scaled(s: Steps, y: Node, scale: Node, offset: Node) -> Node:
    return s.add(s.mul(y, scale), offset)


def _upright(s: Steps, vector: Node, rank: int) -> Node:
    """Return numbers of channels with dimensions of size 1 behind them."""
    return vector if rank == 2 else s.op(ops.Reshape((*vector.type.shape, *(1,) * (rank - 2))), vector)


def _check_channels(ctx: Lowering, x: Value, *parameters: Value) -> None:
    """Refuse parameters that are not one number per channel, of the type of ``x``."""
    for p in parameters:
        if p.type.shape != x.type.shape[1:2] or p.type.dtype is not x.type.dtype:
            ctx.invalid(f"a scale or offset {p.type} for {x.type}")


def _check_broadcast(ctx: Lowering, x: Value, *parameters: Value) -> None:
    """Refuse parameters that are not broadcast to ``x``, or of another type."""
    for p in parameters:
        if p.type.dtype is not x.type.dtype or broadcast(p.type.shape, x.type.shape) != x.type.shape:
            ctx.invalid(f"a scale or offset {p.type} for {x.type}")
