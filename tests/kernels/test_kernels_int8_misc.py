"""Quantise, Dequantise and the mean of integers against the numpy meaning, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.guard import Side
from kernels.harness import check, compile_graph, edge_sizes, input_node, run_compiled
from smalti.ir import ops, reference
from smalti.ir.dims import symbol
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.infer import make_node
from smalti.kernels.registry import KERNELS
from smalti.numerics import DType
from smalti.target.host import arch, missing_features
from smalti.target.target import Target, levels_of
from tolerance import Tol, assert_close

TARGETS = [t for t in levels_of(arch()) if not missing_features(t.features)]
BEST = TARGETS[-1]
FLOATS = (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)
SPECIAL = np.array(
    [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1e-45, 3.4e38, -3.4e38, 0.5, 1.5, 2.5, -0.5, 254.5, 255.5, 256.0],
    np.float32,
)


def _reals(count: int, scale: float, dtype: DType) -> NDArray[Any]:
    """Return reals around the whole range of a byte, many of them halfway between two steps, and special ones."""
    rng = np.random.default_rng(count)
    values = (rng.integers(-600, 1200, count) / 2).astype(np.float32) * np.float32(scale)
    values[: len(SPECIAL)] = SPECIAL[:count]
    return _as(values, dtype)


def _as(values: NDArray[np.float32], dtype: DType) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return reference.float32_to_bfloat16(values) if dtype is DType.BFLOAT16 else values.astype(dtype.numpy)


def _run(op: ops.Op, dtype: DType, values: NDArray[Any], target: Target) -> NDArray[Any]:
    """Run one operation on an input of any type, compare it with the reference and return the result."""
    x = input_node("x0", dtype, values.shape)
    y = make_node(op, (x,), "y")
    graph = Graph((x,), (y,), ("y",), Level.QUANTISED)
    compiled = compile_graph(graph, target, KERNELS)
    alone = run_compiled(compiled, {"x0": values}, 1, Side.LEFT)[0]
    together = run_compiled(compiled, {"x0": values}, 3, Side.RIGHT)[0]
    assert_close(alone, reference.run(graph, {"x0": values})["y"], Tol.EXACT)
    assert alone.tobytes() == together.tobytes()
    return alone


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.value)
@pytest.mark.parametrize(("to", "zero_point"), ((DType.UINT8, 0), (DType.UINT8, 131), (DType.INT16, 0)))
def test_quantise(target: Target, dtype: DType, to: DType, zero_point: int) -> None:
    for count in (*edge_sizes(target.vector_bits // 32), 100, 40000):
        _run(ops.Quantise(0.25, zero_point, to), dtype, _reals(count, 0.25, dtype), target)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize(
    "scale", (float(np.float32(0.1)), float(np.float32(6 / 255)), 1e-20, 1e30, float(np.float32(1e-39)))
)
def test_quantise_with_any_scale(target: Target, scale: float) -> None:
    scale = float(np.float32(scale))
    result = _run(ops.Quantise(scale, 17), DType.FLOAT32, _reals(999, scale, DType.FLOAT32), target)
    assert len(np.unique(result)) > (100 if scale > 1e-30 else 1)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.value)
@pytest.mark.parametrize(("source", "zero_point"), ((np.uint8, 0), (np.uint8, 131), (np.int16, 0), (np.int16, -5)))
def test_dequantise(target: Target, dtype: DType, source: type, zero_point: int) -> None:
    kind = DType.from_numpy(source)
    low, high = kind.limits
    every = np.arange(low, high + 1).astype(source)
    for values in (every, every[:1], every[-17:].reshape(1, 17), every[:130].reshape(2, 5, 13)):
        _run(ops.Dequantise(float(np.float32(0.037)), zero_point, dtype), kind, values, target)


def test_an_image_of_any_size_is_quantised() -> None:
    height, width = symbol("H", 1, 64), symbol("W", 1, 64)
    x = input_node("x0", DType.FLOAT32, (1, height, width, 3))
    q = make_node(ops.Quantise(0.5, 128), (x,), "q")
    y = make_node(ops.Dequantise(0.5, 128), (q,), "y")
    graph = Graph((x,), (q, y), ("q", "y"), Level.QUANTISED)
    compiled = compile_graph(graph, BEST, KERNELS)
    for size in ((1, 1), (3, 7), (64, 64)):
        values = {"x0": _reals(size[0] * size[1] * 3, 0.5, DType.FLOAT32).reshape(1, *size, 3)}
        want = reference.run(graph, values)
        for got, name in zip(run_compiled(compiled, values, 2), ("q", "y"), strict=True):
            assert_close(got, want[name], Tol.EXACT)


SHAPES = (
    ((1, 9, 11, 40), (1, 2)),
    ((2, 3, 5, 31), (1, 2)),
    ((1, 1, 1, 320), (1, 2)),
    ((1, 17, 4, 1), (1, 2)),
    ((3, 5, 7, 2), (3,)),
    ((3, 5, 7, 33), (0, 1, 2, 3)),
    ((2, 6, 3, 5), (1,)),
    ((4, 6, 3, 5), (0, 2)),
)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize(("shape", "axes"), SHAPES)
@pytest.mark.parametrize("dtype", (np.uint8, np.int16))
def test_mean(target: Target, shape: tuple[int, ...], axes: tuple[int, ...], dtype: type) -> None:
    rng = np.random.default_rng(len(axes))
    info = np.iinfo(dtype)
    values = rng.integers(info.min, int(info.max) + 1, shape).astype(dtype)
    check(ops.QuantisedMean(axes, keep_dims=dtype is np.uint8), [values], target, KERNELS)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("dtype", (np.uint8, np.int16))
def test_a_mean_in_steps_of_its_own(target: Target, dtype: type) -> None:
    info = np.iinfo(dtype)
    values = np.random.default_rng(5).integers(info.min, int(info.max) + 1, (2, 7, 9, 53)).astype(dtype)
    zero_points = (117, 30) if dtype is np.uint8 else (0, 0)
    for multiplier in (0.37, 1.0, 7.7, 1e9):
        factor = float(np.float32(multiplier))
        op = ops.QuantisedMean((1, 2), True, zero_points[0], factor, 0.5, zero_points[1])
        check(op, [values], target, KERNELS)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_means_halfway_between_integers_go_to_the_even_one(target: Target) -> None:
    values = np.array([[0, 1], [1, 2], [2, 3], [254, 255], [255, 255]], np.uint8)
    assert check(ops.QuantisedMean((1,), False), [values], target, KERNELS).tolist() == [0, 2, 2, 254, 255]


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("value", (-32768, 32767))
def test_sums_over_many_large_integers_stay_exact(target: Target, value: int) -> None:
    shape = (1, 301, 307, 3)
    values = np.full(shape, value, np.int16)
    values[0, 5, 5, 1] = 0
    result = check(ops.QuantisedMean((1, 2), True), [values], target, KERNELS)
    assert abs(int(result[0, 0, 0, 0]) - value) <= 1


def test_the_mean_of_an_image_of_any_size() -> None:
    height, width = symbol("H", 1), symbol("W", 1)
    x: Node = input_node("x0", DType.UINT8, (1, height, width, 24))
    y = make_node(ops.QuantisedMean((1, 2), True), (x,), "y")
    graph = Graph((x,), (y,), ("y",), Level.QUANTISED)
    compiled = compile_graph(graph, BEST, KERNELS)
    for size in ((1, 1), (9, 5), (65, 65)):
        values = {"x0": np.random.default_rng(1).integers(0, 256, (1, *size, 24)).astype(np.uint8)}
        assert_close(run_compiled(compiled, values, 2)[0], reference.run(graph, values)["y"], Tol.EXACT)
