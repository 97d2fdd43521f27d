"""Pictures of every kind, each with what must become of it: these pixels, or a refusal in these words.

Python and the C++ example go through the same cases of JPEG and PNG (test_pictures_cases.py,
test_infer_cpp_pictures.py); WebP, BMP and TIFF are read by Python, and refused by name by the example. The pixels are
known from what the picture was made of, or come from Pillow with no code of ours around it.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bmp_cases import bmp_cases
from fuzz.pictures import JPEGS, chunk, gentle_mutant, jpeg_with_size, mutant, packed, parts_of, smooth
from png_cases import png_cases
from smalti.vision.images import DEFAULT_MAX_PIXELS
from tiff_cases import fields_of, tiff, tiff_cases
from webp_cases import webp_cases

MUTANT_SEED = 20261201
_END = b"\xff\xd9"
_OTHER_KIND = "not a JPEG"
_MISSING_SCAN = "the JPEG is cut: a scan is missing"
_MISSING_PIXELS = "the JPEG is cut: pixels are missing"
_NO_END = "the JPEG is cut: its end marker is missing"
_EARLY_END = "the JPEG is cut before its first scan"
_CODING = "only baseline and progressive Huffman coding is supported"
_DAMAGED = "the JPEG data is damaged, cut or of a kind that is not supported"


@dataclass(frozen=True, slots=True)
class PictureCase:
    """A picture: ``pixels`` are RGB uint8 [H, W, 3]; None: it is refused, in words that begin with ``words``."""

    name: str
    data: bytes
    pixels: NDArray[np.uint8] | None = None
    words: str = ""
    max_pixels: int = DEFAULT_MAX_PIXELS


@lru_cache(maxsize=1)
def picture_cases() -> tuple[PictureCase, ...]:
    """Return all cases; their names are unique."""
    good = (*_jpegs(), *_odd_jpegs(), *_turned(), *_good_pngs())
    bad = (*_bad_jpegs(), *_cut_jpegs(), *_other_files(), *_bad_pngs())
    return (
        *(PictureCase(name, data, pixels) for name, data, pixels in good),
        *(PictureCase(name, data, None, words) for name, data, words in bad),
        *_over_limits(),
    )


@lru_cache(maxsize=1)
def other_cases() -> tuple[PictureCase, ...]:
    """Return the cases of WebP, BMP and TIFF, which Python reads; their names are unique."""
    found = []
    for form, cases in (("WebP", webp_cases), ("BMP", bmp_cases), ("TIFF", tiff_cases)):
        for name, data, outcome in cases():
            is_good = not isinstance(outcome, str)
            found.append(PictureCase(f"{form}: {name}", data, *((outcome,) if is_good else (None, outcome))))
    return (*found, *_turned_tiffs(), *_other_over_limits())


def _turned_tiffs() -> Iterator[PictureCase]:
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = packed(smooth(20, 31), "TIFF", exif=exif)
        yield PictureCase(f"TIFF turned by {orientation}", data, _by_pillow(data))


def _other_over_limits() -> Iterator[PictureCase]:
    cap, words = 64 * 48 - 1, "64 x 48 pixels are more than the limit of 3071 (--max-pixels)"
    for form in ("WEBP", "BMP", "TIFF"):
        data = packed(smooth(48, 64), form)
        yield PictureCase(f"{form} over a cap", data, None, words, cap)
        yield PictureCase(f"{form} at a cap", data, _by_pillow(data), "", cap + 1)
    words = "2147483647 x 2147483647 pixels are more than the limit"
    largest = tiff(fields_of(2**31 - 1, 2**31 - 1, 8, 3, 2), [b"few"])
    yield PictureCase("TIFF of the largest size", largest, None, words)


def shared_words(text: str) -> str:
    """Return a refusal as Python and the C++ example both have it: which kinds they read is not the same."""
    return _OTHER_KIND if text.startswith(_OTHER_KIND) else text


def mutants(count: int) -> Iterator[tuple[str, bytes]]:
    """Yield pictures with changed bytes and with changed parts, in turn, and a name for each."""
    for number in range(count // 2):
        yield f"mutant({MUTANT_SEED}, {number})", mutant(MUTANT_SEED, number)
        yield f"gentle_mutant({MUTANT_SEED}, {number})", gentle_mutant(MUTANT_SEED, number)


def _good_pngs() -> Iterator[tuple[str, bytes, NDArray[np.uint8]]]:
    for name, data, outcome in png_cases():
        if not isinstance(outcome, str):
            yield f"PNG: {name}", data, outcome


def _bad_pngs() -> Iterator[tuple[str, bytes, str]]:
    for name, data, outcome in png_cases():
        if isinstance(outcome, str):
            yield f"PNG: {name}", data, outcome


def _by_pillow(data: bytes) -> NDArray[np.uint8]:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _jpegs() -> Iterator[tuple[str, bytes, NDArray[np.uint8]]]:
    kinds: list[dict[str, object]] = [*JPEGS, {"optimize": True}, {"mode": "L", "progressive": True}]
    kinds += [{"subsampling": number, "progressive": way} for number in (0, 1, 2) for way in (False, True)]
    kinds += [{"mode": "CMYK", "restart_marker_rows": 1}, {"quality": 1}, {"keep_rgb": True}]
    for options in kinds:
        for height, width in ((1, 1), (7, 5), (48, 64)):
            data = packed(smooth(height, width), "JPEG", **options)  # type: ignore[arg-type]
            yield f"JPEG {height} x {width} {options}", data, _by_pillow(data)
    long = packed(smooth(2, 65500))
    yield "JPEG of the longest side", long, _by_pillow(long)


def _odd_jpegs() -> Iterator[tuple[str, bytes, NDArray[np.uint8]]]:
    """What some cameras and programs write: a decoder takes it, and so do we."""
    plain, restarts = packed(smooth(48, 64)), packed(smooth(48, 64), restart_marker_blocks=4)
    progressive = packed(smooth(48, 64), progressive=True)
    scan = plain.index(b"\xff\xda")
    text = b"\xff\xfe\x00\x06text\xff\xe5\x00\x04\xff\xd9"
    jfif = plain[:2] + plain[4 + int.from_bytes(plain[4:6], "big") :]
    for name, original, changed in (
        ("a restart marker too many", restarts, restarts[:-2] + b"\xff\xd2" + _END),
        ("two restart markers too many", restarts, restarts[:-2] + b"\xff\xd2\xff\xd3" + _END),
        ("a byte of 255 before the end", restarts, restarts[:-2] + b"\xff" + restarts[-2:]),
        ("a byte of 255 before a restart", restarts, restarts.replace(b"\xff\xd0", b"\xff\xff\xd0", 1)),
        ("a second picture behind the end", plain, plain + plain),
        ("bytes behind the end", plain, plain[:-2] + b"\xff\xff\xd9\xff\xd8 trailing \xff\xd9"),
        ("a restart interval that never ends", plain, plain[:scan] + b"\xff\xdd\x00\x04\xff\xff" + plain[scan:]),
        ("texts", plain, plain[:2] + text + plain[2:scan] + text + plain[scan:]),
        ("a text between scans", progressive, _before_scan(progressive, 3, b"\xff\xfe\x00\x06text")),
        ("bytes between segments", plain, plain[:scan] + b"\x01\x02\xff\x00\xff\x01" + plain[scan:]),
        ("bytes behind the pixels", plain, plain[:-2] + b"\x12\x34" * 100 + _END),
        ("no JFIF header", plain, jfif),
        ("a JFIF header of 5 bytes", plain, plain[:2] + b"\xff\xe0\x00\x07JFIF\0" + jfif[2:]),
        ("an Adobe header of 6 bytes", plain, plain[:2] + b"\xff\xee\x00\x08Adobe\0" + plain[2:]),
        ("an EXIF block that is cut", plain, plain[:2] + b"\xff\xe1\x00\x0cExif\0\0II*\0" + plain[2:]),
    ):
        yield f"JPEG with {name}", changed, _by_pillow(original)


def _turned() -> Iterator[tuple[str, bytes, NDArray[np.uint8]]]:
    for form in ("JPEG", "PNG"):
        for orientation in range(10):
            exif = Image.Exif()
            exif[0x0112] = orientation
            data = packed(smooth(20, 31), form, exif=exif)
            yield f"{form} turned by {orientation}", data, _by_pillow(data)


def _bad_jpegs() -> Iterator[tuple[str, bytes, str]]:
    plain, progressive = packed(smooth(48, 64)), packed(smooth(48, 64), progressive=True)
    frame, scan = plain.index(b"\xff\xc0"), plain.index(b"\xff\xda")
    header = plain[frame : frame + 19]

    def with_frame(change: bytes, at: int) -> bytes:
        return plain[: frame + at] + change + plain[frame + at + len(change) :]

    for marker, kind in ((3, "lossless"), (5, "hierarchical"), (9, "arithmetic-coded"), (10, "arithmetic-coded")):
        yield f"JPEG of frame {marker}", with_frame(bytes([0xC0 + marker]), 1), f"this JPEG is {kind}: {_CODING}"
    yield "JPEG of 12 bits", with_frame(b"\x0c", 4), "a JPEG of 12 bits a sample is not supported"
    yield "JPEG of no height", with_frame(b"\0\0", 5), "the JPEG header gives no size"
    yield "JPEG of two frames", plain[:frame] + header + plain[frame:], "the JPEG has two frame headers"
    yield "JPEG of no frame", plain.replace(header, b""), "the JPEG has a scan before its frame header"
    yield "JPEG with sampling of 0", with_frame(b"\x02", 11), "the JPEG frame header gives impossible components"
    yield "JPEG of one component twice", with_frame(b"\x01", 13), "the JPEG frame header gives impossible components"
    yield "JPEG of no component", with_frame(b"\0", 9), "the JPEG frame header is cut"
    short = plain[:frame] + b"\xff\xc0\x00\x07\x08\x00\x30\x00\x40" + plain[frame + 19 :]
    yield "JPEG with a short frame header", short, "the JPEG frame header is cut"
    yield "JPEG of five components", with_frame(b"\x05", 9), "the JPEG frame header is cut"
    other = plain[: scan + 5] + b"\x09" + plain[scan + 6 :]
    yield "JPEG with a scan of another component", other, "the JPEG has a scan that does not fit its frame"
    more = plain[: scan + 4] + b"\x09" + plain[scan + 5 :]
    yield "JPEG with a scan of nine components", more, "the JPEG has a scan header that is cut"
    yield "JPEG with no tables", plain.replace(b"\xff\xdb", b"\xff\xfe"), _DAMAGED
    yield "JPEG with a reserved marker", plain[:frame] + b"\xff\x02\x00\x02" + plain[frame:], _DAMAGED
    yield "JPEG of start markers", b"\xff\xd8\xff" * 300, "the JPEG ends before its first scan"
    yield "JPEG of too many segments", plain[:2] + b"\xff\x01" * 10_000 + plain[2:], "the JPEG has too many segments"
    behind = plain[:-2] + b"\xff\x01" * 10_000 + _END
    yield "JPEG of too many segments behind", behind, "the JPEG has too many segments"
    restarts = plain[:-2] + b"\xff\xd0" * ((1 << 20) + 1) + _END
    yield "JPEG of too many restarts", restarts, "the JPEG has too many restart markers"
    yield "JPEG of more pixels than data", jpeg_with_size(900, 900), _MISSING_PIXELS
    scans = [part for part in parts_of(progressive) if part.startswith(b"\xff\xda")]
    for number, part in enumerate(scans):
        yield f"progressive JPEG without scan {number}", progressive.replace(part, b""), _MISSING_SCAN
    last = progressive.rindex(b"\xff\xda")
    yield "progressive JPEG without its last part", progressive[:last] + _END, _MISSING_SCAN


def _cut_jpegs() -> Iterator[tuple[str, bytes, str]]:
    for options in JPEGS:
        data = packed(smooth(48, 64), "JPEG", **options)  # type: ignore[arg-type]
        scan = data.index(b"\xff\xda")
        for end in (3, 30, scan - 5, scan + 3):
            yield f"JPEG {options} cut at {end}", data[:end], _EARLY_END
        for end in (scan + 20, (scan + len(data)) // 2, len(data) - 2, len(data) - 1):
            yield f"JPEG {options} cut at {end}", data[:end], _NO_END
        for tenths in (3, 6, 9):
            end = scan + 14 + (len(data) - scan - 14) * tenths // 10
            end -= data[end - 1] == 0xFF
            yield f"JPEG {options} cut at {end} and ended", data[:end] + _END, "the JPEG is cut: "
    restarts = packed(smooth(48, 64), restart_marker_blocks=2)
    lost = restarts[: restarts.index(b"\xff\xd1")] + restarts[restarts.index(b"\xff\xd2") :]
    yield "JPEG without a part", lost, "the JPEG is cut: a part between two restart markers is missing"


def _other_files() -> Iterator[tuple[str, bytes, str]]:
    yield "empty file", b"", "the file is empty"
    yield "GIF", packed(smooth(8, 8), "GIF"), _OTHER_KIND
    yield "text", b"no picture at all", _OTHER_KIND
    yield "two bytes of a JPEG", b"\xff\xd8", _OTHER_KIND
    yield "JPEG of its two markers", b"\xff\xd8" + _END, "the JPEG ends before its first scan"


def _over_limits() -> Iterator[PictureCase]:
    cap, words = 64 * 48 - 1, "64 x 48 pixels are more than the limit of 3071 (--max-pixels)"
    for form in ("JPEG", "PNG"):
        data = packed(smooth(48, 64), form)
        yield PictureCase(f"{form} over a cap", data, None, words, cap)
        yield PictureCase(f"{form} at a cap", data, _by_pillow(data), "", cap + 1)
    large = "65535 x 65535 pixels are more than the limit"
    yield PictureCase("JPEG of the largest size", jpeg_with_size(65535, 65535), None, large)
    progressive = packed(smooth(48, 64), progressive=True)
    last = progressive[progressive.rindex(b"\xff\xda") : -2]
    many = progressive[:-2] + last * 15 + _END
    yield PictureCase("JPEG of 25 scans", many, None, "25 scans over 64 x 48 pixels are too much work", cap + 1)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0))
    words = "2147483647 x 2147483647 pixels are more than the limit"
    yield PictureCase("PNG of the largest size", b"\x89PNG\r\n\x1a\n" + head, None, words)


def _before_scan(data: bytes, number: int, added: bytes) -> bytes:
    parts = parts_of(data)
    at = [i for i, part in enumerate(parts) if part.startswith(b"\xff\xda")][number]
    return b"".join([*parts[:at], added, *parts[at:]])
