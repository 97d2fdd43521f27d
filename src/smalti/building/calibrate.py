"""Calibrate: run the float32 network over pictures and keep what a quantised build needs to know.

The float32 graph is compiled for this CPU with taps on its tensors, whatever the final target is.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.artifact.manifest import Manifest
from smalti.artifact.writer import write_model
from smalti.codegen.assemble import generate
from smalti.compiler import CompileOptions
from smalti.compiling.about import describe
from smalti.compiling.sizes import import_shaped
from smalti.compiling.source import GraphFile, read_graph
from smalti.errors import ImageError, InputError, UsageError
from smalti.jobs.outputs import write_file
from smalti.jobs.pictures import PassedOver
from smalti.jobs.stream import Clock, OnError, Preprocess, Progress, choose_preprocess, segment
from smalti.kernels.registry import FUSED, KERNELS
from smalti.numerics import DType
from smalti.passes.pipeline import run_pipeline
from smalti.plan.planner import plan_graph
from smalti.quant.calibrate import Source, calibrate, check_record
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.observers import IMAGE_RANK, Tapped, tap
from smalti.quant.record import MAX_RECORD_BYTES, CalibrationRecord, SeenImage, parse_record
from smalti.runtime.engine import Engine, load
from smalti.target.host import resolve_target
from smalti.vision.images import read_file
from smalti.vision.preprocess import resize_picture, target_size
from smalti.vision.voc import Entry, PicturePaths, find_pictures, printable

DEFAULT_IMAGES = 100
CHANNELS = 3

Images = Iterable[NDArray[np.uint8]]
Tell = Callable[[str], None]


def calibrate_folder(
    tf_model: Path,
    options: CompileOptions,
    image_dir: PicturePaths,
    *,
    file_list: Path | None = None,
    image_num: int | None = DEFAULT_IMAGES,
    recursive: bool = False,
    passed_over: PassedOver | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> CalibrationRecord:
    """Calibrate on the pictures of a folder, as ``smalti build --image-dir`` does.

    Args:
        tf_model: the file of the graph.
        options: what will be built; its ``quant`` says how ranges are chosen.
        image_dir: folder of pictures, a VOC root, a picture file, or several of these.
        file_list: names of the pictures; default: every one in the folder, sorted.
        image_num: only the first so many.
        recursive: also the pictures of sub-folders.
        passed_over: is told of pictures that are no good; without it, the first one is an error.
        threads: threads of one inference; default: the CPUs this process may use.
        progress: told after each picture how many are done, and of how many.

    Raises:
        UsageError: a folder, a list or an option does not fit.
        ImageError: no picture can be read, or one cannot and there is no ``passed_over``.
        GraphError: the graph is not supported.
        DataError: the network computes values that are infinite or not a number.
    """
    found = find_pictures(image_dir, file_list, image_num, recursive=recursive)
    given = PassedOver(OnError.STOP) if passed_over is None else passed_over
    given.leave_out(found)
    entries: list[Entry] = []
    for entry in found:  # what is not there is said before the network is compiled
        if entry.path is None:
            given.add(entry, ImageError(entry.problem or "no such picture"))
        else:
            entries.append(entry)
    given.check(len(entries))
    with _TappedEngine(tf_model, options, threads) as engine:
        return engine.calibrate(_folder_runs(engine, entries, given, progress))


def calibrate_model(
    tf_model: Path,
    options: CompileOptions,
    images: Images,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> CalibrationRecord:
    """Calibrate on any pictures: uint8 ``[H, W, 3]``, RGB.  They are scaled as ``smalti infer`` scales them.

    Otherwise as :func:`calibrate_folder`.  In the record, pictures have numbers for names, and the digests are those of
    their shapes and pixels.

    Raises:
        InputError: something is no such picture.
        UsageError, GraphError, DataError: as :func:`calibrate_folder`.
    """
    total = len(images) if isinstance(images, Sized) else None
    checked = (_checked(image, index) for index, image in enumerate(images))
    first = next(checked, None)  # what is wrong with it is said before the network is compiled
    if first is None:
        raise UsageError("calibration needs at least one image")
    with _TappedEngine(tf_model, options, threads) as engine:
        return engine.calibrate(_array_runs(engine, chain((first,), checked), total, progress))


def read_record(path: Path, tf_model: Path, options: CompileOptions) -> CalibrationRecord:
    """Read a calibration record, or ranges that a user wrote, and check that it fits the graph.

    Raises:
        UsageError: the file cannot be read, is no record, or belongs to another graph.
        GraphError: the graph is not supported.
    """
    record = load_record(path)
    check_ranges(record, tf_model, options)
    return record


def load_record(path: Path) -> CalibrationRecord:
    """Read a calibration record, or ranges that a user wrote.

    Raises:
        UsageError: the file cannot be read, or is no record.
    """
    shown = printable(str(path))
    try:
        if not path.is_file():
            raise UsageError("there is no such file; --save-ranges writes one")
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise UsageError(
                f"too large for a calibration record ({MAX_RECORD_BYTES // 2**20} MB at most): give the file "
                "that --save-ranges wrote"
            )
        return parse_record(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {shown}: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"{shown}: {error}") from error


def check_ranges(record: CalibrationRecord, tf_model: Path, options: CompileOptions) -> None:
    """Check that a record fits a graph.

    Raises:
        UsageError: it was made from another graph, or names tensors that this one does not have.
        GraphError: the graph is not supported.
    """
    source = read_graph(tf_model, options.limits)
    graph = run_pipeline(import_shaped(source, options).graph).graph
    check_record(record, graph, source.sha256)


def write_record(path: Path, record: CalibrationRecord) -> None:
    """Write a calibration record, whole or not at all.

    Raises:
        UsageError, OutputError: the file cannot be written.
    """
    write_file(path, record.to_json())


class _TappedEngine:
    """The float32 network with taps, compiled for this CPU and loaded; for :func:`segment`, a way to label."""

    def __init__(self, tf_model: Path, options: CompileOptions, threads: int | None) -> None:
        self._quant = options.quant
        self.tapped, self._engine, self.source = _compile(read_graph(tf_model, options.limits), options, threads)
        self.preprocess = choose_preprocess(self._engine)
        self.source = replace(self.source, preprocess=self.preprocess.to_json())
        self.outputs: Sequence[NDArray[Any]] = ()

    @property
    def manifest(self) -> Manifest:
        return self._engine.manifest

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Run one picture; what the taps gave is in ``outputs`` until the next."""
        self.outputs = tuple(self._engine.run({self.manifest.inputs[0].name: image[np.newaxis]}).values())
        return np.zeros((0, 0), np.int32)

    def calibrate(self, runs: Iterable[tuple[SeenImage, Sequence[NDArray[Any]]]]) -> CalibrationRecord:
        return calibrate(self.tapped, self._quant, self.source, runs)

    def __enter__(self) -> _TappedEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()


