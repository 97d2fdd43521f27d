"""Fit pictures to a network's input, and label maps back to pictures."""

from __future__ import annotations

from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

from smalti.errors import ImageError, UsageError


class Resize(str, Enum):
    """How a picture is brought to the input size of a network."""

    FIT = "fit"
    STRETCH = "stretch"
    NONE = "none"


InputSize = int | tuple[int, int] | None
"""The side that pictures are scaled to, or (height, width), in pixels."""


def target_size(height: int, width: int, policy: Resize, input_size: InputSize) -> tuple[int, int]:
    """Return the (height, width) at which a network sees a picture.

    ``fit`` scales the longer side to ``input_size`` and rounds both sides to the nearest pixel, halves to even, at
    least 1; ``stretch`` gives the square, or exactly the (height, width) of ``input_size``; ``none`` keeps the size.
    Raises UsageError when a size is needed and ``input_size`` is None, or ``fit`` gets a (height, width).
    """
    if policy is Resize.NONE:
        return height, width
    if input_size is None:
        raise UsageError(
            f"this model has no size to {policy.value} pictures to: use --resize none, or build with --input-shape"
        )
    if policy is Resize.STRETCH:
        return input_size if isinstance(input_size, tuple) else (input_size, input_size)
    if isinstance(input_size, tuple):
        raise UsageError(
            f"this model takes pictures of exactly {input_size[0]} x {input_size[1]} pixels: use --resize stretch"
        )
    ratio = input_size / max(height, width)
    return max(1, round(ratio * height)), max(1, round(ratio * width))


def resize_picture(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scale an RGB picture uint8 [H, W, 3] with ``cv2.INTER_AREA``, as the reference protocol does.

    Raises ImageError when OpenCV refuses.
    """
    if picture.shape[:2] == (height, width):
        return picture
    try:
        return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    except cv2.error as error:
        raise ImageError(f"cannot scale {picture.shape[1]} x {picture.shape[0]} pixels") from error


def resize_labels(labels: NDArray[np.integer], height: int, width: int) -> NDArray[np.integer]:
    """Scale a label map [H, W] to [height, width] by the nearest neighbour, keeping its dtype.

    Output pixel x takes input pixel ``floor(x / (width / W))``, which is what ``cv2.INTER_NEAREST`` does.
    """
    rows, columns = labels.shape
    if (rows, columns) == (height, width):
        return labels
    y = _nearest(rows, height)
    x = _nearest(columns, width)
    scaled: NDArray[np.integer] = labels[y].take(x, axis=1)
    return scaled


def _nearest(source: int, target: int) -> NDArray[np.intp]:
    step = 1.0 / (target / source)
    index: NDArray[np.intp] = np.minimum(np.floor(np.arange(target) * step), source - 1).astype(np.intp)
    return index
