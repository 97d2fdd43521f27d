"""A format that was made up for this test gets everything that formats share, for a reader and a table of handlers."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from smalti.errors import CompilerError, GraphError, UnsupportedGraphError, UsageError
from smalti.frontend.budget import DEFAULT_LIMITS, GraphLimits
from smalti.frontend.importing.evaluate import Evaluation, InputRule
from smalti.frontend.symbolic import make
from smalti.frontend.table import OpTable
from smalti.frontend.values import Value
from smalti.ir.graph import Graph, Level, TensorType
from smalti.ir.reference import run
from smalti.ir.verify import verify
from smalti.numerics import DType
from tiny_format import TABLE, Kind, Tiny, TinyAttributes, import_tiny, read

F32 = np.float32
IMAGE = ("f32", ("batch", "height", "width", 4))
SIX = np.array(6, F32)


def node(op: str, ins: list[str], *outs: str, domain: str = "", **attrs: Any) -> Tiny:
    return {"op": op, "in": ins, "out": outs, "domain": domain, "attrs": attrs}


FLAT = [
    node("sizes", ["x"], "s"),
    node("split", ["s"], "n", "h", "w", "c", parts=4),
    node("mul", ["h", "w"], "area"),
    node("join", ["n", "area", "c"], "t"),
    node("reshape", ["x", "t"], "flat"),
    node("clip", ["flat", "", "six"], "y"),
]


def graph(*nodes: Tiny, outputs: tuple[str, ...] = ("y",), versions: Any = None, **inputs: Any) -> Tiny:
    return {
        "versions": versions or {"": 2},
        "inputs": inputs or {"x": IMAGE},
        "constants": {"six": SIX},
        "nodes": nodes,
        "outputs": outputs,
    }


def made(tiny: Tiny, **options: Any) -> Graph:
    found = import_tiny(tiny, **options).graph
    verify(found, Level.IMPORTED)
    return found


def image(height: int, width: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(height).normal(5, 3, (1, height, width, 4)).astype(F32)


def test_the_arithmetic_of_sizes_is_done_while_importing() -> None:
    found = made(graph(*FLAT))
    assert [str(n.type) for n in found.outputs] == ["float32[1, H*W, 4]"]
    assert found.output_names == ("y",)
    assert sorted(type(n.op).__name__ for n in found.nodes()) == ["Binary", "Constant", "Input", "Reshape"]


@pytest.mark.parametrize("size", [(3, 5), (7, 1)])
def test_the_meaning_is_that_of_the_format(size: tuple[int, int]) -> None:
    x = image(*size)
    result = run(made(graph(*FLAT)), {"x": x})["y"]
    np.testing.assert_array_equal(result, np.minimum(x.reshape(1, -1, 4), SIX))


def test_results_have_the_names_of_the_format() -> None:
    parts = graph(node("split", ["x"], "left", "right", axis=3, parts=2), outputs=("right", "left"))
    found = made(parts)
    assert found.output_names == ("right", "left")
    assert [n.name for n in found.outputs] == ["right", "left"]
    x = image(2, 3)
    np.testing.assert_array_equal(run(found, {"x": x})["right"], x[..., 2:])


def test_where_the_file_names_no_results_those_that_nobody_reads_are_taken() -> None:
    assert made(graph(*FLAT, outputs=())).output_names == ("y",)
    both = graph(node("split", ["x"], "left", "right", axis=3, parts=2), outputs=())
    assert made(both).output_names == ("left", "right")
    assert made(graph(*FLAT), outputs=("flat",)).output_names == ("flat",)


def test_named_sizes_are_one_and_the_same() -> None:
    two = graph(node("add", ["x", "z"], "y"), x=IMAGE, z=IMAGE)
    assert [str(n.type) for n in made(two).inputs] == ["float32[1, H, W, 4]"] * 2
    other = graph(node("add", ["x", "z"], "y"), x=IMAGE, z=("f32", ("batch", "rows", "width", 4)))
    with pytest.raises(GraphError, match="do not broadcast"):
        made(other)
    unnamed = graph(node("add", ["x", "z"], "y"), x=IMAGE, z=("f32", (-1, -1, -1, 4)))
    with pytest.raises(GraphError, match="do not broadcast"):
        made(unnamed)


def test_a_named_size_in_front_is_the_batch_wherever_it_stands() -> None:
    sized = graph(node("mul", ["x", "z"], "y"), x=IMAGE, z=("f32", ("width", "batch")))
    assert [str(n.type) for n in import_tiny(sized, batch_size=3, outputs=("x", "z")).graph.outputs] == [
        "float32[3, H, W, 4]",
        "float32[W, 3]",
    ]


def test_a_size_that_a_user_gives_counts_wherever_its_name_stands() -> None:
    two = graph(node("add", ["x", "z"], "y"), x=IMAGE, z=IMAGE)
    fixed = made(two, input_shapes={"z": (None, 8, None, 4)})
    assert [str(n.type) for n in fixed.inputs] == ["float32[1, 8, W, 4]"] * 2
    with pytest.raises(UsageError, match="calls two sizes 'height', and one is 8, the other 9"):
        made(two, input_shapes={"z": (None, 8, None, 4), "x": (None, 9, None, 4)})
    with pytest.raises(UsageError, match=r"does not fit the graph, where it is \?x\?x\?x4"):
        made(two, input_shapes={"z": (None, 8, None, 3)})


def test_named_sizes_of_nchw_images_take_the_symbols_of_images() -> None:
    found = made(graph(node("add", ["x", "x"], "y"), x=("f32", ("batch", 3, "p2o.DynamicDimension.0", "width"))))
    assert str(found.inputs[0].type) == "float32[1, 3, H, W]"


def test_all_nodes_that_are_not_supported_are_listed() -> None:
    nodes = [
        node("mystery", ["x"], "a"),
        node("negate", ["x"], "b", domain="other"),
        node("mirror", ["x"], "c"),
        node("negate", ["x"], "d", domain="extra"),
        node("mystery", ["a"], "e"),
        node("add", ["e", "b"], "f"),
        node("join", ["f", "c", "d"], "y"),
    ]
    with pytest.raises(UnsupportedGraphError) as caught:
        made(graph(*nodes, versions={"": 2, "extra": 7, "other": 9}))
    assert {(p.op, p.count, p.first_node, p.reason) for p in caught.value.problems} == {
        ("mystery", 2, "a", "operation not supported"),
        ("other.negate", 1, "b", "operation not supported"),
        ("mirror", 1, "c", "operation not supported as it was in version 2 of its set of operations"),
        ("extra.negate", 1, "d", "version 7 of its set of operations; versions up to 1 are known"),
    }


def test_an_operation_is_taken_as_its_version_says() -> None:
    old = graph(node("clip", ["x"], "y", note=b"any"), versions={"": 1})
    x = image(2, 2)
    np.testing.assert_array_equal(run(made(old), {"x": x})["y"], np.clip(x, 0, SIX))
    for version in (2, 3):
        new = graph(node("clip", ["x", "six"], "y"), versions={"": version})
        np.testing.assert_array_equal(run(made(new), {"x": x})["y"], np.maximum(x, SIX))


WRONG = [
    (node("clip", ["x", "six", "six", "six"], "y"), r"node 'y' \(clip\): clip takes 1 to 3 inputs, not 4"),
    (node("add", ["", "x"], "y"), r"node 'y' \(add\): add needs its input 0, which is left out"),
    (node("add", ["x", "six"], "y", type="f32"), r"node 'y' \(add\): attribute type holds 'nothing' where 'type' is"),
    (node("add", ["x", "six"], "y", type=Kind.I64), r"node 'y' \(add\): attribute type is i64, but input 0 is float32"),
    (node("split", ["x"], "y", parts=3, axis=3), r"node 'y' \(split\): .* does not split into 3 equal parts"),
    (node("split", ["x"], "y", parts=2.0), r"node 'y' \(split\): attribute parts holds 'f' where 'i' is expected"),
    (node("split", ["x"], "y"), r"node 'y' \(split\): attribute parts is missing"),
    (node("split", ["x"], "y", parts=2, axis=9), r"node 'y' \(split\): axis 9 is outside a tensor of 4 dimensions"),
]


@pytest.mark.parametrize(("wrong", "text"), WRONG)
def test_errors_say_where(wrong: Tiny, text: str) -> None:
    with pytest.raises(GraphError, match=text):
        made(graph(wrong))


def test_an_attribute_that_nobody_reads_is_not_passed_over() -> None:
    with pytest.raises(UnsupportedGraphError) as caught:
        made(graph(node("sizes", ["x"], "y", start=1)))
    assert [p.reason for p in caught.value.problems] == ["attribute 'start' is not understood"]


def test_a_type_that_the_ir_has_not_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnsupportedGraphError, match=r"type text(.|\n)*inputs of the graph are x text\["):
        made(graph(node("add", ["x", "x"], "y"), x=("text", (1, "n"))))


def test_limits_hold_for_every_format() -> None:
    with pytest.raises(GraphError, match="more nodes than the limit, 3"):
        made(graph(*FLAT), limits=GraphLimits(max_nodes=3))
    with pytest.raises(GraphError, match=r"node 'six' \(constant\): the constants up to this node take 4 bytes"):
        made(graph(*FLAT), limits=GraphLimits(max_constant_bytes=3))


def test_the_report_and_the_options_come_along() -> None:
    report = import_tiny(graph(*FLAT)).report
    assert dict(report.operations) == {
        "input": 1,
        "constant": 1,
        "sizes": 1,
        "split": 1,
        "mul": 1,
        "join": 1,
        "reshape": 1,
        "clip": 1,
    }
    assert [(i.name, i.type) for i in report.inputs] == [("x", "float32[1, H, W, 4]")]
    bound = import_tiny(graph(node("mul", ["x", "z"], "y"), x=IMAGE, z=("f32", ())), binds={"z": 2.0})
    x = image(2, 3)
    np.testing.assert_array_equal(run(bound.graph, {"x": x})["y"], 2 * x)
    cut = import_tiny(graph(*FLAT), inputs=("flat",))
    assert [n.name for n in cut.graph.inputs] == ["flat"]
    assert cut.report.before_inputs.count == 6
    with pytest.raises(UsageError, match="the graph has no node for the tensor 'flot:0'; the nearest names are 'flat'"):
        made(graph(*FLAT), outputs=("flot:0",))


def test_a_cycle_is_an_error() -> None:
    with pytest.raises(GraphError, match="depends on itself"):
        made(graph(node("add", ["x", "b"], "a"), node("add", ["x", "a"], "b"), node("add", ["a", "b"], "y")))


def test_two_handlers_for_one_version_and_unknown_versions_are_mistakes_of_ours() -> None:
    table: OpTable[TinyAttributes] = OpTable({"": 2})
    handler = TABLE.entries()[0].handler
    table.op("one", inputs=1)(handler)
    table.op("one", inputs=1, since=2)(handler)
    with pytest.raises(CompilerError, match="two handlers for one"):
        table.op("one", inputs=1, since=2)(handler)
    for place in ({"since": 3}, {"since": 0}, {"domain": "other"}):
        with pytest.raises(CompilerError, match="of the set of operations of two"):
            table.op("two", inputs=1, **place)(handler)
    assert [(e.name, e.since) for e in table.entries()] == [("one", 1), ("one", 2)]


def test_an_operation_is_refused_for_a_reason_or_has_a_handler() -> None:
    table: OpTable[TinyAttributes] = OpTable({"": 2})
    table.op("one", inputs=1)(lambda ctx: ctx.value(0))
    table.refuse("other", "third", reason="it never ends")
    assert dict(table.refused()) == {("", "other"): "it never ends", ("", "third"): "it never ends"}
    for names in (("one",), ("other",)):
        with pytest.raises(CompilerError, match=f"{names[0]} is refused"):
            table.refuse(*names, reason="again")
    with pytest.raises(CompilerError, match="other has a handler and is refused"):
        table.op("other", inputs=1)(lambda ctx: ctx.value(0))


def test_a_node_belongs_to_its_value_and_not_to_a_place_in_memory() -> None:
    walk = Evaluation(read(graph(*FLAT), DEFAULT_LIMITS), InputRule((), {}, 1, {}), 1 << 20)
    gc.disable()
    try:
        for number in range(200):
            sym = make([number], ())
            value = Value(TensorType(DType.INT32, ()), f"v{number}", sym=sym)
            assert walk.node_of(value).name == f"v{number}"
            del value
    finally:
        gc.enable()
