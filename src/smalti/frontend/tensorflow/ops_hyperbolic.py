"""Functions made of exponentials and logarithms so that nothing cancels near zero."""

from __future__ import annotations

from smalti.frontend.lower.steps import Operand, Steps
from smalti.frontend.tensorflow.registry import Context, Handled, tf_op
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, UnaryFn

_T = {"T": 0}
_PLAIN = 1e6
"""From here on ``1 + x`` is ``x`` for what a float of ``log`` shows."""
_LARGE = 10.0
"""From here on the smaller of two exponentials is nothing beside the larger."""


@tf_op("Expm1", inputs=1, types=_T)
def exponential_less_one(ctx: Context) -> Handled:
    """``exp(x) - 1``."""
    s, v = _begin(ctx)
    return s.result(_expm1(s, v))


@tf_op("Log1p", inputs=1, types=_T)
def logarithm_of_one_more(ctx: Context) -> Handled:
    """``log(1 + x)``."""
    s, v = _begin(ctx)
    return s.result(_log1p(s, v))


@tf_op("Sinh", inputs=1, types=_T)
def hyperbolic_sine(ctx: Context) -> Handled:
    """``(exp(x) - exp(-x)) / 2``."""
    s, v = _begin(ctx)
    size = s.unary(UnaryFn.ABS, v)
    grown = _expm1(s, size)
    near = s.mul(s.add(grown, s.binary(BinaryFn.DIV, grown, s.add(grown, 1.0))), 0.5)
    large = s.binary(BinaryFn.GREATER, size, s.number(_LARGE))
    return s.result(s.mul(s.op(ops.Select(), large, _half_power(s, size), near), s.unary(UnaryFn.SIGN, v)))


@tf_op("Cosh", inputs=1, types=_T)
def hyperbolic_cosine(ctx: Context) -> Handled:
    """``(exp(x) + exp(-x)) / 2``."""
    s, v = _begin(ctx)
    size = s.unary(UnaryFn.ABS, v)
    near = s.mul(s.add(s.unary(UnaryFn.EXP, size), s.unary(UnaryFn.EXP, s.unary(UnaryFn.NEG, size))), 0.5)
    large = s.binary(BinaryFn.GREATER, size, s.number(_LARGE))
    return s.result(s.op(ops.Select(), large, _half_power(s, size), near))


@tf_op("Atanh", inputs=1, types=_T)
def inverse_of_tanh(ctx: Context) -> Handled:
    """``log((1 + x) / (1 - x)) / 2``."""
    s, v = _begin(ctx)
    size = s.unary(UnaryFn.ABS, v)
    inner = s.binary(BinaryFn.DIV, s.mul(size, 2.0), s.binary(BinaryFn.SUB, 1.0, size))
    # At 1 the quotient is infinite, and so is the logarithm.
    return s.result(s.mul(s.mul(_log1p(s, inner), 0.5), s.unary(UnaryFn.SIGN, v)))


@tf_op("Asinh", inputs=1, types=_T, note="of numbers whose square is a finite number")
def inverse_of_sinh(ctx: Context) -> Handled:
    """``log(x + sqrt(x^2 + 1))``."""
    s, v = _begin(ctx)
    size = s.unary(UnaryFn.ABS, v)
    square = s.unary(UnaryFn.SQUARE, size)
    root = s.unary(UnaryFn.SQRT, s.add(square, 1.0))
    inner = s.add(size, s.binary(BinaryFn.DIV, square, s.add(root, 1.0)))
    return s.result(s.mul(_log1p(s, inner), s.unary(UnaryFn.SIGN, v)))


@tf_op("Acosh", inputs=1, types=_T, note="of numbers whose square is a finite number")
def inverse_of_cosh(ctx: Context) -> Handled:
    """``log(x + sqrt(x^2 - 1))``."""
    s, v = _begin(ctx)
    above = s.binary(BinaryFn.SUB, v, 1.0)
    root = s.unary(UnaryFn.SQRT, s.mul(above, s.add(v, 1.0)))
    return s.result(_log1p(s, s.add(above, root)))


def _begin(ctx: Context) -> tuple[Steps, Node]:
    (x,) = ctx.floats(0)
    s = Steps(ctx, x.type.dtype)
    return s, s.take(x)


def _expm1(s: Steps, v: Operand) -> Node:
    """ELU is the function below zero; above, ``exp(x) * -(exp(-x) - 1)``."""
    opposite = s.unary(UnaryFn.NEG, v)
    above = s.mul(s.unary(UnaryFn.EXP, v), s.unary(UnaryFn.NEG, s.unary(UnaryFn.ELU, opposite)))
    below = s.binary(BinaryFn.LESS, v, s.number(0.0))
    return s.op(ops.Select(), below, s.unary(UnaryFn.ELU, v), above)


def _log1p(s: Steps, v: Operand) -> Node:
    """The quotient gives back what the sum rounds off (Kahan)."""
    total = s.add(v, 1.0)
    log = s.unary(UnaryFn.LOG, total)
    near = s.mul(log, s.binary(BinaryFn.DIV, v, s.binary(BinaryFn.SUB, total, 1.0)))
    same = s.binary(BinaryFn.EQUAL, total, s.number(1.0))
    near = s.op(ops.Select(), same, v, near)
    large = s.binary(BinaryFn.GREATER, v, s.number(_PLAIN))
    return s.op(ops.Select(), large, log, near)


def _half_power(s: Steps, size: Node) -> Node:
    """``exp(x) / 2``, finite as far as that is: as the square of a root."""
    root = s.unary(UnaryFn.EXP, s.mul(size, 0.5))
    return s.mul(s.mul(root, 0.5), root)
