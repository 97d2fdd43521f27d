"""ONNX's convolutions, transposed convolutions and pooling against their definitions, and on images of open size.

Convolutions are compared with ONNX's own reference; those of transposed convolutions and of pooling do not take some of
these attributes, so what the standard says of them stands here in plain loops.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smalti.errors import GraphError, UnsupportedGraphError
from smalti.ir import ops
from smalti.passes.pipeline import run_pipeline
from tolerance import Tol, assert_close

onnx_kit = pytest.importorskip("onnx_kit", reason="the onnx package is not installed")

Array = NDArray[Any]
RNG = np.random.default_rng(31)
NEAR = Tol.FLOAT(128, 8.0)


def data(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def check(op: str, operands: list[Array], *, opset: int = 22, is_open: bool = False, **attributes: Any) -> None:
    """Compare the numpy meaning of an import with ONNX's reference; weights are stored."""
    stored = range(1, len(operands))
    x = operands[0]
    sizes = {0: [*x.shape[:2], *("height", "width")[-x.ndim + 2 :]]} if is_open else None
    model = onnx_kit.one_node(op, operands, stored=stored, sizes=sizes, opset=opset, **attributes)
    (found,) = onnx_kit.meaning(model, {"x0": x})
    (want,) = onnx_kit.wanted(model, {"x0": x})
    assert_close(found, want.astype(np.float32), NEAR, f"{op} {attributes}")


def found_by(op: str, operands: list[Array], is_open: bool, **attributes: Any) -> Array:
    """Return the numpy meaning of an import; weights are stored."""
    x = operands[0]
    sizes = {0: [*x.shape[:2], *("height", "width")[-x.ndim + 2 :]]} if is_open else None
    model = onnx_kit.one_node(op, operands, stored=range(1, len(operands)), sizes=sizes, **attributes)
    (found,) = onnx_kit.meaning(model, {"x0": x})
    return np.asarray(found)


