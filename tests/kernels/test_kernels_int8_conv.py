"""Integer convolution kernels against the numpy meaning, to the last bit, between guard pages, on edge shapes."""

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
from smalti.kernels.quantised import KERNELS
from smalti.kernels.quantised.dot import Dot
from smalti.llvm.backend import emit_object
from smalti.numerics import DType
from smalti.plan.planner import plan_graph
from smalti.target.host import arch, missing_features
from smalti.target.target import Target, known_extensions, levels_of
from tolerance import Tol, assert_close


def _targets() -> list[Target]:
    levels = [t.name for t in levels_of(arch())]
    names = levels + [f"{name}+vnni" for name in levels if "vnni" in known_extensions(name)]
    return [t for t in map(Target.parse, names) if not missing_features(t.features)]


TARGETS = _targets()
BEST = TARGETS[-1]
KINDS = sorted({Dot.of(t).kind: t for t in TARGETS}.values(), key=str)
"""One target for each way to multiply."""


@dataclass(frozen=True)
class Case:
    """A convolution with random operands; ``spread`` is how many steps of the result a typical sum makes."""

    shape: tuple[int, int, int, int]
    channels: int
    kernel: tuple[int, int] = (1, 1)
    op: ops.QuantisedConv2d = ops.QuantisedConv2d()
    spread: float = 100.0
    constant_addend: bool = True
    seed: int = 1

    def operands(self) -> list[NDArray[Any] | Node]:
        """Return the operands: arrays are inputs, nodes constants."""
        rng = np.random.default_rng(self.seed)
        op, depth, channels = self.op, self.shape[3], self.channels
        taps = self.kernel[0] * self.kernel[1] * depth
        w = rng.integers(-127, 128, (*self.kernel, depth, channels)).astype(np.int8)
        size = self.spread / (np.sqrt(taps) * 74 * 74)
        multiplier = (size * rng.uniform(0.5, 2, channels)).astype(np.float32)
        result: list[NDArray[Any] | Node] = [
            rng.integers(0, 256, self.shape).astype(np.uint8),
            weights(w),
            weights(multiplier),
        ]
        if op.bias:
            result.append(weights(rng.integers(-20000, 20000, channels).astype(np.int32)))
        if op.addend:
            addend = (30 * rng.standard_normal(channels)).astype(np.float32)
            result.append(weights(addend) if self.constant_addend else addend)
        if op.residual:
            result.append(rng.integers(0, 256, self.result_shape()).astype(np.uint8))
        return result

    def result_shape(self) -> tuple[int, ...]:
        """Return the shape of the result."""
        x = input_node("x", DType.UINT8, self.shape)
        w = weights(np.zeros((*self.kernel, self.shape[3], self.channels), np.int8))
        plain = replace(self.op, bias=False, addend=False, residual=False)
        sizes = make_node(plain, (x, w, weights(np.ones(self.channels, np.float32)))).type.shape
        return tuple(s for s in sizes if isinstance(s, int))

    def check(self, target: Target, tolerance: Tol = Tol.EXACT) -> NDArray[Any]:
        """Compare with the reference."""
        return check(self.op, self.operands(), target, KERNELS, tolerance)


BIASED = ops.QuantisedConv2d(zero_point=7, bias=True, result_zero_point=11)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("channels", (1, 3, 16, 17, 24, 31, 33, 49, 63, 65, 72, 160))
def test_channels(target: Target, channels: int) -> None:
    result = Case((1, 5, 7, 24), channels, op=BIASED).check(target)
    assert len(np.unique(result)) > min(channels * 5, 100)


@pytest.mark.parametrize("target", KINDS, ids=str)
@pytest.mark.parametrize("depth", (1, 2, 3, 4, 5, 7, 31, 33, 66, 129, 960))
def test_depth(target: Target, depth: int) -> None:
    Case((1, 3, 5, depth), 40, op=BIASED).check(target)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("pixels", ((1, 1), (1, 5), (7, 1), (2, 7), (8, 12), (21, 29)))
