"""Arithmetic, activations, comparisons and logic."""

from __future__ import annotations

from collections.abc import Callable

from smalti.errors import GraphError
from smalti.frontend.context import NeedsLimit, NodeContext
from smalti.frontend.limits import limit_of_maximum
from smalti.frontend.symbolic import NotSymbolic, constant_of, multiply, sign_is_known, trunc
from smalti.frontend.tensorflow.registry import Handled, tf_op
from smalti.frontend.tensorflow.tensors import TfType
from smalti.frontend.values import Value
from smalti.ir import dims, ops
from smalti.ir.dims import Dim, maximum, minimum
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.numerics import DType

Scalar = int | Dim
_T = {"T": 0}


def _floor_div(a: Scalar, b: Scalar) -> Scalar:
    if b == 0:
        raise GraphError("division by zero in the arithmetic of sizes")
    try:
        return dims.floor_div(a, b)
    except GraphError as error:
        raise NotSymbolic from error


def _divide(a: Scalar, b: Scalar) -> Scalar:
    divisor = constant_of(b)
    if not divisor:
        raise NotSymbolic
    return multiply(dims.rational(1 / divisor), a)


def _is_nonnegative(value: Scalar) -> bool:
    known = sign_is_known(value)
    if known is None:
        raise NotSymbolic
    return known


def _equal(a: object, b: object) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a == b
    if not isinstance(a, (int, Dim)) or not isinstance(b, (int, Dim)):
        raise NotSymbolic
    difference = a - b
    if difference == 0:
        return True
    if constant_of(difference) is not None or sign_is_known(difference) is False or sign_is_known(-difference) is False:
        return False
    raise NotSymbolic


_SYMBOLIC: dict[BinaryFn, Callable[..., object]] = {
    BinaryFn.ADD: lambda a, b: a + b,
    BinaryFn.SUB: lambda a, b: a - b,
    BinaryFn.MUL: multiply,
    BinaryFn.DIV: _divide,
    BinaryFn.FLOOR_DIV: _floor_div,
    BinaryFn.FLOOR_MOD: lambda a, b: a - multiply(_floor_div(a, b), b),
    BinaryFn.MAXIMUM: maximum,
    BinaryFn.MINIMUM: minimum,
    BinaryFn.SQUARED_DIFFERENCE: lambda a, b: multiply(a - b, a - b),
    BinaryFn.EQUAL: _equal,
    BinaryFn.NOT_EQUAL: lambda a, b: not _equal(a, b),
    BinaryFn.LESS: lambda a, b: not _is_nonnegative(a - b),
    BinaryFn.LESS_EQUAL: lambda a, b: _is_nonnegative(b - a),
    BinaryFn.GREATER: lambda a, b: not _is_nonnegative(b - a),
    BinaryFn.GREATER_EQUAL: lambda a, b: _is_nonnegative(a - b),
    BinaryFn.LOGICAL_AND: lambda a, b: a and b,
    BinaryFn.LOGICAL_OR: lambda a, b: a or b,
}

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
_UNARY = {
    "Neg": UnaryFn.NEG,
    "Abs": UnaryFn.ABS,
    "Square": UnaryFn.SQUARE,
    "Sqrt": UnaryFn.SQRT,
    "Rsqrt": UnaryFn.RSQRT,
    "Exp": UnaryFn.EXP,
    "Log": UnaryFn.LOG,
    "Floor": UnaryFn.FLOOR,
    "Ceil": UnaryFn.CEIL,
    "Round": UnaryFn.ROUND,
    "Rint": UnaryFn.ROUND,
    "Relu": UnaryFn.RELU,
    "Relu6": UnaryFn.RELU6,
    "Elu": UnaryFn.ELU,
    "Sigmoid": UnaryFn.SIGMOID,
    "Tanh": UnaryFn.TANH,
}
_FLOAT_ONLY = frozenset(
    (
        UnaryFn.SQRT,
        UnaryFn.RSQRT,
        UnaryFn.EXP,
        UnaryFn.LOG,
        UnaryFn.FLOOR,
        UnaryFn.CEIL,
        UnaryFn.ELU,
        UnaryFn.SIGMOID,
        UnaryFn.TANH,
    )
)
_SYMBOLIC_UNARY: dict[UnaryFn, Callable[..., object]] = {
    UnaryFn.NEG: lambda a: -a,
    UnaryFn.ABS: lambda a: a if _is_nonnegative(a) else -a,
    UnaryFn.SQUARE: lambda a: multiply(a, a),
    UnaryFn.FLOOR: lambda a: dims.floor(a),
    UnaryFn.CEIL: lambda a: -dims.floor(-a),
}


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
def binary(ctx: NodeContext) -> Handled:
    """Elementwise functions of two operands with broadcasting."""
    fn = _BINARY[ctx.op]
    if fn in (BinaryFn.EQUAL, BinaryFn.NOT_EQUAL):
        ctx.attrs.flag("incompatible_shape_error", True)
    a, b = ctx.type_of(0), ctx.type_of(1)
    if a.dtype is not b.dtype:
        ctx.invalid(f"the operands have types {a} and {b}")
    if fn is BinaryFn.DIV:
        ctx.require_float(0)
    result = ctx.try_symbolic(_SYMBOLIC[fn], DType.BOOL if fn.is_comparison else a.dtype)
    if result is None:
        return ctx.emit(ops.Binary(fn), (ctx.node(0), ctx.node(1)))
    if fn is BinaryFn.MAXIMUM and result.sym is not None:
        for element in result.sym.ravel().tolist():
            found = limit_of_maximum(element)
            if found is not None:
                raise NeedsLimit(*found)
    return result


