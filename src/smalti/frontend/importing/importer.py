"""Raw nodes -> IR graph: an abstract interpretation of a graph of any format in topological order.

Every tensor gets a type, and small integer tensors get their elements too (numbers, or sizes that depend on the image).
So all shape arithmetic is done here, and what is left is a graph of data operations with sizes as attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from smalti.errors import GraphError, UnsupportedGraphError, UsageError
from smalti.frontend.budget import DEFAULT_LIMITS, GraphLimits
from smalti.frontend.format import RawGraph
from smalti.frontend.given import Plain, Shape, plain_shapes, plain_values, value_text
from smalti.frontend.importing.binds import bound_values
from smalti.frontend.importing.evaluate import Evaluation, InputRule
from smalti.frontend.importing.naming import SHOWN, find_tensor, input_advice, inputs_text
from smalti.frontend.importing.selection import MAX_RESTARTS, cut_rules, default_inputs, default_outputs, refined
from smalti.frontend.importing.summary import summarise
from smalti.frontend.raw import Edge
from smalti.frontend.report import ImportReport
from smalti.frontend.signals import NeedsLimit, NeedsSteps
from smalti.frontend.words import shorten
from smalti.ir.graph import Graph, Level


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What to import and how.

    Attributes:
        inputs: tensors that become the graph inputs (``ImageTensor:0``, or ``ImageTensor``); ``None``: the inputs of
            the file that the outputs need.
        outputs: tensors that become the graph outputs; ``None``: those of the file, or the tensors nobody reads.
        input_shapes: the shape of an input by name (``None``: the graph's own size, which may be open).
        binds: a value by name of a tensor, which becomes a constant: a bool, a number, or nested lists of them.
        batch_size: images per call where the graph leaves the first size of an input open.
        multiple: open heights and widths of pictures are symbols, rounded up to a multiple of this.
        limits: how large the graph may be.
    """

    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    input_shapes: Mapping[str, Iterable[int | None]] = field(default_factory=dict)
    binds: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 1
    multiple: int = 1
    limits: GraphLimits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True)
class Imported:
    """An imported graph (level IMPORTED) and what there is to say about it."""

    graph: Graph
    report: ImportReport


def import_with(read: Callable[[GraphLimits], RawGraph[Any]], options: ImportOptions | None = None) -> Imported:
    """Import the graph that a reader gives.

    Args:
        read: reads a file of some format within limits.
        options: see :class:`ImportOptions`.

    Returns:
        The graph and the report.

    Raises:
        GraphError: the graph is damaged, inconsistent or over a limit; the text names the node.
        UnsupportedGraphError: lists every node that this compiler cannot compile.
        UsageError: an option names a tensor that does not exist, or does not fit it.
    """
    chosen = options or ImportOptions()
    if chosen.batch_size < 1:
        raise UsageError(f"the batch size must be at least 1, not {chosen.batch_size}")
    raw = read(chosen.limits)
    binds = {find_tensor(raw, n, "--bind"): value for n, value in plain_values(chosen.binds).items()}
    bound = frozenset(binds)
    outputs = _edges(raw, chosen.outputs, "--outputs") if chosen.outputs is not None else default_outputs(raw, bound)
    inputs = (
        _edges(raw, chosen.inputs, "--inputs") if chosen.inputs is not None else default_inputs(raw, outputs, bound)
    )
    shapes = plain_shapes(chosen.input_shapes)
    overrides = {find_tensor(raw, n, "--input-shape"): shape for n, shape in shapes.items()}
    _check_named(raw, inputs, binds, overrides)
    rule = InputRule(inputs, overrides, chosen.batch_size, {}, multiple=chosen.multiple)
    rule = replace(rule, frozen=bound_values(raw, binds, rule, chosen.limits.max_constant_bytes))
    for _ in range(MAX_RESTARTS):
        try:
            imported = _import_once(raw, rule, outputs, binds, chosen.limits)
            return _without_idle(imported) if chosen.inputs is None and binds else imported
        except (NeedsLimit, NeedsSteps) as signal:
            rule = refined(rule, signal)
        except UnsupportedGraphError as error:
            if raw.about_inputs.isdisjoint(problem.op for problem in error.problems):
                raise
            raise UnsupportedGraphError(error.problems, input_advice(raw)) from error
    raise GraphError("the graph limits the image size in too many ways")


def _import_once(
    raw: RawGraph[Any], rule: InputRule, outputs: tuple[Edge, ...], binds: Mapping[Edge, Plain], limits: GraphLimits
) -> Imported:
    given = cut_rules(raw, rule, limits.max_constant_bytes)
    evaluation = Evaluation(raw, rule, limits.max_constant_bytes)
    values = evaluation.run(outputs, given)
    for edge in rule.frozen:
        if not evaluation.was_read(edge):
            raise UsageError(f"--bind: the outputs do not depend on {shorten(raw.name_of(edge))}")
    nodes = tuple(evaluation.node_of(v) for v in values)
    names = tuple(raw.name_of(edge) for edge in outputs)
    graph = Graph(evaluation.input_nodes(), nodes, names, Level.IMPORTED)
    report = summarise(raw, graph, evaluation, rule.inputs, outputs)
    notes = tuple(f"{raw.name_of(edge)} is bound to {value_text(value)}" for edge, value in binds.items())
    return Imported(graph, replace(report, notes=(*report.notes, *notes)))


def _without_idle(imported: Imported) -> Imported:
    """Leave out inputs that only the branches need which bound values rule out, such as the rate of a dropout.

    An input of open size stays: sizes that are computed may be its own.
    """
    graph = imported.graph
    read = set(replace(graph, inputs=()).nodes())
    idle = [n for n in graph.inputs if n not in read and all(isinstance(size, int) for size in n.type.shape)]
    if not idle:
        return imported
    names = {node.name for node in idle}
    report = replace(
        imported.report,
        inputs=tuple(info for info in imported.report.inputs if info.name not in names),
        notes=(*imported.report.notes, f"not read, so no input: {', '.join(sorted(names))}"),
    )
    return Imported(replace(graph, inputs=tuple(n for n in graph.inputs if n not in idle)), report)


def _check_named(
    raw: RawGraph[Any], inputs: tuple[Edge, ...], binds: Mapping[Edge, Plain], overrides: Mapping[Edge, Shape]
) -> None:
    for edge in inputs:
        if edge in binds:
            raise UsageError(f"{shorten(raw.name_of(edge))} is named by --inputs and by --bind: leave one of them out")
    for edge in overrides:
        if edge not in inputs and edge not in binds:
            name = shorten(raw.name_of(edge))
            raise UsageError(
                f"--input-shape: {name} is not among the inputs of the chosen outputs (--inputs can cut the graph "
                f"there); {inputs_text(raw, SHOWN)}"
            )


def _edges(raw: RawGraph[Any], names: tuple[str, ...], option: str) -> tuple[Edge, ...]:
    if not names:
        raise UsageError(f"{option}: name at least one tensor")
    found = tuple(find_tensor(raw, name, option) for name in names)
    if len(set(found)) != len(found):
        raise UsageError(f"{option}: a tensor is named twice in {', '.join(names)}; name each once")
    return found
