"""An accuracy table as one HTML file that needs nothing else: styles, drawings and pictures are inside it."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from smalti import __version__
from smalti.comparing.maps import draw_flips
from smalti.jobs.table import Table
from smalti.scoring.report import accuracy_rows_table, accuracy_title
from smalti.scoring.rows import AccuracyRow, AccuracyTable
from smalti.vision.images import naming, read_image, read_mask
from smalti.vision.metrics import Segmentation
from smalti.vision.palette import VOC_LABELS
from smalti.vision.preprocess import resize_labels, resize_picture

WORST_IMAGES: Final = 3
PANEL_WIDTH: Final = 320
_COLOURS: Final = ("#35507a", "#d9843b", "#3f8f5a", "#a8435a", "#7a5fa8", "#5f8f9c", "#8c7a3b")
_ROW_HEIGHT: Final = 9
_LABEL_WIDTH: Final = 110
_BAR_WIDTH: Final = 520
_PICTURE_COLOURS: Final = 192

_STYLE: Final = """
body{font:15px/1.45 system-ui,sans-serif;color:#222;max-width:1060px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em;border-bottom:1px solid #ddd;padding-bottom:.2em}
h3{font-size:1em;margin-bottom:.3em}table{border-collapse:collapse;margin:.8em 0}
td,th{padding:.25em .8em;border-bottom:1px solid #e4e4e4;text-align:right}th{background:#f4f5f7}
td.l,th.l{text-align:left}p.s{color:#666;font-size:.9em}img{max-width:100%;display:block;margin:.3em 0 1em}
table.m td{width:15px;height:15px;padding:0;border:1px solid #fff;font-size:0}table.m th{font-weight:normal;
font-size:11px;padding:0 .5em;background:none;border:none}
details{margin:.4em 0}summary{cursor:pointer}.key{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em}
"""


def html_report(
    table: AccuracyTable,
    output_dir: Path,
    pictures: dict[str, Path],
    worst_images: int = WORST_IMAGES,
    extra: Sequence[Table] = (),
) -> str:
    """Return the report.

    Args:
        table: the rows.
        output_dir: folder with their label maps.
        pictures: the file of each picture, by the name of its label map.
        worst_images: pictures shown for each row, those with the largest share of flipped pixels.
        extra: more tables to show below the first, such as a comparison with an earlier one.

    Raises:
        ImageError: a picture or a label map cannot be read.
    """
    title = f"Accuracy of {table.model}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="s">{escape(accuracy_title(table))}. Smalti {__version__}; graph SHA-256 {table.graph_sha256}.</p>',
        _table(accuracy_rows_table(table)),
        '<p class="s">mIoU over the classes that occur. Drop: points of mIoU lost against force_float32 of the same '
        "shapes. Flipped: pixels of the label maps that are not those of force_float32. ms: median of single calls of "
        "the engine, image in to labels out.</p>",
        *(_table(more) for more in extra),
        "<h2>IoU of each class</h2>",
        *(_bars(table, mutable) for mutable in sorted({row.shape_mutable for row in table.rows}, reverse=True)),
        "<h2>Where the pixels of each class went</h2>",
        '<p class="s">Rows are classes of the masks, columns what they were labelled; darker is more of the row. '
        "Point at a cell for its share.</p>",
        *(_confusion(row, index == 0) for index, row in enumerate(table.rows)),
        "<h2>Pictures whose labels flip most</h2>",
        *_examples(table, output_dir, pictures, worst_images),
        "</body></html>",
        "",
    ]
    return "\n".join(parts)


def _table(table: Table) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        made = [
            f"<{tag}{' class=l' if index in table.left else ''}>{escape(cell)}</{tag}>"
            for index, cell in enumerate(cells)
        ]
        return f"<tr>{''.join(made)}</tr>"

    return f"<table>{row(table.columns, 'th')}{''.join(row(cells, 'td') for cells in table.rows)}</table>"


def _bars(table: AccuracyTable, mutable: bool) -> str:
    """Return horizontal bars: a group for each class, a bar for each mode."""
    rows = [row for row in table.rows if row.shape_mutable == mutable]
    names = rows[0].accuracy.labels
    group = _ROW_HEIGHT * len(rows) + 7
    height = group * len(names) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LABEL_WIDTH + _BAR_WIDTH + 60}" height="{height}" '
        'font-family="sans-serif" font-size="11">'
    ]
    for step in range(0, 101, 20):
        x = _LABEL_WIDTH + _BAR_WIDTH * step / 100
        parts.append(f'<line x1="{x}" x2="{x}" y1="0" y2="{height - 18}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{x}" y="{height - 5}" text-anchor="middle" fill="#666">{step} %</text>')
    for index, name in enumerate(names):
        top = index * group + 3
        parts.append(
            f'<text x="{_LABEL_WIDTH - 6}" y="{top + group / 2 + 1}" text-anchor="end">{escape(name[:18])}</text>'
        )
        for number, row in enumerate(rows):
            iou = float(row.accuracy.iou[index])
            if math.isnan(iou):
                continue
            y, text = top + number * _ROW_HEIGHT, f"{row.mode.value}: {100 * iou:.2f} %"
            parts.append(
                f'<rect x="{_LABEL_WIDTH}" y="{y}" width="{_BAR_WIDTH * iou:.1f}" height="{_ROW_HEIGHT - 1}" '
                f'fill="{_COLOURS[number % len(_COLOURS)]}"><title>{escape(name)}, {text}</title></rect>'
            )
    keys = "".join(
        f'<span class="key" style="background:{_COLOURS[n % len(_COLOURS)]}"></span>{row.mode.value}'
        for n, row in enumerate(rows)
    )
    return f"<h3>{_shapes(mutable)}{keys}</h3>" + "".join(parts) + "</svg>"


def _confusion(row: AccuracyRow, is_open: bool) -> str:
    accuracy = row.accuracy
    shares = _row_shares(accuracy)
    lines = []
    for index, name in enumerate(accuracy.labels):
        cells = []
        for column, other in enumerate(accuracy.labels):
            share = float(shares[index, column])
            text = f"{name} as {other}: {100 * share:.2f} %"
            cells.append(f'<td style="background:{_shade(share, index == column)}" title="{escape(text)}">.</td>')
        lines.append(f'<tr><th class="l">{escape(name)}</th>{"".join(cells)}</tr>')
    state = " open" if is_open else ""
    head = f"{row.mode.value}, {_shapes(row.shape_mutable)}: pixel accuracy {100 * accuracy.pixel_accuracy:.2f} %"
    return f'<details{state}><summary>{escape(head)}</summary><table class="m">{"".join(lines)}</table></details>'


def _row_shares(accuracy: Segmentation) -> NDArray[np.float64]:
    total = accuracy.confusion.sum(axis=1, keepdims=True)
    return np.asarray(accuracy.confusion / np.maximum(total, 1), np.float64)


def _shade(share: float, is_right: bool) -> str:
    """Return the colour of a cell: green for what is right, red for mistakes, which are drawn by the square root."""
    strength = share if is_right else math.sqrt(share)
    full = (47, 125, 79) if is_right else (190, 40, 50)
    return "#" + "".join(f"{round(246 + (c - 246) * strength):02x}" for c in full)


def _examples(table: AccuracyTable, output_dir: Path, pictures: dict[str, Path], worst_images: int) -> list[str]:
    parts = []
    for row in table.rows:
        base = table.float32(row.shape_mutable)
        if base is None or base is row:
            continue
        shares = {name: row.flipped[name] / max(1, row.pixels[name]) for name in row.flipped if row.flipped[name]}
        worst = sorted(shares, key=lambda name: (-shares[name], name))[:worst_images]
        parts.append(f"<h3>{row.mode.value}, {_shapes(row.shape_mutable)}</h3>")
        if not worst:
            parts.append("<p>No pixel flips.</p>")
        for name in worst:
            if name in pictures:
                drawn = _example(base, row, output_dir, name, pictures[name])
                parts.append(f'<p class="s">{escape(name)}: {100 * shares[name]:.3f} % of its pixels flip</p>')
                parts.append(f'<img alt="{escape(name)}" src="{_data_address(drawn)}">')
    return parts or ["<p>Nothing to compare with force_float32.</p>"]


def _example(base: AccuracyRow, row: AccuracyRow, output_dir: Path, name: str, picture: Path) -> NDArray[np.uint8]:
    """Return the picture with the labels of float32, with those of a row, and with the flips, side by side."""
    with naming(picture):
        pixels = read_image(picture)
    width = min(PANEL_WIDTH, pixels.shape[1])
    height = max(1, round(pixels.shape[0] * width / pixels.shape[1]))
    labels = [
        resize_labels(_labels(output_dir / folder / name), height, width)
        for folder in (base.labels_dir, row.labels_dir)
    ]
    titles = base.mode.value, row.mode.value
    names = row.accuracy.labels or VOC_LABELS
    return draw_flips(resize_picture(pixels, height, width), labels[0], labels[1], None, names, titles)


def _labels(path: Path) -> NDArray[np.uint8]:
    with naming(path):
        return read_mask(path)


def _data_address(picture: NDArray[np.uint8]) -> str:
    """Return a picture as a PNG in a data address; few colours make it a third as long."""
    buffer = io.BytesIO()
    Image.fromarray(picture).quantize(_PICTURE_COLOURS).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _shapes(mutable: bool) -> str:
    return "any image size" if mutable else "one fixed size"
