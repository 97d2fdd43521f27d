"""WebP files of every kind, and every way to be refused; the pixels are those of the library with no code of ours."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fuzz.pictures import packed, smooth

Outcome = NDArray[np.uint8] | str
_DAMAGED = "the WebP data is damaged, cut or of a kind that is not supported"
_LENGTH = "the WebP is damaged: its length is not that of its parts"


def webp_cases() -> Iterator[tuple[str, bytes, Outcome]]:
    """Yield a name, a file, and its pixels, RGB uint8 [H, W, 3], or the words of its refusal."""
    yield from _good()
    yield from _bad()


def part(kind: bytes, body: bytes) -> bytes:
    """Return a part of a WebP, filled up to an even length."""
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def webp(*parts: bytes) -> bytes:
    """Return a WebP of these parts."""
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def extended(width: int, height: int, flags: int = 0) -> bytes:
    """Return the part that announces further ones."""
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return part(b"VP8X", bytes([flags, 0, 0, 0]) + sides)


def _by_library(data: bytes) -> NDArray[np.uint8]:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _pixels(**options: object) -> bytes:
    """Return the part of a plain WebP that holds the pixels."""
    return packed(smooth(48, 64), "WEBP", **options)[12:]


def _good() -> Iterator[tuple[str, bytes, Outcome]]:
    for options in ({}, {"quality": 5}, {"quality": 100, "method": 0}, {"lossless": True}):
        for mode in ("RGB", "L", "P"):
            for height, width in ((1, 1), (7, 5), (48, 64)):
                data = packed(smooth(height, width), "WEBP", mode, **options)
                yield f"{mode} {height} x {width} {options}", data, _by_library(data)
    exact = packed(smooth(48, 64), "WEBP", lossless=True)
    yield "lossless", exact, smooth(48, 64)
    alpha = np.dstack([smooth(48, 64), smooth(48, 64, 2)[..., :1]])
    buffer = io.BytesIO()
    Image.fromarray(alpha).save(buffer, "WEBP", lossless=True, exact=True)
    yield "lossless with alpha", buffer.getvalue(), alpha[..., :3]
    buffer = io.BytesIO()
    Image.fromarray(alpha).save(buffer, "WEBP")
    yield "lossy with alpha", buffer.getvalue(), _by_library(buffer.getvalue())
    pixels = _pixels()
    plain = webp(pixels)
    want = _by_library(plain)
    text = part(b"XMP ", b"some text")
    for name, data in (
        ("bytes behind the end", plain + b"more"),
        ("an extended header", webp(extended(64, 48), pixels)),
        ("texts around the pixels", webp(extended(64, 48), text, part(b"ICCP", b"x" * 9), pixels, text)),
        ("parts of unknown kind", webp(pixels, part(b"what", b"odd"))),
        ("an alpha that is damaged", webp(extended(64, 48, 16), part(b"ALPH", b"\1junk"), pixels)),
    ):
        yield name, data, want
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for named in (b"", b"Exif\0\0"):
            body = named + exif.tobytes().removeprefix(b"Exif\0\0")
            data = webp(extended(64, 48, 8), pixels, part(b"EXIF", body))
            yield f"turned by {orientation} {len(named)}", data, _by_library(data)


def _bad() -> Iterator[tuple[str, bytes, Outcome]]:
    pixels = _pixels()
    plain = webp(pixels)
    for end in (12, 16, 29):
        yield f"cut at {end}", plain[:end], "the WebP is cut"
    for end in (40, len(plain) // 2, len(plain) - 1):
        yield f"cut at {end}", plain[:end], "the WebP is cut"
    yield "a length of one more", plain[:4] + struct.pack("<I", len(plain) - 7) + plain[8:], "the WebP is cut"
    yield "a length of two fewer", plain[:4] + struct.pack("<I", len(plain) - 10) + plain[8:], _LENGTH
    yield "a length of half a part", webp(pixels, b"XMP ") + b"more", _LENGTH
    yield "a part longer than the file", webp(pixels, b"XMP \xff\xff\xff\xff"), _LENGTH
    body = pixels[8:]
    yield "half of the pixels", webp(part(b"VP8 ", body[: len(body) // 2])), _DAMAGED
    yield "no pixels behind the header", webp(part(b"VP8 ", body[:10])), "the WebP is cut: pixels are missing"
    wrong = "the WebP is damaged: its pixels do not begin as they should"
    yield "no key frame", webp(part(b"VP8 ", bytes([body[0] | 1]) + body[1:])), wrong
    yield "no start code", webp(part(b"VP8 ", body[:3] + b"\0\0\0" + body[6:])), wrong
    yield "no size", webp(part(b"VP8 ", body[:6] + bytes(4) + body[10:])), "the WebP header gives no size"
    lossless = _pixels(lossless=True)[8:]
    yield "half of the lossless pixels", webp(part(b"VP8L", lossless[: len(lossless) // 2])), _DAMAGED
    yield "lossless without its mark", webp(part(b"VP8L", b"\0" + lossless[1:])), wrong
    newer = lossless[:4] + bytes([lossless[4] | 0xE0]) + lossless[5:]
    yield "lossless of another version", webp(part(b"VP8L", newer)), "the WebP is of a version that is not known"
    yield "two pictures", webp(pixels, pixels), "the WebP is damaged: it has two pictures"
    yield "no picture", webp(part(b"XMP ", b"x" * 20)), "the WebP is damaged: it has no picture"
    yield "an extended header alone", webp(extended(64, 48)) + bytes(20), "the WebP is damaged: it has no picture"
    yield "another size", webp(extended(65, 48), pixels), "the WebP gives two different sizes"
    short = webp(part(b"VP8X", bytes(8)), pixels)
    yield "a short extended header", short, "the WebP is damaged: its header is too short"
    moving = "an animated WebP is not read: save one of its frames as a picture"
    buffer = io.BytesIO()
    frames = [Image.fromarray(smooth(20, 30, seed)) for seed in (1, 2)]
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    yield "an animation", buffer.getvalue(), moving
    yield "a frame without the flag", webp(extended(64, 48), part(b"ANIM", bytes(6)), pixels), moving
    yield "a frame behind the pixels", webp(extended(64, 48), pixels, part(b"ANMF", bytes(20))), moving
    many = webp(extended(64, 48), *[part(b"what", b"")] * 10_000, pixels)
    yield "too many parts", many, "the WebP has too many parts"
    yield "too many parts behind", webp(pixels, *[part(b"what", b"")] * 10_000), "the WebP has too many parts"
