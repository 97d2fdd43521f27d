"""Check the structure of a BMP and keep what makes its pixels.

A BMP says where its rows and its palette are: both must lie inside the file, and the palette before the rows. Packed
ones (RLE, or a JPEG or PNG inside) are refused. What the decoder is given is written here anew.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from smalti.errors import ImageError
from smalti.vision.headers import ImageFormat, ImageHeader, ImageParts
from smalti.vision.kinds import CONVERT

SIGNATURE: Final = b"BM"
_FILE_HEADER: Final = 14
_CORE: Final = 12
_INFO: Final = 40
_HEADERS: Final = frozenset({_CORE, _INFO, 52, 56, 108, 124})
_MAX_SIDE: Final = 2**24 - 1
_BITS: Final = frozenset({1, 4, 8, 16, 24, 32})
_PALETTE_BITS: Final = 8
_ROWS, _MASKS = 0, 3
_PACKED: Final = {1: "RLE", 2: "RLE", 4: "a JPEG inside", 5: "a PNG inside", 6: "colour masks with alpha"}
_ALPHA: Final = 0xFF000000
_KNOWN_MASKS: Final[Mapping[tuple[int, tuple[int, ...]], int]] = {
    (16, (0xF800, 0x7E0, 0x1F)): 0,
    (16, (0x7C00, 0x3E0, 0x1F)): 0,
    (32, (0xFF0000, 0xFF00, 0xFF)): 0,
    (32, (0xFF, 0xFF00, 0xFF0000)): _ALPHA,
    (32, (0xFF000000, 0xFF0000, 0xFF00)): 0,
}
"""Masks of red, green and blue that are read, by bits of a pixel, and the mask of alpha that the decoder then wants."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What the headers of a BMP say; ``masks`` are those of red, green and blue, none where the rows need none."""

    header_bytes: int
    width: int
    height: int
    top_down: bool
    bits: int
    masks: tuple[int, ...]
    colours: int
    rows_at: int

    @property
    def row_bytes(self) -> int:
        return (self.width * self.bits + 31) // 32 * 4

    @property
    def header(self) -> ImageHeader:
        depth = self.bits if self.bits <= _PALETTE_BITS else 8
        return ImageHeader(ImageFormat.BMP, self.width, self.height, depth, False, self.bits <= _PALETTE_BITS)


def bmp_header(data: bytes) -> ImageHeader:
    """Return the header of a BMP. Raises ImageError when it is damaged or of a kind that is not read."""
    return _read(data).header


def split_bmp(data: bytes) -> ImageParts:
    """Check a BMP to the end of its rows and write it anew. Raises ImageError when it is damaged, cut or not read."""
    said = _read(data)
    palette = _palette(data, said)
    end = said.rows_at + said.row_bytes * said.height
    if end > len(data):
        raise ImageError("the BMP is cut: rows are missing")
    alpha = _KNOWN_MASKS[said.bits, said.masks] if said.masks else 0
    masks = struct.pack("<4I", *said.masks, alpha) if said.masks else b""
    at = _FILE_HEADER + _INFO + len(masks) + len(palette)
    height = -said.height if said.top_down else said.height
    compression = _MASKS if said.masks else _ROWS
    info = struct.pack(
        "<IiiHHIIiiII",
        _INFO + len(masks),
        said.width,
        height,
        1,
        said.bits,
        compression,
        0,
        0,
        0,
        len(palette) // 4,
        0,
    )
    start = SIGNATURE + struct.pack("<IHHI", 0, 0, 0, at)
    clean = b"".join([start, info, masks, palette, memoryview(data)[said.rows_at : end]])
    return ImageParts(said.header, clean, 1, 1)


def _read(data: bytes) -> _Said:
    if len(data) < _FILE_HEADER + 4:
        raise ImageError("the BMP header is cut")
    rows_at, size = struct.unpack_from("<II", data, 10)
    if size not in _HEADERS:
        raise ImageError(f"a BMP with a header of {size} bytes is not read: {CONVERT}")
    if len(data) < _FILE_HEADER + size:
        raise ImageError("the BMP header is cut")
    compression, colours = _ROWS, 0
    if size == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, _FILE_HEADER + 4)
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, _FILE_HEADER + 4)
        (colours,) = struct.unpack_from("<I", data, _FILE_HEADER + 32)
    if not 0 < width <= _MAX_SIDE or not 0 < abs(height) <= _MAX_SIDE:
        raise ImageError("the BMP header gives no valid size")
    if bits not in _BITS:
        raise ImageError(f"a BMP of {bits} bits a pixel is not read: {CONVERT}")
    if compression not in (_ROWS, _MASKS):
        how = _PACKED.get(compression, f"packing {compression}")
        raise ImageError(f"a BMP with {how} is not read: {CONVERT}")
    masks = _masks(data, size, bits) if compression == _MASKS else ()
    before = _FILE_HEADER + size + (12 if masks and size == _INFO else 0)
    if rows_at < before:
        raise ImageError("the BMP is damaged: its rows would lie in its header")
    return _Said(size, width, abs(height), height < 0, bits, masks, colours, rows_at)


def _masks(data: bytes, size: int, bits: int) -> tuple[int, ...]:
    """Return the masks of red, green and blue: behind the oldest header, else inside it."""
    at = _FILE_HEADER + _INFO
    if len(data) < at + 12:
        raise ImageError("the BMP header is cut")
    masks = struct.unpack_from("<3I", data, at)
    if (bits, masks) not in _KNOWN_MASKS:
        raise ImageError(f"a BMP with such colour masks is not read: {CONVERT}")
    return masks


def _palette(data: bytes, said: _Said) -> bytes:
    """Return the palette with an entry of 4 bytes for every index: those that the file lacks are black."""
    if said.bits > _PALETTE_BITS:
        return b""
    entry = 3 if said.header_bytes == _CORE else 4
    most = 1 << said.bits
    count = said.colours or most
    if count > most:
        raise ImageError("the BMP is damaged: its palette has more colours than its pixels can name")
    start = _FILE_HEADER + said.header_bytes
    if start + entry * count > said.rows_at:
        if said.colours:
            raise ImageError("the BMP is damaged: its palette would lie in its rows")
        count = (said.rows_at - start) // entry
    found = data[start : start + entry * count]
    if len(found) < entry * count or not count:
        raise ImageError("the BMP is cut: its palette is missing")
    if entry == 3:
        found = b"".join(found[at : at + 3] + b"\0" for at in range(0, len(found), 3))
    # One entry more than four bits can name: the decoder takes 16 greys in a row for pixels of eight bits.
    return found.ljust(4 * (most + (said.bits == 4)), b"\0")
