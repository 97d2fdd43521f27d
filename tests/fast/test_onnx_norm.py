"""ONNX's normalisations: what they compute, in every version, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from smalti.errors import GraphError, UnsupportedGraphError
from smalti.ir import ops
from tolerance import Tol, assert_close

onnx_kit = pytest.importorskip("onnx_kit", reason="the onnx package is not installed")

Array = NDArray[Any]
RNG = np.random.default_rng(5)
NEAR = Tol.FLOAT(40, 4.0)
SHAPES = [(2, 4), (2, 4, 5), (2, 4, 3, 5), (1, 4, 2, 3, 2)]


def data(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def check(op: str, operands: list[Array | None], tol: Tol = NEAR, outputs: int = 1, **settings: Any) -> None:
    """Compare the numpy meaning of the imported node with ONNX's reference."""
    model = onnx_kit.one_node(op, operands, outputs=outputs, **settings)
    values = onnx_kit.feeds(operands, settings.get("stored", ()))
    for got, want in zip(onnx_kit.meaning(model, values), onnx_kit.wanted(model, values), strict=True):
        assert_close(got, want, tol, op)


def refused(message: str, op: str, operands: list[Array | None], **settings: Any) -> None:
    with pytest.raises((GraphError, UnsupportedGraphError), match=message):
        onnx_kit.imported(onnx_kit.one_node(op, operands, **settings))


def batch_operands(*shape: int) -> list[Array | None]:
    channels = shape[1]
    return [data(*shape), data(channels), data(channels), data(channels), np.abs(data(channels)) + np.float32(0.1)]


# -- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [14, 15])
@pytest.mark.parametrize("shape", SHAPES)
def test_batches_with_given_statistics(shape: tuple[int, ...], opset: int) -> None:
    for stored in ((), (1, 2, 3, 4)):
        check("BatchNormalization", batch_operands(*shape), opset=opset, stored=stored, epsilon=1e-3, momentum=0.5)


def test_old_versions_say_in_other_ways_that_they_do_not_train() -> None:
    operands = batch_operands(2, 4, 3, 3)
    values = onnx_kit.feeds(operands)
    (want,) = onnx_kit.meaning(onnx_kit.one_node("BatchNormalization", operands, opset=15), values)
    for opset, attributes in ((7, {"spatial": 1}), (7, {}), (9, {"momentum": 0.5})):
        (got,) = onnx_kit.meaning(onnx_kit.one_node("BatchNormalization", operands, opset=opset, **attributes), values)
        assert_close(got, want, Tol.EXACT)
    refused("spatial=0", "BatchNormalization", operands, opset=7, spatial=0)


def test_training_is_refused() -> None:
    operands = batch_operands(2, 4, 3, 3)
    refused(r"training mode: export the network after model.eval", "BatchNormalization", operands, training_mode=1)
    refused("training mode", "BatchNormalization", operands, opset=9, outputs=3)
    refused("training mode", "BatchNormalization", operands, opset=15, outputs=3)


def test_images_keep_one_record_that_passes_fold() -> None:
    operands = batch_operands(2, 4, 3, 3)
    graph = onnx_kit.imported(onnx_kit.one_node("BatchNormalization", operands, stored=(1, 2, 3, 4))).graph
    assert [type(n.op) for n in graph.nodes() if not isinstance(n.op, (ops.Constant, ops.Input))] == [ops.BatchNorm]


def test_half_precision_with_statistics_in_single() -> None:
    operands = batch_operands(2, 4, 3, 3)
    operands[0] = data(2, 4, 3, 3).astype(np.float16)
    check("BatchNormalization", operands, Tol.FLOAT(2), opset=15)


