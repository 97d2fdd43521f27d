"""A network's first layers, quantised from float32 and compiled: the same bits on every CPU, whatever the picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.guard import Side
from kernels.harness import compile_graph, run_compiled
from passes_kit import Maker, graph_of, ops_of
from smalti.ir import ops, reference
from smalti.ir.dims import symbol
from smalti.ir.graph import Graph, Level
from smalti.ir.ops import Activation
from smalti.ir.shapes import same_pads
from smalti.kernels.registry import FUSED, KERNELS
from smalti.numerics import DType
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord, TensorStats
from smalti.quant.scheme import quantise
from smalti.target.host import arch, missing_features
from smalti.target.target import Target, known_extensions, levels_of
from tolerance import Tol, assert_close

LEVELS = [t for t in levels_of(arch()) if not missing_features(t.features)]
WITH_VNNI = [Target.parse(f"{t.name}+vnni") for t in LEVELS if "vnni" in known_extensions(t.name)]
TARGETS = [*LEVELS, *(t for t in WITH_VNNI if not missing_features(t.features))]
STEM = ops.Conv2d((2, 2), bias=True, activation=Activation.RELU6, input_offset=127.5)
Q8 = QuantOptions(QuantMode.QINT8_MIXED_FLOAT32)


def network(op: ops.Conv2d = STEM) -> Graph:
    """Return a picture ``[1, H, W, 3]``, its first convolution, one behind it, and labels."""
    m = Maker(6)
    height, width = symbol("H", 1, 64), symbol("W", 1, 64)
    image = m.input(1, height, width, 3, dtype=DType.UINT8)
    pads = (*same_pads(height, 3, 2), *same_pads(width, 3, 2))
    filters = m.const(m.rng.normal(0, 0.01, (3, 3, 3, 32)))
    stem = m.op(replace(op, pads=pads), image, filters, m.const(m.rng.normal(2, 1, 32)))
    logits = m.op(ops.Conv2d(), stem, m.random(1, 1, 32, 5))
    return graph_of(m.op(ops.ArgMax(3, DType.INT64), logits), logits, level=Level.CANONICAL)


def ranges(graph: Graph) -> CalibrationRecord:
    """Return ranges that the pictures of these tests do not leave."""
    stem = ops_of(graph, ops.Conv2d)[0]
    return CalibrationRecord({stem.name: TensorStats(0.0, 6.0, 0.0, 6.0)})


def pictures(graph: Graph, height: int, width: int) -> list[dict[str, NDArray[Any]]]:
    """Return noise, and the extremes at which sums are largest."""
    rng, shape = np.random.default_rng(height), (1, height, width, 3)
    noise = rng.integers(0, 256, shape)
    return [{graph.inputs[0].name: x.astype(np.uint8)} for x in (noise, 255 * (noise > 127), np.zeros(shape))]


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_quantised_network_gives_the_bits_of_the_reference(target: Target) -> None:
    made = quantise(network(), Q8, ranges(network())).graph
    assert [type(n.op) for n in ops_of(made, ops.ImageConv2d, ops.QuantisedConv2d)] == [
        ops.ImageConv2d,
        ops.QuantisedConv2d,
    ]
    assert not ops_of(made, ops.Quantise, ops.Conv2d)
    compiled = compile_graph(made, target, KERNELS, None, FUSED)
    for size in ((1, 1), (2, 31), (33, 29), (64, 64)):
        for picture in pictures(made, *size):
            want = reference.run(made, picture)
            for threads, side in ((1, Side.LEFT), (3, Side.RIGHT)):
                for name, got in zip(made.output_names, run_compiled(compiled, picture, threads, side), strict=True):
                    assert_close(got, want[name], Tol.EXACT)


def test_the_integers_are_those_of_the_float_network() -> None:
    graph = network()
    made = quantise(graph, Q8, ranges(graph)).graph
    picture = pictures(graph, 64, 64)[0]
    want, got = (reference.run(g, picture)[g.output_names[1]] for g in (graph, made))
    assert np.abs(want).max() > 5
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


@pytest.mark.parametrize(
    ("mode", "offset", "keep"),
    (
        (QuantMode.QINT16_MIXED_FLOAT32, 127.5, False),
        (QuantMode.QINT8_MIXED_FLOAT32, 123.68, False),
        (QuantMode.QINT8_MIXED_FLOAT32, 127.5, True),
    ),
)
def test_other_first_convolutions_stay_float(mode: QuantMode, offset: float, keep: bool) -> None:
    graph = network(replace(STEM, input_offset=offset))
    stem = ops_of(graph, ops.Conv2d)[0].name
    made = quantise(graph, QuantOptions(mode, keep=(stem,) if keep else ()), ranges(graph))
    assert not ops_of(made.graph, ops.ImageConv2d)
    assert [n.name for n in ops_of(made.graph, ops.Conv2d)] == [stem]
    assert len(ops_of(made.graph, ops.Quantise)) == 1


def test_the_precision_of_the_first_layer_is_reported() -> None:
    graph = network()
    first = quantise(graph, Q8, ranges(graph)).layers[0]
    assert (first.name, first.activations, first.weights) == (
        ops_of(graph, ops.Conv2d)[0].name,
        DType.UINT8,
        DType.INT16,
    )
