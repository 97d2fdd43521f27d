"""Check the first page of a TIFF, and write a TIFF anew that holds nothing but its pixels.

A TIFF is a list of fields that point anywhere into the file. Of the first page's, those that say how pixels lie are
read, and every strip or tile of pixels must lie inside the file. Further pages, texts and thumbnails never reach the
decoder.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from smalti.errors import ImageError
from smalti.vision.headers import ImageFormat, ImageHeader, ImageParts
from smalti.vision.kinds import CONVERT
from smalti.vision.raster.unpacking import check_unpacked

SIGNATURES: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIG: Final = 43
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_FILL_ORDER, _STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES = 266, 273, 274, 277, 278, 279
_PLANAR, _PREDICTOR, _COLOURS, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 284, 317, 320, 322, 323, 324, 325
_EXTRA, _SAMPLE_FORMAT = 338, 339
_ARRAYS: Final = frozenset({_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES})
_READ: Final = _ARRAYS | {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP),
    *(_PLANAR, _PREDICTOR, _COLOURS, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT),
}
_MOST_VALUES: Final = 3 * 256
_MOST_BLOCKS: Final = 1 << 20
_NUMBERS: Final = {1: "B", 3: "H", 4: "I"}
_SHORT, _LONG = 3, 4
_PLAIN, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS = 1, 5, 8, 32946, 32773
_KINDS: Final = (_PLAIN, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS)
_NAMED: Final = {
    **dict.fromkeys((2, 3, 4), "a fax (CCITT)"),
    **dict.fromkeys((6, 7), "JPEG"),
    **dict.fromkeys((33003, 33005, 34712), "JPEG 2000"),
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    34887: "LERC",
}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK = 0, 1, 2, 3, 5
_COLOURS_OF: Final = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4}
_PIXELS: Final = frozenset(
    {
        *((_WHITE_IS_ZERO, bits, 1) for bits in (1, 2, 4, 8)),
        *((_BLACK_IS_ZERO, bits, 1) for bits in (1, 2, 4, 8, 16)),
        *((_PALETTE, bits, 1) for bits in (1, 2, 4, 8)),
        *((_RGB, bits, samples) for bits in (8, 16) for samples in (3, 4)),
        (_BLACK_IS_ZERO, 8, 2),
        (_CMYK, 8, 4),
    }
)
"""Meaning of samples, bits of each, and samples of a pixel, for pixels that are read."""
_MAX_SIDE: Final = 2**31 - 1
_USUAL_TILE: Final = 1024
_UNSIGNED: Final = (1, 4)


@dataclass(frozen=True, slots=True)
class _Page:
    """The fields of the first page that are read, in the byte order ``<`` or ``>``."""

    order: str
    fields: dict[int, tuple[int, ...]]

    def one(self, tag: int, default: int | None = None) -> int:
        values = self.fields.get(tag)
        if values:
            return values[0]
        if default is None:
            raise ImageError("the TIFF is damaged: its first page does not say how its pixels lie")
        return default


@dataclass(frozen=True, slots=True)
class _Layout:
    """Strips are tiles as wide as the picture. ``rows`` are the rows of a strip or tile."""

    header: ImageHeader
    compression: int
    photometric: int
    samples: int
    tile_width: int
    rows: int
    is_tiled: bool

    @property
    def row_bytes(self) -> int:
        return (self.tile_width * self.header.bit_depth * self.samples + 7) // 8

    def blocks(self) -> int:
        return -(-self.header.width // self.tile_width) * -(-self.header.height // self.rows)

    def needs(self, block: int) -> int:
        """Return how many bytes a strip or tile has when it is unpacked."""
        rows = self.rows if self.is_tiled else min(self.rows, self.header.height - block * self.rows)
        return rows * self.row_bytes


def tiff_header(data: bytes) -> ImageHeader:
    """Return the header of the first page. Raises ImageError when it is damaged or of a kind that is not read."""
    return _layout(_first_page(data)).header


def split_tiff(data: bytes) -> ImageParts:
    """Check the first page and write it anew. Raises ImageError when it is damaged, cut or of a kind not read."""
    page = _first_page(data)
    layout = _layout(page)
    predictor = page.one(_PREDICTOR, 1) if layout.compression not in (_PLAIN, _PACKBITS) else 1
    if predictor not in (1, 2) or (predictor == 2 and layout.header.bit_depth < 8):
        raise ImageError(f"a TIFF with predictor {predictor} is not read: {CONVERT}")
    blocks = _blocks(data, page, layout)
    fields = [
        (_WIDTH, _LONG, (layout.header.width,)),
        (_HEIGHT, _LONG, (layout.header.height,)),
        (_BITS, _SHORT, (layout.header.bit_depth,) * layout.samples),
        (_COMPRESSION, _SHORT, (layout.compression,)),
        (_PHOTOMETRIC, _SHORT, (layout.photometric,)),
        (_SAMPLES, _SHORT, (layout.samples,)),
        (_PREDICTOR, _SHORT, (predictor,)),
    ]
    extra = layout.samples - _COLOURS_OF[layout.photometric]
    if extra:
        # 0: samples that say nothing about colour, so that the decoder drops an alpha instead of applying it.
        fields.append((_EXTRA, _SHORT, (0,) * extra))
    if layout.photometric == _PALETTE:
        colours = page.fields.get(_COLOURS, ())
        if len(colours) != 3 << layout.header.bit_depth:
            raise ImageError("the TIFF is damaged: its palette has not a colour for every index")
        fields.append((_COLOURS, _SHORT, colours))
    if layout.is_tiled:
        fields += [(_TILE_WIDTH, _LONG, (layout.tile_width,)), (_TILE_HEIGHT, _LONG, (layout.rows,))]
    else:
        fields.append((_ROWS_PER_STRIP, _LONG, (layout.rows,)))
    orientation = page.one(_ORIENTATION, 1)
    clean = _write(page.order, fields, layout.is_tiled, blocks)
    return ImageParts(layout.header, clean, orientation if 1 <= orientation <= 8 else 1, 1)


def _first_page(data: bytes) -> _Page:
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        raise ImageError("the TIFF is cut before its first page")
    version, at = struct.unpack_from(f"{order}HI", data, 2)
    if version == _BIG:
        raise ImageError(f"a BigTIFF is not read: {CONVERT}")
    if at < 8 or at + 2 > len(data):
        raise ImageError("the TIFF is cut: its first page is missing")
    (count,) = struct.unpack_from(f"{order}H", data, at)
    if at + 2 + 12 * count > len(data):
        raise ImageError("the TIFF is cut: its first page is missing")
    fields: dict[int, tuple[int, ...]] = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", data, entry)
        if tag in _READ and tag not in fields:
            fields[tag] = _values(data, order, tag, kind, values, entry + 8)
    return _Page(order, fields)


def _values(data: bytes, order: str, tag: int, kind: int, count: int, at: int) -> tuple[int, ...]:
    letter = _NUMBERS.get(kind)
    if letter is None or count > (_MOST_BLOCKS if tag in _ARRAYS else _MOST_VALUES):
        raise ImageError("the TIFF is damaged: a field of its first page is not what it should be")
    length = count * struct.calcsize(letter)
    if length > 4:
        (at,) = struct.unpack_from(f"{order}I", data, at)
    if at + length > len(data):
        raise ImageError("the TIFF is cut: a field of its first page is missing")
    return struct.unpack_from(f"{order}{count}{letter}", data, at)


def _layout(page: _Page) -> _Layout:
    width, height = page.one(_WIDTH), page.one(_HEIGHT)
    if not 0 < width <= _MAX_SIDE or not 0 < height <= _MAX_SIDE:
        raise ImageError("the TIFF header gives no valid size")
    compression, photometric = page.one(_COMPRESSION, _PLAIN), page.one(_PHOTOMETRIC, _WHITE_IS_ZERO)
    if compression not in _KINDS:
        how = _NAMED.get(compression, f"packing {compression}")
        raise ImageError(f"a TIFF packed as {how} is not read, only LZW, Deflate, PackBits and unpacked: {CONVERT}")
    if page.one(_PLANAR, 1) != 1:
        raise ImageError(f"a TIFF with a plane for each colour is not read: {CONVERT}")
    if page.one(_FILL_ORDER, 1) != 1:
        raise ImageError(f"a TIFF with its bits reversed is not read: {CONVERT}")
    samples, depths = page.one(_SAMPLES, 1), page.fields.get(_BITS, (1,))
    # Some programs give the bits of one sample for all of them.
    depths = depths * samples if len(depths) == 1 and samples <= max(_COLOURS_OF.values()) else depths
    formats = page.fields.get(_SAMPLE_FORMAT, (1,))
    if not depths or len(set(depths)) != 1 or len(depths) != samples or not set(formats) <= set(_UNSIGNED):
        raise ImageError(f"a TIFF of such samples is not read, only unsigned ones of equal bits: {CONVERT}")
    if (photometric, depths[0], samples) not in _PIXELS:
        raise ImageError(
            f"a TIFF with {samples} samples of {depths[0]} bits in colour space {photometric} is not read: {CONVERT}"
        )
    grey = photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
    header = ImageHeader(ImageFormat.TIFF, width, height, depths[0], grey, photometric == _PALETTE)
    is_tiled = _TILE_OFFSETS in page.fields
    if not is_tiled:
        rows = min(page.one(_ROWS_PER_STRIP, height), height)
        if not rows:
            raise ImageError("the TIFF is damaged: its strips have no rows")
        return _Layout(header, compression, photometric, samples, width, rows, is_tiled)
    tile_width, rows = page.one(_TILE_WIDTH), page.one(_TILE_HEIGHT)
    if not _fits(tile_width, width) or not _fits(rows, height):
        raise ImageError("the TIFF is damaged: its tiles are empty or far larger than its picture")
    return _Layout(header, compression, photometric, samples, tile_width, rows, is_tiled)


def _fits(tile: int, side: int) -> bool:
    return tile > 0 and tile % 16 == 0 and tile <= max(_USUAL_TILE, -(-side // 16) * 16)


def _blocks(data: bytes, page: _Page, layout: _Layout) -> list[memoryview]:
    """Return the strips or tiles, each as long as it should be."""
    offsets = page.fields.get(_TILE_OFFSETS if layout.is_tiled else _STRIP_OFFSETS, ())
    lengths = page.fields.get(_TILE_BYTES if layout.is_tiled else _STRIP_BYTES, ())
    count = layout.blocks()
    if len(offsets) < count or len(lengths) < count:
        raise ImageError("the TIFF is cut: strips or tiles of its first page are missing")
    if layout.is_tiled and count * layout.tile_width * layout.rows > 4 * layout.header.pixels + 2**24:
        raise ImageError("the TIFF is damaged: its tiles are empty or far larger than its picture")
    view = memoryview(data)
    blocks: list[memoryview] = []
    total = 0
    for number in range(count):
        needed = layout.needs(number)
        length = min(lengths[number], needed) if layout.compression == _PLAIN else lengths[number]
        block = view[offsets[number] : offsets[number] + length]
        total += length
        if len(block) < length or not length or (layout.compression == _PLAIN and length < needed):
            raise ImageError("the TIFF is cut: pixels are missing")
        if total > len(data):
            raise ImageError("the TIFF is damaged: its strips or tiles lie over each other")
        if layout.compression in (_DEFLATE, _OLD_DEFLATE):
            _check_packed(block, needed)
        blocks.append(block)
    return blocks


def _check_packed(block: memoryview, needed: int) -> None:
    try:
        check_unpacked([block], needed, "TIFF")
    except zlib.error:
        raise ImageError("the TIFF is damaged: its pixels cannot be unpacked") from None


def _write(
    order: str, fields: list[tuple[int, int, tuple[int, ...]]], is_tiled: bool, blocks: Sequence[memoryview]
) -> bytes:
    """Return a TIFF of one page with these fields and strips or tiles."""
    where, lengths = (_TILE_OFFSETS, _TILE_BYTES) if is_tiled else (_STRIP_OFFSETS, _STRIP_BYTES)
    sizes = tuple(len(block) for block in blocks)
    fields = sorted([*fields, (where, _LONG, (0,) * len(sizes)), (lengths, _LONG, sizes)])
    values_at = 8 + 2 + 12 * len(fields) + 4
    long_values = sum(_padded(kind, values) for _, kind, values in fields)
    offsets = []
    at = values_at + long_values
    for size in sizes:
        offsets.append(at)
        at += size
    entries, values_out = [], []
    at = values_at
    for tag, kind, values in fields:
        packed = struct.pack(f"{order}{len(values)}{_NUMBERS[kind]}", *(offsets if tag == where else values))
        entry = struct.pack(f"{order}HHI", tag, kind, len(values))
        if len(packed) <= 4:
            entries.append(entry + packed.ljust(4, b"\0"))
            continue
        entries.append(entry + struct.pack(f"{order}I", at))
        values_out.append(packed.ljust(_padded(kind, values), b"\0"))
        at += len(values_out[-1])
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(fields))
    return b"".join([head, *entries, bytes(4), *values_out, *blocks])


def _padded(kind: int, values: tuple[int, ...]) -> int:
    """Return how many bytes values take behind the list of fields: none where four are enough."""
    length = len(values) * struct.calcsize(_NUMBERS[kind])
    return 0 if length <= 4 else length + length % 2
