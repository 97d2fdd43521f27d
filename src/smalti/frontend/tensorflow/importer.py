"""GraphDef bytes -> IR graph: an abstract interpretation of the TensorFlow graph in topological order.

Every tensor gets a type, and small integer tensors get their elements too (numbers, or sizes that depend on the image).
So all shape arithmetic is done here, and what is left is a graph of data operations with sizes as attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from smalti.errors import GraphError, UsageError
from smalti.frontend.budget import DEFAULT_LIMITS, GraphLimits
from smalti.frontend.context import NeedsLimit
from smalti.frontend.evaluate import Evaluation, InputRule
from smalti.frontend.report import ImportReport
from smalti.frontend.summary import summarise
from smalti.frontend.tensorflow.attrs import shorten
from smalti.frontend.tensorflow.rawgraph import Edge, RawGraph, read_graph, split_tensor_name
from smalti.frontend.tensorflow.selection import MAX_RESTARTS, cut_rules, default_inputs, default_outputs
from smalti.ir.graph import Graph, Level

Override = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What to import and how.

    Attributes:
        inputs: tensors that become the graph inputs (``ImageTensor:0``, or ``ImageTensor``); ``None``: the placeholders
            that the outputs need.
        outputs: tensors that become the graph outputs; ``None``: the tensors nobody reads.
        input_shapes: the shape of an input by name, in place of its own (``None`` sizes stay open).
        batch_size: images per call where the graph leaves the first size of an input open.
        limits: how large the graph may be.
    """

    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    input_shapes: Mapping[str, Override] = field(default_factory=dict)
    batch_size: int = 1
    limits: GraphLimits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True)
class Imported:
    """An imported graph (level IMPORTED) and what there is to say about it."""

    graph: Graph
    report: ImportReport


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
        UsageError: an option names a tensor that does not exist.
    """
    chosen = options or ImportOptions()
    if chosen.batch_size < 1:
        raise UsageError(f"the batch size must be at least 1, not {chosen.batch_size}")
    raw = read_graph(data, chosen.limits)
    outputs = _edges(raw, chosen.outputs) if chosen.outputs is not None else default_outputs(raw)
    inputs = _edges(raw, chosen.inputs) if chosen.inputs is not None else default_inputs(raw, outputs)
    overrides = {_edge(raw, name): shape for name, shape in chosen.input_shapes.items()}
    limits: dict[str, int] = {}
    for _ in range(MAX_RESTARTS):
        try:
            return _import_once(raw, inputs, outputs, overrides, chosen, limits)
        except NeedsLimit as signal:
            limits[signal.symbol.name] = min(signal.high, limits.get(signal.symbol.name, signal.high))
    raise GraphError("the graph limits the image size in too many ways")


def _import_once(
    raw: RawGraph,
    inputs: tuple[Edge, ...],
    outputs: tuple[Edge, ...],
    overrides: Mapping[Edge, Override],
    options: ImportOptions,
    limits: Mapping[str, int],
) -> Imported:
    rule = InputRule(inputs, overrides, options.batch_size, dict(limits))
    given = cut_rules(raw, rule, options.limits.max_constant_bytes)
    evaluation = Evaluation(raw, rule, options.limits.max_constant_bytes)
    values = evaluation.run(outputs, given)
    nodes = tuple(evaluation.node_of(v) for v in values)
    names = tuple(raw.name_of(edge) for edge in outputs)
    graph = Graph(evaluation.input_nodes(), nodes, names, Level.IMPORTED)
    return Imported(graph, summarise(raw, graph, evaluation, inputs, outputs))


def _edges(raw: RawGraph, names: tuple[str, ...]) -> tuple[Edge, ...]:
    if not names:
        raise UsageError("name at least one tensor")
    found = tuple(_edge(raw, name) for name in names)
    if len(set(found)) != len(found):
        raise UsageError(f"a tensor is named twice in {', '.join(names)}")
    return found


def _edge(raw: RawGraph, name: str) -> Edge:
    if split_tensor_name(name) is None:
        raise UsageError(f"{shorten(name)} is not the name of a tensor; names look like 'SemanticPredictions:0'")
    found = raw.tensor(name)
    if found is None:
        raise UsageError(f"the graph has no node for the tensor {shorten(name)}")
    return found


def with_static_input(options: ImportOptions, name: str, shape: tuple[int, ...]) -> ImportOptions:
    """Return the options for a graph whose input has one fixed shape."""
    return replace(options, input_shapes={**options.input_shapes, name: shape})
