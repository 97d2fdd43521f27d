"""Integer depthwise kernels against the numpy meaning, to the last bit, between guard pages, on edge shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.guard import Side
from kernels.harness import check, compile_graph, input_node, run_compiled, single, weights
from smalti.codegen.module import build_module
from smalti.ir import ops, reference
from smalti.ir.dims import symbol
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import Activation
from smalti.kernels.kernel import KernelPlan
from smalti.kernels.quantised.depthwise import DepthwiseKernel, DepthwiseTile, packed_filters
from smalti.kernels.quantised.packing import epilogue_of
from smalti.kernels.quantised.strips import cut
from smalti.kernels.quantised.window import MOST_TAPS
from smalti.llvm.backend import emit_object
from smalti.numerics import DType
from smalti.plan.planner import plan_graph
from smalti.target.host import arch, missing_features
from smalti.target.target import Target, known_extensions, levels_of
from tolerance import Tol, assert_close

KERNELS = (DepthwiseKernel(),)


def _targets() -> list[Target]:
    levels = [t.name for t in levels_of(arch())]
    names = levels + [f"{name}+vnni" for name in levels if "vnni" in known_extensions(name)]
    return [t for t in map(Target.parse, names) if not missing_features(t.features)]


TARGETS = _targets()
BEST = TARGETS[-1]
SAME = ops.QuantisedConv2d(pads=(1, 1, 1, 1), zero_point=7, bias=True, result_zero_point=11)


@dataclass(frozen=True)
class Case:
    """A depthwise convolution with random operands; ``spread`` is how many steps a typical sum makes.

    The operation is given without its groups.
    """

    shape: tuple[int, int, int, int]
    kernel: tuple[int, int] = (3, 3)
    op: ops.QuantisedConv2d = SAME
    spread: float = 60.0

    @property
    def whole(self) -> ops.QuantisedConv2d:
        """The operation with a group for each channel."""
        return replace(self.op, groups=self.shape[3])

    def operands(self) -> list[NDArray[Any] | Node]:
        """Return the operands: the pixels are an input, the others constants."""
        rng = np.random.default_rng(1)
        channels = self.shape[3]
        size = self.spread / (np.sqrt(self.kernel[0] * self.kernel[1]) * 74 * 74)
        result: list[NDArray[Any] | Node] = [
            rng.integers(0, 256, self.shape).astype(np.uint8),
            weights(rng.integers(-128, 128, (*self.kernel, 1, channels)).astype(np.int8)),
            weights((size * rng.uniform(0.5, 2, channels)).astype(np.float32)),
        ]
        if self.op.bias:
            result.append(weights(rng.integers(-5000, 5000, channels).astype(np.int32)))
        if self.op.addend:
            result.append(weights((30 * rng.standard_normal(channels)).astype(np.float32)))
        return result

    def check(self, target: Target) -> NDArray[Any]:
        """Compare with the reference."""
        return check(self.whole, self.operands(), target, KERNELS)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize(
    "channels", [*range(1, 10), 12, 13, 15, 16, 17, 24, 31, 32, 33, 47, 48, 63, 64, 65, 80, 96, 113, 127, 128, 130, 144]
)
def test_channels(target: Target, channels: int) -> None:
    result = Case((1, 4, 6, channels)).check(target)
    assert len(np.unique(result)) > min(channels * 4, 60)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("channels", [192, 320, 576])
def test_many_blocks(target: Target, channels: int) -> None:
    Case((2, 9, 5, channels), op=replace(SAME, low=11)).check(target)


# stride, dilation, pads (top, bottom, left, right)
GEOMETRIES = [
    ((1, 1), (1, 1), (0, 0, 0, 0)),
    ((1, 1), (1, 1), (2, 3, 3, 4)),
    ((2, 2), (1, 1), (1, 1, 1, 1)),
    ((2, 2), (1, 1), (0, 1, 0, 1)),
    ((3, 3), (1, 1), (1, 1, 1, 1)),
    ((1, 1), (2, 2), (2, 2, 2, 2)),
    ((1, 1), (4, 4), (4, 4, 4, 4)),
    ((1, 1), (5, 5), (5, 5, 5, 5)),
    ((1, 1), (18, 18), (18, 18, 18, 18)),
    ((2, 1), (1, 4), (4, 1, 0, 6)),
    ((2, 2), (2, 2), (2, 2, 2, 2)),
    ((3, 2), (2, 4), (3, 1, 4, 5)),
    ((2, 6), (3, 4), (3, 3, 4, 4)),
    ((4, 5), (1, 1), (1, 0, 2, 2)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("size", [(11, 11), (12, 17), (13, 36)])
@pytest.mark.parametrize("channels", [20, 64])
def test_geometry(geometry: Any, size: tuple[int, int], channels: int) -> None:
    stride, dilation, pads = geometry
    op = replace(SAME, stride=stride, dilation=dilation, pads=pads, zero_point=131)
    Case((2, *size, channels), op=op).check(BEST)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_geometry_of_every_target(target: Target, stride: int, dilation: int) -> None:
    pads = (dilation, dilation, dilation, dilation)
    op = replace(SAME, stride=(stride, stride), dilation=(dilation, dilation), pads=pads, zero_point=255)
    Case((1, 10, 19, 84), op=op).check(target)


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("geometry", [(1, 1), (1, 2), (1, 4), (2, 1), (3, 1), (2, 2)], ids=str)
def test_narrow_images(width: int, geometry: tuple[int, int]) -> None:
    stride, dilation = geometry
    pads = (dilation, dilation, dilation, dilation)
    op = replace(SAME, stride=(stride, stride), dilation=(dilation, dilation), pads=pads)
    Case((1, 3, width, 36), op=op).check(BEST)
    Case((1, width, 2, 36), op=op).check(BEST)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("kernel", [(1, 1), (1, 5), (5, 1), (2, 2), (4, 3), (5, 5), (7, 7), (8, 7), (9, 3)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_windows(target: Target, kernel: tuple[int, int], stride: int) -> None:
    kh, kw = kernel
    op = replace(SAME, stride=(stride, stride), pads=(kh // 2, kh // 2, kw // 2, kw // 2))
    Case((1, 9, 12, 52), kernel, op).check(target)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_windows_of_any_size(target: Target) -> None:
    kernel = (6, 11)
    assert kernel[0] * kernel[1] > MOST_TAPS
    op = replace(SAME, stride=(1, 2), dilation=(2, 1), pads=(5, 4, 6, 3))
    Case((1, 13, 17, 37), kernel, op).check(target)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("limits", [(0, 255), (11, 255), (0, 200), (17, 18)])
@pytest.mark.parametrize("zero_points", [(0, 0), (255, 255), (128, 3)])
def test_limits_and_zero_points(target: Target, limits: tuple[int, int], zero_points: tuple[int, int]) -> None:
    op = replace(
        SAME, bias=False, zero_point=zero_points[0], result_zero_point=zero_points[1], low=limits[0], high=limits[1]
    )
    result = Case((1, 9, 7, 116), op=op, spread=300).check(target)
    assert (result.min(), result.max()) == limits


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("dtype", (DType.UINT8, DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16), ids=lambda d: d.value)
@pytest.mark.parametrize("addend", [False, True])
def test_result_types(target: Target, dtype: DType, addend: bool) -> None:
    # Limits say for bytes what an activation says for floats.
    activation = Activation.RELU6 if dtype.is_float else Activation.NONE
    op = replace(SAME, dtype=dtype, addend=addend, activation=activation)
    Case((1, 4, 5, 119), op=op, spread=4).check(target)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("value", (-128, 127))
def test_extreme_products(target: Target, value: int) -> None:
    x = np.full((1, 5, 6, 100), 255, np.uint8)
    w = np.full((3, 3, 1, 100), value, np.int8)
    op = ops.QuantisedConv2d(pads=(1, 1, 1, 1), result_zero_point=128, groups=100)
    result = check(op, [x, weights(w), weights(np.full(100, 2.0**-12, np.float32))], target, KERNELS)
    assert 0 < result.min() < result.max() < 255


@pytest.mark.parametrize("multiplier", [1e6, 1e30])
def test_steps_beyond_int32(multiplier: float) -> None:
    case = Case((1, 5, 6, 100), op=replace(SAME, low=3, high=250))
    operands = case.operands()
    operands[2] = weights(np.full(100, multiplier, np.float32))
    result = check(case.whole, operands, BEST, KERNELS)
    assert set(np.unique(result)) <= {3, 11, 250}


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_image_of_any_size(target: Target, stride: int) -> None:
    op = replace(SAME, stride=(stride, stride), dilation=(3 - stride, 3 - stride), pads=(2, 2, 2, 2))
    case = Case((1, 9, 14, 70), op=op)
    x = input_node("x", DType.UINT8, (1, symbol("H"), symbol("W"), 70))
    graph = Graph((x,), (make_node(case.whole, (x, *case.operands()[1:]), "y"),), ("y:0",), Level.CANONICAL)
    compiled = compile_graph(graph, target, KERNELS)
    for size in ((9, 14), (3, 3), (21, 4), (2, 27)):
        image = np.random.default_rng(3).integers(0, 256, (1, *size, 70)).astype(np.uint8)
        want = reference.run(graph, {"x": image})["y:0"]
        for threads, side in ((1, Side.LEFT), (3, Side.RIGHT)):
            assert_close(run_compiled(compiled, {"x": image}, threads, side)[0], want, Tol.EXACT)


@pytest.mark.parametrize("block", [16, 32, 64, 100])
@pytest.mark.parametrize("rows", [1, 3, 20])
def test_every_tile_gives_the_same_bits(block: int, rows: int) -> None:
    case = Case((1, 13, 7, 100))
    graph = single(case.whole, case.operands())
    (node,) = graph.outputs
    forced = KernelPlan((0,), packed_filters(node, BEST, block), (), DepthwiseTile(block, rows, epilogue_of(node)))
    compiled = compile_graph(graph, BEST, KERNELS, {node.name: forced})
    assert compiled.plan.steps[0].plan.tile == forced.tile
    values = {"x0": case.operands()[0]}
    assert_close(run_compiled(compiled, values, 2)[0], reference.run(graph, values)["y"], Tol.EXACT)


@pytest.mark.parametrize("name", ["x86-64-v3+vnni", "aarch64", "aarch64+dotprod"])
@pytest.mark.parametrize("channels", [5, 24, 100])
def test_code_for_other_cpus(name: str, channels: int) -> None:
    target = Target.parse(name)
    case = Case((1, 5, 6, channels))
    plan = plan_graph(single(case.whole, case.operands()), target, KERNELS)
    assert emit_object(build_module(plan).text, target).startswith(b"\x7fELF")


@pytest.mark.parametrize("name", ["x86-64-v2", "x86-64-v3+vnni", "x86-64-v4", "x86-64-v4+vnni", "aarch64"])
@pytest.mark.parametrize("channels", range(1, 260, 3))
def test_strips_cover_all_channels(name: str, channels: int) -> None:
    strips = cut(Target.parse(name), channels)
    assert sum(s.count * s.strip.channels for s in strips) == channels
    assert all(s.strip.width // 2 < s.strip.channels <= s.strip.width or s.strip.width == 4 for s in strips)


def test_other_types_are_left_to_other_kernels() -> None:
    x = np.zeros((1, 4, 4, 8), np.int16)
    w = weights(np.zeros((3, 3, 1, 8), np.int16))
    op = ops.QuantisedConv2d(dtype=DType.INT16, low=-32768, high=32767, groups=8)
    (node,) = single(op, [x, w, weights(np.ones(8, np.float32))]).outputs
    assert not DepthwiseKernel().accepts(node, BEST)
