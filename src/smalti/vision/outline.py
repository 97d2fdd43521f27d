"""Lines between the classes of a label map."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def class_borders(labels: NDArray[np.integer], width: int) -> NDArray[np.bool_]:
    """Return the pixels [H, W] that lie at a border between two labels, in lines about ``width`` pixels wide."""
    borders = np.zeros(labels.shape, np.uint8)
    across = labels[1:] != labels[:-1]
    along = labels[:, 1:] != labels[:, :-1]
    borders[1:][across] = 1
    borders[:, 1:][along] = 1
    if width > 1:
        borders = np.asarray(cv2.dilate(borders, np.ones((width, width), np.uint8)), np.uint8)
    return borders.astype(np.bool_)
