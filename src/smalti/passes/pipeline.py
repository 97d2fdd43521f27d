"""The list of passes from level imported to level canonical, and the loop that runs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Protocol

from smalti.errors import CompilerError, GraphError, SmaltiError, UsageError
from smalti.ir.graph import Graph, Level
from smalti.ir.verify import verify
from smalti.passes import (
    activations,
    atrous,
    batchnorm,
    channel_order,
    constants,
    cse,
    input_scaling,
    layout,
    pads,
    pooling,
    pooling_branch,
    residual,
    resize_argmax,
    scales,
    space_batch,
)

PassFunction = Callable[[Graph], tuple[Graph, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Pass:
    """One step of the pipeline: ``function`` returns the new graph and notes for the import report."""

    name: str
    function: PassFunction
    why: str


def _to_canonical(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    return replace(graph, level=Level.CANONICAL), ()


PIPELINE: tuple[Pass, ...] = (
    Pass("constants", constants.fold, "everything below matches constants, not the arithmetic that makes them"),
    Pass("cse", cse.merge, "before rules that ask whether a node has one reader"),
    Pass("layout", layout.to_nhwc, "all rules below know NHWC only"),
    Pass("pooling", pooling.to_reduction, "static graphs then pool as graphs of any size do"),
    Pass("atrous", atrous.to_dilation, "before folding: batch norms then stand right behind the convolution"),
    Pass("pads", pads.fold, "after atrous, which needs the paddings as the graph states them"),
    Pass("batchnorm", batchnorm.fold, "before activations, behind which nothing more can be folded"),
    Pass("input_scaling", input_scaling.fold, "before scales, which would take a part of the chain away"),
    Pass("scales", scales.fold, "what the input convolution did not take"),
    Pass(
        "channel_order", channel_order.fold, "after what is folded into weights, before activations end a convolution"
    ),
    Pass("activations", activations.fuse, "before residual: a convolution with an activation takes no residual"),
    Pass("residual", residual.fuse, "after all that may still change the convolution"),
    Pass("activations_of_sums", activations.fuse, "the activation behind a sum, as in ResNet"),
    Pass("pooling_branch", pooling_branch.split, "after the folding: the split bias is no constant any more"),
    Pass("space_batch", space_batch.lower, "no rule above can use what is left"),
    Pass("canonical", _to_canonical, "from here on the verifier allows no idioms of TensorFlow"),
    Pass("resize_argmax", resize_argmax.fuse, "makes an operation that only canonical graphs have"),
    Pass("constants_again", constants.fold, "the passes above leave reshapes, broadcasts and foldable weights behind"),
    Pass("cse_again", cse.merge, "folding made equal constants"),
)


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass did.

    ``difference`` maps names of operations to how many more (or fewer) there are; dead code is what no output needs, so
    it leaves the counts by itself.
    """

    name: str
    why: str
    seconds: float
    nodes: int
    difference: Mapping[str, int]
    notes: tuple[str, ...]


class Instrument(Protocol):
    """Called with the graph before the first pass (number 0, no report) and after every pass."""

    def __call__(self, number: int, graph: Graph, report: PassReport | None) -> None: ...


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """The last graph and what each pass did."""

    graph: Graph
    reports: tuple[PassReport, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was recognised, in words, for the import report."""
        return tuple(note for report in self.reports for note in report.notes)

    @property
    def timings(self) -> dict[str, float]:
        """Seconds of each pass."""
        return {report.name: report.seconds for report in self.reports}


def histogram(graph: Graph) -> dict[str, int]:
    """Return how many nodes of each operation a graph has, by name."""
    return dict(sorted(Counter(type(node.op).__name__ for node in graph.nodes()).items()))


def difference(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return the operations whose count changed, with the change."""
    names = sorted({*before, *after})
    changes = {name: after.get(name, 0) - before.get(name, 0) for name in names}
    return {name: change for name, change in changes.items() if change}


def run_pipeline(
    graph: Graph, stop_at: str | None = None, instrument: Instrument | None = None, *, check: bool = False
) -> PipelineResult:
    """Run the passes on an imported graph.

    Args:
        graph: level imported.
        stop_at: name of the last pass to run (default: all; only then the graph is canonical).
        instrument: sees every graph on the way.
        check: verify the graph before the first and after every pass; the last one is always verified.

    Raises:
        UsageError: no pass has that name.
        GraphError: the graph is too large and deep to be rewritten in reasonable time.
        CompilerError: a pass failed or broke a rule of its level.
    """
    names = [p.name for p in PIPELINE]
    if stop_at is not None and stop_at not in names:
        raise UsageError(f"there is no pass named {stop_at!r}; the passes are {', '.join(names)}")
    if check:
        verify(graph, Level.IMPORTED)
    if instrument is not None:
        instrument(0, graph, None)
    reports: list[PassReport] = []
    passes = PIPELINE if stop_at is None else PIPELINE[: names.index(stop_at) + 1]
    for number, step in enumerate(passes, start=1):
        graph, report = _run(step, graph, check or step is passes[-1])
        reports.append(report)
        if instrument is not None:
            instrument(number, graph, report)
    return PipelineResult(graph, tuple(reports))


def _run(step: Pass, graph: Graph, check: bool) -> tuple[Graph, PassReport]:
    before, start = histogram(graph), perf_counter()
    try:
        graph, notes = step.function(graph)
        seconds = perf_counter() - start
        if check:
            verify(graph)
    except GraphError as error:
        raise GraphError(f"pass {step.name}: {error}") from error
    except SmaltiError as error:
        raise CompilerError(f"pass {step.name}: {error}") from error
    after = histogram(graph)
    return graph, PassReport(step.name, step.why, seconds, sum(after.values()), difference(before, after), notes)
