"""Build: a frozen TensorFlow graph becomes an offline model file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalti.apps.outputs import write_file
from smalti.artifact.writer import write_model
from smalti.compiler import CompiledModel, CompileOptions, compile_graph, import_shaped
from smalti.errors import GraphError, UsageError
from smalti.frontend.graphdef import MAX_GRAPH_BYTES
from smalti.frontend.report import ImportReport
from smalti.passes.dump import DumpDir
from smalti.passes.pipeline import run_pipeline


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build made.

    Attributes:
        path: the offline model file.
        sha256: its digest, for ``smalti.load(path, sha256=...)``.
        file_bytes, constant_bytes, code_bytes: sizes.
        seconds: wall time of the build.
        target: the CPUs it runs on.
        steps: kernel calls in one inference.
        report: what the importer and the passes recognised.
    """

    path: Path
    sha256: str
    file_bytes: int
    constant_bytes: int
    code_bytes: int
    seconds: float
    target: str
    steps: int
    report: ImportReport

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
            "report": self.report.to_json(),
        }


def build(
    tf_model: Path, output_model_path: Path, options: CompileOptions, *, dump_dir: Path | None = None
) -> BuildResult:
    """Compile a frozen graph and write the offline model file.

    Args:
        tf_model: a serialised GraphDef (``frozen_inference_graph.pb``).
        output_model_path: file to write; replaced in one step, so a failed build leaves the old one.
        options: what to make of the graph.
        dump_dir: folder for the text form of the graph after every pass, the plan and the assembly.

    Raises:
        GraphError: the graph is damaged or not supported (the error then lists every unsupported node).
        UsageError: an option does not fit, or a path is not usable.
    """
    start = time.perf_counter()
    compiled = compile_graph(read_graph(tf_model), options, DumpDir(dump_dir) if dump_dir else None)
    if dump_dir:
        write_file(dump_dir / "plan.txt", str(compiled.plan).encode())
    _check_folder(output_model_path)
    sha256 = write_model(output_model_path, compiled.manifest, compiled.constants, compiled.code)
    return _result(output_model_path, compiled, sha256, time.perf_counter() - start)


def build_passes(tf_model: Path, options: CompileOptions, stop_at: str, dump_dir: Path | None = None) -> ImportReport:
    """Run the passes up to and including ``stop_at`` and write no model file.

    Raises:
        GraphError: the graph is damaged or not supported.
        UsageError: no pass has that name.
    """
    imported = import_shaped(read_graph(tf_model), options)
    run_pipeline(imported.graph, stop_at, DumpDir(dump_dir) if dump_dir else None)
    return imported.report


def read_graph(path: Path) -> bytes:
    """Read GraphDef bytes.

    Raises:
        UsageError: there is no such file.
        GraphError: it is too large.
    """
    if path.is_dir():
        inside = path / "frozen_inference_graph.pb"
        if not inside.is_file():
            raise UsageError(f"{path} is a folder without frozen_inference_graph.pb: give the .pb file")
        path = inside
    if not path.is_file():
        raise UsageError(f"there is no graph {path}: give a frozen GraphDef (.pb) to --tf-model")
    size = path.stat().st_size
    if size > MAX_GRAPH_BYTES:
        raise GraphError(f"{path} has {size} bytes; the limit for a graph is {MAX_GRAPH_BYTES}")
    return path.read_bytes()


def _check_folder(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give --output-model-path a file name, for instance {path / 'm.smalti'}")
    path.parent.mkdir(parents=True, exist_ok=True)


def _result(path: Path, compiled: CompiledModel, sha256: str, seconds: float) -> BuildResult:
    return BuildResult(
        path=path,
        sha256=sha256,
        file_bytes=path.stat().st_size,
        constant_bytes=len(compiled.constants),
        code_bytes=len(compiled.code),
        seconds=seconds,
        target=compiled.manifest.target,
        steps=len(compiled.manifest.steps),
        report=compiled.report,
    )
