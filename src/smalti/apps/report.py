"""Tables of results: plain text cells, which the command line draws and a report writes as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from smalti.apps.evaluate import EvalResult
from smalti.apps.infer import InferResult
from smalti.apps.stream import Failure, StageTimes
from smalti.vision.metrics import Segmentation


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table. Columns in ``left`` hold words, the others numbers; ``footer`` is a last row set apart."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    footer: tuple[str, ...] = ()
    left: tuple[int, ...] = (0,)

    def to_markdown(self) -> str:
        """Return the table in GitHub's Markdown; the title stands above it."""
        head = _markdown_row(self.columns)
        rule = _markdown_row(["---" if i in self.left else "---:" for i in range(len(self.columns))])
        body = [_markdown_row(row) for row in self.rows]
        foot = [_markdown_row([f"**{cell}**" if cell else "" for cell in self.footer])] if self.footer else []
        return "\n".join([f"**{self.title}**", "", head, rule, *body, *foot, ""])


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def percent(value: float) -> str:
    """Return a share as per cent with two digits, or a dash for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def accuracy_table(accuracy: Segmentation) -> Table:
    """Return one row per class (IoU, recall, pixels of the mask) and a footer with mIoU and pixel accuracy."""
    truth = accuracy.confusion.sum(axis=1)
    rows = tuple(
        (name, percent(float(iou)), percent(float(recall)), f"{int(pixels):,}")
        for name, iou, recall, pixels in zip(accuracy.labels, accuracy.iou, accuracy.class_accuracy, truth, strict=True)
    )
    footer = ("mean IoU / pixel accuracy", percent(accuracy.miou), percent(accuracy.pixel_accuracy), "")
    title = f"{accuracy.images} images, {accuracy.pixels:,} pixels"
    return Table(title, ("class", "IoU %", "found %", "mask pixels"), rows, footer)


def confusion_table(accuracy: Segmentation) -> Table:
    """Return, per class of the masks, where its pixels went: the share found and the three most frequent mistakes."""
    rows = []
    for index, name in enumerate(accuracy.labels):
        row = accuracy.confusion[index]
        total = int(row.sum())
        order = [int(i) for i in (-row).argsort(kind="stable") if i != index and row[i]]
        mistakes = ", ".join(f"{accuracy.labels[i]} {percent(int(row[i]) / total)}" for i in order[:3])
        rows.append((name, percent(int(row[index]) / total) if total else "-", mistakes or "-"))
    return Table(
        "where the pixels of each class went, in %", ("class", "found", "mistaken for"), tuple(rows), left=(0, 2)
    )


def stages_table(stages: Sequence[StageTimes], threads: int, at_once: int = 1) -> Table:
    """Return the milliseconds of each stage of the work on one picture, of which ``at_once`` were under way."""
    rows = tuple(
        (s.stage.value, f"{s.mean:.2f}", f"{s.median:.2f}", f"{s.p95:.2f}", f"{s.total / 1e3:.2f}") for s in stages
    )
    title = f"time of each stage, {threads} thread{'s' if threads != 1 else ''}"
    title += f" for {at_once} pictures at a time" if at_once > 1 else ""
    return Table(title, ("stage", "mean ms", "median ms", "p95 ms", "total s"), rows)


def failures_table(failures: Sequence[Failure], limit: int = 20) -> Table:
    """Return the first ``limit`` pictures that were skipped, and why; the footer counts the others."""
    rows = tuple((failure.name, failure.reason) for failure in failures[:limit])
    more = len(failures) - limit
    footer = (f"and {more} more", "") if more > 0 else ()
    return Table(f"{len(failures)} skipped", ("name", "reason"), rows, footer, left=(0, 1))


def infer_summary(result: InferResult) -> str:
    """Return one line: how many pictures, how fast, where to."""
    rate = result.images / result.seconds if result.seconds > 0 else 0.0
    where = f" -> {result.output_dir}" if result.output_dir is not None else ""
    skipped = f", {result.failed} skipped" if result.failed else ""
    return f"{result.images} images in {result.seconds:.2f} s ({rate:.1f} a second){skipped}{where}"


def eval_summary(result: EvalResult) -> str:
    """Return one line: the mean IoU and how it was counted."""
    accuracy = result.accuracy
    skipped = f", {len(result.failures)} skipped" if result.failures else ""
    counted = sum(not math.isnan(float(value)) for value in accuracy.iou)
    return (
        f"mIoU {percent(accuracy.miou)} % over {counted} classes, pixel accuracy {percent(accuracy.pixel_accuracy)} %, "
        f"{accuracy.images} images{skipped}"
    )
