"""The program of sizes in a model file computes what the symbolic sizes mean."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalti.artifact.manifest import DimInstr, DimOp
from smalti.errors import CompilerError
from smalti.ir.dims import Dim, ceil_div, floor_div, maximum, minimum, symbol
from smalti.ir.sizes import evaluate
from smalti.plan.dimtable import DimTable
from smalti.runtime import dims as runtime

H, W = symbol("H", 1, 4096), symbol("W", 1, 4096)
SYMBOLS = tuple(value.terms[0][0][0] for value in (H, W))


def sizes() -> st.SearchStrategy[int | Dim]:
    leaves = st.one_of(st.integers(-9, 9), st.sampled_from([H, W]))

    def extend(inner: st.SearchStrategy[int | Dim]) -> st.SearchStrategy[int | Dim]:
        pair = st.tuples(inner, inner)
        return st.one_of(
            pair.map(lambda p: p[0] + p[1]),
            pair.map(lambda p: p[0] * p[1]),
            st.tuples(inner, st.integers(1, 9)).map(lambda p: floor_div(p[0], p[1])),
            pair.map(lambda p: maximum(*p)),
            pair.map(lambda p: minimum(*p)),
        )

    return st.recursive(leaves, extend, max_leaves=6)


def run_program(table: DimTable, h: int, w: int) -> list[int]:
    program = [DimInstr(DimOp(i[0]), i[1], i[2] if len(i) == 3 else 0) for i in table.program]
    return runtime.evaluate(program, (h, w))


@given(st.lists(sizes(), min_size=1, max_size=4), st.integers(1, 700), st.integers(1, 700))
def test_the_program_gives_every_size(values: list[int | Dim], h: int, w: int) -> None:
    table = DimTable(SYMBOLS)
    indices = [table.index(value) for value in values]
    results = run_program(table, h, w)
    assert [results[i] for i in indices] == [evaluate(v, {"H": h, "W": w}) for v in values]


@given(sizes())
def test_asking_again_adds_nothing(value: int | Dim) -> None:
    table = DimTable(SYMBOLS)
    index, length = table.index(value), len(table.program)
    assert table.index(value) == index
    assert len(table.program) == length


def test_common_parts_are_computed_once() -> None:
    table = DimTable(SYMBOLS)
    table.index(ceil_div(H, 8) * 3)
    before = len(table.program)
    table.index(ceil_div(H, 8) * 5)
    assert len(table.program) == before + 2  # the 5 and the product


def test_operands_come_before_what_uses_them() -> None:
    table = DimTable(SYMBOLS)
    table.index(maximum(ceil_div(H, 16) * W - 7, minimum(W, H * 3)) // 5)
    for at, (op, *operands) in enumerate(table.program):
        if op not in ("const", "symbol"):
            assert all(operand < at for operand in operands)


def test_what_cannot_be_computed_is_refused() -> None:
    with pytest.raises(CompilerError, match="does not belong to an input"):
        DimTable(SYMBOLS).index(symbol("depth") + 1)
    half = H * Fraction(1, 2)
    assert isinstance(half, Dim)
    with pytest.raises(CompilerError, match="not an integer"):
        DimTable(SYMBOLS).index(half)
