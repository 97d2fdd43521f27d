"""Sine, cosine, error function, signs and powers in plain vector arithmetic, for float32 and float64.

Coefficients are least-squares fits at Chebyshev nodes.  The largest errors, against correctly rounded results:

* sine and cosine: 1 unit in the last place up to 2**20; beyond that float32 is off by less than 1e-7 in all, and
  float64 by 1e-7 up to 2**30, from where on it gives NaN.
* erf: 2 units for float32, 3e-15 for float64.
* powers: 1 unit for float32; for float64 as many units as ``4 |y log x|``, and whole powers of whole numbers are exact
  up to 2**44.
"""

from __future__ import annotations

import math

from llvmlite import ir

from smalti.kernels.elementwise.mathfn import clamp, exp, log, madd, magnitude
from smalti.kernels.values import bits_type, element_of, like, number
from smalti.llvm.builder import F32, F64, I64, Fn

_QUARTER = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)
"""Half of pi in three pieces; the first two have 33 bits, so that whole multiples up to 2**20 are exact."""
_TURN_BITS = (0, 0x28BE60DB9391054A, 0x7F09D5F47D4D3770, 0x36D8A5664F10E410)
"""The bits of ``1 / (2 pi)`` behind the point, after a word of zeros."""
_EXACT_QUARTERS = 2.0**20
_LARGEST = 2.0**30
_ROUNDER = 1.5 * 2.0**52

_ERF_NEAR_32 = (
    -9.673590284364764e-06,
    0.00011268253729213029,
    -0.0008484396385028958,
    0.005221053492277861,
    -0.026865437626838684,
    0.11283782869577408,
    -0.37612637877464294,
    0.12837916612625122,
)
_ERF_FAR_32 = (
    6.582857281500765e-08,
    -3.095204419878428e-06,
    6.0068792663514614e-05,
    -0.0006733375485055149,
    0.00502104451879859,
    -0.026999497786164284,
    0.1109074205160141,
    0.6310888528823853,
    1.1306045055389404,
    -0.0004005004884675145,
)
_ERF_NEAR_64 = (
    -3.621994793904957e-10,
    1.9591699112485904e-09,
    -5.0893142757539526e-09,
    1.8331203765175222e-08,
    -1.6371622263609146e-07,
    1.6429743961317586e-06,
    -1.4922015273634983e-05,
    0.00012055120980023626,
    -0.0008548319498438751,
    0.0052239774595221385,
    -0.026866170623227867,
    0.11283791670797992,
    -0.3761263890317877,
    0.12837916709551211,
)
_ERF_FAR_64 = (
    2.5288109106536442e-08,
    9.35133201335462e-09,
    -1.6015802434139745e-07,
    -1.3203817385053523e-08,
    3.827460680395568e-07,
    -8.215342737084478e-09,
    -3.963120849040009e-07,
    -3.894817435852673e-07,
    1.3676864333743306e-06,
    -1.933104952772758e-06,
    3.173738540278276e-06,
    -4.544142730594873e-06,
    1.5631224955821415e-06,
    1.8460531969076126e-05,
    -9.091846310276597e-05,
    0.0003078246009568742,
    -0.0008935747457495506,
    0.002373996236273369,
    -0.00595370452851877,
    0.014384548448806883,
    -0.03412841108295744,
    0.08165090971121107,
    6.04220659213895,
    18.16524897091311,
    14.112437402148181,
)


def sin(fn: Fn, x: ir.Value) -> ir.Value:
    """Return the sine of an angle in radians."""
    return _circular(fn, x, 0)


def cos(fn: Fn, x: ir.Value) -> ir.Value:
    """Return the cosine of an angle in radians."""
    return _circular(fn, x, 1)


def erf(fn: Fn, x: ir.Value) -> ir.Value:
    """Return the error function: ``x + x P(x^2)`` up to 1, ``1 - e^-Q(x)`` beyond."""
    b, type = fn.b, x.type
    single = element_of(type) == F32
    near, far = (_ERF_NEAR_32, _ERF_FAR_32) if single else (_ERF_NEAR_64, _ERF_FAR_64)
    a = magnitude(fn, x)
    inner = clamp(fn, a, None, 1.0)
    small = madd(fn, inner, _polynomial(fn, b.fmul(inner, inner), near), inner)
    outer = clamp(fn, a, 1.0, 4.0 if single else 6.0)
    if not single:
        outer = b.fmul(b.fsub(outer, number(type, 3.5)), number(type, 0.4))
    large = b.fsub(number(type, 1.0), exp(fn, b.fneg(_polynomial(fn, outer, far))))
    result = b.select(b.fcmp_ordered("<", a, number(type, 1.0)), small, large)
    result = fn.intrinsic("llvm.copysign", type, result, x)
    return b.select(b.fcmp_unordered("uno", x, x), x, result)


