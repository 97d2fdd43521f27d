"""Integer expansion and depthwise convolution in one step: the same bytes as the two steps, on every shape and tile."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernels.guard import Side
from kernels.harness import Compiled, compile_graph, input_node, run_compiled, weights
from smalti.ir import ops, reference
from smalti.ir.dims import symbol
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import Activation
from smalti.kernels.conv.bands import Band
from smalti.kernels.quantised import FUSED, KERNELS
from smalti.kernels.quantised.expand_depthwise import ExpandDepthwiseKernel, ExpandDepthwiseTile
from smalti.kernels.quantised.tile import choose_tile
from smalti.numerics import DType
from smalti.target.host import arch, missing_features
from smalti.target.target import Caches, Target, known_extensions, levels_of
from tolerance import Tol, assert_close

DEPTH = 13


def _targets() -> list[Target]:
    levels = [t.name for t in levels_of(arch())]
    names = levels + [f"{name}+vnni" for name in levels if "vnni" in known_extensions(name)]
    # A small second cache makes small tensors too wide for it, and bands short.
    small = Caches(1024, 4096, 65536)
    return [replace(t, caches=small) for t in map(Target.parse, names) if not missing_features(t.features)]


TARGETS = _targets()
BEST = TARGETS[-1]
SAME = ops.QuantisedConv2d(pads=(1, 1, 1, 1))


def _block(
    size: tuple[int, int],
    channels: int,
    op: ops.QuantisedConv2d,
    kernel: tuple[int, int] = (3, 3),
    mutable: bool = False,
    batch: int = 1,
    addend: bool = False,
) -> Graph:
    rng = np.random.default_rng(1)
    shape = (batch, symbol("H"), symbol("W"), DEPTH) if mutable else (batch, *size, DEPTH)
    x = input_node("x", DType.UINT8, shape)
    w = rng.integers(-127, 128, (1, 1, DEPTH, channels)).astype(np.int8)
    multiplier = rng.uniform(1e-3, 4e-3, channels).astype(np.float32)
    bias = rng.integers(-9000, 9000, channels).astype(np.int32)
    addends = () if not addend else (weights((9 * rng.standard_normal(channels)).astype(np.float32)),)
    wide_op = ops.QuantisedConv2d(zero_point=120, bias=True, addend=addend, result_zero_point=9, low=9, high=240)
    wide = make_node(wide_op, (x, weights(w), weights(multiplier), weights(bias), *addends), "wide")
    taps = rng.integers(-128, 128, (*kernel, 1, channels)).astype(np.int8)
    filters = (weights(taps), weights(rng.uniform(1e-3, 6e-3, channels).astype(np.float32)), weights(bias))
    full = replace(op, groups=channels, zero_point=9, bias=True, result_zero_point=31, low=3)
    node = make_node(full, (wide, *filters), "y")
    return Graph((x,), (node,), ("y:0",), Level.CANONICAL)


def _compile(graph: Graph, target: Target) -> Compiled:
    compiled = compile_graph(graph, target, KERNELS, fused=FUSED)
    assert [s.kernel.name for s in compiled.plan.steps] == ["i8_expand_depthwise"]
    return compiled


def _image(size: tuple[int, int], batch: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).integers(0, 256, (batch, *size, DEPTH)).astype(np.uint8)


def _check(graph: Graph, size: tuple[int, int], compiled: Compiled, batch: int = 1) -> None:
    values = {"x": _image(size, batch)}
    want = reference.run(graph, values)["y:0"]
    assert len(np.unique(want)) > 20
    for threads, side in ((1, Side.LEFT), (3, Side.RIGHT)):
        assert_close(run_compiled(compiled, values, threads, side)[0], want, Tol.EXACT)


GEOMETRIES = [
    SAME,
    replace(SAME, stride=(2, 2)),
    replace(SAME, stride=(2, 2), pads=(0, 1, 0, 1)),
    replace(SAME, dilation=(2, 2), pads=(2, 2, 2, 2)),
    replace(SAME, dilation=(4, 4), pads=(4, 4, 4, 4)),
    replace(SAME, dilation=(4, 4), pads=(3, 6, 2, 5)),
    replace(SAME, dilation=(12, 12), pads=(12, 12, 12, 12)),
    replace(SAME, dilation=(3, 1), pads=(3, 3, 0, 0)),
    replace(SAME, stride=(3, 2), pads=(0, 0, 1, 1)),
    replace(SAME, stride=(2, 3), dilation=(1, 2)),
]


@pytest.mark.parametrize("mutable", [False, True])
@pytest.mark.parametrize("op", GEOMETRIES, ids=lambda o: f"s{o.stride}d{o.dilation}p{o.pads}")
def test_geometry(op: ops.QuantisedConv2d, mutable: bool) -> None:
    sizes = [(13, 17), (6, 40), (29, 9)] if mutable else [(13, 17)]
    graph = _block(sizes[0], 80, op, mutable=mutable)
    compiled = _compile(graph, BEST)
    for size in sizes:
        _check(graph, size, compiled)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("channels", [21, 24, 32, 40, 72, 96, 130, 192])
def test_channels(target: Target, channels: int) -> None:
    graph = _block((11, 14), channels, SAME, batch=2)
    _check(graph, (11, 14), _compile(graph, target), batch=2)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("op", [GEOMETRIES[1], GEOMETRIES[3]], ids=["stride", "dilation"])
def test_geometry_of_every_target(target: Target, op: ops.QuantisedConv2d) -> None:
    graph = _block((15, 18), 72, op)
    _check(graph, (15, 18), _compile(graph, target))


@pytest.mark.parametrize("kernel", [(1, 3), (5, 5), (2, 2), (8, 7)])
def test_kernel_sizes(kernel: tuple[int, int]) -> None:
    op = replace(SAME, pads=(kernel[0] // 2, kernel[0] // 2, kernel[1] // 2, kernel[1] // 2))
    graph = _block((15, 12), 48, op, kernel)
    _check(graph, (15, 12), _compile(graph, BEST))


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_addend_and_float_result(target: Target) -> None:
    op = replace(SAME, dtype=DType.FLOAT32, activation=Activation.RELU)
    graph = _block((12, 15), 48, op, addend=True)
    _check(graph, (12, 15), _compile(graph, target))


@pytest.mark.parametrize("channels", [16, 32, 48, 96, 192])
@pytest.mark.parametrize("rows", [1, 2, 5, 40])
def test_every_tile_gives_the_same_bits(channels: int, rows: int) -> None:
    graph = _block((17, 19), 192, GEOMETRIES[3])

    class Forced(ExpandDepthwiseKernel):
        """The kernel with a tile of the test's choice."""

        __slots__ = ()

        def tile(self, node: Node, target: Target) -> ExpandDepthwiseTile:
            """Return that tile."""
            own = ExpandDepthwiseKernel.tile(self, node, target)
            gemm = choose_tile(target, own.wide, channels, DEPTH)
            return replace(own, band=Band(channels, rows), gemm=gemm)

    forced = compile_graph(graph, BEST, KERNELS, fused=(Forced(),))
    assert forced.plan.steps[0].plan.tile.band == Band(channels, rows)
    _check(graph, (17, 19), forced)


