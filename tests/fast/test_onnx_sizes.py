"""Arithmetic of shapes in ONNX models whose sizes are open: decided when the model is imported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from smalti.errors import GraphError, UnsupportedGraphError
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Graph
from smalti.ir.reference import run
from tolerance import Tol, assert_close

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
onnx_kit = pytest.importorskip("onnx_kit", reason="the onnx package is not installed")

Array = NDArray[Any]
helper = onnx.helper
Node = tuple[str, list[str], list[str], dict[str, Any]]
OPEN = (2, 3, "height", "width")
SIZES = ((2, 3, 4, 6), (2, 3, 7, 5), (2, 3, 1, 9))


def model(nodes: list[Node], shape: tuple[int | str, ...] = OPEN, opset: int = 22, **held: Array) -> bytes:
    """Return a model of the input ``x`` and the output ``y``."""
    made = [helper.make_node(op, reads, gives, **settings) for op, reads, gives, settings in nodes]
    given = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)]
    stored = [onnx.numpy_helper.from_array(value, name) for name, value in held.items()]
    graph = helper.make_graph(made, "g", given, [onnx.ValueInfoProto(name="y")], stored)
    data: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]).SerializeToString()
    return data


def check(data: bytes, sizes: tuple[tuple[int, ...], ...] = SIZES) -> Graph:
    """Compare the meaning of an import with ONNX's reference at several sizes."""
    graph: Graph = onnx_kit.imported(data).graph
    for shape in sizes:
        x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
        (want,) = onnx_kit.wanted(data, {"x": x})
        assert_close(run(graph, {"x": x})["y"], want, Tol.EXACT, str(shape))
    return graph


def sizes(name: str, *places: int) -> list[Node]:
    """Return nodes that take sizes of ``x`` one by one and put them together in a vector."""
    nodes: list[Node] = [("Shape", ["x"], ["shape"], {})]
    for place in places:
        nodes.append(("Gather", ["shape", f"i{place}"], [f"g{place}"], {"axis": 0}))
        nodes.append(("Unsqueeze", [f"g{place}", "zero"], [f"u{place}"], {}))
    nodes.append(("Concat", [f"u{place}" for place in places], [name], {"axis": 0}))
    return nodes


def held(*places: int) -> dict[str, Array]:
    """Return the constants that those nodes read."""
    return {"zero": np.zeros(1, np.int64), **{f"i{p}": np.array(p, np.int64) for p in places}}


def kinds(graph: Graph) -> list[str]:
    """Return what is left of a graph, without inputs and constants."""
    return [type(n.op).__name__ for n in graph.nodes() if not isinstance(n.op, (ops.Input, ops.Constant))]


def test_a_view_as_exporters_write_it_is_one_reshape() -> None:
    nodes = [*sizes("wanted", 0, -1), ("Concat", ["wanted", "minus"], ["whole"], {"axis": 0})]
    nodes += [("Reshape", ["x", "whole"], ["y"], {})]
    graph = check(model(nodes, **held(0, -1), minus=np.array([-1], np.int64)))
    assert kinds(graph) == ["Reshape"]
    batch, width, rest = graph.outputs[0].type.shape
    assert batch == 2
    assert isinstance(width, Dim)
    assert isinstance(rest, Dim)


def test_pixels_become_a_sequence_and_pixels_again() -> None:
    nodes = [
        ("Shape", ["x"], ["tail"], {"start": 2}),
        ("Shape", ["x"], ["head"], {"end": 2}),
        ("Concat", ["head", "minus"], ["flat"], {"axis": 0}),
        ("Reshape", ["x", "flat"], ["sequence"], {}),
        ("Transpose", ["sequence"], ["turned"], {"perm": [0, 2, 1]}),
        ("Transpose", ["turned"], ["back"], {"perm": [0, 2, 1]}),
        ("Concat", ["head", "tail"], ["all"], {"axis": 0}),
        ("Reshape", ["back", "all"], ["y"], {}),
    ]
    graph = check(model(nodes, minus=np.array([-1], np.int64)))
    assert graph.outputs[0].type == graph.inputs[0].type


def test_zeros_and_repeats_of_open_sizes() -> None:
    nodes = [
        *sizes("wanted", 0, 2),
        ("ConstantOfShape", ["wanted"], ["zeros"], {}),
        ("Unsqueeze", ["zeros", "axes"], ["column"], {}),
        ("Shape", ["x"], ["whole"], {}),
        ("Expand", ["column", "whole"], ["y"], {}),
    ]
    check(model(nodes, **held(0, 2), axes=np.array([1, 3], np.int64)))


