"""Graphs from strangers: bombs, broken edges, lies about sizes.  Each is refused by name, fast, in little memory."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from fuzz.attempts import refusal
from fuzz.bombs import BOMBS, F32, I32, LARGEST_FILE, LEGAL_SPLATS, bomb, small_bombs, unsupported
from graph_builder import GraphBuilder
from smalti.errors import GraphError, SmaltiError, UnsupportedGraphError
from smalti.frontend.tensorflow.importer import ImportOptions, import_graph
from smalti.frontend.tensorflow.tensors import TfType
from smalti.ir import ops


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_refused(name: str) -> None:
    text = refusal(lambda data: import_graph(data, ImportOptions(outputs=("y",))), bomb(BOMBS[name]), 1.0)
    assert len(text) < 2000
    assert re.search(r"'|node number|constants|  y: ", text), text


def test_there_are_enough_bombs_and_they_are_small() -> None:
    assert len(BOMBS) >= 90
    found = small_bombs()
    assert len(found) == len(BOMBS) - 2, "only a long name and 255 dimensions need more"
    assert max(len(data) for data in found.values()) <= LARGEST_FILE


@pytest.mark.parametrize(("kind", "shape", "fields", "expected"), LEGAL_SPLATS)
def test_legal_encodings(kind: TfType, shape: list[int], fields: dict[str, Any], expected: Any) -> None:
    builder = GraphBuilder().raw_const("c", kind, shape, **fields)
    node = import_graph(builder.bytes(), ImportOptions(outputs=("c",))).graph.outputs[0]
    if kind is TfType.BFLOAT16:
        assert isinstance(node.op, ops.Cast)
        node = node.inputs[0]
        expected = np.full(2, 1.5, F32)
    assert isinstance(node.op, ops.Constant)
    assert node.op.value.dtype == expected.dtype
    assert np.array_equal(node.op.value, expected)
    assert not node.op.value.flags.writeable


@pytest.mark.parametrize("data", [b"", b"\0", b"GARBAGE!" * 10, b"\x0a\xff\xff\xff\xff\x0f", b"\x08\x01"])
def test_not_a_graph(data: bytes) -> None:
    with pytest.raises(GraphError, match="not a TensorFlow GraphDef"):
        import_graph(data)


def test_one_error_lists_25_kinds_of_unsupported_nodes() -> None:
    with pytest.raises(UnsupportedGraphError) as caught:
        import_graph(unsupported())
    problems = caught.value.problems
    assert len(problems) == 25
    found = {p.op: p for p in problems}
    assert all((found[f"Mystery{i}"].count, found[f"Mystery{i}"].first_node) == (2, f"m{i}") for i in range(20))
    assert "is_training" in found["FusedBatchNormV3"].reason
    assert "data_format" in found["BiasAdd"].reason
    assert "colour" in found["Relu"].reason
    assert "complex64" in found["Cast"].reason
    assert "ksize" in found["MaxPool"].reason
    text = str(caught.value)
    assert all(p.first_node in text for p in problems)
    assert len(json.loads(json.dumps([asdict(p) for p in problems]))) == 25


@pytest.mark.parametrize(
    ("op", "second"), [("Mul", "self"), ("FloorDiv", "two"), ("AddV2", "self"), ("Sub", "two"), ("Maximum", "two")]
)
def test_chains_of_size_arithmetic_end_soon(op: str, second: str) -> None:
    builder = GraphBuilder().placeholder("x", F32, [1, None, None, 3]).node("Shape", "n0", ["x"]).const("two", I32(2))
    for i in range(5000):
        builder.node(op, f"n{i + 1}", [f"n{i}", "n0" if second == "self" else second])
    begin = time.process_time()
    try:
        import_graph(builder.bytes())
    except GraphError as error:
        assert "too complicated" in str(error)
    assert time.process_time() - begin < 5


def test_halving_an_image_very_often_is_refused() -> None:
    builder = GraphBuilder().placeholder("n0", F32, [1, None, None, 3])
    for i in range(2000):
        builder.node("MaxPool", f"n{i + 1}", [f"n{i}"], ksize=[1, 3, 3, 1], strides=[1, 2, 3, 1], padding="VALID")
    with pytest.raises(SmaltiError, match="too complicated"):
        import_graph(builder.bytes())


def test_loops_of_tensorflow_1_are_unsupported_not_a_cycle() -> None:
    builder = GraphBuilder().placeholder("x", F32, [3])
    builder.node("Enter", "enter", ["x"]).node("Merge", "merge", ["enter", "next"], N=2)
    builder.node("LoopCond", "cond", ["merge"]).node("Switch", "switch", ["merge", "cond"])
    builder.node("Relu", "body", ["switch:1"]).node("NextIteration", "next", ["body"]).node("Exit", "exit", ["switch"])
    with pytest.raises(UnsupportedGraphError) as caught:
        import_graph(builder.bytes(), ImportOptions(outputs=("exit",)))
    assert {p.op for p in caught.value.problems} >= {"Enter", "LoopCond", "Exit"}
