"""The dims program against Python's own arithmetic, and the binding of shapes to symbols."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact_kit import label_manifest, reverse_manifest
from smalti.artifact.manifest import DimInstr, DimOp, Symbol, TensorSpec
from smalti.errors import InputError
from smalti.numerics import DType
from smalti.runtime.dims import bind_symbols, evaluate
from smalti.runtime.plan import CACHED_PLANS, ShapePlanner

_BINARY = [op for op in DimOp if op.is_binary]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_random_programs(data: st.DataObject) -> None:
    symbols = data.draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=3))
    program = [DimInstr(DimOp.SYMBOL, i) for i in range(len(symbols))]
    program.append(DimInstr(DimOp.CONST, data.draw(st.integers(-100, 100))))
    want: list[int | None] = [*symbols, program[-1].a]
    for _ in range(data.draw(st.integers(0, 12))):
        op = data.draw(st.sampled_from(_BINARY))
        i, j = (data.draw(st.integers(0, len(program) - 1)) for _ in range(2))
        program.append(DimInstr(op, i, j))
        want.append(_by_hand(op, want[i], want[j]))
    if any(value is None for value in want):
        with pytest.raises(InputError):
            evaluate(program, symbols)
    else:
        assert evaluate(program, symbols) == want


def _by_hand(op: DimOp, a: int | None, b: int | None) -> int | None:
    if a is None or b is None or (b == 0 and op is DimOp.FLOORDIV):
        return None
    value = {DimOp.ADD: a + b, DimOp.MUL: a * b}.get(op)
    if op is DimOp.FLOORDIV:
        value = (a - a % b) // b
    elif op in (DimOp.MAX, DimOp.MIN):
        value = sorted([a, b])[op is DimOp.MAX]
    return value if value is not None and abs(value) < 2**63 else None


def test_overflow_is_an_input_error() -> None:
    program = [DimInstr(DimOp.CONST, 2**62), DimInstr(DimOp.ADD, 0, 0)]
    with pytest.raises(InputError):
        evaluate(program, [])
    assert evaluate([DimInstr(DimOp.CONST, -(2**62)), DimInstr(DimOp.ADD, 0, 0)], []) == [-(2**62), -(2**63)]


def test_limits_are_exact() -> None:
    m = replace(reverse_manifest(), symbols=(Symbol("N", 8, 64, 8),))
    for size in (8, 16, 64):
        assert bind_symbols(m, {"x:0": (1, size)}) == [size]
    for size, text in (
        (0, "at least 8"),
        (7, "at least 8"),
        (65, "at most 64"),
        (72, "at most"),
        (12, "multiple of 8"),
    ):
        with pytest.raises(InputError, match=text):
            bind_symbols(m, {"x:0": (1, size)})


def test_symbols_must_agree_between_inputs() -> None:
    m = reverse_manifest()
    two = replace(m, inputs=(*m.inputs, TensorSpec("z:0", DType.FLOAT32, (1,))))
    assert bind_symbols(two, {"x:0": (1, 5), "z:0": (5,)}) == [5]
    with pytest.raises(InputError, match="'z:0': dimension 0 .N. must be 5, got 6"):
        bind_symbols(two, {"x:0": (1, 5), "z:0": (6,)})
    with pytest.raises(InputError, match="needs 1 dimensions"):
        bind_symbols(two, {"x:0": (1, 5), "z:0": (5, 5)})


def test_constants_and_derived_sizes_are_checked() -> None:
    planner = ShapePlanner(label_manifest())
    with pytest.raises(
        InputError, match=r"must have shape \[1, H, W, 3\], H from 1 to 600, W from 1 to 600, got \[1, 5, 6, 4\]"
    ):
        planner.plan(((1, 5, 6, 4),))
    assert planner.plan(((1, 5, 6, 3),)).output_shapes == ((1, 5, 6),)


def test_messages_say_the_limit_and_what_to_do() -> None:
    m = label_manifest()
    with pytest.raises(InputError, match=r"dimension 2 \(W\) must be at most 600, got 601: .*--resize fit"):
        ShapePlanner(m).plan(((1, 600, 601, 3),))
    fixed = replace(m, symbols=(), dims=(m.dims[0], *(DimInstr(DimOp.CONST, 33),) * 2, *m.dims[3:]))
    with pytest.raises(InputError, match=r"must have shape \[1, 33, 33, 3\], got \[1, 40, 33, 3\]: .*--resize stretch"):
        ShapePlanner(fixed).plan(((1, 40, 33, 3),))
    with pytest.raises(InputError, match=r"got \[1, 33, 33, 4\]$"):
        ShapePlanner(fixed).plan(((1, 33, 33, 4),))


def test_negative_and_enormous_sizes() -> None:
    m = reverse_manifest()
    shrinking = replace(m, dims=(*m.dims, DimInstr(DimOp.CONST, -100), DimInstr(DimOp.ADD, 1, 5)))
    as_output = replace(shrinking, outputs=(TensorSpec("y:0", DType.FLOAT32, (0, 6)),))
    with pytest.raises(InputError, match="too small"):
        ShapePlanner(as_output).plan(((1, 5),))
    with pytest.raises(InputError, match=r"too small: output 'y:0' would have shape \[1, 0\]"):
        ShapePlanner(as_output).plan(((1, 100),))
    assert ShapePlanner(as_output).plan(((1, 101),)).output_shapes == ((1, 1),)
    as_step = replace(shrinking, steps=(replace(m.steps[0], shape=(6, 6)), m.steps[1]))
    with pytest.raises(InputError, match=r"too small for this model: 'double' would have shape \[-95, -95\]"):
        ShapePlanner(as_step).plan(((1, 5),))
    assert ShapePlanner(as_step).plan(((1, 101),)).output_shapes == ((1, 101),)
    inside = replace(shrinking, steps=(m.steps[0], replace(m.steps[1], inner=(1, 6))))
    with pytest.raises(InputError, match=r"'reverse' would have sizes inside \[100, 0\]"):
        ShapePlanner(inside).plan(((1, 100),))
    assert ShapePlanner(inside).plan(((1, 101),)).output_shapes == ((1, 101),)
    as_buffer = replace(shrinking, arena=(replace(m.arena[0], size=6),))
    with pytest.raises(InputError, match="too small"):
        ShapePlanner(as_buffer).plan(((1, 5),))
    huge = replace(m, dims=(*m.dims, DimInstr(DimOp.CONST, 2**50)))
    with pytest.raises(InputError, match="more than any machine"):
        ShapePlanner(replace(huge, arena=(replace(m.arena[0], size=5),))).plan(((1, 5),))
    with pytest.raises(InputError, match="too large"):
        ShapePlanner(replace(huge, outputs=(TensorSpec("y:0", DType.FLOAT32, (5, 5)),))).plan(((1, 5),))


def test_plans_are_kept_and_forgotten() -> None:
    planner = ShapePlanner(reverse_manifest())
    first = planner.plan(((1, 1),))
    for n in range(2, CACHED_PLANS + 1):
        planner.plan(((1, n),))
    assert planner.plan(((1, 1),)) is first
    for n in range(2, CACHED_PLANS + 20):
        planner.plan(((1, n),))
    assert planner.plan(((1, 1),)) is not first
