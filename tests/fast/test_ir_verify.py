"""The verifier accepts good graphs and names every broken rule of bad ones."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from random_graphs import GraphMaker, graph_of_everything
from smalti.errors import CompilerError
from smalti.ir import dims, ops
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import make_node
from smalti.ir.verify import verify
from smalti.numerics import DType

H = dims.symbol("H", 1, 64)
IMAGE = TensorType(DType.FLOAT32, (1, H, 8, 4))


def image(name: str = "x:0", type_: TensorType = IMAGE) -> Node:
    return make_node(ops.Input(), (), name, type_)


def frozen(array: np.ndarray) -> Node:
    array.flags.writeable = False
    return make_node(ops.Constant(array))


def graph_of(*outputs: Node, inputs: tuple[Node, ...], level: Level = Level.CANONICAL) -> Graph:
    return Graph(inputs, outputs, tuple(f"y{i}:0" for i in range(len(outputs))), level)


@pytest.mark.parametrize("level", [Level.IMPORTED, Level.CANONICAL])
def test_a_graph_of_everything_is_accepted(level: Level) -> None:
    verify(graph_of_everything(level), level)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from([Level.IMPORTED, Level.CANONICAL]))
def test_random_graphs_are_accepted(seed: int, level: Level) -> None:
    verify(GraphMaker(seed, level).graph(10))


def broken() -> dict[str, tuple[Graph, str]]:
    x = image()
    relu = make_node(ops.Unary(ops.UnaryFn.RELU), (x,), "relu")
    weights = frozen(np.ones((1, 1, 4, 2), np.float32))
    nchw = image("x:0", TensorType(DType.FLOAT32, (1, 4, H, 8)))
    params = [frozen(np.ones(4, np.float32)) for _ in range(4)]
    stranger = dims.symbol("K")
    half = dims.rational(Fraction(1, 2)) * H
    labels = ops.ResizeArgMax((ops.Resize(ops.ResizeFn.BILINEAR, (9, 9)),), (9, 9), DType.INT32)
    return {
        "level": (graph_of(relu, inputs=(x,), level=Level.IMPORTED), "is imported, not canonical"),
        "type": (graph_of(replace(relu, type=TensorType(DType.FLOAT16, IMAGE.shape)), inputs=(x,)), "inferred is"),
        "operands": (graph_of(replace(relu, inputs=(x, x)), inputs=(x,)), "operands do not fit"),
        "input names": (graph_of(x, image(), inputs=(x, image())), "2 inputs are named 'x:0'"),
        "unnamed input": (graph_of(image(""), inputs=(image(""),)), "an input has no name"),
        "output names": (Graph((x,), (x, relu), ("y", "y"), Level.CANONICAL), "2 outputs are named 'y'"),
        "no outputs": (Graph((x,), (), (), Level.CANONICAL), "no outputs"),
        "unlisted input": (graph_of(make_node(ops.Concat(3), (x, image("z:0"))), inputs=(x,)), "does not list"),
        "not an input": (graph_of(relu, inputs=(relu,)), "input 'relu' is a Unary"),
        "symbol": (
            graph_of(make_node(ops.Reshape((1, 8, H, 4)), (x,)), inputs=(image("z:0", TensorType(DType.BOOL, ())),)),
            "depends on H, which is not a size of an input",
        ),
        "symbol in an attribute": (
            graph_of(make_node(ops.SizeTensor((stranger,), (1,), DType.INT32)), inputs=(x,)),
            "an attribute depends on K",
        ),
        "two ranges": (
            graph_of(x, inputs=(x, image("z:0", TensorType(DType.BOOL, (dims.symbol("H", 5),))))),
            "two ranges",
        ),
        "fraction": (
            graph_of(make_node(ops.BroadcastTo((half,)), (frozen(np.ones(1, np.float32)),)), inputs=(x,)),
            "need not be an integer",
        ),
        "imported only": (graph_of(make_node(ops.BatchNorm(1e-3), (x, *params)), inputs=(x,)), "level imported only"),
        "nchw": (
            graph_of(make_node(ops.Conv2d(layout=ops.Layout.NCHW), (nchw, weights)), inputs=(nchw,)),
            "layout NCHW must be gone",
        ),
        "writable": (
            graph_of(make_node(ops.Constant(np.ones(3))), inputs=(x,)),
            "its array is writable",
        ),
        "axes": (graph_of(make_node(ops.Reduce(ops.ReduceFn.SUM, (2, 1), True), (x,)), inputs=(x,)), "not sorted"),
        "canonical only": (
            replace(graph_of(make_node(labels, (x,)), inputs=(x,)), level=Level.CANONICAL),
            "",
        ),
        "negative pads": (
            graph_of(make_node(ops.Conv2d(pads=(-1, 1, 0, 0)), (x, weights)), inputs=(x,)),
            "negative size -1",
        ),
        "offset": (
            graph_of(make_node(ops.Conv2d(input_offset=float("nan")), (x, weights)), inputs=(x,)),
            "input_offset is nan",
        ),
    }


@pytest.mark.parametrize("name", [name for name in broken() if name != "canonical only"])
def test_each_broken_rule_is_named(name: str) -> None:
    graph, message = broken()[name]
    with pytest.raises(CompilerError, match=message):
        verify(graph, Level.CANONICAL)


def test_operations_of_passes_are_refused_before_passes() -> None:
    graph, _ = broken()["canonical only"]
    verify(graph)
    with pytest.raises(CompilerError, match="canonical, quantised only"):
        verify(replace(graph, level=Level.IMPORTED))


def test_all_violations_are_listed_at_once() -> None:
    x = image()
    bad = make_node(ops.Constant(np.ones(3)))
    graph = Graph((x, image()), (bad, bad), ("y", "y"), Level.CANONICAL, "g")
    with pytest.raises(CompilerError, match="breaks 3 rules") as caught:
        verify(graph)
    for text in ("2 inputs", "2 outputs", "writable"):
        assert text in str(caught.value)
