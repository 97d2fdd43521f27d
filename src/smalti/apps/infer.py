"""Label every picture of a folder or a list, and save the label maps."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.apps.outputs import OutputFolder
from smalti.apps.stream import (
    Clock,
    Engine,
    Failure,
    OnError,
    Preprocess,
    Progress,
    Segmented,
    Stage,
    StageTimes,
    choose_preprocess,
    failed,
    segment,
)
from smalti.errors import DataError, UsageError
from smalti.vision.images import DEFAULT_MAX_PIXELS, check_max_pixels, encode_mask, encode_picture
from smalti.vision.overlay import add_legend, blend
from smalti.vision.palette import VOC_LABELS
from smalti.vision.preprocess import Resize, resize_labels
from smalti.vision.voc import Entry, list_pictures, output_names, printable

OVERLAY_FOLDER = "overlay"


class OutputSize(str, Enum):
    """The size of saved label maps: that of the picture, or that at which the network saw it."""

    ORIGINAL = "original"
    INPUT = "input"


@dataclass(frozen=True, slots=True)
class InferOptions:
    """How to run: see ``smalti infer --help``. ``resize`` and ``input_size`` None = what the model's manifest says."""

    resize: Resize | None = None
    input_size: int | None = None
    output_size: OutputSize = OutputSize.ORIGINAL
    save_img: bool = True
    overlay: bool = False
    on_error: OnError = OnError.SKIP
    max_pixels: int = DEFAULT_MAX_PIXELS


@dataclass(frozen=True, slots=True)
class InferResult:
    """What was done: how many pictures got a label map, which did not and why, and where the time went.

    ``seconds`` is the wall time of the whole run; decoding runs beside inference, so the stages add up to more.
    """

    images: int
    failures: tuple[Failure, ...]
    seconds: float
    stages: tuple[StageTimes, ...]
    threads: int
    preprocess: Preprocess
    output_dir: Path | None

    def to_json(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "failed": len(self.failures),
            "failures": [failure.to_json() for failure in self.failures],
            "seconds": self.seconds,
            "images_per_second": self.images / self.seconds if self.seconds > 0 else None,
            "stages": [stage.to_json() for stage in self.stages],
            "threads": self.threads,
            "preprocess": self.preprocess.to_json(),
            "output_dir": None if self.output_dir is None else str(self.output_dir),
        }


def infer(
    engine: Engine,
    image_dir: Path,
    output_dir: Path | None,
    *,
    file_list: Path | None = None,
    image_num: int | None = None,
    options: InferOptions | None = None,
    progress: Progress | None = None,
) -> InferResult:
    """Label the pictures of ``image_dir`` (those of ``file_list``; at most ``image_num``) and save the label maps.

    ``output_dir/NAME.png`` is a palette PNG whose pixel index is the label; ``a.jpg`` and ``a.png`` in one list become
    ``a.jpg.png`` and ``a.png.png``. With ``overlay``, ``output_dir/overlay/NAME.jpg`` shows the classes on the picture.
    A file is written whole or not at all, and one job at a time writes to a folder. A picture that cannot be decoded is
    listed in the result, or raised with ``OnError.STOP``.

    Raises UsageError (folders, lists, options), ImageError (only with STOP), OutputError (the disk refuses),
    ResourceError (no memory; another job writes there). ``output_dir`` may be None when nothing is saved.
    """
    how = options or InferOptions()
    check_max_pixels(how.max_pixels)
    preprocess = choose_preprocess(engine, how.resize, how.input_size)
    entries = list_pictures(image_dir, file_list, image_num)
    job = _Job(engine, entries, preprocess, how, progress)
    if not (how.save_img or how.overlay):
        return job.run(None)
    if output_dir is None:
        raise UsageError("an output folder is needed to save pictures: give --output-dir")
    names = output_names(entries)
    _refuse_own_pictures(entries, output_dir, names)
    with OutputFolder(output_dir) as folder:
        return job.run(folder, names)


class _Job:
    def __init__(
        self,
        engine: Engine,
        entries: list[Entry],
        preprocess: Preprocess,
        options: InferOptions,
        progress: Progress | None,
    ) -> None:
        self._engine = engine
        self._entries = entries
        self._preprocess = preprocess
        self._options = options
        self._progress = progress
        self._clock = Clock()
        self._labels = engine.manifest.labels

    def run(self, folder: OutputFolder | None, names: list[str] | None = None) -> InferResult:
        start = time.perf_counter()
        failures: list[Failure] = []
        results = segment(
            self._engine, self._entries, self._preprocess, self._clock, max_pixels=self._options.max_pixels
        )
        try:
            for index, item in enumerate(results):
                problem = (
                    item[1] if isinstance(item, tuple) else self._save(item, folder, names[index] if names else "")
                )
                if problem is not None:
                    failures.append(failed(self._entries[index], problem, self._options.on_error))
                if self._progress is not None:
                    self._progress(index + 1, len(self._entries))
        finally:
            results.close()
        return InferResult(
            len(self._entries) - len(failures),
            tuple(failures),
            time.perf_counter() - start,
            self._clock.result(),
            self._engine.threads,
            self._preprocess,
            None if folder is None else folder.path,
        )

    def _save(self, item: Segmented, folder: OutputFolder | None, name: str) -> DataError | UsageError | None:
        """Colour and write one result; return the problem when this one cannot be saved."""
        start = time.perf_counter()
        original = self._options.output_size is OutputSize.ORIGINAL
        picture = item.picture if original else item.seen
        labels = resize_labels(item.labels, picture.shape[0], picture.shape[1])
        try:
            mask = encode_mask(labels) if self._options.save_img and folder else b""
            drawn = self._draw(picture, labels) if self._options.overlay and folder else b""
            self._clock.add(Stage.POST, time.perf_counter() - start)
            if folder is None:
                return None
            start = time.perf_counter()
            if mask:
                folder.write(name, mask)
            if drawn:
                folder.write(f"{OVERLAY_FOLDER}/{name.removesuffix('.png')}.jpg", drawn)
        except (DataError, UsageError) as error:
            return error
        self._clock.add(Stage.SAVE, time.perf_counter() - start)
        return None

    def _draw(self, picture: NDArray[np.uint8], labels: NDArray[np.integer]) -> bytes:
        names = self._labels or VOC_LABELS
        return encode_picture(add_legend(blend(picture, labels), labels, names))


def _refuse_own_pictures(entries: list[Entry], output_dir: Path, names: list[str]) -> None:
    """A run must never write over the pictures it reads."""
    real = _RealPaths()
    sources = {real.of(f"{entry.folder}/{entry.name}") for entry in entries if entry.folder is not None}
    for name in names:
        if real.of(f"{output_dir}/{name}") in sources:
            text = f"{printable(str(output_dir / name))} is one of the pictures to label: choose another --output-dir"
            raise UsageError(text)


class _RealPaths:
    """Resolves the links of many paths, looking at each folder once."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def of(self, path: str) -> str:
        if os.path.islink(path):
            return os.path.realpath(path)
        parent, _, name = path.rpartition("/")
        folder = self._folders.get(parent)
        if folder is None:
            folder = self._folders[parent] = os.path.realpath(parent)
        return f"{folder}/{name}"
