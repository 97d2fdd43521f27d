"""The nodes of a graph as a reader makes them: names resolved, edges checked.  Nothing here knows an operation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from typing import Any, cast

from smalti.errors import GraphError
from smalti.frontend.words import shorten

Edge = tuple[int, int]
"""(index of the node, number of its output)"""
StatedSize = int | str
"""A size that a file states: a number, -1 where it is open, or the name of an open size."""


class Role(Enum):
    """What a node is to those who look at graphs without knowing operations."""

    OPERATION = "operation"
    INPUT = "input"
    """Fed from outside; it has one output."""
    DEFAULT = "default"
    """An operation that a caller may feed: listed among the inputs, but computed unless it is bound."""
    SILENT = "silent"
    """No result of a graph unless a user names it: constants, checks, prints."""
    LOOP = "loop"
    """Closes a loop: whoever reads it does not wait for it."""


@dataclass(frozen=True, slots=True)
class RawNode:
    """One node.  What a format keeps beside its nodes (inputs, stored constants) becomes nodes too.

    Attributes:
        index: its place in the graph.
        name: unique in the graph; messages name it.
        op: the format's name of the operation.
        inputs: who feeds it; ``None`` for an optional input that is left out.
        controls: nodes that must come first, without a tensor.
        message: what the format's attribute reader reads.
        role: what it is beside its operation.
        domain: whose operation it is; ``""`` is the format's own.
        version: the version of that set of operations.
    """

    index: int
    name: str
    op: str
    inputs: tuple[Edge | None, ...]
    controls: tuple[int, ...]
    message: Any
    role: Role = Role.OPERATION
    domain: str = ""
    version: int = 1

    @property
    def label(self) -> str:
        """The operation for messages, with its domain where that is not the format's own."""
        return f"{self.domain}.{self.op}" if self.domain else self.op

    @property
    def operands(self) -> tuple[Edge, ...]:
        """The inputs that are there."""
        if None not in self.inputs:
            return cast("tuple[Edge, ...]", self.inputs)
        return tuple(edge for edge in self.inputs if edge is not None)


def is_open(size: StatedSize) -> bool:
    """Whether a stated size is none, but -1 or a name."""
    return isinstance(size, str) or size == -1


def known_sizes(shape: tuple[StatedSize, ...]) -> tuple[int | None, ...]:
    """Return a stated shape with ``None`` for open sizes."""
    return tuple(size if isinstance(size, int) and size != -1 else None for size in shape)


def topological_order(
    nodes: Sequence[RawNode], roots: Iterable[int], leaves: frozenset[Edge], with_controls: bool
) -> tuple[int, ...]:
    """Return the nodes that ``roots`` need, operands first.

    Args:
        nodes: all nodes.
        roots: indices of the wanted nodes.
        leaves: tensors that are given from outside; what stands before them is not followed.
        with_controls: whether control inputs count as operands too.

    Raises:
        GraphError: the nodes form a cycle (one that a node of the role ``LOOP`` closes does not count: the operations
            of such loops are reported as unsupported instead).
    """
    pending = list(roots)

    def below(index: int) -> Iterator[int]:
        for operand in _operands(nodes[index], leaves, with_controls):
            if nodes[operand].role is Role.LOOP:
                pending.append(operand)
            else:
                yield operand

    return operands_first(len(nodes), pending, below, lambda index: nodes[index].name)


def operands_first(
    count: int, roots: Iterable[int], below: Callable[[int], Iterator[int]], name: Callable[[int], str]
) -> tuple[int, ...]:
    """Return the roots, and what is below them, each behind all that is below it.

    Args:
        count: how many there are.
        roots: where to begin, in this order; more may be added while they are gone through.
        below: what one needs.
        name: what messages call one.

    Raises:
        GraphError: one needs itself.
    """
    order: list[int] = []
    state = bytearray(count)  # 0 new, 1 on the stack, 2 done
    for root in roots:
        if state[root]:
            continue
        state[root] = 1
        stack = [(root, below(root))]
        while stack:
            index, operands = stack[-1]
            operand = next(operands, None)
            if operand is None:
                state[index] = 2
                order.append(index)
                stack.pop()
            elif not state[operand]:
                state[operand] = 1
                stack.append((operand, below(operand)))
            elif state[operand] == 1:
                raise GraphError(f"node {shorten(name(operand))} depends on itself")
    return tuple(order)


def _operands(node: RawNode, leaves: frozenset[Edge], with_controls: bool) -> Iterator[int]:
    data = (edge[0] for edge in node.operands if edge not in leaves)
    return chain(data, node.controls) if with_controls else data