def test_the_two_steps_give_the_same_bits() -> None:
    graph = _block((13, 17), 80, GEOMETRIES[4])
    values = {"x": _image((13, 17))}
    apart = compile_graph(graph, BEST, KERNELS)
    assert [s.kernel.name for s in apart.plan.steps] == ["i8_conv1x1", "i8_depthwise"]
    assert_close(run_compiled(_compile(graph, BEST), values)[0], run_compiled(apart, values)[0], Tol.EXACT)


def _steps(graph: Graph, target: Target) -> list[str]:
    return [s.kernel.name for s in compile_graph(graph, target, KERNELS, fused=FUSED).plan.steps]


def test_a_wide_tensor_that_others_read_stays_in_memory() -> None:
    graph = _block((13, 17), 48, SAME)
    wide = graph.outputs[0].inputs[0]
    both = replace(graph, outputs=(graph.outputs[0], wide), output_names=("y:0", "wide:0"))
    assert _steps(both, BEST) == ["i8_conv1x1", "i8_depthwise"]


def test_a_tensor_that_fits_the_cache_is_not_fused() -> None:
    roomy = replace(BEST, caches=Caches(1 << 15, 1 << 20, 1 << 24))
    assert _steps(_block((13, 17), 48, SAME), roomy) == ["i8_conv1x1", "i8_depthwise"]


def test_strides_with_dilated_rows_are_not_fused() -> None:
    op = replace(SAME, stride=(2, 1), dilation=(2, 2))
    assert _steps(_block((13, 17), 48, op), BEST) == ["i8_conv1x1", "i8_depthwise"]
