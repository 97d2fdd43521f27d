"""The compiler: frontend, passes, plan, code generation, one after another."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from smalti import __version__
from smalti.artifact.format import MAX_PROGRAMS
from smalti.artifact.manifest import Manifest
from smalti.artifact.program import Program
from smalti.codegen.assemble import Generated, generate, say_sharing
from smalti.codegen.constants import ConstantPool
from smalti.errors import UsageError
from smalti.frontend.budget import DEFAULT_LIMITS, GraphLimits
from smalti.frontend.report import ImportReport
from smalti.frontend.tensorflow.importer import Imported, ImportOptions, import_graph
from smalti.ir.dims import symbols_of
from smalti.ir.graph import Graph, Node
from smalti.kernels.kernel import Kernel
from smalti.kernels.registry import FUSED, KERNELS
from smalti.llvm.backend import llvm_version
from smalti.passes.meaningful import check_meaningful
from smalti.passes.pipeline import PIPELINE, Instrument, run_pipeline
from smalti.plan.planner import plan_graph
from smalti.plan.schedule import Plan
from smalti.quant.calibrate import check_record
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord
from smalti.quant.scheme import Quantised, quantise
from smalti.target.target import Target

DEFAULT_INPUT_SIZE = 513
IMAGE_RANK = 4


@dataclass(frozen=True, slots=True)
class CompileOptions:
    """What to make of a graph.

    Attributes:
        targets: the CPUs to generate code for: a program in the file for each.
        quant: precision mode and its choices.
        shape_mutable: any height and width up to the graph's own limit in one file; otherwise one fixed size.
        input_size: height and width of a fixed shape, and the size images are scaled to; ``None`` takes the graph's own
            limit, or 513 where a fixed shape is asked for and the graph has none.
        batch_size: images in one call; ``None`` allows any number.
        inputs: TensorFlow tensor names that cut the graph at its beginning; ``None``: its own inputs.
        outputs: TensorFlow tensor names that cut the graph at its end; ``None``: its own outputs.
        name: name of the model in reports.
        labels: class names to store in the file.
        limits: how large the graph may be.
    """

    targets: tuple[Target, ...]
    quant: QuantOptions = QuantOptions()
    shape_mutable: bool = True
    input_size: int | None = None
    batch_size: int | None = None
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    name: str = "model"
    labels: tuple[str, ...] | None = None
    limits: GraphLimits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if not 1 <= len(self.targets) <= MAX_PROGRAMS:
            raise UsageError(f"a model file is for 1 to {MAX_PROGRAMS} targets, not {len(self.targets)}")
        if len(set(self.targets)) != len(self.targets):
            raise UsageError(f"a target is named twice: {', '.join(map(str, self.targets))}")

    @property
    def target(self) -> Target:
        """The only target.

        Raises:
            UsageError: there are several.
        """
        if len(self.targets) > 1:
            raise UsageError(f"this needs one target, not {', '.join(map(str, self.targets))}")
        return self.targets[0]

    @property
    def quant_mode(self) -> QuantMode:
        """Precision mode."""
        return self.quant.mode


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
    data: bytes,
    options: CompileOptions,
    instrument: Instrument | None = None,
    kernels: Sequence[Kernel] = KERNELS,
    record: CalibrationRecord | None = None,
    on_target: Callable[[Target], None] | None = None,
) -> CompiledModel:
    """Compile GraphDef bytes.

    Args:
        data: a serialised frozen GraphDef.
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
    imported = import_shaped(data, options)
    optimised = run_pipeline(imported.graph, instrument=instrument)
    check_meaningful(optimised.graph)
    if record is not None:
        check_record(record, optimised.graph, hashlib.sha256(data).hexdigest())
    quantised = quantise(optimised.graph, options.quant, record)
    if instrument is not None and quantised.graph is not optimised.graph:
        instrument(len(PIPELINE) + 1, quantised.graph, None)
    notes = (*optimised.notes, *quantised.notes)
    report = replace(imported.report, recognised=(*imported.report.recognised, *notes))
    about = {
        **describe(data, imported.graph, options, report),
        "quantisation": _describe_precision(options.quant, quantised, record),
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


def import_shaped(data: bytes, options: CompileOptions) -> Imported:
    """Import a graph for any image size, or for the one size that the options ask for.

    Raises:
        GraphError: the graph is damaged or not supported.
        UsageError: the size is over the graph's own limit.
    """
    choice = ImportOptions(inputs=options.inputs, outputs=options.outputs, limits=options.limits)
    imported = import_graph(data, choice)
    for node in imported.graph.inputs:
        limit = _size_limit(node)
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


def _size_limit(node: Node) -> int | None:
    """Return the largest image side that a graph input takes, or ``None`` where nothing limits it."""
    highs = [s.high for size in node.type.shape for s in symbols_of(size)]
    if highs and all(h is not None for h in highs):
        return max(h for h in highs if h is not None)
    return None


def _describe_precision(
    options: QuantOptions, quantised: Quantised, record: CalibrationRecord | None
) -> dict[str, Any]:
    """Return what the file says about its precision: settings, layers, and the steps of every quantised tensor."""
    described: dict[str, Any] = {
        "float_type": options.mode.float_type.value,
        "keep": list(options.keep),
        "layers": [[n.name, n.activations.value, n.weights.value, n.why] for n in quantised.layers],
    }
    if options.mode.quantised is not None and record is not None:
        described |= {
            "calib_algo": options.calib_algo.value,
            "weight_granularity": options.weight_granularity.value,
            "activation": options.activation.value,
            "tensors": {
                name: {"scale": p.scale, "zero_point": p.zero_point, "dtype": p.dtype.value, "range": list(p.range)}
                for name, p in sorted(quantised.params.items())
            },
            "means": {name: _packed_means(record, name) for name in sorted(quantised.params)},
            "calibration": record.summary(),
        }
    return described


def _packed_means(record: CalibrationRecord, name: str) -> str:
    """Return the mean of each channel of a tensor, float32 in base64: biases were corrected with it."""
    stats = record.tensors.get(name)
    means = () if stats is None else stats.channel_mean
    return base64.b64encode(np.asarray(means, "<f4").tobytes()).decode("ascii")


def describe(data: bytes, graph: Graph, options: CompileOptions, report: ImportReport) -> dict[str, Any]:
    """Return the free-form part of a manifest: what the file says about its origin and its use."""
    images = [n for n in graph.inputs if n.type.rank == IMAGE_RANK]
    if not images:
        preprocess: dict[str, Any] = {"input_size": None, "resize": "none"}
    elif options.shape_mutable:
        size = options.input_size or _size_limit(images[0])
        preprocess = {"input_size": size, "resize": "none" if size is None else "fit"}
    else:
        preprocess = {"input_size": images[0].type.shape[1], "resize": "stretch"}
    return {
        "precision": options.quant_mode.value,
        "batch_size": options.batch_size,
        "shape_mutable": options.shape_mutable,
        "labels": options.labels,
        "producer": {"smalti": __version__, "llvm": llvm_version()},
        "graph": {"name": options.name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)},
        "preprocess": preprocess,
        "report": report.to_json(),
    }
