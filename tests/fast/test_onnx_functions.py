"""Local functions of ONNX models: inlined, with their attributes, names and operator sets; never without end."""

from __future__ import annotations

import time

import numpy as np
import pytest

import onnx_wire as w
from smalti.errors import GraphError
from smalti.frontend.budget import GraphLimits
from smalti.frontend.onnx import expand
from smalti.frontend.onnx.attrs import AttrReader
from smalti.frontend.onnx.graph import OnnxGraph
from smalti.frontend.onnx.reader import read_model
from smalti.frontend.onnx.wire.types import AttrKind

X, Y = w.value("x", w.FLOAT, [1, 3, "h", "w"]), w.value("y")


def call(name: str, inputs: list[str], outputs: list[str], label: str = "", **attributes: object) -> bytes:
    return w.node(name, inputs, outputs, label, "local", **attributes)


def read(nodes: list[bytes], *functions: bytes, limits: GraphLimits | None = None, **opsets: int) -> OnnxGraph:
    named = {"": 17, "local": 1, **opsets}
    return read_model(w.model(w.graph(nodes, [X], [Y]), named, functions), limits or GraphLimits())


def refused(nodes: list[bytes], *functions: bytes) -> str:
    with pytest.raises(GraphError) as caught:
        read(nodes, *functions)
    return str(caught.value)


def lines(graph: OnnxGraph) -> list[str]:
    """Return the operations as ``output = Op(inputs)``."""
    found = []
    for node in graph.nodes:
        names = ["" if edge is None else graph.name_of(edge) for edge in node.inputs]
        found.append(f"{', '.join(node.outputs)} = {node.label}({', '.join(names)})")
    return found[1:]


def last(graph: OnnxGraph) -> AttrReader:
    """Return the reader of the last node."""
    return graph.attributes(graph.nodes[-1])


SILU = w.function("Silu", ["a"], ["b"], [w.node("Sigmoid", ["a"], ["s"], "sig"), w.node("Mul", ["a", "s"], ["b"])])


def test_calls_are_inlined_and_names_stay_unique() -> None:
    graph = read([call("Silu", ["x"], ["m"], "one"), call("Silu", ["m"], ["y"], "one")], SILU)
    assert lines(graph) == [
        "one/s = Sigmoid(x)",
        "m = Mul(x, one/s)",
        "one/s__2 = Sigmoid(m)",
        "y = Mul(m, one/s__2)",
    ]
    assert [n.name for n in graph.nodes] == ["x", "one/sig", "one/b", "one/sig__2", "one/b__2"]
    assert (graph.calls, graph.nodes_in_file) == (2, 2)
    assert graph.name_of(graph.outputs[0]) == "y"
    assert graph.tensor("one/s__2") == (3, 0)


def test_names_of_the_file_are_never_taken() -> None:
    graph = read(
        [w.node("Neg", ["m"], ["one/s"]), call("Silu", ["x"], ["m"], "one"), w.node("Abs", ["m"], ["y"])], SILU
    )
    assert lines(graph)[:3] == ["one/s__2 = Sigmoid(x)", "m = Mul(x, one/s__2)", "one/s = Neg(m)"]


def test_functions_call_functions_in_any_order_of_the_file() -> None:
    outer = w.function("Twice", ["a"], ["c"], [call("Silu", ["b"], ["c"], "in2"), call("Silu", ["a"], ["b"], "in1")])
    graph = read([call("Twice", ["x"], ["y"], "t")], outer, SILU)
    assert lines(graph) == [
        "t/in1/s = Sigmoid(x)",
        "t/b = Mul(x, t/in1/s)",
        "t/in2/s = Sigmoid(t/b)",
        "y = Mul(t/b, t/in2/s)",
    ]
    assert graph.calls == 3


def test_attributes_of_the_call_defaults_and_none() -> None:
    fields = [w.reference("alpha", "slope"), w.reference("axis", "dim"), w.attribute("k", 5)]
    body = [w.node("Op", ["a"], ["b"], fields=fields)]
    made = w.function("F", ["a"], ["b"], body, ["dim"], [w.attribute("slope", 0.25)])
    attrs = last(read([call("F", ["x"], ["y"])], made))
    assert (attrs.number("alpha"), attrs.integer("k"), "axis" in attrs) == (0.25, 5, False)
    attrs = last(read([call("F", ["x"], ["y"], slope=0.5, dim=-1)], made))
    assert (attrs.number("alpha"), attrs.integer("axis")) == (0.5, -1)
    tensor = w.function("G", ["a"], ["b"], [w.node("Constant", [], ["b"], fields=[w.reference("value", "t")])], ["t"])
    graph = read([call("G", ["x"], ["y"], t=w.array("", [1, 2], np.float32))], tensor)
    value = last(graph).tensor("value")
    assert value.decode(8).tolist() == [1, 2]


