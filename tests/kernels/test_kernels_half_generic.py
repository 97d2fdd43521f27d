"""Every other kernel on bfloat16, and the conversions of both half types, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.half_types import LEAST, STEPS, Array, narrow, random_numbers, usable_targets, wide
from kernels.harness import compile_graph, run_compiled
from smalti.ir import ops, reference
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import BinaryFn, PadMode, PoolFn, ReduceFn, ResizeFn, UnaryFn
from smalti.kernels.registry import KERNELS
from smalti.numerics import DType
from smalti.target.target import Target
from tolerance import Tol, assert_close

BF16 = DType.BFLOAT16
TARGETS = usable_targets()
BEST = TARGETS[-1]
everywhere = pytest.mark.parametrize("target", TARGETS, ids=str)


def _input(name: str, shape: tuple[int, ...], dtype: DType = BF16) -> Node:
    return make_node(ops.Input(), (), name, TensorType(dtype, shape))


def _both(op: Any, nodes: list[Node], values: dict[str, Array], target: Target) -> tuple[Array, Array]:
    """Return the result of generated code and of the reference."""
    graph = Graph(
        tuple(n for n in nodes if isinstance(n.op, ops.Input)), (make_node(op, nodes, "y"),), ("y",), Level.CANONICAL
    )
    want = reference.run(graph, values)["y"]
    return run_compiled(compile_graph(graph, target, KERNELS), values, 3)[0], want


def _check(op: Any, shapes: list[tuple[int, ...]], tolerance: Tol, target: Target = BEST) -> None:
    nodes = [_input(f"x{i}", shape) for i, shape in enumerate(shapes)]
    values = {f"x{i}": narrow(random_numbers(shape, i), BF16) for i, shape in enumerate(shapes)}
    got, want = _both(op, nodes, values, target)
    if got.dtype == np.uint16:
        got, want = wide(got, BF16), wide(want, BF16)
    assert_close(got, want, tolerance)


def _step(terms: int = 1, scale: float = 4.0) -> Tol:
    return Tol.ROUNDED(STEPS[BF16], LEAST[BF16], terms, scale)


@everywhere
def test_every_bfloat16_becomes_the_same_float32(target: Target) -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    got, want = _both(ops.Cast(DType.FLOAT32), [_input("x", every.shape)], {"x": every}, target)
    assert_close(got, want, Tol.EXACT)


@everywhere
@pytest.mark.parametrize("dtype", [BF16, DType.FLOAT16], ids=lambda d: d.value)
def test_float32_is_rounded_to_the_nearest_even(target: Target, dtype: DType) -> None:
    """Numbers beside every half number and every middle between two, of both signs, and special ones."""
    bits = np.arange(1 << 16, dtype=np.uint32)
    if dtype is BF16:
        exact = (bits << np.uint32(16)).view(np.float32)
    else:
        exact = bits.astype(np.uint16).view(np.float16).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = exact[np.isfinite(exact)]
        middles = finite + (np.nextafter(finite, np.float32(np.inf)) - finite)
        halves = (finite.view(np.uint32) + np.uint32(0x8000 if dtype is BF16 else 0x1000)).view(np.float32)
    around = np.concatenate(
        [(v.view(np.int32) + step).view(np.float32) for v in (exact, halves) for step in (-1, 0, 1)]
    )
    special = np.array([np.inf, -np.inf, np.nan, 65519.99, 65520, 1e-8, 2**-25, 3e38, 3.4e38, 0.0, -0.0], np.float32)
    values = np.concatenate([around, middles, special])
    got, want = _both(ops.Cast(dtype), [_input("x", values.shape, DType.FLOAT32)], {"x": values}, target)
    # A NaN may carry other bits.
    got, want = wide(got, dtype), wide(want, dtype)
    assert_close(got, want, Tol.EXACT)
    assert np.array_equal(np.signbit(got), np.signbit(want) | (np.signbit(got) & np.isnan(got)))


NUMBERS = [d for d in DType if d not in (BF16, DType.FLOAT16)]


@pytest.mark.parametrize("dtype", [*NUMBERS, DType.FLOAT16], ids=lambda d: d.value)
def test_casts_between_half_types_and_others(dtype: DType) -> None:
    values = np.abs(np.rint(random_numbers((1, 70), 1, 30.0)))
    for half in (BF16, DType.FLOAT16):
        got, want = _both(ops.Cast(dtype), [_input("x", (1, 70), half)], {"x": narrow(values, half)}, BEST)
        assert_close(got, want, Tol.EXACT)
        other = values.astype(dtype.numpy)
        got, want = _both(ops.Cast(half), [_input("x", (1, 70), dtype)], {"x": other}, BEST)
        assert_close(got, want, Tol.EXACT)


@pytest.mark.parametrize("fn", [UnaryFn.RELU6, UnaryFn.NEG, UnaryFn.EXP, UnaryFn.SIGMOID, UnaryFn.ROUND])
def test_unary(fn: UnaryFn) -> None:
    _check(ops.Unary(fn), [(3, 37)], _step())


@everywhere
@pytest.mark.parametrize("fn", [BinaryFn.ADD, BinaryFn.MUL, BinaryFn.DIV, BinaryFn.MAXIMUM, BinaryFn.LESS])
def test_binary(fn: BinaryFn, target: Target) -> None:
    _check(ops.Binary(fn), [(1, 5, 37), (37,)], Tol.EXACT if fn is not BinaryFn.DIV else _step(), target)


@pytest.mark.parametrize("axes", [(1, 2), (3,), (0, 3)])
@pytest.mark.parametrize("fn", [ReduceFn.SUM, ReduceFn.MEAN, ReduceFn.MAX])
def test_reduce(fn: ReduceFn, axes: tuple[int, ...]) -> None:
    _check(ops.Reduce(fn, axes, True), [(2, 7, 9, 40)], _step(120, 4.0 * 120**0.5))


@pytest.mark.parametrize("fn", list(PoolFn))
def test_pool(fn: PoolFn) -> None:
    _check(ops.Pool(fn, (3, 2), (2, 1), (1, 1, 0, 1)), [(1, 7, 9, 21)], _step(6))


@pytest.mark.parametrize("mode", list(PadMode))
def test_pad(mode: PadMode) -> None:
    op = ops.Pad(((0, 0), (1, 2), (2, 1), (0, 0)), mode, 1.5 if mode is PadMode.CONSTANT else 0.0)
    _check(op, [(1, 5, 6, 3)], Tol.EXACT)


def test_concat() -> None:
    _check(ops.Concat(3), [(1, 5, 6, 3), (1, 5, 6, 17)], Tol.EXACT)


@pytest.mark.parametrize("fn", list(ResizeFn))
def test_resize(fn: ResizeFn) -> None:
    _check(ops.Resize(fn, (11, 13)), [(1, 5, 6, 3)], _step(4))


def test_matrix_product() -> None:
    _check(ops.MatMul(), [(5, 37), (37, 19)], _step(37, 4.0 * 37**0.5))


def test_arg_max() -> None:
    _check(ops.ArgMax(1, DType.INT64), [(3, 21)], Tol.EXACT)


@pytest.mark.parametrize("dtype", [BF16, DType.FLOAT16], ids=lambda d: d.value)
def test_generic_convolution_with_a_float32_bias(dtype: DType) -> None:
    shapes = [(1, 5, 6, 3), (3, 3, 3, 7)]
    nodes = [_input(f"x{i}", shape, dtype) for i, shape in enumerate(shapes)]
    nodes.append(constant(random_numbers((7,), 5)))
    values = {f"x{i}": narrow(random_numbers(shape, i), dtype) for i, shape in enumerate(shapes)}
    got, want = _both(ops.Conv2d(pads=(1, 1, 1, 1), bias=True), nodes, values, BEST)
    tolerance = Tol.ROUNDED(STEPS[dtype], LEAST[dtype], 28, 4.0 * 28**0.5)
    assert_close(wide(got, dtype), wide(want, dtype), tolerance)