@tf_op("Div", inputs=2, types=_T, note="floating point, or sizes that are not negative")
def divide(ctx: NodeContext) -> Handled:
    """Division of floats, or of integers towards zero."""
    if ctx.type_of(0).dtype is not ctx.type_of(1).dtype:
        ctx.invalid(f"the operands have types {ctx.type_of(0)} and {ctx.type_of(1)}")
    if ctx.type_of(0).dtype.is_float:
        result = ctx.try_symbolic(_divide)
        return result or ctx.emit(ops.Binary(BinaryFn.DIV), (ctx.node(0), ctx.node(1)))

    def truncated(a: Scalar, b: Scalar) -> Scalar:
        if not (_is_nonnegative(a) and _is_nonnegative(b)):
            raise NotSymbolic
        return _floor_div(a, b)

    return ctx.try_symbolic(truncated) or ctx.unsupported("division of integers that depend on the pixels")


@tf_op(*_UNARY, inputs=1, types=_T)
def unary(ctx: NodeContext) -> Handled:
    """Elementwise functions of one operand."""
    fn = _UNARY[ctx.op]
    if fn in _FLOAT_ONLY:
        ctx.require_float(0)
    symbolic_fn = _SYMBOLIC_UNARY.get(fn)
    result = ctx.try_symbolic(symbolic_fn) if symbolic_fn else None
    return result or ctx.emit(ops.Unary(fn), (ctx.node(0),))


@tf_op("LeakyRelu", inputs=1, types=_T)
def leaky_relu(ctx: NodeContext) -> Handled:
    """``x`` where positive, else ``alpha * x``."""
    alpha = ctx.attrs.number("alpha", 0.2)
    ctx.require_float(0)
    return ctx.emit(ops.Unary(UnaryFn.LEAKY_RELU, alpha), (ctx.node(0),))


@tf_op("LogicalNot", inputs=1)
def logical_not(ctx: NodeContext) -> Handled:
    """Logical not."""
    result = ctx.try_symbolic(lambda a: not a)
    return result or ctx.emit(ops.Unary(UnaryFn.LOGICAL_NOT), (ctx.node(0),))


