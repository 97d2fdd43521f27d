"""Taps on a graph give the statistics that numpy finds, and the check of a calibration set says what is odd."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from passes_kit import ANY_SIZE, H, Maker, W, graph_of
from smalti.errors import CompilerError, DataError, UsageError
from smalti.ir import ops
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.infer import make_node
from smalti.ir.reference import run
from smalti.ir.sizes import evaluate
from smalti.ir.verify import verify
from smalti.numerics import DType
from smalti.quant.calibrate import Source, calibrate
from smalti.quant.checks import check_calibration
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.observers import SAMPLE, Observer, Tapped, observed_nodes, tap
from smalti.quant.record import CalibrationRecord, SeenImage
from tolerance import Tol, assert_close

OPTIONS = QuantOptions(QuantMode.QINT8_MIXED_FLOAT32)
SOURCE = Source("net", "0" * 64, {"resize": "fit", "input_size": 11})


def network(height: Any = H, width: Any = W) -> Graph:
    """A stem, a pooled vector that is added as a bias, logits, and their labels at the size of the image."""
    m = Maker(2)
    image = m.input(1, height, width, 3, dtype=DType.UINT8)
    weights = m.const(0.02 * m.rng.normal(size=(3, 3, 3, 5)))
    op = ops.Conv2d(pads=(1, 1, 1, 1), input_offset=127.5, activation=ops.Activation.RELU6)
    stem = m.op(op, image, weights)
    deep = m.depthwise(stem)
    mean = m.op(ops.Reduce(ops.ReduceFn.MEAN, (1, 2), True), deep)
    vector = m.op(ops.Reshape((4,)), m.conv(mean, 4, 1))
    head = m.op(ops.Conv2d(bias=True), deep, m.random(1, 1, 5, 4), vector)
    resize = ops.Resize(ops.ResizeFn.BILINEAR, (height, width))
    return graph_of(m.op(ops.ArgMax(3, DType.INT64), m.op(resize, m.conv(head, 3, 1))), level=Level.CANONICAL)


def pictures(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (1, ANY_SIZE["H"], ANY_SIZE["W"], 3), np.uint8) for _ in range(count)]


def observe(tapped: Tapped, images: list[NDArray[np.uint8]], options: QuantOptions = OPTIONS) -> CalibrationRecord:
    """Return the record of a tapped graph that numpy runs."""
    name = tapped.graph.inputs[0].name

    def runs() -> Any:
        for image in images:
            digest = f"{hash(image.tobytes()) % 16**12:064x}"
            yield SeenImage("x", digest), list(run(tapped.graph, {name: image}).values())

    return calibrate(tapped, options, SOURCE, runs())


def test_statistics_are_those_of_numpy() -> None:
    graph, images = network(), pictures(5)
    tapped = tap(graph)
    verify(tapped.graph)
    record = observe(tapped, images)
    names = [node.name for node in observed_nodes(graph)]
    assert sorted(record.tensors) == sorted(names) and len(names) == 7
    per_image = [run(graph, {graph.inputs[0].name: image}, names) for image in images]
    for name in names:
        values = np.concatenate([v[name].reshape(1, -1, v[name].shape[-1]) for v in per_image])
        stats = record.tensors[name]
        assert (stats.seen_low, stats.seen_high) == (stats.low, stats.high)
        for got, want in (
            (stats.channel_low, values.min(axis=(0, 1))),
            (stats.channel_high, values.max(axis=(0, 1))),
            ((stats.seen_low,), values.min(keepdims=True)[0, 0]),
            ((stats.seen_high,), values.max(keepdims=True)[0, 0]),
        ):
            assert_close(np.array(got, np.float32), want, Tol.EXACT, name)
        mean = values.astype(np.float64).mean(axis=(0, 1)).astype(np.float32)
        tol = Tol.FLOAT(values.shape[1], float(np.abs(values).max()))
        assert_close(np.array(stats.channel_mean, np.float32), mean, tol, name)


def test_what_follows_the_logits_is_not_observed() -> None:
    graph = network()
    kinds = [type(node.op) for node in observed_nodes(graph)]
    assert ops.Resize not in kinds and ops.Input not in kinds and ops.Constant not in kinds
    assert kinds.count(ops.Conv2d) == 4 + 1


def test_a_tensor_that_is_an_output_and_is_read_by_a_layer_is_observed() -> None:
    m = Maker()
    joined = m.op(ops.Concat(3), m.conv(m.input(1, 5, 5, 3), 4), m.conv(m.input(1, 5, 5, 3, name="b:0"), 4))
    graph = graph_of(joined, m.conv(joined, 2), level=Level.CANONICAL)
    assert joined in observed_nodes(graph)
    assert joined not in observed_nodes(graph_of(joined, level=Level.CANONICAL))


def test_every_image_gives_the_same_whatever_the_others_are() -> None:
    tapped, images = tap(network()), pictures(6)
    forward = observe(tapped, images)
    assert observe(tapped, images).to_json() == forward.to_json()
    backward = observe(tapped, images[::-1])
    for name, stats in forward.tensors.items():
        assert (backward.tensors[name].low, backward.tensors[name].high) == (stats.low, stats.high)
    fewer = observe(tapped, images[:2])
    assert any(fewer.tensors[n].high < s.high for n, s in forward.tensors.items())


def test_the_taps_stay_small_and_meet_every_phase() -> None:
    graph = network(513, 513)
    outputs = tap(graph).graph.outputs
    for low, _, _, sample in (outputs[i : i + 4] for i in range(0, len(outputs) - 1, 4)):
        assert low.type.rank == 1
        assert evaluate(sample.type.elements, {}) <= SAMPLE
        if isinstance(sample.op, ops.Slice):
            assert all(step % 2 for step in sample.op.stride)
    steps = {n.op.stride[1] for n in outputs if isinstance(n.op, ops.Slice) and n.type.rank == 4}
    assert steps == {1, 5} or steps == {1, 3, 5}


def test_labels_come_from_an_integer_output_or_from_logits() -> None:
    m = Maker()
    image = m.input(1, 5, 5, 3)
    logits = tap(graph_of(m.conv(image, 4), level=Level.CANONICAL))
    assert logits.has_labels and isinstance(logits.graph.outputs[-1].op, ops.ArgMax)
    vector = tap(graph_of(m.op(ops.Reduce(ops.ReduceFn.MEAN, (1, 2), False), m.conv(image, 4)), level=Level.CANONICAL))
    assert not vector.has_labels


def test_a_graph_without_floats_and_names_that_repeat() -> None:
    m = Maker()
    labels = m.input(1, 5, 5, 3, dtype=DType.UINT8)
    with pytest.raises(DataError, match="no float32 tensor"):
        tap(graph_of(m.op(ops.Cast(DType.INT32), labels), level=Level.CANONICAL))
    first = m.conv(m.input(1, 5, 5, 3), 4)
    again = make_node(ops.Unary(ops.UnaryFn.RELU), (first,), first.name)
    with pytest.raises(CompilerError, match="same name"):
        tap(graph_of(m.conv(again, 2), level=Level.CANONICAL))


def test_values_that_are_no_numbers_are_refused_by_name() -> None:
    m = Maker()
    bad = make_node(ops.Unary(ops.UnaryFn.SQRT), (m.conv(m.input(1, 5, 5, 3), 4),), "root:0")
    tapped = tap(graph_of(m.conv(bad, 2), level=Level.CANONICAL))
    image = np.random.default_rng(0).normal(size=(1, 5, 5, 3)).astype(np.float32)
    with np.errstate(invalid="ignore"), pytest.raises(DataError, match="root:0 that are infinite or not a number"):
        outputs = list(run(tapped.graph, {"image:0": image}).values())
        calibrate(tapped, OPTIONS, SOURCE, [(SeenImage("x", "0" * 64), outputs)])


def test_no_images_are_an_error() -> None:
    with pytest.raises(UsageError, match="at least one image"):
        observe(tap(network()), [])


# ---- the check of the set -------------------------------------------------------------------------------------------


def constant_image(value: int) -> NDArray[np.uint8]:
    return np.full((1, ANY_SIZE["H"], ANY_SIZE["W"], 3), value, np.uint8)


def warned(images: list[NDArray[np.uint8]], graph: Graph | None = None, word: str = "") -> list[str]:
    return [w for w in observe(tap(graph or network()), images).warnings if word in w]


def biased(m: Maker, x: Node, bias: list[float], activation: ops.Activation = ops.Activation.NONE) -> Node:
    weights = m.const(np.eye(3, len(bias)).reshape(1, 1, 3, -1))
    return m.op(ops.Conv2d(bias=True, activation=activation), x, weights, m.const(bias))


def test_a_good_set_gives_no_warning() -> None:
    assert warned(pictures(16)) == []


def test_few_images_are_named() -> None:
    assert "only 3 images were seen" in warned(pictures(3), word="seen")[0]
    assert "only 1 image was seen" in warned(pictures(1), word="seen")[0]


def test_the_same_image_again_and_again_is_named() -> None:
    assert warned([constant_image(9)] * 16, word="all 16 images are the same picture")
    assert warned([*pictures(2), *pictures(15)], word="only 15 of the 17 images")


def test_one_class_alone_is_named() -> None:
    m = Maker()
    image = m.op(ops.Cast(DType.FLOAT32), m.input(1, H, W, 3, dtype=DType.UINT8))
    for bias, count in (([0.0, 1e4, 0.0], 1), ([0.0, 0.0, 0.0], 0)):
        logits = biased(m, image, bias)
        graph = graph_of(m.op(ops.ArgMax(3, DType.INT64), logits), level=Level.CANONICAL)
        assert len(warned(pictures(16), graph, "nothing but class 1")) == count


def test_dead_channels_are_counted() -> None:
    m = Maker()
    image = m.op(ops.Cast(DType.FLOAT32), m.input(1, H, W, 3, dtype=DType.UINT8))
    hidden = biased(m, image, [0.0, -1e4, -1e4], ops.Activation.RELU)
    graph = graph_of(m.op(ops.ArgMax(3, DType.INT64), m.conv(hidden, 4)), level=Level.CANONICAL)
    (sentence,) = warned(pictures(16), graph, "dead")
    assert "2 channels have one and the same value in all images" in sentence and f"{hidden.name} (2 of 3)" in sentence


def test_halves_that_differ_are_named() -> None:
    dark = [constant_image(120 + i % 15) for i in range(8)]
    assert warned([*dark, *pictures(8)], word="two halves")
    mixed = [image for pair in zip(dark, pictures(8), strict=True) for image in pair]
    assert not warned(mixed, word="two halves")


def test_a_large_clipped_share_is_named() -> None:
    record = observe(tap(network()), pictures(16))
    assert not any("outside the chosen range" in w for w in record.warnings)
    observer = Observer(tap(network()))
    clipped = {name: replace(stats, clipped=0.02) for name, stats in record.tensors.items()}
    (sentence,) = (w for w in check_calibration(observer, [], clipped) if "more than 1%" in w)
    assert "(2.0%)" in sentence and "and 4 more" in sentence and "--calib-algo" in sentence
