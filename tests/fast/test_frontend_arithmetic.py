"""Functions of numbers and sizes: exact, and only where they do not depend on the image."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.errors import GraphError
from smalti.frontend.lower import arithmetic
from smalti.frontend.symbolic import NotSymbolic
from smalti.ir.dims import Dim, floor_div, rational, symbol
from smalti.ir.ops import BinaryFn
from smalti.ir.sizes import evaluate

H = symbol("H", 1, 500)
SIZES = st.integers(1, 500)
WHOLE = st.integers(-50, 50)


@given(WHOLE, WHOLE.filter(bool))
def test_division_and_remainder_of_numbers(a: int, b: int) -> None:
    quotient = arithmetic.truncated_div(a, b)
    assert quotient == int(a / b)
    assert arithmetic.remainder(a, b) == a - b * int(a / b)


@given(SIZES, st.sampled_from([-7, -2, -1, 1, 2, 3, 16]), st.sampled_from([-1, 1]))
def test_division_and_remainder_of_sizes(height: int, divisor: int, sign: int) -> None:
    numerator = H * sign
    quotient = arithmetic.truncated_div(numerator, divisor)
    rest = arithmetic.remainder(numerator, divisor)
    assert evaluate(quotient, {"H": height}) == int(height * sign / divisor)
    assert evaluate(rest, {"H": height}) == height * sign - divisor * int(height * sign / divisor)


@given(SIZES, st.integers(0, 3))
def test_powers(height: int, exponent: int) -> None:
    assert evaluate(arithmetic.power(H, exponent), {"H": height}) == height**exponent
    assert arithmetic.power(height, exponent) == height**exponent


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (Fraction(1, 2), 0),
        (Fraction(3, 2), 2),
        (Fraction(5, 2), 2),
        (Fraction(-1, 2), 0),
        (Fraction(-3, 2), -2),
        (Fraction(7, 4), 2),
        (Fraction(3), 3),
    ],
)
def test_halves_are_rounded_to_even(value: Fraction, want: int) -> None:
    assert arithmetic.rounded(rational(value)) == want


def test_whole_sizes_are_rounded_already() -> None:
    assert arithmetic.rounded(floor_div(H, 2)) == floor_div(H, 2)


def test_signs() -> None:
    assert [arithmetic.sign(v) for v in (5, 0, -5, H, -H, rational(Fraction(-1, 4)))] == [1, 0, -1, 1, -1, -1]


@pytest.mark.parametrize(
    "call",
    [
        lambda: arithmetic.truncated_div(H - 9, 2),
        lambda: arithmetic.remainder(H - 9, 2),
        lambda: arithmetic.sign(H - 9),
        lambda: arithmetic.rounded(half_of(H)),
        lambda: arithmetic.power(2, H),
        lambda: arithmetic.power(2, -1),
        lambda: arithmetic.power(2, 65),
        lambda: arithmetic.BINARY[BinaryFn.BITWISE_AND](H, 1),
    ],
)
def test_what_depends_on_the_image_is_left_to_it(call: Callable[[], object]) -> None:
    with pytest.raises(NotSymbolic):
        call()


def test_division_by_zero_is_an_error() -> None:
    for fn in (arithmetic.truncated_div, arithmetic.remainder):
        with pytest.raises(GraphError, match="division by zero"):
            fn(H, 0)


def half_of(size: int | Dim) -> int | Dim:
    """Return a size that is no whole number for every image."""
    return size * rational(Fraction(1, 2))
