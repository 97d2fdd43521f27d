"""Matrix products."""

from __future__ import annotations

from smalti.frontend.lower import products
from smalti.frontend.lower.einsum import einsum as sum_of_products
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.table import Handled


@onnx_op("MatMul", inputs=2, since=(1, 9, 13))
def matmul(ctx: Context) -> Handled:
    """Matrix products of the last two dimensions; those before are broadcast."""
    return products.matmul(ctx, ctx.value(0), ctx.value(1))


@onnx_op("FusedMatMul", inputs=2, domain="com.microsoft", note="not transBatchA, transBatchB")
def fused_matmul(ctx: Context) -> Handled:
    """Matrix products with a factor, of operands whose last two dimensions may be exchanged."""
    alpha = ctx.attrs.number("alpha", 1.0)
    transpose_a, transpose_b = ctx.attrs.flag("transA", False), ctx.attrs.flag("transB", False)
    if ctx.attrs.flag("transBatchA", False) or ctx.attrs.flag("transBatchB", False):
        ctx.unsupported("dimensions that are moved behind the first (transBatchA, transBatchB)")
    return products.matmul(
        ctx, ctx.value(0), ctx.value(1), transpose_a=transpose_a, transpose_b=transpose_b, alpha=alpha
    )


@onnx_op("Gemm", inputs=3, since=(7, 9))
@onnx_op("Gemm", inputs=(2, 3), since=(11, 13))
def gemm(ctx: Context) -> Handled:
    """``alpha * A @ B + beta * C``, either matrix transposed."""
    alpha, beta = ctx.attrs.number("alpha", 1.0), ctx.attrs.number("beta", 1.0)
    transpose_a, transpose_b = ctx.attrs.flag("transA", False), ctx.attrs.flag("transB", False)
    c = ctx.value(2) if ctx.has(2) else None
    return products.gemm(
        ctx,
        ctx.value(0),
        ctx.value(1),
        c,
        alpha=alpha,
        beta=beta,
        transpose_a=transpose_a,
        transpose_b=transpose_b,
    )


@onnx_op("Einsum", inputs=(1, 64), since=(12, 28), note="diagonals of constant size")
def einsum(ctx: Context) -> Handled:
    """A sum of products: transposes, sums and matrix products."""
    equation = ctx.attrs.text("equation")
    return sum_of_products(ctx, equation, ctx.values())
