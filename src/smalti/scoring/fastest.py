"""The fastest precision mode within a bound on the loss: candidates built, measured in turns, and one of them kept."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from smalti.bench.stats import Ratio, ratio_of_medians
from smalti.building.build import BuildResult, build, check_output_path
from smalti.compiler import CompileOptions
from smalti.errors import DataError, GraphError, UsageError
from smalti.jobs.outputs import write_file
from smalti.jobs.pictures import PassedOver, usable_pictures
from smalti.jobs.stream import MAX_AT_ONCE, OnError, Progress
from smalti.jobs.table import Fit, Table
from smalti.jobs.timing import Patience, Timing, time_in_turns, timed_pictures
from smalti.jobs.watch import UNKNOWN_LOAD, Load, legend, marked
from smalti.quant.modes import QuantMode
from smalti.quant.record import CalibrationRecord
from smalti.runtime.engine import load
from smalti.scoring.evaluate import evaluate_model
from smalti.scoring.report import points_lost
from smalti.segmenter.segmenter import Segmenter
from smalti.target.host import runnable_target
from smalti.vision.voc import Entry, PicturePaths, find_pictures, inner_folder

AUTO_MODES: Final = (
    QuantMode.FORCE_FLOAT32,
    QuantMode.FORCE_BFLOAT16,
    QuantMode.FORCE_FLOAT16,
    QuantMode.QINT8_MIXED_FLOAT16,
    QuantMode.QINT8_MIXED_FLOAT32,
)
NO_CALIBRATION: Final = "not built: no pictures to calibrate on (--file-list), and no --ranges"
_ROUNDING: Final = 1e-12

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FastestOptions:
    """What to choose by.

    Attributes:
        image_dir, gt_dir: pictures and masks, or a VOC root; not the pictures of the calibration.
        max_miou_drop: how much mean IoU may be lost against float32, as a share (0.002 is 0.2 points).
        file_list, image_num: names of the pictures, and at most how many.
        modes: candidates; float32 is one in any case.
        threads: threads of one inference; ``None``: the CPUs this process may use.
        recursive: whether to look into sub-folders.
        passed_over: is told of pictures and masks that are no good; without it, the first one is an error.
    """

    image_dir: PicturePaths
    gt_dir: Path
    max_miou_drop: float
    file_list: Path | None = None
    image_num: int | None = None
    modes: tuple[QuantMode, ...] = AUTO_MODES
    threads: int | None = None
    recursive: bool = False
    passed_over: PassedOver | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mode, and how it did; a mode that was not built has nothing but the reason.

    Attributes:
        mode: the precision mode.
        why: why it was chosen, or not.
        timing: calls of the engine, in turns with those of the other candidates.
        ratio: its time over that of the chosen one, with a 95 % interval.
        miou, drop: mean IoU, and the loss of it against float32 (shares).
        file_bytes: length of the model file.
        is_chosen: whether the model file is of this mode.
    """

    mode: QuantMode
    why: str
    timing: Timing | None = None
    ratio: Ratio | None = None
    miou: float = math.nan
    drop: float = math.nan
    file_bytes: int = 0
    is_chosen: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain values; null where nothing was measured."""
        timing = self.timing
        return {
            "quant_mode": self.mode.value,
            "chosen": self.is_chosen,
            "why": self.why,
            "one_picture_ms": None if timing is None else timing.median,
            "one_picture_calls": 0 if timing is None else len(timing.ms),
            "times_the_chosen": None if self.ratio is None else self.ratio.to_json(),
            "miou": None if math.isnan(self.miou) else self.miou,
            "miou_drop": None if math.isnan(self.drop) else self.drop,
            "file_bytes": self.file_bytes or None,
        }


@dataclass(frozen=True, slots=True)
class FastestResult:
    """The model file that was written, and all candidates in the order in which they were built.

    ``load`` is what others took of the CPUs while the candidates were timed; ``target`` is what they were built for.
    """

    built: BuildResult
    candidates: tuple[Candidate, ...]
    max_miou_drop: float
    images: int
    threads: int
    target: str
    load: Load = UNKNOWN_LOAD

    @property
    def chosen(self) -> Candidate:
        """The candidate whose model file was written."""
        return next(candidate for candidate in self.candidates if candidate.is_chosen)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "quant_mode": self.chosen.mode.value,
            "max_miou_drop": self.max_miou_drop,
            "images": self.images,
            "threads": self.threads,
            "target": self.target,
            "other_load": self.load.to_json(),
            "candidates": [candidate.to_json() for candidate in self.candidates],
        }


def build_fastest(
    tf_model: Path,
    output_model_path: Path,
    options: CompileOptions,
    search: FastestOptions,
    *,
    record: CalibrationRecord | None = None,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> FastestResult:
    """Build a graph in several precision modes, measure each here, and write the fastest that loses little enough.

    Every mode is a candidate, whether the CPU has its arithmetic or not: their calls are timed in turns, and the times
    decide. Modes that cannot be told apart from the fastest (the 95 % interval of the ratio includes 1) are as fast as
    it; of these the one with the highest mean IoU is taken, then the smallest file.

    Args:
        tf_model: the file of the graph.
        output_model_path: file to write, of the chosen mode and for all targets of the options.
        options: what to make of the graph; the mode in its ``quant`` does not count.
        search: pictures, masks, the bound, and the modes.
        record: ranges of the activations; without them the modes that quantise are left out.
        progress: told how many pictures of a candidate are measured.
        tell: told in words what comes next.

    Raises:
        UsageError: an option or a path does not fit, or this CPU cannot run the code.
        GraphError: the graph is not supported.
        DataError: a picture or a mask cannot be used.
    """
    if not 0 <= search.max_miou_drop < 1:
        raise UsageError(f"--max-miou-drop is a share from 0 to 1 (0.002 is 0.2 points), not {search.max_miou_drop}")
    check_output_path(output_model_path)
    here = replace(options, targets=(runnable_target(options.targets, "--quant-mode auto"),))
    say: Tell = tell or (lambda what: None)
    entries = _good_entries(search)
    with tempfile.TemporaryDirectory(prefix="smalti-auto-") as scratch:
        measured, left_out = _build_all(tf_model, Path(scratch), here, search, record, progress, say)
        say("timing the candidates in turns")
        timings, threads = _time_all(measured, entries, search.threads)
        candidates = choose(
            [
                replace(each.candidate, timing=timing, drop=measured[0].candidate.miou - each.candidate.miou)
                for each, timing in zip(measured, timings, strict=True)
            ],
            search.max_miou_drop,
        )
        index = next(i for i, candidate in enumerate(candidates) if candidate.is_chosen)
        built = measured[index].built
        if options.targets == here.targets:
            write_file(output_model_path, built.path.read_bytes())
            built = replace(built, path=output_model_path)
        else:
            mode = candidates[index].mode
            built = build(tf_model, output_model_path, _in_mode(options, mode), record=_for(mode, record), progress=say)
    images = measured[0].images
    target, seen = str(here.target), timings[0].load
    return FastestResult(built, (*candidates, *left_out), search.max_miou_drop, images, threads, target, seen)


@dataclass(frozen=True, slots=True)
class _Built:
    candidate: Candidate
    built: BuildResult
    images: int


def _build_all(
    tf_model: Path,
    folder: Path,
    options: CompileOptions,
    search: FastestOptions,
    record: CalibrationRecord | None,
    progress: Progress | None,
    tell: Tell,
) -> tuple[list[_Built], list[Candidate]]:
    """Build and score every mode, float32 first; what ends that of another one is why it is left out."""
    found: list[_Built] = []
    left_out: list[Candidate] = []
    for mode in dict.fromkeys((QuantMode.FORCE_FLOAT32, *search.modes)):
        if mode.quantised is not None and record is None:
            left_out.append(Candidate(mode, NO_CALIBRATION))
            continue
        tell(f"{mode.value}: building")
        try:
            path = folder / f"{mode.value}.smalti"
            built = build(tf_model, path, _in_mode(options, mode), record=_for(mode, record))
        except (GraphError, UsageError) as error:
            if mode is QuantMode.FORCE_FLOAT32:
                raise
            left_out.append(Candidate(mode, f"not built: {error}"))
            continue
        tell(f"{mode.value}: measuring mIoU")
        with load(built.path, search.threads, built.sha256, concurrency=MAX_AT_ONCE) as engine:
            accuracy = evaluate_model(
                engine,
                search.image_dir,
                search.gt_dir,
                search.file_list,
                search.image_num,
                labels=options.labels,
                recursive=search.recursive,
                progress=progress,
            ).accuracy
        if math.isnan(accuracy.miou):
            raise DataError(f"the masks in {search.gt_dir} hold no class: give --gt-dir those of the pictures")
        candidate = Candidate(mode, "", miou=accuracy.miou, file_bytes=built.file_bytes)
        found.append(_Built(candidate, built, accuracy.images))
    return found, left_out


def _good_entries(search: FastestOptions) -> list[Entry]:
    """Return the pictures that can be measured on: they and their masks can be read."""
    passed_over = search.passed_over or PassedOver(OnError.STOP)
    entries = find_pictures(search.image_dir, search.file_list, search.image_num, recursive=search.recursive)
    passed_over.leave_out(entries)
    return [entries[i] for i in usable_pictures(entries, passed_over, inner_folder(search.gt_dir, "SegmentationClass"))]


def _time_all(measured: Sequence[_Built], entries: Sequence[Entry], threads: int | None) -> tuple[list[Timing], int]:
    """Return the calls of every candidate in turns, and the threads of each."""
    with ExitStack() as stack:
        engines = [
            stack.enter_context(load(each.built.path, threads, each.built.sha256, concurrency=1)) for each in measured
        ]
        pictures = timed_pictures(engines[0], entries)
        labellers = [Segmenter(engine).sharing(1)[0] for engine in engines]
        return time_in_turns(labellers, pictures, Patience()), engines[0].threads


def choose(candidates: Sequence[Candidate], max_miou_drop: float) -> list[Candidate]:
    """Return the timed candidates with the one to take marked, and why each was taken or not.

    The first of them is float32, which loses nothing, so that one always holds the bound.
    """
    holds = [candidate for candidate in candidates if candidate.drop <= max_miou_drop + _ROUNDING]
    fastest = min(holds, key=_median)
    equals = [each for each in holds if each is fastest or _ratio(each, fastest).low <= 1]
    best = min(equals, key=lambda each: (-each.miou, each.file_bytes, _median(each)))
    whys = [_why(each, best, fastest, equals, max_miou_drop) for each in candidates]
    return [
        replace(each, ratio=_ratio(each, best), why=why, is_chosen=each is best)
        for each, why in zip(candidates, whys, strict=True)
    ]


def fastest_table(result: FastestResult) -> Table:
    """Return a row for each mode: milliseconds of one picture, mIoU, points lost, size, and what was decided."""
    rows = tuple(
        (
            candidate.mode.alias,
            "-" if candidate.timing is None else marked(f"{candidate.timing.median:.2f}", candidate.timing.load),
            "-" if math.isnan(candidate.miou) else f"{candidate.miou:.4f}",
            points_lost(100 * candidate.drop),
            f"{candidate.file_bytes / 1e6:.2f}" if candidate.file_bytes else "-",
            candidate.why,
        )
        for candidate in result.candidates
    )
    threads = f"{result.threads} thread{'s' if result.threads != 1 else ''}"
    title = (
        f"precision modes: at most {100 * result.max_miou_drop:g} points of mIoU below force_float32, "
        f"{result.images} images, {result.target}, {threads}"
    )
    columns = ("mode", "ms", "mIoU", "drop", "MB", "")
    return Table(title, columns, rows, left=(0, 5), fit=Fit(prose=(5,), leave=(4,)), legend=legend([result.load]))


def _why(each: Candidate, best: Candidate, fastest: Candidate, equals: Sequence[Candidate], bound: float) -> str:
    if each is best:
        if best is fastest:
            return "chosen: the fastest"
        better = "loses less" if best.miou > fastest.miou else "smaller"
        return f"chosen: as fast as {fastest.mode.alias}, {better}"
    if each.drop > bound + _ROUNDING:
        return f"loses more than {100 * bound:g} points"
    if each in equals:
        return "as fast, loses more" if each.miou < best.miou else "as fast, file no smaller"
    return f"{_ratio(each, best).value:.2f} times as slow"


def _in_mode(options: CompileOptions, mode: QuantMode) -> CompileOptions:
    return replace(options, quant=replace(options.quant, mode=mode))


def _for(mode: QuantMode, record: CalibrationRecord | None) -> CalibrationRecord | None:
    return None if mode.quantised is None else record


def _median(candidate: Candidate) -> float:
    return math.inf if candidate.timing is None else candidate.timing.median


def _ratio(each: Candidate, other: Candidate) -> Ratio:
    if each.timing is None or other.timing is None:
        return Ratio(math.nan, math.nan, math.nan)
    return ratio_of_medians(each.timing.ms, other.timing.ms, paired=True)
