"""ONNX graphs go through the importer of all formats: inputs, constants, branches, and what is refused by name."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import onnx_wire as w
from smalti.errors import GraphError, UnsupportedGraphError, UsageError
from smalti.frontend.importing.importer import Imported, ImportOptions, import_with
from smalti.frontend.onnx.reader import read_model
from smalti.frontend.onnx.wire.types import AttrKind, OnnxType
from smalti.ir import ops

BOOL = OnnxType.BOOL.value


def load(data: bytes, **options: Any) -> Imported:
    """Import a model of inputs, constants and branches alone."""
    return import_with(partial(read_model, data), ImportOptions(**options))


def test_an_input_and_a_constant_come_out_as_they_are() -> None:
    outputs = [w.value("x"), w.value("k")]
    data = w.model(
        w.graph([], [w.value("x", w.FLOAT, [1, 3, "h", "w"])], outputs, [w.array("k", [[1.5, 2.5]], np.float32)])
    )
    imported = load(data)
    assert imported.graph.output_names == ("x", "k")
    assert [str(n.type) for n in imported.graph.inputs] == ["float32[1, 3, H, W]"]
    held = imported.graph.outputs[1].op
    assert isinstance(held, ops.Constant)
    assert held.value.tolist() == [[1.5, 2.5]]
    assert imported.report.nodes_used == 2


def test_one_name_is_one_size() -> None:
    inputs = [w.value(name, w.FLOAT, ["n", 3, "side", "side"]) for name in "ab"]
    graph = load(w.model(w.graph([], inputs, [w.value("a"), w.value("b")]))).graph
    assert len({str(n.type) for n in graph.inputs}) == 1
    shape = graph.inputs[0].type.shape
    assert shape[2] == shape[3]


def test_sizes_and_values_that_a_user_gives() -> None:
    data = w.model(w.graph([], [w.value("x", w.FLOAT, [1, 3, "h", "w"])], [w.value("x")]))
    for name in ("x", "x:0"):
        graph = load(data, input_shapes={name: (None, None, 5, 7)}).graph
        assert [str(n.type) for n in graph.inputs] == ["float32[1, 3, 5, 7]"]
    with pytest.raises(UsageError, match="does not fit the graph"):
        load(data, input_shapes={"x": (2, 3, 5, 7)})
    with pytest.raises(UsageError, match="no node for the tensor 'y'.* the inputs of the graph are x float32"):
        load(data, outputs=("y",))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (w.value("x", None, [1]), "an input whose element type the file does not say"),
        (w.value("x", OnnxType.INT4.value, [1]), "an input of type int4"),
        (w.value("x", OnnxType.STRING.value, [1]), "an input of type string"),
        (w.value("x", w.FLOAT), "an input of unknown rank: give its shape with --input-shape"),
        (w.value("x", other=w.body(4, b"")), "an input that is a sequence and no tensor"),
        (w.value("x", other=w.body(9, b"")), "an input that is an optional and no tensor"),
    ],
)
def test_inputs_that_are_refused_by_name(value: bytes, text: str) -> None:
    with pytest.raises(UnsupportedGraphError) as caught:
        load(w.model(w.graph([], [value], [w.value("x")])))
    assert text in caught.value.problems[0].reason
    assert caught.value.problems[0].op == "Input"
    assert "--input-shape NAME" in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (w.tensor("k", OnnxType.STRING.value, (1,), w.body(6, "a")), "tensors of type string are not supported"),
        (w.tensor("k", OnnxType.FLOAT8E5M2.value, (1,), w.raw(b"\1")), "tensors of type float8e5m2 are not supported"),
    ],
)
def test_constants_that_are_refused_by_name(tensor: bytes, text: str) -> None:
    with pytest.raises(UnsupportedGraphError, match=f"k: attribute value: {text}"):
        load(w.model(w.graph([], [], [w.value("k")], [tensor])))


def test_a_constant_that_is_wrong_is_an_error_that_names_it() -> None:
    tensor = w.tensor("k", w.FLOAT, (3,), w.raw(bytes(4)))
    with pytest.raises(GraphError, match=r"^node 'k' \(Constant\): attribute value: the tensor holds 4 bytes"):
        load(w.model(w.graph([], [], [w.value("k")], [tensor])))


def test_what_the_outputs_do_not_need_need_not_be_right() -> None:
    wrong = [w.tensor("wrong", w.FLOAT, (3,)), w.tensor("text", OnnxType.STRING.value, (1,))]
    nodes = [w.node("Mystery", ["wrong"], ["m"])]
    data = w.model(w.graph(nodes, [w.value("x", w.FLOAT, [1])], [w.value("x")], wrong))
    assert load(data).report.nodes_used == 1
    with pytest.raises(GraphError, match="node 'wrong'"):
        load(data, outputs=("m",))


def test_every_unsupported_node_is_listed_with_its_domain() -> None:
    nodes = [
        w.node("Mystery", ["x"], ["a"]),
        w.node("Relu", ["a"], ["b"], "r", "com.example"),
        w.node("X", ["x"], ["c"]),
    ]
    data = w.model(w.graph(nodes, [w.value("x", w.FLOAT, [1])], [w.value("b"), w.value("c")]))
    with pytest.raises(UnsupportedGraphError) as caught:
        load(data)
    assert [(p.op, p.first_node) for p in caught.value.problems] == [
        ("Mystery", "a"),
        ("X", "c"),
        ("com.example.Relu", "r"),
    ]


# -- branches ---------------------------------------------------------------------------------------------------------


def chosen(condition: bytes, **options: Any) -> Imported:
    """Import a model whose output is ``a`` where the condition holds, else a constant; both branches hold nonsense."""
    other = [w.node("Constant", [], ["k"], value=w.array("", [7.0], np.float32)), w.node("Mystery", ["k"], ["z"])]
    branches = [
        w.attribute("then_branch", w.graph([], outputs=[w.value("a")]), AttrKind.GRAPH),
        w.attribute("else_branch", w.graph(other, outputs=[w.value("k")]), AttrKind.GRAPH),
    ]
    nodes = [w.node("If", ["c"], ["y"], "if", fields=branches)]
    inputs = [w.value("a", w.FLOAT, [3]), w.value("c", BOOL, [])]
    return load(w.model(w.graph(nodes, inputs, [w.value("y")], [condition] if condition else [])), **options)


def test_a_branch_that_is_known_is_taken() -> None:
    imported = chosen(w.array("c", True))
    assert [n.name for n in imported.graph.inputs] == ["a"]
    assert isinstance(imported.graph.outputs[0].op, ops.Input)
    imported = chosen(w.array("c", False))
    assert isinstance(imported.graph.outputs[0].op, ops.Constant)


def test_a_condition_may_be_bound() -> None:
    assert isinstance(chosen(b"", binds={"c": True}).graph.outputs[0].op, ops.Input)
    assert isinstance(chosen(b"", binds={"c": False}).graph.outputs[0].op, ops.Constant)


def test_a_condition_that_nobody_knows_is_said_once() -> None:
    with pytest.raises(UnsupportedGraphError) as caught:
        chosen(b"")
    assert [(p.op, p.count, p.first_node) for p in caught.value.problems] == [("If", 1, "if")]
    assert caught.value.problems[0].reason == "a condition that is not known when the model is built"
    assert "--bind" in str(caught.value)


def test_branches_that_do_not_fit_are_refused() -> None:
    one = w.attribute("then_branch", w.graph([], outputs=[w.value("x")]), AttrKind.GRAPH)
    two = w.attribute("else_branch", w.graph([], outputs=[w.value("x"), w.value("x")]), AttrKind.GRAPH)
    fed = w.attribute("else_branch", w.graph([], [w.value("q")], [w.value("q")]), AttrKind.GRAPH)
    same = w.attribute("else_branch", w.graph([], outputs=[w.value("x")]), AttrKind.GRAPH)
    third = w.attribute("third", w.graph(), AttrKind.GRAPH)
    for fields, inputs, text in (
        ([one], ["x"], "attribute else_branch is missing"),
        ([one, two], ["x"], "its else_branch has 2 outputs; the node has 1"),
        ([one, fed], ["x"], "its else_branch has inputs"),
        ([one, same], [], "it takes one input, not 0"),
        ([one, same], ["x", "x"], "it takes one input, not 2"),
        ([one, same, third], ["x"], "attribute 'third' is a graph that an If does not have"),
    ):
        with pytest.raises(GraphError, match=rf"^node 'n' \(If\): {text}"):
            read_model(w.network(w.node("If", inputs, ["y"], "n", fields=fields)))


def test_no_file_can_name_what_the_reader_makes() -> None:
    for op in ("Input", "BodyInput", "IfTrue", "IfFalse"):
        with pytest.raises(UnsupportedGraphError, match="operation not supported"):
            load(w.network(w.node(op, ["x"], ["y"])))
