"""SiLU behind every kind of convolution, in every precision mode: computed by the kernel that computes the sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.guard import Fill, Side
from kernels.guard_draw import SMALL
from kernels.half_types import usable_targets
from kernels.harness import compile_graph, run_compiled
from passes_kit import Maker, graph_of, ops_of
from smalti.ir import ops
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.ops import Activation
from smalti.ir.reference import run
from smalti.kernels.registry import FUSED, KERNELS
from smalti.numerics import DType
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord, TensorStats
from smalti.quant.scheme import quantise
from smalti.target.target import Target
from tolerance import Tol, assert_close

TARGETS = [replace(t, caches=SMALL) for t in usable_targets()]
"""Small caches, so that expansion and depthwise convolution are one step."""


def block(seed: int = 4) -> Graph:
    """A general, an expanding, a depthwise, a grouped and a projecting convolution with SiLU, and logits."""
    m = Maker(seed)

    def conv(x: Node, depth: int, cout: int, k: int, groups: int = 1, silu: bool = True) -> Node:
        op = ops.Conv2d(pads=(k // 2,) * 4, bias=True, groups=groups,
                        activation=Activation.SILU if silu else Activation.NONE)  # fmt: skip
        size = 2.0 / np.sqrt(k * k * depth)
        return m.op(op, x, m.const(m.rng.normal(0, size, (k, k, depth, cout))), m.random(cout))

    x = conv(m.input(1, 19, 21, 5), 5, 12, 3)
    wide = conv(x, 12, 40, 1)
    op = ops.Conv2d(pads=(1, 1, 1, 1), bias=True, activation=Activation.SILU, groups=40)
    deep = m.op(op, wide, m.random(3, 3, 1, 40), m.random(40))
    grouped = conv(deep, 10, 20, 3, groups=4)
    thin = conv(grouped, 20, 12, 1)
    return graph_of(conv(thin, 12, 4, 1, silu=False), level=Level.CANONICAL)


def picture(graph: Graph) -> dict[str, NDArray[np.float32]]:
    return {graph.inputs[0].name: np.random.default_rng(1).normal(0, 1, (1, 19, 21, 5)).astype(np.float32)}


def observed(graph: Graph) -> CalibrationRecord:
    names = [n.name for n in graph.nodes() if not isinstance(n.op, ops.Constant)]
    values = run(graph, picture(graph), names)
    ends = {n: (float(values[n].min()), float(values[n].max())) for n in names}
    return CalibrationRecord({n: TensorStats(low, high, low, high) for n, (low, high) in ends.items()})


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("mode", list(QuantMode), ids=lambda mode: mode.value)
def test_every_precision_computes_it_behind_the_sums(mode: QuantMode, target: Target) -> None:
    graph = block()
    record = None if mode.quantised is None else observed(graph)
    made = quantise(graph, QuantOptions(mode), record).graph
    compiled = compile_graph(made, target, KERNELS, fused=FUSED)
    names = {step.kernel.name for step in compiled.plan.steps}
    assert "elementwise" not in {
        step.kernel.name for step in compiled.plan.steps if isinstance(step.node.op, ops.Unary)
    }
    assert "conv_generic" in names and any("conv2d" in n for n in names) and any("depthwise" in n for n in names)
    values = picture(graph)
    got = run_compiled(compiled, values, 1, Side.LEFT)[0]
    assert got.tobytes() == run_compiled(compiled, values, 3, Side.RIGHT, fill=Fill.RANDOM)[0].tobytes()
    (want,) = run(made, values).values()
    (exact,) = run(graph, values).values()
    scale = float(np.abs(exact).max())
    # Rounding between layers: kernels and meaning may differ by a step of a narrow type now and then.
    steps = {None: 2.0**-7 if mode.float_type is DType.BFLOAT16 else 2.0**-10, DType.INT16: 2.0**-10}
    near = steps.get(mode.quantised, 2.0**-7) if mode is not QuantMode.FORCE_FLOAT32 else 2.0**-20
    assert_close(got, want, Tol.ROUNDED(0.0, 8 * near * scale, 400, scale))
    assert np.abs(got - exact).max() < {DType.UINT8: 0.15, DType.INT16: 0.01, None: 0.05}[mode.quantised] * scale


def test_layers_of_bytes_have_tables_and_those_of_words_give_floats() -> None:
    graph = block()
    bytes_ = quantise(graph, QuantOptions(QuantMode.QINT8_MIXED_FLOAT32), observed(graph)).graph
    layers = ops_of(bytes_, ops.QuantisedConv2d)
    assert [len(n.op.table) for n in layers] == [256] * 5 + [0]  # type: ignore[attr-defined]
    words = quantise(graph, QuantOptions(QuantMode.QINT16_MIXED_FLOAT32), observed(graph)).graph
    layers = ops_of(words, ops.QuantisedConv2d)
    assert {n.type.dtype for n in layers} == {DType.FLOAT32}
    assert len(ops_of(words, ops.Quantise)) == 6
