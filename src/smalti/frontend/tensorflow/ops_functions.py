"""Functions that are made of several steps, batches of matrix products, and the bits of integers."""

from __future__ import annotations

import math

from smalti.frontend import symbolic
from smalti.frontend.lower import activations, elementwise, norms, powers, products, reductions
from smalti.frontend.lower.einsum import einsum as sum_of_products
from smalti.frontend.lower.steps import Steps
from smalti.frontend.tensorflow.registry import Context, Handled, check_number, tf_op
from smalti.frontend.tensorflow.tensors import TfType
from smalti.ir import ops
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.numerics import DType

_T = {"T": 0}
_BINARY = {
    "BitwiseAnd": BinaryFn.BITWISE_AND,
    "BitwiseOr": BinaryFn.BITWISE_OR,
    "BitwiseXor": BinaryFn.BITWISE_XOR,
    "LeftShift": BinaryFn.SHIFT_LEFT,
    "RightShift": BinaryFn.SHIFT_RIGHT,
}


@tf_op("Softsign", inputs=1, types=_T)
def softsign(ctx: Context) -> Handled:
    """``x / (1 + |x|)``."""
    return activations.softsign(ctx, ctx.value(0))


@tf_op("Selu", inputs=1, types=_T)
def selu(ctx: Context) -> Handled:
    """ELU with two parameters."""
    return activations.selu(ctx, ctx.value(0), activations.SELU_ALPHA, activations.SELU_GAMMA)


@tf_op("Erfc", inputs=1, types=_T)
def erfc(ctx: Context) -> Handled:
    """``1 - erf(x)``."""
    (x,) = ctx.floats(0)
    s = Steps(ctx, x.type.dtype)
    return s.result(s.binary(BinaryFn.SUB, 1.0, s.unary(UnaryFn.ERF, s.take(x))))


@tf_op("Tan", inputs=1, types=_T)
def tangent(ctx: Context) -> Handled:
    """``sin(x) / cos(x)``."""
    (x,) = ctx.floats(0)
    s = Steps(ctx, x.type.dtype)
    v = s.take(x)
    return s.result(s.binary(BinaryFn.DIV, s.unary(UnaryFn.SIN, v), s.unary(UnaryFn.COS, v)))


@tf_op("Reciprocal", "Inv", inputs=1, types=_T)
def reciprocal(ctx: Context) -> Handled:
    """``1 / x``."""
    (x,) = ctx.floats(0)
    return elementwise.binary(ctx, BinaryFn.DIV, ctx.symbolic(symbolic.make([1], ()), x.type.dtype), x)


@tf_op("DivNoNan", inputs=2, types=_T)
def divide_no_nan(ctx: Context) -> Handled:
    """Division of floats in which anything over 0 is 0."""
    a, b = ctx.floats(0, 1)
    s = Steps(ctx, a.type.dtype)
    above, below = s.take(a), s.take(b)
    is_zero = s.binary(BinaryFn.EQUAL, below, 0.0)
    safe = s.op(ops.Select(), is_zero, 1.0, below)
    return s.result(s.op(ops.Select(), is_zero, 0.0, s.binary(BinaryFn.DIV, above, safe)))


@tf_op("LRN", inputs=1, types=_T)
def local_response_norm(ctx: Context) -> Handled:
    """Each value over a power of the squares of the channels around it."""
    radius = ctx.attrs.integer("depth_radius", 5)
    bias, alpha, beta = (ctx.attrs.number(key, default) for key, default in (("bias", 1), ("alpha", 1), ("beta", 0.5)))
    x = ctx.value(0)
    ctx.require_rank(x, 4)
    if radius < 0:
        ctx.invalid(f"attribute depth_radius is {radius}")
    return norms.local_response_norm(ctx, x, 3, 2 * radius + 1, alpha, beta, bias)


@tf_op("Pow", inputs=2, types=_T)
def power(ctx: Context) -> Handled:
    """Powers; of integers, where TensorFlow refuses a negative exponent, the integer part."""
    return powers.power(ctx, ctx.value(0), ctx.value(1))


