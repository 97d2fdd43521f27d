"""Run: the whole road for one model, export -> calibrate -> build -> infer -> eval -> table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smalti.building.build import BuildProgress, BuildResult, build
from smalti.building.calibrate import DEFAULT_IMAGES, calibrate_folder
from smalti.compiler import CompileOptions
from smalti.delivery.export import ExportOptions, ExportResult, export
from smalti.errors import CompilerError
from smalti.fetch.progress import Progress as FetchProgress
from smalti.fetch.progress import silent
from smalti.fetch.registry import DEMO, DatasetEntry, find_dataset, find_model
from smalti.jobs.stream import MAX_AT_ONCE
from smalti.jobs.table import Fit, Table
from smalti.jobs.timing import Timing, time_calls
from smalti.jobs.watch import UNKNOWN_LOAD, Load, LoadWatch, legend, marked
from smalti.labelling.infer import InferOptions, InferResult, infer
from smalti.numerics import DType
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord
from smalti.runtime.engine import Engine, load
from smalti.scoring.evaluate import EvalResult, evaluate_folder
from smalti.scoring.report import points_lost
from smalti.target.target import Target
from smalti.vision.classes import Classes
from smalti.vision.voc import find_pictures

ImageProgress = Callable[[int, int], None]

USUAL_MODES = (QuantMode.FORCE_FLOAT32, QuantMode.FORCE_FLOAT16, QuantMode.QINT8_MIXED_FLOAT16)


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
        quant_modes: one row of the table for each precision mode; ``None``: all of them for the demo, otherwise
            float32, float16 and int8.
        calib_num: training pictures to calibrate the quantising modes with.
        threads: threads of one inference; ``None``: the CPUs this process may use.
        image_num: only the first N pictures of the val list.
        classes: names and colours in place of those that the registry knows.
    """

    target: Target
    output_dir: Path
    model: str = DEMO
    mirror: str | None = None
    sha256: tuple[str, ...] = ()
    shape_modes: tuple[bool, ...] = (True,)
    quant_modes: tuple[QuantMode, ...] | None = None
    calib_num: int = DEFAULT_IMAGES
    threads: int | None = None
    image_num: int | None = None
    classes: Classes = Classes()

    @property
    def modes(self) -> tuple[QuantMode, ...]:
        """The precision modes to run."""
        return self.quant_modes or (tuple(QuantMode) if self.model == DEMO else USUAL_MODES)


@dataclass(frozen=True, slots=True)
class RunRow:
    """One built model and how it did.

    Attributes:
        quant_mode, shape_mutable: what was built.
        build, infer, accuracy: what each step made; ``infer`` has the stream of pictures, files read and written.
        one_picture: calls of the engine alone, a picture in and its labels out.
        build_load: what others took of the CPUs during the build.
    """

    quant_mode: QuantMode
    shape_mutable: bool
    build: BuildResult
    infer: InferResult
    accuracy: EvalResult
    one_picture: Timing
    build_load: Load = UNKNOWN_LOAD


