"""How large a graph ``smalti build`` takes: for graphs from strangers, and for very large ones."""

from __future__ import annotations

from typing import Annotated

import typer

from smalti.frontend.budget import DEFAULT_LIMITS, LARGEST_GRAPH_BYTES

MaxGraphBytesOption = Annotated[
    int, typer.Option("--max-graph-bytes", min=1, max=LARGEST_GRAPH_BYTES, help="Refuse a larger graph file.")
]
MaxGraphNodesOption = Annotated[
    int, typer.Option("--max-graph-nodes", min=1, help="Refuse a graph with more nodes, before parsing it.")
]
MaxConstantBytesOption = Annotated[
    int, typer.Option("--max-constant-bytes", min=1, help="Refuse a graph whose constants take more, all together.")
]
MAX_GRAPH_BYTES = DEFAULT_LIMITS.max_bytes
MAX_GRAPH_NODES = DEFAULT_LIMITS.max_nodes
MAX_CONSTANT_BYTES = DEFAULT_LIMITS.max_constant_bytes
