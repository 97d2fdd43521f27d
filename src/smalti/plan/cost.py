"""Work and traffic of a node: the figures behind profiles and tile choices."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.ir import ops
from smalti.ir.dims import Dim, product
from smalti.ir.graph import Node


def multiply_adds(node: Node) -> int | Dim:
    """Return the multiply-adds of one run of the node (0 for what is not a matrix or window operation)."""
    if isinstance(node.op, (ops.Conv2d, ops.QuantisedConv2d, ops.ImageConv2d)):
        return node.type.elements * product(node.inputs[1].type.shape[:3])
    if isinstance(node.op, (ops.DepthwiseConv2d, ops.QuantisedDepthwiseConv2d)):
        return node.type.elements * product(node.inputs[1].type.shape[:2])
    if isinstance(node.op, ops.MatMul):
        inner = node.inputs[0].type.shape[0 if node.op.transpose_a else 1]
        return node.type.elements * inner
    return 0


def bytes_moved(nodes: Sequence[Node]) -> int | Dim:
    """Return the bytes that a step of these nodes must read and write at least: each operand once, the result once."""
    inside = set(nodes[:-1])
    total: int | Dim = nodes[-1].type.nbytes
    for node in nodes:
        for operand in node.inputs:
            if operand not in inside:
                total = operand.type.nbytes + total
    return total
