"""What the onnx package reads of a file is what our reader reads: real networks and models of every kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from fuzz import onnx_models
from fuzz.mutants import byte_mutant
from onnx_versions import undeclared
from shared_data import shared_dir
from smalti.errors import GraphError
from smalti.frontend.onnx.attrs import AttrReader
from smalti.frontend.onnx.constants import constant_value
from smalti.frontend.onnx.graph import OnnxGraph
from smalti.frontend.onnx.handlers import TABLE
from smalti.frontend.onnx.nodes import OnnxNode
from smalti.frontend.onnx.opsets import NEWEST, NEWEST_IR
from smalti.frontend.onnx.reader import read_model
from smalti.frontend.onnx.wire.types import AttrKind, OnnxType
from smalti.frontend.raw import Role
from smalti.frontend.table import OpTable

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
LIMIT = 1 << 30
NAMES = (
    "deeplab_mnv2_dm05_portrait_nchw",
    "deeplabv3_mnv2_voc_257_tf2onnx",
    "fastestdet",
    "light_shufflenet",
    "mediapipe_selfie_segmentation",
    "nms_yolov8_post",
    "prisma_net_portrait_nchw",
    "rfb320_face",
    "sinet_portrait_softmax",
    "yunet_120x160",
)


def wild(name: str) -> Path:
    path = shared_dir() / "wild" / "onnx" / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(f"{name}.onnx is not on this machine")
    return path


def bits(array: Any, element_type: int) -> bytes:
    """Return the bytes of an array as we hold it: bfloat16 as float32."""
    if element_type == onnx.TensorProto.BFLOAT16:
        return (array.view(np.uint16).astype(np.uint32) << 16).tobytes()
    return bytes(np.ascontiguousarray(array).tobytes())


def same_attribute(node: OnnxNode, theirs: Any) -> None:
    """Compare an attribute with what the onnx package says of it."""
    attrs, name, want = AttrReader(node.held), theirs.name, onnx.helper.get_attribute_value(theirs)
    kind = node.held[name].kind
    assert kind.number == theirs.type
    if kind is AttrKind.TENSOR:
        tensor = attrs.tensor(name)
        assert (tensor.kind.value, tensor.shape) == (want.data_type, tuple(want.dims))
        assert tensor.decode(LIMIT).tobytes() == bits(onnx.numpy_helper.to_array(want), want.data_type)
    elif kind is AttrKind.STRING:
        assert attrs.text(name) == want.decode()
    elif kind is AttrKind.STRINGS:
        assert attrs.texts(name) == tuple(text.decode() for text in want)
    elif kind is AttrKind.GRAPH:
        assert len(attrs.body(name).outputs) == len(want.output)
    else:
        read = {
            AttrKind.INT: attrs.integer,
            AttrKind.FLOAT: attrs.number,
            AttrKind.INTS: attrs.ints,
            AttrKind.FLOATS: attrs.numbers,
        }
        found = read[kind](name)
        assert found == (tuple(want) if isinstance(want, list) else want)


def same(graph: OnnxGraph, model: Any) -> None:
    """Compare a table with a model of the onnx package that has no functions and no bodies."""
    theirs = model.graph
    held = {i.name for i in theirs.initializer}
    inputs = [n for n in graph.nodes if n.role is Role.INPUT]
    assert [n.name for n in inputs] == [i.name for i in theirs.input if i.name not in held]
    for mine, want in zip(inputs, (i for i in theirs.input if i.name not in held), strict=True):
        given = mine.given
        assert given is not None and given.kind is not None and given.shape is not None
        assert given.kind.value == want.type.tensor_type.elem_type
        for size, dim in zip(given.shape, want.type.tensor_type.shape.dim, strict=True):
            if dim.dim_value > 0 or dim.dim_param not in ("", "None"):
                assert size == (dim.dim_param or dim.dim_value)
            else:
                assert size is None
    assert [o.name for o in graph.results] == [o.name for o in theirs.output]
    constants = {n.outputs[0]: n for n in graph.nodes if n.op == "Constant" and n.outputs[0] in held}
    assert len(constants) == len(theirs.initializer)
    for want in theirs.initializer:
        tensor = graph.attributes(constants[want.name]).tensor("value")
        assert tensor.kind.value == want.data_type
        array = tensor.decode(LIMIT)
        assert array.shape == tuple(want.dims)
        assert array.tobytes() == bits(onnx.numpy_helper.to_array(want), want.data_type)
    nodes = [n for n in graph.nodes if n.role is not Role.INPUT and n.outputs[0] not in held]
    assert len(nodes) == len(theirs.node) == graph.nodes_in_file
    by_output = {n.outputs[0]: n for n in nodes}
    for want in theirs.node:
        node = by_output[want.output[0]]
        assert (node.op, node.domain, node.outputs) == (want.op_type, want.domain, tuple(want.output))
        assert node.name.startswith(want.name or want.output[0])
        names = ["" if edge is None else graph.name_of(edge) for edge in node.inputs]
        assert names == list(want.input)[: len(names)] and not any(list(want.input)[len(names) :])
        assert set(node.held) == {a.name for a in want.attribute}
        for attribute in want.attribute:
            same_attribute(node, attribute)
    assert graph.opsets == {o.domain: o.version for o in model.opset_import}


@pytest.mark.parametrize("name", NAMES)
def test_real_networks_are_read_whole(name: str) -> None:
    path = wild(name)
    same(read_model(path), onnx.load(path))


def test_the_newest_that_is_read_is_the_newest_there_is() -> None:
    assert onnx.defs.onnx_opset_version() >= NEWEST - 3
    known = {number for number in onnx.TensorProto.DataType.values() if number}
    assert known <= {kind.value for kind in OnnxType}
    assert onnx.IR_VERSION <= NEWEST_IR or onnx.defs.onnx_opset_version() > NEWEST
    assert set(onnx.AttributeProto.AttributeType.values()) - {0} == {kind.number for kind in AttrKind}


def test_handlers_name_every_change_of_their_operation() -> None:
    assert undeclared(TABLE.entries(), onnx.defs.get_all_schemas_with_history()) == []


@pytest.mark.parametrize(
    ("since", "wrong"),
    [
        ((6, 13, 14), []),
        ((13, 14), []),
        ((6, 14), ["Relu changed in version 13, which no handler names"]),
        ((6, 13, 14, 17), ["Relu did not change in version 17"]),
        ((1,), [f"Relu changed in version {v}, which no handler names" for v in (6, 13, 14)]),
    ],
)
def test_a_change_that_is_not_named_is_seen(since: tuple[int, ...], wrong: list[str]) -> None:
    table: OpTable[AttrReader] = OpTable({"": NEWEST})
    for version in since:
        table.op("Relu", inputs=1, since=version)(lambda ctx: ctx.inputs[0])
    assert undeclared(table.entries(), onnx.defs.get_all_schemas_with_history()) == wrong


def helper_models() -> Iterator[tuple[str, Any]]:
    """Yield models that the helpers of the onnx package make."""
    helper, proto = onnx.helper, onnx.TensorProto
    x = helper.make_tensor_value_info("x", proto.FLOAT, ["batch", 3, None, "width"])
    y = helper.make_tensor_value_info("y", proto.FLOAT, None)
    tensors = []
    for label, kind in (("f", proto.FLOAT), ("d", proto.DOUBLE), ("h", proto.FLOAT16), ("b", proto.BFLOAT16)):
        tensors.append(helper.make_tensor(label, kind, [2, 2], [1.5, -2.0, 0.0, 1e-3]))
    for kind in (proto.INT8, proto.UINT8, proto.INT16, proto.UINT16, proto.INT32, proto.UINT32, proto.INT64):
        tensors.append(helper.make_tensor(f"i{kind}", kind, [3], [1, 0, 100]))
    tensors.append(helper.make_tensor("n", proto.INT64, [3], [-1, -(1 << 63), (1 << 63) - 1]))
    tensors.append(helper.make_tensor("u", proto.UINT64, [2], [1, (1 << 64) - 1]))
    tensors.append(helper.make_tensor("t", proto.BOOL, [3], [True, False, True]))
    tensors.append(onnx.numpy_helper.from_array(np.array([np.nan, np.inf, -0.0], np.float32), "raw"))
    node = helper.make_node("Op", ["x", "", "f"], ["y"], name="op", i=3, f=0.5, s="text", ints=[1, 2], floats=[0.25])
    node.attribute.append(helper.make_attribute("strings", ["a", "b"]))
    node.attribute.append(helper.make_attribute("tensor", tensors[0]))
    yield "everything", helper.make_model(helper.make_graph([node], "g", [x], [y], tensors), ir_version=NEWEST_IR)
    chain = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Custom", ["a"], ["y"], domain="com.microsoft")]
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    yield "domains", helper.make_model(helper.make_graph(chain, "g", [x], [y]), opset_imports=opsets, ir_version=7)


@pytest.mark.parametrize("model", [pytest.param(model, id=name) for name, model in helper_models()])
def test_models_of_the_helpers(model: Any) -> None:
    graph = read_model(model.SerializeToString())
    same(graph, model)
    assert len(graph.nodes) > 2


def test_a_function_is_inlined_as_the_onnx_package_does_it() -> None:
    inliner = pytest.importorskip("onnx.inliner", reason="this onnx package has no inliner")
    text = """
        <ir_version: 9, opset_import: ["" : 17, "local" : 1]>
        agraph (float[N, 3] x) => (float[N, 3] y)
        {
            a = local.Double <scale: float = 3.0> (x)
            y = local.Double (a)
        }
        <opset_import: ["" : 17], domain: "local">
        Double <scale: float = 2.0> (v) => (w)
        {
            k = Constant <value_float: float = @scale> ()
            m = local.Inner (v)
            w = Mul (m, k)
        }
        <opset_import: ["" : 17], domain: "local">
        Inner (v) => (w)
        {
            n = Neg (v)
            w = Relu (n)
        }
    """
    model = onnx.parser.parse_model(text)
    graph = read_model(model.SerializeToString())
    theirs = inliner.inline_local_functions(model).graph.node
    mine = [n for n in graph.nodes if n.role is not Role.INPUT]
    assert Counter(n.op for n in mine) == Counter(n.op_type for n in theirs)
    values = [float(constant_value(graph.attributes(n), 100, 100).array) for n in mine if n.op == "Constant"]
    assert values == [3.0, 2.0]


def test_external_data_of_the_onnx_package(tmp_path: Path) -> None:
    helper = onnx.helper
    tensors = [onnx.numpy_helper.from_array(np.full((50, 7 + i), i, np.float32), f"k{i}") for i in range(5)]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    nodes = [helper.make_node("Sum", ["x", *(t.name for t in tensors)], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [helper.make_empty_tensor_value_info("y")], tensors))
    model.ir_version = min(model.ir_version, NEWEST_IR)
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    assert (tmp_path / "net.onnx.data").stat().st_size >= 5 * 50 * 7 * 4
    graph = read_model(tmp_path / "net.onnx")
    found = {n.name: graph.attributes(n).tensor("value").decode(LIMIT) for n in graph.nodes if n.op == "Constant"}
    assert {name: (a.shape, float(a.min()), float(a.max())) for name, a in found.items()} == {
        f"k{i}": ((50, 7 + i), i, i) for i in range(5)
    }


def test_mutants_that_both_read_have_the_same_operations() -> None:
    """Whatever was changed in a model, what our reader takes is what the onnx package sees in it."""
    pool = (onnx_models.network(), onnx_models.constants())
    compared = 0
    for number in range(400):
        data = byte_mutant(9, number, pool) if number % 2 else onnx_models.structured_mutant(9, number * 5).data
        try:
            graph, model = read_model(data), onnx.ModelProto.FromString(data)
        except (GraphError, DecodeError):
            continue
        if any(a.HasField("g") for n in model.graph.node for a in n.attribute) or model.functions:
            continue
        held = {t.name for t in model.graph.initializer} | {t.values.name for t in model.graph.sparse_initializer}
        mine = [n for n in graph.nodes if n.role is not Role.INPUT and n.outputs and n.outputs[0] not in held]
        theirs = [n for n in model.graph.node if n.output]
        assert sorted(n.op for n in mine) == sorted(n.op_type for n in theirs), number
        compared += 1
    assert compared > 50