@tf_op("TruncateDiv", inputs=2, types=_T, note="integers; divided by zero at run time they give 0")
def truncated_division(ctx: Context) -> Handled:
    """Division of integers towards zero."""
    a, b = ctx.value(0), ctx.value(1)
    if not a.type.dtype.is_integer:
        ctx.unsupported(f"element type {a.type.dtype.value}")
    return elementwise.divide(ctx, a, b)


@tf_op("Mod", "TruncateMod", inputs=2, types=_T)
def remainder(ctx: Context) -> Handled:
    """The rest of a division towards zero."""
    return powers.remainder(ctx, ctx.value(0), ctx.value(1))


@tf_op("BitwiseAnd", "BitwiseOr", "BitwiseXor", inputs=2, types=_T)
@tf_op("LeftShift", "RightShift", inputs=2, types=_T)
def binary(ctx: Context) -> Handled:
    """Functions of the bits of integers."""
    return elementwise.binary(ctx, _BINARY[ctx.op], ctx.value(0), ctx.value(1))


@tf_op("IsNan", inputs=1, types=_T)
def is_nan(ctx: Context) -> Handled:
    """Whether elements are no numbers."""
    (x,) = ctx.floats(0)
    return elementwise.binary(ctx, BinaryFn.NOT_EQUAL, x, x)


@tf_op("IsInf", "IsFinite", inputs=1, types=_T)
def is_infinite(ctx: Context) -> Handled:
    """Whether elements are infinite, or finite numbers."""
    (x,) = ctx.floats(0)
    s = Steps(ctx, x.type.dtype, exact=True)
    relation = BinaryFn.EQUAL if ctx.op == "IsInf" else BinaryFn.LESS
    return s.result(s.binary(relation, s.unary(UnaryFn.ABS, s.take(x)), math.inf))


@tf_op("LogSoftmax", inputs=1, types=_T)
def log_softmax(ctx: Context) -> Handled:
    """The logarithm of a softmax over the last axis."""
    x = ctx.value(0)
    return reductions.log_softmax(ctx, x, ctx.check_axis(-1, x.type.rank), False)


@tf_op("ArgMin", inputs=2, types={"T": 0, "Tidx": 1}, note="constant axis; int32 or int64 result")
def arg_min(ctx: Context) -> Handled:
    """Number of the first smallest element along an axis."""
    result = ctx.attrs.kind("output_type", TfType.INT64)
    if result not in (TfType.INT32, TfType.INT64):
        ctx.unsupported(f"output_type {result.label}")
    x = ctx.value(0)
    dtype = DType.INT32 if result is TfType.INT32 else DType.INT64
    axis = ctx.axis(1, x.type.rank)
    return reductions.place_of_extreme(ctx, x, axis, dtype, largest=False, keep_dims=False, last=False)


@tf_op("BatchMatMul", "BatchMatMulV2", inputs=2, ignore=("grad_x", "grad_y"), types=_T)
@tf_op("BatchMatMulV3", inputs=2, ignore=("grad_x", "grad_y"), types={"Ta": 0, "Tb": 1})
def batch_matmul(ctx: Context) -> Handled:
    """Matrix products of the last two dimensions; those before are broadcast."""
    transpose_a, transpose_b = ctx.attrs.flag("adj_x", False), ctx.attrs.flag("adj_y", False)
    a, b = ctx.value(0), ctx.value(1)
    if ctx.op == "BatchMatMulV3" and ctx.attrs.kind("Tout").dtype is not a.type.dtype:
        ctx.unsupported(f"a product of {a.type.dtype.value} in another type")
    for operand in (a, b):
        if operand.type.rank < 2:
            ctx.invalid(f"a matrix product of {a.type} and {b.type}")
    return products.matmul(ctx, a, b, transpose_a=transpose_a, transpose_b=transpose_b)


@tf_op("Einsum", inputs=(1, 64), types=_T, note="diagonals of constant size")
def einsum(ctx: Context) -> Handled:
    """A sum of products: transposes, sums and matrix products."""
    equation = ctx.attrs.text("equation")
    check_number(ctx, len(ctx.inputs))
    return sum_of_products(ctx, equation, ctx.values())
