"""Accuracy as tables: IoU per class, where the pixels of each class went, and one line for the whole."""

from __future__ import annotations

import math

from smalti.jobs.table import Fit, Table, percent
from smalti.scoring.evaluate import EvalResult
from smalti.vision.metrics import Segmentation


def accuracy_table(accuracy: Segmentation) -> Table:
    """Return one row per class (IoU, recall, pixels of the mask) and a footer with mIoU and pixel accuracy."""
    truth = accuracy.confusion.sum(axis=1)
    rows = tuple(
        (name, percent(float(iou)), percent(float(recall)), f"{int(pixels):,}")
        for name, iou, recall, pixels in zip(accuracy.labels, accuracy.iou, accuracy.class_accuracy, truth, strict=True)
    )
    footer = ("mean IoU / pixel accuracy", percent(accuracy.miou), percent(accuracy.pixel_accuracy), "")
    title = f"{accuracy.images} images, {accuracy.pixels:,} pixels"
    return Table(title, ("class", "IoU %", "found %", "mask pixels"), rows, footer, fit=Fit(names=(0,)))


def confusion_table(accuracy: Segmentation) -> Table:
    """Return, per class of the masks, where its pixels went: the share found and the three most frequent mistakes."""
    rows = []
    for index, name in enumerate(accuracy.labels):
        row = accuracy.confusion[index]
        total = int(row.sum())
        order = [int(i) for i in (-row).argsort(kind="stable") if i != index and row[i]]
        mistakes = ", ".join(f"{accuracy.labels[i]} {percent(int(row[i]) / total)}" for i in order[:3])
        rows.append((name, percent(int(row[index]) / total) if total else "-", mistakes or "-"))
    title = "where the pixels of each class went, in %"
    fit = Fit(names=(0,), prose=(2,))
    return Table(title, ("class", "found", "mistaken for"), tuple(rows), left=(0, 2), fit=fit)


def eval_summary(result: EvalResult) -> str:
    """Return one line: the mean IoU and how it was counted."""
    accuracy = result.accuracy
    skipped = f", {len(result.failures)} skipped" if result.failures else ""
    counted = sum(not math.isnan(float(value)) for value in accuracy.iou)
    return (
        f"mIoU {percent(accuracy.miou)} % over {counted} classes, pixel accuracy {percent(accuracy.pixel_accuracy)} %, "
        f"{accuracy.images} images{skipped}"
    )
