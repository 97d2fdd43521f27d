"""The table of nodes of a model: names resolved, functions inlined, sorted.

Nodes of branches and bodies stand in the same table, before the node that reads their results; they read outer tensors
by the same edges as everybody.  Every edge leads to a node further up, so the order of the table is an order to compute
in, and there are no cycles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from smalti.frontend.onnx.attrs import AttrReader
from smalti.frontend.onnx.handlers import TABLE
from smalti.frontend.onnx.nodes import IF, IF_FALSE, IF_TRUE, INPUT, OnnxNode
from smalti.frontend.onnx.ops.graph import stated
from smalti.frontend.onnx.wire.types import OnnxType, ValueType
from smalti.frontend.raw import Edge, RawNode, StatedSize
from smalti.frontend.table import OpTable

_ABOUT_INPUTS = frozenset((INPUT, IF, IF_TRUE, IF_FALSE))
_NAME_RULE = "give the name of a tensor, as a viewer of ONNX files shows it"


@dataclass(frozen=True, slots=True)
class OnnxOutput:
    """An output of the model, and what the file says of its type: a hint, which may be wrong, or ``None``."""

    name: str
    edge: Edge
    declared: ValueType | None


@dataclass(frozen=True, slots=True, eq=False)
class OnnxGraph:
    """A model: a :class:`smalti.frontend.format.RawGraph`.

    Attributes:
        nodes: the table.
        tensors: the tensors that have a name outside of branches and bodies; those of inlined functions too.
        results: the outputs, in file order.
        opsets: the version of each domain that the model names.
        ir_version: of ONNX's format.
        producer: what wrote the file, in its own words; may be empty.
        nodes_in_file: nodes of the main graph, before functions were inlined.
        calls: calls of local functions that were inlined.
    """

    nodes: tuple[OnnxNode, ...]
    tensors: Mapping[str, Edge]
    results: tuple[OnnxOutput, ...]
    opsets: Mapping[str, int]
    ir_version: int
    producer: str
    nodes_in_file: int
    calls: int

    @property
    def table(self) -> OpTable[AttrReader]:
        """The handlers of ONNX's operations."""
        return TABLE

    @property
    def outputs(self) -> tuple[Edge, ...]:
        """The tensors that the file names as its outputs."""
        return tuple(result.edge for result in self.results)

    @property
    def about_inputs(self) -> frozenset[str]:
        """Inputs and branches: ``--input-shape`` and ``--bind`` decide them."""
        return _ABOUT_INPUTS

    def attributes(self, node: RawNode) -> AttrReader:
        """Return a new reader of the attributes of a node."""
        return AttrReader(node.message)

    def tensor(self, name: str) -> Edge | None:
        """Return the tensor of a name, or ``None``.

        Names in ONNX may have colons and mostly have none: ``x:0`` is also ``x``, as it is everywhere else, unless the
        model has a tensor called so.
        """
        found = self.tensors.get(name)
        return self.tensors.get(name.removesuffix(":0")) if found is None else found

    def name_rule(self, name: str) -> str | None:
        """Return what a name is where there is none."""
        return None if name else _NAME_RULE

    def name_of(self, edge: Edge) -> str:
        """Return the name of a tensor; one that a file leaves without a name has that of its node, and its number."""
        node = self.nodes[edge[0]]
        name = node.outputs[edge[1]] if edge[1] < len(node.outputs) else ""
        return name or f"{node.name}:{edge[1]}"

    def output_count(self, node: RawNode) -> int:
        """Return how many results a node has."""
        return max(1, len(self.nodes[node.index].outputs))

    def stated_kind(self, edge: Edge) -> OnnxType | None:
        """Return the element type that the file states for an input or a constant, or ``None``."""
        node = self.nodes[edge[0]]
        if node.given is not None:
            return node.given.kind
        reader = self.attributes(node)
        return reader.tensor("value").kind if node.op == "Constant" and "value" in reader else None

    def stated_shape(self, edge: Edge) -> tuple[StatedSize, ...] | None:
        """Return the shape that the file states for an input (-1: open, without a name), or ``None``."""
        given = self.nodes[edge[0]].given
        return None if given is None else stated(given.shape)

    def needed(self, roots: Iterable[Edge], leaves: frozenset[Edge] = frozenset()) -> tuple[int, ...]:
        """Return the nodes that tensors need, bodies included, in the order of the table.

        Args:
            roots: the wanted tensors.
            leaves: tensors that are given from outside; what stands before them alone is not needed.
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
            for edge in (*node.operands, *(edge for body in node.bodies() for edge in body.outputs)):
                if edge not in leaves:
                    marked[edge[0]] = 1
            for below in node.controls:
                marked[below] = 1
        return tuple(index for index, there in enumerate(marked) if there)
