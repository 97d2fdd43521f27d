"""Operations between the convolutions: bias, batch normalisation, matrix product, softmax."""

from __future__ import annotations

from smalti.frontend.context import Lowering
from smalti.frontend.lower.steps import Steps
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.ops import Layout
from smalti.numerics import DType


def bias_add(ctx: Lowering, x: Value, bias: Value, layout: Layout) -> Value:
    """Add one number per channel; the channels are the last dimension, or the second in NCHW."""
    rank = x.type.rank
    if rank < 2 or bias.type.rank != 1:
        ctx.invalid(f"a bias {bias.type} for {x.type}")
    axis = rank - 1 if layout is Layout.NHWC else 1
    if x.type.shape[axis] != bias.type.shape[0]:
        ctx.invalid(f"a bias {bias.type} for {x.type}")
    operand = ctx.node_of(bias)
    if axis != rank - 1:
        operand = ctx.part(ops.Reshape((*bias.type.shape, *(1,) * (rank - 1 - axis))), (operand,), "bias")
    return ctx.emit(ops.Binary(ops.BinaryFn.ADD), (x, operand))


def check_epsilon(ctx: Lowering, epsilon: float) -> None:
    """Refuse an attribute ``epsilon`` that cannot stand beside a variance."""
    if not 0 <= epsilon < float("inf"):
        ctx.invalid(f"attribute epsilon is {epsilon}")


def batch_norm(
    ctx: Lowering, x: Value, scale: Value, offset: Value, mean: Value, variance: Value, epsilon: float, layout: Layout
) -> Value:
    """Batch normalisation of floats with given mean and variance, one number of each per channel."""
    check_epsilon(ctx, epsilon)
    operands = (x, scale, offset, mean, variance)
    ctx.require_float(*operands)
    return ctx.emit(ops.BatchNorm(epsilon, layout), operands)


def batch_norm_nchw(
    ctx: Lowering, x: Value, scale: Value, offset: Value, mean: Value, variance: Value, epsilon: float
) -> Value:
    """The same of tensors of any number of dimensions, the second of which are the channels.

    Operands of bfloat16, or of several types, are computed with in a wide one.
    """
    rank = x.type.rank
    if rank < 2:
        ctx.invalid(f"{x.type} has no dimension of channels")
    types = {v.type.dtype for v in (x, scale, offset, mean, variance)}
    if len(types) > 1 or DType.BFLOAT16 in types:
        return _wide_batch_norm(ctx, x, (scale, offset, mean, variance), epsilon)
    if rank == 4:
        return batch_norm(ctx, x, scale, offset, mean, variance, epsilon, Layout.NCHW)
    check_epsilon(ctx, epsilon)
    ctx.require_float(x, scale, offset, mean, variance)
    image = ctx.part(ops.Reshape((*x.type.shape[:2], product(x.type.shape[2:]), 1)), (x,), "image")
    operands = (image, scale, offset, mean, variance)
    normal = ctx.part(ops.BatchNorm(epsilon, Layout.NCHW), operands, "normal")
    return ctx.emit(ops.Reshape(x.type.shape), (normal,))


def _wide_batch_norm(ctx: Lowering, x: Value, parameters: tuple[Value, ...], epsilon: float) -> Value:
    check_epsilon(ctx, epsilon)
    ctx.require_float(x, *parameters)
    s = Steps(ctx, x.type.dtype)
    image = s.op(ops.Reshape((*x.type.shape[:2], product(x.type.shape[2:]), 1)), s.take(x))
    normal = s.op(ops.BatchNorm(epsilon, Layout.NCHW), image, *(s.take(p) for p in parameters))
    return s.result(s.op(ops.Reshape(x.type.shape), normal))


def matmul(ctx: Lowering, a: Value, b: Value, transpose_a: bool, transpose_b: bool) -> Value:
    """Product of two matrices of floats."""
    ctx.require_float(a, b)
    for operand in (a, b):
        ctx.require_rank(operand, 2)
    return ctx.emit(ops.MatMul(transpose_a, transpose_b), (a, b))


def softmax(ctx: Lowering, x: Value) -> Value:
    """Softmax of floats over the last axis."""
    ctx.require_float(x)
    return ctx.emit(ops.Softmax(), (x,))