def sign(fn: Fn, x: ir.Value) -> ir.Value:
    """Return -1, 0 or 1; NaN stays."""
    b, zero = fn.b, number(x.type, 0.0)
    below = b.select(b.fcmp_ordered("<", x, zero), number(x.type, -1.0), x)
    return b.select(b.fcmp_ordered(">", x, zero), number(x.type, 1.0), below)


def integer_sign(fn: Fn, x: ir.Value, signed: bool) -> ir.Value:
    """Return -1, 0 or 1."""
    b, zero, one = fn.b, number(x.type, 0), number(x.type, 1)
    above = b.select(b.icmp_signed("!=", x, zero), one, zero)
    return b.select(b.icmp_signed("<", x, zero), number(x.type, -1), above) if signed else above


def power(fn: Fn, x: ir.Value, y: ir.Value) -> ir.Value:
    """Return ``x`` to the power ``y``, with the special cases of C."""
    if element_of(x.type) == F32:
        wide = like(x.type, F64)
        return fn.b.fptrunc(_power(fn, fn.b.fpext(x, wide), fn.b.fpext(y, wide), exact=False), x.type)
    return _power(fn, x, y, exact=True)


def integer_power(fn: Fn, x: ir.Value, y: ir.Value, signed: bool) -> ir.Value:
    """Return ``x`` to the power ``y``, which wraps; of a negative ``y`` the integer part."""
    b, type = fn.b, x.type
    zero, one = number(type, 0), number(type, 1)

    def step(position: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        result, square, rest = values
        odd = b.icmp_signed("!=", b.and_(rest, one), zero)
        return [b.select(odd, b.mul(result, square), result), b.mul(square, square), b.lshr(rest, one)]

    result: ir.Value = fn.loop_carry(0, element_of(type).width, 1, [one, x, y], step)[0]
    b = fn.b
    if not signed:
        return result
    minus = number(type, -1)
    odd = b.icmp_signed("!=", b.and_(y, one), zero)
    whole = b.select(b.and_(b.icmp_signed("==", x, minus), odd), minus, one)
    unit = b.or_(b.icmp_signed("==", x, minus), b.icmp_signed("==", x, one))
    return b.select(b.icmp_signed("<", y, zero), b.select(unit, whole, zero), result)


def shift(fn: Fn, x: ir.Value, y: ir.Value, signed: bool, left: bool) -> ir.Value:
    """Return ``x`` with its bits moved by ``y``; a negative or too large ``y`` leaves nothing but the sign."""
    b, type = fn.b, x.type
    bits = element_of(type).width
    inside = b.icmp_unsigned("<", y, number(type, bits))
    amount = b.select(inside, y, number(type, bits - 1))
    if signed and not left:
        return b.ashr(x, amount)
    moved = (b.shl if left else b.lshr)(x, amount)
    return b.select(inside, moved, number(type, 0))


def _polynomial(fn: Fn, x: ir.Value, coefficients: tuple[float, ...]) -> ir.Value:
    total: ir.Value = number(x.type, coefficients[0])
    for c in coefficients[1:]:
        total = madd(fn, total, x, number(x.type, c))
    return total


def _circular(fn: Fn, x: ir.Value, quarters: int) -> ir.Value:
    """Return the sine of ``x`` plus a number of quarter turns; float32 is computed in float64."""
    b, single = fn.b, element_of(x.type) == F32
    v = b.fpext(x, like(x.type, F64)) if single else x
    quadrant, rest = _by_pieces(fn, v)
    if single:
        large_quadrant, large_rest = _by_bits(fn, x)
        large = b.fcmp_ordered(">", magnitude(fn, v), number(v.type, _EXACT_QUARTERS))
        quadrant, rest = b.select(large, large_quadrant, quadrant), b.select(large, large_rest, rest)
    if quarters:
        quadrant = b.add(quadrant, number(quadrant.type, quarters))
    square = b.fmul(rest, rest)
    sines = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(8, 0, -1))
    cosines = tuple((-1) ** k / math.factorial(2 * k) for k in range(8, 0, -1))
    sine = madd(fn, b.fmul(rest, square), _polynomial(fn, square, sines), rest)
    cosine = madd(fn, square, _polynomial(fn, square, cosines), number(v.type, 1.0))
    ints = quadrant.type
    odd = b.icmp_signed("!=", b.and_(quadrant, number(ints, 1)), number(ints, 0))
    turned = b.icmp_signed("!=", b.and_(quadrant, number(ints, 2)), number(ints, 0))
    result = b.select(odd, cosine, sine)
    result = b.select(turned, b.fneg(result), result)
    limit = number(v.type, math.inf if single else _LARGEST)
    result = b.select(b.fcmp_ordered("<", magnitude(fn, v), limit), result, number(v.type, math.nan))
    return b.fptrunc(result, x.type) if single else result