def test_attributes_go_through_calls_and_into_bodies() -> None:
    branch = w.graph([w.node("Op", ["a"], ["t"], fields=[w.reference("axis", "dim")])], outputs=[w.value("t")])
    inner = w.function(
        "In",
        ["a"],
        ["b"],
        [w.node("If", ["a"], ["b"], fields=both(branch))],
        ["dim"],
    )
    outer = w.function(
        "Out", ["a"], ["b"], [w.node("In", ["a"], ["b"], domain="local", fields=[w.reference("dim", "d")])], ["d"]
    )
    graph = read([call("Out", ["x"], ["y"], d=3)], inner, outer)
    assert [graph.attributes(n).integer("axis") for n in graph.nodes if n.op == "Op"] == [3, 3]


def test_inputs_may_be_left_out_and_outputs_too() -> None:
    made = w.function(
        "F", ["a", "min", "max"], ["b", "c"], [w.node("Clip", ["a", "min", "max"], ["b"]), w.node("Neg", ["a"], ["c"])]
    )
    assert lines(read([call("F", ["x"], ["", "y"])], made))[0] == "y/b = Clip(x)"
    assert lines(read([call("F", ["x", "", "x"], ["y"])], made))[0] == "y = Clip(x, , x)"


def test_an_output_that_is_an_input_or_given_twice_gets_a_name() -> None:
    both = w.function("F", ["a"], ["b", "a"], [w.node("Neg", ["a"], ["b"])])
    assert lines(read([call("F", ["x"], ["n", "y"])], both)) == ["n = Neg(x)", "y = Identity(x)"]
    nothing = w.function("N", ["a"], ["a"], [])
    assert lines(read([call("N", ["x"], ["m"]), call("N", ["m"], ["y"])], nothing)) == [
        "m = Identity(x)",
        "y = Identity(m)",
    ]


def test_each_function_has_its_own_operator_sets() -> None:
    made = w.function("F", ["a"], ["b"], [w.node("Relu", ["a"], ["b"])], opsets=[w.opset(13), w.opset(3, "other")])
    graph = read([call("F", ["x"], ["m"]), w.node("Relu", ["m"], ["y"])], made)
    assert [n.version for n in graph.nodes[1:]] == [13, 17]
    unnamed = w.function("F", ["a"], ["b"], [w.node("Relu", ["a"], ["b"])], opsets=[])
    assert read([call("F", ["x"], ["y"])], unnamed).nodes[-1].version == 17
    newer = w.function("F", ["a"], ["b"], [w.node("Relu", ["a"], ["b"])], opsets=[w.opset(99)])
    assert "the function 'local.F': the model uses opset 99" in refused([call("F", ["x"], ["y"])], newer)


def test_overloads_are_told_apart() -> None:
    one = w.function("F", ["a"], ["b"], [w.node("Relu", ["a"], ["b"])])
    two = w.function("F", ["a"], ["b"], [w.node("Neg", ["a"], ["b"])]) + w.body(13, "second")
    nodes = [call("F", ["x"], ["m"]), call("F", ["m"], ["y"]) + w.body(8, "second")]
    assert lines(read(nodes, one, two)) == ["m = Relu(x)", "y = Neg(m)"]


def test_functions_that_nobody_calls_do_not_count() -> None:
    broken = w.function("Broken", ["a"], ["b"], [w.node("", ["nothing"], ["b"])])
    assert read([call("Silu", ["x"], ["y"])], SILU, broken).calls == 1


def both(branch: bytes) -> list[bytes]:
    """Return the attributes of an ``If`` with two equal branches."""
    return [w.attribute(name, branch, AttrKind.GRAPH) for name in ("then_branch", "else_branch")]


