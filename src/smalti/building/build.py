"""Build: a graph becomes an offline model file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalti.artifact.colours import colours_of
from smalti.artifact.program import Program
from smalti.artifact.writer import write_programs
from smalti.compiler import CompiledModel, CompileOptions, compile_graph
from smalti.compiling.sizes import import_shaped
from smalti.compiling.source import read_graph
from smalti.errors import UsageError
from smalti.frontend.report import ImportReport, LeftOut
from smalti.ir import ops
from smalti.ir.graph import Graph, Node
from smalti.jobs.outputs import write_file
from smalti.jobs.table import Fit, Table
from smalti.passes.dump import DumpDir
from smalti.passes.pipeline import PIPELINE, Instrument, PassReport, run_pipeline
from smalti.quant.record import CalibrationRecord
from smalti.target.target import Target

BuildProgress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BuiltProgram:
    """The part of a model file for one target.

    ``steps`` are kernel calls in one inference; of its ``constant_bytes`` other programs use ``shared_bytes`` too.
    """

    target: str
    steps: int
    code_bytes: int
    constant_bytes: int
    shared_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "target": self.target,
            "steps": self.steps,
            "code_bytes": self.code_bytes,
            "constant_bytes": self.constant_bytes,
            "shared_bytes": self.shared_bytes,
        }


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build made.

    Attributes:
        path: the offline model file.
        sha256: its digest, for ``smalti.load(path, sha256=...)``.
        file_bytes, constant_bytes: sizes; the constants are those of all programs.
        seconds: wall time of the build.
        programs: what was made for each target, the most demanding first.
        report: what the importer and the passes recognised.
        precision: the precision mode.
        warnings: what the check of the calibration set found, in words.
        labels: class names in the file, ``None`` where it has none; ``colours``: how many classes have their own.
    """

    path: Path
    sha256: str
    file_bytes: int
    constant_bytes: int
    seconds: float
    programs: tuple[BuiltProgram, ...]
    report: ImportReport
    precision: str
    warnings: tuple[str, ...] = ()
    labels: tuple[str, ...] | None = None
    colours: int = 0

    @property
    def target(self) -> str:
        """The CPUs it runs on: a name, or several with commas."""
        return ",".join(program.target for program in self.programs)

    @property
    def code_bytes(self) -> int:
        """Code of all programs."""
        return sum(program.code_bytes for program in self.programs)

    @property
    def steps(self) -> int:
        """Kernel calls in one inference of the first program."""
        return self.programs[0].steps

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "file_bytes": self.file_bytes,
            "constant_bytes": self.constant_bytes,
            "code_bytes": self.code_bytes,
            "seconds": self.seconds,
            "target": self.target,
            "steps": self.steps,
            "programs": [program.to_json() for program in self.programs],
            "precision": self.precision,
            "warnings": list(self.warnings),
            "labels": None if self.labels is None else list(self.labels),
            "report": self.report.to_json(),
        }


def build(
    tf_model: Path,
    output_model_path: Path,
    options: CompileOptions,
    *,
    record: CalibrationRecord | None = None,
    dump_dir: Path | None = None,
    progress: BuildProgress | None = None,
) -> BuildResult:
    """Compile a graph and write the offline model file.

    Args:
        tf_model: the graph: an ONNX model, or a frozen GraphDef (``frozen_inference_graph.pb``).
        output_model_path: file to write; replaced in one step, so a failed build leaves the old one.
        options: what to make of the graph.
        record: ranges of the activations, for the modes that quantise (see ``smalti.building.calibrate``).
        dump_dir: folder for the text form of the graph after every pass, and the plan.
        progress: told in words what comes next.

    Raises:
        GraphError: the graph is damaged or not supported (the error then lists every unsupported node).
        UsageError: an option does not fit (such as labels that are not as many as the graph's classes), or a path is
            not usable.
    """
    start = time.perf_counter()
    tell = progress or _silent
    tell("importing the graph")
    watcher = _Watcher(tell, options, DumpDir(dump_dir) if dump_dir else None)
    compiled = compile_graph(
        read_graph(tf_model, options.limits), options, watcher, record=record, on_target=watcher.on_target
    )
    tell("writing the model file")
    if dump_dir:
        write_file(dump_dir / "plan.txt", "\n".join(map(str, compiled.plans)).encode())
    check_output_path(output_model_path)
    sha256 = write_programs(output_model_path, compiled.programs, compiled.constants)
    return _result(output_model_path, compiled, sha256, time.perf_counter() - start, record)


def build_passes(tf_model: Path, options: CompileOptions, stop_at: str, dump_dir: Path | None = None) -> ImportReport:
    """Run the passes up to and including ``stop_at`` and write no model file.

    Raises:
        GraphError: the graph is damaged or not supported.
        UsageError: no pass has that name.
    """
    imported = import_shaped(read_graph(tf_model, options.limits), options)
    run_pipeline(imported.graph, stop_at, DumpDir(dump_dir) if dump_dir else None)
    return imported.report


