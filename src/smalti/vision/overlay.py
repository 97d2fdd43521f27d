"""Draw a label map over its picture, with a legend of the classes in it."""

from __future__ import annotations

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

    Labels without a name are shown by number; 255 is called void.
    """
    table = voc_palette() if palette is None else palette
    counts = np.bincount(labels.ravel(), minlength=1)
    present = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
    texts = [f"{_drawable(class_name(i, names))} {100 * counts[i] / labels.size:.1f}%" for i in present]
    widths = [_ROW + 2 * _PAD + cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)[0][0] for text in texts]
    places, rows = _flow(widths, picture.shape[1])
    strip = np.full((rows * _ROW + 2 * _PAD, picture.shape[1], 3), 32, dtype=np.uint8)
    for label, text, (row, x) in zip(present, texts, places, strict=True):
        top = _PAD + row * _ROW
        colour = tuple(int(v) for v in table[label])
        cv2.rectangle(strip, (x, top + 3), (x + 11, top + 14), colour, cv2.FILLED)
        cv2.rectangle(strip, (x, top + 3), (x + 11, top + 14), (160, 160, 160), 1)
        cv2.putText(strip, text, (x + _ROW, top + 13), _FONT, _FONT_SCALE, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate([picture, strip], axis=0)


def _drawable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # OpenCV crashes on what no UTF-8 can say.


def _flow(widths: list[int], width: int) -> tuple[list[tuple[int, int]], int]:
    """Place boxes in rows of ``width`` pixels; return (row, x) of each and the number of rows."""
    places: list[tuple[int, int]] = []
    row, x = 0, _PAD
    for box in widths:
        if x > _PAD and x + box > width:
            row, x = row + 1, _PAD
        places.append((row, x))
        x += box
    return places, row + 1