ITSELF = w.function("F", ["a"], ["b"], [call("F", ["a"], ["b"])])
WRONG = {
    "itself": ([call("F", ["x"], ["y"])], [ITSELF], "the function 'local.F' calls itself"),
    "in a circle": (
        [call("F", ["x"], ["y"])],
        [
            w.function("F", ["a"], ["b"], [call("G", ["a"], ["b"])]),
            w.function("G", ["a"], ["b"], [call("H", ["a"], ["b"])]),
            w.function("H", ["a"], ["b"], [call("G", ["a"], ["b"])]),
        ],
        "the function 'local.G' calls itself",
    ),
    "in a body": (
        [call("F", ["x"], ["y"])],
        [
            w.function(
                "F",
                ["a"],
                ["b"],
                [
                    w.node(
                        "If",
                        ["a"],
                        ["b"],
                        fields=both(w.graph([call("F", ["a"], ["t"])], outputs=[w.value("t")])),
                    )
                ],
            )
        ],
        "the function 'local.F' calls itself",
    ),
    "two of one name": ([call("Silu", ["x"], ["y"])], [SILU, SILU], "two functions are called 'local.Silu'"),
    "too many inputs": ([call("Silu", ["x", "x"], ["y"], "n")], [SILU], "node 'n' (local.Silu): it has 2 inputs, but"),
    "too many outputs": ([call("Silu", ["x"], ["y", "z"], "n")], [SILU], "it has 2 outputs, but its function has 1"),
    "unknown attribute": ([call("Silu", ["x"], ["y"], "n", k=1)], [SILU], "attribute 'k' is none of its function"),
    "no such tensor": (
        [call("F", ["x"], ["y"])],
        [w.function("F", ["a"], ["b"], [w.node("Neg", ["x"], ["b"])])],
        "the function 'local.F': the tensor 'x' does not exist in it",
    ),
    "no such output": (
        [call("F", ["x"], ["y"])],
        [w.function("F", ["a"], ["z"], [w.node("Neg", ["a"], ["b"])])],
        "the tensor 'z' does not exist in it",
    ),
    "an output that is left out": (
        [call("F", ["x"], ["", "y"], "n")],
        [w.function("F", ["a", "c"], ["a", "c"], [])],
        "node 'n' (local.F): the output 'c' is an input that was left out",
    ),
    "a cycle": (
        [call("F", ["x"], ["y"])],
        [w.function("F", ["a"], ["b"], [w.node("Neg", ["b"], ["b"], "n")])],
        "node 'n' depends on itself",
    ),
    "one input twice": (
        [call("F", ["x"], ["y"])],
        [w.function("F", ["a", "a"], ["b"], [w.node("Neg", ["a"], ["b"], "n")])],
        "two inputs have one name",
    ),
    "a graph": (
        [w.node("Silu", ["x"], ["y"], "n", "local", [w.attribute("g", w.graph(), AttrKind.GRAPH)])],
        [SILU],
        "a graph as an attribute of a local function is not supported",
    ),
    "a graph as a default": (
        [call("F", ["x"], ["y"])],
        [w.function("F", ["a"], ["a"], [], defaults=[w.attribute("g", w.graph(), AttrKind.GRAPH)])],
        "attribute 'g' is a graph, which is not supported",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_functions(name: str) -> None:
    nodes, functions, text = WRONG[name]
    found = refused(nodes, *functions)
    assert text in found
    assert found.startswith(("node '", "two functions"))


# -- growth -----------------------------------------------------------------------------------------------------------


def tower(height: int, width: int, last: list[bytes]) -> list[bytes]:
    """Return functions that each call the next ``width`` times."""
    made = []
    for i in range(height):
        nodes = [call(f"F{i + 1}", [f"t{k}" if k else "a"], [f"t{k + 1}"]) for k in range(width)]
        made.append(w.function(f"F{i}", ["a"], [f"t{width}"], nodes))
    return [*made, w.function(f"F{height}", ["a"], ["b" if last else "a"], last)]


@pytest.mark.parametrize("last", [[w.node("Neg", ["a"], ["b"])], []], ids=["a node", "no node"])
def test_functions_that_grow_without_bound_are_refused_soon(last: list[bytes]) -> None:
    begin = time.process_time()
    with pytest.raises(GraphError, match=r"more nodes than the limit, 20000 .*with its functions inlined"):
        read([call("F0", ["x"], ["y"])], *tower(40, 2, last), limits=GraphLimits(max_nodes=20_000))
    assert time.process_time() - begin < 5


def test_depth_is_bounded() -> None:
    neg = [w.node("Neg", ["a"], ["b"])]
    assert read([call("F0", ["x"], ["y"])], *tower(expand.MAX_DEPTH - 2, 1, neg)).calls == expand.MAX_DEPTH - 1
    for height in (expand.MAX_DEPTH - 1, 3000):
        assert "more than 48 functions and bodies" in refused([call("F0", ["x"], ["y"])], *tower(height, 1, neg))


def test_edges_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expand, "MOST_EDGES", 5000)
    many = [f"i{k}" for k in range(100)]
    wide = w.function("F", many, ["b"], [w.node("Sum", many, ["b"])])
    nodes = [call("F", ["x"] * 100, [f"t{i}"]) for i in range(40)]
    assert "more than 5000 inputs, outputs and attributes" in refused([*nodes, w.node("Neg", ["x"], ["y"])], wide)


def test_names_do_not_grow_with_depth() -> None:
    long = "n" * 400
    functions = [
        w.function(f"F{i}", ["a"], ["b"], [call(f"F{i + 1}", ["a"], ["b"], long) for _ in range(1)]) for i in range(40)
    ]
    functions.append(w.function("F40", ["a"], ["b"], [w.node("Neg", ["a"], [long]), w.node("Neg", [long], ["b"])]))
    graph = read([call("F0", ["x"], ["y"], long)], *functions)
    assert max(len(n.name) for n in graph.nodes) <= 520
    assert max(len(name) for n in graph.nodes for name in n.outputs) <= 520
