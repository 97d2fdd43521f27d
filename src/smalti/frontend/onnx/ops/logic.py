"""Comparisons, logic, choices, and the bits of integers."""

from __future__ import annotations

import math

from smalti.frontend.lower import elementwise
from smalti.frontend.lower.steps import Steps
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.table import Handled
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.numerics import DType

RELATIONS = {"Equal": BinaryFn.EQUAL, "Greater": BinaryFn.GREATER, "Less": BinaryFn.LESS}
LOGIC = {"And": BinaryFn.LOGICAL_AND, "Or": BinaryFn.LOGICAL_OR, "Xor": BinaryFn.NOT_EQUAL}
_BINARY = {
    **RELATIONS,
    **LOGIC,
    "GreaterOrEqual": BinaryFn.GREATER_EQUAL,
    "LessOrEqual": BinaryFn.LESS_EQUAL,
    "BitwiseAnd": BinaryFn.BITWISE_AND,
    "BitwiseOr": BinaryFn.BITWISE_OR,
    "BitwiseXor": BinaryFn.BITWISE_XOR,
}
_SHIFTS = {"LEFT": BinaryFn.SHIFT_LEFT, "RIGHT": BinaryFn.SHIFT_RIGHT}


@onnx_op("Equal", inputs=2, since=(7, 11, 13, 19))
@onnx_op("Greater", "Less", inputs=2, since=(7, 9, 13))
@onnx_op("GreaterOrEqual", "LessOrEqual", inputs=2, since=(12, 16))
@onnx_op(*LOGIC, inputs=2, since=(7,))
@onnx_op("BitwiseAnd", "BitwiseOr", "BitwiseXor", inputs=2, since=(18,))
def binary(ctx: Context) -> Handled:
    """Functions of two operands of one type, with broadcasting."""
    a, b = ctx.value(0), ctx.value(1)
    if ctx.op in LOGIC and a.type.dtype is not DType.BOOL:
        ctx.invalid(f"takes bool, not {a.type}")
    return elementwise.binary(ctx, _BINARY[ctx.op], a, b)


@onnx_op("Not", inputs=1, since=(1,))
def logical_not(ctx: Context) -> Handled:
    """Logical not."""
    return elementwise.unary(ctx, UnaryFn.LOGICAL_NOT, ctx.value(0))


@onnx_op("Where", inputs=3, since=(9, 16))
def where(ctx: Context) -> Handled:
    """The first choice where the condition holds, else the second, with broadcasting."""
    return elementwise.select(ctx, ctx.value(0), ctx.value(1), ctx.value(2))


@onnx_op("IsNaN", inputs=1, since=(9, 13, 20))
def is_nan(ctx: Context) -> Handled:
    """Whether elements are no numbers."""
    (x,) = ctx.floats(0)
    return elementwise.binary(ctx, BinaryFn.NOT_EQUAL, x, x)


@onnx_op("IsInf", inputs=1, since=(10, 20))
def is_infinite(ctx: Context) -> Handled:
    """Whether elements are infinite, of both signs or of one."""
    negative, positive = ctx.attrs.flag("detect_negative", True), ctx.attrs.flag("detect_positive", True)
    (x,) = ctx.floats(0)
    s = Steps(ctx, x.type.dtype, exact=True)
    v = s.take(x)
    if positive and negative:
        v = s.unary(UnaryFn.ABS, v)
    found = s.binary(BinaryFn.EQUAL, v, math.inf if positive else -math.inf)
    if not positive and not negative:
        found = s.binary(BinaryFn.LOGICAL_AND, found, s.unary(UnaryFn.LOGICAL_NOT, found))
    return s.result(found)


@onnx_op("BitwiseNot", inputs=1, since=(18,))
def bitwise_not(ctx: Context) -> Handled:
    """Integers with all bits turned."""
    x = ctx.value(0)
    if not x.type.dtype.is_integer:
        ctx.invalid(f"takes integers, not {x.type}")
    highest = x.type.dtype.limits[1] if x.type.dtype.limits[0] == 0 else -1
    known = ctx.try_symbolic(lambda a: highest - a, (x,), x.type.dtype)
    if known is not None:
        return known
    s = Steps(ctx, x.type.dtype)
    return s.result(s.binary(BinaryFn.SUB, highest, s.take(x)))


@onnx_op("BitShift", inputs=2, since=(11, 28))
def bit_shift(ctx: Context) -> Handled:
    """Integers whose bits are moved; those that leave the number are lost."""
    direction = ctx.attrs.text("direction")
    if direction not in _SHIFTS:
        ctx.invalid(f"attribute direction is {direction!r}; it must be LEFT or RIGHT")
    return elementwise.binary(ctx, _SHIFTS[direction], ctx.value(0), ctx.value(1))
