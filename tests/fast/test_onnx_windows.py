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
    """What an operation makes of what each window sees; with ``ceil`` a last window counts that begins inside."""
    dims = x.ndim - 2
    size, stride, dilation, pads = how["kernel_shape"], how["strides"], how["dilations"], how["pads"]
    counts = []
    for n, k, s, d, before, after in zip(x.shape[2:], size, stride, dilation, pads[:dims], pads[dims:], strict=True):
        room = n + before + after - (k - 1) * d - 1
        count = (-(-room // s) if ceil else room // s) + 1
        counts.append(count - 1 if ceil and (count - 1) * s >= n + before else count)
    result = np.zeros((*x.shape[:2], *counts), np.float32)
    for at in places(tuple(counts)):
        seen, padding = [], 0
        for tap in places(tuple(size)):
            where = [a * s - p + t * d for a, s, p, t, d in zip(at, stride, pads[:dims], tap, dilation, strict=True)]
            if all(0 <= w < n for w, n in zip(where, x.shape[2:], strict=True)):
                seen.append(x[(slice(None), slice(None), *where)])
            elif all(w < n + p for w, n, p in zip(where, x.shape[2:], pads[dims:], strict=True)):
                padding += 1
        if op == "MaxPool":
            result[(slice(None), slice(None), *at)] = np.max(seen, axis=0)
        elif op == "LpPool":
            powers = np.sum(np.abs(seen, dtype=np.float64) ** how["p"], axis=0)
            result[(slice(None), slice(None), *at)] = powers ** (1 / how["p"])
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


@settings(max_examples=60, deadline=None)
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


@settings(max_examples=60, deadline=None)
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


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(["MaxPool", "AveragePool", "LpPool"]), st.integers(1, 3), st.booleans())
def test_pooling(draw: st.DataObject, op: str, dims: int, ceil: bool) -> None:
    how = draw.draw(windows(dims))
    is_open = dims < 3 and draw.draw(st.booleans())
    if op == "AveragePool":
        how["count_include_pad"] = int(draw.draw(st.booleans()))
    if op == "LpPool":
        how["p"] = draw.draw(st.integers(1, 4))
    x = data(1, 2, *(9, 8, 5)[:dims])
    assert_close(found_by(op, [x], is_open, ceil_mode=int(ceil), **how), pooled(x, op, ceil, how), NEAR, f"{how}")


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(1, 3), st.booleans(), st.booleans(), st.sampled_from([np.float32, np.uint8]))
def test_places_of_the_largest(draw: st.DataObject, dims: int, ceil: bool, columns_first: bool, kind: Any) -> None:
    """No two elements are equal, so each largest one has one place."""
    how = draw.draw(windows(dims))
    sides = (5, 6, 4)[:dims]
    x = np.random.default_rng(3).permutation(2 * int(np.prod(sides))).astype(kind).reshape(1, 2, *sides)
    how.update(ceil_mode=int(ceil), storage_order=int(columns_first))
    model = onnx_kit.one_node("MaxPool", [x], outputs=2, **how)
    if any(size + before + after < extent for size, before, after, extent in _rooms(how, sides)):
        return
    values, where = onnx_kit.meaning(model, {"x0": x})
    in_order = x.transpose(0, 1, *reversed(range(2, x.ndim))) if columns_first else x
    assert where.dtype == np.int64
    assert_close(in_order.ravel()[where], values, Tol.EXACT, f"{how}")


def _rooms(how: dict[str, Any], sides: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    dims = len(sides)
    extents = [(k - 1) * d + 1 for k, d in zip(how["kernel_shape"], how["dilations"], strict=True)]
    return list(zip(sides, how["pads"][:dims], how["pads"][dims:], extents, strict=True))


def test_a_padding_is_no_place_of_the_largest() -> None:
    x = np.full((1, 1, 2, 2), -np.inf, np.float32)
    model = onnx_kit.one_node("MaxPool", [x], outputs=2, kernel_shape=[2, 2], pads=[1, 1, 1, 1])
    _, where = onnx_kit.meaning(model, {"x0": x})
    assert where.tolist() == [[[[0, 0, 1], [0, 0, 1], [2, 2, 3]]]]


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_the_largest_of_integers(kind: Any) -> None:
    x = RNG.integers(-128, 256, (1, 2, 5, 6)).astype(kind)
    how = {"kernel_shape": [3, 2], "strides": [2, 1], "dilations": [1, 2], "pads": [1, 0, 1, 1]}
    assert_close(found_by("MaxPool", [x], True, **how), pooled(x, "MaxPool", False, how).astype(kind), Tol.EXACT)


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
    assert [node.op.groups for node in graph.nodes() if isinstance(node.op, ops.Conv2d)] == [4]


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
        ("MaxPool", [data(1, 2, 5, 5, 5, 5)], {"kernel_shape": [2, 2, 2, 2]}, "4 spatial dimensions"),
        ("MaxPool", [data(1, 1, 4096)], {"kernel_shape": [2048], "dilations": [2]}, "more than 1024 elements"),
        ("LpPool", [data(1, 2, 5, 5)], {"kernel_shape": [2, 2], "p": 65}, "p=65"),
    ],
)
def test_what_is_refused(op: str, operands: list[Array], attributes: dict[str, Any], text: str) -> None:
    model = onnx_kit.one_node(op, operands, stored=range(1, len(operands)), **attributes)
    with pytest.raises(GraphError, match=text):
        onnx_kit.imported(model)
