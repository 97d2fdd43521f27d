"""The node table of a GraphDef: names resolved, edges checked, and what attributes say of results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smalti.errors import GraphError
from smalti.frontend.budget import DEFAULT_LIMITS, GraphLimits
from smalti.frontend.raw import Edge, RawNode, Role, StatedSize
from smalti.frontend.table import OpTable
from smalti.frontend.tensorflow.attrs import AttrReader
from smalti.frontend.tensorflow.functions import CALLS, Inliner, is_call, library_of
from smalti.frontend.tensorflow.graphdef import parse_graph_def
from smalti.frontend.tensorflow.tensors import TfType
from smalti.frontend.words import shorten

MAX_NAME_BYTES = 4096
MAX_OUTPUT_INDEX = 65535
MAX_INPUTS = 65536

NAME_RULE = "names look like 'SemanticPredictions:0'"
_ROLES = {
    "Placeholder": Role.INPUT,
    "PlaceholderWithDefault": Role.DEFAULT,
    "NextIteration": Role.LOOP,
    **dict.fromkeys(("Const", "NoOp", "Assert", "Switch", "Print", "RestoreV2", "SaveV2"), Role.SILENT),
}
_ABOUT_INPUTS = frozenset(("Placeholder", "PlaceholderWithDefault", "Switch", "Merge", "If", "StatelessIf"))
_MANY_OUTPUTS = {"Split": "num_split", "SplitV": "num_split", "Unpack": "num"}
# Operations whose result type is not their attribute T.
_RESULT_TYPE = {
    "Cast": "DstT",
    "Dequantize": "dtype",
    "Placeholder": "dtype",
    "PlaceholderWithDefault": "dtype",
    "Const": "dtype",
    "ArgMax": "output_type",
}


@dataclass(frozen=True, slots=True)
class TfGraph:
    """All nodes in file order, and their index by name: a :class:`smalti.frontend.format.RawGraph`."""

    nodes: tuple[RawNode, ...]
    by_name: Mapping[str, int]
    table: OpTable[AttrReader]

    @property
    def outputs(self) -> tuple[Edge, ...]:
        """A GraphDef names no results."""
        return ()

    @property
    def about_inputs(self) -> frozenset[str]:
        """Inputs and branches: ``--bind`` decides the latter."""
        return _ABOUT_INPUTS

    def attributes(self, node: RawNode) -> AttrReader:
        """Return a new reader of the attributes of a node."""
        return AttrReader(node.message.attr)

    def tensor(self, name: str) -> Edge | None:
        """Return the tensor called ``node:k`` (or ``node``, which means ``node:0``), or ``None``."""
        parsed = split_tensor_name(name)
        if parsed is None or parsed[0] not in self.by_name:
            return None
        return self.by_name[parsed[0]], parsed[1]

    def name_of(self, edge: Edge) -> str:
        """Return TensorFlow's name of a tensor."""
        return f"{self.nodes[edge[0]].name}:{edge[1]}"

    def name_rule(self, name: str) -> str | None:
        """Return how names look where ``name`` is not ``node`` or ``node:k``."""
        return NAME_RULE if split_tensor_name(name) is None else None

    def output_count(self, node: RawNode) -> int:
        """Return how many results a node has, by its attributes; one where these are damaged."""
        if node.op in CALLS:
            return len(node.inputs)
        key = _MANY_OUTPUTS.get(node.op)
        if key is None:
            return 1
        try:
            return self.attributes(node).integer(key, 1)
        except GraphError:
            return 1

    def stated_kind(self, edge: Edge) -> TfType | None:
        """Return the type of what a node computes, or ``None`` where no attribute says it."""
        node = self.nodes[edge[0]]
        reader = self.attributes(node)
        key = _RESULT_TYPE.get(node.op, "T")
        return reader.kind(key) if key in reader else None

    def stated_shape(self, edge: Edge) -> tuple[StatedSize, ...] | None:
        """Return the shape that a placeholder states (-1: open), or ``None`` where it states no rank."""
        try:
            return self.attributes(self.nodes[edge[0]]).shape("shape")
        except GraphError:
            return None


def read_graph(data: bytes, table: OpTable[AttrReader], limits: GraphLimits = DEFAULT_LIMITS) -> TfGraph:
    """Parse GraphDef bytes and resolve every edge.

    Raises:
        GraphError: not a GraphDef, or over a limit; a bad or duplicate name; an edge from a node that does not exist; a
            function that is missing, damaged or calls itself.
    """
    graph = parse_graph_def(data, limits)
    messages = graph.node
    by_name: dict[str, int] = {}
    names: list[str] = []
    for index, message in enumerate(messages):
        name = _decode_name(message.name, index)
        if name in by_name:
            raise GraphError(f"two nodes are called {shorten(name)}")
        by_name[name] = index
        names.append(name)
    nodes = [_raw_node(index, names[index], message, by_name) for index, message in enumerate(messages)]
    library = library_of(graph, limits)
    if any(is_call(node.op, library) for node in nodes):
        nodes = Inliner(library, nodes, _ROLES).run()
        by_name.update((node.name, node.index) for node in nodes[len(messages) :])
    return TfGraph(tuple(nodes), by_name, table)


def _decode_name(data: bytes, index: int) -> str:
    if not data:
        raise GraphError(f"node number {index} has no name")
    if len(data) > MAX_NAME_BYTES:
        raise GraphError(f"the name of node number {index} has {len(data)} bytes; the limit is {MAX_NAME_BYTES}")
    try:
        name = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GraphError(f"the name of node number {index} is not UTF-8") from error
    if not name.isprintable() or name.startswith("^") or ":" in name:
        raise GraphError(f"node number {index} has the forbidden name {shorten(name)}")
    return name


def _raw_node(index: int, name: str, message: Any, by_name: Mapping[str, int]) -> RawNode:
    inputs: list[Edge] = []
    controls: list[int] = []
    if len(message.input) > MAX_INPUTS:
        raise GraphError(f"node {shorten(name)} has {len(message.input)} inputs; the limit is {MAX_INPUTS}")
    for raw in message.input:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise GraphError(f"node {shorten(name)}: the name of an input is not UTF-8") from error
        is_control = text.startswith("^")
        parsed = (text[1:], 0) if is_control else split_tensor_name(text)
        if parsed is None or parsed[0] not in by_name:
            raise GraphError(f"node {shorten(name)}: its input {shorten(text)} does not exist")
        if is_control:
            controls.append(by_name[parsed[0]])
        else:
            inputs.append((by_name[parsed[0]], parsed[1]))
    op = message.op.decode("utf-8", "replace")
    if not op or len(op) > MAX_NAME_BYTES or not op.isprintable():
        raise GraphError(f"node {shorten(name)} has no valid operation")
    return RawNode(index, name, op, tuple(inputs), tuple(controls), message, _ROLES.get(op, Role.OPERATION))


def split_tensor_name(text: str) -> tuple[str, int] | None:
    """Split ``node:k`` into node and output number; ``None`` when it is not a tensor name."""
    name, colon, number = text.partition(":")
    if not colon:
        return (text, 0) if text else None
    if not name or not number.isdecimal() or not number.isascii() or len(number) > 5:
        return None
    return (name, int(number)) if int(number) <= MAX_OUTPUT_INDEX else None
