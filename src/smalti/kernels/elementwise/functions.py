"""Each elementwise function on register values of one element type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.kernels.elementwise import mathfn, special
from smalti.kernels.values import combine_values, is_float_type, is_signed, number, register_type
from smalti.llvm.builder import I32, I64, Fn, lanes_of, vector
from smalti.numerics import DType

OnFloats = Callable[[Fn, ir.Value, float], ir.Value]
OnIntegers = Callable[[Fn, ir.Value, bool], ir.Value]


@dataclass(frozen=True, slots=True)
class Unary:
    """How a function of one operand is computed; ``None`` where it has no meaning.

    ``floats`` get the function's parameter besides the value, ``integers`` whether they have a sign.
    """

    floats: OnFloats | None = None
    integers: OnIntegers | None = None


def _plain(compute: Callable[[Fn, ir.Value], ir.Value]) -> OnFloats:
    return lambda fn, x, alpha: compute(fn, x)


def _rounding(name: str) -> Unary:
    return Unary(lambda fn, x, alpha: fn.intrinsic(name, x.type, x), lambda fn, x, signed: x)


def _clip(low: int, high: int | None) -> Unary:
    def floats(fn: Fn, x: ir.Value, alpha: float) -> ir.Value:
        return mathfn.clamp(fn, x, float(low), None if high is None else float(high))

    def integers(fn: Fn, x: ir.Value, signed: bool) -> ir.Value:
        above = combine_values(fn, "max", x, number(x.type, low), signed)
        return above if high is None else combine_values(fn, "min", above, number(x.type, high), signed)

    return Unary(floats, integers)


def _absolute(fn: Fn, x: ir.Value, signed: bool) -> ir.Value:
    zero = number(x.type, 0)
    return fn.b.select(fn.b.icmp_signed("<", x, zero), fn.b.sub(zero, x), x) if signed else x


def _root(fn: Fn, x: ir.Value) -> ir.Value:
    return fn.intrinsic("llvm.sqrt", x.type, x)


def _leaky_relu(fn: Fn, x: ir.Value, alpha: float) -> ir.Value:
    positive = fn.b.fcmp_ordered(">", x, number(x.type, 0.0))
    return fn.b.select(positive, x, fn.b.fmul(x, number(x.type, alpha)))


def _elu(fn: Fn, x: ir.Value) -> ir.Value:
    below = mathfn.expm1(fn, mathfn.clamp(fn, x, None, 0.0))
    return fn.b.select(fn.b.fcmp_ordered("<", x, number(x.type, 0.0)), below, x)


def _silu(fn: Fn, x: ir.Value) -> ir.Value:
    b = fn.b
    # The root of e ** -|x|, twice: the power itself loses its last places long before the result does.
    root = mathfn.exp(fn, b.fmul(mathfn.magnitude(fn, x), number(x.type, -0.5)))
    above = b.select(b.fcmp_ordered("<", x, number(x.type, 0.0)), b.fmul(b.fmul(x, root), root), x)
    return b.fdiv(above, mathfn.madd(fn, root, root, number(x.type, 1.0)))


def _softplus(fn: Fn, x: ir.Value) -> ir.Value:
    b, one = fn.b, number(x.type, 1.0)
    power = mathfn.exp(fn, b.fneg(mathfn.magnitude(fn, x)))
    sum_ = b.fadd(power, one)
    # log(1 + p) loses what the sum rounds off; the factor gives it back (Kahan).
    below = b.fdiv(b.fmul(mathfn.log(fn, sum_), power), b.fsub(sum_, one))
    below = b.select(b.fcmp_ordered("==", sum_, one), power, below)
    return b.fadd(mathfn.clamp(fn, x, 0.0, None), below)


UNARY: dict[UnaryFn, Unary] = {
    UnaryFn.NEG: Unary(lambda fn, x, alpha: fn.b.fneg(x), lambda fn, x, signed: fn.b.sub(number(x.type, 0), x)),
    UnaryFn.ABS: Unary(_plain(mathfn.magnitude), _absolute),
    UnaryFn.SQUARE: Unary(lambda fn, x, alpha: fn.b.fmul(x, x), lambda fn, x, signed: fn.b.mul(x, x)),
    UnaryFn.SQRT: Unary(_plain(_root)),
    UnaryFn.RSQRT: Unary(lambda fn, x, alpha: fn.b.fdiv(number(x.type, 1.0), _root(fn, x))),
    UnaryFn.EXP: Unary(_plain(mathfn.exp)),
    UnaryFn.LOG: Unary(_plain(mathfn.log)),
    UnaryFn.FLOOR: _rounding("llvm.floor"),
    UnaryFn.CEIL: _rounding("llvm.ceil"),
    UnaryFn.ROUND: _rounding("llvm.nearbyint"),
    UnaryFn.RELU: _clip(0, None),
    UnaryFn.RELU6: _clip(0, 6),
    UnaryFn.LEAKY_RELU: Unary(_leaky_relu),
    UnaryFn.ELU: Unary(_plain(_elu)),
    UnaryFn.SIGMOID: Unary(_plain(mathfn.sigmoid)),
    UnaryFn.SILU: Unary(_plain(_silu)),
    UnaryFn.SOFTPLUS: Unary(_plain(_softplus)),
    UnaryFn.TANH: Unary(_plain(mathfn.tanh)),
    UnaryFn.ERF: Unary(_plain(special.erf)),
    UnaryFn.SIN: Unary(_plain(special.sin)),
    UnaryFn.COS: Unary(_plain(special.cos)),
    UnaryFn.SIGN: Unary(_plain(special.sign), special.integer_sign),
    UnaryFn.LOGICAL_NOT: Unary(),
}
"""The one table of functions of one operand: for elementwise nodes and, as fused activations, behind every kernel."""

_RELATIONS = {
    BinaryFn.EQUAL: "==",
    BinaryFn.NOT_EQUAL: "!=",
    BinaryFn.LESS: "<",
    BinaryFn.LESS_EQUAL: "<=",
    BinaryFn.GREATER: ">",
    BinaryFn.GREATER_EQUAL: ">=",
}
_OF_BOOLS = frozenset((BinaryFn.LOGICAL_AND, BinaryFn.LOGICAL_OR, BinaryFn.EQUAL, BinaryFn.NOT_EQUAL))
_OF_NUMBERS = frozenset(
    (
        *_RELATIONS,
        BinaryFn.ADD,
        BinaryFn.SUB,
        BinaryFn.MUL,
        BinaryFn.DIV,
        BinaryFn.FLOOR_DIV,
        BinaryFn.FLOOR_MOD,
        BinaryFn.MAXIMUM,
        BinaryFn.MINIMUM,
        BinaryFn.SQUARED_DIFFERENCE,
        BinaryFn.POW,
    )
)
_OF_BITS = frozenset(
    (
        BinaryFn.BITWISE_AND,
        BinaryFn.BITWISE_OR,
        BinaryFn.BITWISE_XOR,
        BinaryFn.SHIFT_LEFT,
        BinaryFn.SHIFT_RIGHT,
    )
)
BINARY = _OF_BOOLS | _OF_NUMBERS | _OF_BITS
"""The functions of two operands that have code for some element type."""


def supports_unary(kind: UnaryFn, dtype: DType) -> bool:
    """Whether the function is defined for the element type."""
    known = UNARY.get(kind)
    if known is None or dtype is DType.BOOL:
        return known is not None and kind is UnaryFn.LOGICAL_NOT
    return (known.floats if dtype.is_float else known.integers) is not None


def unary_value(fn: Fn, kind: UnaryFn, x: ir.Value, dtype: DType, alpha: float) -> ir.Value:
    """Return ``kind(x)``.

    Raises:
        CompilerError: the table does not say how.
    """
    known = UNARY.get(kind, Unary())
    if kind is UnaryFn.LOGICAL_NOT:
        return fn.b.not_(x)
    if is_float_type(x.type) and known.floats is not None:
        return known.floats(fn, x, alpha)
    if not is_float_type(x.type) and known.integers is not None:
        return known.integers(fn, x, is_signed(dtype))
    raise CompilerError(f"no code for {kind.value} of {x.type}")


def supports_binary(fn: BinaryFn, dtype: DType) -> bool:
    """Whether the function is defined for the element type."""
    if dtype is DType.BOOL:
        return fn in _OF_BOOLS
    return fn in _OF_NUMBERS or (fn in _OF_BITS and dtype.is_integer)


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
        case BinaryFn.POW:
            return special.power(fn, a, c)
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
        case BinaryFn.POW:
            return special.integer_power(fn, a, c, signed)
        case BinaryFn.BITWISE_AND:
            return b.and_(a, c)
        case BinaryFn.BITWISE_OR:
            return b.or_(a, c)
        case BinaryFn.BITWISE_XOR:
            return b.xor(a, c)
        case BinaryFn.SHIFT_LEFT | BinaryFn.SHIFT_RIGHT:
            return special.shift(fn, a, c, signed, kind is BinaryFn.SHIFT_LEFT)
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
        if target is DType.UINT64:
            return b.fptoui(x, wanted)
        # By way of a wide integer, as C compilers for x86 do: no value within it is out of range.
        wide = vector(I64 if target.itemsize == 8 or target is DType.UINT32 else I32, lanes)
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
