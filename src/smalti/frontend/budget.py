"""How large a graph may be: limits that hold before anything of that size is read or made."""

from __future__ import annotations

from dataclasses import dataclass

from smalti.errors import UsageError

LARGEST_GRAPH_BYTES = (1 << 31) - 1
"""What protobuf can parse."""
MAX_RANK = 8
MAX_DIM = (1 << 31) - 1
MAX_ELEMENTS = 1 << 40
"""Limits of any one tensor, also of computed ones."""


@dataclass(frozen=True, slots=True)
class GraphLimits:
    """Limits for graphs from strangers.

    Attributes:
        max_bytes: size of the file, in bytes.
        max_nodes: its nodes.
        max_constant_bytes: all constants together, in bytes.

    Raises:
        UsageError: a limit is out of range.
    """

    max_bytes: int = LARGEST_GRAPH_BYTES
    max_nodes: int = 250_000
    max_constant_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        if not 1 <= self.max_bytes <= LARGEST_GRAPH_BYTES:
            raise UsageError(f"the limit of a graph's bytes must be 1 to {LARGEST_GRAPH_BYTES}, not {self.max_bytes}")
        if self.max_nodes < 1 or self.max_constant_bytes < 1:
            raise UsageError("the limits of a graph's nodes and of its constants' bytes must be at least 1")


DEFAULT_LIMITS = GraphLimits()