# -- statistics of the tensor itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [7, 22])
@pytest.mark.parametrize("shape", SHAPES[1:])
def test_instances(shape: tuple[int, ...], opset: int) -> None:
    check("InstanceNormalization", [data(*shape), data(4), data(4)], opset=opset, epsilon=1e-2)
    refused("a scale or offset float32.3.", "InstanceNormalization", [data(*shape), data(3), data(4)])


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups(shape: tuple[int, ...], groups: int) -> None:
    check("GroupNormalization", [data(*shape), data(4), data(4)], opset=21, num_groups=groups)
    x, scale, offset = data(*shape), data(groups), data(groups)
    old = onnx_kit.one_node("GroupNormalization", [x, scale, offset], opset=18, num_groups=groups)
    (got,) = onnx_kit.meaning(old, {"x0": x, "x1": scale, "x2": offset})
    each = [np.repeat(p, 4 // groups) for p in (scale, offset)]
    new = onnx_kit.one_node("GroupNormalization", [x, *each], opset=21, num_groups=groups)
    assert_close(got, onnx_kit.wanted(new, {"x0": x, "x1": each[0], "x2": each[1]})[0], NEAR)


def test_groups_that_do_not_fit() -> None:
    refused("do not split into 3 groups", "GroupNormalization", [data(1, 4, 2), data(4), data(4)], num_groups=3)
    refused("do not split into 0 groups", "GroupNormalization", [data(1, 4, 2), data(4), data(4)], num_groups=0)
    refused("stash_type 11", "GroupNormalization", [data(1, 4, 2), data(4), data(4)], num_groups=2, stash_type=11)


@pytest.mark.parametrize("axis", [-1, 1, 2, 0])
@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_layers_with_their_statistics(axis: int, outputs: int) -> None:
    x = data(2, 3, 4)
    shape = x.shape[axis:]
    check("LayerNormalization", [x, data(*shape), data(*shape)], outputs=outputs, opset=17, axis=axis)
    check("LayerNormalization", [x, data(*shape)], outputs=outputs, opset=17, axis=axis)


def test_layers_of_half_precision_have_statistics_in_single() -> None:
    x, scale = data(3, 8).astype(np.float16), data(8).astype(np.float16)
    found = onnx_kit.meaning(onnx_kit.one_node("LayerNormalization", [x, scale], outputs=3), {"x0": x, "x1": scale})
    assert [f.dtype.name for f in found] == ["float16", "float32", "float32"]
    assert_close(found[1], x.astype(np.float64).mean(axis=1, keepdims=True).astype(np.float32), Tol.FLOAT(4))
    refused("a scale or offset float32", "LayerNormalization", [x, data(8)])
    refused("stash_type 16", "LayerNormalization", [x, scale], stash_type=16)


@pytest.mark.parametrize("axis", [-1, 1, 0])
def test_roots_of_mean_squares(axis: int) -> None:
    x = data(2, 3, 4)
    check("RMSNormalization", [x, data(*x.shape[axis:])], opset=23, axis=axis, epsilon=1e-3)


@pytest.mark.parametrize("opset", [9, 13])
def test_mean_and_variance(opset: int) -> None:
    check("MeanVarianceNormalization", [data(2, 3, 4, 5)], opset=opset)
    check("MeanVarianceNormalization", [data(2, 3, 4)], opset=opset, axes=[-1])


@pytest.mark.parametrize("opset", [7, 22])
@pytest.mark.parametrize("p", [1, 2])
def test_lengths(p: int, opset: int) -> None:
    x = data(3, 4, 2)
    for axis in (0, 1, -1):
        found = onnx_kit.one_node("LpNormalization", [x], opset=opset, p=p, axis=axis)
        want = x / np.linalg.norm(x, p, axis, keepdims=True)
        assert_close(onnx_kit.meaning(found, {"x0": x})[0], want, NEAR)
    zeros = np.zeros((2, 3), np.float32)
    (got,) = onnx_kit.meaning(onnx_kit.one_node("LpNormalization", [zeros], opset=opset, p=p), {"x0": zeros})
    assert_close(got, zeros, Tol.EXACT)
    refused("attribute p is 3", "LpNormalization", [zeros], p=3)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("opset", [7, 13])
def test_responses_of_the_channels_around(opset: int, size: int) -> None:
    x = data(2, 6, 3, 3)
    before, behind = (size - 1) // 2, size // 2
    sums = np.stack([(x[:, max(0, c - before) : c + behind + 1] ** 2).sum(axis=1) for c in range(6)], axis=1)
    want = x / (np.float32(1.5) + np.float32(0.3 / size) * sums) ** np.float32(0.6)
    found = onnx_kit.one_node("LRN", [x], opset=opset, size=size, alpha=0.3, beta=0.6, bias=1.5)
    assert_close(onnx_kit.meaning(found, {"x0": x})[0], want, NEAR)
    refused("sums over 65 channels", "LRN", [x], size=65)


def test_integers_are_refused() -> None:
    ints = np.ones((2, 4, 3, 3), np.int32)
    for op in ("LpNormalization", "MeanVarianceNormalization"):
        refused("element type int32", op, [ints])
    refused("element type int32", "LRN", [ints], size=3)


OPEN: list[tuple[str, int, dict[str, Any]]] = [
    ("BatchNormalization", 4, {}),
    ("InstanceNormalization", 2, {}),
    ("GroupNormalization", 2, {"num_groups": 2}),
    ("MeanVarianceNormalization", 0, {}),
    ("LpNormalization", 0, {}),
    ("LRN", 0, {"size": 3}),
]


@pytest.mark.parametrize(("op", "parameters", "settings"), OPEN, ids=[op for op, _, _ in OPEN])
def test_open_sizes(op: str, parameters: int, settings: dict[str, Any]) -> None:
    operands: list[Array | None] = batch_operands(2, 4, 3, 5)[: parameters + 1]
    if parameters == 4:
        operands[4] = np.abs(data(4)) + np.float32(0.5)
    stored = range(1, parameters + 1)
    values = onnx_kit.feeds(operands, stored)
    held = onnx_kit.one_node(op, operands, stored=stored, **settings)
    found = onnx_kit.one_node(op, operands, stored=stored, sizes={0: [2, 4, "h", "w"]}, **settings)
    assert_close(onnx_kit.meaning(found, values)[0], onnx_kit.meaning(held, values)[0], Tol.EXACT)
    assert [str(s) for s in onnx_kit.imported(found).graph.outputs[0].type.shape] == ["2", "4", "H", "W"]
