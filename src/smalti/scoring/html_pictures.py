"""Pictures of an accuracy report: what was labelled wrongly or otherwise, beside the true mask, as data addresses."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from smalti.errors import ImageError
from smalti.scoring.rows import AccuracyRow, AccuracyTable
from smalti.vision.classes import class_name
from smalti.vision.images import naming, read_image, read_mask
from smalti.vision.overlay import blend
from smalti.vision.palette import VOID_LABEL
from smalti.vision.preprocess import resize_labels, resize_picture
from smalti.vision.voc import Entry, printable

PANEL_WIDTH: Final = 320
_PICTURE_COLOURS: Final = 192
_FLIP: Final = (235, 40, 60)
_MOST_KEYS: Final = 24


@dataclass(frozen=True, slots=True, eq=False)
class ReportSource:
    """What a report is made of beside the table.

    Attributes:
        output_dir: folder with the label maps.
        pictures: each picture, by the name of its label map.
        masks: folder of the true masks.
        palette: colours of the classes, uint8 [256, 3].
        data, truth: where pictures and masks are, in words.
        command: the command line, for those who want to make the report again.
        made: when, with its time zone.
    """

    output_dir: Path
    pictures: Mapping[str, Entry]
    masks: Path
    palette: NDArray[np.uint8]
    data: str
    truth: str
    command: str
    made: datetime


def flip_examples(table: AccuracyTable, source: ReportSource, row: AccuracyRow, count: int) -> list[str]:
    """Return the ``count`` pictures of a row whose labels flip most, against float32 of the same shapes, as HTML.

    Raises:
        ImageError: a picture, a mask or a label map cannot be read.
    """
    base = table.float32(row.shape_mutable)
    if base is None:
        return []
    shares = {name: row.flipped[name] / max(1, row.pixels[name]) for name in row.flipped if row.flipped[name]}
    worst = [name for name in sorted(shares, key=lambda name: (-shares[name], name)) if name in source.pictures]
    parts = []
    for name in worst[:count]:
        entry = source.pictures[name]
        share = f"{100 * shares[name]:.3f} %"
        parts.append(f'<h4><span class="f">{escape(entry.name)}</span> {share} of the pixels flip</h4>')
        parts.append(_panels(table, source, (base, row), name, entry, share))
    if not shares:
        parts.append("<p>No pixel flips.</p>")
    return parts


def _panels(
    table: AccuracyTable,
    source: ReportSource,
    rows: tuple[AccuracyRow, AccuracyRow],
    name: str,
    entry: Entry,
    share: str,
) -> str:
    """Return a picture, its mask, the labels of float32 and of another row, and the flips, each with a caption."""
    if entry.path is None:
        raise ImageError(f"{printable(entry.name)}: {entry.problem or 'no such picture'}")
    with naming(entry.path):
        pixels = read_image(entry.path)
    width = min(PANEL_WIDTH, pixels.shape[1])
    height = max(1, round(pixels.shape[0] * width / pixels.shape[1]))
    shown = resize_picture(pixels, height, width)
    mask = _labels(source.masks / f"{entry.stem}.png")
    own = [_labels(source.output_dir / row.labels_dir / name) for row in rows]
    flips = own[0] != own[1]
    maps = [resize_labels(labels, height, width) for labels in (mask, *own)]
    titles = ("true mask", *(row.mode.value for row in rows))
    blended = (few_colours(blend(shown, labels, palette=source.palette)) for labels in maps)
    drawn = [("picture", few_colours(shown)), *zip(titles, blended, strict=True)]
    drawn.append((f"flips, {share}", draw_flipped(shown, flips)))
    alt = escape(entry.name)
    figures = [
        f'<figure><img alt="{alt}: {escape(title)}" width="{width}" height="{height}" src="{_data_address(panel)}">'
        f"<figcaption>{escape(title)}</figcaption></figure>"
        for title, panel in drawn
    ]
    return f'<div class="p">{"".join(figures)}</div>{_keys(maps, table.labels, source.palette)}'


def _keys(maps: Sequence[NDArray[np.integer]], names: Sequence[str], palette: NDArray[np.uint8]) -> str:
    """Return the colours of the classes in label maps, the largest first."""
    counts = np.bincount(np.concatenate([labels.ravel() for labels in maps]), minlength=VOID_LABEL + 1)
    order = [int(label) for label in np.argsort(-counts, kind="stable") if counts[label]][:_MOST_KEYS]
    keys = [
        f'<span><i class="k" style="background:#{bytes(palette[label].tolist()).hex()}"></i>'
        f"{escape(class_name(label, names))}</span>"
        for label in order
    ]
    return f'<p class="s keys">{"".join(keys)}</p>'


def _labels(path: Path) -> NDArray[np.uint8]:
    with naming(path):
        return read_mask(path)


def few_colours(picture: NDArray[np.uint8]) -> Image.Image:
    """Return a picture with few colours: its PNG is a third as long."""
    return Image.fromarray(picture).quantize(_PICTURE_COLOURS)


def draw_flipped(picture: NDArray[np.uint8], flips: NDArray[np.bool_]) -> Image.Image:
    """Return a picture [H, W, 3] in dark grey with the pixels of a mask of any size in red, each three pixels wide."""
    height, width = picture.shape[:2]
    found = cv2.resize(flips.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0
    wide = cv2.dilate(found.astype(np.uint8), np.ones((3, 3), np.uint8))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) // 3 + 20
    # A palette of its own: the search for the best colours would give the few red pixels away.
    image = Image.fromarray(np.where(wide > 0, 255, grey).astype(np.uint8))
    image.putpalette([level for level in range(255) for _ in range(3)] + list(_FLIP))
    return image


def _data_address(picture: Image.Image) -> str:
    """Return a picture as a PNG in a data address."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
