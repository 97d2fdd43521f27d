"""Confusion matrix, intersection over union and pixel accuracy, as the PASCAL VOC challenge counts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import DataError, UsageError
from smalti.vision.classes import class_names
from smalti.vision.palette import VOID_LABEL

MAX_CLASSES = 255


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The accuracy of label maps against their masks.

    ``confusion`` is int64 [C, C]: row = class of the mask, column = predicted class, in pixels, void left out.
    ``iou`` is float64 [C]: TP / (TP + FP + FN), NaN for a class that is in no mask and in no prediction.
    ``miou`` is the mean over the classes that have an IoU; ``images`` the number of label maps counted.
    """

    confusion: NDArray[np.int64]
    labels: tuple[str, ...]
    images: int

    @property
    def classes(self) -> int:
        return len(self.labels)

    @property
    def pixels(self) -> int:
        return int(self.confusion.sum())

    @property
    def iou(self) -> NDArray[np.float64]:
        hits = np.diag(self.confusion).astype(np.float64)
        union = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) - np.diag(self.confusion)
        return _ratio(hits, union)

    @property
    def miou(self) -> float:
        values = self.iou[~np.isnan(self.iou)]
        return float(values.mean()) if values.size else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        total = self.pixels
        return float(np.trace(self.confusion) / total) if total else float("nan")

    @property
    def class_accuracy(self) -> NDArray[np.float64]:
        """The share of each class's mask pixels that were found (recall), float64 [C], NaN without such pixels."""
        hits = np.diag(self.confusion).astype(np.float64)
        total = self.confusion.sum(axis=1)
        return _ratio(hits, total)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON; a class without an IoU is null."""
        return {
            "images": self.images,
            "pixels": self.pixels,
            "miou": _number(self.miou),
            "pixel_accuracy": _number(self.pixel_accuracy),
            "labels": list(self.labels),
            "per_class": [_number(float(v)) for v in self.iou],
            "class_accuracy": [_number(float(v)) for v in self.class_accuracy],
            "confusion": self.confusion.tolist(),
        }


def _ratio(part: NDArray[np.float64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    out = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


class ConfusionMatrix:
    """Accumulates one confusion matrix over any number of label maps.

    ``labels`` are the class names.  ``None``: as many classes as the largest label asks for, called ``class 0`` and so
    on; the mean IoU is the same, since it leaves out classes that occur nowhere.
    """

    def __init__(self, labels: Sequence[str] | None, *, void: int = VOID_LABEL) -> None:
        if labels is not None and not 1 <= len(labels) <= MAX_CLASSES:
            raise UsageError(f"an evaluation needs 1 to {MAX_CLASSES} classes, not {len(labels)}")
        self._labels = None if labels is None else tuple(labels)
        self._void = void
        classes = 1 if labels is None else len(labels)
        self._counts = np.zeros((classes, classes), dtype=np.int64)
        self._images = 0

    def add(self, prediction: NDArray[np.integer], mask: NDArray[np.integer]) -> None:
        """Count one label map [H, W] against its mask [H, W]; mask pixels that are void are left out.

        Raises DataError for different sizes and for a label that is no class; nothing is counted then.
        """
        if prediction.shape != mask.shape:
            raise DataError(f"the label map {prediction.shape} and the mask {mask.shape} differ in size")
        classes = len(self._counts) if self._labels is not None else MAX_CLASSES
        if prediction.size and not 0 <= int(prediction.min()) <= int(prediction.max()) < classes:
            raise DataError(
                f"a predicted label is outside the {classes} classes: {_outside(prediction, classes)}; "
                "--labels names all classes"
            )
        known = mask != self._void
        truth = mask[known].astype(np.int64)
        if truth.size and not 0 <= int(truth.min()) <= int(truth.max()) < classes:
            raise DataError(
                f"a label of the mask is outside the {classes} classes: {_outside(truth, classes)}; --labels "
                "names all classes"
            )
        if self._labels is None:
            classes = self._grow(1 + max((int(found.max()) for found in (prediction, truth) if found.size), default=0))
        pairs = truth * classes + prediction[known]
        self._counts += np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
        self._images += 1

    def _grow(self, wanted: int) -> int:
        """Make room for that many classes; return how many there are then."""
        more = max(0, wanted - len(self._counts))
        self._counts = np.pad(self._counts, (0, more))
        return len(self._counts)

    def result(self) -> Segmentation:
        """Return what has been counted so far, frozen."""
        counts = self._counts.copy()
        counts.setflags(write=False)
        labels = class_names(len(counts)) if self._labels is None else self._labels
        return Segmentation(counts, labels, self._images)

    def measured(self) -> Segmentation:
        """Return the result; DataError where no pixel was counted, so that there is no accuracy."""
        if not self._counts.any():
            raise DataError(f"there is nothing to measure: all pixels of the masks are void ({self._void})")
        return self.result()


def _outside(labels: NDArray[np.integer], classes: int) -> int:
    return int(labels[(labels < 0) | (labels >= classes)][0])