def test_pixels_and_residual(target: Target, pixels: tuple[int, int]) -> None:
    op = replace(BIASED, residual=True, residual_zero_point=131, residual_scale=0.37, low=3, high=250)
    Case((2, *pixels, 18), 85 if pixels[0] % 2 else 21, op=op).check(target)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize(("channels", "constant_addend"), ((21, True), (86, False)))
@pytest.mark.parametrize("dtype", (DType.UINT8, DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16), ids=lambda d: d.value)
def test_addend_and_result_types(target: Target, channels: int, constant_addend: bool, dtype: DType) -> None:
    # Limits say for bytes what an activation says for floats.
    activation = Activation.RELU6 if dtype.is_float else Activation.NONE
    op = replace(BIASED, addend=True, dtype=dtype, activation=activation)
    Case((1, 3, 5, 13), channels, op=op, spread=4, constant_addend=constant_addend).check(target)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("activation", list(Activation), ids=lambda a: a.value)
def test_activations_of_float_results(target: Target, activation: Activation) -> None:
    op = ops.QuantisedConv2d(zero_point=128, dtype=DType.FLOAT32, activation=activation)
    exact = activation is not Activation.SILU
    result = Case((1, 9, 11, 20), 21, op=op, spread=5).check(target, Tol.EXACT if exact else Tol.ULP(4))
    assert (result.min() < 0) == (activation in (Activation.NONE, Activation.SILU))
    assert (result.max() > 6) == (activation is not Activation.RELU6)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize(
    ("limits", "zero_points", "channels"),
    (
        ((0, 255), (0, 0), 16),
        ((5, 255), (255, 255), 16),
        ((0, 200), (128, 3), 32),
        ((17, 18), (128, 255), 32),
        ((0, 255), (255, 255), 64),
        ((5, 200), (128, 3), 64),
    ),
)
def test_limits_and_zero_points(
    target: Target, limits: tuple[int, int], zero_points: tuple[int, int], channels: int
) -> None:
    op = ops.QuantisedConv2d(zero_point=zero_points[0], result_zero_point=zero_points[1], low=limits[0], high=limits[1])
    result = Case((1, 7, 5, 12), channels, op=op).check(target)
    assert (result.min(), result.max()) == limits


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("value", (-128, 127))
@pytest.mark.parametrize("kernel", ((1, 1), (2, 2)))
def test_extreme_sums(target: Target, value: int, kernel: tuple[int, int]) -> None:
    depth = 4096 // (kernel[0] * kernel[1])
    x = np.full((1, 2, 9, depth), 255, np.uint8)
    w = np.full((*kernel, depth, 33), value, np.int8)
    multiplier = np.full(33, 2.0**-21, np.float32)
    op = ops.QuantisedConv2d(result_zero_point=128)
    result = check(op, [x, weights(w), weights(multiplier)], target, KERNELS)
    assert result.min() == result.max() == 128 + round(255 * 4096 * value / 2**21)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize(("spread", "high"), ((1e5, 255), (1e9, 250), (1e30, 255)))
@pytest.mark.parametrize("channels", (16, 32, 64))
def test_steps_beyond_integers_are_clipped(target: Target, spread: float, high: int, channels: int) -> None:
    op = replace(BIASED, residual=True, residual_scale=1e-3, zero_point=127, high=high)
    result = Case((1, 3, 5, 40), channels, op=op, spread=spread).check(target)
    assert set(np.unique(result)) >= {0, high}


@pytest.mark.parametrize("target", levels_of("aarch64"), ids=str)
@pytest.mark.parametrize("kernel", ((1, 1), (3, 3)))
@pytest.mark.parametrize("dtype", (DType.UINT8, DType.FLOAT32), ids=lambda d: d.value)
def test_code_for_other_processors_is_made(target: Target, kernel: tuple[int, int], dtype: DType) -> None:
    op = replace(BIASED, residual=dtype is DType.UINT8, addend=True, dtype=dtype)
    case = Case((1, 5, 6, 7), 21, kernel, op)
    operands = case.operands()
    plan = plan_graph(single(op, operands), target, KERNELS)
    assert len(emit_object(build_module(plan).text, target)) > 1000


