"""Reading nodes: typed attributes, constant values, constant shapes."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.schema import operand_index
from smalti.numerics import DType

OpT = TypeVar("OpT", bound=ops.Op)


def attributes(node: Node, kind: type[OpT]) -> OpT:
    """Return the node's operation record.

    Raises:
        CompilerError: it is of another kind (the kernel accepted what it should not).
    """
    if not isinstance(node.op, kind):
        raise CompilerError(f"{node!r} is not a {kind.__name__}")
    return node.op


def position_of(node: Node, name: str) -> int:
    """Return the position of the operand that the operation calls by this name.

    Raises:
        CompilerError: it has none.
    """
    found = operand_index(node.op, name)
    if found is None:
        raise CompilerError(f"{node!r} has no operand {name!r}")
    return found


def static_shape(node: Node) -> tuple[int, ...]:
    """Return a shape that does not depend on the image size.

    Raises:
        CompilerError: it does.
    """
    sizes = tuple(s for s in node.type.shape if isinstance(s, int))
    if len(sizes) != node.type.rank:
        raise CompilerError(f"{node!r} has no constant shape")
    return sizes


def static_channels(node: Node) -> int:
    """Return the last size of a node's shape.

    Raises:
        CompilerError: it depends on the image size.
    """
    channels = node.type.shape[-1]
    if not isinstance(channels, int):
        raise CompilerError(f"{node!r} has no constant number of channels")
    return channels


def array_of(node: Node) -> NDArray[np.generic] | None:
    """Return the value of a constant node of any type as it is stored, or ``None``."""
    return node.op.value if isinstance(node.op, ops.Constant) else None


def known(node: Node) -> NDArray[np.generic]:
    """Return the value of a constant node of any type as it is stored.

    Raises:
        CompilerError: it is none.
    """
    value = array_of(node)
    if value is None:
        raise CompilerError(f"{node!r} is not a constant")
    return value


def constant_value(node: Node) -> NDArray[np.float32] | None:
    """Return the value of a float32 constant node, or ``None``."""
    if isinstance(node.op, ops.Constant) and node.type.dtype is DType.FLOAT32:
        return np.asarray(node.op.value, np.float32)
    return None


def required_constant(node: Node) -> NDArray[np.float32]:
    """Return the value of a float32 constant node.

    Raises:
        CompilerError: it is none.
    """
    value = constant_value(node)
    if value is None:
        raise CompilerError(f"{node!r} is not a float32 constant")
    return value
