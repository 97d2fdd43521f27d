"""ONNX's wire format: the few messages that an inference model is made of.

They are declared here through protobuf descriptors, with the field numbers of ONNX's public ``onnx.proto``.  What says
nothing about the numbers that come out is left out: documentation, metadata, training, hints about devices and about
the shapes between nodes.  :mod:`smalti.frontend.onnx.wire.skeleton` drops those fields before anything is parsed, and
with them every field that this version does not know.
"""

from __future__ import annotations

from dataclasses import dataclass

from smalti.frontend.descriptors import FieldType, message_classes

VARINT, I64, BYTES, I32 = 0, 1, 2, 5
_SCALARS = {
    "int32": (FieldType.TYPE_INT32, VARINT),
    "int64": (FieldType.TYPE_INT64, VARINT),
    "uint64": (FieldType.TYPE_UINT64, VARINT),
    "float": (FieldType.TYPE_FLOAT, I32),
    "double": (FieldType.TYPE_DOUBLE, I64),
    "bytes": (FieldType.TYPE_BYTES, BYTES),
    # Only whether it is there matters: its content is not kept.
    "mark": (FieldType.TYPE_BYTES, BYTES),
}
CUT = 1000
"""A field of ours in a tensor: where values stand in the file (``Cut``)."""


@dataclass(frozen=True, slots=True)
class FieldRule:
    """A field: name, number, type (a scalar's or a message's name), how often; ``values``: elements of a tensor."""

    name: str
    number: int
    kind: str
    repeated: bool = False
    values: bool = False


def _one(name: str, number: int, kind: str) -> FieldRule:
    return FieldRule(name, number, kind)


def _many(name: str, number: int, kind: str) -> FieldRule:
    return FieldRule(name, number, kind, repeated=True)


def _values(name: str, number: int, kind: str) -> FieldRule:
    return FieldRule(name, number, kind, repeated=kind != "bytes", values=True)


# Names are bytes on purpose: one that is not UTF-8 must reach our own error message instead of failing in the parser.
MESSAGES: dict[str, tuple[FieldRule, ...]] = {
    "Entry": (_one("key", 1, "bytes"), _one("value", 2, "bytes")),
    "Cut": (_one("field", 1, "int32"), _one("start", 2, "uint64"), _one("length", 3, "uint64")),
    "Tensor": (
        _many("dims", 1, "int64"),
        _one("data_type", 2, "int32"),
        _one("segment", 3, "mark"),
        _values("float_data", 4, "float"),
        _values("int32_data", 5, "int32"),
        _values("int64_data", 7, "int64"),
        _one("name", 8, "bytes"),
        _values("raw_data", 9, "bytes"),
        _values("double_data", 10, "double"),
        _values("uint64_data", 11, "uint64"),
        _many("external_data", 13, "Entry"),
        _one("data_location", 14, "int32"),
        _many("cut", CUT, "Cut"),
    ),
    "Sparse": (_one("values", 1, "Tensor"), _one("indices", 2, "Tensor"), _many("dims", 3, "int64")),
    "Dim": (_one("dim_value", 1, "int64"), _one("dim_param", 2, "bytes")),
    "Shape": (_many("dim", 1, "Dim"),),
    "TensorType": (_one("elem_type", 1, "int32"), _one("shape", 2, "Shape")),
    "Type": (
        _one("tensor_type", 1, "TensorType"),
        _one("sequence_type", 4, "mark"),
        _one("map_type", 5, "mark"),
        _one("opaque_type", 7, "mark"),
        _one("sparse_tensor_type", 8, "mark"),
        _one("optional_type", 9, "mark"),
    ),
    "Value": (_one("name", 1, "bytes"), _one("type", 2, "Type")),
    "Attribute": (
        _one("name", 1, "bytes"),
        _one("f", 2, "float"),
        _one("i", 3, "int64"),
        _one("s", 4, "bytes"),
        _one("t", 5, "Tensor"),
        _one("g", 6, "Graph"),
        _many("floats", 7, "float"),
        _many("ints", 8, "int64"),
        _many("strings", 9, "bytes"),
        _many("tensors", 10, "Tensor"),
        _many("graphs", 11, "Graph"),
        _one("tp", 14, "Type"),
        _many("type_protos", 15, "Type"),
        _one("type", 20, "int32"),
        _one("ref_attr_name", 21, "bytes"),
        _one("sparse_tensor", 22, "Sparse"),
        _many("sparse_tensors", 23, "Sparse"),
    ),
    "Node": (
        _many("input", 1, "bytes"),
        _many("output", 2, "bytes"),
        _one("name", 3, "bytes"),
        _one("op_type", 4, "bytes"),
        _many("attribute", 5, "Attribute"),
        _one("domain", 7, "bytes"),
        _one("overload", 8, "bytes"),
    ),
    "Graph": (
        _many("node", 1, "Node"),
        _many("initializer", 5, "Tensor"),
        _many("input", 11, "Value"),
        _many("output", 12, "Value"),
        _many("sparse_initializer", 15, "Sparse"),
    ),
    "Opset": (_one("domain", 1, "bytes"), _one("version", 2, "int64")),
    "Function": (
        _one("name", 1, "bytes"),
        _many("input", 4, "bytes"),
        _many("output", 5, "bytes"),
        _many("attribute", 6, "bytes"),
        _many("node", 7, "Node"),
        _many("opset_import", 9, "Opset"),
        _one("domain", 10, "bytes"),
        _many("attribute_proto", 11, "Attribute"),
        _one("overload", 13, "bytes"),
    ),
    "Model": (
        _one("ir_version", 1, "int64"),
        _one("producer_name", 2, "bytes"),
        _one("producer_version", 3, "bytes"),
        _one("graph", 7, "Graph"),
        _many("opset_import", 8, "Opset"),
        _many("functions", 25, "Function"),
    ),
}


def wire_of(kind: str) -> int:
    """Return the wire type of one value of a field."""
    return _SCALARS[kind][1] if kind in _SCALARS else BYTES


_CLASSES = message_classes(
    "smalti.onnx",
    {name: [(r.name, r.number, r.kind, r.repeated) for r in rules] for name, rules in MESSAGES.items()},
    {kind: number for kind, (number, _) in _SCALARS.items()},
)
Model = _CLASSES["Model"]
Attribute = _CLASSES["Attribute"]
