"""The node table of a GraphDef: names resolved, edges checked, order found.  Nothing here knows an operation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from smalti.errors import GraphError
from smalti.frontend.budget import DEFAULT_LIMITS, GraphLimits
from smalti.frontend.tensorflow.attrs import shorten
from smalti.frontend.tensorflow.graphdef import parse_graph_def

MAX_NAME_BYTES = 4096
MAX_OUTPUT_INDEX = 65535
MAX_INPUTS = 65536

Edge = tuple[int, int]
"""(index of the node, number of its output)"""


@dataclass(frozen=True, slots=True)
class RawNode:
    """One node: who feeds it and its message (for the attributes)."""

    index: int
    name: str
    op: str
    inputs: tuple[Edge, ...]
    controls: tuple[int, ...]
    message: Any


@dataclass(frozen=True, slots=True)
class RawGraph:
    """All nodes in file order, and their index by name."""

    nodes: tuple[RawNode, ...]
    by_name: Mapping[str, int]

    def tensor(self, name: str) -> Edge | None:
        """Return the tensor called ``node:k`` (or ``node``, which means ``node:0``), or ``None``."""
        parsed = split_tensor_name(name)
        if parsed is None or parsed[0] not in self.by_name:
            return None
        return self.by_name[parsed[0]], parsed[1]

    def name_of(self, edge: Edge) -> str:
        """Return TensorFlow's name of a tensor."""
        return f"{self.nodes[edge[0]].name}:{edge[1]}"


def read_graph(data: bytes, limits: GraphLimits = DEFAULT_LIMITS) -> RawGraph:
    """Parse GraphDef bytes and resolve every edge.

    Raises:
        GraphError: not a GraphDef, or over a limit; a bad or duplicate name; an edge from a node that does not exist.
    """
    messages = parse_graph_def(data, limits).node
    by_name: dict[str, int] = {}
    names: list[str] = []
    for index, message in enumerate(messages):
        name = _decode_name(message.name, index)
        if name in by_name:
            raise GraphError(f"two nodes are called {shorten(name)}")
        by_name[name] = index
        names.append(name)
    nodes = tuple(_raw_node(index, names[index], message, by_name) for index, message in enumerate(messages))
    return RawGraph(nodes, by_name)


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
    return RawNode(index, name, op, tuple(inputs), tuple(controls), message)


def split_tensor_name(text: str) -> tuple[str, int] | None:
    """Split ``node:k`` into node and output number; ``None`` when it is not a tensor name."""
    name, colon, number = text.partition(":")
    if not colon:
        return (text, 0) if text else None
    if not name or not number.isdecimal() or not number.isascii() or len(number) > 5:
        return None
    return (name, int(number)) if int(number) <= MAX_OUTPUT_INDEX else None


def topological_order(
    graph: RawGraph, roots: Iterable[int], leaves: frozenset[Edge], with_controls: bool
) -> tuple[int, ...]:
    """Return the nodes that ``roots`` need, operands first.

    Args:
        graph: the node table.
        roots: indices of the wanted nodes.
        leaves: tensors that are given from outside; what stands before them is not followed.
        with_controls: whether control inputs count as operands too.

    Raises:
        GraphError: the nodes form a cycle (loops of TensorFlow 1, closed by ``NextIteration``, do not count: their
            operations are reported as unsupported instead).
    """
    order: list[int] = []
    pending = list(roots)
    state = bytearray(len(graph.nodes))  # 0 new, 1 on the stack, 2 done
    for root in pending:
        if state[root]:
            continue
        state[root] = 1
        stack = [(root, _operands(graph.nodes[root], leaves, with_controls))]
        while stack:
            index, operands = stack[-1]
            below = next(operands, None)
            if below is None:
                state[index] = 2
                order.append(index)
                stack.pop()
            elif graph.nodes[below].op == "NextIteration":
                pending.append(below)
            elif not state[below]:
                state[below] = 1
                stack.append((below, _operands(graph.nodes[below], leaves, with_controls)))
            elif state[below] == 1:
                raise GraphError(f"node {shorten(graph.nodes[below].name)} depends on itself")
    return tuple(order)


def _operands(node: RawNode, leaves: frozenset[Edge], with_controls: bool) -> Iterator[int]:
    data = (edge[0] for edge in node.inputs if edge not in leaves)
    return chain(data, node.controls) if with_controls else data
