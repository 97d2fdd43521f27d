"""Integer kernels for Arm, emulated: the bits of the numpy meaning with every way to multiply, on edge shapes.

All cases run in one emulated process, each between guard pages, with three threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from arm_kit import Case, compile_case, require_emulator, run_cases
from kernels.guard import Side
from kernels.harness import input_node, single, weights
from smalti.ir import ops, reference
from smalti.ir.dims import symbol
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import Activation
from smalti.kernels.quantised import FUSED, KERNELS
from smalti.llvm.backend import emit_assembly
from smalti.numerics import DType
from smalti.target.target import Caches, Target
from tolerance import Tol, assert_close

PLAIN, DOTPROD, I8MM = (Target.parse(name) for name in ("aarch64", "aarch64+dotprod", "aarch64+i8mm"))
TARGETS = (PLAIN, DOTPROD, I8MM)
CHANNELS = (1, 23, 97)
DEPTHS = (3, 8, 31, 130)
WORD = {PLAIN: "smlal", DOTPROD: "sdot", I8MM: "usmmla"}
"""What multiplies in the matrix kernel."""


@dataclass(frozen=True, slots=True)
class Work:
    """A graph, an input, and the kernel that must take it."""

    graph: Graph
    inputs: dict[str, NDArray[Any]]
    kernel: str
    fused: bool = False


def convolution(
    shape: tuple[int, int, int, int],
    channels: int,
    op: ops.QuantisedConv2d,
    kernel: tuple[int, int] = (1, 1),
    spread: float = 100.0,
    extreme: int | None = None,
) -> Work:
    """Return a convolution with random operands; with ``extreme`` all weights are that and all pixels 255."""
    rng = np.random.default_rng(channels)
    taps = (*kernel, shape[3], channels)
    w = rng.integers(-128, 128, taps) if extreme is None else np.full(taps, extreme)
    x = rng.integers(0, 256, shape) if extreme is None else np.full(shape, 255)
    size = spread / (np.sqrt(np.prod(taps[:3])) * 74 * 74)
    operands: list[NDArray[Any] | Node] = [x.astype(np.uint8), weights(w.astype(np.int8))]
    operands.append(weights((size * rng.uniform(0.5, 2, channels)).astype(np.float32)))
    operands.append(weights(rng.integers(-20000, 20000, channels).astype(np.int32)))
    if op.addend:
        operands.append(weights((30 * rng.standard_normal(channels)).astype(np.float32)))
    if op.residual:
        operands.append(rng.integers(0, 256, (*shape[:3], channels)).astype(np.uint8))
    name = "i8_conv1x1" if kernel == (1, 1) else "i8_conv2d"
    arrays = {f"x{i}": v for i, v in enumerate(operands) if not isinstance(v, Node)}
    return Work(single(op, operands), arrays, name)


def depthwise(channels: int, op: ops.QuantisedConv2d, kernel: tuple[int, int] = (3, 3)) -> Work:
    """Return a depthwise convolution with random operands."""
    rng = np.random.default_rng(channels)
    x = rng.integers(0, 256, (1, 9, 7, channels)).astype(np.uint8)
    size = 60.0 / (np.sqrt(kernel[0] * kernel[1]) * 74 * 74)
    constants = (
        weights(rng.integers(-128, 128, (*kernel, 1, channels)).astype(np.int8)),
        weights((size * rng.uniform(0.5, 2, channels)).astype(np.float32)),
        weights(rng.integers(-5000, 5000, channels).astype(np.int32)),
    )
    # Convolutions of one channel are plain ones of one group.
    name = "i8_depthwise" if channels > 1 else "i8_conv2d"
    return Work(single(replace(op, groups=channels), [x, *constants]), {"x0": x}, name)


def expand_depthwise(channels: int) -> Work:
    """Return an expansion of 13 channels and the depthwise convolution behind it, of sizes known at run time."""
    rng = np.random.default_rng(channels)
    x = input_node("x", DType.UINT8, (1, symbol("H"), symbol("W"), 13))
    bias = weights(rng.integers(-9000, 9000, channels).astype(np.int32))
    w = weights(rng.integers(-127, 128, (1, 1, 13, channels)).astype(np.int8))
    multiplier = weights(rng.uniform(1e-3, 4e-3, channels).astype(np.float32))
    wide_op = ops.QuantisedConv2d(zero_point=120, bias=True, result_zero_point=9, low=9, high=240)
    wide = make_node(wide_op, (x, w, multiplier, bias), "wide")
    filters = weights(rng.integers(-128, 128, (3, 3, 1, channels)).astype(np.int8))
    op = ops.QuantisedConv2d(
        dilation=(2, 2), pads=(2, 2, 2, 2), zero_point=9, bias=True, result_zero_point=31, low=3, groups=channels
    )
    node = make_node(op, (wide, filters, weights(rng.uniform(1e-3, 6e-3, channels).astype(np.float32)), bias), "y")
    image = rng.integers(0, 256, (1, 21, 18, 13)).astype(np.uint8)
    return Work(Graph((x,), (node,), ("y",), Level.QUANTISED), {"x": image}, "i8_expand_depthwise", fused=True)


def works() -> Iterator[tuple[str, Work]]:
    """Yield every case with its name."""
    plain = ops.QuantisedConv2d(zero_point=7, bias=True, result_zero_point=11)
    whole = ops.QuantisedConv2d(
        zero_point=133, bias=True, addend=True, residual=True, residual_zero_point=131, residual_scale=0.37, low=3,
        high=250,
    )  # fmt: skip
    for channels in CHANNELS:
        yield f"{channels} channels", convolution((1, 3, 5, 24), channels, plain)
    for depth in DEPTHS:
        yield f"depth {depth}", convolution((1, 5, 6, depth), 20, whole)
    for value in (127, -128):
        yield f"weights of {value}", convolution((1, 2, 3, 2048), 12, plain, extreme=value)
    yield "steps beyond integers", convolution((1, 3, 5, 40), 16, plain, spread=1e30)
    for dtype in (DType.FLOAT32, DType.BFLOAT16):
        op = ops.QuantisedConv2d(bias=True, addend=True, dtype=dtype, activation=Activation.RELU6)
        yield f"results of {dtype.value}", convolution((1, 3, 5, 13), 21, op, spread=4)
    for stride, dilation in (((1, 1), (2, 2)), ((2, 2), (1, 1))):
        op = ops.QuantisedConv2d(stride, dilation, (2, 2, 2, 2), zero_point=7, bias=True, result_zero_point=11)
        yield f"3x3 stride {stride[0]}", convolution((1, 9, 11, 7), 21, op, (3, 3))
    same = ops.QuantisedConv2d(pads=(1, 1, 1, 1), zero_point=7, bias=True, result_zero_point=11)
    for channels in (1, 71):
        yield f"depthwise {channels}", depthwise(channels, same)
    strided = ops.QuantisedConv2d((2, 2), (1, 1), (0, 1, 0, 1), zero_point=200, bias=True)
    yield "depthwise stride 2", depthwise(33, strided)
    yield (
        "depthwise 8x8",
        depthwise(20, ops.QuantisedConv2d(pads=(4, 3, 4, 3), zero_point=9, bias=True), (8, 8)),
    )
    yield "expand and depthwise", expand_depthwise(48)


WORKS = dict(works())


@pytest.fixture(scope="module")
def results() -> dict[tuple[str, str], NDArray[Any]]:
    require_emulator()
    cases: dict[tuple[str, str], Case] = {}
    for name, work in WORKS.items():
        for i, target in enumerate(TARGETS):
            # A small second cache, so that fusing pays for small tensors.
            small = Target.parse(target.name) if not work.fused else _small(target)
            side = Side.RIGHT if i % 2 else Side.LEFT
            fused = FUSED if work.fused else ()
            case = compile_case(work.graph, small, KERNELS, work.inputs, 3, side, fused)
            assert [step.kernel.name for step in case.plan.steps] == [work.kernel]
            cases[name, target.name] = case
    return {key: outputs[0] for key, outputs in zip(cases, run_cases(list(cases.values())), strict=True)}


def _small(target: Target) -> Target:
    return Target(
        target.name, target.arch, target.cpu, target.features, target.vector_bits, target.triple,
        Caches(1024, 4096, 65536),
    )  # fmt: skip


@pytest.mark.parametrize("name", WORKS)
def test_bits_are_those_of_the_numpy_meaning(results: dict[tuple[str, str], NDArray[Any]], name: str) -> None:
    work = WORKS[name]
    (want,) = reference.run(work.graph, work.inputs).values()
    for target in TARGETS:
        assert_close(results[name, target.name], want, Tol.EXACT, f"{name}, {target}")


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_the_instructions_are_those_that_were_asked_for(target: Target) -> None:
    case = compile_case(WORKS["depth 130"].graph, target, KERNELS, {})
    text = emit_assembly(case.text.text, target)
    used = {word for word in WORD.values() if f"\t{word}\t" in text}
    assert used == {WORD[target]}
