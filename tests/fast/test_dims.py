"""Symbolic sizes agree with plain integer arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.errors import GraphError
from smalti.ir.dims import (
    Dim,
    bounds,
    ceil_div,
    divide_exact,
    evaluate,
    floor,
    floor_div,
    maximum,
    minimum,
    substitute,
    symbol,
    symbols_of,
)

H, W = symbol("H"), symbol("W")


def expressions() -> st.SearchStrategy[int | Dim]:
    leaves = st.one_of(st.integers(-20, 20), st.sampled_from([H, W]))

    def extend(children: st.SearchStrategy[int | Dim]) -> st.SearchStrategy[int | Dim]:
        pair = st.tuples(children, children)
        return st.one_of(
            pair.map(lambda p: p[0] + p[1]),
            pair.map(lambda p: p[0] - p[1]),
            st.tuples(children, st.integers(-4, 4)).map(lambda p: p[0] * p[1]),
            st.tuples(children, st.integers(1, 9)).map(lambda p: floor_div(p[0], p[1])),
            st.tuples(children, st.integers(1, 9)).map(lambda p: p[0] % p[1]),
            pair.map(lambda p: maximum(*p)),
            pair.map(lambda p: minimum(*p)),
        )

    return st.recursive(leaves, extend, max_leaves=8)


@given(expressions(), expressions(), st.integers(1, 700), st.integers(1, 700), st.integers(1, 9))
def test_arithmetic(a: int | Dim, b: int | Dim, h: int, w: int, n: int) -> None:
    env = {"H": h, "W": w}
    x, y = evaluate(a, env), evaluate(b, env)
    assert evaluate(a + b, env) == x + y
    assert evaluate(a - b, env) == x - y
    assert evaluate(floor_div(a, n), env) == x // n
    assert evaluate(a % n, env) == x % n
    assert evaluate(ceil_div(a, n), env) == -(-x // n)
    assert evaluate(maximum(a, b), env) == max(x, y)
    assert evaluate(minimum(a, b), env) == min(x, y)


@given(expressions(), st.integers(1, 700), st.integers(1, 700))
def test_bounds_hold(a: int | Dim, h: int, w: int) -> None:
    low, high = bounds(a)
    value = evaluate(a, {"H": h, "W": w})
    assert low <= value
    assert high is None or value <= high


@given(expressions(), st.integers(1, 700), st.integers(1, 700))
def test_substitute_is_evaluate(a: int | Dim, h: int, w: int) -> None:
    assert substitute(a, {"H": h, "W": w}) == evaluate(a, {"H": h, "W": w})


def test_three_halvings_equal_the_exporters_formula() -> None:
    halved = ceil_div(ceil_div(ceil_div(H, 2), 2), 2)
    assert halved == floor((H - 1) * Fraction(1, 8) + 1)


@pytest.mark.parametrize("block", [2, 4, 6, 12, 18])
def test_space_to_batch_round_trip_gives_the_size_back(block: int) -> None:
    h = ceil_div(H, 8)
    padded = h + 2 * block
    extra = (block - padded % block) % block
    total = padded + extra
    assert total % block == 0
    assert (floor_div(total, block) - 2) * block - extra == h


def test_padding_to_a_crop_is_constant_within_the_crop() -> None:
    h = symbol("H", 1, 513)
    assert h + maximum(513 - h, 0) == 513
    assert maximum(513 - h, 0) == 513 - h
    assert isinstance(maximum(513 - H, 0), Dim)


def test_exact_division() -> None:
    assert divide_exact(H * W * 21, H * W) == 21
    assert divide_exact(H * W + H, H) == W + 1
    assert divide_exact(H * 3, 2) is None
    assert floor_div(H * W * 3, W) == H * 3
    with pytest.raises(GraphError, match="not supported"):
        floor_div(H, W)
    with pytest.raises(GraphError, match="zero"):
        floor_div(H, 0)


def test_symbols_of() -> None:
    assert {s.name for s in symbols_of(maximum(H, W) + floor_div(H, 3))} == {"H", "W"}
    assert symbols_of(7) == frozenset()
