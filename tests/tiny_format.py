"""A format made up for tests: graphs are dictionaries, tensors have names, operations have versions.

It is all that a format must bring: a reader of raw nodes, a reader of attributes, a table of handlers::

    {
        "versions": {"": 2},
        "inputs": {"x": ("f32", (1, "h", "w", 4))},
        "constants": {"high": np.array(6, np.float32)},
        "nodes": [{"op": "clip", "in": ["x", "", "high"], "out": ["y"], "attrs": {}}],
        "outputs": ["y"],
    }
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import numpy as np

from smalti.errors import GraphError
from smalti.frontend.attributes import Attributes
from smalti.frontend.budget import GraphLimits
from smalti.frontend.context import NodeContext
from smalti.frontend.importing.importer import Imported, ImportOptions, import_with
from smalti.frontend.lower import elementwise, join
from smalti.frontend.lower import shape as shapes
from smalti.frontend.raw import Edge, RawNode, Role, StatedSize
from smalti.frontend.table import Handled, OpTable
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.numerics import DType

Tiny = Mapping[str, Any]


class Kind(Enum):
    """The element types of the format; the IR has no ``text``."""

    F32 = "f32"
    I64 = "i64"
    I32 = "i32"
    TEXT = "text"

    @property
    def dtype(self) -> DType | None:
        return {Kind.F32: DType.FLOAT32, Kind.I64: DType.INT64, Kind.I32: DType.INT32}.get(self)

    @property
    def is_quantised(self) -> bool:
        return False

    @property
    def ranged_by(self) -> str:
        return "nothing"

    @property
    def label(self) -> str:
        return self.value


class TinyAttributes(Attributes):
    """Values are Python's own."""

    __slots__ = ()
    TYPES: Mapping[str, type] = {"s": bytes, "i": int, "f": float, "b": bool, "type": Kind, "list": tuple}

    def kind(self, name: str) -> Kind:
        return Kind(self._get(name, "type", True))

    def _holds(self, value: Any, kind: str) -> bool:
        return type(value) is self.TYPES[kind]

    def _content(self, value: Any, kind: str) -> Any:
        return value

    def _ints(self, content: Any) -> Any | None:
        return content if all(type(i) is int for i in content) else None


TABLE = OpTable[TinyAttributes]({"": 3, "extra": 1})
Context = NodeContext[TinyAttributes]


@TABLE.op("input", inputs=0)
def placeholder(ctx: Context) -> Handled:
    """A graph input."""
    kind, shape = ctx.raw.message
    return ctx.host.placeholder(ctx.raw, kind, shape)


@TABLE.op("constant", inputs=0)
def constant(ctx: Context) -> Handled:
    """A stored tensor."""
    kind, array = ctx.raw.message
    return ctx.stored(array, kind)


@TABLE.op("sizes", inputs=1)
def sizes(ctx: Context) -> Handled:
    """The shape as a vector."""
    return shapes.shape_of(ctx, ctx.value(0), DType.INT64)


@TABLE.op("split", inputs=1)
def split(ctx: Context) -> Handled:
    """Equal parts along an axis, one for each name."""
    axis, parts = ctx.attrs.integer("axis", 0), ctx.attrs.integer("parts")
    x = ctx.value(0)
    return join.split_evenly(ctx, x, ctx.check_axis(axis, x.type.rank), parts, "attribute parts")


@TABLE.op("join", inputs=(1, 16))
def concat(ctx: Context) -> Handled:
    """Concatenation along the first axis."""
    return join.concat(ctx, ctx.values(), 0)


@TABLE.op("add", "mul", inputs=2, types={"type": 0})
def binary(ctx: Context) -> Handled:
    """Elementwise with broadcasting."""
    fn = BinaryFn.ADD if ctx.op == "add" else BinaryFn.MUL
    return elementwise.binary(ctx, fn, ctx.value(0), ctx.value(1))


@TABLE.op("reshape", inputs=2)
def reshape(ctx: Context) -> Handled:
    """The same elements with another shape."""
    return shapes.reshape(ctx, ctx.value(0), ctx.sizes(1, "the shape"))


