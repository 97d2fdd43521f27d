"""The pictures of a measurement: decoded and scaled once, before anything is timed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from smalti.errors import UsageError
from smalti.vision.images import read_image
from smalti.vision.preprocess import resize_picture
from smalti.vision.voc import list_pictures

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture, uint8 ``[H, W, 3]``."""

    name: str
    pixels: Image

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])


def load_pictures(folder: Path, file_list: Path | None, count: int, size: int | None) -> tuple[Picture, ...]:
    """Return the first ``count`` pictures, stretched to ``size`` x ``size``, or at their own sizes for ``None``.

    Raises:
        UsageError: there are fewer pictures than that, or the folder cannot be read.
        ImageError: a picture cannot be decoded.
    """
    entries = [e for e in list_pictures(folder, file_list) if e.path is not None][:count]
    if len(entries) < count:
        raise UsageError(f"only {len(entries)} of {count} pictures found in {folder}: give others, or a lower --images")
    pictures = []
    for entry in entries:
        if entry.path is None:
            continue
        pixels = read_image(entry.path)
        if size is not None:
            pixels = resize_picture(pixels, size, size)
        pictures.append(Picture(entry.stem, np.ascontiguousarray(pixels)))
    return tuple(pictures)
