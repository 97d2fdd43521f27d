"""The bytes of an ONNX model -> a checked table of nodes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from smalti.errors import GraphError, UsageError
from smalti.frontend.budget import DEFAULT_LIMITS, GraphLimits
from smalti.frontend.onnx.expand import Expansion
from smalti.frontend.onnx.functions import functions_of
from smalti.frontend.onnx.graph import OnnxGraph, OnnxOutput
from smalti.frontend.onnx.opsets import check_ir, imported
from smalti.frontend.onnx.plan import plan_graph
from smalti.frontend.onnx.wire.external import Folder
from smalti.frontend.onnx.wire.skeleton import parse_model
from smalti.frontend.onnx.wire.tensors import Store
from smalti.frontend.recognise import ONNX, recognise_bytes
from smalti.frontend.words import shorten

_LONGEST_PRODUCER = 100


def read_model(source: bytes | Path, limits: GraphLimits = DEFAULT_LIMITS, *, folder: Path | None = None) -> OnnxGraph:
    """Read an ONNX model.

    Values of tensors are not decoded before a node is asked for them, and those that stand in a second file are read
    then, from the model's own folder.  A model that is given as bytes has none but the one that is stated.

    Args:
        source: the bytes of the model, or the path of its file.
        limits: how large it may be.
        folder: where the bytes came from; second files are read there.

    Returns:
        The table: functions inlined, names resolved, sorted.  Only what the outputs need has to be supported.

    Raises:
        GraphError: no ONNX model, damaged, inconsistent, of a version that is not read, or over a limit; the text
            names the node.
        UsageError: there is no such file.
    """
    if isinstance(source, Path):
        return _read(_bytes_of(source, limits), Folder(source.parent), limits)
    return _read(source, None if folder is None else Folder(folder), limits)


def _bytes_of(path: Path, limits: GraphLimits) -> bytes:
    try:
        # A pipe without a writer must not be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; give an .onnx file that you may read") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise UsageError(f"{path} is no ordinary file: give an .onnx file")
    with open(descriptor, "rb") as file:
        if status.st_size > limits.max_bytes:
            limit = f"the limit for a graph is {limits.max_bytes} (--max-graph-bytes)"
            raise GraphError(f"{path} has {status.st_size} bytes; {limit}")
        try:
            data = file.read(status.st_size + 1)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}; give an .onnx file that you may read") from error
    if len(data) != status.st_size:
        raise GraphError(f"{path} changed while it was read: give it again when it is written")
    return data


def _read(data: bytes, folder: Folder | None, limits: GraphLimits) -> OnnxGraph:
    known = recognise_bytes(data)
    if known is not None and known.name != ONNX:
        raise GraphError(f"not an ONNX model, but {known.advice or 'a TensorFlow GraphDef'}")
    model = parse_model(data, limits)
    if not model.HasField("graph"):
        raise GraphError("not an ONNX model: it has no graph; give the .onnx file as its exporter wrote it")
    check_ir(model.ir_version)
    opsets = imported(model.opset_import)
    store = Store(data, folder)
    plan = plan_graph(model.graph, store, main=True)
    expansion = Expansion(functions_of(model.functions, store), limits.max_nodes)
    expansion.run(plan, opsets)
    missing = next((name for name, _ in plan.outputs if name not in expansion.tensors), None)
    if missing is not None:
        raise GraphError(f"the output {shorten(missing)} does not exist: no node makes it")
    nodes = tuple(expansion.nodes)
    return OnnxGraph(
        nodes,
        expansion.tensors,
        tuple(OnnxOutput(name, expansion.tensors[name], declared) for name, declared in plan.outputs),
        opsets,
        int(model.ir_version),
        _producer(model),
        len(plan.nodes),
        expansion.calls,
    )


def _producer(model: Any) -> str:
    words = (bytes(part).decode("utf-8", "replace") for part in (model.producer_name, model.producer_version))
    text = " ".join(word for word in words if word and word.isprintable())
    return text[:_LONGEST_PRODUCER]
