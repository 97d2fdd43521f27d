"""What is known of a picture before any decoder sees it, and the structure of JPEG and PNG files.

What does not make pixels (profiles, texts, thumbnails, animation) is dropped, so that the decoder is only given the few
segments that every picture has.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from enum import Enum
from typing import Final

from smalti.errors import ImageError
from smalti.vision.jpeg_scans import Scan, check_scans

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
JPEG_START: Final = b"\xff\xd8\xff"
_JPEG_END: Final = b"\xff\xd9"
_START_OF_SCAN: Final = 0xDA
_RESTART_INTERVAL: Final = 0xDD
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LOSSLESS: Final = 0xC3
_ARITHMETIC: Final = frozenset({0xC9, 0xCA, 0xCB})
_DECODED_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})
_BARE_MARKERS: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_MAX_SEGMENTS: Final = 10_000
_MARKER_AFTER_SCAN: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_MARKER_IN_SCAN: Final = re.compile(rb"\xff[^\x00\xff]")
_SEQUENTIAL: Final = frozenset({0xC0, 0xC1})
_MAX_RESTARTS: Final = 1 << 20
_MAX_CHUNKS: Final = 200_000
_PNG_KEPT: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_PALETTE_BYTES: Final = 3 * 256
_PNG_MAX_SIDE: Final = 2**31 - 1


class ImageFormat(Enum):
    """The picture formats that Smalti decodes."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    BMP = "BMP"
    TIFF = "TIFF"


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What a picture's header says. Sizes are in pixels, as stored (before any rotation)."""

    format: ImageFormat
    width: int
    height: int
    bit_depth: int
    is_grey: bool
    has_palette: bool = False

    @property
    def pixels(self) -> int:
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class ImageParts:
    """A checked picture file: ``data`` holds only what makes pixels; ``scans`` is 1 for all but a JPEG.

    ``pieces`` are the (start, end) in ``data`` of the coded pixels of a JPEG between two markers.  ``in_order`` says
    that there is one piece, whose pixels a decoder gives out from the top as it reads.
    """

    header: ImageHeader
    data: bytes
    orientation: int
    scans: int
    pieces: tuple[tuple[int, int], ...] = ()
    in_order: bool = False


def jpeg_header(data: bytes) -> ImageHeader:
    """Return the header of a JPEG. Raises ImageError when it is damaged before its first scan."""
    return _jpeg_segments(data).header


@dataclass(frozen=True, slots=True)
class _Segments:
    header: ImageHeader
    kept: tuple[bytes, ...]
    exif: bytes
    scan_start: int
    frame_marker: int
    frame: bytes
    interval: int


def _jpeg_segments(data: bytes) -> _Segments:
    """Walk the segments of a JPEG up to its first scan."""
    header: ImageHeader | None = None
    kept: list[bytes] = []
    exif = b""
    frame_marker, frame, interval = 0, b"", 0
    at = 2
    for _ in range(_MAX_SEGMENTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 2 > len(data):
            raise ImageError("the JPEG is cut before its first scan")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0 or marker in _BARE_MARKERS:
            at += 2
            continue
        if marker in (0xD8, 0xD9):
            raise ImageError("the JPEG ends before its first scan")
        if at + 4 > len(data):
            raise ImageError("the JPEG is cut before its first scan")
        if marker == _START_OF_SCAN:
            if header is None:
                raise ImageError("the JPEG has a scan before its frame header")
            return _Segments(header, tuple(kept), exif, at, frame_marker, frame, interval)
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at : at + 2 + length]
        if length < 2 or len(segment) != 2 + length:
            raise ImageError("the JPEG is cut before its first scan")
        at += 2 + length
        if marker in _FRAMES:
            if header is not None:
                raise ImageError("the JPEG has two frame headers")
            _check_coding(marker)
            header, frame_marker, frame = _frame_header(segment), marker, segment[4:]
        if marker == 0xE1 and segment[4:10] == b"Exif\0\0" and not exif:
            exif = segment[10:]
        interval = int.from_bytes(segment[4:6], "big") if marker == _RESTART_INTERVAL else interval
        if _makes_pixels(marker, segment):
            kept.append(segment)
    raise ImageError("the JPEG has too many segments")


def _makes_pixels(marker: int, segment: bytes) -> bool:
    """JFIF (APP0) and Adobe (APP14), if whole, tell how colours are coded; every other APPn and COM is for people."""
    if marker == 0xE0:
        return segment[4:9] == b"JFIF\0" and len(segment) >= 18
    if marker == 0xEE:
        return segment[4:9] == b"Adobe" and len(segment) >= 16
    return not (0xE0 <= marker <= 0xEF or marker == 0xFE)


def _check_coding(marker: int) -> None:
    """Arithmetic coding is refused too: its encoders leave out zeros at the end, so that no cut could be told apart."""
    if marker in _DECODED_FRAMES:
        return
    coding = "arithmetic-coded" if marker in _ARITHMETIC else "lossless" if marker == _LOSSLESS else "hierarchical"
    raise ImageError(f"this JPEG is {coding}: only baseline and progressive Huffman coding is supported")


def _frame_header(segment: bytes) -> ImageHeader:
    if len(segment) < 10:
        raise ImageError("the JPEG frame header is cut")
    depth, height, width, components = struct.unpack_from(">BHHB", segment, 4)
    if width == 0 or height == 0:
        raise ImageError("the JPEG header gives no size")
    if depth != 8:
        raise ImageError(f"a JPEG of {depth} bits a sample is not supported")
    return ImageHeader(ImageFormat.JPEG, width, height, depth, components == 1)


