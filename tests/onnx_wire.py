"""Writes ONNX models for tests, field by field, so that they may lie: without the onnx package.

::

    data = model(
        graph(
            [node("Relu", ["x"], ["y"])],
            inputs=[value("x", FLOAT, [1, 3, "height", "width"])],
            outputs=[value("y", FLOAT, [1, 3, "height", "width"])],
        )
    )
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from smalti.frontend.onnx.wire.types import AttrKind, OnnxType

FLOAT, INT64 = OnnxType.FLOAT.value, OnnxType.INT64.value
Size = int | str | None
KINDS = {
    "float32": OnnxType.FLOAT,
    "float64": OnnxType.DOUBLE,
    **{kind.label: kind for kind in OnnxType},
}


def varint(value: int) -> bytes:
    """Return a number as protobuf writes it; negative ones in ten bytes."""
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def number(field: int, value: int) -> bytes:
    """Return a field that is a number."""
    return varint(field << 3) + varint(value)


def body(field: int, data: bytes | str) -> bytes:
    """Return a field of bytes: a text, a message, a packed list."""
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def packed(field: int, values: Iterable[int]) -> bytes:
    """Return a packed list of numbers."""
    return body(field, b"".join(varint(v) for v in values))


def float32(field: int, value: float) -> bytes:
    """Return a field that is a float32."""
    return varint(field << 3 | 5) + struct.pack("<f", value)


def tensor(name: str = "", kind: int = FLOAT, dims: Sequence[int] = (), *fields: bytes) -> bytes:
    """Return a ``TensorProto`` with the given fields for its values."""
    return packed(1, dims) * bool(dims) + number(2, kind) + body(8, name) * bool(name) + b"".join(fields)


def raw(data: bytes) -> bytes:
    """Return the field ``raw_data``."""
    return body(9, data)


def array(name: str, values: Any, dtype: Any = None) -> bytes:
    """Return a ``TensorProto`` with the values of an array as raw bytes."""
    made = np.asarray(values, dtype)
    return tensor(name, KINDS[made.dtype.name].value, made.shape, raw(made.tobytes()))


def external(name: str, kind: int, dims: Sequence[int], **entries: str | bytes) -> bytes:
    """Return a ``TensorProto`` whose values are in a second file."""
    keys = b"".join(body(13, body(1, key) + body(2, text)) for key, text in entries.items())
    return tensor(name, kind, dims, keys, number(14, 1))


def sparse(values: bytes, indices: bytes, dims: Sequence[int]) -> bytes:
    """Return a ``SparseTensorProto``."""
    return body(1, values) + body(2, indices) + packed(3, dims)


def shape(sizes: Sequence[Size]) -> bytes:
    """Return a ``TensorShapeProto``."""
    return b"".join(
        body(1, body(2, size) if isinstance(size, str) else b"" if size is None else number(1, size)) for size in sizes
    )


def value(name: str, kind: int | None = FLOAT, sizes: Sequence[Size] | None = None, other: bytes = b"") -> bytes:
    """Return a ``ValueInfoProto`` of a tensor, or with another ``TypeProto``."""
    made = b"" if kind is None else number(1, kind)
    made += b"" if sizes is None else body(2, shape(sizes))
    return body(1, name) + body(2, other or body(1, made))


def attribute(name: str, held: Any, kind: AttrKind | int | None = None) -> bytes:
    """Return an ``AttributeProto``; bytes are tensors unless the kind says otherwise."""
    fields: bytes
    if isinstance(held, bool | int):
        guess, fields = AttrKind.INT, number(3, int(held))
    elif isinstance(held, float):
        guess, fields = AttrKind.FLOAT, float32(2, held)
    elif isinstance(held, str):
        guess, fields = AttrKind.STRING, body(4, held)
    elif isinstance(held, bytes):
        numbers = {AttrKind.GRAPH: 6, AttrKind.SPARSE_TENSOR: 22, AttrKind.TYPE_PROTO: 14, AttrKind.STRING: 4}
        guess = kind if isinstance(kind, AttrKind) else AttrKind.TENSOR
        fields = body(numbers.get(guess, 5), held)
    elif held and isinstance(held[0], float):
        guess, fields = AttrKind.FLOATS, body(7, struct.pack(f"<{len(held)}f", *held))
    elif held and isinstance(held[0], str):
        guess, fields = AttrKind.STRINGS, b"".join(body(9, text) for text in held)
    else:
        guess, fields = AttrKind.INTS, packed(8, held)
    stated = guess if kind is None else kind
    return body(1, name) + fields + number(20, stated if isinstance(stated, int) else stated.number)


def reference(name: str, to: str, kind: AttrKind = AttrKind.INT) -> bytes:
    """Return an attribute that is one of the function's call."""
    return body(1, name) + body(21, to) + number(20, kind.number)


def node(
    op: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    name: str = "",
    domain: str = "",
    fields: Sequence[bytes] = (),
    **attributes: Any,
) -> bytes:
    """Return a ``NodeProto``; ``fields`` are attributes that are made already."""
    made = b"".join(body(1, text) for text in inputs) + b"".join(body(2, text) for text in outputs)
    made += body(3, name) * bool(name) + body(4, op) + body(7, domain) * bool(domain)
    made += b"".join(body(5, held) for held in fields)
    return made + b"".join(body(5, attribute(key, held)) for key, held in attributes.items())


def graph(
    nodes: Sequence[bytes] = (),
    inputs: Sequence[bytes] = (),
    outputs: Sequence[bytes] = (),
    initialisers: Sequence[bytes] = (),
    *fields: bytes,
) -> bytes:
    """Return a ``GraphProto``."""
    lists = ((1, nodes), (5, initialisers), (11, inputs), (12, outputs))
    made = [body(field, item) for field, items in lists for item in items]
    return b"".join([*made[: len(nodes)], body(2, "g"), *made[len(nodes) :], *fields])


def opset(version: int = 17, domain: str = "") -> bytes:
    """Return an ``OperatorSetIdProto``."""
    return body(1, domain) * bool(domain) + number(2, version)


def function(
    name: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    nodes: Sequence[bytes],
    attributes: Sequence[str] = (),
    defaults: Sequence[bytes] = (),
    opsets: Sequence[bytes] | None = None,
    domain: str = "local",
) -> bytes:
    """Return a ``FunctionProto``."""
    made = body(1, name) + b"".join(body(4, n) for n in inputs) + b"".join(body(5, n) for n in outputs)
    made += b"".join(body(6, n) for n in attributes) + b"".join(body(7, n) for n in nodes)
    made += b"".join(body(9, n) for n in (opset(),) if opsets is None)
    made += b"".join(body(9, n) for n in opsets or ())
    return made + body(10, domain) + b"".join(body(11, n) for n in defaults)


def model(
    graph: bytes,
    opsets: Mapping[str, int] | None = None,
    functions: Sequence[bytes] = (),
    ir: int = 8,
    fields: bytes = b"",
) -> bytes:
    """Return a ``ModelProto``."""
    named = {"": 17} if opsets is None else opsets
    imports = b"".join(body(8, opset(version, domain)) for domain, version in named.items())
    return number(1, ir) + body(7, graph) + imports + b"".join(body(25, f) for f in functions) + fields


def network(*nodes: bytes, initialisers: Sequence[bytes] = (), output: str = "y") -> bytes:
    """Return a model of some nodes that read ``x`` and make ``y``."""
    x = value("x", FLOAT, [1, 3, "height", "width"])
    return model(graph(nodes, [x], [value(output)], initialisers))
