"""What a format must bring: a graph of raw nodes that knows its names, its attributes and its table of handlers."""

from __future__ import annotations

from typing import Protocol, TypeVar

from smalti.frontend.attributes import Attributes
from smalti.frontend.kinds import ElementKind
from smalti.frontend.raw import Edge, RawNode, StatedSize
from smalti.frontend.table import OpTable

A = TypeVar("A", bound=Attributes)


class RawGraph(Protocol[A]):
    """A graph as a reader of some format made it; all of it may come from strangers."""

    @property
    def nodes(self) -> tuple[RawNode, ...]:
        """All nodes; ``nodes[i].index`` is ``i``."""

    @property
    def table(self) -> OpTable[A]:
        """The handlers of the format."""

    @property
    def outputs(self) -> tuple[Edge, ...]:
        """The results that the file names; ``()`` where a format has none, so that tensors nobody reads are taken."""

    @property
    def about_inputs(self) -> frozenset[str]:
        """Operations whose refusal an option about inputs can often mend: inputs, branches."""

    def attributes(self, node: RawNode) -> A:
        """Return a new reader of the attributes of a node.

        Raises:
            GraphError: they contradict each other.
        """

    def tensor(self, name: str) -> Edge | None:
        """Return the tensor that a user calls ``name``, or ``None`` where there is no such node."""

    def name_rule(self, name: str) -> str | None:
        """Return how names of tensors look where ``name`` cannot be one, else ``None``."""

    def name_of(self, edge: Edge) -> str:
        """Return the format's name of a tensor."""

    def output_count(self, node: RawNode) -> int:
        """Return how many results a node has; they are results of the graph when nobody reads any of them."""

    def stated_kind(self, edge: Edge) -> ElementKind | None:
        """Return the element type that the file states for a tensor, or ``None``.

        Raises:
            GraphError: the attribute that states it is damaged.
        """

    def stated_shape(self, edge: Edge) -> tuple[StatedSize, ...] | None:
        """Return the shape that the file states for an input, or ``None`` where it states no rank."""
