"""Common subexpressions: two nodes that compute the same from the same become one."""

from __future__ import annotations

from collections.abc import Hashable

from smalti.ir import ops
from smalti.ir.graph import Graph, Node
from smalti.passes.match import count
from smalti.passes.rewrite import with_inputs


def merge(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Merge equal nodes; constants are equal if their bytes are, inputs never."""
    seen: dict[Hashable, Node] = {}
    merged: list[str] = []

    def visit(node: Node, inputs: tuple[Node, ...]) -> Node:
        new = with_inputs(node, inputs)
        if isinstance(node.op, ops.Input):
            return new
        first = seen.setdefault(_key(new), new)
        if first is not new:
            merged.append(new.name)
        return first

    graph = graph.rebuild(visit)
    notes = (f"{count(len(merged), 'repeated computation', 'repeated computations')} merged",) if merged else ()
    return graph, notes


def _key(node: Node) -> Hashable:
    if isinstance(node.op, ops.Constant):
        return ops.Constant, node.type, node.op.value.tobytes()
    # Equal floats may differ in sign (0.0 == -0.0), which their text shows.
    return type(node.op), str(node.op), node.op, node.type, tuple(id(n) for n in node.inputs)
