"""Functions of elements with numpy broadcasting, conversions, and choices between tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from smalti.frontend.context import Lowering
from smalti.frontend.limits import limit_of_maximum
from smalti.frontend.lower import arithmetic
from smalti.frontend.signals import NeedsLimit
from smalti.frontend.symbolic import trunc
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.ir.ops.elementwise import UNARY
from smalti.numerics import DType


def binary(ctx: Lowering, fn: BinaryFn, a: Value, b: Value) -> Value:
    """A function of two operands of one type, which may be sizes.

    Raises:
        NeedsLimit: it is the padding to a crop size, which limits the size of images.
    """
    _same_types(ctx, a, b)
    if fn is BinaryFn.DIV:
        ctx.require_float(a)
    known = arithmetic.BINARY.get(fn)
    result = ctx.try_symbolic(known, (a, b), DType.BOOL if fn.is_comparison else a.type.dtype) if known else None
    if result is None:
        return ctx.emit(ops.Binary(fn), (a, b))
    if fn is BinaryFn.MAXIMUM and result.sym is not None:
        for element in result.sym.ravel().tolist():
            found = limit_of_maximum(element)
            if found is not None:
                raise NeedsLimit(*found)
    return result


def divide(ctx: Lowering, a: Value, b: Value) -> Value:
    """Division of floats, or of integers towards zero; an integer divided by zero at run time gives 0."""
    _same_types(ctx, a, b)
    if a.type.dtype.is_float:
        return binary(ctx, BinaryFn.DIV, a, b)
    result = ctx.try_symbolic(arithmetic.truncated_div, (a, b), a.type.dtype)
    return result or ctx.emit(ops.Binary(BinaryFn.DIV), (a, b))


def unary(ctx: Lowering, fn: UnaryFn, x: Value, alpha: float = 0.0) -> Value:
    """A function of one operand; ``alpha`` is the parameter of those that have one."""
    if UNARY[fn].floats:
        ctx.require_float(x)
    known = arithmetic.UNARY.get(fn)
    result = ctx.try_symbolic(known, (x,), x.type.dtype) if known else None
    return result or ctx.emit(ops.Unary(fn, alpha), (x,))


def clip(ctx: Lowering, x: Value, low: Value, high: Value) -> Value:
    """``max(min(x, high), low)``."""
    upper = ctx.part(ops.Binary(BinaryFn.MINIMUM), (x, high), "min")
    return ctx.emit(ops.Binary(BinaryFn.MAXIMUM), (upper, low))


def limit(ctx: Lowering, x: Value, low: Value | None, high: Value | None) -> Value:
    """``min(max(x, low), high)``; a bound is one number of the type of ``x``, or left out."""
    result = x
    for fn, bound in ((BinaryFn.MAXIMUM, low), (BinaryFn.MINIMUM, high)):
        if bound is not None:
            if bound.type.elements != 1:
                ctx.invalid(f"a bound must be one number, not {bound.type}")
            scalar = bound if bound.type.rank == 0 else _scalar(ctx, bound)
            last = fn is BinaryFn.MINIMUM or high is None
            result = binary(ctx, fn, result, scalar) if last else _inner(ctx, fn, result, scalar, "low")
    return result


def fold(ctx: Lowering, fn: BinaryFn, values: Sequence[Value]) -> Value:
    """A function of two operands applied from the first operand to the last, with broadcasting."""
    if len(values) == 1:
        return values[0]
    total = values[0]
    for i, value in enumerate(values[1:-1], 1):
        total = _inner(ctx, fn, total, value, f"step_{i}")
    return binary(ctx, fn, total, values[-1])


def add_all(ctx: Lowering, values: Sequence[Value]) -> Value:
    """Sum of tensors of one type, from the first to the last."""
    if any(v.type != values[0].type for v in values):
        ctx.invalid("the inputs have different types")
    if len(values) == 1:
        return values[0]
    result = ctx.try_symbolic(lambda *items: sum(items[1:], items[0]), values, values[0].type.dtype)
    if result is not None:
        return result
    total = ctx.node_of(values[0])
    for i, value in enumerate(values[1:-1], 1):
        total = ctx.part(ops.Binary(BinaryFn.ADD), (total, value), f"sum_{i}")
    return ctx.emit(ops.Binary(BinaryFn.ADD), (total, values[-1]))


def cast(ctx: Lowering, x: Value, dtype: DType) -> Value:
    """Conversion between numbers; float to integer truncates."""
    source = x.type.dtype
    if source is dtype:
        return x

    def convert(value: object) -> object:
        if dtype is DType.BOOL and isinstance(value, (int, Dim)):
            return not arithmetic.equal(value, 0)
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, (int, Dim)) and source.is_float and not dtype.is_float:
            return trunc(value)
        return value

    return ctx.try_symbolic(convert, (x,), dtype) or ctx.emit(ops.Cast(dtype), (x,))


def select(ctx: Lowering, condition: Value, a: Value, b: Value) -> Value:
    """``where(condition, a, b)`` with broadcasting."""
    chosen = chosen_whole(ctx, condition, a, b)
    if chosen is None:
        chosen = ctx.try_symbolic(lambda c, x, y: x if c else y, (condition, a, b), a.type.dtype)
    return chosen or ctx.emit(ops.Select(), (condition, a, b))


def select_rows(ctx: Lowering, condition: Value, a: Value, b: Value) -> Value:
    """``where(condition, a, b)`` with a vector that chooses whole rows of two tensors of one shape."""
    if condition.type.shape[0] != a.type.shape[0]:
        ctx.invalid(f"a condition {condition.type} for the rows of {a.type}")
    mask = ctx.part(ops.Reshape((*condition.type.shape, *(1,) * (a.type.rank - 1))), (condition,), "rows")
    return ctx.emit(ops.Select(), (mask, a, b))


def chosen_whole(ctx: Lowering, condition: Value, a: Value, b: Value) -> Value | None:
    """Return one of two tensors of one type whole, where a single known condition decides, else ``None``."""
    if condition.type.dtype is not DType.BOOL or a.type.dtype is not b.type.dtype:
        ctx.invalid(f"a condition {condition.type} with choices {a.type} and {b.type}")
    if condition.sym is None or condition.sym.ndim != 0 or a.type != b.type:
        return None
    return a if condition.sym.item() else b


def _inner(ctx: Lowering, fn: BinaryFn, a: Value, b: Value, suffix: str) -> Value:
    """A function of two operands that is not the last step, so its node has not the name of the result."""
    found = binary(ctx, fn, a, b)
    if found.node is None:
        return found
    name = f"{ctx.raw.name}/{suffix}"
    return replace(found, name=name, node=replace(found.node, name=name))


def _scalar(ctx: Lowering, value: Value) -> Value:
    known = ctx.try_reshaped(value, ())
    if known is not None:
        return known
    node = ctx.part(ops.Reshape(()), (value,), "scalar")
    return Value(node.type, node.name, node=node)


def _same_types(ctx: Lowering, a: Value, b: Value) -> None:
    if a.type.dtype is not b.type.dtype:
        ctx.invalid(f"the operands have types {a.type} and {b.type}")
