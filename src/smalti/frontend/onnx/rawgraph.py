"""The table of nodes of a model: names resolved, functions inlined, sorted.  Nothing here knows an operation.

Everything that makes a tensor is a node: operations, initialisers (as ``Constant``, whatever the file wrote) and inputs
(``Input`` of the domain ``OWN_DOMAIN``).  Nodes of the bodies of an ``If`` or a ``Loop`` stand in the same table,
before the node that has them; they read outer tensors by the same edges as everybody.  Every edge leads to a node
further up, so the order of the table is an order to compute in, and there are no cycles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from smalti.frontend.onnx.attrs import Attribute, AttrReader
from smalti.frontend.onnx.opsets import OWN_DOMAIN, operation
from smalti.frontend.onnx.types import ValueType

INPUT, BODY_INPUT = "Input", "BodyInput"

Edge = tuple[int, int]
"""(index of the node, number of its output)"""


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A graph that is an attribute of a node; its nodes are in the table.

    Attributes:
        inputs: what the node itself feeds (``BodyInput`` nodes); an ``If`` has none.
        outputs: the tensors it gives back.
    """

    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]


@dataclass(frozen=True, slots=True, eq=False)
class OnnxNode:
    """One node.

    Attributes:
        index: its place in the table.
        name: the name for messages: its own, else that of its first output.
        domain, op: the operation; the domain is empty for ONNX's own.
        version: of the domain's operators, as the model or the function around the node imports them.
        inputs: who makes what it reads; ``None`` for an optional input that is left out (never at the end).
        outputs: the names of its tensors, each unique in the table; empty for one that nobody asked for.
        attributes: by name.
        given: what the file says of the type; of inputs alone.
    """

    index: int
    name: str
    domain: str
    op: str
    version: int
    inputs: tuple[Edge | None, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    given: ValueType | None = None

    @property
    def operation(self) -> str:
        """The operation for messages: with its domain, unless that is ONNX's own."""
        return self.op if self.domain == OWN_DOMAIN else operation(self.domain, self.op)

    @property
    def is_input(self) -> bool:
        """Whether this is an input of the model."""
        return self.domain == OWN_DOMAIN and self.op == INPUT

    def bodies(self) -> tuple[Body, ...]:
        """Return the graphs among the attributes."""
        return tuple(a.held for a in self.attributes.values() if isinstance(a.held, Body))

    def reader(self) -> AttrReader:
        """Return a new reader of the attributes."""
        return AttrReader(self.attributes)


@dataclass(frozen=True, slots=True)
class OnnxOutput:
    """An output of the model, and what the file says of its type: a hint, which may be wrong, or ``None``."""

    name: str
    edge: Edge
    declared: ValueType | None


@dataclass(frozen=True, slots=True, eq=False)
class OnnxGraph:
    """A model.

    Attributes:
        nodes: the table.
        tensors: the tensors that have a name outside of bodies; those of inlined functions too.
        inputs: the nodes of the inputs, in file order; what has an initialiser is no input.
        outputs: in file order.
        opsets: the version of each domain that the model names.
        ir_version: of ONNX's format.
        producer: what wrote the file, in its own words; may be empty.
        nodes_in_file: nodes of the main graph, before functions were inlined.
        calls: calls of local functions that were inlined.
    """

    nodes: tuple[OnnxNode, ...]
    tensors: Mapping[str, Edge]
    inputs: tuple[int, ...]
    outputs: tuple[OnnxOutput, ...]
    opsets: Mapping[str, int]
    ir_version: int
    producer: str
    nodes_in_file: int
    calls: int

    def tensor(self, name: str) -> Edge | None:
        """Return the tensor of a name, or ``None``."""
        return self.tensors.get(name)

    def name_of(self, edge: Edge) -> str:
        """Return the name of a tensor."""
        return self.nodes[edge[0]].outputs[edge[1]]

    def needed(
        self, roots: Iterable[Edge], leaves: frozenset[Edge] = frozenset(), bodies: bool = True
    ) -> tuple[int, ...]:
        """Return the nodes that tensors need, in the order of the table.

        Args:
            roots: the wanted tensors.
            leaves: tensors that are given from outside; what stands before them alone is not needed.
            bodies: whether a node needs what its bodies give back; without, one can decide first which it needs.
        """
        marked = bytearray(len(self.nodes))
        for edge in roots:
            if edge not in leaves:
                marked[edge[0]] = 1
        # Edges lead up, so one sweep from below meets every node after all its readers.
        for index in range(len(self.nodes) - 1, -1, -1):
            if not marked[index]:
                continue
            node = self.nodes[index]
            below = [edge for edge in node.inputs if edge is not None]
            if bodies:
                below += [edge for body in node.bodies() for edge in body.outputs]
            for edge in below:
                if edge not in leaves:
                    marked[edge[0]] = 1
        return tuple(index for index, there in enumerate(marked) if there)
