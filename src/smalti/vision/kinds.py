"""Kinds of picture that are not read: what their files begin with and how their names end, so that they are named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

READ_KINDS: Final = "JPEG, PNG, WebP, BMP or TIFF"
"""The kinds that are read, for messages."""
CONVERT: Final = "convert it to PNG or JPEG"
SNIFFED_BYTES: Final = 132
"""How many bytes of a file are enough to know its kind."""
_STARTS: Final = (
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\0\0\0\x0cjXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"\0\0\1\0", "ICO"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"SIMPLE  =", "FITS"),
    (b"\x93NUMPY", "NumPy"),
    (b"\x01\xda\0\1", "SGI"),
    (b"\x01\xda\1\1", "SGI"),
    (b"<svg", "SVG"),
    *((b"P%d%c" % (kind, space), "PNM") for kind in range(1, 7) for space in b" \t\r\n"),
    (b"P7\n", "PAM"),
)
_BRANDS: Final = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
}
_DICOM_AT: Final = 128
OTHER_SUFFIXES: Final[Mapping[str, str]] = {
    ".gif": "GIF",
    ".heic": "HEIC",
    ".heif": "HEIC",
    ".hif": "HEIC",
    ".avif": "AVIF",
    ".jxl": "JPEG XL",
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"), "JPEG 2000"),
    ".psd": "Photoshop",
    ".ico": "ICO",
    ".svg": "SVG",
    ".dds": "DDS",
    ".qoi": "QOI",
    ".exr": "OpenEXR",
    ".hdr": "Radiance HDR",
    ".tga": "TGA",
    ".pcx": "PCX",
    ".sgi": "SGI",
    ".dcm": "DICOM",
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PNM"),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"), "camera raw"),
}
"""Ends of names, in small letters, of kinds of picture that are not read."""


def other_kind(data: bytes) -> str | None:
    """Return what a file that is not read is, by its first bytes, or None where that is not known."""
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    if data[_DICOM_AT : _DICOM_AT + 4] == b"DICM":
        return "DICOM"
    return next((kind for start, kind in _STARTS if data.startswith(start)), None)


def kind_by_name(name: str) -> str | None:
    """Return the kind of picture that a file's name promises, where it is one that is not read, else None."""
    at = name.rfind(".", -6)
    return OTHER_SUFFIXES.get(name[at:].lower()) if at > 0 else None


def refusal(data: bytes) -> str:
    """Return why a file is not read: it begins like none of the kinds that are."""
    if not data:
        return "the file is empty"
    kind = other_kind(data)
    return f"not a {READ_KINDS} picture" if kind is None else f"not a {READ_KINDS} picture but {kind}: {CONVERT}"


def count_words(kinds: Mapping[str, int]) -> str:
    """Return how many there are of each kind, in words: ``2 GIF, 1 HEIC``; the most first."""
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in ordered)
