"""Arithmetic with broadcasting, functions of one operand, and conversions."""

from __future__ import annotations

from smalti.frontend import symbolic
from smalti.frontend.lower import elementwise, powers
from smalti.frontend.lower.steps import Steps
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.table import Handled
from smalti.ir.ops import BinaryFn, UnaryFn

_MANY = (1, 4096)
ARITHMETIC = {"Add": BinaryFn.ADD, "Sub": BinaryFn.SUB, "Mul": BinaryFn.MUL}
_EXTREMES = {"Min": BinaryFn.MINIMUM, "Max": BinaryFn.MAXIMUM}
_UNARY = {
    "Neg": UnaryFn.NEG,
    "Abs": UnaryFn.ABS,
    "Exp": UnaryFn.EXP,
    "Log": UnaryFn.LOG,
    "Sqrt": UnaryFn.SQRT,
    "Floor": UnaryFn.FLOOR,
    "Ceil": UnaryFn.CEIL,
    "Round": UnaryFn.ROUND,
    "Erf": UnaryFn.ERF,
    "Sin": UnaryFn.SIN,
    "Cos": UnaryFn.COS,
    "Sign": UnaryFn.SIGN,
}


@onnx_op(*ARITHMETIC, inputs=2, since=(7, 13, 14))
def arithmetic(ctx: Context) -> Handled:
    """Sums, differences and products with broadcasting; integers wrap."""
    return elementwise.binary(ctx, ARITHMETIC[ctx.op], ctx.value(0), ctx.value(1))


@onnx_op("Div", inputs=2, since=(7, 13, 14), note="integers towards zero; an integer divided by zero gives 0")
def divide(ctx: Context) -> Handled:
    """Quotients with broadcasting."""
    return elementwise.divide(ctx, ctx.value(0), ctx.value(1))


@onnx_op("Pow", inputs=2, since=(7, 12, 13, 15))
def power(ctx: Context) -> Handled:
    """Powers; the exponent may be of another type."""
    return powers.power(ctx, ctx.value(0), ctx.value(1))


@onnx_op("Mod", inputs=2, since=(10, 13), note="floats with fmod=1 only, before version 28")
@onnx_op("Mod", inputs=2, since=(28,))
def modulo(ctx: Context) -> Handled:
    """The rest of a division that rounds down, or towards zero (``fmod``)."""
    towards_zero = ctx.attrs.flag("fmod", False)
    a, b = ctx.value(0), ctx.value(1)
    if towards_zero:
        return powers.remainder(ctx, a, b)
    if a.type.dtype.is_float and ctx.raw.version < 28:
        ctx.invalid(f"fmod is 0, which operands of type {a.type.dtype.value} do not have")
    return elementwise.binary(ctx, BinaryFn.FLOOR_MOD, a, b)


@onnx_op("Neg", "Abs", "Exp", "Log", "Sqrt", "Floor", "Ceil", inputs=1, since=(6, 13))
@onnx_op("Round", inputs=1, since=(11, 22), note="halves to even")
@onnx_op("Erf", "Sign", inputs=1, since=(9, 13))
@onnx_op("Sin", "Cos", inputs=1, since=(7, 22))
def unary(ctx: Context) -> Handled:
    """Functions of one operand."""
    return elementwise.unary(ctx, _UNARY[ctx.op], ctx.value(0))


@onnx_op("Reciprocal", inputs=1, since=(6, 13))
def reciprocal(ctx: Context) -> Handled:
    """``1 / x``."""
    (x,) = ctx.floats(0)
    return elementwise.binary(ctx, BinaryFn.DIV, ctx.symbolic(symbolic.make([1], ()), x.type.dtype), x)


@onnx_op("Tan", inputs=1, since=(7, 22))
def tangent(ctx: Context) -> Handled:
    """``sin(x) / cos(x)``."""
    (x,) = ctx.floats(0)
    s = Steps(ctx, x.type.dtype)
    v = s.take(x)
    return s.result(s.binary(BinaryFn.DIV, s.unary(UnaryFn.SIN, v), s.unary(UnaryFn.COS, v)))


@onnx_op("Min", "Max", inputs=_MANY, since=(6, 8, 12, 13))
def extreme(ctx: Context) -> Handled:
    """The smallest or largest of any number of tensors, with broadcasting; NaN stays."""
    return elementwise.fold(ctx, _EXTREMES[ctx.op], ctx.values())


@onnx_op("Sum", inputs=_MANY, since=(6, 8, 13))
def add_up(ctx: Context) -> Handled:
    """The sum of any number of tensors, with broadcasting."""
    return elementwise.fold(ctx, BinaryFn.ADD, ctx.values())


@onnx_op("Mean", inputs=_MANY, since=(6, 8, 13))
def mean(ctx: Context) -> Handled:
    """The mean of any number of tensors, with broadcasting."""
    values = ctx.values()
    ctx.require_float(*values)
    if len(values) == 1:
        return values[0]
    s = Steps(ctx, values[0].type.dtype)
    total = s.take(values[0])
    for value in values[1:]:
        total = s.add(total, s.take(value))
    return s.result(s.binary(BinaryFn.DIV, total, float(len(values))))


@onnx_op("Clip", inputs=1, since=(6,))
def clip_to_numbers(ctx: Context) -> Handled:
    """Values limited by two numbers, either of which may be left out."""
    limits = ((BinaryFn.MAXIMUM, "min"), (BinaryFn.MINIMUM, "max"))
    bounds = [(fn, ctx.attrs.number(name)) for fn, name in limits if name in ctx.attrs]
    (x,) = ctx.floats(0)
    s = Steps(ctx, x.type.dtype, exact=True)
    v = s.take(x)
    for fn, bound in bounds:
        v = s.binary(fn, v, bound)
    return s.result(v)


@onnx_op("Clip", inputs=(1, 3), since=(11, 12, 13))
def clip(ctx: Context) -> Handled:
    """Values limited by two operands, either of which may be left out."""
    bounds = [ctx.value(i) if ctx.has(i) else None for i in (1, 2)]
    return elementwise.limit(ctx, ctx.value(0), *bounds)


@onnx_op("Cast", inputs=1, since=(6, 9, 13, 19, 21, 23, 24, 25, 28), note="between numbers; float to integer truncates")
def cast(ctx: Context) -> Handled:
    """Conversion to a stated type."""
    _read_rounding(ctx)
    target = ctx.attrs.kind("to")
    if target.dtype is None:
        ctx.unsupported(f"attribute to: conversion to {target.label}")
    return elementwise.cast(ctx, ctx.value(0), target.dtype)


@onnx_op("CastLike", inputs=2, since=(15, 19, 21, 23, 24, 25), note="between numbers; float to integer truncates")
def cast_like(ctx: Context) -> Handled:
    """Conversion to the type of another operand."""
    _read_rounding(ctx)
    return elementwise.cast(ctx, ctx.value(0), ctx.type_of(1).dtype)


def _read_rounding(ctx: Context) -> None:
    """Read what only conversions to types of 8 bits and fewer take notice of, which are refused."""
    ctx.attrs.flag("saturate", True)
    ctx.attrs.text("round_mode", "up")
