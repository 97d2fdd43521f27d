"""Operations as they were up to opset 6: an attribute says whether, and from which axis on, the second is broadcast."""

from __future__ import annotations

from smalti.frontend.lower import activations, elementwise, powers, products
from smalti.frontend.lower.checks import Size
from smalti.frontend.onnx.ops.logic import LOGIC, RELATIONS
from smalti.frontend.onnx.ops.math import ARITHMETIC
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.table import Handled
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.graph import TensorType
from smalti.ir.shapes import broadcast
from smalti.numerics import DType

_CHANNELS = 1


@onnx_op(*ARITHMETIC, inputs=2, since=(6,))
def arithmetic_of_old(ctx: Context) -> Handled:
    """Sums, differences and products; the second operand is broadcast where attributes say so."""
    a, b = _operands(ctx)
    return elementwise.binary(ctx, ARITHMETIC[ctx.op], a, b)


@onnx_op("Div", inputs=2, since=(6,), note="integers towards zero; an integer divided by zero gives 0")
def divide_of_old(ctx: Context) -> Handled:
    """Quotients; the second operand is broadcast where attributes say so."""
    a, b = _operands(ctx)
    return elementwise.divide(ctx, a, b)


@onnx_op("Pow", inputs=2, since=(1,))
def power_of_old(ctx: Context) -> Handled:
    """Powers; the second operand is broadcast where attributes say so."""
    a, b = _operands(ctx)
    return powers.power(ctx, a, b)


@onnx_op(*RELATIONS, *LOGIC, inputs=2, since=(1,))
def binary_of_old(ctx: Context) -> Handled:
    """Comparisons and logic; the second operand is broadcast where attributes say so."""
    a, b = _operands(ctx)
    if ctx.op in LOGIC and a.type.dtype is not DType.BOOL:
        ctx.invalid(f"takes bool, not {a.type}")
    return elementwise.binary(ctx, (LOGIC if ctx.op in LOGIC else RELATIONS)[ctx.op], a, b)


@onnx_op("PRelu", inputs=2, since=(6,))
def prelu_of_old(ctx: Context) -> Handled:
    """``x`` where not negative, else ``x`` times one slope, or times that of its channel."""
    x, slope = ctx.value(0), ctx.value(1)
    if slope.type.elements == 1:
        slope = _reshaped(ctx, slope, ())
    elif slope.type.rank == 1 and x.type.rank > 1:
        slope = _from_axis(ctx, x, slope, _CHANNELS)
    return activations.prelu(ctx, x, slope)


@onnx_op("Gemm", inputs=3, since=(6,))
def gemm_of_old(ctx: Context) -> Handled:
    """``alpha * A @ B + beta * C``, either matrix transposed; ``C`` is broadcast where an attribute says so."""
    alpha, beta = ctx.attrs.number("alpha", 1.0), ctx.attrs.number("beta", 1.0)
    transpose_a, transpose_b = ctx.attrs.flag("transA", False), ctx.attrs.flag("transB", False)
    spread = ctx.attrs.flag("broadcast", False)
    a, b, c = ctx.values()
    found = products.gemm(ctx, a, b, c, alpha=alpha, beta=beta, transpose_a=transpose_a, transpose_b=transpose_b)
    if not spread and c.type.shape != found.type.shape:
        ctx.invalid(f"{c.type} for a product {found.type}, without broadcast=1")
    return found


def _operands(ctx: Context) -> tuple[Value, Value]:
    """Return the operands, the second with a shape that is broadcast to the first as numpy does it."""
    spread = ctx.attrs.flag("broadcast", False)
    axis = ctx.attrs.integer("axis") if "axis" in ctx.attrs else None
    a, b = ctx.value(0), ctx.value(1)
    if not spread:
        if a.type.shape != b.type.shape:
            ctx.invalid(f"operands {a.type} and {b.type} without broadcast=1")
        return a, b
    if axis is not None and b.type.rank:
        b = _from_axis(ctx, a, b, ctx.check_axis(axis, a.type.rank))
    if broadcast(a.type.shape, b.type.shape) != a.type.shape:
        ctx.invalid(f"{b.type} does not broadcast to {a.type}")
    return a, b


def _from_axis(ctx: Context, a: Value, b: Value, axis: int) -> Value:
    """Return the second operand with dimensions of size 1 behind its own, so that these begin at an axis of ``a``."""
    behind = a.type.rank - axis - b.type.rank
    if behind < 0:
        ctx.invalid(f"{b.type} has more dimensions than {a.type} from axis {axis} on")
    return _reshaped(ctx, b, (*b.type.shape, *(1,) * behind))


def _reshaped(ctx: Context, value: Value, sizes: tuple[Size, ...]) -> Value:
    known = tuple(size for size in sizes if isinstance(size, int))
    if value.type.shape == sizes:
        return value
    if value.array is not None and len(known) == len(sizes):
        sym = None if value.sym is None else value.sym.reshape(known)
        type_ = TensorType(value.type.dtype, known)
        return Value(type_, f"{ctx.raw.name}/second", array=value.array.reshape(known), sym=sym)
    node = ctx.part(ops.Reshape(sizes), (value,), "second")
    return Value(node.type, node.name, node=node)
