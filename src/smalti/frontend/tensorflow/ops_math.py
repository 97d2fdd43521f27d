"""Arithmetic, activations, comparisons and logic."""

from __future__ import annotations

from smalti.frontend.lower import elementwise
from smalti.frontend.tensorflow.registry import Context, Handled, check_number, tf_op
from smalti.frontend.tensorflow.tensors import TfType
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.ir.ops.elementwise import UNARY

_T = {"T": 0}

_BINARY = {
    "Add": BinaryFn.ADD,
    "AddV2": BinaryFn.ADD,
    "Sub": BinaryFn.SUB,
    "Mul": BinaryFn.MUL,
    "RealDiv": BinaryFn.DIV,
    "FloorDiv": BinaryFn.FLOOR_DIV,
    "FloorMod": BinaryFn.FLOOR_MOD,
    "Maximum": BinaryFn.MAXIMUM,
    "Minimum": BinaryFn.MINIMUM,
    "SquaredDifference": BinaryFn.SQUARED_DIFFERENCE,
    "Equal": BinaryFn.EQUAL,
    "NotEqual": BinaryFn.NOT_EQUAL,
    "Less": BinaryFn.LESS,
    "LessEqual": BinaryFn.LESS_EQUAL,
    "Greater": BinaryFn.GREATER,
    "GreaterEqual": BinaryFn.GREATER_EQUAL,
    "LogicalAnd": BinaryFn.LOGICAL_AND,
    "LogicalOr": BinaryFn.LOGICAL_OR,
}
_OTHERWISE = frozenset((UnaryFn.LEAKY_RELU, UnaryFn.LOGICAL_NOT))
"""Functions with a handler of their own below."""
_NAMED = [fn for fn, meaning in UNARY.items() if fn not in _OTHERWISE and not meaning.written_out]
_UNARY = {fn.value.title().replace("_", ""): fn for fn in _NAMED} | {"Rint": UnaryFn.ROUND}
"""TensorFlow writes the names of the functions in capitals; ROUND has two."""


@tf_op(
    "Add",
    "AddV2",
    "Sub",
    "Mul",
    "RealDiv",
    "FloorDiv",
    "FloorMod",
    "Maximum",
    "Minimum",
    "SquaredDifference",
    "Less",
    "LessEqual",
    "Greater",
    "GreaterEqual",
    inputs=2,
    types=_T,
)
@tf_op("Equal", "NotEqual", inputs=2, types=_T, note="incompatible shapes are an error")
@tf_op("LogicalAnd", "LogicalOr", inputs=2)
def binary(ctx: Context) -> Handled:
    """Elementwise functions of two operands with broadcasting."""
    fn = _BINARY[ctx.op]
    if fn in (BinaryFn.EQUAL, BinaryFn.NOT_EQUAL):
        ctx.attrs.flag("incompatible_shape_error", True)
    return elementwise.binary(ctx, fn, ctx.value(0), ctx.value(1))


@tf_op("Div", inputs=2, types=_T, note="floating point, or sizes that are not negative")
def divide(ctx: Context) -> Handled:
    """Division of floats, or of integers towards zero."""
    return elementwise.divide(ctx, ctx.value(0), ctx.value(1))


@tf_op(*_UNARY, inputs=1, types=_T)
def unary(ctx: Context) -> Handled:
    """Elementwise functions of one operand."""
    return elementwise.unary(ctx, _UNARY[ctx.op], ctx.value(0))


@tf_op("LeakyRelu", inputs=1, types=_T)
def leaky_relu(ctx: Context) -> Handled:
    """``x`` where positive, else ``alpha * x``."""
    alpha = ctx.attrs.number("alpha", 0.2)
    return elementwise.unary(ctx, UnaryFn.LEAKY_RELU, ctx.value(0), alpha)


@tf_op("LogicalNot", inputs=1)
def logical_not(ctx: Context) -> Handled:
    """Logical not."""
    return elementwise.unary(ctx, UnaryFn.LOGICAL_NOT, ctx.value(0))


@tf_op("ClipByValue", inputs=3, types=_T)
def clip(ctx: Context) -> Handled:
    """``max(min(x, high), low)``."""
    return elementwise.clip(ctx, ctx.value(0), ctx.value(1), ctx.value(2))


@tf_op("AddN", inputs=(1, 4096), types=_T)
def add_n(ctx: Context) -> Handled:
    """Sum of tensors of one shape."""
    check_number(ctx, len(ctx.inputs))
    return elementwise.add_all(ctx, ctx.values())


@tf_op("Cast", inputs=1, types={"SrcT": 0})
def cast(ctx: Context) -> Handled:
    """Conversion between numbers; float to integer truncates."""
    truncate = ctx.attrs.flag("Truncate", False)
    target = ctx.attrs.kind("DstT")
    dtype = None if target.is_quantised else target.dtype
    if dtype is None:
        ctx.unsupported(f"attribute DstT: conversion to {target.label}")
    if truncate and target in (TfType.BFLOAT16, TfType.HALF):
        ctx.unsupported("Truncate=true (rounding towards zero)")
    return elementwise.cast(ctx, ctx.value(0), dtype)


@tf_op("Select", "SelectV2", inputs=3, types={"T": 1})
def select(ctx: Context) -> Handled:
    """``where(condition, a, b)``; a vector condition of ``Select`` chooses whole rows."""
    condition, a, b = (ctx.value(i) for i in range(3))
    chosen = elementwise.chosen_whole(ctx, condition, a, b)
    if chosen is not None or ctx.op == "SelectV2":
        return chosen or elementwise.select(ctx, condition, a, b)
    if a.type.shape != b.type.shape:
        ctx.invalid(f"choices of different shapes {a.type} and {b.type}")
    if condition.type.rank == 1 and a.type.rank > 1:
        return elementwise.select_rows(ctx, condition, a, b)
    if condition.type.rank != 0 and condition.type.shape != a.type.shape:
        ctx.invalid(f"a condition {condition.type} for choices {a.type}")
    return elementwise.select(ctx, condition, a, b)
