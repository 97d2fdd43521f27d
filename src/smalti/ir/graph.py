"""Nodes and graphs: frozen values; a rewrite makes new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from smalti.errors import CompilerError
from smalti.ir.dims import Dim, Symbol, product, symbols_of
from smalti.ir.ops import Input, Op, Shape
from smalti.numerics import DType


class Level(Enum):
    """How far a graph has come; each level has its own rules in ``smalti.ir.verify``."""

    IMPORTED = "imported"
    CANONICAL = "canonical"
    QUANTISED = "quantised"


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape of a tensor."""

    dtype: DType
    shape: Shape

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def elements(self) -> int | Dim:
        """Number of elements."""
        return product(self.shape)

    @property
    def nbytes(self) -> int | Dim:
        """Bytes of the dense tensor."""
        return self.elements * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype.value}[{', '.join(str(s) for s in self.shape)}]"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation applied to the results of other nodes; equality is identity.

    Make nodes with :func:`smalti.ir.infer.make_node`, which computes ``type`` and checks the operands.
    """

    op: Op
    inputs: tuple[Node, ...]
    type: TensorType
    name: str

    def __repr__(self) -> str:
        return f"<{type(self.op).__name__} {self.name} {self.type}>"


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph of nodes: what goes in, what comes out, in order.

    ``outputs`` are the result nodes; ``output_names`` are TensorFlow's names for them (``SemanticPredictions:0``); they
    stay when passes replace the nodes.
    """

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    output_names: tuple[str, ...]
    level: Level
    name: str = "graph"

    def __post_init__(self) -> None:
        if len(self.outputs) != len(self.output_names):
            raise CompilerError("a graph needs one name for each output")

    def nodes(self) -> tuple[Node, ...]:
        """Return every node that an output needs, and every input, operands first (deterministic order)."""
        order: list[Node] = []
        done: set[int] = set()
        for root in (*self.inputs, *self.outputs):
            stack: list[tuple[Node, int]] = [(root, 0)]
            while stack:
                node, position = stack.pop()
                if id(node) in done:
                    continue
                if position < len(node.inputs):
                    stack.append((node, position + 1))
                    stack.append((node.inputs[position], 0))
                else:
                    done.add(id(node))
                    order.append(node)
        return tuple(order)

    def users(self) -> dict[Node, tuple[Node, ...]]:
        """Return the nodes that read each node (once per use)."""
        found: dict[Node, list[Node]] = {}
        for node in self.nodes():
            found.setdefault(node, [])
            for operand in node.inputs:
                found[operand].append(node)
        return {node: tuple(users) for node, users in found.items()}

    def symbols(self) -> tuple[Symbol, ...]:
        """Return the size symbols of the inputs, sorted by name."""
        found: set[Symbol] = set()
        for node in self.inputs:
            for size in node.type.shape:
                found |= symbols_of(size)
        return tuple(sorted(found, key=lambda s: s.name))

    def rebuild(self, transform: Callable[[Node, tuple[Node, ...]], Node], level: Level | None = None) -> Graph:
        """Return the graph made by calling ``transform(node, new_inputs)`` on each node, operands first."""
        new: dict[Node, Node] = {}
        for node in self.nodes():
            new[node] = transform(node, tuple(new[i] for i in node.inputs))
        return replace(
            self,
            inputs=tuple(new[n] for n in self.inputs),
            outputs=tuple(new[n] for n in self.outputs),
            level=self.level if level is None else level,
        )

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes())


def is_input(node: Node) -> bool:
    """Whether the node is a graph input."""
    return isinstance(node.op, Input)
