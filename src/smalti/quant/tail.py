"""Which part of a graph stays in float32 in every precision mode: the logits, and what makes labels of them."""

from __future__ import annotations

from smalti.ir import ops
from smalti.ir.graph import Graph, Node


def tail_of(graph: Graph) -> frozenset[Node]:
    """Return the nodes behind the last convolutions, and these.

    Logits of half precision have 11 bits: many neighbouring classes would tie, and ties go to the lower class.  The
    last convolution is the smallest of the network, so float32 costs nothing there.
    """
    tail: set[Node] = set()
    stack = list(graph.outputs)
    while stack:
        node = stack.pop()
        if node not in tail:
            tail.add(node)
            if not isinstance(node.op, ops.Conv2d):
                stack.extend(node.inputs)
    return frozenset(tail)
