"""First convolutions, in exact integers and in float32 with quantised results, and uint8 tensors that are moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.guard import Side
from kernels.harness import check, compile_graph, edge_sizes, input_node, run_compiled, weights
from smalti.codegen.module import build_module
from smalti.ir import ops, reference
from smalti.ir.dims import symbol
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import Activation
from smalti.kernels.quantised.image import ImageConvKernel
from smalti.kernels.quantised.stem import StemKernel
from smalti.kernels.registry import FUSED, KERNELS
from smalti.llvm.backend import emit_object
from smalti.numerics import DType
from smalti.plan.planner import plan_graph
from smalti.target.host import arch, missing_features
from smalti.target.target import Target, known_extensions, levels_of
from tolerance import Tol, assert_close

LEVELS = [t for t in levels_of(arch()) if not missing_features(t.features)]
WITH_VNNI = [Target.parse(f"{t.name}+vnni") for t in LEVELS if "vnni" in known_extensions(t.name)]
TARGETS = [*LEVELS, *(t for t in WITH_VNNI if not missing_features(t.features))]
BEST = TARGETS[-1]
STEM = ops.ImageConv2d((2, 2), (1, 1, 1, 1), 255, bias=True, result_zero_point=9, low=9, high=240)


@dataclass(frozen=True)
class Picture:
    """A picture and the weights of its first convolution."""

    shape: tuple[int, int, int, int] = (1, 13, 17, 3)
    channels: int = 32
    kernel: tuple[int, int] = (3, 3)
    op: ops.ImageConv2d = STEM
    largest: int = 32767

    def operands(self) -> list[NDArray[Any] | Node]:
        """Return the operands: the picture is an input, the others are constants."""
        rng = np.random.default_rng(self.channels)
        depth = self.shape[3]
        w = rng.integers(-self.largest, self.largest + 1, (*self.kernel, depth, self.channels)).astype(np.int16)
        size = 80 / (np.sqrt(w[..., 0].size) * 148 * self.largest * 0.58)
        multiplier = (size * rng.uniform(0.5, 2, self.channels)).astype(np.float32)
        bias = [weights(rng.integers(-(1 << 20), 1 << 20, self.channels).astype(np.int32))] if self.op.bias else []
        x = rng.integers(0, 256, self.shape).astype(np.uint8)
        return [x, weights(w), weights(multiplier), *bias]

    def check(self, target: Target) -> NDArray[Any]:
        """Compare with the reference."""
        return check(self.op, self.operands(), target, (ImageConvKernel(),))


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("channels", (1, 7, 17, 32, 70))
def test_channels_of_a_first_convolution(target: Target, channels: int) -> None:
    result = Picture(channels=channels).check(target)
    assert len(np.unique(result)) > 25


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("width", (1, 3, 14, 27))
def test_widths_of_a_first_convolution(target: Target, width: int) -> None:
    op = ops.ImageConv2d((1, 1), (1, 0, 2, 1), 255, bias=True)
    Picture((2, 5, width, 3), 20, op=op).check(target)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "depth", "offset"),
    (
        ((1, 1), (1, 1), (0, 0, 0, 0), 1, 0),
        ((7, 7), (2, 2), (3, 3, 3, 3), 3, 255),
        ((2, 5), (3, 1), (0, 1, 4, 4), 4, 510),
        ((3, 1), (1, 2), (2, 2, 0, 0), 2, 255),
        ((5, 3), (9, 9), (4, 4, 2, 2), 3, 1),
    ),
)
def test_windows_of_a_first_convolution(
    target: Target, kernel: tuple[int, int], stride: tuple[int, int], pads: ops.Pads, depth: int, offset: int
) -> None:
    op = ops.ImageConv2d(stride, pads, offset, bias=offset == 255)
    Picture((1, 11, 14, depth), 18, kernel, op, largest=20000).check(target)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_steps_beyond_int32_are_clipped(target: Target) -> None:
    x, w, multiplier, bias = Picture().operands()
    assert isinstance(multiplier, Node)
    large = weights(np.full(32, 1e6, np.float32))
    result = check(STEM, [x, w, large, bias], target, (ImageConvKernel(),))
    assert set(np.unique(result)) == {9, 240}


def test_a_picture_of_any_size() -> None:
    height, width = symbol("H", 1, 64), symbol("W", 1, 64)
    pads = (1, 1, 1, 1)
    x = input_node("x0", DType.UINT8, (1, height, width, 3))
    _, *others = Picture().operands()
    constants = [n for n in others if isinstance(n, Node)]
    op = ops.ImageConv2d((2, 2), pads, 255, bias=True)
    graph = Graph((x,), (make_node(op, (x, *constants), "y"),), ("y",), Level.QUANTISED)
    compiled = compile_graph(graph, BEST, KERNELS)
    for size in ((1, 1), (9, 30), (64, 5)):
        values = {"x0": np.random.default_rng(2).integers(0, 256, (1, *size, 3)).astype(np.uint8)}
        for side in Side:
            got = run_compiled(compiled, values, 2, side)[0]
            assert_close(got, reference.run(graph, values)["y"], Tol.EXACT)


def test_the_portable_code_compiles() -> None:
    x, *others = Picture().operands()
    assert isinstance(x, np.ndarray)
    node = input_node("x0", DType.UINT8, x.shape)
    y = make_node(STEM, (node, *(n for n in others if isinstance(n, Node))), "y")
    target = Target.parse("aarch64")
    plan = plan_graph(Graph((node,), (y,), ("y",), Level.QUANTISED), target, KERNELS)
    assert len(emit_object(build_module(plan).text, target)) > 1000


# ---- float32, quantised in registers --------------------------------------------------------------------------------


def _pair(x: Node, kernel: tuple[int, int, int], op: ops.Conv2d, quantise: ops.Quantise) -> Graph:
    rng = np.random.default_rng(kernel[2])
    depth = x.type.shape[3]
    scale = 0.01 if x.type.dtype is DType.UINT8 else 1.0
    w = constant((scale * rng.normal(0, 0.3, (*kernel[:2], depth, kernel[2]))).astype(np.float32))
    bias = [constant(rng.normal(1, 1, kernel[2]).astype(np.float32))] if op.bias else []
    conv = make_node(op, (x, w, *bias), "conv")
    return Graph((x,), (make_node(quantise, (conv,), "y"),), ("y",), Level.QUANTISED)


def _check_pair(graph: Graph, target: Target) -> NDArray[Any]:
    """Compare the fused kernel with its two steps, to the last bit, and with the reference; return its result."""
    shape = tuple(s for s in graph.inputs[0].type.shape if isinstance(s, int))
    rng = np.random.default_rng(7)
    if graph.inputs[0].type.dtype is DType.UINT8:
        values: dict[str, NDArray[Any]] = {"x0": rng.integers(0, 256, shape).astype(np.uint8)}
    else:
        values = {"x0": rng.normal(0, 1, shape).astype(np.float32)}
    fused, apart = compile_graph(graph, target, KERNELS, None, (StemKernel(),)), compile_graph(graph, target, KERNELS)
    assert [step.kernel.name for step in fused.plan.steps] == ["i8_stem"]
    assert len(apart.plan.steps) == 2
    want = run_compiled(apart, values)[0]
    for threads, side in ((1, Side.LEFT), (3, Side.RIGHT)):
        assert_close(run_compiled(fused, values, threads, side)[0], want, Tol.EXACT)
    # A float32 sum may be one step off where it is halfway between two.
    wrong = np.abs(want.astype(np.int64) - reference.run(graph, values)["y"])
    assert wrong.max() <= 1
    assert np.count_nonzero(wrong) <= want.size // 500
    return want


@pytest.mark.parametrize("target", LEVELS, ids=str)
@pytest.mark.parametrize("channels", (3, 16, 17, 32, 70))
@pytest.mark.parametrize("dtype", (DType.UINT8, DType.INT16), ids=lambda d: d.value)
def test_a_float_convolution_is_quantised_in_registers(target: Target, channels: int, dtype: DType) -> None:
    x = input_node("x0", DType.UINT8, (2, 9, 31, 3))
    op = ops.Conv2d((2, 2), pads=(1, 1, 1, 1), bias=True, activation=Activation.RELU6, input_offset=127.5)
    quantise = ops.Quantise(float(np.float32(6 / dtype.limits[1])), 0, dtype)
    assert len(np.unique(_check_pair(_pair(x, (3, 3, channels), op, quantise), target))) > 80


@pytest.mark.parametrize("target", LEVELS, ids=str)
@pytest.mark.parametrize(("kernel", "stride", "dilation"), (((3, 3), (1, 1), (2, 2)), ((2, 5), (1, 3), (3, 1))))
@pytest.mark.parametrize("zero_point", (0, 120))
def test_other_float_convolutions(
    target: Target, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], zero_point: int
) -> None:
    x = input_node("x0", DType.FLOAT32, (1, 12, 15, 6))
    op = ops.Conv2d(stride, dilation, (2, 3, 1, 4))
    _check_pair(_pair(x, (*kernel, 21), op, ops.Quantise(float(np.float32(0.03)), zero_point)), target)


def test_what_is_read_twice_is_not_fused() -> None:
    x = input_node("x0", DType.UINT8, (1, 9, 9, 3))
    graph = _pair(x, (3, 3, 16), ops.Conv2d(), ops.Quantise(0.05))
    conv = graph.outputs[0].inputs[0]
    both = Graph((x,), (*graph.outputs, conv), ("y", "z"), Level.QUANTISED)
    plan = plan_graph(both, BEST, KERNELS, None, FUSED)
    assert "i8_stem" not in [step.kernel.name for step in plan.steps]


# ---- bytes that are moved ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", LEVELS, ids=str)
@pytest.mark.parametrize("channels", edge_sizes(32))
def test_bytes_are_moved_and_compared(target: Target, channels: int) -> None:
    x = input_node("x0", DType.UINT8, (1, 7, 6, channels))
    pooled = make_node(ops.Pool(ops.PoolFn.MAX, (3, 2), (1, 1), (1, 1, 1, 0)), (x,), "pooled")
    padded = make_node(ops.Pad(((0, 0), (1, 2), (0, 1), (0, 0)), value=131.0), (x,), "padded")
    cut = make_node(ops.Slice((0, 1, 0, 0), (1, 7, 6, channels), (1, 1, 1, 1)), (padded,), "cut")
    joined = make_node(ops.Concat(3), (x, pooled, cut), "joined")
    flat = make_node(ops.Reshape((42, 3 * channels)), (joined,), "flat")
    turned = make_node(ops.Transpose((1, 0)), (flat,), "turned")
    every = (pooled, padded, cut, joined, flat, turned)
    graph = Graph((x,), every, tuple(n.name for n in every), Level.QUANTISED)
    values = {"x0": np.random.default_rng(channels).integers(0, 256, (1, 7, 6, channels)).astype(np.uint8)}
    want = reference.run(graph, values)
    compiled = compile_graph(graph, target, KERNELS, None, FUSED)
    for threads, side in ((1, Side.LEFT), (3, Side.RIGHT)):
        for node, got in zip(every, run_compiled(compiled, values, threads, side), strict=True):
            assert_close(got, want[node.name], Tol.EXACT)


@pytest.mark.parametrize("align_corners", (True, False))
def test_labels_of_equal_logits_are_the_same_on_every_cpu(align_corners: bool) -> None:
    """Near ties in plenty: a multiply-add with one rounding would show."""
    rng = np.random.default_rng(3)
    logits = (rng.integers(-8, 9, (1, 9, 11, 5)) + rng.normal(0, 1e-6, (1, 9, 11, 5))).astype(np.float32)
    x = input_node("x0", DType.FLOAT32, logits.shape)
    stages = tuple(ops.Resize(ops.ResizeFn.BILINEAR, s, align_corners) for s in ((33, 41), (67, 83)))
    labels = make_node(ops.ResizeArgMax(stages, (67, 83), DType.INT32), (x,), "labels")
    resized = make_node(stages[1], (x,), "resized")
    graph = Graph((x,), (labels, resized), ("labels", "resized"), Level.QUANTISED)
    want = reference.run(graph, {"x0": logits})
    for target in TARGETS:
        got = run_compiled(compile_graph(graph, target, KERNELS), {"x0": logits}, 2)
        assert_close(got[0], want["labels"], Tol.EXACT)
        assert_close(got[1], want["resized"], Tol.EXACT)
