"""Draw a label map over its picture, with a legend of the classes in it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from smalti.errors import InputError
from smalti.vision.classes import class_name
from smalti.vision.palette import voc_palette

_ROW = 18
_PAD = 5
_FONT_SCALE = 0.4
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_USUAL_SIDE = 433.0


def blend(
    picture: NDArray[np.uint8],
    labels: NDArray[np.integer],
    *,
    strength: float = 0.6,
    palette: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Mix class colours into an RGB picture uint8 [H, W, 3] where its labels [H, W] are not the background 0.

    ``strength`` 0 gives the picture, 1 the plain colours. Raises InputError when the sizes differ.
    """
    if picture.shape[:2] != labels.shape:
        raise InputError(f"the label map {labels.shape} does not have the size of the picture {picture.shape[:2]}")
    table = voc_palette() if palette is None else palette
    colours = table[labels]
    share = round(256 * strength)
    mixed = (picture.astype(np.uint16) * (256 - share) + colours.astype(np.uint16) * share + 128) >> 8
    drawn: NDArray[np.uint8] = np.where((labels != 0)[..., None], mixed, picture).astype(np.uint8)
    return drawn


def add_legend(
    picture: NDArray[np.uint8],
    labels: NDArray[np.integer],
    names: Sequence[str],
    *,
    palette: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Return the picture with a strip below it: colour, name and share of each class of the label map, largest first.

    The strip grows with the picture, so that it looks the same on all from 500 x 375 pixels on; smaller ones have it in
    the size that one can just read. Labels without a name are shown by number; 255 is called void.
    """
    strip = _strip(picture.shape[0], picture.shape[1], labels, names, palette, by_label=False)
    return np.concatenate([picture, strip], axis=0)


def lay_legend(
    picture: NDArray[np.uint8],
    labels: NDArray[np.integer],
    names: Sequence[str],
    *,
    palette: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Return the picture with the legend over its lowest rows, in the order of the labels: for frames of a video.

    A picture of which it would hide more than a third stays as it is.
    """
    strip = _strip(picture.shape[0], picture.shape[1], labels, names, palette, by_label=True)
    first = picture.shape[0] - strip.shape[0]
    if 3 * strip.shape[0] > picture.shape[0]:
        return picture
    return np.concatenate([picture[:first], strip], axis=0)


def _strip(
    height: int,
    width: int,
    labels: NDArray[np.integer],
    names: Sequence[str],
    palette: NDArray[np.uint8] | None,
    *,
    by_label: bool,
) -> NDArray[np.uint8]:
    """Return the legend of a label map, as wide as its picture."""
    table = voc_palette() if palette is None else palette
    counts = np.bincount(labels.ravel(), minlength=1)
    order = range(len(counts)) if by_label else np.argsort(-counts, kind="stable")
    present = [int(i) for i in order if counts[i]]
    texts = [f"{_drawable(class_name(i, names))} {100 * counts[i] / labels.size:.1f}%" for i in present]
    times = _times(height, width, max(_width(text, 1.0) for text in texts))
    row_height, pad, line = round(times * _ROW), round(times * _PAD), max(1, round(times))
    places, rows = _flow([_width(text, times) for text in texts], width, pad)
    strip = np.full((rows * row_height + 2 * pad, width, 3), 32, dtype=np.uint8)
    for label, text, (row, x) in zip(present, texts, places, strict=True):
        top = pad + row * row_height
        colour = tuple(int(v) for v in table[label])
        box = (x, top + round(3 * times)), (x + round(11 * times), top + round(14 * times))
        cv2.rectangle(strip, *box, colour, cv2.FILLED)
        cv2.rectangle(strip, *box, (160, 160, 160), line)
        at = x + row_height, top + round(13 * times)
        cv2.putText(strip, text, at, _FONT, times * _FONT_SCALE, (235, 235, 235), line, cv2.LINE_AA)
    return strip


def _drawable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # OpenCV crashes on what no UTF-8 can say.


def _times(height: int, width: int, widest: int) -> float:
    """Return how many times the usual size the legend has, in quarters: as the picture's, if its widest entry fits."""
    wanted = min(math.sqrt(height * width) / _USUAL_SIDE, width / (widest + _PAD))
    return max(1.0, math.floor(4 * wanted) / 4)


def _width(text: str, times: float) -> int:
    """Return the pixels of an entry from left to right."""
    line = max(1, round(times))
    return round(times * (_ROW + 2 * _PAD)) + int(cv2.getTextSize(text, _FONT, times * _FONT_SCALE, line)[0][0])


def _flow(widths: list[int], width: int, pad: int) -> tuple[list[tuple[int, int]], int]:
    """Place boxes in rows of ``width`` pixels; return (row, x) of each and the number of rows."""
    places: list[tuple[int, int]] = []
    row, x = 0, pad
    for box in widths:
        if x > pad and x + box > width:
            row, x = row + 1, pad
        places.append((row, x))
        x += box
    return places, row + 1