def _by_pieces(fn: Fn, v: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return the nearest number of quarter turns (its low bits count) and what is left, by subtraction."""
    b, rounder = fn.b, number(v.type, _ROUNDER)
    shifted = b.fadd(b.fmul(v, number(v.type, 2 / math.pi)), rounder)
    whole = b.fneg(b.fsub(shifted, rounder))
    rest = v
    for piece in _QUARTER:
        rest = madd(fn, whole, number(v.type, piece), rest)
    return b.bitcast(shifted, bits_type(v.type)), rest


def _by_bits(fn: Fn, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return the same for a large float32: its 24 bits times the 64 bits of ``1 / (2 pi)`` that count for it."""
    b, wide = fn.b, like(x.type, I64)
    bits = b.zext(b.bitcast(magnitude(fn, x), bits_type(x.type)), wide)
    mantissa = b.or_(b.and_(bits, number(wide, (1 << 23) - 1)), number(wide, 1 << 23))
    # x = mantissa * 2^(exponent - 150); the table begins 64 bits before the point.
    place = b.sub(b.lshr(bits, number(wide, 23)), number(wide, 150 - 64))
    word, offset = b.ashr(place, number(wide, 6)), b.and_(place, number(wide, 63))
    high, low = number(wide, _TURN_BITS[0]), number(wide, _TURN_BITS[1])
    for i in (1, 2):
        here = b.icmp_signed("==", word, number(wide, i))
        high = b.select(here, number(wide, _TURN_BITS[i]), high)
        low = b.select(here, number(wide, _TURN_BITS[i + 1]), low)
    carried = b.lshr(b.lshr(low, number(wide, 1)), b.sub(number(wide, 63), offset))
    turns = b.mul(mantissa, b.or_(b.shl(high, offset), carried))
    negative = b.fcmp_ordered("<", x, number(x.type, 0.0))
    turns = b.select(negative, b.sub(number(wide, 0), turns), turns)
    quadrant = b.lshr(b.add(turns, number(wide, 1 << 61)), number(wide, 62))
    left = b.sub(turns, b.shl(quadrant, number(wide, 62)))
    rest = b.fmul(b.sitofp(left, like(x.type, F64)), number(like(x.type, F64), 2 * math.pi * 2.0**-64))
    return quadrant, rest


def _power(fn: Fn, x: ir.Value, y: ir.Value, *, exact: bool) -> ir.Value:
    b, type = fn.b, x.type
    zero, one, infinity = (number(type, v) for v in (0.0, 1.0, math.inf))
    a = magnitude(fn, x)
    result = exp(fn, b.fmul(y, log(fn, a)))

    def is_whole(value: ir.Value) -> ir.Value:
        return b.fcmp_ordered("==", fn.intrinsic("llvm.nearbyint", type, value), value)

    whole = is_whole(y)
    if exact:
        # The product of rounded logarithms is a few units off, which a conversion to an integer would show.
        safe = b.and_(b.and_(whole, is_whole(a)), b.fcmp_ordered("<", result, number(type, 2.0**44)))
        safe = b.and_(safe, b.fcmp_ordered(">=", y, zero))
        result = b.select(safe, fn.intrinsic("llvm.nearbyint", type, result), result)
    result = b.select(b.and_(b.fcmp_ordered("==", a, one), b.fcmp_ordered("==", y, y)), one, result)
    odd = b.and_(whole, b.fcmp_unordered("!=", *_halves(fn, y)))
    ints = bits_type(type)
    negative = b.icmp_signed("<", b.bitcast(x, ints), number(ints, 0))
    result = b.select(b.and_(negative, odd), b.fneg(result), result)
    within = b.and_(b.fcmp_ordered("<", x, zero), b.fcmp_ordered("<", a, infinity))
    result = b.select(b.and_(within, b.xor(whole, number(whole.type, 1))), number(type, math.nan), result)
    trivial = b.or_(b.fcmp_ordered("==", y, zero), b.fcmp_ordered("==", x, one))
    return b.select(trivial, one, result)


def _halves(fn: Fn, y: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return half of ``y`` and that, rounded: they are equal for even numbers and infinities."""
    half = fn.b.fmul(y, number(y.type, 0.5))
    return half, fn.intrinsic("llvm.nearbyint", y.type, half)
