"""The table of nodes of an ONNX model: names, order, inputs and outputs, bodies, operator sets, limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onnx_wire as w
from graph_builder import GraphBuilder
from smalti.errors import GraphError, UsageError
from smalti.frontend.budget import GraphLimits
from smalti.frontend.onnx.graph import OnnxGraph
from smalti.frontend.onnx.nodes import OnnxNode
from smalti.frontend.onnx.opsets import NEWEST, OLDEST, OWN_DOMAIN
from smalti.frontend.onnx.reader import read_model
from smalti.frontend.onnx.wire.tensors import OnnxTensor
from smalti.frontend.onnx.wire.types import AttrKind, OnnxType, ValueType
from smalti.frontend.raw import Role

BOOL = OnnxType.BOOL.value


def by_output(graph: OnnxGraph, name: str) -> OnnxNode:
    """Return the node that makes a tensor."""
    edge = graph.tensor(name)
    assert edge is not None
    return graph.nodes[edge[0]]


def inputs_of(graph: OnnxGraph) -> list[OnnxNode]:
    """Return the inputs in the order of the file."""
    return [node for node in graph.nodes if node.role is Role.INPUT]


def read_names(graph: OnnxGraph, node: OnnxNode) -> list[str | None]:
    """Return the names of what a node reads."""
    return [None if edge is None else graph.name_of(edge) for edge in node.inputs]


def refused(data: bytes, limits: GraphLimits | None = None) -> str:
    """Return what is said of a model that is not read."""
    with pytest.raises(GraphError) as caught:
        read_model(data, limits or GraphLimits())
    return str(caught.value)


# -- the table --------------------------------------------------------------------------------------------------------


def test_a_network() -> None:
    weights = np.arange(12, dtype=np.float32).reshape(4, 3, 1, 1)
    graph = read_model(
        w.network(
            w.node("Conv", ["x", "w", ""], ["c"], "conv", strides=[1, 1]),
            w.node("Clip", ["c", "", "six"], ["y"]),
            initialisers=[w.array("w", weights), w.array("six", np.float32(6))],
        )
    )
    assert [n.label for n in graph.nodes] == ["Input", "Constant", "Constant", "Conv", "Clip"]
    assert [n.domain == OWN_DOMAIN for n in graph.nodes] == [True, False, False, False, False]
    assert [n.role for n in graph.nodes] == [Role.INPUT, Role.SILENT, Role.SILENT, Role.OPERATION, Role.OPERATION]
    assert graph.nodes[0].given == ValueType(OnnxType.FLOAT, (1, 3, "height", "width"))
    conv, clip = by_output(graph, "c"), by_output(graph, "y")
    assert (conv.name, clip.name) == ("conv", "y")
    assert read_names(graph, conv) == ["x", "w"]
    assert read_names(graph, clip) == ["c", None, "six"]
    assert (conv.version, graph.opsets, graph.ir_version, graph.nodes_in_file) == (17, {"": 17}, 8, 2)
    assert [(o.name, graph.name_of(o.edge)) for o in graph.results] == [("y", "y")]
    reader = graph.attributes(conv)
    assert reader.unread(frozenset()) == ("strides",)
    assert reader.ints("strides") == (1, 1)
    assert reader.unread(frozenset()) == ()
    value = graph.attributes(by_output(graph, "w")).tensor("value")
    assert value.shape == (4, 3, 1, 1)
    assert np.array_equal(value.decode(1 << 20), weights)


def test_initialisers_that_are_listed_as_inputs_are_none() -> None:
    data = w.model(
        w.graph(
            [w.node("Add", ["x", "w"], ["y"])],
            [w.value("w", w.FLOAT, [2]), w.value("x", w.FLOAT, [2])],
            [w.value("y")],
            [w.array("w", np.ones(2, np.float32))],
        ),
        ir=3,
    )
    graph = read_model(data)
    assert [n.name for n in inputs_of(graph)] == ["x"]
    assert by_output(graph, "w").op == "Constant"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1, 3, "h", "w"], (1, 3, "h", "w")),
        (["None", -1, 0, ""], (None, None, None, None)),
        (["?", "-1", None, "batch"], (None, None, None, "batch")),
        (["n", "n", "p2o.DynamicDimension.0", "2*s1 + 1"], ("n", "n", "p2o.DynamicDimension.0", "2*s1 + 1")),
        ([], ()),
        (None, None),
    ],
)
def test_sizes_of_inputs(sizes: list[w.Size] | None, expected: tuple[int | str | None, ...] | None) -> None:
    data = w.model(w.graph([w.node("Relu", ["x"], ["y"])], [w.value("x", w.FLOAT, sizes)], [w.value("y")]))
    given = read_model(data).nodes[0].given
    assert given is not None
    assert given.shape == expected


def test_inputs_that_say_little_or_are_no_tensors() -> None:
    others = {"a sequence": 4, "a map": 5, "an opaque": 7, "a sparse tensor": 8, "an optional": 9}
    inputs = [w.value(name, other=w.body(field, b"\x0a\x00")) for name, field in others.items()]
    inputs += [w.value("untyped", None), w.body(1, "bare"), w.value("bits", OnnxType.INT4.value, [3])]
    graph = read_model(w.model(w.graph([w.node("Relu", ["bare"], ["y"])], inputs, [w.value("y")])))
    found = {n.name: n.given for n in inputs_of(graph)}
    for name in others:
        assert found[name] == ValueType(other=name)
    assert found["untyped"] == found["bare"] == ValueType()
    assert found["bits"] == ValueType(OnnxType.INT4, (3,))


def test_outputs_are_hints() -> None:
    outputs = [w.value("y", w.FLOAT, [7, 7]), w.value("x"), w.value("k", 77, [1] * 99)]
    nodes = [w.node("Relu", ["x"], ["y"])]
    graph = read_model(w.model(w.graph(nodes, [w.value("x")], outputs, [w.array("k", [1])])))
    assert [o.name for o in graph.results] == ["y", "x", "k"]
    assert graph.results[0].declared == ValueType(OnnxType.FLOAT, (7, 7))
    assert graph.results[2].declared is None
    assert graph.nodes[graph.results[1].edge[0]].role is Role.INPUT


def test_nodes_in_any_order_are_sorted_and_a_sorted_file_keeps_its_order() -> None:
    nodes = [w.node("Relu", [f"t{i}"], [f"t{i + 1}"], f"n{i}") for i in range(6)]
    ends = ([w.value("t0")], [w.value("t6")])
    expected = ["t0", *(f"n{i}" for i in range(6))]
    for order in (nodes, nodes[::-1], nodes[3:] + nodes[:3]):
        assert [n.name for n in read_model(w.model(w.graph(order, *ends))).nodes] == expected
    diamond = [w.node("A", ["x"], ["a"]), w.node("B", ["x"], ["b"]), w.node("C", ["b", "a"], ["y"])]
    graph = read_model(w.network(*diamond))
    assert [n.name for n in graph.nodes] == ["x", "a", "b", "y"]


def test_what_the_outputs_need() -> None:
    nodes = [
        w.node("A", ["x"], ["a"]),
        w.node("B", ["a", "k"], ["b"]),
        w.node("C", ["a"], ["y"]),
        w.node("D", ["missing_op"], ["d"]),
    ]
    inputs = [w.value("x"), w.value("missing_op")]
    graph = read_model(w.model(w.graph(nodes, inputs, [w.value("y")], [w.array("k", [1])])))
    edges = {name: edge for name, edge in graph.tensors.items()}
    names = {"y": ["x", "a", "y"], "b": ["x", "k", "a", "b"], "d": ["missing_op", "d"]}
    for name, expected in names.items():
        assert [graph.nodes[i].name for i in graph.needed([edges[name]])] == expected
    assert [graph.nodes[i].name for i in graph.needed([edges["b"]], frozenset([edges["a"]]))] == ["k", "b"]
    assert graph.needed([edges["a"]], frozenset([edges["a"]])) == ()


# -- bodies -----------------------------------------------------------------------------------------------------------


def branching() -> bytes:
    """Return a model with an ``If`` in a branch of an ``If``; the branches read outer tensors."""
    inner = w.graph([w.node("Neg", ["r"], ["t"])], outputs=[w.value("t")])
    other = w.graph([w.node("Add", ["r", "k"], ["t"])], outputs=[w.value("t")], initialisers=[w.array("k", [1])])
    nested = w.node(
        "If",
        ["c"],
        ["u"],
        "inner",
        fields=[w.attribute("then_branch", inner, AttrKind.GRAPH), w.attribute("else_branch", other, AttrKind.GRAPH)],
    )
    then = w.graph([nested], outputs=[w.value("u")])
    plain = w.graph(outputs=[w.value("x")])
    outer = w.node(
        "If",
        ["c"],
        ["y"],
        "outer",
        fields=[w.attribute("then_branch", then, AttrKind.GRAPH), w.attribute("else_branch", plain, AttrKind.GRAPH)],
    )
    # The branches read "r", which is made further down: order by what is read, not by what stands first.
    nodes = [outer, w.node("Relu", ["x"], ["r"])]
    return w.model(w.graph(nodes, [w.value("x"), w.value("c", BOOL, [])], [w.value("y")]))


def test_branches_stand_in_the_table_and_wait_for_their_beginning() -> None:
    graph = read_model(branching())
    names = [f"{n.label} {n.name}" for n in graph.nodes]
    assert names == [
        "Input x",
        "Input c",
        "Relu r",
        "If outer/then_branch",
        "If inner/then_branch",
        "Neg t",
        "If inner/else_branch",
        "Constant k",
        "Add t__2",
        "If inner",
        "If outer/else_branch",
        "Identity outer/else_branch__2",
        "If outer",
    ]
    found = dict(zip(names, graph.nodes, strict=True))
    begin, nested = found["If outer/then_branch"], found["If inner/then_branch"]
    assert (begin.op, begin.domain, begin.controls, read_names(graph, begin)) == ("IfTrue", OWN_DOMAIN, (), ["c"])
    assert (nested.op, nested.controls) == ("IfTrue", (begin.index,))
    assert found["Neg t"].controls == (nested.index,)
    assert read_names(graph, found["Neg t"]) == ["r"]
    assert {found[n].controls for n in ("Constant k", "Add t__2")} == {(found["If inner/else_branch"].index,)}
    assert found["Identity outer/else_branch__2"].controls == (found["If outer/else_branch"].index,)
    assert read_names(graph, found["Identity outer/else_branch__2"]) == ["x"]
    assert found["If outer"].inputs == ((found["If inner"].index, 0), (found["Identity outer/else_branch__2"].index, 0))
    assert graph.tensor("t") is None
    assert graph.needed(graph.outputs) == tuple(range(len(names)))
    assert all(edge[0] < n.index for n in graph.nodes for edge in n.operands)
    assert all(below < n.index for n in graph.nodes for below in n.controls)


def loop() -> bytes:
    body = w.graph(
        [w.node("Identity", ["go"], ["again"]), w.node("Add", ["acc", "r"], ["next"])],
        [w.value("i", w.INT64, []), w.value("go", BOOL, []), w.value("acc")],
        [w.value("again"), w.value("next")],
    )
    made = w.node("Loop", ["n", "", "x"], ["y"], fields=[w.attribute("body", body, AttrKind.GRAPH)])
    nodes = [made, w.node("Relu", ["x"], ["r"])]
    return w.model(w.graph(nodes, [w.value("x"), w.value("n", w.INT64, [])], [w.value("y")]))


def test_bodies_of_other_operations_are_attributes() -> None:
    graph = read_model(loop())
    node = by_output(graph, "y")
    body = graph.attributes(node).body("body")
    assert node.bodies() == (body,)
    assert [graph.nodes[e[0]].label for e in body.inputs] == ["BodyInput"] * 3
    assert [n.name for n in inputs_of(graph)] == ["x", "n"]
    assert read_names(graph, node) == ["n", None, "x"]
    assert read_names(graph, graph.nodes[body.outputs[1][0]]) == ["acc", "r"]
    # All but what the body is fed and does not read.
    assert [n.name for n in graph.nodes if n.index not in graph.needed(graph.outputs)] == ["i"]
    assert all(edge[0] < node.index for edge in body.outputs)


def test_a_body_that_reads_its_own_node_is_a_cycle() -> None:
    branch = w.graph([w.node("Neg", ["y"], ["t"])], outputs=[w.value("t")])
    branches = [w.attribute(name, branch, AttrKind.GRAPH) for name in ("then_branch", "else_branch")]
    data = w.model(w.graph([w.node("If", ["c"], ["y"], "n", fields=branches)], [w.value("c")], [w.value("y")]))
    assert refused(data) == "node 'n' depends on itself"


# -- what is wrong with names and edges -------------------------------------------------------------------------------


def relu(*fields: bytes, source: str = "x") -> bytes:
    """Return a model of one node with these attributes."""
    return w.network(w.node("Relu", [source], ["y"], "n", fields=fields))


RELU = w.node("Relu", ["x"], ["y"], "relu")
X, Y = w.value("x", w.FLOAT, [1, 3, 4, 4]), w.value("y")
WRONG = {
    "missing input": (
        w.network(w.node("Relu", ["z"], ["y"], "relu")),
        "node 'relu' (Relu): its input 'z' does not exist",
    ),
    "missing output": (w.network(RELU, output="z"), "the output 'z' does not exist"),
    "made twice": (w.network(RELU, w.node("Neg", ["x"], ["y"])), "node 'y': the tensor 'y' is made twice"),
    "input made again": (w.network(RELU, w.node("Neg", ["y"], ["x"], "n")), "node 'n': the tensor 'x' is made twice"),
    "initialiser made again": (w.network(RELU, initialisers=[w.array("y", [1])]), "the tensor 'y' is made twice"),
    "two inputs": (w.model(w.graph([RELU], [X, X], [Y])), "two inputs are called 'x'"),
    "two outputs": (w.model(w.graph([RELU], [X], [Y, Y])), "two outputs are called 'y'"),
    "two initialisers": (w.network(RELU, initialisers=[w.array("k", [1])] * 2), "two initialisers are called 'k'"),
    "unnamed input": (w.model(w.graph([RELU], [w.value("")], [Y])), "the name of input number 0 is empty"),
    "unnamed initialiser": (
        w.network(RELU, initialisers=[w.array("", [1])]),
        "the name of initialiser number 0 is empty",
    ),
    "self": (w.network(w.node("Relu", ["y"], ["y"], "n")), "node 'n' depends on itself"),
    "cycle": (w.network(w.node("A", ["b"], ["a"]), w.node("B", ["a"], ["b"]), RELU), "node 'a' depends on itself"),
    "no operation": (w.network(w.node("", ["x"], ["y"], "n")), "node 'n': it has no operation"),
    "not UTF-8": (w.network(w.body(1, b"\xff") + RELU), "node 'relu': the name of an input is not UTF-8"),
    "name not UTF-8": (w.network(w.body(3, b"\xff") + w.body(4, "Relu")), "node number 0: its name is not UTF-8"),
    "not printable": (w.network(w.node("Relu", ["x"], ["y\n"])), "node number 0: the name of an output is 'y\\n'"),
    "long name": (w.network(w.node("Relu", ["x"], ["n" * 4097])), "has 4097 bytes; the limit is 4096"),
    "attribute twice": (
        relu(w.attribute("a", 1), w.attribute("a", 2)),
        "node 'n': attribute 'a' is given twice",
    ),
    "attribute of a function": (
        relu(w.reference("a", "b")),
        "node 'n' (Relu): attribute 'a' refers to an attribute of a function",
    ),
    "attribute that lies": (
        relu(w.attribute("a", 1, AttrKind.FLOAT)),
        "node 'n': attribute 'a' says that it is a float, but holds an int",
    ),
    "attribute of no kind": (
        relu(w.attribute("a", 1, 77)),
        "node 'n': attribute 'a' is of kind 77, which ONNX does not have",
    ),
    "attribute without anything": (
        relu(w.body(1, "a")),
        "node 'n': attribute 'a' does not say of what kind it is",
    ),
    "attribute without its tensor": (
        relu(w.body(1, "a") + w.number(20, 4)),
        "node 'n': attribute 'a' holds no tensor",
    ),
    "graphs": (
        relu(w.body(1, "a") + w.body(11, b"") + w.number(20, 10)),
        "node 'n': attribute 'a' is a list of graphs",
    ),
    "element type": (w.model(w.graph([RELU], [w.value("x", 99)], [Y])), "the input 'x': ONNX has no element type 99"),
    "rank": (w.model(w.graph([RELU], [w.value("x", 1, [1] * 9)], [Y])), "the input 'x': a shape of 9 dimensions"),
    "size": (
        w.model(w.graph([RELU], [w.value("x", 1, [1 << 31])], [Y])),
        "input 'x': the size 2147483648 is above",
    ),
    "body": (
        w.network(
            w.node(
                "Loop",
                ["x"],
                ["y"],
                "n",
                fields=[w.attribute("a", w.graph([w.node("Neg", ["q"], ["t"], "in")]), AttrKind.GRAPH)],
            )
        ),
        "node 'in' (Neg): its input 'q' does not exist",
    ),
    "body without its output": (
        w.network(w.node("If", ["x"], ["y"], "n", fields=[w.attribute("a", w.graph(outputs=[Y]), AttrKind.GRAPH)])),
        "node 'n' depends on itself",
    ),
    "domain": (w.network(w.node("Relu", ["x"], ["y"], "n", OWN_DOMAIN)), "node 'n': '(model)' is no domain"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_and_where(name: str) -> None:
    data, text = WRONG[name]
    assert text in refused(data)


# -- operator sets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [OLDEST, 13, NEWEST])
def test_versions_that_are_read(version: int) -> None:
    for domain in ("", "ai.onnx"):
        data = w.model(w.graph([RELU], [X], [Y]), {domain: version, "com.microsoft": 1, "ai.onnx.ml": 2})
        graph = read_model(data)
        assert graph.opsets == {"": version, "com.microsoft": 1, "ai.onnx.ml": 2}
        assert by_output(graph, "y").version == version


@pytest.mark.parametrize(
    ("opsets", "ir", "text"),
    [
        ({"": NEWEST + 1}, 8, f"the model uses opset {NEWEST + 1}; this Smalti knows .* up to opset {NEWEST}: export"),
        (
            {"": OLDEST - 1},
            8,
            f"the model uses opset {OLDEST - 1}; ONNX's operators are read from opset {OLDEST} on: export",
        ),
        ({"": 0}, 8, "the model uses opset 0;"),
        ({"": -1}, 8, "the model uses opset -1;"),
        ({"": 13, "ai.onnx": 12}, 8, "two versions of the operators of 'ai.onnx'"),
        ({}, 8, r"node 'relu' \(Relu\): the model does not say which version of ONNX's operators"),
        ({"": 13}, 99, "version 99 of ONNX's format .* up to 14: export"),
        ({"": 13}, 0, "states no version of its format"),
    ],
)
def test_versions_that_are_not(opsets: dict[str, int], ir: int, text: str) -> None:
    with pytest.raises(GraphError, match=text):
        read_model(w.model(w.graph([RELU], [X], [Y]), opsets, ir=ir))


def test_other_domains_need_not_be_named() -> None:
    graph = read_model(w.network(w.node("FusedConv", ["x"], ["y"], domain="com.microsoft")))
    node = by_output(graph, "y")
    assert (node.label, node.version) == ("com.microsoft.FusedConv", 1)


# -- bytes and files --------------------------------------------------------------------------------------------------


def test_other_files_are_named() -> None:
    assert "a TensorFlow GraphDef" in refused(GraphBuilder().placeholder("x", np.float32, [1]).bytes())
    assert "an empty file" in refused(b"")
    assert "one tensor of ONNX" in refused(w.array("t", np.ones(9, np.float32)))
    assert "do not parse as protobuf" in refused(b"GARBAGE!" * 9)
    assert "it has no graph" in refused(w.number(1, 8) + w.body(2, "somebody"))


def test_a_file_that_was_cut_is_said_to_be() -> None:
    data = w.network(RELU, initialisers=[w.array("k", np.ones(100, np.float32))])
    assert "the ONNX file ends in the middle of its graph" in refused(data[:300])


def test_the_path_of_a_file(tmp_path: Path) -> None:
    data = w.network(RELU)
    path = tmp_path / "net.onnx"
    path.write_bytes(data)
    assert [n.name for n in read_model(path).nodes] == [n.name for n in read_model(data).nodes]
    with pytest.raises(GraphError, match=f"has {len(data)} bytes; the limit for a graph is 20 .*--max-graph-bytes"):
        read_model(path, GraphLimits(max_bytes=20))
    with pytest.raises(UsageError, match=r"cannot read .*none\.onnx: No such file"):
        read_model(tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="give an .onnx file"):
        read_model(tmp_path)


def test_limits_are_exact() -> None:
    data = w.network(*(w.node("Relu", [f"t{i}" if i else "x"], [f"t{i + 1}"]) for i in range(9)), output="t9")
    assert len(read_model(data, GraphLimits(max_nodes=10)).nodes) == 10
    for limit in (9, 8, 1):
        text = refused(data, GraphLimits(max_nodes=limit))
        assert f"the graph has more nodes than the limit, {limit} (--max-graph-nodes)" in text
    assert read_model(data, GraphLimits(max_bytes=len(data)))
    limit = GraphLimits(max_bytes=len(data) - 1)
    assert refused(data, limit) == f"the graph has {len(data)} bytes; the limit is {len(data) - 1} (--max-graph-bytes)"


def test_fields_that_nobody_knows_change_nothing() -> None:
    data = w.network(w.node("Relu", ["x"], ["y"], "relu"))
    junk = w.body(6, "documentation") + w.number(99, 5) + w.float32(98, 1.0) + w.body(1000, b"\x08\x09")
    graph = w.graph([RELU + junk[:0] + w.number(99, 7) + w.body(1000, b"\x08\x01")], [X], [Y], (), w.body(10, "words"))
    found = read_model(w.model(graph, fields=junk))
    assert [n.name for n in found.nodes] == [n.name for n in read_model(data).nodes]


def graph_of_tensor(tensor: bytes) -> OnnxTensor:
    graph = read_model(w.network(RELU, initialisers=[tensor]))
    return graph.attributes(by_output(graph, "k")).tensor("value")


def test_places_of_values_cannot_be_forged() -> None:
    """The field in which our own reader notes where values stand is taken from no file."""
    forged = w.body(1000, w.number(1, 9) + w.number(2, 0) + w.number(3, 8))
    tensor = w.tensor("k", w.FLOAT, [2], forged)
    value = graph_of_tensor(tensor)
    with pytest.raises(GraphError, match="lists 0 values for 2 elements"):
        value.decode(100)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_where_every_node_reads_another_of_them_there_is_a_cycle(edges: list[tuple[int, int]]) -> None:
    count = len(edges)
    nodes = [w.node("Add", [f"t{a % count}", f"t{b % count}"], [f"t{i}"], f"n{i}") for i, (a, b) in enumerate(edges)]
    assert "depends on itself" in refused(w.network(*nodes, w.node("Relu", ["x"], ["y"])))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_order_of_a_graph_without_cycles(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 9))
    nodes = []
    for i in range(count):
        below = data.draw(st.lists(st.integers(0, i), min_size=1, max_size=3))
        nodes.append(w.node("Sum", [f"t{b}" if b else "x" for b in below], [f"t{i + 1}"], f"n{i}"))
    shuffled = data.draw(st.permutations(nodes))
    graph = read_model(w.network(*shuffled, output=f"t{count}"))
    assert sorted(n.name for n in graph.nodes) == sorted(["x", *(f"n{i}" for i in range(count))])
    assert all(edge[0] < n.index for n in graph.nodes for edge in n.operands)
    tail = graph.needed(graph.outputs)
    assert tail[-1] == graph.outputs[0][0]
