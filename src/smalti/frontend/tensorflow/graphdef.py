"""GraphDef wire format: the few TensorFlow messages a frozen graph is made of.

The messages are declared here through protobuf descriptors, with the field numbers of TensorFlow's public
``graph.proto``, ``node_def.proto``, ``attr_value.proto``, ``tensor.proto`` and ``tensor_shape.proto``.  Fields that a
frozen graph does not need are left out and skipped by the parser, so they cannot add recursion or memory: of a
function-valued attribute the name is kept, and the functions of the library stay bytes until one is called.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from smalti.errors import GraphError
from smalti.frontend.budget import DEFAULT_LIMITS, GraphLimits
from smalti.frontend.descriptors import FieldType, message_classes
from smalti.frontend.recognise import GRAPH_DEF, recognise_bytes

_NODE_TAG = 10
_WANTED = "give a frozen GraphDef (.pb)"
_WIRE_VARINT, _WIRE_BYTES = 0, 2
_WIRE_SIZES = {1: 8, 3: 0, 4: 0, 5: 4}

_SCALARS = {
    "int32": FieldType.TYPE_INT32,
    "int64": FieldType.TYPE_INT64,
    "uint32": FieldType.TYPE_UINT32,
    "uint64": FieldType.TYPE_UINT64,
    "bool": FieldType.TYPE_BOOL,
    "float": FieldType.TYPE_FLOAT,
    "double": FieldType.TYPE_DOUBLE,
    "bytes": FieldType.TYPE_BYTES,
}
# message -> (field, number, type, repeated).  Names are bytes on purpose: a name that is not UTF-8 must reach our own
# error message instead of failing inside the parser.
_MESSAGES: dict[str, tuple[tuple[str, int, str, bool], ...]] = {
    "Dim": (("size", 1, "int64", False), ("name", 2, "bytes", False)),
    "Shape": (("dim", 2, "Dim", True), ("unknown_rank", 3, "bool", False)),
    "Tensor": (
        ("dtype", 1, "int32", False),
        ("tensor_shape", 2, "Shape", False),
        ("tensor_content", 4, "bytes", False),
        ("float_val", 5, "float", True),
        ("double_val", 6, "double", True),
        ("int_val", 7, "int32", True),
        ("string_val", 8, "bytes", True),
        ("int64_val", 10, "int64", True),
        ("bool_val", 11, "bool", True),
        ("half_val", 13, "int32", True),
        ("uint32_val", 16, "uint32", True),
        ("uint64_val", 17, "uint64", True),
    ),
    "ListValue": (
        ("s", 2, "bytes", True),
        ("i", 3, "int64", True),
        ("f", 4, "float", True),
        ("b", 5, "bool", True),
        ("type", 6, "int32", True),
        ("shape", 7, "Shape", True),
        ("tensor", 8, "Tensor", True),
    ),
    "AttrValue": (
        ("list", 1, "ListValue", False),
        ("s", 2, "bytes", False),
        ("i", 3, "int64", False),
        ("f", 4, "float", False),
        ("b", 5, "bool", False),
        ("type", 6, "int32", False),
        ("shape", 7, "Shape", False),
        ("tensor", 8, "Tensor", False),
        ("placeholder", 9, "bytes", False),
        ("func", 10, "FunctionName", False),
    ),
    "FunctionName": (("name", 1, "bytes", False),),
    "AttrEntry": (("key", 1, "bytes", False), ("value", 2, "AttrValue", False)),
    "NodeDef": (
        ("name", 1, "bytes", False),
        ("op", 2, "bytes", False),
        ("input", 3, "bytes", True),
        ("device", 4, "bytes", False),
        ("attr", 5, "AttrEntry", True),
    ),
    "Library": (("function", 1, "bytes", True),),
    "Argument": (
        ("name", 1, "bytes", False),
        ("number_attr", 5, "bytes", False),
        ("type_list_attr", 6, "bytes", False),
    ),
    "Signature": (("name", 1, "bytes", False), ("input_arg", 2, "Argument", True), ("output_arg", 3, "Argument", True)),
    "FunctionHead": (("signature", 1, "FunctionName", False),),
    "ReturnEntry": (("key", 1, "bytes", False), ("value", 2, "bytes", False)),
    "FunctionDef": (
        ("signature", 1, "Signature", False),
        ("node_def", 3, "NodeDef", True),
        ("ret", 4, "ReturnEntry", True),
    ),
    "GraphDef": (("node", 1, "NodeDef", True), ("library", 2, "Library", False)),
}

_CLASSES = message_classes("smalti.tf", _MESSAGES, _SCALARS)
GraphDef = _CLASSES["GraphDef"]
NodeDef = _CLASSES["NodeDef"]
FunctionDef = _CLASSES["FunctionDef"]
FunctionHead = _CLASSES["FunctionHead"]
"""A function of which only the name is read."""


def parse_graph_def(data: bytes, limits: GraphLimits = DEFAULT_LIMITS) -> Any:
    """Parse GraphDef bytes.

    Args:
        data: serialised ``tensorflow.GraphDef``.
        limits: how many bytes and nodes it may have.

    Returns:
        The message; ``message.node`` is the list of nodes.

    Raises:
        GraphError: the bytes are not a GraphDef, or a limit is exceeded.
    """
    known = recognise_bytes(data)
    if known is not None and known.name != GRAPH_DEF:
        raise GraphError(f"not a TensorFlow GraphDef, but {known.advice or 'an ONNX model'}")
    if len(data) > limits.max_bytes:
        raise GraphError(f"the graph has {len(data)} bytes; the limit is {limits.max_bytes} (--max-graph-bytes)")
    if has_more_nodes(data, limits.max_nodes):
        raise GraphError(f"the graph has more nodes than the limit, {limits.max_nodes} (--max-graph-nodes)")
    graph = GraphDef()
    try:
        graph.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        raise GraphError(
            "not a TensorFlow GraphDef: the bytes do not parse as protobuf; give a frozen GraphDef (.pb)"
        ) from error
    if not graph.node:
        raise GraphError(f"not a TensorFlow GraphDef: it holds no nodes; {_WANTED}")
    if len(graph.node) > limits.max_nodes:
        raise GraphError(f"the graph has more nodes than the limit, {limits.max_nodes} (--max-graph-nodes)")
    return graph


def has_more_nodes(data: bytes, limit: int, node_tag: int = _NODE_TAG) -> bool:
    """Return whether bytes hold more than ``limit`` nodes, without parsing any: a parsed node takes 30 times its bytes.

    ``node_tag`` is what stands before a node, of a GraphDef or of a function.  Bytes that are no protobuf count as few
    nodes; the parser refuses them.
    """
    if len(data) <= 2 * limit:
        return False
    count = at = 0
    while at < len(data) and count <= limit:
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire in (_WIRE_VARINT, _WIRE_BYTES):
            length, at = _varint(data, at)
            at += length if wire == _WIRE_BYTES else 0
        elif wire in _WIRE_SIZES:
            at += _WIRE_SIZES[wire]
        else:
            return False
        count += tag == node_tag
    return count > limit


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number and the position behind it; at the end of the data, what there is."""
    value = 0
    for shift, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value, at + shift + 1
    return value, len(data)
