"""Expansion and depthwise convolution in one step: the numbers of the two steps, on every shape and tile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernels.guard import Side
from kernels.harness import Compiled, compile_graph, run_compiled
from smalti.ir import ops, reference
from smalti.ir.dims import symbol
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import Activation
from smalti.kernels.conv import FUSED, KERNELS
from smalti.kernels.conv.bands import Band
from smalti.kernels.conv.expand_depthwise import ExpandDepthwiseKernel, ExpandDepthwiseTile
from smalti.kernels.matrix.tile import choose_tile
from smalti.numerics import DType
from smalti.target.host import arch, missing_features
from smalti.target.target import Caches, Target, levels_of
from tolerance import Tol, assert_close

# A small second cache makes small tensors too wide for it, and bands short.
TARGETS = [replace(t, caches=Caches(4096, 8192, 65536)) for t in levels_of(arch()) if not missing_features(t.features)]
DEPTH = 12


def _random(shape: tuple[int, ...], seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _block(
    size: tuple[int, int],
    channels: int,
    op: ops.Conv2d,
    kernel: tuple[int, int] = (3, 3),
    mutable: bool = False,
    batch: int = 1,
) -> Graph:
    sizes = (batch, symbol("H"), symbol("W"), DEPTH) if mutable else (batch, *size, DEPTH)
    x = make_node(ops.Input(), (), "x:0", TensorType(DType.FLOAT32, sizes))
    expand = ops.Conv2d(bias=True, activation=Activation.RELU6)
    weights = (constant(_random((1, 1, DEPTH, channels), 1)), constant(_random((channels,), 2)))
    wide = make_node(expand, (x, *weights), "wide")
    filters = (constant(_random((*kernel, 1, channels), 3)), constant(_random((channels,), 4)))
    node = make_node(replace(op, bias=True, activation=Activation.RELU6, groups=channels), (wide, *filters), "y")
    return Graph((x,), (node,), ("y:0",), Level.CANONICAL)


def _compile(graph: Graph, target: Target) -> Compiled:
    compiled = compile_graph(graph, target, KERNELS, fused=FUSED)
    assert [s.kernel.name for s in compiled.plan.steps] == ["f32_expand_depthwise"]
    return compiled


def _check(graph: Graph, size: tuple[int, int], compiled: Compiled, batch: int = 1) -> None:
    values = {"x:0": _random((batch, *size, DEPTH), 5)}
    want = reference.run(graph, values)["y:0"]
    results = [run_compiled(compiled, values, threads, side)[0] for threads, side in ((1, Side.LEFT), (3, Side.RIGHT))]
    assert_close(results[0], want, Tol.FLOAT(reduction=DEPTH * 9))
    assert_close(results[1], results[0], Tol.EXACT)


GEOMETRIES = [
    ops.Conv2d((1, 1), (1, 1), (1, 1, 1, 1)),
    ops.Conv2d((2, 2), (1, 1), (1, 1, 1, 1)),
    ops.Conv2d((2, 2), (1, 1), (0, 1, 0, 1)),
    ops.Conv2d((1, 1), (2, 2), (2, 2, 2, 2)),
    ops.Conv2d((1, 1), (4, 4), (4, 4, 4, 4)),
    ops.Conv2d((1, 1), (4, 4), (3, 6, 2, 5)),
    ops.Conv2d((1, 1), (12, 12), (12, 12, 12, 12)),
    ops.Conv2d((1, 1), (3, 1), (3, 3, 0, 0)),
    ops.Conv2d((3, 2), (1, 1), (0, 0, 1, 1)),
]


@pytest.mark.parametrize("mutable", [False, True])
@pytest.mark.parametrize("op", GEOMETRIES, ids=lambda o: f"s{o.stride}d{o.dilation}p{o.pads}")
def test_geometry(op: ops.Conv2d, mutable: bool) -> None:
    sizes = [(13, 17), (6, 40), (29, 9)] if mutable else [(13, 17)]
    graph = _block(sizes[0], 48, op, mutable=mutable)
    compiled = _compile(graph, TARGETS[-1])
    for size in sizes:
        _check(graph, size, compiled)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("channels", [24, 32, 40, 72, 96, 160])
def test_channels(target: Target, channels: int) -> None:
    graph = _block((11, 14), channels, GEOMETRIES[0], batch=2)
    _check(graph, (11, 14), _compile(graph, target), batch=2)


def test_one_channel() -> None:
    graph = _block((80, 60), 1, GEOMETRIES[0])
    _check(graph, (80, 60), _compile(graph, TARGETS[-1]))


@pytest.mark.parametrize("kernel", [(1, 3), (5, 5), (2, 2)])
def test_kernel_sizes(kernel: tuple[int, int]) -> None:
    op = ops.Conv2d(pads=(kernel[0] // 2, kernel[0] // 2, kernel[1] // 2, kernel[1] // 2))
    graph = _block((15, 12), 48, op, kernel)
    _check(graph, (15, 12), _compile(graph, TARGETS[-1]))


@pytest.mark.parametrize("channels", [16, 32, 48, 96])
@pytest.mark.parametrize("rows", [1, 2, 5, 40])
def test_every_tile_gives_the_same_bits(channels: int, rows: int) -> None:
    target = TARGETS[-1]
    lanes = target.vector_bits // 32
    if channels % lanes:
        pytest.skip(f"blocks are multiples of {lanes} channels on {target}")
    graph = _block((17, 19), 96, GEOMETRIES[3])
    own = _compile(graph, target)
    tile = ExpandDepthwiseTile(Band(channels, rows), choose_tile(target, channels, DEPTH))

    class Forced(ExpandDepthwiseKernel):
        """The kernel with a tile of the test's choice."""

        __slots__ = ()

        def tile(self, node: Node, target: Target) -> ExpandDepthwiseTile:
            """Return that tile."""
            return tile

    forced = compile_graph(graph, target, KERNELS, fused=(Forced(),))
    assert forced.plan.steps[0].plan.tile == tile
    values = {"x:0": _random((1, 17, 19, DEPTH), 5)}
    assert_close(run_compiled(forced, values, 2)[0], run_compiled(own, values, 2)[0], Tol.EXACT)


def test_a_wide_tensor_that_others_read_stays_in_memory() -> None:
    graph = _block((13, 17), 48, GEOMETRIES[0])
    wide = graph.outputs[0].inputs[0]
    both = replace(graph, outputs=(graph.outputs[0], wide), output_names=("y:0", "wide:0"))
    plan = compile_graph(both, TARGETS[-1], KERNELS, fused=FUSED).plan
    assert [s.kernel.name for s in plan.steps] == ["f32_conv1x1", "f32_depthwise"]


def test_a_tensor_that_fits_the_cache_is_not_fused() -> None:
    roomy = replace(TARGETS[-1], caches=Caches(1 << 15, 1 << 20, 1 << 24))
    plan = compile_graph(_block((13, 17), 48, GEOMETRIES[0]), roomy, KERNELS, fused=FUSED).plan
    assert [s.kernel.name for s in plan.steps] == ["f32_conv1x1", "f32_depthwise"]