def build_table(result: BuildResult) -> Table:
    """Return what the graph was found to be, what was made of it, and the file."""
    r = result.report
    limits = ", ".join(f"{s.symbol} from {s.low}" + ("" if s.high is None else f" to {s.high}") for s in r.limits)
    dropped = len(r.dropped_asserts)
    depending = sum(not a.holds for a in r.dropped_asserts)
    about = f"{dropped} assertions left out, " + (
        f"{depending} depend on the image" if depending else "all always hold"
    )
    rows = [
        ("graph", f"{r.nodes_used} of {r.nodes_in_file} nodes are needed"),
        *_under("input", [f"{t.name} {t.type}" for t in r.inputs]),
        *_under("output", [f"{t.name} {t.type}" for t in r.outputs]),
        *_under("size", [limits] if limits else []),
        *_under("found", r.recognised),
        *_under("left out", [*_left_out("before the inputs", r.before_inputs), *_left_out("behind", r.after_outputs)]),
        *_under("checks", [about] if dropped else []),
        *_under("note", r.notes),
        *_under("classes", [_classes_line(result)] if result.labels else []),
        ("precision", result.precision),
        *_under("code", [_program_line(program, len(result.programs)) for program in result.programs]),
        ("constants", f"{result.constant_bytes / 1e6:.2f} MB"),
        ("file", f"{result.path}, {result.file_bytes / 1e6:.2f} MB, built in {result.seconds:.1f} s"),
        ("SHA-256", result.sha256),
    ]
    return Table("offline model", ("", ""), tuple(rows), left=(0, 1), fit=Fit(prose=(1,)))


class _Watcher:
    """Sees the passes: tells what comes next, hands the graphs on, and checks the labels early."""

    def __init__(self, tell: BuildProgress, options: CompileOptions, following: Instrument | None) -> None:
        self._tell = tell
        self._options = options
        self._following = following

    def __call__(self, number: int, graph: Graph, report: PassReport | None) -> None:
        if self._following is not None:
            self._following(number, graph, report)
        if number == 0:
            _check_labels(self._options.labels, graph)
        if number < len(PIPELINE):
            self._tell(f"optimising the graph, pass {number + 1} of {len(PIPELINE)}: {PIPELINE[number].name}")

    def on_target(self, target: Target) -> None:
        """Tell for which target code is generated next."""
        self._tell(f"generating code for {target}")


def _silent(_what: str) -> None: ...


def _under(key: str, lines: Sequence[str]) -> list[tuple[str, str]]:
    return [("" if i else key, line) for i, line in enumerate(lines)]


def _classes_line(result: BuildResult) -> str:
    names = result.labels or ()
    coloured = f", {result.colours} with colours of their own" if result.colours else ""
    return f"{len(names)} names{coloured}: {', '.join(names)}"


def _program_line(program: BuiltProgram, count: int) -> str:
    line = f"{program.steps} steps, {program.code_bytes / 1e3:.0f} kB for {program.target}"
    if count == 1:
        return line
    return f"{line}; {program.shared_bytes / 1e6:.2f} of its {program.constant_bytes / 1e6:.2f} MB constants are shared"


def _left_out(where: str, left: LeftOut) -> list[str]:
    if not left.count:
        return []
    more = ", ..." if left.count > len(left.names) else ""
    return [f"{left.count} nodes {where}: {', '.join(left.names)}{more}"]


def _check_labels(labels: Sequence[str] | None, graph: Graph) -> None:
    for output in graph.outputs:
        classes = _classes(output)
        if labels is not None and classes is not None and len(labels) != classes:
            raise UsageError(
                f"the graph has {classes} classes, but there are {len(labels)} labels: give --labels a name for each"
            )


def _classes(node: Node) -> int | None:
    """Return how many classes a label map chooses from, or None where the output is no label map."""
    while node.inputs:
        source = node.inputs[0]
        axis = node.op.axis if isinstance(node.op, ops.ArgMax) else -1
        if isinstance(node.op, (ops.ArgMax, ops.ResizeArgMax)):
            size = source.type.shape[axis]
            return size if isinstance(size, int) else None
        node = source
    return None


def check_output_path(path: Path) -> None:
    """Make the folder of a model file that is to be written.  Raises UsageError where the path is itself a folder."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give --output-model-path a file name, for instance {path / 'm.smalti'}")
    path.parent.mkdir(parents=True, exist_ok=True)


def _built_program(program: Program, constant_bytes: int) -> BuiltProgram:
    manifest = program.manifest
    said = manifest.report.get("constants", {"bytes": constant_bytes, "shared": 0})
    return BuiltProgram(manifest.target, len(manifest.steps), len(program.code), said["bytes"], said["shared"])


def _result(
    path: Path, compiled: CompiledModel, sha256: str, seconds: float, record: CalibrationRecord | None
) -> BuildResult:
    return BuildResult(
        path=path,
        sha256=sha256,
        file_bytes=path.stat().st_size,
        constant_bytes=len(compiled.constants),
        seconds=seconds,
        programs=tuple(_built_program(program, len(compiled.constants)) for program in compiled.programs),
        report=compiled.report,
        precision=compiled.manifest.precision,
        warnings=() if record is None else record.warnings,
        labels=compiled.manifest.labels,
        colours=sum(colour is not None for colour in colours_of(compiled.manifest) or ()),
    )