def _compile(graph: GraphFile, options: CompileOptions, threads: int | None) -> tuple[Tapped, Engine, Source]:
    target = resolve_target("native")
    plain = replace(
        options,
        targets=(target,),
        quant=QuantOptions(QuantMode.FORCE_FLOAT32),
        batch_size=None,
        labels=None,
        colours=None,
    )
    imported = import_shaped(graph, plain)
    inputs = imported.graph.inputs
    if len(inputs) != 1 or inputs[0].type.dtype is not DType.UINT8 or inputs[0].type.rank != IMAGE_RANK:
        names = ", ".join(f"{n.name} {n.type}" for n in inputs)
        raise UsageError(
            f"calibration runs the network on pictures, so it needs one input uint8 [1, H, W, 3]; this graph "
            f"has {names}. Say with --preset (or --scale, --mean, --std) how pictures become that, or give --ranges"
        )
    tapped = tap(run_pipeline(imported.graph).graph)
    plan = plan_graph(tapped.graph, target, KERNELS, fused=FUSED)
    made = generate(plan, describe(graph, imported.graph, plain, imported.report))
    with tempfile.TemporaryDirectory(prefix="smalti-") as folder:
        path = Path(folder) / "calibration.smalti"
        sha256 = write_model(path, made.manifest, made.constants, made.code)
        engine = load(path, threads, sha256, concurrency=1)
    return tapped, engine, Source(options.name, graph.sha256, {})


def _folder_runs(
    engine: _TappedEngine, entries: Sequence[Entry], passed_over: PassedOver, progress: Progress | None
) -> Iterator[tuple[SeenImage, Sequence[NDArray[Any]]]]:
    results = segment(engine, entries, engine.preprocess, Clock())
    used = 0
    try:
        for index, item in enumerate(results):
            if isinstance(item, tuple):
                passed_over.add(*item)
            else:
                used += 1
                yield SeenImage(item.entry.name, _file_digest(item.entry)), engine.outputs
            if progress is not None:
                progress(index + 1, len(entries))
    finally:
        results.close()
    passed_over.check(used)


def _file_digest(entry: Entry) -> str:
    return "" if entry.path is None else hashlib.sha256(read_file(entry.path)).hexdigest()


def _array_runs(
    engine: _TappedEngine, pictures: Images, total: int | None, progress: Progress | None
) -> Iterator[tuple[SeenImage, Sequence[NDArray[Any]]]]:
    for index, picture in enumerate(pictures):
        engine(_fit(picture, engine.preprocess))
        digest = hashlib.sha256(repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes()).hexdigest()
        yield SeenImage(str(index), digest), engine.outputs
        if progress is not None:
            progress(index + 1, total or index + 1)


def _checked(image: Any, index: int) -> NDArray[np.uint8]:
    picture = np.asarray(image)
    if picture.dtype != np.uint8 or picture.ndim != CHANNELS or picture.shape[2] != CHANNELS or not picture.size:
        raise InputError(
            f"picture {index} of the calibration set must be uint8 [H, W, 3], not {picture.dtype} {list(picture.shape)}"
        )
    return picture


def _fit(picture: NDArray[np.uint8], preprocess: Preprocess) -> NDArray[np.uint8]:
    height, width = target_size(picture.shape[0], picture.shape[1], preprocess.resize, preprocess.input_size)
    return resize_picture(picture, height, width)
