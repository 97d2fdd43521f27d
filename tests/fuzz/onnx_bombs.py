"""Small ONNX models that ask for much or lie: each is refused by name, soon and in little memory."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

import onnx_wire as w
from smalti.frontend.onnx.wire.types import AttrKind, OnnxType

BRANCHES = ("then_branch", "else_branch")
RELU = w.node("Relu", ["x"], ["y"], "n")
MAX = 2**31 - 1


def held(*fields: bytes, dims: tuple[int, ...] = (1,), kind: int = w.FLOAT) -> bytes:
    """Return a model with an initialiser."""
    return w.network(w.node("Add", ["x", "k"], ["y"], "n"), initialisers=[w.tensor("k", kind, dims, *fields)])


def beside(**entries: str | bytes) -> bytes:
    """Return a model with values in a second file."""
    return w.network(w.node("Add", ["x", "k"], ["y"], "n"), initialisers=[w.external("k", w.FLOAT, (1,), **entries)])


def sparse(values: bytes, indices: bytes, dims: tuple[int, ...]) -> bytes:
    """Return a model with a sparse initialiser."""
    inputs = [w.value("x", w.FLOAT, [1])]
    return w.model(w.graph([RELU], inputs, [w.value("y")], (), w.body(15, w.sparse(values, indices, dims))))


def nested(depth: int) -> bytes:
    """Return an ``If`` in a branch of an ``If``..."""
    leaf = w.graph([], outputs=[w.value("x")])
    for _ in range(depth):
        both = [w.attribute(name, leaf, AttrKind.GRAPH) for name in BRANCHES[:1]]
        leaf = w.graph([w.node("If", ["x"], ["t"], "if", fields=both)], outputs=[w.value("t")])
    return w.network(w.node("If", ["x"], ["y"], "if", fields=[w.attribute(BRANCHES[0], leaf, AttrKind.GRAPH)]))


def tower(height: int, width: int, last: tuple[bytes, ...] = ()) -> bytes:
    """Return functions that each call the next several times."""
    made = []
    for i in range(height):
        body = [w.node(f"F{i + 1}", [f"t{k}" if k else "a"], [f"t{k + 1}"], domain="l") for k in range(width)]
        made.append(w.function(f"F{i}", ["a"], [f"t{width}"], body, domain="l"))
    made.append(w.function(f"F{height}", ["a"], ["b" if last else "a"], last, domain="l"))
    return model([w.node("F0", ["x"], ["y"], "n", "l")], made)


def model(nodes: list[bytes], functions: list[bytes], **opsets: int) -> bytes:
    """Return a model of nodes and functions."""
    inputs = [w.value("x", w.FLOAT, [1])]
    return w.model(w.graph(nodes, inputs, [w.value("y")]), {"": 17, "l": 1, **opsets}, functions)


def shaped(sizes: list[w.Size], kind: int = w.FLOAT) -> bytes:
    """Return a model with an input of this shape."""
    return w.model(w.graph([RELU], [w.value("x", kind, sizes)], [w.value("y")]))


def relu(*fields: bytes) -> bytes:
    """Return a model of one node with these attributes."""
    return w.network(w.node("Relu", ["x"], ["y"], "n", fields=fields))


def itself(*body: bytes) -> bytes:
    """Return a model whose function has these nodes."""
    return model([w.node("F", ["x"], ["y"], "n", "l")], [w.function("F", ["a"], ["b"], body, domain="l")])


def ends(data: bytes, count: int) -> bytes:
    """Return a model whose last field claims more bytes than there are."""
    return data + w.varint(6 << 3 | 2) + w.varint(count)


F, INT64 = w.FLOAT, OnnxType.INT64.value
ONE = w.array("s", [1], np.float32)
BOMBS: dict[str, Callable[[], bytes]] = {
    "2^40 floats and no values": lambda: held(dims=(1 << 20, 1 << 20)),
    "2^40 floats of one value": lambda: held(w.raw(bytes(4)), dims=(1 << 20, 1 << 20)),
    "2^40 bools": lambda: held(w.raw(b"\1"), dims=(1 << 40,), kind=OnnxType.BOOL.value),
    "product over 2^64": lambda: held(w.raw(bytes(4)), dims=(MAX,) * 8),
    "empty tensor of huge sizes": lambda: held(dims=(0, *(MAX,) * 7)),
    "size over 2^31": lambda: held(dims=(1 << 31, 0)),
    "size 2^63-1": lambda: held(dims=(2**63 - 1,)),
    "negative size": lambda: held(w.raw(bytes(4)), dims=(-1,)),
    "negative sizes whose product is positive": lambda: held(w.raw(bytes(64)), dims=(-4, -4)),
    "raw bytes too short": lambda: held(w.raw(bytes(12)), dims=(4,)),
    "raw bytes too long": lambda: held(w.raw(bytes(20)), dims=(4,)),
    "raw bytes for no elements": lambda: held(w.raw(bytes(4)), dims=(0,)),
    "raw bytes of another type": lambda: held(w.raw(bytes(4)), kind=OnnxType.DOUBLE.value),
    "more values than elements": lambda: held(w.packed(7, [1, 2, 3]), dims=(2,), kind=INT64),
    "fewer values than elements": lambda: held(w.packed(7, [1, 2, 3]), dims=(4,), kind=INT64),
    "values in the wrong list": lambda: held(w.packed(5, [1])),
    "values twice": lambda: held(w.raw(bytes(4)), w.body(4, bytes(4))),
    "packed number of 11 bytes": lambda: held(w.body(7, b"\x80" * 10 + b"\1"), kind=INT64),
    "packed number without an end": lambda: held(w.body(7, b"\1\x80"), dims=(1,), kind=INT64),
    "255 dimensions": lambda: held(w.raw(bytes(4)), dims=(1,) * 255),
    "type 0": lambda: held(w.raw(bytes(4)), kind=0),
    "type 2^31-1": lambda: held(w.raw(bytes(4)), kind=MAX),
    "type -1": lambda: held(w.raw(bytes(4)), kind=-1),
    "strings": lambda: held(w.body(6, "a"), kind=OnnxType.STRING.value),
    "4-bit integers": lambda: held(w.raw(b"\1"), kind=OnnxType.INT4.value),
    "8-bit floats": lambda: held(w.raw(b"\1"), kind=OnnxType.FLOAT8E4M3FN.value),
    "complex numbers": lambda: held(w.raw(bytes(8)), kind=OnnxType.COMPLEX64.value),
    "a segment": lambda: held(w.raw(bytes(4)), w.body(3, w.number(1, 0) + w.number(2, 1))),
    "forged place of values": lambda: held(w.body(1000, w.number(1, 9) + w.number(2, 0) + w.number(3, 4))),
    "many constants": lambda: w.network(
        *(w.node("Constant", [], [f"k{i}"], value_ints=[0]) for i in range(9)),
        w.node("Add", ["x", "k0"], ["y"]),
        initialisers=[w.tensor(f"t{i}", F, (1 << 22,)) for i in range(9)],
    ),
    "sparse of 2^40": lambda: sparse(ONE, w.array("", [0], np.int64), (1 << 20, 1 << 20)),
    "sparse of huge empty sizes": lambda: sparse(
        w.array("s", [], np.float32), w.array("", np.zeros((0, 8)), np.int64), (0, *(MAX,) * 7)
    ),
    "sparse index outside": lambda: sparse(ONE, w.array("", [4], np.int64), (4,)),
    "sparse index before the start": lambda: sparse(ONE, w.array("", [-1], np.int64), (4,)),
    "sparse index of another rank": lambda: sparse(ONE, w.array("", [[1, 1, 1]], np.int64), (4, 4)),
    "sparse indices that fall": lambda: sparse(w.array("s", [1, 1], np.float32), w.array("", [3, 1], np.int64), (4,)),
    "sparse without values": lambda: sparse(w.body(8, "s"), b"", (4,)),
    "beside, above": lambda: beside(location="../k"),
    "beside, absolute": lambda: beside(location="/etc/passwd"),
    "beside, in a folder": lambda: beside(location="sub/k"),
    "beside, backslash": lambda: beside(location="..\\k"),
    "beside, no name": lambda: beside(offset="0"),
    "beside, NUL": lambda: beside(location=b"k\0"),
    "beside, of bytes": lambda: beside(location="k"),
    "beside, negative offset": lambda: beside(location="k", offset="-1"),
    "beside, huge offset": lambda: beside(location="k", offset="9" * 30),
    "beside, unknown entry": lambda: beside(location="k", mode="w"),
    "10 graphs too deep": lambda: nested(26),
    "functions that double": lambda: tower(9, 8, (w.node("Neg", ["a"], ["b"]),)),
    "functions that double and do nothing": lambda: tower(9, 8),
    "function that calls itself": lambda: itself(w.node("F", ["a"], ["b"], domain="l")),
    "function without its output": lambda: itself(w.node("Neg", ["a"], ["c"])),
    "function that reads outer tensors": lambda: itself(w.node("Neg", ["x"], ["b"])),
    "function attribute in no function": lambda: relu(w.reference("a", "b")),
    "input of size 2^40": lambda: shaped([1, 1 << 40]),
    "input of 40 dimensions": lambda: shaped([1] * 40),
    "input of type 77": lambda: shaped([1], 77),
    "name of a size that is not UTF-8": lambda: w.model(
        w.graph([RELU], [w.value("x", other=w.body(1, w.body(2, w.body(1, w.body(2, b"\xff")))))], [w.value("y")])
    ),
    "no opset": lambda: w.model(w.graph([RELU], [w.value("x", F, [1])], [w.value("y")]), {}),
    "opset 2^63-1": lambda: w.model(w.graph([RELU], [w.value("x", F, [1])], [w.value("y")]), {"": 2**63 - 1}),
    "opset -1": lambda: w.model(w.graph([RELU], [w.value("x", F, [1])], [w.value("y")]), {"": -1}),
    "two opsets": lambda: w.model(w.graph([RELU], [w.value("x")], [w.value("y")]), {"": 13, "ai.onnx": 14}),
    "format 2^63-1": lambda: w.model(w.graph([RELU], [w.value("x", F, [1])], [w.value("y")]), ir=2**63 - 1),
    "self loop": lambda: w.network(w.node("Relu", ["y"], ["y"], "n")),
    "cycle": lambda: w.network(w.node("A", ["b"], ["a"]), w.node("B", ["a"], ["b"]), RELU),
    "dangling": lambda: w.network(w.node("Relu", ["missing"], ["y"], "n")),
    "dangling output": lambda: w.network(RELU, output="missing"),
    "made twice": lambda: w.network(RELU, RELU),
    "two inputs of one name": lambda: w.model(w.graph([RELU], [w.value("x"), w.value("x")], [w.value("y")])),
    "no operation": lambda: w.network(w.node("", ["x"], ["y"], "n")),
    "operation with a newline": lambda: w.network(w.node("a\nb", ["x"], ["y"], "n")),
    "name is not UTF-8": lambda: w.network(w.body(2, b"\xff\xfe") + w.body(4, "Relu")),
    "attribute given twice": lambda: relu(w.attribute("a", 1), w.attribute("a", 1)),
    "attribute of two kinds": lambda: relu(w.body(1, "a") + w.number(3, 1) + w.float32(2, 1.0) + w.number(20, 2)),
    "attribute of kind 77": lambda: relu(w.attribute("a", 1, 77)),
    "attribute without a name's text": lambda: relu(w.body(1, b"\xff") + w.number(3, 1) + w.number(20, 2)),
    "tensor attribute without a tensor": lambda: relu(w.body(1, "a") + w.number(20, 4)),
    "graph attribute that is cut": lambda: relu(w.body(1, "a") + w.body(6, b"\x0a\x7f") + w.number(20, 5)),
    "constant without a value": lambda: w.network(w.node("Constant", [], ["k"], "n"), RELU),
    "constant with two values": lambda: w.network(
        w.node("Constant", [], ["k"], "n", value_int=1, value_float=1.0), RELU
    ),
    "constant of text": lambda: w.network(w.node("Constant", [], ["k"], "n", value_string="a"), RELU),
    "if without a branch": lambda: nested(1),
    "if of a list of graphs": lambda: relu(w.body(1, "a") + w.body(11, b"") * 9 + w.number(20, 10)),
    "no graph": lambda: w.number(1, 8) + w.body(8, w.opset()) + w.body(2, "somebody"),
    "a graph that is a number": lambda: w.number(1, 8) + w.number(7, 9),
    "field of 2^62 bytes": lambda: ends(w.network(RELU), 1 << 62),
    "field that ends one byte later": lambda: ends(w.network(RELU), 1),
    "a group": lambda: w.network(RELU) + b"\x33\x34",
    "tag without a field number": lambda: w.network(RELU) + b"\x00\x00",
    "tag of 11 bytes": lambda: w.network(RELU) + b"\x80" * 10 + b"\x01\x00",
}


def small_bombs(largest: int) -> dict[str, bytes]:
    """Return the bombs that fit into small files, by file name."""
    made = {}
    for name, build in BOMBS.items():
        data = build()
        if len(data) <= largest:
            made[re.sub(r"[^a-z0-9]+", "-", name.lower().replace("-1", "minus 1")).strip("-") + ".onnx"] = data
    return made
