"""Run: the whole road for one model, export -> build -> infer -> eval -> table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smalti.apps.build import BuildProgress, BuildResult, build
from smalti.apps.evaluate import EvalResult, evaluate_folder
from smalti.apps.export import ExportOptions, ExportResult, export
from smalti.apps.infer import InferOptions, InferResult, infer
from smalti.apps.report import Table
from smalti.apps.stream import Stage
from smalti.compiler import CompileOptions
from smalti.errors import CompilerError
from smalti.fetch.progress import Progress as FetchProgress
from smalti.fetch.progress import silent
from smalti.fetch.registry import DEMO, find_dataset, find_model
from smalti.runtime.engine import load
from smalti.target.target import Target

ImageProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What to run.

    Attributes:
        target: the CPUs to build for; the first inference here needs that this CPU is one of them.
        output_dir: folder for the data, the model file, the label maps and the pictures.
        model: name of a model of the registry; ``demo`` comes with the package.
        mirror: folder or address with the archives; ``None``: the publishers.
        sha256: digests of the archives, as for export.
        shape_modes: one row of the table for each: ``True`` for any image size, ``False`` for one fixed square.
        threads: threads of one inference; ``None``: the CPUs this process may use.
        image_num: only the first N pictures of the val list.
    """

    target: Target
    output_dir: Path
    model: str = DEMO
    mirror: str | None = None
    sha256: tuple[str, ...] = ()
    shape_modes: tuple[bool, ...] = (True,)
    threads: int | None = None
    image_num: int | None = None


@dataclass(frozen=True, slots=True)
class RunRow:
    """One built model and how it did."""

    shape_mutable: bool
    build: BuildResult
    infer: InferResult
    accuracy: EvalResult

    @property
    def inference_ms(self) -> float:
        """Median milliseconds of one inference, image in to labels out."""
        return next(s.median for s in self.infer.stages if s.stage is Stage.INFER)


@dataclass(frozen=True, slots=True)
class RunResult:
    """All rows, and where things are."""

    model: str
    precision: str
    threads: int
    threads_reason: str
    export: ExportResult
    rows: tuple[RunRow, ...]
    output_dir: Path

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": self.model,
            "precision": self.precision,
            "threads": self.threads,
            "threads_reason": self.threads_reason,
            "output_dir": str(self.output_dir),
            "export": [item.to_json() for item in self.export.items],
            "rows": [
                {
                    "shape_mutable": row.shape_mutable,
                    "miou": row.accuracy.miou,
                    "images": row.infer.images,
                    "inference_ms": row.inference_ms,
                    "build": row.build.to_json(),
                    "infer": row.infer.to_json(),
                    "eval": row.accuracy.to_json(),
                }
                for row in self.rows
            ],
        }


def run(
    options: RunOptions,
    *,
    fetch_progress: FetchProgress = silent,
    build_progress: BuildProgress | None = None,
    image_progress: ImageProgress | None = None,
) -> RunResult:
    """Export a known model and its data, build it, label the val pictures and measure them against their masks.

    Label maps go to ``output_dir/labels-…/NAME.png``, pictures with the classes drawn on them to ``overlay/`` in there.
    What was exported before is used again.

    Raises:
        UsageError: an unknown model, or an option that does not fit.
        FetchError, ArchiveError: the model or the data cannot be brought here.
        GraphError: the graph is not supported.
        ImageError: a val picture cannot be read.
    """
    entry = find_model(options.model)
    dataset = find_dataset(entry.dataset)
    exported = export(
        ExportOptions(
            output_dir=options.output_dir / "data",
            model=entry.name,
            dataset=dataset.name,
            mirror=options.mirror,
            sha256=options.sha256,
            progress=fetch_progress,
        )
    )
    if exported.graph is None or exported.voc_root is None or exported.val_list is None:
        raise CompilerError(f"the export of {entry.name} with {dataset.name} is incomplete")
    compile_options = CompileOptions(
        target=options.target, inputs=entry.inputs, outputs=entry.outputs, name=entry.name, labels=entry.labels
    )
    rows: list[RunRow] = []
    threads, reason = 0, ""
    for mutable in options.shape_modes:
        mode = "mutable" if mutable else "static"
        built = build(
            exported.graph,
            options.output_dir / f"{entry.name}-{mode}.smalti",
            replace(compile_options, shape_mutable=mutable),
            progress=build_progress,
        )
        labels = options.output_dir / f"labels-{mode}"
        with load(built.path, options.threads, built.sha256) as engine:
            threads, reason = engine.threads, engine.threads_reason
            done = infer(
                engine,
                exported.voc_root,
                labels,
                file_list=exported.val_list,
                image_num=options.image_num,
                options=InferOptions(overlay=True),
                progress=image_progress,
            )
        accuracy = evaluate_folder(
            labels, exported.voc_root, exported.val_list, options.image_num, labels=dataset.labels
        )
        rows.append(RunRow(mutable, built, done, accuracy))
    return RunResult(
        entry.name, compile_options.quant_mode.value, threads, reason, exported, tuple(rows), options.output_dir
    )


def run_table(result: RunResult) -> Table:
    """Return the table of the run: one row for each shape mode."""
    rows = tuple(
        (
            "true" if row.shape_mutable else "false",
            str(row.infer.images),
            f"{row.accuracy.miou:.4f}",
            f"{row.inference_ms:.2f}",
            f"{1000 / row.inference_ms:.1f}",
            f"{row.build.file_bytes / 1e6:.2f}",
            f"{row.build.seconds:.1f}",
        )
        for row in result.rows
    )
    columns = ("shape_mutable", "images", "mIoU", "ms", "images/s", "file MB", "build s")
    threads = f"{result.threads} thread{'s' if result.threads != 1 else ''}"
    return Table(f"{result.model}, {result.precision}, {threads}", columns, rows)