def places(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(np.ndindex(*shape))


def transposed(x: Array, weights: Array, bias: Array, groups: int, how: dict[str, Any]) -> Array:
    """Every pixel adds its window to the result."""
    dims = x.ndim - 2
    stride, dilation, more = how["strides"], how["dilations"], how["output_padding"]
    before, after = how["pads"][:dims], how["pads"][dims:]
    axes = list(zip(x.shape[2:], stride, weights.shape[2:], dilation, more, strict=True))
    whole = [s * (n - 1) + (k - 1) * d + 1 + m for n, s, k, d, m in axes]
    count = weights.shape[1]
    result = np.zeros((x.shape[0], count * groups, *whole), np.float64)
    for at in places(x.shape[2:]):
        for tap in places(weights.shape[2:]):
            to = tuple(a * s + t * d for a, s, t, d in zip(at, stride, tap, dilation, strict=True))
            for g in range(groups):
                rows = slice(g * x.shape[1] // groups, (g + 1) * x.shape[1] // groups)
                part = x[(slice(None), rows, *at)].astype(np.float64) @ weights[(rows, slice(None), *tap)]
                result[(slice(None), slice(g * count, (g + 1) * count), *to)] += part
    cut = tuple(slice(b, n - a) for b, a, n in zip(before, after, whole, strict=True))
    return (result[(slice(None), slice(None), *cut)] + bias.reshape(-1, *(1,) * dims)).astype(np.float32)


def pooled(x: Array, op: str, ceil: bool, how: dict[str, Any]) -> Array:
    """The largest or the mean of what each window sees; with ``ceil`` a last window counts that begins inside."""
    size, stride, dilation, pads = how["kernel_shape"], how["strides"], how["dilations"], how["pads"]
    counts = []
    for n, k, s, d, before, after in zip(x.shape[2:], size, stride, dilation, pads[:2], pads[2:], strict=True):
        room = n + before + after - (k - 1) * d - 1
        count = (-(-room // s) if ceil else room // s) + 1
        counts.append(count - 1 if ceil and (count - 1) * s >= n + before else count)
    result = np.zeros((*x.shape[:2], *counts), np.float32)
    for at in places(tuple(counts)):
        seen, padding = [], 0
        for tap in places(tuple(size)):
            where = [a * s - p + t * d for a, s, p, t, d in zip(at, stride, pads[:2], tap, dilation, strict=True)]
            if all(0 <= w < n for w, n in zip(where, x.shape[2:], strict=True)):
                seen.append(x[:, :, where[0], where[1]])
            elif all(w < n + p for w, n, p in zip(where, x.shape[2:], pads[2:], strict=True)):
                padding += 1
        if op == "MaxPool":
            result[(slice(None), slice(None), *at)] = np.max(seen, axis=0)
        else:
            total = np.sum(seen, axis=0, dtype=np.float64)
            result[(slice(None), slice(None), *at)] = total / (len(seen) + padding * how["count_include_pad"])
    return result


@st.composite
def windows(draw: st.DrawFn, dims: int) -> dict[str, Any]:
    """Draw the attributes of a window that fits images of 9 and more pixels."""
    size = [draw(st.integers(1, 3)) for _ in range(dims)]
    dilation = [draw(st.integers(1, 2)) for _ in range(dims)]
    extent = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    found: dict[str, Any] = {"kernel_shape": size, "strides": [draw(st.integers(1, 3)) for _ in range(dims)]}
    found["dilations"] = dilation
    found["pads"] = [draw(st.integers(0, e - 1)) for e in (*extent, *extent)]
    return found


@settings(max_examples=60)
@given(st.data(), st.integers(1, 2), st.sampled_from([(1, 2, 3), (2, 2, 1), (3, 1, 1), (3, 1, 2)]), st.booleans())
def test_convolutions(draw: st.DataObject, dims: int, groups: tuple[int, int, int], is_open: bool) -> None:
    count, taken, given_out = groups
    how = draw.draw(windows(dims))
    x = data(2, count * taken, *(9 + i for i in range(dims)))
    weights = data(count * given_out, taken, *how["kernel_shape"])
    operands = [x, weights] if draw.draw(st.booleans()) else [x, weights, data(count * given_out)]
    check("Conv", operands, is_open=is_open, group=count, **how)


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("is_open", [False, True])
def test_paddings_that_follow_from_sizes(auto: str, is_open: bool) -> None:
    for stride in ([1, 1], [2, 3]):
        check("Conv", [data(1, 2, 10, 11), data(3, 2, 4, 3)], is_open=is_open, auto_pad=auto, strides=stride)


@settings(max_examples=60)
@given(st.data(), st.integers(1, 2), st.integers(1, 2), st.booleans())
def test_transposed_convolutions(draw: st.DataObject, dims: int, groups: int, is_open: bool) -> None:
    how = draw.draw(windows(dims))
    how["output_padding"] = [draw.draw(st.integers(0, s - 1)) for s in how["strides"]]
    x, weights = data(1, 2 * groups, *(5 + i for i in range(dims))), data(2 * groups, 3, *how["kernel_shape"])
    bias = data(3 * groups)
    found = found_by("ConvTranspose", [x, weights, bias], is_open, group=groups, **how)
    assert_close(found, transposed(x, weights, bias, groups, how), NEAR, f"{how}")


def test_the_size_of_a_transposed_convolution_may_be_stated() -> None:
    x, weights = data(1, 2, 4, 5), data(2, 3, 3, 3)
    for auto, pads in (("SAME_UPPER", [0, 0, 1, 1]), ("NOTSET", [1, 1, 0, 0])):
        found = found_by("ConvTranspose", [x, weights], False, strides=[2, 2], output_shape=[8, 10], auto_pad=auto)
        how = {"strides": [2, 2], "dilations": [1, 1], "output_padding": [0, 0], "pads": pads}
        assert_close(found, transposed(x, weights, np.zeros(3, np.float32), 1, how), NEAR, auto)
    model = onnx_kit.one_node(
        "ConvTranspose", [x, weights], stored=[1], sizes={0: [1, 2, "h", "w"]}, strides=[2, 2], output_shape=[8, 10]
    )
    with pytest.raises(UnsupportedGraphError, match="output_shape for images of open size"):
        onnx_kit.imported(model)


@settings(max_examples=80)
@given(st.data(), st.sampled_from(["MaxPool", "AveragePool"]), st.booleans(), st.booleans())
def test_pooling(draw: st.DataObject, op: str, ceil: bool, is_open: bool) -> None:
    how = draw.draw(windows(2))
    if op == "AveragePool":
        how["dilations"] = [1, 1]
        how["pads"] = [min(p, k - 1) for p, k in zip(how["pads"], how["kernel_shape"] * 2, strict=True)]
        how["count_include_pad"] = int(draw.draw(st.booleans()))
    x = data(1, 2, 9, 10)
    assert_close(found_by(op, [x], is_open, ceil_mode=int(ceil), **how), pooled(x, op, ceil, how), NEAR, f"{how}")


def test_norms_and_whole_images() -> None:
    x = data(2, 3, 7, 8)
    for p in (1, 2):
        check("LpPool", [x], kernel_shape=[3, 2], pads=[1, 0, 1, 1], strides=[2, 1], p=p)
        want = (np.abs(x.astype(np.float64)) ** p).sum((2, 3), keepdims=True) ** (1 / p)
        assert_close(found_by("GlobalLpPool", [x], True, p=p), want.astype(np.float32), NEAR)
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        check(op, [x], is_open=True)
    line = data(2, 3, 7)
    assert_close(found_by("GlobalMaxPool", [line], True), line.max(2, keepdims=True), Tol.EXACT)


def test_weights_of_each_channel_are_a_depthwise_convolution() -> None:
    model = onnx_kit.one_node("Conv", [data(1, 4, 8, 8), data(4, 1, 3, 3)], stored=[1], group=4)
    graph = run_pipeline(onnx_kit.imported(model).graph, check=True).graph
    assert any(isinstance(node.op, ops.DepthwiseConv2d) for node in graph.nodes())


def test_a_network_of_channels_first_keeps_one_transpose() -> None:
    model = onnx_kit.one_node("Conv", [data(1, 4, 8, 8), data(6, 2, 3, 3), data(6)], stored=[1, 2], group=2)
    graph = run_pipeline(onnx_kit.imported(model).graph, check=True).graph
    (conv,) = [node for node in graph.nodes() if isinstance(node.op, ops.Conv2d)]
    assert isinstance(conv.op, ops.Conv2d)
    assert (conv.op.groups, conv.op.bias, conv.op.layout) == (2, True, ops.Layout.NHWC)


@pytest.mark.parametrize(
    ("op", "operands", "attributes", "text"),
    [
        ("Conv", [data(1, 2, 5, 5, 5), data(2, 2, 1, 1, 1)], {}, "3 spatial dimensions"),
        ("Conv", [data(1, 4, 5, 5), data(2, 3, 1, 1)], {}, "1 groups of 3 channels"),
        ("Conv", [data(1, 2, 5, 5), data(2, 2, 3, 3)], {"kernel_shape": [3, 2]}, "kernel_shape"),
        ("Conv", [data(1, 2, 5, 5), data(2, 2, 3, 3)], {"pads": [1, 1]}, "lists 2 numbers"),
        ("Conv", [data(1, 2, 5, 5), data(2, 2, 3, 3), data(3)], {}, "a bias"),
        ("MaxPool", [data(1, 2, 5, 5)], {"kernel_shape": [2, 2], "pads": [2, 0, 0, 0]}, "padding alone"),
        ("AveragePool", [data(1, 2, 5, 5)], {"kernel_shape": [2, 2], "dilations": [2, 2]}, "dilations"),
        ("LpPool", [data(1, 2, 5, 5)], {"kernel_shape": [2, 2], "p": 3}, "p=3"),
    ],
)
def test_what_is_refused(op: str, operands: list[Array], attributes: dict[str, Any], text: str) -> None:
    model = onnx_kit.one_node(op, operands, stored=range(1, len(operands)), **attributes)
    with pytest.raises(GraphError, match=text):
        onnx_kit.imported(model)
