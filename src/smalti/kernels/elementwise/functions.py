"""Each elementwise function on register values of one element type."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.kernels.elementwise import mathfn
from smalti.kernels.values import combine_values, is_float_type, is_signed, number, register_type
from smalti.llvm.builder import I32, I64, Fn, lanes_of, vector
from smalti.numerics import DType

_TRANSCENDENTAL: dict[UnaryFn, Callable[[Fn, ir.Value], ir.Value]] = {
    UnaryFn.EXP: mathfn.exp,
    UnaryFn.LOG: mathfn.log,
    UnaryFn.TANH: mathfn.tanh,
    UnaryFn.SIGMOID: mathfn.sigmoid,
}
_ROUNDING = {UnaryFn.FLOOR: "llvm.floor", UnaryFn.CEIL: "llvm.ceil", UnaryFn.ROUND: "llvm.nearbyint"}
_INTEGER_UNARY = frozenset((UnaryFn.NEG, UnaryFn.ABS, UnaryFn.SQUARE, UnaryFn.RELU, UnaryFn.RELU6, *_ROUNDING))
_RELATIONS = {
    BinaryFn.EQUAL: "==",
    BinaryFn.NOT_EQUAL: "!=",
    BinaryFn.LESS: "<",
    BinaryFn.LESS_EQUAL: "<=",
    BinaryFn.GREATER: ">",
    BinaryFn.GREATER_EQUAL: ">=",
}


def supports_unary(fn: UnaryFn, dtype: DType) -> bool:
    """Whether the function is defined for the element type."""
    if dtype is DType.BOOL:
        return fn is UnaryFn.LOGICAL_NOT
    return fn is not UnaryFn.LOGICAL_NOT if dtype.is_float else fn in _INTEGER_UNARY


def unary_value(fn: Fn, kind: UnaryFn, x: ir.Value, dtype: DType, alpha: float) -> ir.Value:
    """Return ``kind(x)``."""
    if kind is UnaryFn.LOGICAL_NOT:
        return fn.b.not_(x)
    return _float_unary(fn, kind, x, alpha) if is_float_type(x.type) else _integer_unary(fn, kind, x, is_signed(dtype))


def _float_unary(fn: Fn, kind: UnaryFn, x: ir.Value, alpha: float) -> ir.Value:
    b, type = fn.b, x.type
    zero, one = number(type, 0.0), number(type, 1.0)
    if kind in _TRANSCENDENTAL:
        return _TRANSCENDENTAL[kind](fn, x)
    if kind in _ROUNDING:
        return fn.intrinsic(_ROUNDING[kind], type, x)
    match kind:
        case UnaryFn.NEG:
            return b.fneg(x)
        case UnaryFn.ABS:
            return mathfn.magnitude(fn, x)
        case UnaryFn.SQUARE:
            return b.fmul(x, x)
        case UnaryFn.SQRT:
            return fn.intrinsic("llvm.sqrt", type, x)
        case UnaryFn.RSQRT:
            return b.fdiv(one, fn.intrinsic("llvm.sqrt", type, x))
        case UnaryFn.RELU:
            return mathfn.clamp(fn, x, 0.0, None)
        case UnaryFn.RELU6:
            return mathfn.clamp(fn, x, 0.0, 6.0)
        case UnaryFn.LEAKY_RELU:
            return b.select(b.fcmp_ordered(">", x, zero), x, b.fmul(x, number(type, alpha)))
        case UnaryFn.ELU:
            below = mathfn.expm1(fn, mathfn.clamp(fn, x, None, 0.0))
            return b.select(b.fcmp_ordered("<", x, zero), below, x)
    raise CompilerError(f"no code for {kind.value} of floats")


def _integer_unary(fn: Fn, kind: UnaryFn, x: ir.Value, signed: bool) -> ir.Value:
    b, type = fn.b, x.type
    zero = number(type, 0)
    if kind in _ROUNDING:
        return x
    match kind:
        case UnaryFn.NEG:
            return b.sub(zero, x)
        case UnaryFn.ABS:
            return b.select(b.icmp_signed("<", x, zero), b.sub(zero, x), x) if signed else x
        case UnaryFn.SQUARE:
            return b.mul(x, x)
        case UnaryFn.RELU | UnaryFn.RELU6:
            positive = combine_values(fn, "max", x, zero, signed)
            return positive if kind is UnaryFn.RELU else combine_values(fn, "min", positive, number(type, 6), signed)
    raise CompilerError(f"no code for {kind.value} of integers")


def supports_binary(fn: BinaryFn, dtype: DType) -> bool:
    """Whether the function is defined for the element type."""
    logical = fn in (BinaryFn.LOGICAL_AND, BinaryFn.LOGICAL_OR)
    if dtype is DType.BOOL:
        return logical or fn in (BinaryFn.EQUAL, BinaryFn.NOT_EQUAL)
    return not logical


def is_scalar_only(fn: BinaryFn, dtype: DType) -> bool:
    """Whether :func:`binary_value` takes one lane at a time."""
    return fn is BinaryFn.FLOOR_MOD and dtype.is_float


def binary_value(fn: Fn, kind: BinaryFn, a: ir.Value, b: ir.Value, dtype: DType) -> ir.Value:
    """Return ``kind(a, b)``; comparisons give ``i1``."""
    if kind in _RELATIONS:
        return _compare(fn, kind, a, b, dtype)
    if kind is BinaryFn.LOGICAL_AND:
        return fn.b.and_(a, b)
    if kind is BinaryFn.LOGICAL_OR:
        return fn.b.or_(a, b)
    if kind is BinaryFn.MAXIMUM:
        return combine_values(fn, "max", a, b, is_signed(dtype))
    if kind is BinaryFn.MINIMUM:
        return combine_values(fn, "min", a, b, is_signed(dtype))
    return _float_binary(fn, kind, a, b) if is_float_type(a.type) else _integer_binary(fn, kind, a, b, is_signed(dtype))


def _compare(fn: Fn, kind: BinaryFn, a: ir.Value, b: ir.Value, dtype: DType) -> ir.Value:
    relation = _RELATIONS[kind]
    if is_float_type(a.type):
        # NaN is unequal to everything.
        return (fn.b.fcmp_unordered if kind is BinaryFn.NOT_EQUAL else fn.b.fcmp_ordered)(relation, a, b)
    return (fn.b.icmp_signed if is_signed(dtype) else fn.b.icmp_unsigned)(relation, a, b)


def _float_binary(fn: Fn, kind: BinaryFn, a: ir.Value, c: ir.Value) -> ir.Value:
    b = fn.b
    match kind:
        case BinaryFn.ADD:
            return b.fadd(a, c)
        case BinaryFn.SUB:
            return b.fsub(a, c)
        case BinaryFn.MUL:
            return b.fmul(a, c)
        case BinaryFn.DIV:
            return b.fdiv(a, c)
        case BinaryFn.SQUARED_DIFFERENCE:
            difference = b.fsub(a, c)
            return b.fmul(difference, difference)
        case BinaryFn.FLOOR_DIV:
            return fn.intrinsic("llvm.floor", a.type, b.fdiv(a, c))
        case BinaryFn.FLOOR_MOD:
            rest = mathfn.fmod(fn, a, c)
            zero = number(a.type, 0.0)
            signs = fn.b.xor(fn.b.fcmp_ordered("<", c, zero), fn.b.fcmp_ordered("<", rest, zero))
            wrong = fn.b.and_(signs, fn.b.fcmp_unordered("!=", rest, zero))
            return fn.b.select(wrong, fn.b.fadd(rest, c), rest)
    raise CompilerError(f"no code for {kind.value} of floats")


def _integer_binary(fn: Fn, kind: BinaryFn, a: ir.Value, c: ir.Value, signed: bool) -> ir.Value:
    b = fn.b
    match kind:
        case BinaryFn.ADD:
            return b.add(a, c)
        case BinaryFn.SUB:
            return b.sub(a, c)
        case BinaryFn.MUL:
            return b.mul(a, c)
        case BinaryFn.SQUARED_DIFFERENCE:
            difference = b.sub(a, c)
            return b.mul(difference, difference)
        case BinaryFn.DIV | BinaryFn.FLOOR_DIV | BinaryFn.FLOOR_MOD:
            return _divide(fn, kind, a, c, signed)
    raise CompilerError(f"no code for {kind.value} of integers")


def _divide(fn: Fn, kind: BinaryFn, a: ir.Value, c: ir.Value, signed: bool) -> ir.Value:
    """Integer division that never traps: by zero it gives 0, and the lowest integer divided by -1 wraps."""
    b, type = fn.b, a.type
    zero, one, minus = number(type, 0), number(type, 1), number(type, -1)
    by_zero = b.icmp_signed("==", c, zero)
    if not signed:
        safe = b.select(by_zero, one, c)
        result = b.urem(a, safe) if kind is BinaryFn.FLOOR_MOD else b.udiv(a, safe)
        return b.select(by_zero, zero, result)
    by_minus = b.icmp_signed("==", c, minus)
    safe = b.select(b.or_(by_zero, by_minus), one, c)
    quotient, rest = b.sdiv(a, safe), b.srem(a, safe)
    adjust = b.and_(b.icmp_signed("!=", rest, zero), b.icmp_signed("<", b.xor(rest, safe), zero))
    if kind is BinaryFn.FLOOR_MOD:
        # Rest 0 for the divisor -1 follows from the division by 1.
        result = b.select(adjust, b.add(rest, c), rest)
    else:
        rounded = b.select(adjust, b.sub(quotient, one), quotient) if kind is BinaryFn.FLOOR_DIV else quotient
        result = b.select(by_minus, b.sub(zero, a), rounded)
    return b.select(by_zero, zero, result)


def cast_value(fn: Fn, x: ir.Value, source: DType, target: DType) -> ir.Value:
    """Return ``x`` converted as C does it; out of range the result is undefined but nothing traps."""
    b, lanes = fn.b, lanes_of(x)
    wanted = register_type(target, lanes)
    if is_float_type(x.type):
        if target is DType.BOOL:
            return b.fcmp_unordered("!=", x, number(x.type, 0.0))
        if target.is_float:
            return _float_to_float(fn, x, wanted, target)
        # By way of a wide integer, as C compilers for x86 do: no value within it is out of range.
        wide = vector(I64 if target.itemsize == 8 else I32, lanes)
        whole = b.fptosi(x, wide)
        return whole if wide == wanted else b.trunc(whole, wanted)
    if target is DType.BOOL:
        return b.icmp_unsigned("!=", x, number(x.type, 0)) if source is not DType.BOOL else x
    if target.is_float:
        return b.sitofp(x, wanted) if is_signed(source) else b.uitofp(x, wanted)
    from_bits = 1 if source is DType.BOOL else 8 * source.itemsize
    to_bits = 8 * target.itemsize
    if from_bits == to_bits:
        return x
    if from_bits > to_bits:
        return b.trunc(x, wanted)
    return b.sext(x, wanted) if is_signed(source) else b.zext(x, wanted)


def _float_to_float(fn: Fn, x: ir.Value, wanted: ir.Type, target: DType) -> ir.Value:
    if x.type == wanted:
        return x
    return fn.b.fpext(x, wanted) if target is DType.FLOAT64 else fn.b.fptrunc(x, wanted)
