"""Functions of elements with numpy broadcasting, conversions, and choices between tensors."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.frontend.context import Lowering
from smalti.frontend.limits import limit_of_maximum
from smalti.frontend.lower import arithmetic
from smalti.frontend.signals import NeedsLimit
from smalti.frontend.symbolic import trunc
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.numerics import DType

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
        UnaryFn.LEAKY_RELU,
    )
)


def binary(ctx: Lowering, fn: BinaryFn, a: Value, b: Value) -> Value:
    """A function of two operands of one type, which may be sizes.

    Raises:
        NeedsLimit: it is the padding to a crop size, which limits the size of images.
    """
    _same_types(ctx, a, b)
    if fn is BinaryFn.DIV:
        ctx.require_float(a)
    result = ctx.try_symbolic(arithmetic.BINARY[fn], (a, b), DType.BOOL if fn.is_comparison else a.type.dtype)
    if result is None:
        return ctx.emit(ops.Binary(fn), (a, b))
    if fn is BinaryFn.MAXIMUM and result.sym is not None:
        for element in result.sym.ravel().tolist():
            found = limit_of_maximum(element)
            if found is not None:
                raise NeedsLimit(*found)
    return result


def divide(ctx: Lowering, a: Value, b: Value) -> Value:
    """Division of floats, or of integers that are sizes, towards zero."""
    _same_types(ctx, a, b)
    if a.type.dtype.is_float:
        return binary(ctx, BinaryFn.DIV, a, b)
    result = ctx.try_symbolic(arithmetic.truncated_div, (a, b), a.type.dtype)
    return result or ctx.unsupported("division of integers that depend on the pixels")


def unary(ctx: Lowering, fn: UnaryFn, x: Value, alpha: float = 0.0) -> Value:
    """A function of one operand; ``alpha`` is the parameter of those that have one."""
    if fn in _FLOAT_ONLY:
        ctx.require_float(x)
    known = arithmetic.UNARY.get(fn)
    result = ctx.try_symbolic(known, (x,), x.type.dtype) if known else None
    return result or ctx.emit(ops.Unary(fn, alpha), (x,))


def clip(ctx: Lowering, x: Value, low: Value, high: Value) -> Value:
    """``max(min(x, high), low)``."""
    upper = ctx.part(ops.Binary(BinaryFn.MINIMUM), (x, high), "min")
    return ctx.emit(ops.Binary(BinaryFn.MAXIMUM), (upper, low))


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


def _same_types(ctx: Lowering, a: Value, b: Value) -> None:
    if a.type.dtype is not b.type.dtype:
        ctx.invalid(f"the operands have types {a.type} and {b.type}")
