"""Kernels that read and write at computed positions: none of them touches what is not the tensor's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.harness import check
from smalti.ir.dims import floor_div, symbol
from smalti.ir.ops import (
    GatherElements,
    GatherNd,
    GridSample,
    Pad,
    PadMode,
    SampleEdge,
    SampleFn,
    ScatterElements,
    ScatterFn,
    ScatterNd,
    TopK,
)
from smalti.kernels.data import KERNELS as DATA
from smalti.kernels.picking import KERNELS
from smalti.target.host import arch, missing_features
from smalti.target.target import levels_of
from tolerance import Tol

Array = NDArray[Any]
TARGETS = [t for t in levels_of(arch()) if not missing_features(t.features)]
BEST = TARGETS[-1]
H, W = symbol("H", 2, 100), symbol("W", 3, 100)
FARTHEST = (-(1 << 63), (1 << 63) - 1, -(1 << 31), 1 << 31)


def data(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * 50).astype(dtype)


def places(extent: int, *shape: int, dtype: Any = np.int64, seed: int = 1) -> Array:
    """Return indices, of which some lie outside, some of those as far as can be."""
    rng = np.random.default_rng(seed)
    found = rng.integers(-extent - 2, extent + 2, shape)
    if dtype == np.int64:
        found.flat[:: max(found.size // 4, 1)] = np.resize(FARTHEST, found.flat[:: max(found.size // 4, 1)].shape)
    return found.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.float16, np.int64, np.bool_], ids=lambda d: d.__name__)
@pytest.mark.parametrize("index", [np.int32, np.int64], ids=lambda d: d.__name__)
def test_element_sizes(dtype: Any, index: Any) -> None:
    x = data(4, 5, 6, dtype=dtype)
    check(GatherNd(), [x, places(4, 7, 2, dtype=index)], BEST, KERNELS)
    check(GatherElements(1), [x, places(5, 4, 9, 6, dtype=index)], BEST, KERNELS)
    check(ScatterNd(ScatterFn.SET), [x, places(4, 3, 1, dtype=index), data(3, 5, 6, dtype=dtype)], BEST, KERNELS)
    updates = data(3, 2, 6, dtype=dtype, seed=2)
    check(ScatterElements(1, ScatterFn.SET), [x, places(5, 3, 2, 6, dtype=index), updates], BEST, KERNELS)


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_gather_nd(batch: int) -> None:
    x = data(2, 3, 4, 5)
    shape = (2, 3)[:batch]
    for depth in range(1, 5 - batch):
        check(GatherNd(batch), [x, places(4, *shape, 6, depth)], BEST, KERNELS)
    check(GatherNd(), [x, places(2, 3)], BEST, KERNELS)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_sizes_that_are_open(target: Any) -> None:
    x, rows = data(1, 9, 11, 5), data(9, 11)
    check(GatherNd(1), [x, places(9, 1, 20, 2)], target, KERNELS, shapes=[(1, H, W, 5), (1, 20, 2)])
    check(GatherElements(1), [rows, places(11, 9, 4)], target, KERNELS, shapes=[(H, W), (H, 4)])
    check(TopK(3, 1), [rows], target, KERNELS, shapes=[(H, W)])
    check(TopK(floor_div(H, 2), 0, False), [rows], target, KERNELS, shapes=[(H, W)])
    scatter = ScatterElements(0, ScatterFn.ADD)
    check(scatter, [rows, places(9, 9, 11), data(9, 11)], target, KERNELS, shapes=[(H, W)] * 3, tolerance=Tol.EXACT)
    amounts = ((0, 0), (H, 2), (1, floor_div(W, 2)), (0, 0))
    for mode in (PadMode.EDGE, PadMode.WRAP):
        check(Pad(amounts, mode), [x], target, DATA, shapes=[(1, H, W, 5)])


@pytest.mark.parametrize("how", [*ScatterFn])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8, np.float16], ids=lambda d: d.__name__)
def test_scatters(how: ScatterFn, dtype: Any) -> None:
    x = data(3, 6, 4, dtype=dtype)
    with np.errstate(all="ignore"):
        check(ScatterNd(how), [x, places(3, 5, 2), data(5, 4, dtype=dtype, seed=3)], BEST, KERNELS)
        check(ScatterNd(how), [x, places(3, 9, 3), data(9, dtype=dtype, seed=3)], BEST, KERNELS)
        for axis in range(3):
            updates = data(2, 5, 3, dtype=dtype, seed=4)
            check(ScatterElements(axis, how), [x, places(3, 2, 5, 3), updates], BEST, KERNELS)


def test_pieces_larger_than_a_block() -> None:
    x = data(3, 9001)
    check(ScatterNd(ScatterFn.ADD), [x, places(3, 4, 1), data(4, 9001, seed=5)], BEST, KERNELS)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64, np.uint16, np.int8])
def test_top_k(largest: bool, dtype: Any) -> None:
    x = np.round(data(3, 17, 5, dtype=np.float64) / 20).astype(dtype)
    for axis, count in ((0, 3), (1, 4), (1, 17), (2, 1), (2, 0)):
        check(TopK(count, axis, largest), [x], BEST, KERNELS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_top_k_of_odd_numbers(dtype: Any) -> None:
    x = np.array([0, -0.0, np.nan, np.inf, -np.inf, 1e-7, -np.nan, np.nan, 3, -1e-7, -0.0, 0], dtype)
    ints = np.array([np.iinfo(np.int64).min, -1, np.iinfo(np.int64).max, 0, np.iinfo(np.int64).min], np.int64)
    for largest in (True, False):
        check(TopK(len(x), 0, largest), [x], BEST, KERNELS)
        check(TopK(len(ints), 0, largest), [ints], BEST, KERNELS)


@pytest.mark.parametrize("fn", [*SampleFn])
@pytest.mark.parametrize("edge", [*SampleEdge])
@pytest.mark.parametrize("align", [True, False])
def test_grid_sample(fn: SampleFn, edge: SampleEdge, align: bool) -> None:
    rng = np.random.default_rng(9)
    for dtype, size, channels in ((np.float32, (5, 7), 19), (np.float64, (1, 2), 3)):
        x = data(2, *size, channels, dtype=dtype)
        grid = (rng.random((2, 6, 5, 2)) * 6 - 3).astype(dtype)
        grid[:, 0] = [[np.nan, 0], [np.inf, -np.inf], [1e30, -1e30], [1, -1], [-1, 1]]
        check(GridSample(fn, edge, align), [x, grid], BEST, KERNELS, tolerance=Tol.ULP(4))


@given(st.integers(1, 4), st.integers(0, 9), st.integers(0, 9), st.sampled_from([PadMode.EDGE, PadMode.WRAP]))
@settings(max_examples=25, deadline=None)
def test_paddings_of_any_width(extent: int, before: int, after: int, mode: PadMode) -> None:
    check(Pad(((before, after), (0, 0), (after, before)), mode), [data(extent, 3, 2)], BEST, DATA)
