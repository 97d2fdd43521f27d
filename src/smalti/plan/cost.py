"""Work and traffic of a node: the figures behind profiles and tile choices."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.ir.schema import by_name


def multiply_adds(node: Node) -> int | Dim:
    """Return the multiply-adds of one run of the node (0 for what is not a matrix or window operation)."""
    rule = node.op.multiply_adds
    if rule is None:
        return 0
    positional, named = by_name(node.op, tuple(operand.type for operand in node.inputs))
    return rule(node.type, *positional, **named)


def bytes_moved(nodes: Sequence[Node]) -> int | Dim:
    """Return the bytes that a step of these nodes must read and write at least: each operand once, the result once."""
    inside = set(nodes[:-1])
    total: int | Dim = nodes[-1].type.nbytes
    for node in nodes:
        for operand in node.inputs:
            if operand not in inside:
                total = operand.type.nbytes + total
    return total
