"""Fake quantisation, pooling with positions, picks and updates: what is refused, and corners that no recording has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph_builder import GraphBuilder
from smalti.errors import GraphError, UnsupportedGraphError
from smalti.frontend.tensorflow.importer import ImportOptions, import_graph
from smalti.frontend.tensorflow.ops_fakequant import grid_of
from smalti.ir.reference import run

F32, I32, I64 = np.float32, np.int32, np.int64
ONE, ZERO = F32(1), F32(0)


def start(shape: Any = (1, 4, 4, 3), dtype: Any = F32) -> GraphBuilder:
    return GraphBuilder().placeholder("x", dtype, shape)


def results(builder: GraphBuilder, x: Any, *names: str) -> list[np.ndarray[Any, Any]]:
    graph = import_graph(builder.bytes(), ImportOptions(outputs=names or ("y:0",))).graph
    found = run(graph, {"x:0": x})
    return [found[name] for name in graph.output_names]


def quantised(low: Any, high: Any, op: str = "FakeQuantWithMinMaxVars", **attrs: Any) -> GraphBuilder:
    return (
        start()
        .const("low", np.asarray(low, F32))
        .const("high", np.asarray(high, F32))
        .node(op, "y", ["x", "low", "high"], **attrs)
    )


def pooled(shape: Any = (1, 4, 4, 3), size: int = 2, **attrs: Any) -> GraphBuilder:
    window = {"ksize": [1, size, size, 1], "strides": [1, 2, 2, 1], "padding": "SAME", **attrs}
    return start(shape).node("MaxPoolWithArgmax", "y", ["x"], **window)


def one_hot(depth: int, on: Any = ONE, off: Any = ZERO, dtype: Any = I32) -> GraphBuilder:
    builder = start((2, 3), dtype).const("depth", I32(depth)).const("on", on).const("off", off)
    return builder.node("OneHot", "y", ["x", "depth", "on", "off"])


def reversed_axes(axes: list[int]) -> GraphBuilder:
    return start().const("axes", np.array(axes, I32)).node("ReverseV2", "y", ["x", "axes"])


def bicubic(shape: Any = (1, 4, 4, 3), size: Any = (8, 8), **attrs: Any) -> GraphBuilder:
    return start(shape).const("size", np.array(size, I32)).node("ResizeBicubic", "y", ["x", "size"], **attrs)


WRONG = [
    (quantised(-1, 1, num_bits=17), "attribute num_bits is 17; TensorFlow takes 2 to 16"),
    (quantised(2, 1), "min and max are not a range"),
    (quantised(1, 1), "min and max are not a range"),
    (quantised(-np.inf, 1), "min and max are not a range"),
    (quantised([0, 0], [1, 1]), "a range float32[2] for"),
    (quantised([0, 0], [1, 1], "FakeQuantWithMinMaxVarsPerChannel"), "a range float32[2] for"),
    (start().node("FakeQuantWithMinMaxArgs", "y", ["x"], min=3.0, max=-3.0), "min and max are not a range"),
    (one_hot(-1), "a depth of -1"),
    (one_hot(2, on=F32([1, 2])), "which must be two of one type"),
    (one_hot(2, off=I32(0)), "which must be two of one type"),
    (one_hot(2, dtype=F32), "a depth of 2 for float32[2, 3]"),
    (reversed_axes([1, -3]), "the axes [1, -3] repeat"),
    (reversed_axes([4]), "axis 4 is outside"),
    (bicubic(size=(8, 0)), "4 elements become 0"),
    (bicubic(size=(8,)), "the size must be two numbers"),
    (bicubic(align_corners=True, half_pixel_centers=True), "exclude each other"),
    (start().node("LRN", "y", ["x"], depth_radius=-1), "attribute depth_radius is -1"),
]
UNSUPPORTED = [
    (start().node("FakeQuantWithMinMaxVars", "y", ["x", "x", "x"]), "a range that is not constant"),
    (pooled(Targmax=np.uint8), "Targmax uint8"),
    (pooled(size=17, ksize=[1, 17, 17, 1]), "more than 256 elements"),
    (bicubic((1, None, 4, 3)), "fix it with --input-shape"),
    (start().node("LRN", "y", ["x"], depth_radius=40), "sums over 81 channels"),
]


@pytest.mark.parametrize(("builder", "text"), WRONG, ids=range(len(WRONG)))
def test_nodes_that_are_wrong(builder: GraphBuilder, text: str) -> None:
    with pytest.raises(GraphError) as raised:
        import_graph(builder.bytes(), ImportOptions(outputs=("y",)))
    assert text in str(raised.value)


@pytest.mark.parametrize(("builder", "text"), UNSUPPORTED, ids=range(len(UNSUPPORTED)))
def test_nodes_that_are_not_supported(builder: GraphBuilder, text: str) -> None:
    with pytest.raises(UnsupportedGraphError) as raised:
        import_graph(builder.bytes(), ImportOptions(outputs=("y",)))
    assert text in raised.value.problems[0].reason


@given(st.floats(-50, 50, width=32), st.floats(2.0**-8, 60, width=32), st.integers(2, 16), st.booleans())
def test_zero_is_a_number_of_every_grid(low: float, width: float, bits: int, narrow: bool) -> None:
    ends = np.array([low], F32), np.array([low], F32) + F32(width)
    grid = grid_of(*ends, bits, narrow)
    whole = grid.zero
    assert whole == np.rint(whole)
    assert 0 <= whole <= (1 << bits) - 1
    assert grid.low <= 0 <= grid.high


def test_a_range_from_zero_to_zero_of_one_channel_gives_zeros_there() -> None:
    builder = quantised([-1, 0, -1], [1, 0, 1], "FakeQuantWithMinMaxVarsPerChannel")
    (found,) = results(builder, np.full((1, 4, 4, 3), 0.5, F32))
    assert (found[..., 1] == 0).all()
    assert (found[..., [0, 2]] != 0).all()


def test_the_first_of_the_largest_is_where_it_stands_even_where_all_is_minus_infinity() -> None:
    builder = pooled((1, 3, 3, 1), padding="SAME", size=2)
    values, places = results(builder, np.full((1, 3, 3, 1), -np.inf, F32), "y:0", "y:1")
    assert np.isneginf(values).all()
    assert places.dtype == I64
    assert places.ravel().tolist() == [0, 2, 6, 8]


@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 3), st.integers(1, 3), st.booleans(), st.data())
def test_positions_lead_back_to_the_values(
    height: int, width: int, size: int, stride: int, same: bool, data: st.DataObject
) -> None:
    padding = "SAME" if same else "VALID"
    if not same and min(height, width) < size:
        padding = "SAME"
    builder = pooled(
        (2, None, None, 2), size, strides=[1, stride, stride, 1], padding=padding, include_batch_in_index=True
    )
    x = np.array(data.draw(st.lists(st.integers(-2, 2), min_size=1, max_size=30)), F32)
    x = np.resize(x, (2, height, width, 2))
    values, places = results(builder, x, "y:0", "y:1")
    assert (x.ravel()[places] == values).all()


def test_top_k_of_a_vector_and_its_positions_as_int64() -> None:
    builder = start((5,)).const("k", I32(3)).node("TopKV2", "y", ["x", "k"], index_type=I64)
    values, places = results(builder, F32([1, 5, 5, -2, 3]), "y:0", "y:1")
    assert values.tolist() == [5, 5, 3]
    assert (places.tolist(), places.dtype) == ([1, 2, 4], I64)


def test_the_older_reverse_has_flags() -> None:
    builder = start((2, 3)).const("flags", np.array([False, True])).node("Reverse", "y", ["x", "flags"])
    (found,) = results(builder, np.arange(6, dtype=F32).reshape(2, 3))
    assert found.tolist() == [[2, 1, 0], [5, 4, 3]]


def test_variables_and_loops_are_refused_by_name() -> None:
    builder = start().node("VarHandleOp", "v").node("ReadVariableOp", "r", ["v"]).node("Mul", "y", ["x", "r"])
    with pytest.raises(UnsupportedGraphError, match="freeze it"):
        import_graph(builder.bytes(), ImportOptions(outputs=("y",)))
