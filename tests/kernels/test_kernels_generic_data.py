"""Data movement kernels, with every element size, dense and strided, sizes known and symbolic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.harness import check, compile_graph, edge_sizes, run_compiled, run_node, single
from smalti.ir import ops
from smalti.ir.dims import floor_div, symbol
from smalti.ir.infer import make_node
from smalti.ir.ops import (
    BroadcastTo,
    Concat,
    DepthToSpace,
    Gather,
    Layout,
    Pad,
    PadMode,
    SizeTensor,
    Slice,
    SpaceToDepth,
    Transpose,
)
from smalti.kernels.data import KERNELS
from smalti.kernels.elementwise import KERNELS as ELEMENTWISE
from smalti.numerics import DType
from smalti.target.host import arch, missing_features
from smalti.target.target import levels_of

TARGETS = [t for t in levels_of(arch()) if not missing_features(t.features)]
BEST = TARGETS[-1]
H, W = symbol("H", 1, 100), symbol("W", 1, 100)
IMAGE = (1, H, W, 5)
DTYPES = (np.float32, np.uint8, np.float16, np.int64)


def data(*shape: int, dtype: Any = np.float32, seed: int = 0) -> NDArray[Any]:
    return (np.random.default_rng(seed).random(shape) * 200).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_element_sizes(dtype: Any) -> None:
    x = data(3, 37, 5, dtype=dtype)
    check(Slice((1, 2, 0), (2, 30, 5), (1, 1, 1)), [x], BEST, KERNELS)
    check(Transpose((2, 0, 1)), [x], BEST, KERNELS)
    check(Concat(1), [x, x[:, :4]], BEST, KERNELS)
    check(Pad(((0, 1), (2, 3), (0, 0)), value=7.0), [x], BEST, KERNELS)
    check(BroadcastTo((2, 3, 37, 5)), [x[:, :1]], BEST, KERNELS)
    check(Gather(1), [x, np.array([36, 0, 5], np.int32)], BEST, KERNELS)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("width", [n for t in (16, 64) for n in edge_sizes(t)])
def test_run_lengths(width: int, target: Any) -> None:
    x = data(3, width, dtype=np.uint8)
    check(Concat(1), [x, data(3, 5, dtype=np.uint8), x], target, KERNELS)


@pytest.mark.parametrize("axis", (0, 1, 2, 3))
def test_concat(axis: int) -> None:
    parts = []
    for i, extent in enumerate((3, 1, 4)):
        shape = [1 if axis else 2, 3, 4, 5]
        shape[axis] = extent
        parts.append(data(*shape, seed=i))
    check(Concat(axis), parts, BEST, KERNELS)


def test_concat_of_one_long_row_is_shared_out() -> None:
    check(Concat(0), [data(20000), data(1), data(9001)], BEST, KERNELS)


def test_concat_with_symbolic_sizes() -> None:
    x, y = data(1, 9, 11, 5), data(1, 9, 11, 21)
    check(Concat(3), [x, y], BEST, KERNELS, shapes=[IMAGE, (1, H, W, 21)])
    check(Concat(1), [x, data(1, 2, 11, 5)], BEST, KERNELS, shapes=[IMAGE, (1, 2, W, 5)])


@pytest.mark.parametrize("mode", PadMode, ids=lambda m: m.value)
def test_pad(mode: PadMode) -> None:
    check(Pad(((0, 0), (1, 2), (2, 1), (0, 0)), mode, 0.5), [data(2, 4, 5, 3)], BEST, KERNELS)
    check(Pad(((2, 1),), mode, 3), [data(7, dtype=np.uint8)], BEST, KERNELS)
    check(Pad(((0, 0), (0, 0)), mode, 3), [data(7, 3)], BEST, KERNELS)
    check(Pad(((1, 1), (0, 2), (2, 2)), mode, -2), [data(3, 4, 5, dtype=np.int64)], BEST, KERNELS)
    moving = Pad(((0, 0), (1, 2), (2, W - 1), (0, 0)), mode, 0.5)
    check(moving, [data(1, 4, 9, 5)], BEST, KERNELS, shapes=[IMAGE])


def test_slices() -> None:
    x = data(4, 9, 11, 5)
    check(Slice((0, 1, 0, 0), (4, 5, 11, 5), (1, 1, 1, 1)), [x], BEST, KERNELS)
    check(Slice((3, 8, 10, 4), (4, 3, 4, 5), (-1, -4, -3, -1)), [x], BEST, KERNELS)
    check(Slice((0, 0, 0, 2), (2, 9, 4, 1), (3, 1, 3, 1)), [x], BEST, KERNELS)
    check(Slice((1, 1, 1, 1), (2, 0, 4, 1), (1, 1, 1, 1)), [x], BEST, KERNELS)
    last = Slice((0, H - 2, 0, 1), (1, 2, floor_div(W, 2), 2), (1, 1, 2, 3))
    check(last, [data(1, 9, 12, 5)], BEST, KERNELS, shapes=[IMAGE])


@pytest.mark.parametrize("perm", ((0, 3, 1, 2), (0, 2, 3, 1), (3, 2, 1, 0), (0, 1, 2, 3), (1, 0, 2, 3)), ids=str)
def test_transpose(perm: tuple[int, ...]) -> None:
    check(Transpose(perm), [data(2, 5, 17, 33)], BEST, KERNELS)
    check(Transpose(perm), [data(1, 6, 7, 5)], BEST, KERNELS, shapes=[IMAGE])


def test_broadcast_to() -> None:
    check(BroadcastTo((4, 5, 6)), [data(5, 1)], BEST, KERNELS)
    check(BroadcastTo((300, 200)), [data(1)], BEST, KERNELS)
    check(BroadcastTo((1, 1, 3)), [data(3)], BEST, KERNELS)


def test_broadcast_to_the_size_of_the_image() -> None:
    image, vector = data(1, 6, 7, 5), data(1, 1, 1, 5, seed=1)
    small = single(ops.Binary(ops.BinaryFn.ADD), [image, vector], [IMAGE, None])
    wide = make_node(BroadcastTo(IMAGE), (small.inputs[1],))
    graph = single(ops.Binary(ops.BinaryFn.ADD), [small.inputs[0], wide])
    graph = type(graph)(small.inputs, graph.outputs, graph.output_names, graph.level)
    compiled = compile_graph(graph, BEST, (*KERNELS, *ELEMENTWISE))
    (result,) = run_compiled(compiled, {"x0": image, "x1": vector})
    assert (result == image + vector).all()


@pytest.mark.parametrize("axis", (0, 1, 2))
def test_gather(axis: int) -> None:
    x = data(6, 7, 8)
    check(Gather(axis), [x, np.array([[0, 5], [2, 2]], np.int32)], BEST, KERNELS)
    check(Gather(axis), [x, np.array(3, np.int64)], BEST, KERNELS)
    check(Gather(axis), [x, np.zeros((0,), np.int64)], BEST, KERNELS)


def test_gather_keeps_inside_whatever_the_index() -> None:
    x = data(5, 3)
    indices = np.array([-1, 5, 2**62, -(2**63)], np.int64)
    assert (run_node(Gather(0), [x, indices], BEST, KERNELS) == x[[0, 4, 4, 0]]).all()


@pytest.mark.parametrize("layout", Layout, ids=lambda v: v.value)
def test_blocks(layout: Layout) -> None:
    image = (2, 4, 6, 9) if layout is Layout.NHWC else (2, 9, 4, 6)
    depth = (2, 3, 4, 12) if layout is Layout.NHWC else (2, 12, 3, 4)
    check(SpaceToDepth(2, layout), [data(*image)], BEST, KERNELS)
    check(DepthToSpace(2, layout), [data(*depth)], BEST, KERNELS)


def test_size_tensor() -> None:
    graph = single(ops.Gather(0), [data(2), np.array([0], np.int32)], [(H,), (W,)])
    for dtype in (DType.INT32, DType.INT64):
        sizes = make_node(SizeTensor((1, H, W * 2 - 3, floor_div(H, 2)), (2, 2), dtype), ())
        out = type(graph)(graph.inputs, (sizes,), ("y",), graph.level)
        compiled = compile_graph(out, BEST, KERNELS)
        (result,) = run_compiled(compiled, {"x0": data(9), "x1": np.zeros(4, np.int32)})
        assert result.dtype == dtype.numpy and result.tolist() == [[1, 9], [5, 4]]
