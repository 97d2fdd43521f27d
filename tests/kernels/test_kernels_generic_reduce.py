"""Reductions, pooling, softmax, arg-max and matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.harness import check, edge_sizes, expected, run_node
from smalti.ir.dims import symbol
from smalti.ir.ops import ArgMax, CumSum, MatMul, Pool, PoolFn, Reduce, ReduceFn, Softmax
from smalti.kernels import argmax, matmul, pool, reduce, softmax
from smalti.numerics import DType
from smalti.target.host import arch, missing_features
from smalti.target.target import Target, levels_of
from tolerance import Tol, assert_close

KERNELS = (*reduce.KERNELS, *pool.KERNELS, *softmax.KERNELS, *argmax.KERNELS, *matmul.KERNELS)
TARGETS = [t for t in levels_of(arch()) if not missing_features(t.features)]
BEST = TARGETS[-1]
H, W = symbol("H", 1, 100), symbol("W", 1, 100)
AXES = (
    ((1, 2), (1, 17, 19, 33)),
    ((2,), (3, 4, 50)),
    ((0,), (50, 4)),
    ((0, 2), (5, 6, 7)),
    ((1,), (3, 70, 5)),
    ((0, 1, 2), (3, 4, 5)),
    ((1, 3), (3, 4, 5, 6)),
    ((), (3, 4)),
    ((1,), (3, 0)),
)


def floats(*shape: int, seed: int = 0, dtype: Any = np.float32) -> NDArray[Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize(("axes", "shape"), AXES, ids=str)
@pytest.mark.parametrize("fn", ReduceFn, ids=lambda f: f.value)
def test_reduce(fn: ReduceFn, axes: tuple[int, ...], shape: tuple[int, ...]) -> None:
    x = floats(*shape)
    x = 1 + x * np.float32(0.01) if fn is ReduceFn.PROD else x
    exact = fn in (ReduceFn.MAX, ReduceFn.MIN)
    terms = int(np.prod([shape[a] for a in axes], dtype=int))
    tolerance = Tol.EXACT if exact else Tol.FLOAT(max(terms, 1), float(max(terms, 1)) if fn is ReduceFn.SUM else 1.0)
    check(Reduce(fn, axes, False), [x], BEST, KERNELS, tolerance)
    if terms or exact or fn is not ReduceFn.MEAN:
        check(Reduce(fn, axes, True), [(x * 5).astype(np.int32)], BEST, KERNELS)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("channels", (1, *edge_sizes(16), *edge_sizes(64), 320))
def test_mean_over_the_image(channels: int, target: Target) -> None:
    x = floats(1, 9, 13, channels)
    tolerance = Tol.FLOAT(117, 1.0)
    check(Reduce(ReduceFn.MEAN, (1, 2), True), [x], target, KERNELS, tolerance, [(1, H, W, channels)])


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("exclusive", (False, True))
@pytest.mark.parametrize("reverse", (False, True))
@pytest.mark.parametrize("shape", ((1,), (5, 33), (3, 4, 1), (2, 1, 70), (4, 0, 3), (0, 4), (2, 9, 65)), ids=str)
def test_running_sums(shape: tuple[int, ...], reverse: bool, exclusive: bool, target: Target) -> None:
    x = floats(*shape)
    for axis in range(len(shape)):
        op = CumSum(axis, exclusive, reverse)
        check(op, [x], target, KERNELS, Tol.ULP(1))
        check(op, [(100 * x).astype(np.int8)], target, KERNELS)


@pytest.mark.parametrize("dtype", (np.float16, np.float64, np.uint8, np.int64))
def test_running_sums_of_every_kind_of_number_and_of_sizes_known_later(dtype: Any) -> None:
    x = (10 + 9 * floats(2, 13, 11, 7)).astype(dtype)
    for axis in range(4):
        shapes = [(2, H, W, 7)]
        check(CumSum(axis, reverse=True), [x], BEST, KERNELS, Tol.ULP(1) if x.dtype.kind == "f" else Tol.EXACT, shapes)


def test_running_sums_hold_infinities_and_nan_from_where_they_stand() -> None:
    x = np.array([1, np.inf, 2, -np.inf, 3], np.float32)
    np.testing.assert_array_equal(check(CumSum(0), [x], BEST, KERNELS), [1, np.inf, np.inf, np.nan, np.nan])


def test_nan_is_kept_by_extremes() -> None:
    x = floats(4, 50)
    x[1, 3] = x[2, 49] = np.nan
    x[3] = -np.inf
    for fn in (ReduceFn.MAX, ReduceFn.MIN):
        for axes in ((0,), (1,)):
            check(Reduce(fn, axes, False), [x], BEST, KERNELS)


def test_long_sums_stay_accurate() -> None:
    """A single float32 accumulator would be off by more than 1e-4 here; the blocks keep the error near one rounding."""
    x = np.random.default_rng(5).random((1, 300, 301, 3)).astype(np.float32) + np.float32(100)
    naive = np.cumsum(x.reshape(-1, 3), axis=0, dtype=np.float32)[-1] / np.float32(300 * 301)
    for op, shape in (
        (Reduce(ReduceFn.MEAN, (1, 2), False), x.shape),
        (Reduce(ReduceFn.MEAN, (1,), False), (3, 90300)),
    ):
        values = x.reshape(shape) if len(shape) == 4 else np.ascontiguousarray(x.reshape(-1, 3).T)
        want = expected(op, [values])
        error = np.abs(run_node(op, [values], BEST, KERNELS) - want) / want
        assert error.max() < 1e-6 < np.abs(naive - want).max() / 100


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("fn", PoolFn, ids=lambda f: f.value)
def test_pool(fn: PoolFn, target: Target) -> None:
    tolerance = Tol.EXACT if fn is PoolFn.MAX else Tol.FLOAT(323, 1.0)
    check(Pool(fn, (3, 3), (2, 2), (0, 1, 0, 1)), [floats(1, 14, 15, 21)], target, KERNELS, tolerance)
    check(Pool(fn, (17, 19), (1, 1)), [floats(2, 17, 19, 70)], target, KERNELS, tolerance)
    check(Pool(fn, (2, 3), (1, 2), (1, 1, 2, 2)), [(floats(1, 9, 8, 5) * 20).astype(np.int32)], target, KERNELS)
    check(Pool(fn, (2, 2), (2, 2)), [(floats(1, 8, 8, 67) ** 2 * 20).astype(np.uint8)], target, KERNELS)
    moving = Pool(fn, (3, 3), (2, 2), (H % 2, 1, 1, 1))
    check(moving, [floats(1, 14, 15, 64)], target, KERNELS, tolerance, [(1, H, W, 64)])


def test_windows_of_padding_alone() -> None:
    for fn in PoolFn:
        check(Pool(fn, (2, 2), (2, 2), (2, 2, 2, 2)), [floats(1, 4, 4, 3)], BEST, KERNELS, Tol.FLOAT(4))


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("classes", (1, 5, 16, 21, 33, 100))
def test_softmax(classes: int, target: Target) -> None:
    x = floats(7, classes) * 8
    result = check(Softmax(), [x], target, KERNELS, Tol.FLOAT(classes, 1.0))
    assert_close(result.sum(axis=-1), np.ones(7, np.float32), Tol.FLOAT(classes, 1.0))
    check(Softmax(), [x.astype(np.float64)], target, KERNELS, Tol.FLOAT(classes, 1.0))


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("axis", (0, 1, 2))
def test_argmax(axis: int, target: Target) -> None:
    x = np.round(floats(5, 37, 21) * 2)
    check(ArgMax(axis, DType.INT32), [x], target, KERNELS)
    check(ArgMax(axis, DType.INT64), [x.astype(np.int8)], target, KERNELS)
    check(ArgMax(axis, DType.INT32), [(x * x).astype(np.uint8)], target, KERNELS)
    check(ArgMax(axis, DType.INT32), [x.astype(np.float64)], target, KERNELS)


def test_argmax_of_infinities_and_nan() -> None:
    x = floats(6, 9)
    x[0] = -np.inf
    x[1] = np.nan
    x[2, :3] = np.nan
    x[3, 0], x[3, 1:] = np.nan, -np.inf
    x[4, 4] = np.inf
    x[5, 8] = np.nan
    check(ArgMax(1, DType.INT32), [x], BEST, KERNELS)
    check(ArgMax(0, DType.INT32), [np.ascontiguousarray(x.T)], BEST, KERNELS)


def test_argmax_with_symbolic_sizes() -> None:
    check(ArgMax(3, DType.INT32), [floats(1, 40, 41, 21)], BEST, KERNELS, shapes=[(1, H, W, 21)])


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("transposed", ((False, False), (True, False), (False, True), (True, True)), ids=str)
def test_matmul(transposed: tuple[bool, bool], target: Target) -> None:
    for rows, depth, columns in ((1, 50, 37), (13, 1, 70), (9, 33, 1)):
        a, b = floats(rows, depth), floats(depth, columns, seed=1)
        operands = [np.ascontiguousarray(x.T) if t else x for x, t in zip((a, b), transposed, strict=True)]
        scale = float((np.abs(a) @ np.abs(b)).max())
        check(MatMul(*transposed), operands, target, KERNELS, Tol.FLOAT(depth, scale))
    check(MatMul(*transposed), [(x * 9).astype(np.int32) for x in operands], target, KERNELS)
