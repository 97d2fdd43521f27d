"""Compare label maps with their masks: mean intersection over union as PASCAL VOC counts it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import DataError, ImageError, InputError
from smalti.jobs.stream import (
    Clock,
    Engine,
    Failure,
    OnError,
    Preprocess,
    Progress,
    Stage,
    StageTimes,
    failed,
)
from smalti.jobs.watch import UNKNOWN_LOAD, Load, LoadWatch
from smalti.segmenter.segmenter import Segmenter
from smalti.vision.images import DEFAULT_MAX_PIXELS, read_mask
from smalti.vision.metrics import ConfusionMatrix, Segmentation
from smalti.vision.preprocess import Resize, resize_labels
from smalti.vision.voc import PicturePaths, find_pictures, inner_folder, list_masks


@dataclass(frozen=True, slots=True)
class EvalResult:
    """The accuracy, and which images could not be counted.

    ``stages``, ``preprocess`` and ``target`` (which the caller fills in) are those of an engine run; ``at_once``
    pictures shared its threads, and ``load`` is what others took of the CPUs. ``left_out`` counts files of the folders
    of each kind of picture that is not read.
    """

    accuracy: Segmentation
    failures: tuple[Failure, ...]
    seconds: float
    stages: tuple[StageTimes, ...] = ()
    threads: int | None = None
    preprocess: Preprocess | None = None
    target: str | None = None
    at_once: int = 1
    load: Load = UNKNOWN_LOAD
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes, 0 to 1."""
        return self.accuracy.miou

    def to_json(self) -> dict[str, Any]:
        out = self.accuracy.to_json()
        out["failed"] = len(self.failures)
        out["failures"] = [failure.to_json() for failure in self.failures]
        out["pictures_left_out"] = dict(self.left_out)
        out["seconds"] = self.seconds
        if self.stages:
            out["stages"] = [stage.to_json() for stage in self.stages]
            out["threads"] = self.threads
            out["pictures_at_once"] = self.at_once
            out["other_load"] = self.load.to_json()
        if self.preprocess is not None:
            out["preprocess"] = self.preprocess.to_json()
        if self.target is not None:
            out["target"] = self.target
        return out


def evaluate_folder(
    pred_dir: Path,
    gt_dir: Path,
    file_list: Path | None = None,
    image_num: int | None = None,
    *,
    labels: Sequence[str] | None = None,
    on_error: OnError = OnError.STOP,
    progress: Progress | None = None,
) -> EvalResult:
    """Compare the label maps of ``pred_dir`` with the masks of ``gt_dir``, both PNG files of the same names.

    The images are those of ``file_list``, else every label map in ``pred_dir``; at most ``image_num``. A label map of
    another size is scaled to its mask by the nearest neighbour. One confusion matrix is accumulated over all images;
    without ``labels``, the class names, it has as many classes as the largest label (255 does not count) asks for.
    A missing or bad file raises DataError, or is listed with ``OnError.SKIP``; UsageError for folders and lists.
    """
    start = time.perf_counter()
    masks = inner_folder(gt_dir, "SegmentationClass")
    entries = list_masks(masks if file_list else pred_dir, file_list, image_num)
    counter = ConfusionMatrix(labels)
    failures: list[Failure] = []
    for index, entry in enumerate(entries):
        try:
            if entry.path is None:
                raise DataError(entry.problem or "no such mask")
            mask = _read(masks / f"{entry.stem}.png", "mask")
            prediction = _read(pred_dir / f"{entry.stem}.png", "label map")
            counter.add(resize_labels(prediction, *mask.shape), mask)
        except DataError as error:
            failures.append(failed(entry, error, on_error))
        if progress is not None:
            progress(index + 1, len(entries))
    return _result(counter, failures, start)


def evaluate_model(
    engine: Engine,
    image_dir: PicturePaths,
    gt_dir: Path,
    file_list: Path | None = None,
    image_num: int | None = None,
    *,
    recursive: bool = False,
    labels: Sequence[str] | None = None,
    resize: Resize | None = None,
    input_size: int | None = None,
    on_error: OnError = OnError.STOP,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Progress | None = None,
) -> EvalResult:
    """Run an engine over pictures and compare its label maps with their masks, without files in between.

    ``labels`` defaults to the manifest's; where that has none either, classes go by number. Otherwise as
    :func:`evaluate_folder` and :func:`smalti.labelling.infer.infer`; pictures without a mask are failures. Masks lie in
    ``gt_dir`` as pictures lie in ``image_dir``, in sub-folders of the same names.
    """
    start = time.perf_counter()
    masks = inner_folder(gt_dir, "SegmentationClass")
    segmenter = Segmenter(engine, resize=resize, input_size=input_size, labels=labels, max_pixels=max_pixels)
    entries = find_pictures(image_dir, file_list, image_num, recursive=recursive)
    counter = ConfusionMatrix(segmenter.names or None)
    failures: list[Failure] = []
    clock, others = Clock(), LoadWatch()
    at_once = segmenter.sharing(len(entries))[1]
    results = segmenter.entries(entries, clock, pictures=len(entries))
    try:
        for index, item in enumerate(results):
            try:
                if isinstance(item, tuple):
                    raise item[1]
                mask = _read(masks / f"{item.entry.stem}.png", "mask")
                began = time.perf_counter()
                counter.add(resize_labels(item.labels, *mask.shape), mask)
                clock.add(Stage.POST, time.perf_counter() - began)
            except (DataError, InputError) as error:
                failures.append(failed(entries[index], error, on_error))
            if progress is not None:
                progress(index + 1, len(entries))
    finally:
        results.close()
    found = _result(counter, failures, start)
    return replace(
        found,
        stages=clock.result(),
        threads=engine.threads,
        preprocess=segmenter.preprocess,
        at_once=at_once,
        load=others.load(),
        left_out=entries.left_out,
    )


def _read(path: Path, what: str) -> NDArray[np.uint8]:
    try:
        return read_mask(path)
    except ImageError as error:
        raise ImageError(f"{what}: {error}") from error


def _result(counter: ConfusionMatrix, failures: list[Failure], start: float) -> EvalResult:
    accuracy = counter.result()
    return EvalResult(accuracy, tuple(failures), time.perf_counter() - start)
