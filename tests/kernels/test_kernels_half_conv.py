"""Convolutions of half precision against float32 arithmetic on the same numbers, between guard pages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kernels.half_types import Array, check_results, different_code, fixed, narrow, random_numbers, usable_targets, wide
from kernels.harness import compile_graph, run_compiled
from smalti.codegen.module import build_module
from smalti.ir import ops, reference
from smalti.ir.dims import symbol
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import Activation
from smalti.kernels.conv import KERNELS
from smalti.llvm.backend import emit_object
from smalti.llvm.link import link
from smalti.numerics import DType
from smalti.plan.planner import plan_graph
from smalti.target.target import Target

TARGETS = usable_targets()
HALF = [DType.FLOAT16, DType.BFLOAT16]
BEST = TARGETS[-1]
CHANNELS = (1, 7, 16, 21, 33, 65, 97)
H, W = symbol("H"), symbol("W")
either = pytest.mark.parametrize("dtype", HALF, ids=lambda d: d.value)
everywhere = pytest.mark.parametrize(
    ("dtype", "target"), different_code(HALF), ids=lambda v: v.value if isinstance(v, DType) else str(v)
)


def _tensor(shape: tuple[int, ...], dtype: DType, name: str, mutable: bool = False) -> Node:
    sizes = (shape[0], H, W, shape[3]) if mutable else shape
    return make_node(ops.Input(), (), name, TensorType(dtype, sizes))


class _Case:
    """One convolution in a half type, and the same on the same numbers in float32."""

    def __init__(self, op: Any, dtype: DType) -> None:
        self.op, self.dtype = op, dtype
        self.nodes: list[Node] = []
        self.wide: list[Node] = []
        self.values: dict[str, Array] = {}
        self.wide_values: dict[str, Array] = {}

    def tensor(self, shape: tuple[int, ...], dtype: DType | None = None, mutable: bool = False) -> _Case:
        """Add an operand that is a graph input."""
        dtype, name = dtype or self.dtype, f"x{len(self.nodes)}"
        if dtype is DType.UINT8:
            values = np.random.default_rng(5).integers(0, 256, shape, np.uint8)
            self.wide_values[name] = values
        else:
            values = narrow(random_numbers(shape, 10 + len(self.nodes)), dtype)
            self.wide_values[name] = wide(values, dtype)
        self.values[name] = values
        for nodes, kind in ((self.nodes, dtype), (self.wide, dtype if dtype is DType.UINT8 else DType.FLOAT32)):
            nodes.append(_tensor(shape, kind, name, mutable) if len(shape) == 4 else make_node(
                ops.Input(), (), name, TensorType(kind, shape)))  # fmt: skip
        return self

    def fixed(self, shape: tuple[int, ...], dtype: DType | None = None, scale: float = 1.0) -> _Case:
        """Add a constant operand."""
        dtype = dtype or self.dtype
        numbers = random_numbers(shape, 10 + len(self.nodes), scale)
        self.nodes.append(fixed(numbers, dtype))
        self.wide.append(constant(wide(narrow(numbers, dtype), dtype)))
        return self

    def check(self, target: Target, reduction: int, kernel: str = "") -> Array:
        """Compare; the steps must be computed by the kernel of that name."""
        graph, same = (self.graph(nodes) for nodes in (self.nodes, self.wide))
        want = reference.run(same, self.wide_values)["y"]
        compiled = compile_graph(graph, target, KERNELS)
        prefix = {DType.FLOAT16: "f16", DType.BFLOAT16: "bf16"}[self.dtype]
        assert [s.kernel.name for s in compiled.plan.steps] == [f"{prefix}_{kernel}"]
        weights = self.wide[1].op
        assert isinstance(weights, ops.Constant)
        largest = max(float(np.abs(v).max()) for v in self.wide_values.values())
        scale = largest * float(np.abs(weights.value).max())
        return check_results(compiled, self.values, want, self.dtype, reduction, scale * reduction**0.5)

    def graph(self, nodes: list[Node]) -> Graph:
        inputs = tuple(n for n in nodes if isinstance(n.op, ops.Input))
        return Graph(inputs, (make_node(self.op, nodes, "y"),), ("y",), Level.CANONICAL)


@everywhere
@pytest.mark.parametrize("channels", CHANNELS)
def test_pointwise_channels(dtype: DType, target: Target, channels: int) -> None:
    op = ops.Conv2d(bias=True, activation=Activation.RELU6)
    case = _Case(op, dtype).tensor((1, 5, 11, 24)).fixed((1, 1, 24, channels)).fixed((channels,), DType.FLOAT32)
    case.check(target, 25, "conv1x1")


@everywhere
@pytest.mark.parametrize("pixels", [(1, 1), (1, 7), (24, 33)])
@pytest.mark.parametrize("depth", [7, 8])
def test_pointwise_pixels_and_residual(dtype: DType, target: Target, pixels: tuple[int, int], depth: int) -> None:
    case = _Case(ops.Conv2d(residual=True), dtype)
    case.tensor((1, *pixels, depth)).fixed((1, 1, depth, 40)).tensor((1, *pixels, 40))
    case.check(target, depth + 1, "conv1x1")


@either
@pytest.mark.parametrize("mutable", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3, 320, 961])
def test_pointwise_depth(dtype: DType, depth: int, mutable: bool) -> None:
    case = _Case(ops.Conv2d(activation=Activation.RELU), dtype)
    case.tensor((2, 4, 9, depth), mutable=mutable).fixed((1, 1, depth, 17)).check(BEST, depth, "conv1x1")


@everywhere
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("channels", [32, 97])
def test_bias_at_run_time(dtype: DType, target: Target, own: bool, channels: int) -> None:
    op = ops.Conv2d(bias=True, activation=Activation.RELU)
    case = _Case(op, dtype).tensor((1, 9, 23, 20)).fixed((1, 1, 20, channels))
    case.tensor((channels,), dtype if own else DType.FLOAT32).check(target, 21, "conv1x1")


GEOMETRIES = [
    # kernel, stride, dilation, pads (top, bottom, left, right)
    ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    ((3, 3), (2, 2), (1, 1), (0, 1, 0, 1)),
    ((3, 3), (1, 1), (6, 6), (6, 6, 6, 6)),
    ((5, 3), (1, 2), (1, 3), (2, 2, 3, 3)),
    ((7, 7), (3, 2), (1, 1), (3, 3, 3, 3)),
    ((3, 3), (1, 1), (1, 1), (3, 5, 4, 6)),
]


@everywhere
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("cin", [5, 6])
def test_general_geometry(dtype: DType, target: Target, geometry: Any, cin: int) -> None:
    kernel, stride, dilation, pads = geometry
    op = ops.Conv2d(stride, dilation, pads, bias=True, activation=Activation.RELU)
    case = _Case(op, dtype).tensor((1, 9, 14, cin)).fixed((*kernel, cin, 19)).fixed((19,), DType.FLOAT32)
    case.check(target, kernel[0] * kernel[1] * cin + 1, "conv2d")


@everywhere
@pytest.mark.parametrize("mutable", [False, True])
def test_image_convolution(dtype: DType, target: Target, mutable: bool) -> None:
    op = ops.Conv2d((2, 2), (1, 1), (1, 3, 1, 5), bias=True, activation=Activation.RELU6, input_offset=127.5)
    case = _Case(op, dtype).tensor((1, 19, 30, 3), DType.UINT8, mutable).fixed((3, 3, 3, 32), scale=0.01)
    case.fixed((32,), DType.FLOAT32).check(target, 28, "conv2d")


@everywhere
@pytest.mark.parametrize("channels", CHANNELS)
def test_depthwise_channels(dtype: DType, target: Target, channels: int) -> None:
    op = ops.Conv2d(pads=(1, 1, 1, 1), bias=True, activation=Activation.RELU6, groups=channels)
    case = _Case(op, dtype).tensor((1, 6, 13, channels)).fixed((3, 3, 1, channels)).fixed((channels,), DType.FLOAT32)
    # One channel in one group is an ordinary convolution as well.
    case.check(target, 10, "depthwise" if channels > 1 else "conv2d")


@either
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("mutable", [False, True])
def test_depthwise_geometry(dtype: DType, geometry: Any, mutable: bool) -> None:
    kernel, stride, dilation, pads = geometry
    case = _Case(ops.Conv2d(stride, dilation, pads, groups=20), dtype)
    case.tensor((2, 9, 14, 20), mutable=mutable).fixed((*kernel, 1, 20))
    case.check(BEST, kernel[0] * kernel[1], "depthwise")


@everywhere
def test_special_numbers(dtype: DType, target: Target) -> None:
    x = random_numbers((1, 1, 6, 4), 1)
    x[0, 0, 1, 2], x[0, 0, 2, 1], x[0, 0, 4, 0] = np.nan, np.inf, -np.inf
    case = _Case(ops.Conv2d(activation=Activation.RELU6), dtype).tensor(x.shape)
    case.values["x0"] = narrow(x, dtype)
    weights = narrow(np.ones((1, 1, 4, 5), np.float32), dtype)
    case.nodes.append(constant(weights, bfloat16=dtype is DType.BFLOAT16))
    graph = case.graph(case.nodes)
    result = wide(run(graph, case.values, target), dtype)
    assert np.isnan(result[0, 0, 1]).all()
    assert (result[0, 0, 2] == 6).all()
    assert (result[0, 0, 4] == 0).all()
    assert np.isfinite(result[0, 0, [0, 2, 3, 4, 5]]).all()


def run(graph: Graph, values: dict[str, Array], target: Target) -> Array:
    """Run in one thread."""
    return run_compiled(compile_graph(graph, target, KERNELS), values)[0]


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_float16_overflows_to_infinity(target: Target) -> None:
    case = _Case(ops.Conv2d(), DType.FLOAT16).tensor((1, 2, 3, 4))
    case.values["x0"] = np.full((1, 2, 3, 4), 60000, np.float16)
    case.nodes.append(constant(np.ones((1, 1, 4, 5), np.float16)))
    assert np.isposinf(run(case.graph(case.nodes), case.values, target)).all()


def test_only_constants_of_the_same_type_are_taken() -> None:
    case = _Case(ops.Conv2d(), DType.FLOAT16).tensor((1, 2, 3, 4)).tensor((1, 1, 4, 5))
    node = make_node(case.op, case.nodes, "y")
    assert not any(kernel.accepts(node, BEST) for kernel in KERNELS)


@pytest.mark.parametrize("name", ["aarch64", "aarch64+bf16", "x86-64-v2", "x86-64-v3"])
@either
def test_no_library_is_called(name: str, dtype: DType) -> None:
    """Conversions that the CPU family lacks must not become calls: linking refuses them."""
    target = Target.parse(name)
    case = _Case(ops.Conv2d(residual=True), dtype).tensor((1, 5, 6, 7)).fixed((1, 1, 7, 19)).tensor((1, 5, 6, 19))
    text = build_module(plan_graph(case.graph(case.nodes), target, KERNELS)).text
    assert link(emit_object(text, target)).code
