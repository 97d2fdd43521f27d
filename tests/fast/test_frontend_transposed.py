"""Transposed convolutions: against the sum that defines them, for every stride, padding and size that goes together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_builder import GraphBuilder
from smalti.errors import GraphError, UnsupportedGraphError
from smalti.frontend.tensorflow.importer import Imported, ImportOptions, import_graph
from smalti.ir import ops
from smalti.ir.reference import run
from tolerance import Tol, assert_close

F32, I32 = np.float32, np.int32
Array = np.ndarray[Any, Any]


def scattered(x: Array, w: Array, stride: tuple[int, int], before: tuple[int, int], size: tuple[int, int]) -> Array:
    """Every pixel adds its window ``[kh, kw, out, in]`` to the result."""
    n, rows, columns, _ = x.shape
    kh, kw, out, _ = w.shape
    whole = np.zeros((n, (rows + 1) * stride[0] + kh, (columns + 1) * stride[1] + kw, out))
    for i in range(rows):
        for j in range(columns):
            window = np.einsum("nc,hwoc->nhwo", x[:, i, j].astype(np.float64), w.astype(np.float64))
            whole[:, i * stride[0] : i * stride[0] + kh, j * stride[1] : j * stride[1] + kw] += window
    top, left = before
    return whole[:, top : top + size[0], left : left + size[1]].astype(F32)


def graph(w: Array, shape: Any, size: list[int], stride: tuple[int, int], nchw: bool = False, **how: Any) -> Imported:
    strides = [1, 1, *stride] if nchw else [1, *stride, 1]
    builder = GraphBuilder().placeholder("x", F32, shape).const("w", w).const("size", np.array(size, I32))
    layout = {"data_format": "NCHW"} if nchw else {}
    builder.node("Conv2DBackpropInput", "y", ["size", "w", "x"], strides=strides, **how, **layout)
    return import_graph(builder.bytes(), ImportOptions(outputs=("y",)))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_is_the_sum_that_defines_it(data: st.DataObject) -> None:
    draw = data.draw
    kernel = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    before = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    behind = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    size = [
        (n - 1) * s + k - b - a + draw(st.integers(0, s - 1))
        for n, s, k, b, a in zip((rows, columns), stride, kernel, before, behind, strict=True)
    ]
    if min(size) < 1 or any(
        (n + b + a - k) // s + 1 != i
        for n, b, a, k, s, i in _back(size, before, behind, kernel, stride, (rows, columns))
    ):
        return
    nchw = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    x, w = rng.normal(size=(2, rows, columns, 3)).astype(F32), rng.normal(size=(*kernel, 2, 3)).astype(F32)
    pads = [0, 0, *(v for pair in zip(before, behind, strict=True) for v in pair)]
    paddings = [0, 0, 0, 0, *pads[2:]] if nchw else [*pads, 0, 0]
    shape = (2, 3, rows, columns) if nchw else x.shape
    sizes = [2, 2, *size] if nchw else [2, *size, 2]
    made = graph(w, shape, sizes, stride, nchw, padding="EXPLICIT", explicit_paddings=paddings).graph
    got = run(made, {"x:0": np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if nchw else x})["y:0"]
    want = scattered(x, w, stride, (before[0], before[1]), (size[0], size[1]))
    assert_close(got.transpose(0, 2, 3, 1) if nchw else got, want, Tol.FLOAT(reduction=3 * kernel[0] * kernel[1]))


def _back(size: Any, before: Any, behind: Any, kernel: Any, stride: Any, image: Any) -> Any:
    return zip(size, before, behind, kernel, stride, image, strict=True)


def test_twice_the_size_is_one_convolution_without_a_wasted_product() -> None:
    made = graph(np.ones((2, 2, 4, 3), F32), (1, 8, 8, 3), [1, 16, 16, 4], (2, 2), padding="SAME").graph
    convolutions = [node for node in made.nodes() if isinstance(node.op, ops.Conv2d)]
    assert [node.weights.type.shape for node in convolutions] == [(1, 1, 3, 16)]
    assert any(isinstance(node.op, ops.DepthToSpace) for node in made.nodes())


def test_dilated_windows() -> None:
    rng = np.random.default_rng(5)
    x, w = rng.normal(size=(1, 4, 3, 3)).astype(F32), rng.normal(size=(2, 3, 2, 3)).astype(F32)
    apart = np.zeros((3, 7, 2, 3), F32)
    apart[::2, ::3] = w
    made = graph(w, x.shape, [1, 9, 11, 2], (2, 2), padding="VALID", dilations=[1, 2, 3, 1]).graph
    want = scattered(x, apart, (2, 2), (0, 0), (9, 11))
    assert_close(run(made, {"x:0": x})["y:0"], want, Tol.FLOAT(reduction=18))


@pytest.mark.parametrize(
    ("size", "filters", "message"),
    (
        ([1, 30, 16, 4], (2, 2, 4, 3), "does not become"),
        ([1, 16, 16, 5], (2, 2, 4, 3), "a result of"),
        ([2, 16, 16, 4], (2, 2, 4, 3), "a result of"),
        ([1, 16, 16], (2, 2, 4, 3), "must be 4 numbers"),
        ([1, 16, 16, 4], (2, 2, 4, 2), "weights of 2 channels"),
        ([1, 16, 16, 0], (2, 2, 0, 3), "empty or huge weights"),
    ),
)
def test_what_does_not_fit_is_refused(size: list[int], filters: tuple[int, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        graph(np.zeros(filters, F32), (1, 8, 8, 3), size, (2, 2), padding="SAME")


def test_filters_must_be_constant() -> None:
    builder = GraphBuilder().placeholder("x", F32, (1, 8, 8, 3)).placeholder("w", F32, (2, 2, 4, 3))
    builder.const("size", np.array([1, 16, 16, 4], I32))
    builder.node("Conv2DBackpropInput", "y", ["size", "w", "x"], strides=[1, 2, 2, 1], padding="SAME")
    with pytest.raises(UnsupportedGraphError) as caught:
        import_graph(builder.bytes(), ImportOptions(outputs=("y",)))
    assert "weights are not a constant" in str(caught.value)


def test_a_plan_of_too_many_weights_is_refused_before_it_is_made() -> None:
    with pytest.raises(UnsupportedGraphError, match="Conv2DBackpropInput"):
        graph(np.zeros((1, 1, 64, 64), F32), (1, 1, 1, 64), [1, 900, 900, 64], (900, 900), padding="VALID")
