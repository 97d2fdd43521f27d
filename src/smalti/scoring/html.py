"""An accuracy table as one HTML file that needs nothing else: styles, drawings and pictures are inside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smalti import __version__
from smalti.jobs.table import Table
from smalti.scoring.html_pictures import ReportSource, flip_examples
from smalti.scoring.html_style import ROW_COLOURS, STYLE
from smalti.scoring.report import accuracy_rows_table, accuracy_title
from smalti.scoring.rows import AccuracyRow, AccuracyTable
from smalti.vision.metrics import Segmentation

WORST_IMAGES: Final = 3
_LEAST_SHOWN: Final = 0.005
_LEAST_CHANGE: Final = 0.005


def html_report(
    table: AccuracyTable, source: ReportSource, worst_images: int = WORST_IMAGES, extra: Sequence[Table] = ()
) -> str:
    """Return the report.

    Args:
        table: the rows.
        source: label maps, pictures and masks, and what is said about the run.
        worst_images: pictures shown for each row, those with the largest share of flipped pixels.
        extra: more tables to show below the first, such as a comparison with an earlier one.

    Raises:
        ImageError: a picture, a mask or a label map cannot be read.
    """
    title = f"Accuracy of {table.model}"
    shapes = sorted({row.shape_mutable for row in table.rows}, reverse=True)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        _facts(table, source),
        _table(accuracy_rows_table(table, with_model=False)),
        '<p class="s">mIoU over the classes that occur. Drop: points of mIoU lost against force_float32 of the same '
        "shapes. Flipped: pixels of the label maps that are not those of force_float32. ms: median of single calls of "
        "the engine, image in to labels out.</p>",
        *(_table(more) for more in extra),
        "<h2>IoU of each class</h2>",
        '<p class="s">Behind each bar: IoU in %, and the drop in points against force_float32 (below 0: a gain).</p>',
        *(_bars(table, mutable) for mutable in shapes),
        "<h2>Where the pixels of each class went</h2>",
        '<p class="s">Rows are classes of the masks, columns what their pixels were labelled, in % of the row; green '
        "is right, red wrong. Point at a cell for the names and the number of pixels.</p>",
        *(_confusion(row, index == 0) for index, row in enumerate(table.rows)),
        "<h2>Pictures whose labels flip most</h2>",
        '<p class="s">Pixels whose label is not that of force_float32 are red, drawn three pixels wide.</p>',
        *_examples(table, source, worst_images),
        "</body></html>",
        "",
    ]
    return "\n".join(parts)


def _facts(table: AccuracyTable, source: ReportSource) -> str:
    made = source.made.strftime("%Y-%m-%d %H:%M %Z")
    facts = (
        ("made", f"{made}, Smalti {__version__}"),
        ("measured on", accuracy_title(table)),
        ("pictures", source.data),
        ("masks", source.truth),
        ("graph SHA-256", table.graph_sha256),
    )
    lines = [f"<dt>{name}</dt><dd>{escape(said)}</dd>" for name, said in facts]
    lines.append(f"<dt>command</dt><dd><code>{escape(source.command)}</code></dd>")
    return f"<dl>{''.join(lines)}</dl>"


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        made = [
            f"<{tag}{' class=l' if index in table.left else ''}>{escape(cell)}</{tag}>"
            for index, cell in enumerate(cells)
        ]
        return f"<tr>{''.join(made)}</tr>"

    lines = row(table.columns, "th") + "".join(row(cells, "td") for cells in table.rows)
    said = f'<p class="s">{escape(table.legend)}</p>' if table.legend else ""
    return f'<div class="w"><table>{lines}</table></div>{said}'


def _bars(table: AccuracyTable, mutable: bool) -> str:
    """Return horizontal bars: a group for each class, a bar with its numbers for each mode."""
    rows = [row for row in table.rows if row.shape_mutable == mutable]
    keys = [
        f'<span><i class="k" style="background:{ROW_COLOURS[number % len(ROW_COLOURS)]}"></i>{row.mode.value}</span>'
        for number, row in enumerate(rows)
    ]
    groups = []
    for label, name in enumerate(table.labels):
        bars = [_bar(table, row, number, label) for number, row in enumerate(rows) if not math.isnan(row.iou(label))]
        shown = "".join(bars) or '<span class="s">in no mask and no prediction</span>'
        groups.append(f'<div class="c"><b>{escape(name)}</b><div>{shown}</div></div>')
    return f'<h3>{_shapes(mutable)}</h3><p class="s keys">{"".join(keys)}</p>{"".join(groups)}'


def _bar(table: AccuracyTable, row: AccuracyRow, number: int, label: int) -> str:
    iou, base = row.iou(label), table.float32(row.shape_mutable)
    lost = math.nan if base is None or base is row else 100 * (base.iou(label) - iou)
    kind = "" if math.isnan(lost) or abs(lost) < _LEAST_CHANGE else " class=bad" if lost > 0 else " class=good"
    drop = "" if math.isnan(lost) else f"{lost:+.2f}" if kind else "0.00"
    colour = ROW_COLOURS[number % len(ROW_COLOURS)]
    return (
        f'<div class="b" title="{escape(table.labels[label])}, {row.mode.value}">'
        f'<span class="t"><i style="width:{100 * iou:.2f}%;background:{colour}"></i></span>'
        f"<span>{100 * iou:.2f}</span><span{kind}>{drop}</span></div>"
    )


def _confusion(row: AccuracyRow, is_open: bool) -> str:
    accuracy = row.accuracy
    names = [escape(name) for name in accuracy.labels]
    shares = _row_shares(accuracy)
    head = "".join(f'<th class="v"><span>{name}</span></th>' for name in names)
    lines = [f'<tr><th class="l"></th>{head}</tr>']
    for index, name in enumerate(names):
        cells = [
            _cell(float(share), int(pixels), index == column, f"{name} as {names[column]}")
            for column, (share, pixels) in enumerate(zip(shares[index], accuracy.confusion[index], strict=True))
        ]
        lines.append(f'<tr><th class="l">{name}</th>{"".join(cells)}</tr>')
    state = " open" if is_open else ""
    what = f"{row.mode.value}, {_shapes(row.shape_mutable)}: pixel accuracy {100 * accuracy.pixel_accuracy:.2f} %"
    return (
        f"<details{state}><summary>{escape(what)}</summary>"
        f'<div class="w"><table class="m">{"".join(lines)}</table></div></details>'
    )


def _cell(share: float, pixels: int, is_right: bool, names: str) -> str:
    """Return one cell; ``names`` are escaped. Mistakes are drawn by the square root, so that small ones show."""
    strength = share if is_right else math.sqrt(share)
    colour = "47,145,85" if is_right else "215,45,55"
    text = "" if share < _LEAST_SHOWN else f"{100 * share:.0f}"
    return (
        f'<td style="background:rgba({colour},{0.06 + 0.6 * strength:.2f})" '
        f'title="{names}: {100 * share:.2f} %, {pixels:,} pixels">{text}</td>'
    )


def _row_shares(accuracy: Segmentation) -> NDArray[np.float64]:
    total = accuracy.confusion.sum(axis=1, keepdims=True)
    return np.asarray(accuracy.confusion / np.maximum(total, 1), np.float64)


def _examples(table: AccuracyTable, source: ReportSource, worst_images: int) -> list[str]:
    parts = []
    for row in table.rows:
        if table.float32(row.shape_mutable) in (None, row):
            continue
        parts.append(f"<h3>{row.mode.value}, {_shapes(row.shape_mutable)}</h3>")
        parts.extend(flip_examples(table, source, row, worst_images))
    return parts or ["<p>Nothing to compare with force_float32.</p>"]


def _shapes(mutable: bool) -> str:
    return "any image size" if mutable else "one fixed size"
