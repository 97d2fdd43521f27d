"""Check the structure of a WebP and keep the one part that makes its pixels.

A WebP is a list of parts whose lengths must add up. Alpha, profiles and texts are dropped, an animation is refused. The
size is read from the coded pixels themselves.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from smalti.errors import ImageError
from smalti.vision.headers import ImageFormat, ImageHeader, ImageParts, exif_orientation

_EXTENDED: Final = b"VP8X"
_LOSSY: Final = b"VP8 "
_LOSSLESS: Final = b"VP8L"
_ANIMATED: Final = frozenset({b"ANIM", b"ANMF"})
_ANIMATION_FLAG: Final = 0x02
_FIRST: Final = 12
_MAX_PARTS: Final = 10_000
_LOSSY_START: Final = b"\x9d\x01\x2a"
_LOSSLESS_START: Final = 0x2F
_SIDE: Final = 0x3FFF
_EXIF_NAME: Final = b"Exif\0\0"


@dataclass(frozen=True, slots=True)
class _Found:
    header: ImageHeader
    kind: bytes
    start: int
    end: int


def is_webp(data: bytes) -> bool:
    """Return whether data begins like a WebP."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def webp_header(data: bytes) -> ImageHeader:
    """Return the header of a WebP. Raises ImageError when it is damaged or an animation."""
    return _pixels(data).header


def split_webp(data: bytes) -> ImageParts:
    """Check a WebP to its end and keep its pixels. Raises ImageError when it is damaged, cut or an animation."""
    found = _pixels(data)
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise ImageError("the WebP is cut")
    orientation, at = 1, _FIRST
    for _ in range(_MAX_PARTS):
        if at == end:
            break
        kind, start, stop = _part(data, at, end)
        if kind in _ANIMATED:
            raise _animation()
        if kind == b"EXIF" and orientation == 1:
            orientation = exif_orientation(data[start:stop].removeprefix(_EXIF_NAME))
        if kind in (_LOSSY, _LOSSLESS) and start != found.start:
            raise ImageError("the WebP is damaged: it has two pictures")
        at = stop + (stop & 1)
    else:
        raise ImageError("the WebP has too many parts")
    body = data[found.start : found.end]
    part = found.kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)
    clean = b"RIFF" + struct.pack("<I", 4 + len(part)) + b"WEBP" + part
    return ImageParts(found.header, clean, orientation, 1)


def _animation() -> ImageError:
    return ImageError("an animated WebP is not read: save one of its frames as a picture")


def _part(data: bytes, at: int, end: int) -> tuple[bytes, int, int]:
    """Return the kind of the part that begins at ``at``, and where its body starts and stops."""
    if at + 8 > end:
        raise ImageError("the WebP is damaged: its length is not that of its parts")
    stop = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
    if stop + (stop & 1) > end:
        raise ImageError("the WebP is damaged: its length is not that of its parts")
    return data[at : at + 4], at + 8, stop


def _pixels(data: bytes) -> _Found:
    """Find the part with the pixels and read its size."""
    end = 8 + int.from_bytes(data[4:8], "little")
    at, canvas = _FIRST, None
    for number in range(_MAX_PARTS):
        if at + 18 > len(data):
            raise ImageError("the WebP is cut")
        if at >= end:
            raise ImageError("the WebP is damaged: it has no picture")
        kind, start, stop = _part(data, at, end)
        if number == 0 and kind == _EXTENDED:
            if stop - start < 10:
                raise ImageError("the WebP is damaged: its header is too short")
            if data[start] & _ANIMATION_FLAG:
                raise _animation()
            canvas = tuple(1 + int.from_bytes(data[k : k + 3], "little") for k in (start + 4, start + 7))
        elif kind in _ANIMATED:
            raise _animation()
        elif kind in (_LOSSY, _LOSSLESS):
            size = _lossy_size(data, start, stop) if kind == _LOSSY else _lossless_size(data, start, stop)
            if canvas is not None and canvas != size:
                raise ImageError("the WebP gives two different sizes")
            return _Found(ImageHeader(ImageFormat.WEBP, *size, 8, False), kind, start, stop)
        elif number == 0:
            raise ImageError("the WebP is damaged: it has no picture")
        at = stop + (stop & 1)
    raise ImageError("the WebP has too many parts")


def _lossy_size(data: bytes, start: int, stop: int) -> tuple[int, int]:
    """Return width and height of a VP8 key frame."""
    if stop - start < 10 or data[start] & 1 or data[start + 3 : start + 6] != _LOSSY_START:
        raise ImageError("the WebP is damaged: its pixels do not begin as they should")
    first = (data[start] | data[start + 1] << 8 | data[start + 2] << 16) >> 5
    if first > stop - start - 10:
        raise ImageError("the WebP is cut: pixels are missing")
    width, height = (side & _SIDE for side in struct.unpack_from("<HH", data, start + 6))
    if not width or not height:
        raise ImageError("the WebP header gives no size")
    return width, height


def _lossless_size(data: bytes, start: int, stop: int) -> tuple[int, int]:
    """Return width and height of a VP8L picture."""
    if stop - start < 5 or data[start] != _LOSSLESS_START:
        raise ImageError("the WebP is damaged: its pixels do not begin as they should")
    (bits,) = struct.unpack_from("<I", data, start + 1)
    if bits >> 29:
        raise ImageError("the WebP is of a version that is not known: convert it to PNG or JPEG")
    return (bits & _SIDE) + 1, (bits >> 14 & _SIDE) + 1
