"""The accuracy table of a model: every precision mode and shape mode built, measured and set beside float32."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smalti import __version__
from smalti.bench.system import read_device
from smalti.building.build import build
from smalti.building.calibrate import calibrate_folder
from smalti.compiler import CompileOptions
from smalti.compiling.pictures import PictureOptions
from smalti.compiling.source import read_graph
from smalti.delivery.export import ExportOptions, export
from smalti.errors import CompilerError, DataError, UsageError
from smalti.fetch.progress import Progress as FetchProgress
from smalti.fetch.progress import silent
from smalti.fetch.registry import MODELS, find_dataset, find_model
from smalti.frontend.recognise import READ_KINDS
from smalti.jobs.outputs import OutputFolder
from smalti.jobs.pictures import PassedOver, usable_pictures
from smalti.jobs.stream import MAX_AT_ONCE, Clock, OnError, Progress, failed
from smalti.jobs.timing import time_calls
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.runtime.engine import load
from smalti.scoring.rows import AccuracyRow, AccuracyTable, kept, read_table, row_name
from smalti.segmenter.segmenter import Segmenter
from smalti.target.target import Target
from smalti.vision.images import encode_mask, naming, read_mask
from smalti.vision.metrics import ConfusionMatrix
from smalti.vision.preprocess import resize_labels
from smalti.vision.voc import Entry, PicturePaths, find_pictures, inner_folder, list_pictures, output_names

USUAL_MODES: Final = (QuantMode.FORCE_FLOAT32, QuantMode.FORCE_FLOAT16, QuantMode.QINT8_MIXED_FLOAT16)
TABLE_FILE: Final = "accuracy.json"
TRAIN_LIST: Final = Path("ImageSets") / "Segmentation" / "train.txt"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class AccuracyOptions:
    """What to measure.

    Attributes:
        target: CPUs to build for; this one must be one of them.
        output_dir: folder for models, label maps and the table; a stopped run goes on from what is there.
        model: name of a known model, or the path of a graph.
        modes: precision modes; force_float32 is measured in any case.
        shape_modes: ``True`` for any image size, ``False`` for one fixed square.
        input_shapes, binds, drop_dropout, pictures: as for a build.
        quant: how ranges and scales are chosen (its mode does not count).
        image_dir, gt_dir, file_list: pictures and masks; ``None``: the val set of a known model.
        image_num, recursive: only the first N pictures; also those of sub-folders, where their masks lie likewise.
        on_error: what a picture that cannot be used, or has no mask that can, does to the run.
        calib_dir, calib_list: pictures to calibrate on; ``None``: ``image_dir``, and train.txt of a VOC root.
        calib_num: at most so many of them.
        labels: class names; ``None``: those of a known model, else classes go by number.
        colours: ``#rrggbb`` or ``None`` for each class; ``None``: VOC's.
        mirror, sha256: as for export, for a known model.
        threads: threads of one inference.
        force: measure again what is there already.
    """

    target: Target
    output_dir: Path
    model: str
    modes: tuple[QuantMode, ...] = USUAL_MODES
    shape_modes: tuple[bool, ...] = (True,)
    input_shapes: Mapping[str, Iterable[int | None]] = field(default_factory=dict)
    binds: Mapping[str, Any] = field(default_factory=dict)
    drop_dropout: bool = False
    pictures: PictureOptions | None = None
    quant: QuantOptions = QuantOptions()
    image_dir: PicturePaths | None = None
    gt_dir: Path | None = None
    file_list: Path | None = None
    image_num: int | None = None
    recursive: bool = False
    on_error: OnError = OnError.SKIP
    calib_dir: Path | None = None
    calib_list: Path | None = None
    calib_num: int = 100
    labels: tuple[str, ...] | None = None
    colours: tuple[str | None, ...] | None = None
    mirror: str | None = None
    sha256: tuple[str, ...] = ()
    threads: int | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Material:
    """What a table is made from, with everything found: graph, pictures, masks, calibration pictures."""

    name: str
    graph: Path
    inputs: tuple[str, ...] | None
    outputs: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    image_dir: PicturePaths
    gt_dir: Path
    file_list: Path | None
    calib_dir: Path | None
    calib_list: Path | None


def accuracy(
    options: AccuracyOptions,
    *,
    fetch_progress: FetchProgress = silent,
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> AccuracyTable:
    """Build and measure every mode, and return the table; finished rows of an earlier run are kept.

    After every row the table is written to ``output_dir/accuracy.json``. Every row is measured on the same pictures:
    those that can be decoded and have a mask. The others are listed in the table.

    Raises:
        UsageError: an unknown model, or an option that does not fit.
        FetchError, ArchiveError: a known model or its data cannot be brought here.
        GraphError, ImageError, InputError: as build and inference.
        ResourceError: another job writes to the folder.
    """
    material = find_material(options, fetch_progress)
    with OutputFolder(options.output_dir) as folder:
        job = _Job(options, material, folder, progress or (lambda done, total: None), tell or (lambda what: None))
        return job.run()


def find_material(options: AccuracyOptions, fetch_progress: FetchProgress = silent) -> Material:
    """Return what the table is made from; a known model and its data are exported into the output folder.

    Raises:
        UsageError: neither a known model nor a graph, or no pictures or masks for a graph.
        FetchError, ArchiveError: as export.
    """
    path = Path(options.model)
    if path.exists():
        if options.image_dir is None or options.gt_dir is None:
            raise UsageError("a graph of your own needs --image-dir and --gt-dir")
        name = path.resolve().parent.name if path.name == "frozen_inference_graph.pb" else path.stem
        return _with_calibration(
            options,
            Material(
                name, path, None, None, options.labels, options.image_dir, options.gt_dir, options.file_list, None, None
            ),
        )
    if options.model not in [entry.name for entry in MODELS] and path.suffix:
        raise UsageError(
            f"there is no graph {path}: give --model {READ_KINDS}, or a name that `smalti export --list` shows"
        )
    entry = find_model(options.model)
    own = options.image_dir is not None
    done = export(
        ExportOptions(
            output_dir=options.output_dir / "data",
            model=entry.name,
            dataset=None if own else entry.dataset,
            mirror=options.mirror,
            sha256=options.sha256,
            progress=fetch_progress,
        )
    )
    if done.graph is None or (not own and (done.voc_root is None or done.val_list is None)):
        raise CompilerError(f"the export of {entry.name} is incomplete")
    image_dir = options.image_dir or done.voc_root
    gt_dir = options.gt_dir or (options.image_dir if isinstance(options.image_dir, Path) else done.voc_root)
    if image_dir is None or gt_dir is None:
        raise UsageError("give --gt-dir with --image-dir")
    train = None if own or done.voc_root is None else done.voc_root / find_dataset(entry.dataset).train_list
    found = Material(
        entry.name,
        done.graph,
        entry.inputs,
        entry.outputs,
        options.labels or entry.labels,
        image_dir,
        gt_dir,
        options.file_list or (None if own else done.val_list),
        None,
        train if train is not None and train.is_file() else None,
    )
    return _with_calibration(options, found)


def _with_calibration(options: AccuracyOptions, found: Material) -> Material:
    """Say where calibration pictures are; without any, only modes that need none can be built."""
    folder = options.calib_dir or _one_folder(found.image_dir)
    if folder is None:
        return replace(found, calib_dir=None, calib_list=None)
    names = options.calib_list or (None if options.calib_dir is not None else found.calib_list)
    if names is None and (folder / TRAIN_LIST).is_file():
        names = folder / TRAIN_LIST
    if names is None and options.calib_dir is None:
        return replace(found, calib_dir=None, calib_list=None)
    return replace(found, calib_dir=folder, calib_list=names)


def _one_folder(image_dir: PicturePaths) -> Path | None:
    paths = [image_dir] if isinstance(image_dir, Path) else list(image_dir)
    return paths[0] if len(paths) == 1 else None


class _Job:
    def __init__(
        self, options: AccuracyOptions, material: Material, folder: OutputFolder, progress: Progress, tell: Tell
    ) -> None:
        self.options = options
        self.material = material
        self.folder = folder
        self.progress = progress
        self.tell = tell
        found = find_pictures(material.image_dir, material.file_list, options.image_num, recursive=options.recursive)
        names = output_names(found)  # of all pictures: a name does not depend on which of them can be used
        self.masks = inner_folder(material.gt_dir, "SegmentationClass")
        self.passed_over = PassedOver(options.on_error)
        self.passed_over.leave_out(found)
        usable = usable_pictures(found, self.passed_over, self.masks)
        self.entries = [found[index] for index in usable]
        self.names = [names[index] for index in usable]
        self.graph_sha256 = read_graph(material.graph).sha256
        self.pictures_sha256 = _pictures_digest(self.entries, self.masks)
        self.device = read_device().cpu
        self.rows: list[AccuracyRow] = []
        if any(mode.quantised is not None for mode in options.modes) and material.calib_dir is None:
            raise UsageError("the quantising modes must be calibrated: give pictures with --calib-dir or --calib-list")

    def run(self) -> AccuracyTable:
        earlier = self._earlier()
        modes = tuple(dict.fromkeys((QuantMode.FORCE_FLOAT32, *self.options.modes)))
        for mutable in self.options.shape_modes:
            float32: AccuracyRow | None = None
            for mode in modes:
                compiled = self._compile_options(mode, mutable)
                key = self._key(compiled, float32)
                row = earlier.get(key)
                row = kept(row) if row is not None and self._is_whole(row) else self._measure(compiled, key, float32)
                float32 = float32 or row
                self.rows.append(row)
                self.folder.write(TABLE_FILE, self._table(earlier).to_bytes())
        return self._table({})

    def _table(self, earlier: dict[str, AccuracyRow]) -> AccuracyTable:
        """Return the table so far; rows of an earlier run that may still be of use stay in the file."""
        have = {row.name for row in self.rows}
        others = [row for row in earlier.values() if row.name not in have]
        return AccuracyTable(
            self.material.name,
            self.graph_sha256,
            self.pictures_sha256,
            len(self.entries),
            (*self.rows, *others),
            self.passed_over.failures,
            self.passed_over.left_out,
        )

    def _earlier(self) -> dict[str, AccuracyRow]:
        path = self.folder.path / TABLE_FILE
        if self.options.force or not path.is_file():
            return {}
        try:
            table = read_table(path)
        except DataError:
            self.tell(f"{path} cannot be read; everything is measured again")
            return {}
        if (table.graph_sha256, table.pictures_sha256) != (self.graph_sha256, self.pictures_sha256):
            return {}
        return {row.key: row for row in table.rows}

    def _is_whole(self, row: AccuracyRow) -> bool:
        """Whether the files of a row are still there."""
        root = self.folder.path
        return (root / row.model_file).is_file() and all(
            (root / row.labels_dir / name).is_file() for name in self.names
        )

    def _compile_options(self, mode: QuantMode, mutable: bool) -> CompileOptions:
        m = self.material
        return CompileOptions(
            targets=(self.options.target,),
            quant=replace(self.options.quant, mode=mode),
            shape_mutable=mutable,
            inputs=m.inputs,
            outputs=m.outputs,
            input_shapes=self.options.input_shapes,
            binds=self.options.binds,
            drop_dropout=self.options.drop_dropout,
            pictures=self.options.pictures,
            name=m.name,
            labels=m.labels,
            colours=self.options.colours,
        )

    def _key(self, compiled: CompileOptions, float32: AccuracyRow | None) -> str:
        """Return the digest of everything that a row depends on."""
        said: dict[str, Any] = {
            "version": __version__,
            "graph": self.graph_sha256,
            "pictures": self.pictures_sha256,
            "mode": compiled.quant_mode.value,
            "mutable": compiled.shape_mutable,
            "target": str(compiled.target),
            "labels": compiled.labels,
            "threads": self.options.threads,
            "cpu": self.device,
            "float32": None if float32 is None else float32.key,
        }
        if compiled.colours is not None:
            said["colours"] = compiled.colours
        if compiled.input_shapes or compiled.binds:
            said["given"] = [compiled.input_shapes, compiled.binds]
        said |= {"drop_dropout": True} if compiled.drop_dropout else {}
        said |= {} if compiled.pictures is None else {"built_in": compiled.pictures.to_json()}
        if compiled.quant_mode is not QuantMode.FORCE_FLOAT32:
            said["quant"] = repr(compiled.quant)
        if compiled.quant_mode.quantised is not None and self.material.calib_dir is not None:
            entries = list_pictures(self.material.calib_dir, self.material.calib_list, self.options.calib_num)
            said["calibration"] = _pictures_digest(entries, None)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def _measure(self, compiled: CompileOptions, key: str, float32: AccuracyRow | None) -> AccuracyRow:
        start = time.perf_counter()
        name = row_name(compiled.quant_mode, compiled.shape_mutable)
        record, notes = None, tuple[str, ...]()
        if compiled.quant_mode.quantised is not None and self.material.calib_dir is not None:
            self.tell(f"{name}: calibrating")
            before = len(self.passed_over.failures)
            record = calibrate_folder(
                self.material.graph,
                compiled,
                self.material.calib_dir,
                file_list=self.material.calib_list,
                image_num=self.options.calib_num,
                passed_over=self.passed_over,
                threads=self.options.threads,
                progress=self.progress,
            )
            notes = (*record.warnings, *self._calibrated_without(before))
            self.folder.write(f"ranges-{name}.json", record.to_json())
        self.tell(f"{name}: building")
        model_file = f"{self.material.name}-{name}.smalti"
        built = build(self.material.graph, self.folder.path / model_file, compiled, record=record)
        self.tell(f"{name}: measuring")
        labels_dir = f"labels/{name}"
        counter = ConfusionMatrix(compiled.labels)
        flipped: dict[str, int] = {}
        pixels: dict[str, int] = {}
        with load(built.path, self.options.threads, built.sha256, concurrency=MAX_AT_ONCE) as engine:
            segmenter = Segmenter(engine)
            results = segmenter.entries(self.entries, Clock(), pictures=len(self.entries))
            try:
                for index, item in enumerate(results):
                    entry, file = self.entries[index], self.names[index]
                    if isinstance(item, tuple):
                        failed(entry, item[1], OnError.STOP)
                        continue
                    self.folder.write(f"{labels_dir}/{file}", encode_mask(item.labels, segmenter.palette))
                    path = self.masks / f"{entry.stem}.png"
                    with naming(path):
                        mask = read_mask(path)
                        counter.add(resize_labels(item.labels, *mask.shape), mask)
                    pixels[file] = item.labels.size
                    flipped[file] = 0 if float32 is None else self._flips(float32, file, item.labels)
                    self.progress(index + 1, len(self.entries))
            finally:
                results.close()
            self.tell(f"{name}: timing")
            timing = time_calls(engine, self.entries)
            threads = engine.threads
        return AccuracyRow(
            compiled.quant_mode,
            compiled.shape_mutable,
            key,
            counter.measured(),
            flipped,
            pixels,
            timing.median,
            len(timing.ms),
            built.file_bytes,
            model_file,
            built.sha256,
            labels_dir,
            threads,
            self.device,
            time.perf_counter() - start,
            notes,
            load=timing.load,
        )

    def _calibrated_without(self, before: int) -> tuple[str, ...]:
        """Return a note of the calibration pictures that were passed over, for runs that keep the row."""
        names = [failure.name for failure in self.passed_over.failures[before:]]
        return (f"calibrated without {len(names)} pictures that are no good: {', '.join(names[:3])}",) if names else ()

    def _flips(self, float32: AccuracyRow, file: str, labels: NDArray[np.integer]) -> int:
        path = self.folder.path / float32.labels_dir / file
        with naming(path):
            wanted = read_mask(path)
        return int((labels != wanted).sum())


def _pictures_digest(entries: Sequence[Entry], masks: Path | None) -> str:
    """Return a digest of the names and lengths of pictures and masks."""
    lines = []
    for entry in entries:
        mask = None if masks is None else masks / f"{entry.stem}.png"
        lengths = [p.stat().st_size if p is not None and p.is_file() else -1 for p in (entry.path, mask)]
        lines.append(f"{entry.name} {lengths}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
