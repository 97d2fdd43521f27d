"""Pictures of a list, one after another, as the network sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from smalti.errors import ImageError
from smalti.jobs.stream import Preprocess
from smalti.vision.images import naming, read_image
from smalti.vision.preprocess import resize_picture, target_size
from smalti.vision.voc import Entry


def seen_pictures(entries: Sequence[Entry], preprocess: Preprocess) -> Iterator[tuple[Entry, NDArray[np.uint8]]]:
    """Yield the pictures of a list as the network sees them.

    Raises:
        ImageError: one cannot be read.
    """
    for entry in entries:
        if entry.path is None:
            raise ImageError(f"{entry.name}: {entry.problem or 'no such picture'}")
        with naming(entry.path):
            picture = read_image(entry.path)
        size = target_size(picture.shape[0], picture.shape[1], preprocess.resize, preprocess.input_size)
        yield entry, resize_picture(picture, *size)
