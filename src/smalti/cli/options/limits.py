"""How large a graph ``smalti build`` takes: for graphs from strangers, and for very large ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from smalti.frontend.budget import DEFAULT_LIMITS, LARGEST_GRAPH_BYTES, GraphLimits


@dataclass(frozen=True, slots=True)
class LimitOptions:
    """What was said on the command line."""

    max_graph_bytes: Annotated[
        int, typer.Option("--max-graph-bytes", min=1, max=LARGEST_GRAPH_BYTES, help="Refuse a larger graph file.")
    ] = DEFAULT_LIMITS.max_bytes
    max_graph_nodes: Annotated[
        int, typer.Option("--max-graph-nodes", min=1, help="Refuse a graph with more nodes, before parsing it.")
    ] = DEFAULT_LIMITS.max_nodes
    max_constant_bytes: Annotated[
        int, typer.Option("--max-constant-bytes", min=1, help="Refuse a graph whose constants take more, all together.")
    ] = DEFAULT_LIMITS.max_constant_bytes

    def limits(self) -> GraphLimits:
        """Return the limits of the import."""
        return GraphLimits(self.max_graph_bytes, self.max_graph_nodes, self.max_constant_bytes)
