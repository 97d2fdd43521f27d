"""Powers and remainders."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from smalti.frontend.context import Lowering
from smalti.frontend.lower import arithmetic, elementwise
from smalti.frontend.lower.steps import Steps
from smalti.frontend.symbolic import constants
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.ir.shapes import broadcast
from smalti.numerics import DType


def power(ctx: Lowering, x: Value, exponent: Value) -> Value:
    """``x`` to the power of the exponent, which may be of another type; the result has that of ``x``.

    Common exponents that are known become products and roots.
    """
    dtype = x.type.dtype
    result = ctx.try_symbolic(arithmetic.power, (x, exponent), dtype)
    if result is not None:
        return result
    number = _uniform(exponent)
    if number is not None and broadcast(x.type.shape, exponent.type.shape) == x.type.shape:
        found = _known_power(ctx, x, number)
        if found is not None:
            return found
    if exponent.type.dtype.is_float and not dtype.is_float:
        wide = Steps(ctx, DType.FLOAT64)
        operands = [wide.op(ops.Cast(DType.FLOAT64), ctx.node_of(v)) for v in (x, exponent)]
        return wide.result(wide.op(ops.Cast(dtype), wide.binary(BinaryFn.POW, *operands)))
    s = Steps(ctx, dtype, exact=True)
    raised = s.take(exponent)
    return s.result(s.binary(BinaryFn.POW, ctx.node_of(x), raised))


def remainder(ctx: Lowering, a: Value, b: Value) -> Value:
    """``a - b * trunc(a / b)``, exact: it has the sign of ``a``."""
    dtype = a.type.dtype
    if b.type.dtype is not dtype:
        ctx.invalid(f"the operands have types {a.type} and {b.type}")
    known = ctx.try_symbolic(arithmetic.remainder, (a, b), dtype)
    if known is not None:
        return known
    if not dtype.is_float and dtype.limits[0] == 0:
        return elementwise.binary(ctx, BinaryFn.FLOOR_MOD, a, b)
    # Of two numbers that are not negative, the rest of the division that rounds down is that of the other one.
    s = Steps(ctx, dtype, exact=True)
    left, right = ctx.node_of(a), ctx.node_of(b)
    rest = s.binary(BinaryFn.FLOOR_MOD, s.unary(UnaryFn.ABS, left), s.unary(UnaryFn.ABS, right))
    negative = s.binary(BinaryFn.LESS, left, 0.0)
    return s.result(s.op(ops.Select(), negative, s.unary(UnaryFn.NEG, rest), rest))


def _known_power(ctx: Lowering, x: Value, exponent: Fraction) -> Value | None:
    if exponent == 1:
        return x
    if exponent == 2:
        return elementwise.unary(ctx, UnaryFn.SQUARE, x)
    s = Steps(ctx, x.type.dtype)
    node: Node
    if exponent in (3, 4):
        v = s.take(x)
        square = s.unary(UnaryFn.SQUARE, v)
        node = s.mul(square, v) if exponent == 3 else s.unary(UnaryFn.SQUARE, square)
    elif not x.type.dtype.is_float:
        return None
    elif exponent == -1:
        node = s.binary(BinaryFn.DIV, 1.0, s.take(x))
    elif exponent == Fraction(1, 2):
        node = s.unary(UnaryFn.SQRT, s.take(x))
    elif exponent == Fraction(-1, 2):
        node = s.unary(UnaryFn.RSQRT, s.take(x))
    else:
        return None
    return s.result(node)


def _uniform(value: Value) -> Fraction | None:
    """Return the number that all elements of a known value have."""
    numbers: list[Fraction] | None = None
    if value.sym is not None:
        numbers = constants(value.sym)
    elif value.array is not None and value.array.size and np.all(value.array == value.array.flat[0]):
        first = float(np.asarray(value.array.flat[0]))
        numbers = [Fraction(first)] if np.isfinite(first) else None
    return numbers[0] if numbers and all(n == numbers[0] for n in numbers) else None