@tf_op("ClipByValue", inputs=3, types=_T)
def clip(ctx: NodeContext) -> Handled:
    """``max(min(x, high), low)``."""
    upper = ctx.part(ops.Binary(BinaryFn.MINIMUM), (ctx.node(0), ctx.node(2)), "min")
    return ctx.emit(ops.Binary(BinaryFn.MAXIMUM), (upper, ctx.node(1)))


@tf_op("AddN", inputs=(1, 4096), types=_T)
def add_n(ctx: NodeContext) -> Handled:
    """Sum of tensors of one shape."""
    if ctx.attrs.integer("N", len(ctx.inputs)) != len(ctx.inputs):
        ctx.invalid(f"attribute N does not match {len(ctx.inputs)} inputs")
    first = ctx.type_of(0)
    if any(v.type != first for v in ctx.values()):
        ctx.invalid("the inputs have different types")
    if len(ctx.inputs) == 1:
        return ctx.value(0)
    result = ctx.try_symbolic(lambda *items: sum(items[1:], items[0]))
    if result is not None:
        return result
    total = ctx.node(0)
    for i in range(1, len(ctx.inputs) - 1):
        total = ctx.part(ops.Binary(BinaryFn.ADD), (total, ctx.node(i)), f"sum_{i}")
    return ctx.emit(ops.Binary(BinaryFn.ADD), (total, ctx.node(len(ctx.inputs) - 1)))


@tf_op("Cast", inputs=1, types={"SrcT": 0})
def cast(ctx: NodeContext) -> Handled:
    """Conversion between numbers; float to integer truncates."""
    truncate = ctx.attrs.flag("Truncate", False)
    target = ctx.attrs.kind("DstT")
    dtype = None if target.is_quantised else target.dtype
    if dtype is None:
        ctx.unsupported(f"attribute DstT: conversion to {target.label}")
    if truncate and target in (TfType.BFLOAT16, TfType.HALF):
        ctx.unsupported("Truncate=true (rounding towards zero)")
    source = ctx.type_of(0).dtype
    if source is dtype:
        return ctx.value(0)

    def convert(value: object) -> object:
        if dtype is DType.BOOL and isinstance(value, (int, Dim)):
            return not _equal(value, 0)
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, (int, Dim)) and source.is_float and not dtype.is_float:
            return trunc(value)
        return value

    return ctx.try_symbolic(convert, dtype) or ctx.emit(ops.Cast(dtype), (ctx.node(0),))


@tf_op("Select", "SelectV2", inputs=3, types={"T": 1})
def select(ctx: NodeContext) -> Handled:
    """``where(condition, a, b)``; a vector condition of ``Select`` chooses whole rows."""
    condition, a, b = (ctx.type_of(i) for i in range(3))
    if condition.dtype is not DType.BOOL or a.dtype is not b.dtype:
        ctx.invalid(f"a condition {condition} with choices {a} and {b}")
    chosen = ctx.sym(0)
    if chosen is not None and chosen.ndim == 0 and a == b:
        return ctx.value(1) if chosen.item() else ctx.value(2)
    rows = ctx.op == "Select" and condition.rank == 1 and a.rank > 1
    if ctx.op == "Select" and a.shape != b.shape:
        ctx.invalid(f"choices of different shapes {a} and {b}")
    if ctx.op == "Select" and not rows and condition.rank != 0 and condition.shape != a.shape:
        ctx.invalid(f"a condition {condition} for choices {a}")
    if not rows:
        result = _symbolic_select(ctx, a.dtype)
        if result is not None:
            return result
    mask = ctx.node(0)
    if rows:
        if condition.shape[0] != a.shape[0]:
            ctx.invalid(f"a condition {condition} for the rows of {a}")
        mask = ctx.part(ops.Reshape((*condition.shape, *(1,) * (a.rank - 1))), (mask,), "rows")
    return ctx.emit(ops.Select(), (mask, ctx.node(1), ctx.node(2)))


def _symbolic_select(ctx: NodeContext, dtype: DType) -> Value | None:
    return ctx.try_symbolic(lambda c, x, y: x if c else y, dtype)
