"""Functions of numbers and sizes, exact: what elementwise operations do to operands that are known now."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

from smalti.errors import GraphError
from smalti.frontend.lower.checks import Size
from smalti.frontend.symbolic import NotSymbolic, constant_of, multiply, sign_is_known
from smalti.ir import dims
from smalti.ir.dims import Dim, maximum, minimum
from smalti.ir.ops import BinaryFn, UnaryFn

MAX_EXPONENT = 64


def floor_div(a: Size, b: Size) -> Size:
    """Return ``a // b``.

    Raises:
        GraphError: ``b`` is zero.
        NotSymbolic: the quotient is no size that can be written down.
    """
    if b == 0:
        raise GraphError("division by zero in the arithmetic of sizes")
    try:
        return dims.floor_div(a, b)
    except GraphError as error:
        raise NotSymbolic from error


def divide(a: Size, b: Size) -> Size:
    """Return ``a / b`` for a number ``b`` that is not zero."""
    divisor = constant_of(b)
    if not divisor:
        raise NotSymbolic
    return multiply(dims.rational(1 / divisor), a)


def truncated_div(a: Size, b: Size) -> Size:
    """Return ``a / b`` rounded towards zero, of integers whose signs are known."""
    quotient = floor_div(a if is_nonnegative(a) else -a, b if is_nonnegative(b) else -b)
    return quotient if is_nonnegative(a) == is_nonnegative(b) else -quotient


def power(a: Size, b: Size) -> Size:
    """Return ``a`` to the power ``b``, a whole number that is neither negative nor large.

    Raises:
        NotSymbolic: it is another.
    """
    exponent = constant_of(b)
    if exponent is None or exponent.denominator != 1 or not 0 <= exponent <= MAX_EXPONENT:
        raise NotSymbolic
    result: Size = 1
    for _ in range(int(exponent)):
        result = multiply(result, a)
    return result


def rounded(a: Size) -> Size:
    """Return the nearest whole number, halves to even, of a number or of a size that is whole anyway."""
    number = constant_of(a)
    if number is not None:
        return round(number)
    if isinstance(a, Dim) and not a.is_integral:
        raise NotSymbolic
    return a


def sign(a: Size) -> int:
    """Return -1, 0 or 1, which must not depend on the image."""
    number = constant_of(a)
    if number is not None:
        return (number > 0) - (number < 0)
    known = [sign_is_known(s) for s in (a, -a)]
    if known == [True, False]:
        return 1
    if known == [False, True]:
        return -1
    raise NotSymbolic


def remainder(a: Size, b: Size) -> Size:
    """Return ``a - b * trunc(a / b)``, which has the sign of ``a``."""
    rest = _floor_rest(a if is_nonnegative(a) else -a, b if is_nonnegative(b) else -b)
    return rest if is_nonnegative(a) else -rest


def whole(fn: Callable[[int, int], int]) -> Callable[[Size, Size], int]:
    """Return a function of the bits of two integers for elements, which must not be sizes."""

    def of(a: Size, b: Size) -> int:
        if not isinstance(a, int) or not isinstance(b, int):
            raise NotSymbolic
        return fn(a, b)

    return of


def _places(amount: int) -> int:
    if not 0 <= amount < MAX_EXPONENT:
        raise NotSymbolic
    return amount


def _floor_rest(a: Size, b: Size) -> Size:
    return a - multiply(floor_div(a, b), b)


def is_nonnegative(value: Size) -> bool:
    """Return whether ``value >= 0``, which must not depend on the image."""
    known = sign_is_known(value)
    if known is None:
        raise NotSymbolic
    return known


def equal(a: object, b: object) -> bool:
    """Return whether two elements are equal, which must not depend on the image."""
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


BINARY: Mapping[BinaryFn, Callable[..., object]] = {
    BinaryFn.ADD: lambda a, b: a + b,
    BinaryFn.SUB: lambda a, b: a - b,
    BinaryFn.MUL: multiply,
    BinaryFn.DIV: divide,
    BinaryFn.FLOOR_DIV: floor_div,
    BinaryFn.FLOOR_MOD: _floor_rest,
    BinaryFn.MAXIMUM: maximum,
    BinaryFn.MINIMUM: minimum,
    BinaryFn.SQUARED_DIFFERENCE: lambda a, b: multiply(a - b, a - b),
    BinaryFn.EQUAL: equal,
    BinaryFn.NOT_EQUAL: lambda a, b: not equal(a, b),
    BinaryFn.LESS: lambda a, b: not is_nonnegative(a - b),
    BinaryFn.LESS_EQUAL: lambda a, b: is_nonnegative(b - a),
    BinaryFn.GREATER: lambda a, b: not is_nonnegative(b - a),
    BinaryFn.GREATER_EQUAL: lambda a, b: is_nonnegative(a - b),
    BinaryFn.LOGICAL_AND: lambda a, b: a and b,
    BinaryFn.LOGICAL_OR: lambda a, b: a or b,
    BinaryFn.POW: power,
    BinaryFn.BITWISE_AND: whole(operator.and_),
    BinaryFn.BITWISE_OR: whole(operator.or_),
    BinaryFn.BITWISE_XOR: whole(operator.xor),
    BinaryFn.SHIFT_LEFT: whole(lambda a, b: operator.lshift(a, _places(b))),
    BinaryFn.SHIFT_RIGHT: whole(lambda a, b: operator.rshift(a, _places(b))),
}
UNARY: Mapping[UnaryFn, Callable[..., object]] = {
    UnaryFn.NEG: lambda a: -a,
    UnaryFn.ABS: lambda a: a if is_nonnegative(a) else -a,
    UnaryFn.SQUARE: lambda a: multiply(a, a),
    UnaryFn.FLOOR: lambda a: dims.floor(a),
    UnaryFn.CEIL: lambda a: -dims.floor(-a),
    UnaryFn.ROUND: rounded,
    UnaryFn.SIGN: sign,
    UnaryFn.RELU: lambda a: maximum(a, 0),
    UnaryFn.LOGICAL_NOT: lambda a: not a,
}
