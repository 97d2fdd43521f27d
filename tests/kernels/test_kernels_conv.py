"""Float32 convolution kernels against the numpy meaning, between guard pages, on edge shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.guard import Side
from kernels.harness import compile_graph, run_compiled
from smalti.ir import ops, reference
from smalti.ir.dims import symbol
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import Activation
from smalti.kernels.conv import KERNELS
from smalti.kernels.kernel import KernelPlan
from smalti.kernels.matrix.floats import FloatDot
from smalti.kernels.matrix.shapes import Depth, GemmTile, pack_rows
from smalti.kernels.matrix.tile import make_panel
from smalti.numerics import DType
from smalti.target.host import arch, missing_features
from smalti.target.target import Target, levels_of
from tolerance import Tol, assert_close

TARGETS = [t for t in levels_of(arch()) if not missing_features(t.features)]
CHANNELS = (1, 3, 7, 16, 21, 24, 32, 33, 47, 49, 64, 65, 97, 960)


def _random(shape: tuple[int, ...], seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _input(shape: tuple[int, ...], dtype: DType = DType.FLOAT32, name: str = "x:0", mutable: bool = False) -> Node:
    sizes = (shape[0], symbol("H"), symbol("W"), shape[3]) if mutable else shape
    return make_node(ops.Input(), (), name, TensorType(dtype, sizes))


def _check(node: Node, values: dict[str, np.ndarray[Any, Any]], target: Target, depth: int) -> None:
    inputs = tuple(n for n in _inputs(node))
    graph = Graph(inputs, (node,), ("y:0",), Level.CANONICAL)
    want = reference.run(graph, values)["y:0"]
    compiled = compile_graph(graph, target, KERNELS)
    results = [run_compiled(compiled, values, threads, side)[0] for threads, side in ((1, Side.LEFT), (3, Side.RIGHT))]
    assert_close(results[0], want, Tol.FLOAT(reduction=depth))
    assert_close(results[1], results[0], Tol.EXACT)


def _inputs(node: Node) -> list[Node]:
    found = [n for n in node.inputs if isinstance(n.op, ops.Input)]
    return sorted(found, key=lambda n: n.name)


def _conv(
    x: Node,
    weights: np.ndarray[Any, Any],
    op: ops.Conv2d,
    residual: Node | None = None,
) -> Node:
    operands = [x, constant(weights)]
    if op.bias:
        operands.append(constant(_random((weights.shape[3],), 3)))
    if residual is not None:
        operands.append(residual)
    return make_node(op, operands, "y:0")


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("channels", CHANNELS)
def test_pointwise_channels(target: Target, channels: int) -> None:
    shape = (1, 5, 11, 24)
    node = _conv(
        _input(shape),
        _random((1, 1, 24, channels), 1),
        ops.Conv2d(bias=True, activation=Activation.RELU6),
    )
    _check(node, {"x:0": 4 * _random(shape, 2)}, target, 24)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("pixels", [(1, 1), (1, 2), (1, 5), (1, 7), (3, 5), (13, 1), (1, 29), (7, 14), (24, 33)])
def test_pointwise_pixels(target: Target, pixels: tuple[int, int]) -> None:
    shape = (1, *pixels, 7)
    residual = _input((1, *pixels, 40), name="z:0")
    node = _conv(_input(shape), _random((1, 1, 7, 40), 1), ops.Conv2d(residual=True), residual)
    _check(node, {"x:0": _random(shape, 2), "z:0": _random((1, *pixels, 40), 4)}, target, 8)


@pytest.mark.parametrize("mutable", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3, 320, 960])
def test_pointwise_depth(depth: int, mutable: bool) -> None:
    shape = (2, 4, 9, depth)
    node = _conv(_input(shape, mutable=mutable), _random((1, 1, depth, 17), 1), ops.Conv2d(activation=Activation.RELU))
    _check(node, {"x:0": _random(shape, 2)}, TARGETS[-1], depth)


GEOMETRIES = [
    # kernel, stride, dilation, pads (top, bottom, left, right)
    ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    ((3, 3), (2, 2), (1, 1), (0, 1, 0, 1)),
    ((3, 3), (2, 2), (1, 1), (1, 1, 1, 1)),
    ((3, 3), (1, 1), (2, 2), (2, 2, 2, 2)),
    ((3, 3), (1, 1), (6, 6), (6, 6, 6, 6)),
    ((3, 3), (1, 1), (18, 18), (18, 18, 18, 18)),
    ((5, 3), (1, 2), (1, 3), (2, 2, 3, 3)),
    ((1, 1), (2, 2), (1, 1), (0, 0, 0, 0)),
    ((2, 2), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((7, 7), (3, 2), (1, 1), (3, 3, 3, 3)),
    ((1, 5), (1, 1), (1, 2), (0, 0, 4, 4)),
    ((3, 3), (1, 1), (1, 1), (3, 5, 4, 6)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("size", [(7, 7), (9, 14), (21, 17)])
def test_general_geometry(geometry: Any, size: tuple[int, int]) -> None:
    kernel, stride, dilation, pads = geometry
    shape = (1, *size, 5)
    op = ops.Conv2d(stride, dilation, pads, bias=True, activation=Activation.RELU)
    node = _conv(_input(shape), _random((*kernel, 5, 19), 1), op)
    _check(node, {"x:0": _random(shape, 2)}, TARGETS[-1], kernel[0] * kernel[1] * 5)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("mutable", [False, True])
def test_image_convolution(target: Target, mutable: bool) -> None:
    shape = (1, 19, 30, 3)
    op = ops.Conv2d((2, 2), (1, 1), (1, 3, 1, 5), bias=True, activation=Activation.RELU6, input_offset=127.5)
    node = _conv(_input(shape, DType.UINT8, mutable=mutable), _random((3, 3, 3, 32), 1) / 100, op)
    image = np.random.default_rng(5).integers(0, 256, shape, np.uint8)
    _check(node, {"x:0": image}, target, 27 * 8)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("channels", CHANNELS)
def test_depthwise_channels(target: Target, channels: int) -> None:
    shape = (1, 6, 13, channels)
    op = ops.Conv2d(pads=(1, 1, 1, 1), bias=True, activation=Activation.RELU6, groups=channels)
    operands = [_input(shape), constant(_random((3, 3, 1, channels), 1)), constant(_random((channels,), 3))]
    _check(make_node(op, operands, "y:0"), {"x:0": _random(shape, 2)}, target, 9)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("size", [(7, 7), (9, 14), (21, 17)])
@pytest.mark.parametrize("mutable", [False, True])
def test_depthwise_geometry(geometry: Any, size: tuple[int, int], mutable: bool) -> None:
    kernel, stride, dilation, pads = geometry
    shape = (2, *size, 20)
    op = ops.Conv2d(stride, dilation, pads, groups=20)
    node = make_node(op, [_input(shape, mutable=mutable), constant(_random((*kernel, 1, 20), 1))], "y:0")
    _check(node, {"x:0": _random(shape, 2)}, TARGETS[-1], kernel[0] * kernel[1])


def test_not_a_number_passes_the_activation() -> None:
    shape = (1, 1, 3, 4)
    node = _conv(
        _input(shape), np.eye(4, dtype=np.float32).reshape(1, 1, 4, 4), ops.Conv2d(activation=Activation.RELU6)
    )
    image = np.zeros(shape, np.float32)
    image[0, 0, 1, 2] = np.nan
    graph = Graph((node.inputs[0],), (node,), ("y:0",), Level.CANONICAL)
    result = run_compiled(compile_graph(graph, TARGETS[-1], KERNELS), {"x:0": image})[0]
    assert np.isnan(result[0, 0, 1]).all()
    assert not np.isnan(result[0, 0, 0]).any()


@pytest.mark.parametrize("vectors", [1, 2, 3, 4])
@pytest.mark.parametrize(("chunk", "block"), [(48, 48), (96, 12), (192, 24), (7, 5)])
def test_every_tile_gives_the_same_bits(vectors: int, chunk: int, block: int) -> None:
    target = TARGETS[-1]
    shape = (1, 13, 17, 24)
    node = _conv(_input(shape), _random((1, 1, 24, 65), 1), ops.Conv2d(bias=True, activation=Activation.RELU6))
    graph = Graph((node.inputs[0],), (node,), ("y:0",), Level.CANONICAL)
    lanes = target.vector_bits // 32
    panels = tuple(make_panel(target, min(vectors * lanes, 65 - i)) for i in range(0, 65, vectors * lanes))
    weights, bias = (np.asarray(n.op.value) for n in node.inputs[1:] if isinstance(n.op, ops.Constant))
    constants = (FloatDot().layout.pack(weights, Depth.flat(24), panels), pack_rows((bias,), panels))
    forced = KernelPlan((0,), constants, (), GemmTile(panels, chunk, block))
    values = {"x:0": _random(shape, 2)}
    own = run_compiled(compile_graph(graph, target, KERNELS), values)[0]
    other = compile_graph(graph, target, KERNELS, {"y:0": forced})
    assert other.plan.steps[0].plan.tile == forced.tile
    assert_close(run_compiled(other, values, 2)[0], own, Tol.EXACT)
