"""Decode a JPEG and notice where its pixels are missing.

A JPEG decoder that meets a marker before it has all pixels goes on with zeros and tells nobody: the rest of the picture
is grey. Here that is an error. A decoder that gives rows out as it reads gets the picture without its end marker, and
asks for more bytes when it lacks some: all but a part of the very last block is noticed. Other pictures (progressive
ones, those with restart markers) are decoded twice, the second time with a few more bytes before every marker: a
decoder that has what it needs skips them, one that lacks pixels takes them for some.
"""

from __future__ import annotations

import io
import itertools
from typing import Final

from PIL import Image

from smalti.errors import ImageError
from smalti.vision.headers import ImageHeader, ImageParts

_LOOKAHEAD: Final = b"\xfe" * 8
"""As many bytes as a decoder looks ahead. Almost all ones are the longest codes: less than one block of pixels."""
_ROWS_AT_ONCE: Final = 64
_FILLING_BYTES: Final = 1024
_LEAST_FILLING: Final = 256
_ALL_FILLING: Final = 16 * 2**20


def _random_bytes(count: int) -> bytes:
    """Return bytes of 1 to 254 by a rule that examples/infer_cpp has too, so that both refuse the same pictures."""
    # Ones first: short codes begin with zeros, and zeros are what a decoder fills in by itself.
    state, made = 1, bytearray(b"\xfe")
    while len(made) < count:
        state = (state * 1664525 + 1013904223) % 2**32
        made.append(1 + (state >> 16) % 254)
    return bytes(made)


_FILLING: Final = _random_bytes(_FILLING_BYTES)
"""More than a decoder takes for the largest unit of pixels: one that stays unfinished is dropped as if it was cut."""


def decode_jpeg(parts: ImageParts) -> Image.Image:
    """Return the loaded image of a checked JPEG. Raises ImageError where pixels are missing, and what Pillow raises."""
    if parts.in_order:
        try:
            return _load(parts.data[: parts.pieces[0][1]] + _LOOKAHEAD, parts.header)
        except OSError:  # cut, or a decoder that insists on an end marker
            pass
    image = _load(parts.data, parts.header)
    ends = [end for _, end in parts.pieces]
    cuts = [parts.data[start:end] for start, end in itertools.pairwise([0, *ends, len(parts.data)])]
    filling = _FILLING[: max(_LEAST_FILLING, _ALL_FILLING // len(ends))]
    if not _same(image, _load(filling.join(cuts), parts.header)):
        raise ImageError("the JPEG is cut: pixels are missing")
    return image


def _same(one: Image.Image, other: Image.Image) -> bool:
    width, height = one.size
    bands = [(0, top, width, min(top + _ROWS_AT_ONCE, height)) for top in range(0, height, _ROWS_AT_ONCE)]
    return all(one.crop(band).tobytes() == other.crop(band).tobytes() for band in bands)


def _load(data: bytes, header: ImageHeader) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    if image.size != (header.width, header.height):
        raise ImageError("the JPEG gives two different sizes")
    image.load()
    return image
