"""ONNX models as a stranger might send them: seeds, mutations of their structure, and what reads every bit of them.

Mutations of bytes are those of all formats: ``mutants.byte_mutant(seed, number, onnx_models.seeds())``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np

import onnx_wire as w
from smalti.errors import GraphError, UnsupportedGraphError
from smalti.frontend.budget import GraphLimits
from smalti.frontend.importing.importer import ImportOptions, import_with
from smalti.frontend.onnx.attrs import AttrReader
from smalti.frontend.onnx.constants import constant_value
from smalti.frontend.onnx.reader import read_model
from smalti.frontend.onnx.wire.messages import BYTES, I32, I64, MESSAGES, VARINT, wire_of
from smalti.frontend.onnx.wire.types import AttrKind, OnnxType
from smalti.ir.graph import Graph, Level
from smalti.ir.verify import verify
from smalti.passes.pipeline import run_pipeline

LIMITS = GraphLimits(max_nodes=5_000, max_constant_bytes=1 << 24)
NUMBERS = (0, 1, -1, 2, 3, 7, 16, 255, 256, 2**31 - 1, 2**31, -(2**31), 2**32, 2**62, 2**63 - 1, -(2**63), 2**64 - 1)
TEXTS = (b"", b"x", b"y", b"k", b"missing", b"\xff", b"a\nb", b"n" * 5000, b"ai.onnx", b"local", b"If", b"Constant")
PLACES = (b"../k", b"/etc/passwd", b"k", b"..", b"-1", b"99999999999999999999", b"location", b"offset")
_HUGE = 5000
READS = (
    "integer",
    "number",
    "flag",
    "text",
    "kind",
    "ints",
    "many_ints",
    "numbers",
    "texts",
    "tensor",
    "sparse",
    "body",
    "value_type",
)


# -- seeds ------------------------------------------------------------------------------------------------------------


def network() -> bytes:
    """A small network as exporters write it."""
    weights = np.linspace(-1, 1, 4 * 3 * 3 * 3, dtype=np.float32).reshape(4, 3, 3, 3)
    nodes = [
        w.node("Conv", ["x", "w", "b"], ["c"], "conv", strides=[2, 2], pads=[1, 1, 1, 1], auto_pad="NOTSET", group=1),
        w.node("BatchNormalization", ["c", "b", "b", "b", "b"], ["n"], "norm", epsilon=1e-5),
        w.node("Clip", ["n", "", "six"], ["r"]),
        w.node("Shape", ["x"], ["s"], start=2),
        w.node("Constant", [], ["ones"], value=w.array("", [1, 1], np.int64)),
        w.node("Concat", ["ones", "s"], ["size"], axis=0),
        w.node("Resize", ["r", "", "", "size"], ["y"], mode="linear", coordinate_transformation_mode="half_pixel"),
    ]
    held = [w.array("w", weights), w.array("b", np.ones(4, np.float32)), w.array("six", np.float32(6))]
    inputs = [w.value("x", w.FLOAT, ["batch", 3, "height", "width"]), w.value("w", w.FLOAT, [4, 3, 3, 3])]
    return w.model(w.graph(nodes, inputs, [w.value("y", w.FLOAT, [1, 4, 7, 7])], held), fields=w.body(6, "words"))


def constants() -> bytes:
    """Constants in all forms, of all types that are read."""
    held = [
        w.tensor("t1", w.FLOAT, (2, 2), w.body(4, np.ones(4, np.float32).tobytes())),
        w.tensor("t2", OnnxType.FLOAT16.value, (3,), w.packed(5, [0x3C00, 0, 0x7C01])),
        w.tensor("t3", OnnxType.BFLOAT16.value, (2,), w.packed(5, [0x3F80, 0x7F81])),
        w.tensor("t4", w.INT64, (3,), w.packed(7, [1, -1, 1 << 62])),
        w.tensor("t5", OnnxType.UINT64.value, (2,), w.packed(11, [1, 2**64 - 1])),
        w.tensor("t6", OnnxType.DOUBLE.value, (1,), w.body(10, bytes(8))),
        w.tensor("t7", OnnxType.INT8.value, (3,), *(w.number(5, n) for n in (1, -2, 3))),
        w.tensor("t8", OnnxType.BOOL.value, (2, 1), w.raw(b"\0\1")),
        w.tensor("t9", w.FLOAT, (0, 4)),
    ]
    names = [*(f"c{i}" for i in range(1, 6)), *(f"t{i}" for i in range(1, 10))]
    nodes = [
        w.node("Constant", [], ["c1"], value_float=0.5),
        w.node("Constant", [], ["c2"], value_floats=[0.5, 1.0]),
        w.node("Constant", [], ["c3"], value_int=-3),
        w.node("Constant", [], ["c4"], value_ints=[1, 2, 3]),
        w.node("Constant", [], ["c5"], value=held[0]),
        # Takes tensors of any types and shapes: read to the end, and then not supported.
        w.node("SequenceConstruct", ["x", *names, "s"], ["y"]),
    ]
    sparse = w.sparse(w.array("s", [1, 2], np.float32), w.array("", [[0, 1], [1, 2]], np.int64), (2, 3))
    inputs = [w.value("x", w.FLOAT, [1, 3, "None", -1])]
    return w.model(w.graph(nodes, inputs, [w.value("y")], held, w.body(15, sparse)))


def functions() -> bytes:
    """Local functions that call each other, with attributes."""
    inner = w.function("In", ["a"], ["b"], [w.node("Leaky", ["a"], ["b"], fields=[w.reference("alpha", "s")])], ["s"])
    nodes = [
        w.node("In", ["a"], ["m"], "call", "local", [w.reference("s", "slope")]),
        w.node("Add", ["a", "m"], ["b"], "add"),
    ]
    outer = w.function("Out", ["a"], ["b"], nodes, [], [w.attribute("slope", 0.25)])
    calls = [w.node("Out", ["x"], ["m"], "one", "local"), w.node("Out", ["m"], ["y"], "two", "local", slope=0.5)]
    inputs = [w.value("x", w.FLOAT, [1])]
    return w.model(w.graph(calls, inputs, [w.value("y")]), {"": 17, "local": 1}, [inner, outer])


def branches() -> bytes:
    """An ``If`` in an ``If``, and a loop."""
    leaf = w.graph([w.node("Neg", ["x"], ["t"])], outputs=[w.value("t")])
    both = [w.attribute(name, leaf, AttrKind.GRAPH) for name in ("then_branch", "else_branch")]
    nest = w.graph([w.node("If", ["c"], ["u"], "inner", fields=both)], outputs=[w.value("u")])
    outer = [w.attribute("then_branch", nest, AttrKind.GRAPH), w.attribute("else_branch", leaf, AttrKind.GRAPH)]
    step = [w.node("Identity", ["go"], ["again"]), w.node("Add", ["acc", "x"], ["next"])]
    fed = [w.value("i", w.INT64, []), w.value("go", OnnxType.BOOL.value, []), w.value("acc")]
    body = w.graph(step, fed, [w.value("again"), w.value("next")])
    nodes = [
        w.node("If", ["c"], ["m"], "outer", fields=outer),
        w.node("Loop", ["n", "", "m"], ["y"], "loop", fields=[w.attribute("body", body, AttrKind.GRAPH)]),
    ]
    held = [w.array("c", True), w.array("n", np.int64(3))]
    return w.model(w.graph(nodes, [w.value("x", w.FLOAT, [2])], [w.value("y")], held))


def beside() -> bytes:
    """Values in a second file."""
    held = w.external("k", w.FLOAT, (4,), location="k.data", offset="0", length="16")
    return w.network(w.node("Add", ["x", "k"], ["y"], "add"), initialisers=[held])


@lru_cache(maxsize=1)
def seeds() -> tuple[bytes, ...]:
    """Return the seeds."""
    return network(), constants(), functions(), branches(), beside()


# -- reading every bit ------------------------------------------------------------------------------------------------


def read_all(data: bytes) -> None:
    """Read a model, every attribute of every node, and the values of all constants; then import and rewrite it.

    Raises:
        GraphError, UsageError: what a stranger's model may end in.
    """
    graph = read_model(data, LIMITS)
    left = LIMITS.max_constant_bytes
    for node in graph.nodes:
        reader = graph.attributes(node)
        if node.op == "Constant" and not node.domain:
            try:
                left -= constant_value(reader, left, 1 << 20).array.nbytes
            except ValueError as error:
                raise GraphError(f"node {node.name!r}: {error}") from error
            except GraphError as error:
                raise GraphError(f"node {node.name!r}: {error}") from error
        elif node.held:
            read_attributes(reader, node.name)
    if graph.needed(graph.outputs) and graph.results:
        graph.stated_kind(graph.outputs[0])
    try:
        handle(data)
    except UnsupportedGraphError:
        return


def handle(data: bytes) -> Graph:
    """Import a model and run all passes, with the checks between them; return the canonical graph.

    Raises:
        GraphError, UsageError: what a stranger's model may end in.
    """
    imported = import_with(partial(read_model, data), ImportOptions(limits=LIMITS)).graph
    verify(imported, Level.IMPORTED)
    return run_pipeline(imported, check=True).graph


def read_attributes(reader: AttrReader, name: str) -> None:
    """Ask for every attribute of a node as every kind: all but one are refused, and that one may be."""
    wrong = 0
    names = reader.unread(frozenset())
    for attribute in names:
        for call in READS:
            try:
                getattr(reader, call)(attribute)
            except GraphError:
                wrong += 1
    if reader.unread(frozenset()) or wrong < len(names):
        raise AssertionError(f"node {name}: attributes were taken for what they are not")


# -- mutations of the structure ---------------------------------------------------------------------------------------


@dataclass(slots=True)
class Item:
    """A field: its number and wire type, and a number, bytes, or the fields of a message."""

    number: int
    wire: int
    value: int | bytes
    message: str = ""
    inside: list[Item] = field(default_factory=list)

    def data(self) -> bytes:
        """Return the field as it is written."""
        tag = w.varint(self.number << 3 | self.wire)
        if self.wire == VARINT:
            return tag + w.varint(int(self.value))
        body = encoded(self.inside) if self.message else bytes(self.value)  # type: ignore[arg-type]
        return tag + (w.varint(len(body)) if self.wire == BYTES else b"") + body


def encoded(items: list[Item]) -> bytes:
    """Return fields as they are written."""
    return b"".join(item.data() for item in items)


def parsed(data: bytes, message: str) -> list[Item]:
    """Return the fields of a message that our own writer wrote."""
    kinds = {rule.number: rule.kind for rule in MESSAGES[message]}
    found, at = [], 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            found.append(Item(number, wire, value))
            continue
        size = {I32: 4, I64: 8}.get(wire)
        if size is None:
            size, at = _varint(data, at)
        body = data[at : at + size]
        at += size
        kind = kinds.get(number, "")
        inner = kind if kind in MESSAGES and wire == BYTES else ""
        found.append(Item(number, wire, body, inner, parsed(body, inner) if inner else []))
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
        shift += 7


@dataclass(frozen=True, slots=True)
class Spot:
    """A field within a list of fields, and the message that they are of."""

    items: list[Item]
    index: int
    message: str


def spots(items: list[Item], message: str) -> list[Spot]:
    """Return every field of a model."""
    found = []
    for index, item in enumerate(items):
        found.append(Spot(items, index, message))
        if item.message:
            found += spots(item.inside, item.message)
    return found


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutant, and what was changed."""

    data: bytes
    what: str


