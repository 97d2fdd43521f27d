"""GraphDef bytes -> IR graph: the reader of this format, and the importer of all."""

from __future__ import annotations

from dataclasses import replace

from smalti.frontend.importing.importer import Imported, ImportOptions, import_with
from smalti.frontend.tensorflow.handlers import TABLE
from smalti.frontend.tensorflow.rawgraph import read_graph

__all__ = ["ImportOptions", "Imported", "import_graph"]


def import_graph(data: bytes, options: ImportOptions | None = None) -> Imported:
    """Import a frozen TensorFlow graph.

    Args:
        data: the bytes of ``frozen_inference_graph.pb``.
        options: see :class:`ImportOptions`.

    Returns:
        The graph and the report.

    Raises:
        GraphError: the graph is damaged, inconsistent or over a limit; the text names the node.
        UnsupportedGraphError: lists every node that this compiler cannot compile.
        UsageError: an option names a tensor that does not exist, or does not fit it.
    """
    chosen = options or ImportOptions()
    raw = read_graph(data, TABLE, chosen.limits, chosen.drop_dropout)
    imported = import_with(lambda limits: raw, chosen)
    report = imported.report
    return Imported(imported.graph, replace(report, notes=(*raw.notes, *report.notes))) if raw.notes else imported
