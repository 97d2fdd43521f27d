"""The PASCAL VOC colour map and class names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

VOC_LABELS: Final = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)

VOID_LABEL: Final = 255


def voc_palette() -> NDArray[np.uint8]:
    """Return the VOC colour of every label, uint8 [256, 3] in RGB.

    The development kit defines it by bits: bit ``3 * i + c`` of the label is bit ``7 - i`` of channel ``c``.
    """
    index = np.arange(256, dtype=np.uint16)
    colours = np.zeros((256, 3), dtype=np.uint16)
    for channel in range(3):
        for place in range(3):
            colours[:, channel] |= ((index >> (3 * place + channel)) & 1) << (7 - place)
    return colours.astype(np.uint8)


def class_palette(colours: Sequence[str | None] | None) -> NDArray[np.uint8]:
    """Return the colour of every label, uint8 [256, 3] in RGB: ``#rrggbb`` where a class has one, else VOC's."""
    table = voc_palette()
    for label, colour in enumerate(colours or ()):
        if colour is not None:
            table[label] = list(bytes.fromhex(colour.removeprefix("#")))
    return table


def colourise(labels: NDArray[np.integer], palette: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Return the RGB picture uint8 [H, W, 3] of a label map [H, W] whose labels are 0 to 255."""
    table = voc_palette() if palette is None else palette
    picture: NDArray[np.uint8] = table[labels]
    return picture
