"""Import a graph for every image size, or for one."""

from __future__ import annotations

from dataclasses import replace

from smalti.compiling.options import CompileOptions
from smalti.errors import UsageError
from smalti.frontend.tensorflow.importer import Imported, ImportOptions, import_graph
from smalti.ir.dims import symbols_of
from smalti.ir.graph import Node

DEFAULT_INPUT_SIZE = 513


def import_shaped(data: bytes, options: CompileOptions) -> Imported:
    """Import a graph for any image size, or for the one size that the options ask for.

    Raises:
        GraphError: the graph is damaged or not supported.
        UsageError: the size is over the graph's own limit.
    """
    choice = ImportOptions(inputs=options.inputs, outputs=options.outputs, limits=options.limits)
    imported = import_graph(data, choice)
    for node in imported.graph.inputs:
        limit = size_limit(node)
        if options.input_size is not None and limit is not None and options.input_size > limit:
            raise UsageError(
                f"--input-size {options.input_size} is over the limit of this graph, {limit} (it pads images to that)"
            )
        if not options.shape_mutable and _has_open_size(node):
            size = options.input_size or limit or DEFAULT_INPUT_SIZE
            shape = tuple(s if isinstance(s, int) else size for s in node.type.shape)
            choice = replace(choice, input_shapes={**choice.input_shapes, node.name: shape})
    return import_graph(data, choice) if choice.input_shapes else imported


def _has_open_size(node: Node) -> bool:
    return any(not isinstance(s, int) for s in node.type.shape)


def size_limit(node: Node) -> int | None:
    """Return the largest image side that a graph input takes, or ``None`` where nothing limits it."""
    highs = [s.high for size in node.type.shape for s in symbols_of(size)]
    if highs and all(h is not None for h in highs):
        return max(h for h in highs if h is not None)
    return None
