"""The formats of pictures that are read, each by its first bytes.

A picture is data from a stranger. Its format is taken from its first bytes and never from its name, its size from its
header, and its end is looked for, before any decoder sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from smalti.errors import ImageError
from smalti.vision.headers import (
    JPEG_START,
    PNG_SIGNATURE,
    ImageFormat,
    ImageHeader,
    ImageParts,
    jpeg_header,
    png_header,
    split_jpeg,
    split_png,
)
from smalti.vision.kinds import refusal
from smalti.vision.raster.bmp import SIGNATURE as BMP_SIGNATURE
from smalti.vision.raster.bmp import bmp_header, split_bmp
from smalti.vision.raster.tiff import SIGNATURES as TIFF_SIGNATURES
from smalti.vision.raster.tiff import split_tiff, tiff_header
from smalti.vision.raster.webp import is_webp, split_webp, webp_header


@dataclass(frozen=True, slots=True)
class _Reader:
    header: Callable[[bytes], ImageHeader]
    split: Callable[[bytes], ImageParts]


_READERS: Final[Mapping[ImageFormat, _Reader]] = {
    ImageFormat.JPEG: _Reader(jpeg_header, split_jpeg),
    ImageFormat.PNG: _Reader(png_header, split_png),
    ImageFormat.WEBP: _Reader(webp_header, split_webp),
    ImageFormat.BMP: _Reader(bmp_header, split_bmp),
    ImageFormat.TIFF: _Reader(tiff_header, split_tiff),
}


def image_format(data: bytes) -> ImageFormat:
    """Return the format that the first bytes of ``data`` announce; ImageError when it is none that is read."""
    if data.startswith(PNG_SIGNATURE):
        return ImageFormat.PNG
    if data.startswith(JPEG_START):
        return ImageFormat.JPEG
    if is_webp(data):
        return ImageFormat.WEBP
    if data.startswith(TIFF_SIGNATURES):
        return ImageFormat.TIFF
    if data.startswith(BMP_SIGNATURE):
        return ImageFormat.BMP
    raise ImageError(refusal(data))


def read_header(data: bytes) -> ImageHeader:
    """Return the header of a picture without looking at its pixels; ImageError when it is damaged."""
    return _READERS[image_format(data)].header(data)


def split_image(data: bytes) -> ImageParts:
    """Check a picture's structure to its end and keep what makes pixels; ImageError when it is damaged or cut."""
    return _READERS[image_format(data)].split(data)
