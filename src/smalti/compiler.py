"""The compiler: frontend, passes, plan, code generation, one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from smalti.artifact.manifest import Manifest
from smalti.artifact.program import Program
from smalti.codegen.assemble import Generated, generate, say_sharing
from smalti.codegen.constants import ConstantPool
from smalti.compiling.about import describe, describe_precision
from smalti.compiling.options import CompileOptions
from smalti.compiling.sizes import import_shaped
from smalti.compiling.source import GraphFile, graph_file
from smalti.frontend.report import ImportReport
from smalti.kernels.kernel import Kernel
from smalti.kernels.registry import FUSED, KERNELS
from smalti.passes.meaningful import check_meaningful
from smalti.passes.pipeline import PIPELINE, Instrument, run_pipeline
from smalti.plan.planner import plan_graph
from smalti.plan.schedule import Plan
from smalti.quant.calibrate import check_record
from smalti.quant.record import CalibrationRecord
from smalti.quant.scheme import quantise
from smalti.target.target import Target

__all__ = ["CompileOptions", "CompiledModel", "compile_graph"]


@dataclass(frozen=True, slots=True)
class CompiledModel:
    """What goes into an offline model file, with the plans it was made from.

    There is a program and a plan for each target, the most demanding first; ``constants`` are those of all.
    """

    programs: tuple[Program, ...]
    constants: bytes = field(repr=False)
    report: ImportReport
    plans: tuple[Plan, ...] = field(repr=False)

    @property
    def manifest(self) -> Manifest:
        """The manifest of the first program."""
        return self.programs[0].manifest

    @property
    def code(self) -> bytes:
        """The code of the first program."""
        return self.programs[0].code

    @property
    def plan(self) -> Plan:
        """The plan of the first program."""
        return self.plans[0]


def compile_graph(
    graph: bytes | GraphFile,
    options: CompileOptions,
    instrument: Instrument | None = None,
    kernels: Sequence[Kernel] = KERNELS,
    record: CalibrationRecord | None = None,
    on_target: Callable[[Target], None] | None = None,
) -> CompiledModel:
    """Compile a graph of any format that is read.

    Args:
        graph: the file (:func:`smalti.compiling.source.read_graph`), or the bytes of one that is whole by itself.
        options: what to make of it.
        instrument: sees the graph after the import and after every pass.
        kernels: kernels to choose from, in order of preference.
        record: ranges of the activations, for the modes that quantise.
        on_target: told for which target code is generated next.

    Raises:
        GraphError: the graph is damaged or not supported (then the error lists every unsupported node), or computes
            nothing that has a meaning.
        UsageError: an option does not fit the graph; the mode needs ranges and there are none, or those of another
            graph.
    """
    source = graph_file(graph)
    imported = import_shaped(source, options)
    optimised = run_pipeline(imported.graph, instrument=instrument)
    check_meaningful(optimised.graph)
    if record is not None:
        check_record(record, optimised.graph, source.sha256)
    quantised = quantise(optimised.graph, options.quant, record)
    if instrument is not None and quantised.graph is not optimised.graph:
        instrument(len(PIPELINE) + 1, quantised.graph, None)
    notes = (*optimised.notes, *quantised.notes)
    report = replace(imported.report, recognised=(*imported.report.recognised, *notes))
    about = {
        **describe(source, imported.graph, options, report),
        "quantisation": describe_precision(options.quant, quantised, record),
    }
    pool, plans, made = ConstantPool(), list[Plan](), list[Generated]()
    for target in sorted(options.targets, key=lambda target: target.preference):
        if on_target is not None:
            on_target(target)
        plans.append(plan_graph(quantised.graph, target, kernels, fused=FUSED))
        made.append(generate(plans[-1], about, pool))
    codes = (program.code for program in made)
    programs = tuple(Program(*parts) for parts in zip(say_sharing(made), codes, strict=True))
    return CompiledModel(programs, made[-1].constants, report, tuple(plans))
