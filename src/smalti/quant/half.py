"""Half precision: constants and activations in 16 bits, sums in float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.infer import constant, make_node
from smalti.ir.reference import float32_to_bfloat16
from smalti.ir.schema import operand_index, schema_of
from smalti.numerics import DType
from smalti.quant.tail import tail_of

HALF_TYPES = (DType.FLOAT16, DType.BFLOAT16)


def to_half(graph: Graph, dtype: DType, keep: tuple[str, ...] = ()) -> tuple[Graph, tuple[str, ...]]:
    """Return the canonical graph with activations and constants of a half type.

    The logits and what follows stay float32 (see :func:`smalti.quant.tail.tail_of`), as do inputs and outputs, the
    layers named in ``keep``, and convolutions whose constants the half type cannot hold.

    Returns:
        The graph of level quantised, and notes on what stayed float32.
    """
    if dtype not in HALF_TYPES:
        raise CompilerError(f"{dtype.value} is not a half type")
    return _Half(graph, dtype, frozenset(keep)).rewrite()


def half_array(value: NDArray[np.float32], dtype: DType) -> NDArray[np.generic]:
    """Return float32 values rounded to a half type (bits for bfloat16)."""
    if dtype is DType.BFLOAT16:
        return float32_to_bfloat16(value)
    with np.errstate(over="ignore"):
        return value.astype(np.float16)


def half_constant(value: NDArray[np.float32], dtype: DType, name: str) -> Node:
    """Return a constant node of a half type."""
    return constant(half_array(value, dtype), name, bfloat16=dtype is DType.BFLOAT16)


class _Half:
    def __init__(self, graph: Graph, dtype: DType, keep: frozenset[str]) -> None:
        self.graph = graph
        self.dtype = dtype
        self.keep = keep
        self.tail = tail_of(graph)
        self.casts: dict[tuple[Node, DType], Node] = {}
        self.notes: list[str] = []

    def rewrite(self) -> tuple[Graph, tuple[str, ...]]:
        graph = self.graph.rebuild(self._node, Level.QUANTISED)
        return graph, tuple(self.notes)

    def _node(self, node: Node, inputs: tuple[Node, ...]) -> Node:
        if not inputs:
            return node
        if node.type.dtype is DType.FLOAT32 and self._is_half(node):
            return make_node(node.op, self._half_operands(node, inputs), node.name)
        wide = tuple(self.cast(new, DType.FLOAT32) if new.type.dtype in HALF_TYPES else new for new in inputs)
        return node if wide == node.inputs else make_node(node.op, wide, node.name)

    def _is_half(self, node: Node) -> bool:
        if node in self.tail or node.name in self.keep or not schema_of(node.op).half:
            return False
        for operand in node.inputs:
            if isinstance(operand.op, ops.Constant) and operand.type.dtype is DType.FLOAT32:
                value = np.asarray(operand.op.value, np.float32)
                if self.dtype is DType.FLOAT16 and bool(np.any(np.abs(value) > np.finfo(np.float16).max)):
                    self.notes.append(f"{node.name} stays float32: a constant is too large for float16")
                    return False
        return True

    def _half_operands(self, node: Node, inputs: tuple[Node, ...]) -> list[Node]:
        operands: list[Node] = []
        bias = operand_index(node.op, "bias")
        for position, new in enumerate(inputs):
            is_bias = position == bias
            if new.type.dtype is not DType.FLOAT32 or (is_bias and isinstance(new.op, ops.Constant)):
                operands.append(new)
            else:
                operands.append(self.cast(new, self.dtype))
        return operands

    def cast(self, node: Node, dtype: DType) -> Node:
        """Return a float node in another float type; constants are rounded now."""
        if node.type.dtype is dtype:
            return node
        key = node, dtype
        if key not in self.casts:
            if isinstance(node.op, ops.Constant) and node.type.dtype is DType.FLOAT32:
                self.casts[key] = half_constant(np.asarray(node.op.value, np.float32), dtype, node.name)
            else:
                self.casts[key] = make_node(ops.Cast(dtype), (node,), f"{node.name} ({dtype.value})")
        return self.casts[key]
