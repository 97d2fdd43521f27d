"""Work and traffic of a node: the figures behind profiles and tile choices."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.ir.dims import Dim
from smalti.ir.graph import Node


def multiply_adds(node: Node) -> int | Dim:
    """Return the multiply-adds of one run of the node (0 for what is not a matrix or window operation)."""
    rule = node.op.multiply_adds
    return 0 if rule is None else rule(node.type, node.weights.type)


def bytes_moved(nodes: Sequence[Node]) -> int | Dim:
    """Return the bytes that a step of these nodes must read and write at least: each operand once, the result once."""
    inside = set(nodes[:-1])
    total: int | Dim = nodes[-1].type.nbytes
    for node in nodes:
        for operand in node.inputs:
            if operand not in inside:
                total = operand.type.nbytes + total
    return total
