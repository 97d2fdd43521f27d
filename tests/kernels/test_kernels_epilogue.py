"""Epilogues: every step for every element type that results may have, against its meaning in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.half_types import LEAST, STEPS, usable_targets
from kernels.harness import check, run_node, weights
from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.ops import Activation, UnaryFn
from smalti.ir.reference import bfloat16_to_float32
from smalti.kernels import convgeneric, elementwise
from smalti.kernels.elementwise.functions import supports_unary
from smalti.kernels.epilogue.emit import Finisher, Place, load_wide, no_rows
from smalti.kernels.epilogue.steps import (
    FUSED,
    Apply,
    Epilogue,
    Quantise,
    Requantise,
    Residual,
    Step,
    Table,
    activation,
)
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.registry import KERNELS
from smalti.kernels.takes import INTEGERS, Takes, takes
from smalti.kernels.values import load_value
from smalti.kernels.walk import in_vectors
from smalti.numerics import DType, quantise
from smalti.target.target import Target
from tolerance import Tol, assert_close

TARGETS = usable_targets()
FUNCTIONS = [fn for fn in UnaryFn if supports_unary(fn, DType.FLOAT32)]
HALVES = (DType.FLOAT16, DType.BFLOAT16)


@dataclass(frozen=True)
class Finishes:
    """A kernel that sends its operand through an epilogue; the node is a conversion to the type of its results."""

    steps: tuple[Step, ...]
    name: str = "finishes"
    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.Cast, dtype=frozenset(DType) | INTEGERS),)

    def accepts(self, node: Node, target: Target) -> bool:
        return True

    def plan(self, node: Node, target: Target) -> KernelPlan:
        return KernelPlan(operands=(0,))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        fn, source, result = e.fn, node.inputs[0].type.dtype, node.type.dtype
        finisher = Finisher(fn, e.target, Epilogue(self.steps, result))
        read, written, length = e.operand(0), e.result(), e.size(node.type.elements)

        def piece(index: Any, width: int) -> None:
            at = fn.at(read, fn.mul(index, source.itemsize))
            value = load_wide(fn, source, at, width) if source.is_float else load_value(fn, source, at, width)
            place = fn.at(written, fn.mul(index, result.itemsize))
            finisher.store([value], Place(place, width, no_rows, at))

        with e.parallel(1):
            in_vectors(fn, 0, length, e.target.vector_bits // 32, piece)


def finished(steps: tuple[Step, ...], x: NDArray[Any], stored: DType, target: Target) -> NDArray[Any]:
    return run_node(ops.Cast(stored), [x], target, (Finishes(steps),), 2)


def values(count: int = 67) -> NDArray[np.float32]:
    return np.clip(4 * np.random.default_rng(3).standard_normal(count), -9, 9).astype(np.float32)


def meaning(fn: UnaryFn, x: NDArray[Any], target: Target) -> NDArray[Any]:
    """Return what an elementwise node computes: its kernel is tested against the numpy meaning elsewhere."""
    return run_node(ops.Unary(fn, 0.25), [x], target, elementwise.KERNELS)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("fn", FUNCTIONS, ids=lambda fn: fn.value)
def test_every_function_behind_every_element_type(fn: UnaryFn, target: Target) -> None:
    x = np.abs(values()) if fn in (UnaryFn.LOG, UnaryFn.SQRT, UnaryFn.RSQRT) else values()
    want = meaning(fn, x, target)
    step = Apply(fn, 0.25)
    assert finished((step,), x, DType.FLOAT32, target).tobytes() == want.tobytes()
    for half in HALVES:
        got = finished((step,), x, half, target)
        got = bfloat16_to_float32(got) if half is DType.BFLOAT16 else got.astype(np.float32)
        assert_close(got, want, Tol.ROUNDED(STEPS[half], LEAST[half], 1, float(np.abs(want).max())))
    words = finished((step, Requantise(DType.INT16, 5, -300, 300)), x, DType.INT16, target)
    np.testing.assert_array_equal(words, np.clip(np.rint(np.clip(want, -305, 295)) + 5, -300, 300))
    bytes_ = finished((step, Quantise(DType.UINT8, 7, 0.125)), x, DType.UINT8, target)
    np.testing.assert_array_equal(bytes_, quantise(want, 0.125, 7, 0, 255))


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_residual_comes_before_the_function(target: Target) -> None:
    x = values()
    for step, want in (
        (Residual(DType.FLOAT32), x + x),
        (Residual(DType.FLOAT32, 3, 0.5), x + (x - 3) * np.float32(0.5)),
    ):
        got = finished((step, Apply(UnaryFn.RELU)), x, DType.FLOAT32, target)
        np.testing.assert_array_equal(got, np.maximum(want, 0))


def test_nan_stays_nan_in_floats_and_is_the_lowest_byte() -> None:
    x = np.array([np.nan, -np.inf, np.inf, 1e30, -1e30], np.float32)
    target = TARGETS[-1]
    np.testing.assert_array_equal(finished((Apply(UnaryFn.RELU6),), x, DType.FLOAT32, target), [np.nan, 0, 6, 6, 0])
    got = finished((Quantise(DType.UINT8, 3, 0.5),), x, DType.UINT8, target)
    np.testing.assert_array_equal(got, [0, 0, 255, 255, 0])


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_table_gives_its_entry_for_every_byte(target: Target) -> None:
    table = tuple(int(v) for v in np.random.default_rng(8).integers(0, 256, 256))
    x = np.arange(256, dtype=np.uint8)
    for count in (1, 3, 255, 256):
        got = finished((Table(table),), x[:count].copy(), DType.UINT8, target)
        np.testing.assert_array_equal(got, np.array(table, np.uint8)[:count])


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=256, max_size=256), st.integers(1, 70))
def test_tables_of_any_kind(entries: list[int], count: int) -> None:
    x = np.random.default_rng(count).integers(0, 256, count).astype(np.uint8)
    first, second = Table(tuple(entries)), Table(tuple(reversed(entries)))
    got = finished((first, second), x, DType.UINT8, TARGETS[-1])
    np.testing.assert_array_equal(got, np.array(entries, np.uint8)[::-1][np.array(entries, np.uint8)[x]])


def test_a_function_as_a_table_is_the_function() -> None:
    """What quantisation will do with a function of one operand: dequantise, compute, quantise, for all 256 values."""
    target = TARGETS[-1]
    x = ((np.arange(256) - 100) * np.float32(0.05)).astype(np.float32)
    want = quantise(meaning(UnaryFn.SIGMOID, x, target), 1 / 256, 0, 0, 255)
    got = finished((Table(tuple(int(v) for v in want)),), np.arange(256, dtype=np.uint8), DType.UINT8, target)
    np.testing.assert_array_equal(got, want)


TABLE = tuple(int(v) for v in np.random.default_rng(8).permutation(256))


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("channels", (1, 15, 33, 70))
@pytest.mark.parametrize("kernel", ("i8_conv1x1", "i8_conv2d", "i8_depthwise", "conv_generic"))
def test_a_table_behind_every_convolution_of_bytes(kernel: str, channels: int, target: Target) -> None:
    rng, depthwise = np.random.default_rng(5), kernel == "i8_depthwise"
    window = (1, 1) if kernel == "i8_conv1x1" else (3, 3)
    x = rng.integers(0, 256, (1, 5, 6, channels if depthwise else 9)).astype(np.uint8)
    op = ops.QuantisedConv2d(pads=(window[0] // 2,) * 4, zero_point=99, bias=True, result_zero_point=100, low=7,
                             groups=channels if depthwise else 1, table=TABLE)  # fmt: skip
    w = rng.integers(-127, 128, (*window, 1 if depthwise else 9, channels)).astype(np.int8)
    operands = [w, np.full(channels, 0.01, np.float32), rng.integers(-99, 99, channels).astype(np.int32)]
    kernels = [k for k in KERNELS if k.name == kernel]
    got = check(op, [x, *map(weights, operands)], target, kernels, Tol.EXACT)
    assert TABLE[255] in got and not set(TABLE[:7]) & set(got.ravel().tolist())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(CompilerError, match="256 entries"):
        Table((1, 2, 3))
    with pytest.raises(CompilerError, match="256 entries"):
        Table((256,) * 256)
    x, target = values(5), TARGETS[-1]
    with pytest.raises(CompilerError, match="cannot take"):
        finished((Table((0,) * 256),), x, DType.UINT8, target)
    with pytest.raises(CompilerError, match="cannot be stored as int16"):
        finished((Quantise(DType.UINT8),), x, DType.INT16, target)
    with pytest.raises(CompilerError, match="without numbers of channels"):
        no_rows(0)


def test_every_activation_of_the_records_is_the_function_of_its_name() -> None:
    assert {kind.value: fn.value for kind, fn in FUSED.items()} == {
        kind.value: kind.value for kind in Activation if kind is not Activation.NONE
    }
    assert activation(Activation.NONE) == ()
    assert activation(Activation.RELU6) == (Apply(UnaryFn.RELU6),)


@pytest.mark.parametrize("kind", list(Activation), ids=lambda kind: kind.value)
def test_the_generic_convolution_agrees(kind: Activation) -> None:
    rng = np.random.default_rng(5)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((1, 4, 5, 3), (3, 3, 3, 7)))
    check(
        ops.Conv2d(pads=(1, 1, 1, 1), activation=kind), [4 * x, w], TARGETS[-1], convgeneric.KERNELS, Tol.FLOAT(64, 8.0)
    )
