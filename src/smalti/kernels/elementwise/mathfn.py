"""Exponential, logarithm and their relatives in plain vector arithmetic, for float32 and float64.

Range reduction and series are the textbook ones (Muller, Elementary Functions, chapters 4 and 11); errors stay within
2 units in the last place, subnormal results included.  No call into a mathematics library is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from llvmlite import ir

from smalti.kernels.values import bits_type, element_of, is_float_type, number
from smalti.llvm.builder import F32, Fn


@dataclass(frozen=True, slots=True)
class _Format:
    mantissa: int
    bias: int
    shift_bits: int
    """Bits of ``1.5 * 2 ** mantissa``: adding it rounds to an integer, which then stands in the low bits."""
    exp_low: float
    exp_high: float
    ln2_high: float
    ln2_low: float
    exp_terms: int
    log_terms: int
    sqrt_half_bits: int


_F32 = _Format(23, 127, 0x4B400000, -104.0, 89.0, 0.693359375, -2.12194440054690583e-4, 7, 6, 0x3F3504F3)
_F64 = _Format(
    52, 1023, 0x4338000000000000, -746.0, 710.0, 0.693145751953125, 1.42860682030941723e-6, 13, 12, 0x3FE6A09E667F3BCD
)


def _format(type: ir.Type) -> _Format:
    return _F32 if element_of(type) == F32 else _F64


def madd(fn: Fn, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """Return ``a * b + c``, fused where the target can."""
    return fn.intrinsic("llvm.fmuladd", a.type, a, b, c)


def multiply_add(fn: Fn, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """Return ``a * b + c`` for floats (fused where the target can) and integers."""
    return madd(fn, a, b, c) if is_float_type(a.type) else fn.b.add(fn.b.mul(a, b), c)


def _polynomial(fn: Fn, x: ir.Value, coefficients: list[float]) -> ir.Value:
    """Evaluate; coefficients from the highest power down."""
    total: ir.Value = number(x.type, coefficients[0])
    for c in coefficients[1:]:
        total = madd(fn, total, x, number(x.type, c))
    return total


def clamp(fn: Fn, x: ir.Value, low: float | None, high: float | None) -> ir.Value:
    """Return ``x`` limited to ``[low, high]``; NaN stays NaN."""
    if low is not None:
        limit = number(x.type, low)
        x = fn.b.select(fn.b.fcmp_ordered("<", x, limit), limit, x)
    if high is not None:
        limit = number(x.type, high)
        x = fn.b.select(fn.b.fcmp_ordered(">", x, limit), limit, x)
    return x


def _power_of_two(fn: Fn, exponent: ir.Value, type: ir.Type) -> ir.Value:
    f = _format(type)
    biased = fn.b.add(exponent, number(exponent.type, f.bias))
    return fn.b.bitcast(fn.b.shl(biased, number(exponent.type, f.mantissa)), type)


def _reduce(fn: Fn, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return (n, e^r - 1) with ``x = n ln 2 + r`` and ``|r| <= ln 2 / 2``."""
    f, b, type = _format(x.type), fn.b, x.type
    shift = number(type, 1.5 * 2.0**f.mantissa)
    shifted = b.fadd(b.fmul(x, number(type, math.log2(math.e))), shift)
    whole = b.fsub(shifted, shift)
    n = b.sub(b.bitcast(shifted, bits_type(type)), number(bits_type(type), f.shift_bits))
    r = madd(fn, whole, number(type, -f.ln2_high), x)
    r = madd(fn, whole, number(type, -f.ln2_low), r)
    series = _polynomial(fn, r, [1.0 / math.factorial(k) for k in range(f.exp_terms, 1, -1)])
    return n, madd(fn, b.fmul(r, r), series, r)


def exp(fn: Fn, x: ir.Value) -> ir.Value:
    """Return e to the power ``x``."""
    f, b = _format(x.type), fn.b
    n, small = _reduce(fn, clamp(fn, x, f.exp_low, f.exp_high))
    half = b.ashr(n, number(n.type, 1))
    result = b.fadd(small, number(x.type, 1.0))
    result = b.fmul(result, _power_of_two(fn, half, x.type))
    return b.fmul(result, _power_of_two(fn, b.sub(n, half), x.type))


def expm1(fn: Fn, x: ir.Value) -> ir.Value:
    """Return ``e ** x - 1`` without cancellation, for ``x`` up to 80."""
    b = fn.b
    n, small = _reduce(fn, clamp(fn, x, -40.0, 80.0))
    scale = _power_of_two(fn, n, x.type)
    # Adding the zero that n = 0 gives would turn -0 into +0.
    result = madd(fn, small, scale, b.fsub(scale, number(x.type, 1.0)))
    return b.select(b.icmp_signed("==", n, number(n.type, 0)), small, result)