@TABLE.op("clip", inputs=1, ignore=("note",))
def clip_to_six(ctx: Context) -> Handled:
    """Version 1 knew one interval."""
    return elementwise.unary(ctx, UnaryFn.RELU6, ctx.value(0))


@TABLE.op("clip", inputs=(1, 3), since=2)
def clip(ctx: Context) -> Handled:
    """Version 2 takes its ends as optional inputs: low, high."""
    x = ctx.value(0)
    for i, fn in ((1, BinaryFn.MAXIMUM), (2, BinaryFn.MINIMUM)):
        x = elementwise.binary(ctx, fn, x, ctx.value(i)) if ctx.has(i) else x
    return x


@TABLE.op("mirror", inputs=1, since=3)
@TABLE.op("negate", inputs=1, domain="extra")
def negate(ctx: Context) -> Handled:
    """Another sign."""
    return elementwise.unary(ctx, UnaryFn.NEG, ctx.value(0))


@dataclass(frozen=True, slots=True)
class TinyGraph:
    """Raw nodes, and where each named tensor comes from."""

    nodes: tuple[RawNode, ...]
    names: tuple[tuple[str, ...], ...]
    places: Mapping[str, Edge]
    outputs: tuple[Edge, ...]
    table: OpTable[TinyAttributes]
    about_inputs: frozenset[str] = frozenset(("input",))

    def attributes(self, node: RawNode) -> TinyAttributes:
        return TinyAttributes(node.message.items() if isinstance(node.message, Mapping) else ())

    def tensor(self, name: str) -> Edge | None:
        return self.places.get(name, self.places.get(name.removesuffix(":0")))

    def name_rule(self, name: str) -> str | None:
        return None

    def name_of(self, edge: Edge) -> str:
        names = self.names[edge[0]]
        return names[edge[1]] if edge[1] < len(names) else f"{names[0]}#{edge[1]}"

    def output_count(self, node: RawNode) -> int:
        return len(self.names[node.index])

    def stated_kind(self, edge: Edge) -> Kind | None:
        node = self.nodes[edge[0]]
        return node.message[0] if node.role is Role.INPUT else None

    def stated_shape(self, edge: Edge) -> tuple[StatedSize, ...] | None:
        node = self.nodes[edge[0]]
        return node.message[1] if node.role is Role.INPUT else None


def read(graph: Tiny, limits: GraphLimits) -> TinyGraph:
    """Make raw nodes: what stands beside the nodes comes first, as nodes of its own."""
    rows: list[tuple[str, tuple[str, ...], Any, tuple[str, ...], Role, str]] = []
    for name, (kind, shape) in graph.get("inputs", {}).items():
        rows.append(("input", (), (Kind(kind), shape), (name,), Role.INPUT, ""))
    for name, array in graph.get("constants", {}).items():
        kind = {"float32": Kind.F32, "int64": Kind.I64, "int32": Kind.I32}[array.dtype.name]
        frozen = np.ascontiguousarray(array).reshape(array.shape)
        frozen.flags.writeable = False
        rows.append(("constant", (), (kind, frozen), (name,), Role.SILENT, ""))
    for item in graph["nodes"]:
        rows.append(
            (
                item["op"],
                tuple(item["in"]),
                dict(item.get("attrs", {})),
                tuple(item["out"]),
                Role.OPERATION,
                item.get("domain", ""),
            )
        )
    if len(rows) > limits.max_nodes:
        raise GraphError(f"the graph has more nodes than the limit, {limits.max_nodes} (--max-graph-nodes)")
    places = {name: (i, k) for i, row in enumerate(rows) for k, name in enumerate(row[3])}
    versions = graph.get("versions", {"": 2})
    nodes = tuple(
        RawNode(
            i,
            outs[0],
            op,
            tuple(places[name] if name else None for name in ins),
            (),
            message,
            role,
            domain,
            versions.get(domain, 1),
        )
        for i, (op, ins, message, outs, role, domain) in enumerate(rows)
    )
    outputs = tuple(places[name] for name in graph.get("outputs", ()))
    return TinyGraph(nodes, tuple(row[3] for row in rows), places, outputs, TABLE)


def import_tiny(graph: Tiny, **options: Any) -> Imported:
    """Import a graph of the made-up format."""
    return import_with(partial(read, graph), ImportOptions(**options))
