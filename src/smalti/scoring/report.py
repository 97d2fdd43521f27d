"""An accuracy table as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import math

from smalti.jobs.table import Fit, Table, percent
from smalti.scoring.rows import AccuracyRow, AccuracyTable

COLUMNS = ("Model", "Quant_Mode", "Shape_Mutable", "mIoU", "drop", "flipped %", "ms", "file MB")


def accuracy_rows_table(table: AccuracyTable, with_model: bool = True) -> Table:
    ""
    """Return one row for each build: mIoU lost in points (or gained), and flipped pixels against float32.

    Without its column, the model stands in the title.
    """
    rows = tuple(
        (
            table.model,
            row.mode.value,
            _flag(row.shape_mutable),
            f"{row.accuracy.miou:.4f}",
            _points(table.drop(row)),
            f"{100 * row.flipped_share:.3f}",
            f"{row.ms:.2f}",
            f"{row.file_bytes / 1e6:.2f}",
        )
        for row in table.rows
    )
    if with_model:
        return Table(accuracy_title(table), COLUMNS, rows, left=(0, 1, 2), fit=Fit(names=(0,), leave=(7, 5, 0)))
    title = f"{table.model}: {accuracy_title(table)}"
    return Table(title, COLUMNS[1:], tuple(row[1:] for row in rows), left=(0, 1), fit=Fit(leave=(6, 4)))


def accuracy_title(table: AccuracyTable) -> str:
    """Return what the table was measured on."""
    where = sorted({f"{row.cpu}, {row.threads} thread{'s' if row.threads != 1 else ''}" for row in table.rows})
    skipped = f", {len(table.failures)} skipped" if table.failures else ""
    return f"{table.images} images{skipped}; {'; '.join(where)}"


def classes_table(table: AccuracyTable) -> Table:
    """Return the IoU of every class in every row."""
    rows = tuple((name, *(percent(row.iou(index)) for row in table.rows)) for index, name in enumerate(table.labels))
    columns = ("class", *(f"{row.mode.alias} {'mutable' if row.shape_mutable else 'static'}" for row in table.rows))
    footer = ("mean", *(percent(row.accuracy.miou) for row in table.rows))
    fit = Fit(names=(0,), leave=tuple(range(len(columns) - 1, 1, -1)))
    return Table("IoU of each class, in %", columns, rows, footer, fit=fit)


def to_markdown(table: AccuracyTable) -> str:
    """Return the table and the classes in GitHub's Markdown."""
    return "\n".join([accuracy_rows_table(table).to_markdown(), classes_table(table).to_markdown()])


def to_csv(table: AccuracyTable) -> str:
    """Return one line for each row, with full digits."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["model", "quant_mode", "shape_mutable", "miou", "drop_points", "flipped_share", "ms", "file_bytes",
                     "images", "threads", "sha256"])  # fmt: skip
    for row in table.rows:
        writer.writerow(_cells(table, row))
    return buffer.getvalue()


def _cells(table: AccuracyTable, row: AccuracyRow) -> list[object]:
    drop = table.drop(row)
    return [
        table.model,
        row.mode.value,
        _flag(row.shape_mutable),
        row.accuracy.miou,
        drop if math.isfinite(drop) else "",
        row.flipped_share,
        row.ms,
        row.file_bytes,
        table.images,
        row.threads,
        row.sha256,
    ]


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _points(value: float) -> str:
    """Return points lost; what is less than none is called a gain."""
    if math.isnan(value):
        return "-"
    shown = f"{abs(value):.3f}"
    return f"gain {shown}" if value < 0 and float(shown) else shown