def split_jpeg(data: bytes) -> ImageParts:
    """Check a JPEG to its end and keep what makes pixels. Raises ImageError when it is damaged or cut."""
    segments = _jpeg_segments(data)
    end, scans = _jpeg_scans(data, segments)
    check_scans(segments.frame_marker, segments.frame, scans)
    start = b"".join([b"\xff\xd8", *segments.kept])
    moved = len(start) - segments.scan_start
    pieces = tuple((first + moved, last + moved) for scan in scans for first, last in scan.pieces)
    clean = start + data[segments.scan_start : end]
    in_order = segments.frame_marker in _SEQUENTIAL and len(pieces) == 1
    return ImageParts(segments.header, clean, exif_orientation(segments.exif), len(scans), pieces, in_order)


def _jpeg_scans(data: bytes, segments: _Segments) -> tuple[int, list[Scan]]:
    """Return where a JPEG ends, and its scans."""
    at, interval = segments.scan_start, segments.interval
    scans: list[Scan] = []
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER_AFTER_SCAN.search(data, at)
        if found is None:
            break
        at, marker = found.start(), data[found.start() + 1]
        if marker == _JPEG_END[1]:
            return at + 2, scans
        if marker in _BARE_MARKERS:
            at += 2
            continue
        body, at = at + 4, at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if at < body or at >= len(data):
            break
        if marker == _RESTART_INTERVAL:
            interval = int.from_bytes(data[body : body + 2], "big")
        elif marker == _START_OF_SCAN:
            coded = _coded_pixels(data, at)
            if coded is None:
                break
            scans.append(Scan(data[body:at], coded, interval))
            at = coded[-1][1]
    else:
        raise ImageError("the JPEG has too many segments")
    raise ImageError("the JPEG is cut: its end marker is missing")


def _coded_pixels(data: bytes, start: int) -> tuple[tuple[int, int], ...] | None:
    """Return the (start, end) of a scan's coded pixels between restart markers; None when no marker ends it."""
    marks: list[int] = []
    for found in _MARKER_IN_SCAN.finditer(data, start):
        marks.append(found.start())
        if not 0xD0 <= data[found.end() - 1] <= 0xD7:
            # Bytes of 255 before a marker belong to the marker.
            starts = [start, *(mark + 2 for mark in marks[:-1])]
            ends = [s + len(data[s:mark].rstrip(b"\xff")) for s, mark in zip(starts, marks, strict=True)]
            return tuple(zip(starts, ends, strict=True))
        if len(marks) > _MAX_RESTARTS:
            raise ImageError("the JPEG has too many restart markers")
    return None


def png_header(data: bytes) -> ImageHeader:
    """Return the header of a PNG. Raises ImageError when it is damaged."""
    if len(data) < 33 or data[8:16] != b"\x00\x00\x00\x0dIHDR":
        raise ImageError("the PNG header is cut")
    if zlib.crc32(data[12:29]) != int.from_bytes(data[29:33], "big"):
        raise ImageError("the PNG header is damaged")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    if not 0 < width <= _PNG_MAX_SIDE or not 0 < height <= _PNG_MAX_SIDE:
        raise ImageError("the PNG header gives no valid size")
    if data[26] or data[27] or data[28] > 1:
        raise ImageError("the PNG header gives an unknown compression, filter or interlacing")
    return ImageHeader(ImageFormat.PNG, width, height, depth, colour in (0, 4), has_palette=colour == 3)


def split_png(data: bytes) -> ImageParts:
    """Check a PNG to its end and keep what makes pixels. Raises ImageError when it is damaged or cut."""
    header = png_header(data)
    view = memoryview(data)
    kept: list[bytes | memoryview] = [PNG_SIGNATURE]
    exif, has_palette = b"", False
    at = len(PNG_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(data):
            raise ImageError("the PNG is cut")
        length = int.from_bytes(view[at : at + 4], "big")
        kind = bytes(view[at + 4 : at + 8])
        end = at + 12 + length
        if end > len(data):
            raise ImageError("the PNG is cut")
        if kind in _PNG_KEPT:
            if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
                raise ImageError("the PNG is damaged: a checksum does not match")
            if kind == b"IHDR" and at > len(PNG_SIGNATURE):
                raise ImageError("the PNG has two headers")
            if kind != b"PLTE" or header.has_palette:
                kept.append(view[at:end])
        elif not kind[0] & 0x20:
            raise ImageError("the PNG has a critical part of unknown kind")
        elif kind == b"eXIf" and not exif:
            exif = bytes(view[at + 8 : end - 4])
        at = end
        if kind == b"PLTE" and header.has_palette:
            if has_palette or length % 3 or not 0 < length <= _PALETTE_BYTES:
                raise ImageError("the PNG is damaged: its palette is not one list of 1 to 256 colours")
            has_palette = True
        if kind == b"IDAT" and header.has_palette and not has_palette:
            raise ImageError("the PNG is damaged: its palette is missing")
        if kind == b"IEND":
            return ImageParts(header, b"".join(kept), exif_orientation(exif), 1)
    raise ImageError("the PNG has too many parts")


def exif_orientation(exif: bytes) -> int:
    """Return the orientation (1 to 8) of an EXIF block that starts at its TIFF header; 1 when it gives none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return 1
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    if start + 2 > len(exif):
        return 1
    (count,) = struct.unpack_from(f"{order}H", exif, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(exif) - 11), 12):
        tag, kind, values, value = struct.unpack_from(f"{order}HHIH", exif, at)
        if tag == 0x0112:
            return int(value) if kind == 3 and values == 1 and 1 <= value <= 8 else 1
    return 1