def log(fn: Fn, x: ir.Value) -> ir.Value:
    """Return the natural logarithm."""
    f, b, type = _format(x.type), fn.b, x.type
    ints = bits_type(type)
    tiny = b.fcmp_ordered("<", x, number(type, 2.0 ** (1 - f.bias)))
    scaled = b.select(tiny, b.fmul(x, number(type, 2.0**f.mantissa)), x)
    bits = b.bitcast(scaled, ints)
    k = b.ashr(b.sub(bits, number(ints, f.sqrt_half_bits)), number(ints, f.mantissa))
    m = b.bitcast(b.sub(bits, b.shl(k, number(ints, f.mantissa))), type)
    k = b.sub(k, b.select(tiny, number(ints, f.mantissa), number(ints, 0)))
    exponent = b.sitofp(k, type)
    rest = b.fsub(m, number(type, 1.0))
    s = b.fdiv(rest, b.fadd(rest, number(type, 2.0)))
    z = b.fmul(s, s)
    series = b.fmul(z, _polynomial(fn, z, [2.0 / (2 * i + 1) for i in range(f.log_terms, 0, -1)]))
    square = b.fmul(b.fmul(rest, rest), number(type, 0.5))
    low = madd(fn, exponent, number(type, f.ln2_low), b.fmul(s, b.fadd(square, series)))
    result = b.fadd(b.fmul(exponent, number(type, f.ln2_high)), b.fsub(rest, b.fsub(square, low)))
    infinity = number(type, math.inf)
    result = b.select(b.fcmp_ordered("==", x, infinity), infinity, result)
    result = b.select(b.fcmp_ordered("==", x, number(type, 0.0)), number(type, -math.inf), result)
    invalid = b.fcmp_unordered("<", x, number(type, 0.0))
    return b.select(invalid, number(type, math.nan), result)


def magnitude(fn: Fn, x: ir.Value) -> ir.Value:
    """Return ``|x|``."""
    return fn.intrinsic("llvm.fabs", x.type, x)


def tanh(fn: Fn, x: ir.Value) -> ir.Value:
    """Return the hyperbolic tangent."""
    b = fn.b
    a = clamp(fn, magnitude(fn, x), None, 20.0)
    power = expm1(fn, b.fadd(a, a))
    result = b.fdiv(power, b.fadd(power, number(x.type, 2.0)))
    return fn.intrinsic("llvm.copysign", x.type, result, x)


def sigmoid(fn: Fn, x: ir.Value) -> ir.Value:
    """Return ``1 / (1 + e ** -x)``, off by less than 1.5 units in the last place (1 with fused multiply-add).

    With ``p = e ** -|x|`` as a sum of two floats, the quotient is corrected once by what its rounded parts leave over.
    """
    f, b, one = _format(x.type), fn.b, number(x.type, 1.0)
    n, small = _reduce(fn, clamp(fn, b.fneg(magnitude(fn, x)), f.exp_low, None))
    half = b.ashr(n, number(n.type, 1))
    scales = (_power_of_two(fn, half, x.type), _power_of_two(fn, b.sub(n, half), x.type))
    high = b.fadd(small, one)
    low = b.fsub(small, b.fsub(high, one))
    high, low = (b.fmul(b.fmul(part, scales[0]), scales[1]) for part in (high, low))
    below = b.fadd(high, one)
    below_low = b.fadd(b.fsub(high, b.fsub(below, one)), low)
    negative = b.fcmp_ordered("<", x, number(x.type, 0.0))
    above, above_low = b.select(negative, high, one), b.select(negative, low, number(x.type, 0.0))
    quotient = b.fdiv(above, below)
    rest = b.fadd(madd(fn, b.fneg(quotient), below, above), madd(fn, b.fneg(quotient), below_low, above_low))
    return madd(fn, rest, b.fdiv(one, below), quotient)


def fmod(fn: Fn, x: ir.Value, y: ir.Value) -> ir.Value:
    """Return C's ``fmod`` of two scalars: exact, by division of the mantissas."""
    f, b, type = _format(x.type), fn.b, x.type
    ints = bits_type(type)
    wide = ir.IntType(64)
    bits = [
        b.zext(b.bitcast(magnitude(fn, v), ints), wide) if ints != wide else b.bitcast(magnitude(fn, v), ints)
        for v in (x, y)
    ]
    hidden = 1 << f.mantissa
    exponents, mantissas = [], []
    for value in bits:
        exponent = b.lshr(value, fn.i64(f.mantissa))
        fraction = b.and_(value, fn.i64(hidden - 1))
        normal = b.icmp_unsigned("!=", exponent, fn.i64(0))
        mantissas.append(b.select(normal, b.or_(fraction, fn.i64(hidden)), fraction))
        exponents.append(b.select(normal, exponent, fn.i64(1)))
    divisor = b.select(b.icmp_unsigned("==", mantissas[1], fn.i64(0)), fn.i64(1), mantissas[1])
    distance = fn.maximum(fn.sub(exponents[0], exponents[1]), 0)
    step = 63 - f.mantissa

    def shift(index: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        amount = fn.minimum(step, fn.sub(distance, index))
        return [b.urem(b.shl(values[0], fn.i64(amount)), divisor)]

    (rest,) = fn.loop_carry(0, distance, step, [b.urem(mantissas[0], divisor)], shift)
    b = fn.b
    value = b.fmul(b.uitofp(rest, type), number(type, 2.0**-f.mantissa))
    exponent = b.sub(exponents[1], fn.i64(f.bias))
    narrow = b.trunc(exponent, ints) if ints != wide else exponent
    value = b.fmul(value, _power_of_two(fn, narrow, type))
    a, c = magnitude(fn, x), magnitude(fn, y)
    value = b.select(b.fcmp_ordered("<", a, c), a, value)
    infinity, zero = number(type, math.inf), number(type, 0.0)
    invalid = b.or_(b.fcmp_unordered("==", c, zero), b.fcmp_unordered("==", a, infinity))
    value = b.select(invalid, number(type, math.nan), value)
    return fn.intrinsic("llvm.copysign", type, value, x)
