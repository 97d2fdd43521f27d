"""Symbolic sizes agree with plain integer arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.errors import GraphError
from smalti.ir.dims import Dim, bounds, ceil_div, divide_exact, floor, floor_div, maximum, minimum, nonnegative, symbol
from smalti.ir.shapes import same_pads
from smalti.ir.sizes import evaluate, substitute, symbols_of

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


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 18])
def test_same_padding_is_tensorflows(kernel: int, stride: int, dilation: int) -> None:
    for size in (H, ceil_div(H, 8), symbol("H", 1, 513)):
        before, after = same_pads(size, kernel, stride, dilation)
        for h in (1, 2, 3, 7, 8, 9, 64, 65, 513):
            extent = evaluate(size, {"H": h})
            total = max((-(-extent // stride) - 1) * stride + (kernel - 1) * dilation + 1 - extent, 0)
            assert (evaluate(before, {"H": h}), evaluate(after, {"H": h})) == (total // 2, total - total // 2)


def test_same_padding_needs_no_choice_where_the_window_covers_the_stride() -> None:
    for size in (H, ceil_div(H, 2), symbol("H", 1, 513)):
        for kernel, stride in ((3, 2), (2, 2), (5, 3), (7, 2), (3, 1)):
            assert "max" not in "".join(map(str, same_pads(size, kernel, stride)))


def test_nonnegative_needs_rounding_or_an_extreme_weakened() -> None:
    assert nonnegative(2 * ceil_div(H, 2) - H)
    assert nonnegative(maximum(H, W) - W)
    assert nonnegative(H - minimum(H, W + 3))
    assert not nonnegative(2 * ceil_div(H, 2) - H - 1)
    assert not nonnegative(H - W)


@given(expressions(), st.integers(1, 700), st.integers(1, 700))
def test_nonnegative_is_never_wrong(a: int | Dim, h: int, w: int) -> None:
    if nonnegative(a):
        assert evaluate(a, {"H": h, "W": w}) >= 0


def test_rounding_the_larger_of_two_fractions() -> None:
    larger = maximum(H * Fraction(1, 2), W * Fraction(1, 3))
    whole = floor(larger)
    for h, w in ((1, 1), (3, 4), (5, 8), (7, 2)):
        assert evaluate(whole, {"H": h, "W": w}) == max(h // 2, w // 3)
    assert isinstance(larger, Dim) and not larger.is_integral
    assert not nonnegative(whole - larger)
