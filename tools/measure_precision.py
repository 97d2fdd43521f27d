"""Measure the precision modes on the real graphs: accuracy beside float32, sizes, calibration, the same integers.

Default options throughout: any image size, ``linear`` ranges, one scale for each channel of the weights, 100 pictures
of the training list to calibrate on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from acceptance_report import Report

import smalti
from deeplab_golden import FULL, HALF, IMAGE, LABELS, Array, graph_bytes
from deeplab_kit import mask, picture, train_names, val_names, voc_bytes
from smalti.building.build import BuildResult, build
from smalti.building.calibrate import calibrate_folder
from smalti.compiler import CompileOptions
from smalti.compiling.sizes import import_shaped
from smalti.ir.reference import run as run_reference
from smalti.passes.pipeline import run_pipeline
from smalti.quant.modes import Granularity, QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord
from smalti.quant.scheme import quantise
from smalti.target.host import arch, missing_features, resolve_targets
from smalti.target.target import levels_of
from smalti.vision.metrics import ConfusionMatrix
from smalti.vision.preprocess import Resize, resize_labels

NAMES = {FULL: "full", HALF: "half width"}
PICTURES, FEW_PICTURES = 100, 16
CALIBRATION_SECONDS = 30.0
FEW_PICTURES_DROP = 0.3
ALL_PICTURES = 191
THREADS, OTHER_THREADS = 2, (1, 3, 4, 8)
EVERY = 8
"""Every how many pictures other numbers of threads, and every level, are tried."""
REFERENCE_IMAGES = 3
EVERY_PICTURE = "x86-64-v3"
"""The level whose labels are compared with the native ones on every picture."""
INT8 = QuantMode.QINT8_MIXED_FLOAT16
FLOAT32, INT8_FEW = "force_float32", f"{INT8.value}, {FEW_PICTURES} pictures"


@dataclass(frozen=True)
class Mode:
    """One way to build a graph, with its bounds (``None``: reported only).

    Attributes:
        name: for the table.
        quant: mode and choices.
        pictures: how many pictures it is calibrated on.
        drop: largest loss of mean IoU in points.
        equal: least share of pixels with float32's label.
        full_mb: largest file of the full-width graph.
    """

    name: str
    quant: QuantOptions
    pictures: int = PICTURES
    drop: float | None = None
    equal: float | None = None
    full_mb: float | None = None


MODES = (
    Mode(FLOAT32, QuantOptions()),
    Mode("force_float16", QuantOptions(QuantMode.FORCE_FLOAT16), drop=0.05, equal=0.998, full_mb=4.6),
    Mode("force_bfloat16", QuantOptions(QuantMode.FORCE_BFLOAT16), drop=0.3, equal=0.99),
    Mode(INT8.value, QuantOptions(INT8), drop=0.35, equal=0.985, full_mb=2.8),
    Mode(INT8_FEW, QuantOptions(INT8), FEW_PICTURES),
    Mode(f"{INT8.value}, per_tensor", QuantOptions(INT8, weight_granularity=Granularity.PER_TENSOR)),
    Mode("qint16_mixed_float32", QuantOptions(QuantMode.QINT16_MIXED_FLOAT32)),
)


@dataclass
class Counted:
    """What is counted of one mode over the pictures."""

    matrix: ConfusionMatrix = field(default_factory=ConfusionMatrix)
    equal: int = 0
    pixels: int = 0

    def add(self, labels: Array, float32: Array, truth: Array) -> None:
        """Count one picture."""
        self.matrix.add(resize_labels(labels, *truth.shape), truth)
        self.equal += int((labels == float32).sum())
        self.pixels += labels.size

    @property
    def points(self) -> float:
        """Mean IoU in hundredths."""
        return 100 * self.matrix.result().miou


@dataclass
class Bits:
    """On how many pictures the int8 labels were compared, and on how many they differ, by what was varied."""

    compared: dict[str, int] = field(default_factory=dict)
    different: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, got: Array, want: Array) -> None:
        """Compare one picture."""
        self.compared[what] = self.compared.get(what, 0) + 1
        self.different[what] = self.different.get(what, 0) + (not np.array_equal(got, want))


def compile_options(quant: QuantOptions, target: str = "native") -> CompileOptions:
    """Return default options, apart from precision and CPU."""
    return CompileOptions(resolve_targets(target), quant)


def levels() -> list[str]:
    """Return the plain levels that this CPU can run."""
    return [level.name for level in levels_of(arch()) if not missing_features(level.features)]


def write_calibration_set(folder: Path) -> Path:
    """Write the first training pictures and their list the way VOC lays them out; return the list."""
    names = train_names()[:PICTURES]
    pictures, listed = folder / "JPEGImages", folder / "train.txt"
    pictures.mkdir(parents=True)
    for name in names:
        (pictures / f"{name}.jpg").write_bytes(voc_bytes(f"JPEGImages/{name}.jpg"))
    listed.write_text("".join(f"{name}\n" for name in names))
    return listed


def calibrate(model: str, graph: Path, voc: Path, report: Report) -> dict[int, CalibrationRecord]:
    """Return the records of both numbers of pictures; report how long the larger one takes."""
    records = {}
    for count in (FEW_PICTURES, PICTURES):
        start = time.perf_counter()
        records[count] = calibrate_folder(
            graph, compile_options(QuantOptions(INT8)), voc, file_list=voc / "train.txt", image_num=count
        )
        seconds = time.perf_counter() - start
    what = f"calibration on {PICTURES} pictures, s"
    report.add(
        NAMES[model], what, f"{seconds:.1f}", f"<= {CALIBRATION_SECONDS:g}", seconds <= CALIBRATION_SECONDS
    )  # fmt: skip
    return records


def build_all(
    model: str, graph: Path, records: Mapping[int, CalibrationRecord], report: Report
) -> tuple[dict[str, BuildResult], dict[str, Path]]:
    """Build every mode for this CPU, and int8 for every level; report sizes."""
    made, by_level = {}, {}
    for mode in MODES:
        record = records[mode.pictures] if mode.quant.mode.quantised else None
        path = graph.with_name(f"{mode.name}.smalti")
        made[mode.name] = build(graph, path, compile_options(mode.quant), record=record)
        size, bound = made[mode.name].file_bytes / 1e6, mode.full_mb if model == FULL else None
        report.add(
            f"{NAMES[model]}, {mode.name}", "file, MB", f"{size:.2f}", "" if bound is None else f"<= {bound:g}",
            None if bound is None else size <= bound,
        )  # fmt: skip
    for level in levels():
        by_level[level] = graph.with_name(f"{level}.smalti")
        build(graph, by_level[level], compile_options(QuantOptions(INT8), level), record=records[PICTURES])
    return made, by_level


def count_pictures(
    engines: Mapping[str, smalti.Engine], by_level: Mapping[str, smalti.Engine], names: list[str]
) -> tuple[dict[str, Counted], Bits]:
    """Run every picture in every mode, and int8 on every level and with every number of threads."""
    counted, bits = {name: Counted() for name in engines}, Bits()
    for number, name in enumerate(names):
        image, truth = picture(name, Resize.FIT), mask(name)
        labels = {mode: engine(image) for mode, engine in engines.items()}
        for mode, found in labels.items():
            counted[mode].add(found, labels[FLOAT32], truth)
        want = labels[INT8.value]
        for level, engine in by_level.items():
            if level == EVERY_PICTURE or number % EVERY == 0:
                bits.add(f"{level} code", engine(image), want)
        if number % EVERY == 0:
            engine = engines[INT8.value]
            for threads in OTHER_THREADS:
                engine.set_threads(threads)
                bits.add(f"{threads} threads", engine(image), want)
            engine.set_threads(THREADS)
    return counted, bits


def report_accuracy(model: str, counted: Mapping[str, Counted], report: Report) -> None:
    """Report mean IoU and equal pixels; the bounds of mIoU are those of the whole list."""
    base = counted[FLOAT32]
    whole = base.matrix.result().images == ALL_PICTURES
    report.add(f"{NAMES[model]}, {FLOAT32}", f"mIoU, points ({base.matrix.result().images} images)",
               f"{base.points:.2f}")  # fmt: skip
    for mode in MODES[1:]:
        group, found = f"{NAMES[model]}, {mode.name}", counted[mode.name]
        drop, equal = base.points - found.points, found.equal / found.pixels
        report.add(
            group, "drop of mIoU, points", f"{drop:.3f}", "" if mode.drop is None else f"<= {mode.drop:g}",
            drop <= mode.drop if whole and mode.drop is not None else None,
        )  # fmt: skip
        report.add(
            group, "pixels with float32's label", f"{100 * equal:.3f} %",
            "" if mode.equal is None else f">= {100 * mode.equal:g} %",
            None if mode.equal is None else equal >= mode.equal,
        )  # fmt: skip
    worse = counted[INT8.value].points - counted[INT8_FEW].points
    report.add(
        f"{NAMES[model]}, {INT8_FEW}", f"worse than with {PICTURES}, points", f"{worse:.3f}",
        f"<= {FEW_PICTURES_DROP:g}", worse <= FEW_PICTURES_DROP if whole else None,
    )  # fmt: skip


def report_bits(model: str, bits: Bits, report: Report) -> None:
    """Report on how many pictures int8 labels differ."""
    for what, compared in bits.compared.items():
        different = bits.different[what]
        report.add(
            f"{NAMES[model]}, {INT8.value}", f"images with other labels, {what}", f"{different} of {compared}", "0",
            different == 0,
        )  # fmt: skip


def compare_reference(
    model: str, record: CalibrationRecord, engine: smalti.Engine, names: list[str], report: Report
) -> None:
    """Report whether int8 labels are those of the numpy meaning of the quantised graph."""
    quant = QuantOptions(INT8)
    canonical = run_pipeline(import_shaped(graph_bytes(model), compile_options(quant)).graph).graph
    graph, bits = quantise(canonical, quant, record).graph, Bits()
    for name in names[:: max(1, len(names) // REFERENCE_IMAGES)][:REFERENCE_IMAGES]:
        image = picture(name, Resize.FIT)
        bits.add("numpy", engine(image), run_reference(graph, {IMAGE: image[None]})[LABELS][0])
    report_bits(model, bits, report)


def measure_precision(folder: Path, report: Report, count: int, reference: bool = True) -> None:
    """Measure all precision modes of both graphs on the first ``count`` pictures."""
    names = val_names()[:count]
    voc = write_calibration_set(folder / "voc").parent
    for model in NAMES:
        graph = folder / f"precision-{model}" / f"{model}.pb"
        graph.parent.mkdir()
        graph.write_bytes(graph_bytes(model))
        records = calibrate(model, graph, voc, report)
        made, by_level = build_all(model, graph, records, report)
        with ExitStack() as stack:
            engines = {
                name: stack.enter_context(smalti.load(done.path, THREADS, done.sha256)) for name, done in made.items()
            }
            others = {level: stack.enter_context(smalti.load(path, THREADS)) for level, path in by_level.items()}
            counted, bits = count_pictures(engines, others, names)
            report_accuracy(model, counted, report)
            report_bits(model, bits, report)
            if reference:
                compare_reference(model, records[PICTURES], engines[INT8.value], names, report)