def structured_mutant(seed: int, number: int) -> Mutant:
    """Return a seed with one or two of its fields replaced by something nasty; lengths stay right."""
    rng = random.Random(f"onnx {seed} {number}")
    pool = seeds()
    items = parsed(pool[number % len(pool)], "Model")
    what = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        places = spots(items, "Model")
        spot = rng.choice(places)
        what.append(rng.choice(CHANGES)(rng, spot, places))
    return Mutant(encoded(items), ", ".join(what))


Change = Callable[[random.Random, Spot, list[Spot]], str]


def _name(spot: Spot) -> str:
    number = spot.items[spot.index].number
    rule = next((r.name for r in MESSAGES[spot.message] if r.number == number), str(number))
    return f"{spot.message}.{rule}"


def _spoil(rng: random.Random, spot: Spot, places: list[Spot]) -> str:
    item = spot.items[spot.index]
    if item.wire == VARINT:
        item.value = rng.choice((*NUMBERS, *range(30)))
        return f"{_name(spot)} = {item.value}"
    if item.wire != BYTES:
        item.value = rng.randbytes(len(bytes(item.value)))  # type: ignore[arg-type]
        return f"{_name(spot)} random"
    if item.message:
        rng.shuffle(item.inside)
        return f"{_name(spot)} in another order"
    old = bytes(item.value)  # type: ignore[arg-type]
    packed = b"".join(w.varint(rng.choice(NUMBERS)) for _ in range(rng.choice((1, 2, 9, _HUGE))))
    item.value = rng.choice((*TEXTS, *PLACES, packed, old[:-1], old + b"\0", old * 3, rng.randbytes(len(old))))
    return f"{_name(spot)} = {item.value[:30]!r}"


