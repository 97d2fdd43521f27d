"""Matrix products of tensors of any number of dimensions."""

from __future__ import annotations

from smalti.frontend.context import Lowering
from smalti.frontend.lower.steps import Steps
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.numerics import DType


def matmul(
    ctx: Lowering, a: Value, b: Value, *, transpose_a: bool = False, transpose_b: bool = False, alpha: float = 1.0
) -> Value:
    """``alpha * (a @ b)`` as numpy has it: a vector is a row on the left and a column on the right.

    The dimensions before the last two are broadcast.  Numbers of any type; ``transpose_*`` are about the last two.
    """
    _check(ctx, a, b)
    if a.type.rank == 0 or b.type.rank == 0:
        ctx.invalid(f"a matrix product of {a.type} and {b.type}")
    s = Steps(ctx, a.type.dtype, exact=True)
    left, right = ctx.node_of(a), ctx.node_of(b)
    if a.type.rank == 1:
        left, transpose_a = s.op(ops.Reshape((1, *a.type.shape)), left), False
    if b.type.rank == 1:
        right, transpose_b = s.op(ops.Reshape((*b.type.shape, 1)), right), False
    product = s.op(ops.MatMul(transpose_a, transpose_b), left, right)
    if alpha != 1:
        product = s.mul(product, alpha)
    sizes = product.type.shape
    if a.type.rank == 1:
        sizes = (*sizes[:-2], sizes[-1])
    if b.type.rank == 1:
        sizes = sizes[:-1]
    return s.result(product if sizes == product.type.shape else s.op(ops.Reshape(sizes), product))


def gemm(
    ctx: Lowering,
    a: Value,
    b: Value,
    c: Value | None,
    *,
    alpha: float,
    beta: float,
    transpose_a: bool,
    transpose_b: bool,
) -> Value:
    """``alpha * a @ b + beta * c`` of matrices; ``c`` is broadcast to the product."""
    _check(ctx, a, b)
    ctx.require_rank(a, 2)
    ctx.require_rank(b, 2)
    if not a.type.dtype.is_float and not (alpha.is_integer() and beta.is_integer()):
        ctx.unsupported(f"integers times alpha={alpha:g} and beta={beta:g}")
    s = Steps(ctx, a.type.dtype, exact=True)
    product = s.op(ops.MatMul(transpose_a, transpose_b), ctx.node_of(a), ctx.node_of(b))
    if alpha != 1:
        product = s.mul(product, alpha)
    if c is not None and beta != 0:
        _check(ctx, a, c)
        addend: Node = ctx.node_of(c)
        total = s.add(product, addend if beta == 1 else s.mul(addend, beta))
        if total.type != product.type:
            ctx.invalid(f"{c.type} does not broadcast to the product {product.type}")
        product = total
    return s.result(product)


def _check(ctx: Lowering, a: Value, b: Value) -> None:
    if a.type.dtype is not b.type.dtype:
        ctx.invalid(f"the operands have types {a.type} and {b.type}")
    if a.type.dtype is DType.BOOL:
        ctx.unsupported("element type bool")