@dataclass(frozen=True, slots=True)
class RunResult:
    """All rows, and where things are.

    Attributes:
        model: name of the model.
        target, threads, threads_reason: what ran, and how.
        export: where the model and the data are.
        rows: one entry for each precision mode and shape mode.
        output_dir: folder with the model files, label maps and pictures.
    """

    model: str
    target: str
    threads: int
    threads_reason: str
    export: ExportResult
    rows: tuple[RunRow, ...]
    output_dir: Path

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": self.model,
            "target": self.target,
            "threads": self.threads,
            "threads_reason": self.threads_reason,
            "output_dir": str(self.output_dir),
            "export": [item.to_json() for item in self.export.items],
            "rows": [
                {
                    "quant_mode": row.quant_mode.value,
                    "shape_mutable": row.shape_mutable,
                    "miou": row.accuracy.miou,
                    "images": row.infer.images,
                    "one_picture_ms": row.one_picture.median,
                    "one_picture_calls": len(row.one_picture.ms),
                    "stream_images_per_second": row.infer.stream_images_per_second,
                    "other_load": row.one_picture.load.to_json(),
                    "build": {**row.build.to_json(), "other_load": row.build_load.to_json()},
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
        targets=(options.target,),
        inputs=entry.inputs,
        outputs=entry.outputs,
        name=entry.name,
        labels=options.classes.names or entry.labels,
        colours=options.classes.colours,
    )
    road = _Road(options, exported.graph, exported.voc_root, exported.val_list, dataset, image_progress)
    rows: list[RunRow] = []
    threads, reason = 0, ""
    for mutable in options.shape_modes:
        records: dict[DType, CalibrationRecord] = {}
        for mode in options.modes:
            chosen = replace(compile_options, shape_mutable=mutable, quant=QuantOptions(mode))
            if mode.quantised is not None and mode.quantised not in records:
                records[mode.quantised] = road.calibrate(chosen)
            name = f"{mode.value}-{'mutable' if mutable else 'static'}"
            others = LoadWatch()
            built = build(
                exported.graph,
                options.output_dir / f"{entry.name}-{name}.smalti",
                chosen,
                record=None if mode.quantised is None else records[mode.quantised],
                progress=build_progress,
            )
            build_load = others.load()
            with load(built.path, options.threads, built.sha256, concurrency=MAX_AT_ONCE) as engine:
                threads, reason = engine.threads, engine.threads_reason
                row = road.measure(mode, mutable, built, engine, options.output_dir / f"labels-{name}")
                rows.append(replace(row, build_load=build_load))
    return RunResult(entry.name, str(options.target), threads, reason, exported, tuple(rows), options.output_dir)


@dataclass(frozen=True, slots=True)
class _Road:
    """What every row of the table has in common."""

    options: RunOptions
    graph: Path
    voc_root: Path
    val_list: Path
    dataset: DatasetEntry
    progress: ImageProgress | None

    def calibrate(self, chosen: CompileOptions) -> CalibrationRecord:
        return calibrate_folder(
            self.graph,
            chosen,
            self.voc_root,
            file_list=self.voc_root / self.dataset.train_list,
            image_num=self.options.calib_num,
            threads=self.options.threads,
            progress=self.progress,
        )

    def measure(self, mode: QuantMode, mutable: bool, built: BuildResult, engine: Engine, labels: Path) -> RunRow:
        number = self.options.image_num
        done = infer(
            engine,
            self.voc_root,
            labels,
            file_list=self.val_list,
            image_num=number,
            options=InferOptions(overlay=True),
            progress=self.progress,
        )
        names = self.options.classes.names or self.dataset.labels
        accuracy = evaluate_folder(labels, self.voc_root, self.val_list, number, labels=names)
        seen = find_pictures(self.voc_root, self.val_list, number)
        return RunRow(mode, mutable, built, done, accuracy, time_calls(engine, seen))


def run_table(result: RunResult) -> Table:
    """Return the table of the run: one row for each precision and shape mode.

    The engine's milliseconds are those of one picture alone; the stream has files read, drawn on and written, too.
    """
    rows = tuple(
        (
            row.quant_mode.value,
            "true" if row.shape_mutable else "false",
            f"{row.accuracy.miou:.4f}",
            _drop(row, result.rows),
            marked(f"{row.one_picture.median:.2f}", row.one_picture.load),
            marked(f"{row.infer.stream_images_per_second:.1f}", row.infer.load),
            f"{row.build.file_bytes / 1e6:.2f}",
            marked(f"{row.build.seconds:.1f}", row.build_load),
        )
        for row in result.rows
    )
    columns = ("quant_mode", "mutable", "mIoU", "drop", "engine ms", "stream images/s", "MB", "build s")
    threads = f"{result.threads} thread{'s' if result.threads != 1 else ''}"
    title = f"{result.model}, {result.rows[0].infer.images} images, {threads}"
    said = legend(load for row in result.rows for load in (row.one_picture.load, row.infer.load, row.build_load))
    return Table(title, columns, rows, left=(0,), fit=Fit(leave=(7, 5, 6)), legend=said)


def _drop(row: RunRow, rows: tuple[RunRow, ...]) -> str:
    """Return how many points of mIoU a row loses against float32 with the same shape, or a dash."""
    for other in rows:
        if other.quant_mode is QuantMode.FORCE_FLOAT32 and other.shape_mutable == row.shape_mutable:
            return points_lost(100 * (other.accuracy.miou - row.accuracy.miou), 2)
    return "-"