def test_a_range_as_long_as_a_row() -> None:
    nodes = [
        ("Shape", ["x"], ["shape"], {}),
        ("Gather", ["shape", "three"], ["width"], {}),
        ("Range", ["zero", "width", "two"], ["y"], {}),
    ]
    numbers = {"zero": 0, "two": 2, "three": 3}
    graph = check(model(nodes, **{k: np.array(v, np.int64) for k, v in numbers.items()}))
    assert kinds(graph) == ["Iota"]
    nodes[-1] = ("Range", ["width", "zero", "minus"], ["y"], {})
    check(model(nodes, **{k: np.array(v, np.int64) for k, v in {**numbers, "minus": -2}.items()}))


def test_triangles_of_open_sizes() -> None:
    for settings in ({"upper": 0}, {}):
        nodes: list[Node] = [("Trilu", ["x"], ["y"], settings)]
        check(model(nodes))
    check(model([("EyeLike", ["x"], ["y"], {"k": 1})], (3, "wide")), ((3, 4), (3, 1)))


@pytest.mark.parametrize(("begin", "end", "step"), [(1, -1, 1), (-1, -100, -1), (0, (1 << 63) - 1, 2), (-3, 99, 1)])
def test_slices_of_open_sizes(begin: int, end: int, step: int) -> None:
    nodes: list[Node] = [("Slice", ["x", "begin", "end", "axes", "step"], ["y"], {})]
    vectors = {"begin": [begin] * 2, "end": [end] * 2, "axes": [2, 3], "step": [step] * 2}
    check(model(nodes, **{k: np.array(v, np.int64) for k, v in vectors.items()}), ((2, 3, 4, 6), (2, 3, 9, 5)))


def test_the_last_row_and_an_uneven_split() -> None:
    nodes: list[Node] = [("Gather", ["x", "last"], ["y"], {"axis": 2})]
    check(model(nodes, last=np.array(-1, np.int64)))
    check(model(nodes, last=np.array([[-1]], np.int64)))
    split: list[Node] = [("Split", ["x"], ["y", "rest"], {"axis": 3, "num_outputs": 2})]
    check(model(split), ((2, 3, 4, 6), (2, 3, 7, 5)))


def test_rows_picked_by_sizes_and_by_data() -> None:
    nodes: list[Node] = [
        ("Shape", ["x"], ["shape"], {"start": 2, "end": 3}),
        ("Gather", ["x", "both"], ["picked"], {"axis": 2}),
        ("Shape", ["picked"], ["unused"], {}),
        ("TopK", ["x", "one"], ["best", "places"], {"axis": 2}),
        ("GatherElements", ["x", "places"], ["y"], {"axis": 2}),
    ]
    check(model(nodes, both=np.array([0, -1], np.int64), one=np.array([1], np.int64)))


def test_what_may_fail_for_some_image_is_refused() -> None:
    two: list[Node] = [("Gather", ["x", "second"], ["y"], {"axis": 2})]
    with pytest.raises(UnsupportedGraphError, match="may take elements outside the tensor for some images"):
        onnx_kit.imported(model(two, second=np.array(1, np.int64)))
    best: list[Node] = [("TopK", ["x", "k"], ["y", "places"], {"axis": 2})]
    with pytest.raises(UnsupportedGraphError, match="may take elements outside"):
        onnx_kit.imported(model(best, k=np.array([4], np.int64)))
    with pytest.raises(GraphError, match="does not divide"):
        fixed: list[Node] = [("Reshape", ["x", "wanted"], ["y"], {})]
        onnx_kit.imported(model(fixed, wanted=np.array([1, 7, -1], np.int64)))


def test_tensors_of_one_number_do_not_eat_the_limit_of_constants() -> None:
    """The weights of test models are made this way; large ones are made in every run instead."""
    nodes: list[Node] = [("ConstantOfShape", ["wanted"], ["y"], {})]
    small = onnx_kit.imported(model(nodes, wanted=np.array([64, 64], np.int64))).graph
    assert kinds(small) == []
    large = onnx_kit.imported(model(nodes, wanted=np.array([1 << 14, 1 << 14], np.int64))).graph
    assert kinds(large) == ["BroadcastTo"]
