"""Functions of a GraphDef's library: inlined at every call, or refused with what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from graph_builder import GraphBuilder
from smalti.errors import GraphError, UnsupportedGraphError
from smalti.frontend.budget import GraphLimits
from smalti.frontend.tensorflow.graphdef import FunctionDef
from smalti.frontend.tensorflow.importer import Imported, ImportOptions, import_graph
from smalti.ir.reference import run
from tf_vectors import vectors

F32 = np.float32
Body = Sequence[tuple[str, str, Sequence[str]]]


def function(name: str, args: Sequence[str], body: Body, results: dict[str, str], **extra: str) -> bytes:
    """Return a FunctionDef: ``body`` is (operation, name, inputs); ``called_<node>`` names the function of a call."""
    message = FunctionDef()
    message.signature.name = name.encode()
    for arg in args:
        message.signature.input_arg.add(name=arg.encode())
    for op, label, inputs in body:
        node = message.node_def.add(name=label.encode(), op=op.encode())
        node.input.extend(i.encode() for i in inputs)
        if f"called_{label}" in extra:
            node.attr.add(key=b"f").value.func.name = extra[f"called_{label}"].encode()
    for key, value in results.items():
        message.signature.output_arg.add(name=key.encode())
        message.ret.add(key=key.encode(), value=value.encode())
    return bytes(message.SerializeToString())


def graph(inputs: Sequence[str], called: str, *functions: bytes, op: str = "PartitionedCall") -> GraphBuilder:
    """Return a graph that calls a function of ``x`` and gives its result 0 as ``y``."""
    builder = GraphBuilder().placeholder("x", F32, (2, 3)).node(op, "call", inputs)
    if called:
        builder.graph.node[-1].attr.add(key=b"f").value.func.name = called.encode()
    builder.graph.library.function.extend(functions)
    return builder.node("Identity", "y", ["call"])


def imported(builder: GraphBuilder, *outputs: str, limits: GraphLimits | None = None) -> Imported:
    return import_graph(builder.bytes(), ImportOptions(outputs=outputs or ("y",), limits=limits or GraphLimits()))


def value(builder: GraphBuilder, *outputs: str) -> list[np.ndarray[Any, Any]]:
    made = imported(builder, *outputs).graph
    found = run(made, {"x:0": np.float32([[1, -2, 3], [-4, 5, -6]])})
    return [found[name] for name in made.output_names]


TWICE = function("twice", ["a"], [("AddV2", "sum", ["a", "a"])], {"out": "sum:z:0"})


def test_recorded_calls_are_calls() -> None:
    calls = [v for v in vectors() if v.name.startswith("control/calls")]
    assert calls
    assert all(b"PartitionedCall" in v.graph for v in calls)


@pytest.mark.parametrize("op", ("PartitionedCall", "StatefulPartitionedCall"))
def test_a_call_is_its_function(op: str) -> None:
    assert value(graph(["x"], "twice", TWICE, op=op))[0].tolist() == [[2, -4, 6], [-8, 10, -12]]


def test_an_operation_may_have_the_name_of_a_function() -> None:
    assert value(graph(["x"], "", TWICE, op="twice"))[0].tolist() == [[2, -4, 6], [-8, 10, -12]]


def test_functions_call_functions_and_nodes_inside_have_names() -> None:
    body = [("PartitionedCall", "inner", ["a"]), ("Neg", "minus", ["inner:output:0"])]
    outer = function("outer", ["a"], body, {"out": "minus:y:0"}, called_inner="twice")
    builder = graph(["x"], "outer", outer, TWICE)
    assert value(builder)[0].tolist() == [[-2, 4, -6], [8, -10, 12]]
    assert value(builder, "call/inner/sum")[0].tolist() == [[2, -4, 6], [-8, 10, -12]]


def test_the_function_of_a_legacy_gradient_free_body_may_return_its_argument_and_more_results() -> None:
    both = function("both", ["a", "b"], [("Neg", "minus", ["b"])], {"first": "a", "second": "minus:y"})
    builder = graph(["x", "x"], "both", both)
    first, second = value(builder, "call:0", "call:1")
    assert (first == -second).all()
    # Nobody reads result 1, so both are outputs of a graph that ends in the call.
    del builder.graph.node[-1]
    assert import_graph(builder.bytes()).graph.output_names == ("call:0", "call:1")


def test_results_of_several_are_found_by_name() -> None:
    body = [("Switch", "way", ["a", "flag"]), ("Neg", "minus", ["way:output_true:0"])]
    fn = function("fn", ["a", "flag"], body, {"out": "minus:y:0"})
    builder = (
        GraphBuilder().placeholder("x", F32, (2, 3)).const("flag", True).node("PartitionedCall", "y", ["x", "flag"])
    )
    builder.graph.node[-1].attr.add(key=b"f").value.func.name = b"fn"
    builder.graph.library.function.append(fn)
    assert value(builder)[0].tolist() == [[-1, 2, -3], [4, -5, 6]]


@pytest.mark.parametrize("dead", (True, False))
def test_a_call_in_a_branch_that_is_not_taken_has_no_result(dead: bool) -> None:
    constant = FunctionDef.FromString(function("fn", ["a"], [("Const", "number", [])], {"out": "number:output:0"}))
    source = GraphBuilder().const("number", np.ones((2, 3), F32)).graph.node[0]
    constant.node_def[0].attr.extend(source.attr)
    builder = GraphBuilder().placeholder("x", F32, (2, 3)).const("flag", not dead).node("Switch", "s", ["x", "flag"])
    builder.node("PartitionedCall", "call", ["s:1"])
    builder.graph.node[-1].attr.add(key=b"f").value.func.name = b"fn"
    builder.graph.library.function.append(constant.SerializeToString())
    builder.node("Neg", "other", ["s:0"]).node("Merge", "m", ["call", "other"]).node("AddV2", "y", ["m", "x"])
    expected = [[0.0, 0, 0]] * 2 if dead else [[2.0, -1, 4], [-3, 6, -5]]
    assert value(builder)[0].tolist() == expected


def test_what_is_not_supported_in_a_function_is_listed() -> None:
    fn = function("fn", ["a"], [("NonMaxSuppressionV3", "nms", ["a"])], {"out": "nms:y:0"})
    with pytest.raises(UnsupportedGraphError, match=r"NonMaxSuppressionV3 +x1 +call/nms"):
        imported(graph(["x"], "fn", fn))


LOOP = function("loop", ["a"], [("PartitionedCall", "again", ["a"])], {"out": "again:output:0"}, called_again="loop")
WRONG = [
    (graph(["x"], "gone", TWICE), "calls the function gone, which the graph does not hold: freeze the model again"),
    (graph(["x"], "", TWICE), "node call: attribute f, the function that it calls, is missing"),
    (graph(["x"], "loop", LOOP), "the function loop calls itself"),
    (graph(["x", "x"], "twice", TWICE), "2 inputs for the function twice of 1"),
    (graph(["x"], "twice", TWICE, TWICE), "two functions are called twice"),
    (graph(["x"], "fn", function("fn", ["a"], [], {"out": "b:y:0"})), "the function fn reads b:y:0"),
    (graph(["x"], "fn", function("fn", ["a"], [("Neg", "n", ["a:3"])], {"out": "n:y:0"})), "reads a:3"),
    (graph(["x"], "fn", function("fn", ["a"], [("Neg", "n", ["n:y:x"])], {"out": "n:y:0"})), "reads n:y:x"),
    (graph(["x"], "fn", function("fn", ["a"], [("Neg", "n", ["n:y:0"])], {"out": "n:y:0"})), "depends on itself"),
    (
        graph(["x"], "fn", function("fn", ["a"], [("TopKV2", "t", ["a", "a"])], {"out": "t:z:0"})),
        "reads t:z:0, which TopKV2",
    ),
    (graph(["x"], "fn", function("fn", ["a"], [("Neg", "a", ["a"])], {"out": "a"})), "two nodes of the function fn"),
    (graph(["x"], "fn", function("fn", ["a"], [("Placeholder", "p", [])], {"out": "p:y:0"})), "the placeholder p"),
    (graph(["x"], "fn", b"\x0a\x04\x0a\x02fn\x1a\xff"), "does not parse as protobuf"),
]


@pytest.mark.parametrize(("builder", "text"), WRONG, ids=range(len(WRONG)))
def test_functions_that_are_wrong(builder: GraphBuilder, text: str) -> None:
    with pytest.raises(GraphError) as raised:
        imported(builder)
    assert text in str(raised.value).replace("'", "")


def test_functions_that_multiply_stop_at_the_limit_of_nodes() -> None:
    """Each function calls the next one twice: 2^40 nodes."""
    functions = []
    for i in range(40):
        body = [("PartitionedCall", "p", ["a"]), ("PartitionedCall", "q", ["p:output:0"])]
        called = {"called_p": f"f{i + 1}", "called_q": f"f{i + 1}"}
        functions.append(function(f"f{i}", ["a"], body, {"out": "q:output:0"}, **called))
    last = function("f40", ["a"], [("Neg", "n", ["a"])], {"out": "n:y:0"})
    with pytest.raises(GraphError, match=r"more nodes than the limit, 5000 .*functions inlined"):
        imported(graph(["x"], "f0", *functions, last), limits=GraphLimits(max_nodes=5000))


def test_functions_in_each_other_stop_at_a_depth() -> None:
    functions = [
        function(f"f{i}", ["a"], [("PartitionedCall", "p", ["a"])], {"out": "p:output:0"}, called_p=f"f{i + 1}")
        for i in range(60)
    ]
    with pytest.raises(GraphError, match="more than 48 functions call each other"):
        imported(graph(["x"], "f0", *functions))


def test_a_library_that_nobody_calls_is_not_read_further() -> None:
    builder = GraphBuilder().placeholder("x", F32, (2, 3)).node("Neg", "y", ["x"])
    builder.graph.library.function.append(LOOP)
    assert value(builder)[0].tolist() == [[-1, 2, -3], [4, -5, 6]]