def test_halves_round_to_even() -> None:
    x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    for target in TARGETS:
        op = ops.QuantisedConv2d(result_zero_point=64, zero_point=128)
        result = check(
            op, [x, weights(np.ones((1, 1, 1, 64), np.int8)), weights(np.full(64, 0.5, np.float32))], target, KERNELS
        )
        assert result[0, 8, :6, 0].tolist() == [64, 64, 65, 66, 66, 66]


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_sizes_known_at_run_time(target: Target) -> None:
    x = input_node("x0", DType.UINT8, (1, symbol("H"), symbol("W"), 10))
    case = Case((1, 13, 17, 10), 70, (3, 3), replace(BIASED, pads=(1, 1, 1, 1)))
    values = case.operands()
    for kernel in ((3, 3), (1, 1)):
        own = replace(case, kernel=kernel, op=case.op if kernel == (3, 3) else BIASED)
        operands = own.operands()
        node = make_node(own.op, (x, *(n for n in operands[1:] if isinstance(n, Node))), "y:0")
        graph = Graph((x,), (node,), ("y:0",), Level.QUANTISED)
        want = reference.run(graph, {"x0": np.asarray(values[0])})["y:0"]
        compiled = compile_graph(graph, target, KERNELS)
        for threads, side in ((1, Side.LEFT), (3, Side.RIGHT)):
            got = run_compiled(compiled, {"x0": np.asarray(values[0])}, threads, side)[0]
            assert_close(got, want, Tol.EXACT)


GEOMETRIES = [
    # kernel, stride, dilation, pads (top, bottom, left, right)
    ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
    ((3, 3), (2, 2), (1, 1), (0, 1, 0, 1)),
    ((3, 3), (1, 1), (2, 2), (2, 2, 2, 2)),
    ((3, 3), (1, 1), (18, 18), (18, 18, 18, 18)),
    ((5, 3), (1, 2), (1, 3), (2, 2, 3, 3)),
    ((1, 1), (2, 2), (1, 1), (0, 0, 0, 0)),
    ((2, 2), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((7, 7), (3, 2), (1, 1), (3, 3, 3, 3)),
    ((1, 5), (1, 1), (1, 2), (0, 0, 4, 4)),
    ((3, 3), (1, 1), (1, 1), (3, 5, 4, 6)),
    ((1, 1), (1, 1), (1, 1), (1, 0, 2, 1)),
]


@pytest.mark.parametrize("target", KINDS, ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("size", "depth"), (((7, 7), 5), ((21, 17), 8)))
def test_geometry(target: Target, geometry: Any, size: tuple[int, int], depth: int) -> None:
    kernel, stride, dilation, pads = geometry
    op = replace(BIASED, zero_point=201, stride=stride, dilation=dilation, pads=pads)
    Case((1, *size, depth), 19, kernel, op).check(target)


def test_general_with_residual_addend_and_batch() -> None:
    op = replace(
        BIASED, pads=(1, 1, 1, 1), residual=True, residual_zero_point=99, residual_scale=0.21, addend=True, low=2
    )
    for target in TARGETS:
        for constant_addend in (True, False):
            Case((2, 6, 9, 7), 75, (3, 3), op, constant_addend=constant_addend).check(target)


def test_kernels_take_the_node_they_are_made_for() -> None:
    assert BEST.vector_bits >= TARGETS[0].vector_bits
    names = []
    for kernel, op in (((1, 1), BIASED), ((3, 3), BIASED), ((1, 1), replace(BIASED, stride=(2, 2)))):
        case = Case((1, 9, 9, 4), 8, kernel, op)
        x = input_node("x0", DType.UINT8, case.shape)
        node = make_node(op, (x, *(n for n in case.operands() if isinstance(n, Node))), "y:0")
        names.append(next(k.name for k in KERNELS if k.accepts(node, BEST)))
    assert names == ["i8_conv1x1", "i8_conv2d", "i8_conv2d"]
