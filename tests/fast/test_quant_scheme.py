"""From canonical graphs to graphs of level quantised: which layers compute in which types, and how well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from passes_kit import Maker, graph_of, ops_of
from smalti.errors import UsageError
from smalti.ir import ops
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.infer import make_node
from smalti.ir.ops import Activation
from smalti.ir.reference import run
from smalti.ir.verify import verify
from smalti.numerics import DType
from smalti.quant.modes import ActivationScheme, Granularity, QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord, TensorStats
from smalti.quant.scheme import Quantised, quantise
from tolerance import Tol, assert_close

Q8 = QuantOptions(QuantMode.QINT8_MIXED_FLOAT32)
HEIGHT, WIDTH = 9, 11


def bottleneck(seed: int = 3) -> Graph:
    """An image, a stem, an inverted residual block with its sum, a pooled branch and logits."""
    m = Maker(seed)
    image = m.input(1, HEIGHT, WIDTH, 3, dtype=DType.UINT8)
    stem = _conv(m, image, 8, 3, activation=Activation.RELU6, input_offset=127.5)
    wide = _conv(m, stem, 24, 1, activation=Activation.RELU6)
    deep = _depthwise(m, wide)
    thin = _conv(m, deep, 8, 1, residual=stem)
    mean = m.op(ops.Reduce(ops.ReduceFn.MEAN, (1, 2), True), thin)
    pooled = _conv(m, mean, 5, 1)
    vector = m.op(ops.Reshape((5,)), pooled)
    head = m.op(ops.Conv2d(bias=True, activation=Activation.RELU), thin, m.random(1, 1, 8, 5), vector)
    logits = _conv(m, head, 4, 1)
    return graph_of(m.op(ops.ArgMax(3, DType.INT64), logits), logits, level=Level.CANONICAL)


def _conv(m: Maker, x: Node, cout: int, k: int, residual: Node | None = None, **attrs: Any) -> Node:
    cin = x.type.shape[3]
    assert isinstance(cin, int)
    scale = 0.02 if x.type.dtype is DType.UINT8 else 1.0
    depth = cin // attrs.get("groups", 1)
    operands = [x, m.const(scale * m.rng.normal(0, 1 / np.sqrt(k * k * depth), (k, k, depth, cout))), m.random(cout)]
    if residual is not None:
        operands.append(residual)
    half = k // 2
    op = ops.Conv2d(pads=(half,) * 4, bias=True, residual=residual is not None, **attrs)
    return m.op(op, *operands)


def _depthwise(m: Maker, x: Node) -> Node:
    channels = x.type.shape[3]
    assert isinstance(channels, int)
    op = ops.Conv2d(pads=(1, 1, 1, 1), bias=True, activation=Activation.RELU6, groups=channels)
    return m.op(op, x, m.random(3, 3, 1, channels), m.random(channels))


def pictures(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Random pictures."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (1, HEIGHT, WIDTH, 3), np.uint8) for _ in range(count)]


def observe(graph: Graph, images: list[NDArray[np.uint8]]) -> CalibrationRecord:
    """Return the true ranges of every float tensor over the images."""
    names = [n.name for n in graph.nodes() if n.type.dtype is DType.FLOAT32 and not isinstance(n.op, ops.Constant)]
    found: dict[str, tuple[float, float]] = {}
    for image in images:
        values = run(graph, {graph.inputs[0].name: image}, names)
        for name in names:
            low, high = found.get(name, (np.inf, -np.inf))
            found[name] = min(low, float(values[name].min())), max(high, float(values[name].max()))
    return CalibrationRecord({n: TensorStats(low, high, low, high) for n, (low, high) in found.items()})


@pytest.fixture(scope="module")
def graph() -> Graph:
    return bottleneck()


@pytest.fixture(scope="module")
def record(graph: Graph) -> CalibrationRecord:
    return observe(graph, pictures(4))


def error(graph: Graph, made: Quantised, seed: int = 0) -> float:
    """Return the largest error of the logits over their largest value, on a picture of the calibration."""
    feed = {graph.inputs[0].name: pictures(1, seed)[0]}
    want, got = (run(g, feed)[g.output_names[1]] for g in (graph, made.graph))
    return float(np.abs(want - got).max() / np.abs(want).max())


def layers(graph: Graph) -> list[Node]:
    return ops_of(graph, ops.Conv2d)


def test_float32_leaves_the_graph_alone(graph: Graph) -> None:
    made = quantise(graph, QuantOptions())
    assert made.graph is graph
    assert len(made.layers) == len(layers(graph))


@pytest.mark.parametrize("mode", [QuantMode.FORCE_FLOAT16, QuantMode.FORCE_BFLOAT16])
def test_half_modes_narrow_everything_but_the_logits(graph: Graph, mode: QuantMode) -> None:
    made = quantise(graph, QuantOptions(mode))
    verify(made.graph, Level.QUANTISED)
    *body, last = layers(made.graph)
    assert {node.type.dtype for node in body} == {mode.float_type}
    assert {node.inputs[1].type.dtype for node in body} == {mode.float_type}
    assert last.type.dtype is DType.FLOAT32
    assert last.inputs[1].type.dtype is DType.FLOAT32
    steps = {DType.FLOAT16: 2.0**-11, DType.BFLOAT16: 2.0**-8}[mode.float_type]
    assert 0 < error(graph, made) < 8 * steps


def test_a_constant_too_large_for_float16_keeps_its_layer(graph: Graph) -> None:
    m = Maker()
    x = m.input(1, 4, 4, 2)
    conv = m.op(ops.Conv2d(), x, m.const(np.full((1, 1, 2, 2), 1e5)))
    last = m.op(ops.Conv2d(), conv, m.random(1, 1, 2, 2))
    made = quantise(graph_of(last, level=Level.CANONICAL), QuantOptions(QuantMode.FORCE_FLOAT16))
    assert layers(made.graph)[0].type.dtype is DType.FLOAT32
    assert "too large for float16" in made.notes[0]


def test_every_layer_behind_the_stem_computes_in_integers(graph: Graph, record: CalibrationRecord) -> None:
    made = quantise(graph, Q8, record)
    verify(made.graph, Level.QUANTISED)
    assert [n.op.groups for n in ops_of(made.graph, ops.QuantisedConv2d)].count(1) == 5  # type: ignore[attr-defined]
    assert [n.op.groups for n in ops_of(made.graph, ops.QuantisedConv2d)].count(24) == 1  # type: ignore[attr-defined]
    assert len(ops_of(made.graph, ops.QuantisedMean)) == 1
    assert not ops_of(made.graph, ops.Dequantise)
    assert not ops_of(made.graph, ops.Quantise)
    assert len(ops_of(made.graph, ops.ImageConv2d)) == 1
    assert {layer.weights for layer in made.layers[1:]} == {DType.INT8}
    assert error(graph, made) < 0.1


def test_more_bits_mean_smaller_errors(graph: Graph, record: CalibrationRecord) -> None:
    eight = error(graph, quantise(graph, Q8, record))
    sixteen = error(graph, quantise(graph, replace(Q8, mode=QuantMode.QINT16_MIXED_FLOAT32), record))
    assert sixteen < eight / 50


def test_one_scale_for_all_channels_is_worse(graph: Graph, record: CalibrationRecord) -> None:
    one = quantise(graph, replace(Q8, weight_granularity=Granularity.PER_TENSOR), record)
    for node in ops_of(one.graph, ops.QuantisedConv2d):
        multiplier = node.inputs[2].op
        assert isinstance(multiplier, ops.Constant)
        assert len(set(multiplier.value.ravel().tolist())) == 1
    assert error(graph, one) > 0


def test_symmetric_ranges_put_zero_in_the_middle(graph: Graph, record: CalibrationRecord) -> None:
    made = quantise(graph, replace(Q8, activation=ActivationScheme.SYMMETRIC), record)
    zero_points = {p.zero_point for p in made.params.values()}
    assert zero_points == {0, 128}
    assert error(graph, made) < 0.15


def test_kept_layers_stay_float_and_are_named(graph: Graph, record: CalibrationRecord) -> None:
    name = next(node.name for node in layers(graph) if node.op.groups > 1)
    made = quantise(graph, replace(Q8, mode=QuantMode.QINT8_MIXED_FLOAT16, keep=(name,)), record)
    (kept,) = (node for node in layers(made.graph) if node.op.groups > 1)
    assert kept.type.dtype is DType.FLOAT16
    assert kept.inputs[0].type.dtype is DType.FLOAT16
    assert not ops_of(made.graph, ops.Dequantise, ops.Cast)
    (layer,) = (n for n in made.layers if n.name == name)
    assert (layer.activations, layer.why) == (DType.FLOAT16, "asked for")


def test_a_layer_without_a_range_stays_float(graph: Graph, record: CalibrationRecord) -> None:
    wide = layers(graph)[1]
    known = {name: stats for name, stats in record.tensors.items() if name != wide.name}
    made = quantise(graph, Q8, CalibrationRecord(known))
    assert sum(node.op.groups > 1 for node in layers(made.graph)) == 1


@pytest.mark.parametrize("mode", [QuantMode.QINT8_MIXED_FLOAT32, QuantMode.QINT16_MIXED_FLOAT32])
def test_a_convolution_in_groups_computes_in_integers_as_the_dense_one_does(mode: QuantMode) -> None:
    m = Maker()
    x = m.input(1, 6, 6, 8)
    conv = _conv(m, x, 12, 3, groups=4)
    value = np.asarray(conv.weights.op.value)  # type: ignore[attr-defined]
    dense = np.zeros((3, 3, 8, 12), np.float32)
    for group in range(4):
        dense[:, :, 2 * group : 2 * group + 2, 3 * group : 3 * group + 3] = value[..., 3 * group : 3 * group + 3]
    op = replace(conv.op, groups=1)  # type: ignore[type-var]
    record = CalibrationRecord({x.name: replace(_range(-3, 5), channel_mean=tuple(float(c) for c in range(8)))})
    made = [
        quantise(graph_of(node, level=Level.CANONICAL), QuantOptions(mode), record).graph
        for node in (conv, m.op(op, x, m.const(dense), conv.inputs[2]))
    ]
    (grouped,), (plain,) = (ops_of(graph, ops.QuantisedConv2d) for graph in made)
    assert (grouped.op.groups, plain.op.groups) == (4, 1)  # type: ignore[attr-defined]
    picture = {x.name: np.random.default_rng(2).uniform(-3, 5, (1, 6, 6, 8)).astype(np.float32)}
    got, want = (next(iter(run(graph, picture).values())) for graph in made)
    assert_close(got, want, Tol.FLOAT(reduction=18, scale=float(np.abs(want).max())))


def test_joined_tensors_share_one_scale() -> None:
    m = Maker()
    x = m.input(1, 4, 4, 8)
    a, b = _conv(m, x, 6, 1), _conv(m, x, 2, 1)
    joined = m.op(ops.Concat(3), a, b)
    last = _conv(m, joined, 3, 1)
    graph = graph_of(last, level=Level.CANONICAL)
    record = CalibrationRecord(
        {x.name: _range(-1, 1), a.name: _range(-1, 3), b.name: _range(-2, 1), joined.name: _range(-2, 3)}
    )
    made = quantise(graph, Q8, record)
    steps = {made.params[n.name] for n in (a, b, joined)}
    assert len(steps) == 1
    assert steps.pop().range == reached(-2, 3)
    (concat,) = ops_of(made.graph, ops.Concat)
    assert concat.type.dtype is DType.UINT8


def reached(low: float, high: float) -> tuple[float, float]:
    """Return the range that 255 steps around an exact zero reach."""
    scale = float(np.float32((high - low) / 255))
    zero = round(-low / scale)
    return -zero * scale, (255 - zero) * scale


def _range(low: float, high: float) -> TensorStats:
    return TensorStats(low, high, low, high)


def test_a_channel_of_zeros_and_a_huge_bias_are_exact() -> None:
    m = Maker()
    x = m.input(1, 2, 2, 3)
    weights = np.zeros((1, 1, 3, 2), np.float32)
    weights[0, 0, :, 1] = 1e-9
    conv = m.op(ops.Conv2d(bias=True), x, m.const(weights), m.const([5.0, 1000.0]))
    graph = graph_of(conv, level=Level.CANONICAL)
    made = quantise(graph, Q8, CalibrationRecord({x.name: _range(0, 1)}))
    value = run(made.graph, {x.name: np.ones((1, 2, 2, 3), np.float32)})[graph.output_names[0]]
    np.testing.assert_array_equal(np.round(value[0, 0, 0], 3), [5.0, 1000.0])


def test_errors_say_what_to_do(graph: Graph, record: CalibrationRecord) -> None:
    with pytest.raises(UsageError, match="--image-dir"):
        quantise(graph, Q8)
    with pytest.raises(UsageError, match="no convolution named nothing"):
        quantise(graph, replace(Q8, keep=("nothing",)), record)
    with pytest.raises(UsageError, match=r"q8_f16"):
        QuantMode.parse("int8")
    assert QuantMode.parse("q8_f16") is QuantMode.parse("QINT8_mixed_float16")


def test_the_image_may_be_a_float_input(record: CalibrationRecord) -> None:
    m = Maker()
    x = m.input(1, 4, 4, 8)
    graph = graph_of(make_node(ops.ArgMax(3, DType.INT64), (_conv(m, x, 6, 1),), "labels"), level=Level.CANONICAL)
    made = quantise(graph, Q8, CalibrationRecord({x.name: _range(-1, 1)}))
    assert len(ops_of(made.graph, ops.Quantise)) == 1
    assert len(ops_of(made.graph, ops.QuantisedConv2d)) == 1
