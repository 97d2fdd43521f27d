"""Pictures as users have them: files, bytes, arrays, PIL images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np
from numpy.typing import NDArray

from smalti.errors import InputError
from smalti.jobs.stream import Decoded
from smalti.vision.images import decode_image, from_pil, naming, read_image

if TYPE_CHECKING:
    from PIL.Image import Image

Source = Union[str, os.PathLike[str], bytes, bytearray, memoryview, NDArray[np.uint8], "Image"]


def read_source(source: Source, *, max_pixels: int) -> Decoded:
    """Return the picture of a source as RGB uint8 [H, W, 3], turned upright by its EXIF orientation if it has one.

    Raises:
        ImageError: a file, bytes or a PIL image cannot be decoded, or have more than ``max_pixels`` pixels.
        InputError: an array is not uint8 [H, W, 3], or the source is of another kind.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        with naming(path):
            return Decoded(read_image(path, max_pixels=max_pixels))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return Decoded(decode_image(bytes(source), max_pixels=max_pixels))
    if isinstance(source, np.ndarray):
        return Decoded(_check_array(source))
    if hasattr(source, "getexif"):
        return Decoded(from_pil(source, max_pixels=max_pixels))
    raise InputError(
        f"a picture is a path, the bytes of a picture file, an RGB array uint8 [H, W, 3] or a PIL image, not "
        f"{type(source).__name__}"
    )


def source_name(source: Source) -> str | None:
    """Return the name of the file that a source is, or None."""
    return Path(source).name if isinstance(source, (str, os.PathLike)) else None


def _check_array(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise InputError(
            f"a picture as an array is RGB, uint8 [H, W, 3], not {array.dtype} {list(array.shape)}: drop an alpha "
            "channel, repeat a grey one three times, and turn OpenCV's BGR round with picture[..., ::-1]"
        )
    return np.ascontiguousarray(array)
