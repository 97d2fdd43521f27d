"""Nodes and graphs: frozen values; a rewrite makes new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from smalti.errors import CompilerError
from smalti.ir.dims import Symbol
from smalti.ir.schema import Op, operand_index
from smalti.ir.sizes import symbols_of
from smalti.ir.types import Level as Level
from smalti.ir.types import TensorType as TensorType


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operation applied to the results of other nodes; equality is identity.

    Make nodes with :func:`smalti.ir.infer.make_node`, which computes ``type`` and checks the operands.
    """

    op: Op
    inputs: tuple[Node, ...]
    type: TensorType
    name: str

    def operand(self, name: str) -> Node | None:
        """Return the operand that the operation calls by this name, or ``None`` where it has none."""
        position = operand_index(self.op, name)
        return None if position is None else self.inputs[position]

    @property
    def x(self) -> Node:
        """The operand that the operation works on."""
        return self._required("x")

    @property
    def weights(self) -> Node:
        """The weights of a convolution or a matrix product."""
        return self._required("weights")

    @property
    def bias(self) -> Node | None:
        """The bias of a convolution, if it has one."""
        return self.operand("bias")

    @property
    def multiplier(self) -> Node:
        """The multipliers of an integer convolution."""
        return self._required("multiplier")

    @property
    def residual(self) -> Node | None:
        """What a convolution adds to its result, if anything."""
        return self.operand("residual")

    def _required(self, name: str) -> Node:
        found = self.operand(name)
        if found is None:
            raise CompilerError(f"{self!r} has no operand {name!r}")
        return found

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
