"""Activations that are made of several elementwise functions, of floats."""

from __future__ import annotations

import math

from smalti.frontend.context import Lowering
from smalti.frontend.lower import elementwise
from smalti.frontend.lower.steps import Operand, Steps
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.ir.shapes import broadcast

SELU_ALPHA, SELU_GAMMA = 1.6732632423543772, 1.0507009873554805


def elu(ctx: Lowering, x: Value, alpha: float) -> Value:
    """``x`` where positive, else ``alpha * (e^x - 1)``."""
    if alpha == 1:
        return elementwise.unary(ctx, UnaryFn.ELU, x)
    return selu(ctx, x, alpha, 1.0)


def selu(ctx: Lowering, x: Value, alpha: float, gamma: float) -> Value:
    """``gamma * x`` where positive, else ``gamma * alpha * (e^x - 1)``."""
    s, v = _begin(ctx, x)
    above = s.unary(UnaryFn.RELU, v)
    if gamma != 1:
        above = s.mul(above, gamma)
    below = s.unary(UnaryFn.ELU, s.binary(BinaryFn.MINIMUM, v, 0.0))
    return s.result(s.add(above, s.mul(below, gamma * alpha)))


def celu(ctx: Lowering, x: Value, alpha: float) -> Value:
    """``max(0, x) + min(0, alpha * (e^(x / alpha) - 1))``."""
    if not 0 < alpha < math.inf:
        ctx.invalid(f"attribute alpha is {alpha}")
    s, v = _begin(ctx, x)
    below = s.unary(UnaryFn.ELU, s.binary(BinaryFn.DIV, s.binary(BinaryFn.MINIMUM, v, 0.0), alpha))
    return s.result(s.add(s.unary(UnaryFn.RELU, v), s.mul(below, alpha)))


def prelu(ctx: Lowering, x: Value, slope: Value) -> Value:
    """``x`` where not negative, else ``slope * x``; the slope is broadcast to ``x``, of floats or integers."""
    if slope.type.dtype is not x.type.dtype or broadcast(slope.type.shape, x.type.shape) != x.type.shape:
        ctx.invalid(f"a slope {slope.type} for {x.type}")
    # One of the two terms is always zero, so nothing is rounded twice; unlike a selection, sums pass transposes.
    s = Steps(ctx, x.type.dtype)
    v = s.take(x)
    below = s.mul(s.binary(BinaryFn.MINIMUM, v, 0.0), s.take(slope))
    return s.result(s.add(s.unary(UnaryFn.RELU, v), below))


def hard_sigmoid(ctx: Lowering, x: Value, alpha: float, beta: float) -> Value:
    """``alpha * x + beta`` limited to 0 and 1."""
    s, v = _begin(ctx, x)
    return s.result(_hard_sigmoid(s, v, alpha, beta))


def hard_swish(ctx: Lowering, x: Value) -> Value:
    """``x`` times ``x / 6 + 1/2`` limited to 0 and 1."""
    s, v = _begin(ctx, x)
    return s.result(s.mul(v, _hard_sigmoid(s, v, 1 / 6, 0.5)))


def swish(ctx: Lowering, x: Value, alpha: float) -> Value:
    """``x * sigmoid(alpha * x)``."""
    if alpha == 1:
        return elementwise.unary(ctx, UnaryFn.SILU, x)
    s, v = _begin(ctx, x)
    return s.result(s.mul(v, s.unary(UnaryFn.SIGMOID, s.mul(v, alpha))))


def mish(ctx: Lowering, x: Value) -> Value:
    """``x * tanh(log(1 + e^x))``."""
    s, v = _begin(ctx, x)
    return s.result(s.mul(v, s.unary(UnaryFn.TANH, s.unary(UnaryFn.SOFTPLUS, v))))


def softsign(ctx: Lowering, x: Value) -> Value:
    """``x / (1 + |x|)``."""
    s, v = _begin(ctx, x)
    return s.result(s.binary(BinaryFn.DIV, v, s.add(s.unary(UnaryFn.ABS, v), 1.0)))


def thresholded_relu(ctx: Lowering, x: Value, alpha: float) -> Value:
    """``x`` where above ``alpha``, else 0."""
    s, v = _begin(ctx, x)
    return s.result(s.op(ops.Select(), s.binary(BinaryFn.GREATER, v, alpha), v, 0.0))


def shrink(ctx: Lowering, x: Value, limit: float, bias: float) -> Value:
    """``x + bias`` below ``-limit``, ``x - bias`` above ``limit``, else 0."""
    s, v = _begin(ctx, x)
    above = s.op(ops.Select(), s.binary(BinaryFn.GREATER, v, limit), s.binary(BinaryFn.SUB, v, bias), 0.0)
    return s.result(s.op(ops.Select(), s.binary(BinaryFn.LESS, v, -limit), s.add(v, bias), above))


def gelu(ctx: Lowering, x: Value) -> Value:
    """``x / 2 * (1 + erf(x / sqrt(2)))``."""
    s, v = _begin(ctx, x)
    inner = s.unary(UnaryFn.ERF, s.mul(v, math.sqrt(0.5)))
    return s.result(s.mul(s.mul(v, 0.5), s.add(inner, 1.0)))


def gelu_tanh(ctx: Lowering, x: Value) -> Value:
    """``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))``."""
    s, v = _begin(ctx, x)
    cubic = s.add(s.mul(s.unary(UnaryFn.SQUARE, v), 0.044715), 1.0)
    inner = s.unary(UnaryFn.TANH, s.mul(s.mul(v, cubic), math.sqrt(2 / math.pi)))
    return s.result(s.mul(s.mul(v, 0.5), s.add(inner, 1.0)))


def _begin(ctx: Lowering, x: Value) -> tuple[Steps, Node]:
    ctx.require_float(x)
    s = Steps(ctx, x.type.dtype)
    return s, s.take(x)


def _hard_sigmoid(s: Steps, v: Operand, alpha: float, beta: float) -> Node:
    line = s.add(s.mul(v, alpha), beta)
    return s.binary(BinaryFn.MINIMUM, s.binary(BinaryFn.MAXIMUM, line, 0.0), 1.0)
