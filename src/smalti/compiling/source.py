"""The graph that is compiled: a file of any format that is read, told apart by its bytes, and its import."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from smalti.errors import GraphError, UsageError
from smalti.frontend.budget import DEFAULT_LIMITS, GraphLimits
from smalti.frontend.importing.importer import Imported, ImportOptions, import_with
from smalti.frontend.onnx.digest import model_digest
from smalti.frontend.onnx.reader import read_model
from smalti.frontend.recognise import ONNX, READ_KINDS, graph_in_folder, recognise_bytes, recognise_file
from smalti.frontend.tensorflow.importer import import_graph


@dataclass(frozen=True, slots=True, eq=False)
class GraphFile:
    """A graph, of whatever format.

    Attributes:
        data: the bytes of its file.
        sha256: of the file, and of values that stand in second files.
        folder: where second files are; ``None`` where the graph was given as bytes, and has none.
    """

    data: bytes = field(repr=False)
    sha256: str
    folder: Path | None = None


def graph_file(graph: bytes | GraphFile) -> GraphFile:
    """Return a graph that may be given as bytes."""
    return GraphFile(graph, hashlib.sha256(graph).hexdigest()) if isinstance(graph, bytes) else graph


def read_graph(path: Path, limits: GraphLimits = DEFAULT_LIMITS) -> GraphFile:
    """Read the file of a graph, or that of a folder, of at most ``limits.max_bytes``.

    Raises:
        UsageError: there is no such file, or a folder holds no graph.
        GraphError: it is something else (the text says what, and what to do), or too large.
    """
    if path.is_dir():
        path = graph_in_folder(path)
    if not path.is_file():
        raise UsageError(f"there is no graph {path}: give {READ_KINDS}")
    known = recognise_file(path)
    if known is not None and known.advice:
        raise GraphError(f"{path} is {known.advice}")
    size = path.stat().st_size
    if size > limits.max_bytes:
        raise GraphError(f"{path} has {size} bytes; the limit for a graph is {limits.max_bytes} (--max-graph-bytes)")
    data, folder = path.read_bytes(), path.parent
    if known is not None and known.name == ONNX:
        return GraphFile(data, model_digest(data, folder, limits), folder)
    return GraphFile(data, hashlib.sha256(data).hexdigest(), folder)


def import_file(graph: GraphFile, options: ImportOptions) -> Imported:
    """Import a graph of the format that its bytes show.

    Raises:
        GraphError: the graph is damaged, of no format that is read, or not supported.
        UsageError: an option does not fit it.
    """
    known = recognise_bytes(graph.data)
    if known is not None and known.name == ONNX:
        if options.drop_dropout:
            raise UsageError("--drop-dropout is for TensorFlow graphs: leave it out, dropout of ONNX drops nothing")
        return import_with(partial(read_model, graph.data, folder=graph.folder), options)
    return import_graph(graph.data, options)
