"""Functions that the IR has no member for, as several steps: helper nodes of one node of the graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smalti.frontend.context import Lowering
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.infer import constant
from smalti.ir.ops import BinaryFn, Op, UnaryFn
from smalti.numerics import DType

Operand = Node | float
"""A node, or a number of the element type that is computed in."""
_HALF = frozenset((DType.FLOAT16, DType.BFLOAT16))


class Steps:
    """Makes the nodes of one function.

    Half precision is computed in float32 and rounded once, at the end, as a function of one step is; ``exact=True``
    says that no step rounds, so nothing is widened.
    """

    __slots__ = ("_ctx", "_dtype", "_made", "_wide")

    def __init__(self, ctx: Lowering, dtype: DType, *, exact: bool = False) -> None:
        self._ctx = ctx
        self._dtype = dtype
        self._wide = DType.FLOAT32 if dtype in _HALF and not exact else dtype
        self._made: list[Node] = []

    def take(self, x: Value) -> Node:
        """Return an operand of the function in the element type that is computed in."""
        node = self._ctx.node_of(x)
        return node if x.type.dtype is self._wide else self.op(ops.Cast(self._wide), node)

    def number(self, value: float) -> Node:
        """Return a constant of no dimensions."""
        bfloat16 = self._wide is DType.BFLOAT16
        array = np.array(value, np.float32 if bfloat16 else self._wide.numpy)
        node = constant(array, self._name())
        self._made.append(node)
        return self.op(ops.Cast(self._wide), node) if bfloat16 else node

    def op(self, op: Op, *operands: Operand) -> Node:
        """Return the node of an operation."""
        nodes = [item if isinstance(item, Node) else self.number(item) for item in operands]
        node = self._ctx.part(op, nodes, f"step_{len(self._made)}")
        self._made.append(node)
        return node

    def unary(self, fn: UnaryFn, x: Operand, alpha: float = 0.0) -> Node:
        """Return a function of one operand."""
        return self.op(ops.Unary(fn, alpha), x)

    def binary(self, fn: BinaryFn, a: Operand, b: Operand) -> Node:
        """Return a function of two operands."""
        return self.op(ops.Binary(fn), a, b)

    def add(self, a: Operand, b: Operand) -> Node:
        """Return the sum."""
        return self.binary(BinaryFn.ADD, a, b)

    def mul(self, a: Operand, b: Operand) -> Node:
        """Return the product."""
        return self.binary(BinaryFn.MUL, a, b)

    def result(self, node: Node, output: int = 0) -> Value:
        """Return the last node as the result: in the element type of the function, with the name of the output."""
        if node.type.dtype is self._wide and self._wide is not self._dtype:
            node = self.op(ops.Cast(self._dtype), node)
        if not any(node is made for made in self._made):
            return Value(node.type, node.name, node=node)
        name = self._ctx.host.name_of(self._ctx.raw, output)
        return Value(node.type, name, node=replace(node, name=name))

    def _name(self) -> str:
        return f"{self._ctx.raw.name}/step_{len(self._made)}"
