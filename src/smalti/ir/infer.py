"""Result types, and the one way to make a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from smalti.errors import CompilerError, GraphError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.schema import Op, arity, by_name, undeclared
from smalti.ir.types import TensorType


def make_node(op: Op, inputs: Sequence[Node] = (), name: str = "", type: TensorType | None = None) -> Node:
    """Make a node, computing its type.

    Args:
        op: the operation; for ``Input`` give ``type``.
        inputs: operand nodes.
        name: TensorFlow's name of the result, kept for reports.
        type: the type of an ``Input``; for other operations an expectation that must hold.

    Raises:
        GraphError: the operands do not fit the operation.
        CompilerError: the operation, or a value of its attributes, is not declared.
    """
    operands = tuple(inputs)
    if isinstance(op, ops.Input):
        if type is None or operands:
            raise CompilerError("an input node needs a type and no operands")
        return Node(op, (), type, name)
    try:
        result = infer_type(op, tuple(n.type for n in operands))
    except GraphError as error:
        raise GraphError(f"node {name!r}: {error}") from error
    if type is not None and type != result:
        raise CompilerError(f"node {name!r}: {op} gives {result}, not the expected {type}")
    return Node(op, operands, result, name)


def constant(value: Any, name: str = "", *, bfloat16: bool = False) -> Node:
    """Make a constant node of a copy of a numpy array that nobody can write to (uint16 bits if ``bfloat16``)."""
    array = np.array(value)
    array.flags.writeable = False
    return make_node(ops.Constant(array, bfloat16), (), name)


def infer_type(op: Op, types: tuple[TensorType, ...]) -> TensorType:
    """Return the result type of ``op`` on operands of the given types.

    Raises:
        GraphError: they do not fit.
        CompilerError: the operation, or a value of its attributes, is not declared.
    """
    for problem in undeclared(op):
        raise CompilerError(problem)
    low, high = arity(op)
    if len(types) < low or (high is not None and len(types) > high):
        raise GraphError(f"{type(op).__name__} takes {low} operands, not {len(types)}")
    positional, named = by_name(op, types)
    result = op.result(*positional, **named)
    for size in result.shape:
        if isinstance(size, int) and size < 0:
            raise GraphError(f"the result would have a negative size: {result}")
    return result
