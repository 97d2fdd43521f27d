"""Convolutions of 16-bit integers with sums in float32: at most one step from the exact sums."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from kernels.half_types import Array, check_results, usable_targets, wide
from kernels.harness import compile_graph
from smalti.ir import ops, reference
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import Activation
from smalti.kernels.conv import FUSED, KERNELS
from smalti.numerics import DType
from smalti.target.target import Caches, Target

TARGETS = [t for t in usable_targets() if not t.has("avx512bf16")]
BEST = TARGETS[-1]
RANGE = {"low": -32768, "high": 32767, "dtype": DType.INT16}
everywhere = pytest.mark.parametrize("target", TARGETS, ids=str)


def _integers(shape: tuple[int, ...], seed: int, limit: int = 32767) -> Array:
    return np.random.default_rng(seed).integers(-limit, limit, shape, endpoint=True).astype(np.int16)


def _input(name: str, shape: tuple[int, ...], dtype: DType = DType.INT16) -> Node:
    return make_node(ops.Input(), (), name, TensorType(dtype, shape))


def _layer(op: Any, x: Node, weights: Array, size: float, *more: Node) -> Node:
    """Return a node with multipliers that bring sums to about ``size`` steps."""
    channels = weights.shape[3]
    rng = np.random.default_rng(7)
    terms = weights.size // channels
    multiplier = rng.uniform(0.5, 1.5, channels) * size / (32767.0**2 / 3 * terms**0.5)
    operands = [x, constant(weights), constant(multiplier.astype(np.float32))]
    if op.addend and not more:
        operands.append(constant(rng.uniform(-100, 100, channels).astype(np.float32)))
    return make_node(op, [*operands, *more], "y")


def _check(node: Node, values: dict[str, Array], target: Target, kernel: str, terms: int, fused: bool = False) -> None:
    found: list[Node] = []
    pending = [node]
    while pending:
        pending += (current := pending.pop()).inputs
        if isinstance(current.op, ops.Input) and current not in found:
            found.append(current)
    graph = Graph(tuple(found), (node,), ("y",), Level.QUANTISED)
    dtype = node.type.dtype
    want = reference.run(graph, values)["y"]
    compiled = compile_graph(graph, target, KERNELS, fused=FUSED if fused else ())
    assert [s.kernel.name for s in compiled.plan.steps] == [f"i16_{kernel}"]
    got = check_results(compiled, values, wide(want, dtype), dtype, terms, 20000.0)
    if dtype is DType.INT16:
        assert np.mean(got == want) > 0.99, "more than the last place of some sums is different"


@everywhere
@pytest.mark.parametrize("channels", [1, 7, 16, 24, 65])
def test_pointwise(target: Target, channels: int) -> None:
    node = _layer(
        ops.QuantisedConv2d(addend=True, **RANGE), _input("x", (1, 5, 11, 24)), _integers((1, 1, 24, channels), 1), 9000
    )
    _check(node, {"x": _integers((1, 5, 11, 24), 2)}, target, "conv1x1", 25)


@everywhere
@pytest.mark.parametrize("dtype", [DType.INT16, DType.FLOAT32, DType.FLOAT16], ids=lambda d: d.value)
def test_results_residual_and_zero_points(target: Target, dtype: DType) -> None:
    op = ops.QuantisedConv2d(
        addend=True, residual=True, residual_scale=0.37, zero_point=-12, residual_zero_point=5 if dtype is DType.INT16
        else 0, result_zero_point=100 if dtype is DType.INT16 else 0, **{**RANGE, "low": -900, "dtype": dtype},
        activation=Activation.NONE if dtype is DType.INT16 else Activation.RELU)  # fmt: skip
    x, residual = _input("x", (1, 9, 23, 33)), _input("r", (1, 9, 23, 40), dtype)
    weights = _integers((1, 1, 33, 40), 1)
    addend = constant(np.linspace(-100, 100, 40, dtype=np.float32))
    node = _layer(op, x, weights, 3000.0, addend, residual)
    extra = _integers((1, 9, 23, 40), 3, 5000).astype(dtype.numpy)
    _check(node, {"x": _integers((1, 9, 23, 33), 2), "r": extra}, target, "conv1x1", 35)


@everywhere
@pytest.mark.parametrize("channels", [32, 37])
def test_addend_at_run_time(target: Target, channels: int) -> None:
    addend = _input("a", (channels,), DType.FLOAT32)
    op, x = ops.QuantisedConv2d(addend=True, **RANGE), _input("x", (1, 7, 9, 20))
    node = _layer(op, x, _integers((1, 1, 20, channels), 1), 9000.0, addend)
    values = {"x": _integers((1, 7, 9, 20), 2), "a": np.linspace(-999, 999, channels, dtype=np.float32)}
    _check(node, values, target, "conv1x1", 21)


@everywhere
@pytest.mark.parametrize("dilation", [1, 3])
def test_general(target: Target, dilation: int) -> None:
    op = ops.QuantisedConv2d((2, 1), (dilation, dilation), (3, 2, 1, 4), zero_point=7, **RANGE)
    node = _layer(op, _input("x", (1, 13, 12, 5)), _integers((3, 3, 5, 19), 1), 9000.0)
    _check(node, {"x": _integers((1, 13, 12, 5), 2)}, target, "conv2d", 45)


@everywhere
@pytest.mark.parametrize("channels", [3, 16, 40, 97])
@pytest.mark.parametrize("zero_point", [0, 9])
def test_depthwise(target: Target, channels: int, zero_point: int) -> None:
    op = ops.QuantisedConv2d((1, 2), (2, 2), (2, 2, 1, 3), zero_point, addend=True, groups=channels, **RANGE)
    node = _layer(op, _input("x", (2, 9, 14, channels)), _integers((3, 3, 1, channels), 1), 9000.0)
    _check(node, {"x": _integers((2, 9, 14, channels), 2)}, target, "depthwise", 10)


@everywhere
@pytest.mark.parametrize("dilation", [1, 2])
def test_fused(target: Target, dilation: int) -> None:
    small = replace(target, caches=Caches(4096, 8192, 65536))
    x = _input("x", (1, 13, 17, 11))
    inner = _layer(ops.QuantisedConv2d(addend=True, **{**RANGE, "low": 0}), x, _integers((1, 1, 11, 48), 1), 9000.0)
    op = ops.QuantisedConv2d((1, 1), (dilation,) * 2, (dilation,) * 4, addend=True, groups=48, **RANGE)
    node = _layer(op, inner, _integers((3, 3, 1, 48), 3), 20000.0)
    _check(node, {"x": _integers((1, 13, 17, 11), 2)}, small, "expand_depthwise", 9 * 12, fused=True)


def test_int32_biases_are_left_to_others() -> None:
    weights, multiplier = constant(_integers((1, 1, 8, 8), 1)), constant(np.ones(8, np.float32))
    operands = [_input("x", (1, 2, 3, 8)), weights, multiplier, constant(np.ones(8, np.int32))]
    node = make_node(ops.QuantisedConv2d(bias=True, **RANGE), operands, "y")
    assert not any(kernel.accepts(node, BEST) for kernel in KERNELS)