def _remove(rng: random.Random, spot: Spot, places: list[Spot]) -> str:
    name = _name(spot)
    del spot.items[spot.index]
    return f"no {name}"


def _repeat(rng: random.Random, spot: Spot, places: list[Spot]) -> str:
    count = rng.choice((1, 1, 1, 20, _HUGE))
    spot.items[spot.index : spot.index] = [spot.items[spot.index]] * count
    return f"{count + 1} times {_name(spot)}"


def _other(rng: random.Random, spot: Spot, places: list[Spot]) -> str:
    """Put the value of another field of the same wire type there."""
    item = spot.items[spot.index]
    alike = [p.items[p.index] for p in places if p.items[p.index].wire == item.wire]
    donor = deepcopy(rng.choice(alike))
    spot.items[spot.index] = Item(item.number, item.wire, donor.value, donor.message, donor.inside)
    return f"{_name(spot)} has another's value"


def _wire(rng: random.Random, spot: Spot, places: list[Spot]) -> str:
    item = spot.items[spot.index]
    wire, value = rng.choice(((VARINT, 7), (I32, bytes(4)), (I64, bytes(8)), (BYTES, b"\x08\x01"), (3, b""), (7, b"")))
    spot.items[spot.index] = Item(item.number, wire, value)
    return f"{_name(spot)} of wire type {wire}"


def _added(rng: random.Random, spot: Spot, places: list[Spot]) -> str:
    """Add a field that the message knows."""
    rule = rng.choice(MESSAGES[spot.message])
    if rule.kind in MESSAGES:
        made = Item(rule.number, BYTES, b"", rule.kind, [])
    elif wire_of(rule.kind) == VARINT:
        made = Item(rule.number, VARINT, rng.choice(NUMBERS))
    else:
        made = Item(rule.number, BYTES, rng.choice(TEXTS))
    spot.items.insert(spot.index, made)
    return f"{spot.message}.{rule.name} more"


CHANGES: tuple[Change, ...] = (*(_spoil,) * 5, _remove, _remove, _repeat, _other, _other, _wire, _added, _added)
