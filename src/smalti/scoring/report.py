"""An accuracy table as text, Markdown and CSV."""

from __future__ import annotations

import math

from smalti.jobs.csv_lines import csv_line
from smalti.jobs.table import Fit, Table, percent
from smalti.jobs.watch import legend, marked
from smalti.scoring.rows import AccuracyRow, AccuracyTable

COLUMNS = ("Model", "Quant_Mode", "Shape_Mutable", "mIoU", "drop", "flipped %", "ms", "file MB")


def accuracy_rows_table(table: AccuracyTable, with_model: bool = True) -> Table:
    """Return one row for each build: mIoU lost in points (or gained), and flipped pixels against float32.

    Without its column, the model stands in the title.
    """
    rows = tuple(
        (
            table.model,
            row.mode.value,
            _flag(row.shape_mutable),
            f"{row.accuracy.miou:.4f}",
            points_lost(table.drop(row)),
            f"{100 * row.flipped_share:.3f}",
            marked(f"{row.ms:.2f}", row.load),
            f"{row.file_bytes / 1e6:.2f}",
        )
        for row in table.rows
    )
    said = legend(row.load for row in table.rows)
    if with_model:
        fit = Fit(names=(0,), leave=(7, 5, 0, *_one_shape(table, 2), 4))
        return Table(accuracy_title(table), COLUMNS, rows, left=(0, 1, 2), fit=fit, legend=said)
    title = f"{table.model}: {accuracy_title(table)}"
    shown = tuple(row[1:] for row in rows)
    return Table(title, COLUMNS[1:], shown, left=(0, 1), fit=Fit(leave=(6, *_one_shape(table, 1), 4, 3)), legend=said)


def _one_shape(table: AccuracyTable, column: int) -> tuple[int, ...]:
    """Return the column of shapes where all rows have the same, so that a table can do without it."""
    return (column,) if len({row.shape_mutable for row in table.rows}) == 1 else ()


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
    head = ("model", "quant_mode", "shape_mutable", "miou", "drop_points", "flipped_share", "ms", "file_bytes",
            "images", "threads", "sha256", "noisy", "others_percent", "steal_percent")  # fmt: skip
    return "".join([csv_line(head), *(csv_line(_cells(table, row)) for row in table.rows)])


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
        _flag(row.load.is_noisy),
        "" if row.load.others_percent is None else row.load.others_percent,
        "" if row.load.steal_percent is None else row.load.steal_percent,
    ]


def _flag(value: bool) -> str:
    return "true" if value else "false"


def points_lost(value: float, digits: int = 3) -> str:
    """Return points of mIoU lost as they are shown; what is less than none is called a gain."""
    if math.isnan(value):
        return "-"
    shown = f"{abs(value):.{digits}f}"
    return f"gain {shown}" if value < 0 and float(shown) else shown
