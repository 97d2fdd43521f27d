"""Pictures as a stranger might send them: seeds of every kind, mutations of their bytes, and small hostile files."""

from __future__ import annotations

import io
import random
import re
import struct
import zlib
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MARKERS = (b"\0\0", b"\xff\xff", b"\xff\xd9", b"\xff\xda", b"\xff\xd0", b"\xff\xc4", b"\xff\xdd", b"\xff\xc2")
JPEGS: tuple[dict[str, object], ...] = (
    {},
    {"progressive": True},
    {"quality": 100, "subsampling": 0},
    {"restart_marker_blocks": 4},
    {"progressive": True, "restart_marker_blocks": 4},
    {"mode": "L"},
    {"mode": "CMYK"},
)
"""Options of :func:`packed` for every way in which pixels stand in a JPEG."""
_WEBPS: tuple[tuple[str | None, dict[str, object]], ...] = (
    (None, {}),
    ("RGBA", {}),
    (None, {"lossless": True}),
    ("P", {"lossless": True}),
    (None, {"exif": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"}),
)


def smooth(height: int, width: int, seed: int = 1) -> NDArray[np.uint8]:
    """Return a picture with gentle structure, as photographs have."""
    small = np.random.default_rng(seed).integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def packed(picture: NDArray[np.uint8], form: str = "JPEG", mode: str | None = None, **options: object) -> bytes:
    """Return a picture as a file of any form."""
    image = Image.fromarray(picture)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, format=form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a part of a PNG with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """Return a PNG of filtered rows; ``extra`` are parts (kind and body) in front of the pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    parts = [chunk(part[:4], part[4:]) for part in extra]
    return PNG_SIGNATURE + b"".join([head, *parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])


def with_right_checksums(data: bytes) -> bytes:
    """Return a PNG whose parts have right checksums again, as far as its parts can be followed."""
    made = bytearray(data)
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(made):
        (length,) = struct.unpack_from(">I", made, at)
        end = at + 12 + length
        if end > len(made):
            break
        struct.pack_into(">I", made, end - 4, zlib.crc32(made[at + 4 : end - 4]))
        at = end
    return bytes(made)


@lru_cache(maxsize=1)
def seeds() -> tuple[bytes, ...]:
    """Return pictures of every kind that is decoded."""
    picture = smooth(40, 56)
    exif = Image.Exif()
    exif[0x0112] = 6
    jpegs: tuple[dict[str, object], ...] = (
        {},
        {"progressive": True},
        {"mode": "CMYK"},
        {"mode": "L"},
        {"restart_marker_blocks": 3},
        {"quality": 100, "subsampling": 0},
        {"exif": exif.tobytes()},
    )
    found = [packed(picture, "JPEG", **options) for options in jpegs]  # type: ignore[arg-type]
    found += [packed(picture, "PNG", mode) for mode in (None, "P", "RGBA", "LA", "1", "L")]
    return (*found, png(30, 20, 16, 2, bytes(20 * (1 + 30 * 6))))


@lru_cache(maxsize=1)
def other_seeds() -> tuple[bytes, ...]:
    """Return small pictures of every kind of WebP, BMP and TIFF that is decoded."""
    picture = smooth(20, 28)
    found = [packed(picture, "WEBP", mode, **options) for mode, options in _WEBPS]  # type: ignore[arg-type]
    found += [packed(picture, "BMP", mode) for mode in (None, "L", "1", "P")]
    for packing in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        found += [packed(picture, "TIFF", mode, compression=packing) for mode in (None, "L", "P", "1", "RGBA")]
    return tuple(found)


def mutant(seed: int, number: int) -> bytes:
    """Return a JPEG or PNG with a few of its bytes changed; every second PNG has right checksums again."""
    return _mutant(random.Random(f"picture {seed} {number}"), seeds(), number)


def other_mutant(seed: int, number: int) -> bytes:
    """Return a WebP, BMP or TIFF with a few of its bytes changed."""
    return _mutant(random.Random(f"other {seed} {number}"), other_seeds(), number)


def _mutant(rng: random.Random, pool: tuple[bytes, ...], number: int) -> bytes:
    bad = bytearray(pool[number % len(pool)])
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(bad))
        action = rng.randrange(6)
        if action == 0:
            bad[at] = rng.randrange(256)
        elif action == 1:
            bad[at] ^= 1 << rng.randrange(8)
        elif action == 2:
            del bad[at : at + rng.randint(1, 64)]
        elif action == 3:
            bad[at:at] = rng.randbytes(rng.randint(1, 64))
        elif action == 4:
            other = rng.choice(pool)
            start = rng.randrange(len(other))
            bad[at:at] = other[start : start + rng.randint(1, 400)]
        else:
            bad[at : at + 2] = rng.choice(MARKERS)
        if len(bad) < 2:
            break
    data = bytes(bad)
    return with_right_checksums(data) if data.startswith(PNG_SIGNATURE) and rng.random() < 0.5 else data


def parts_of(data: bytes) -> list[bytes]:
    """Return a sound picture as its parts: chunks of a PNG, segments and coded pixels of a JPEG."""
    if data.startswith(PNG_SIGNATURE):
        parts, at = [PNG_SIGNATURE], len(PNG_SIGNATURE)
        while at < len(data):
            end = at + 12 + int.from_bytes(data[at : at + 4], "big")
            parts.append(data[at:end])
            at = end
        return parts
    return [part for part in re.split(rb"(?=\xff[^\x00\xff])", data) if part]


def gentle_mutant(seed: int, number: int) -> bytes:
    """Return a picture with one or two parts dropped, doubled, swapped, cut or changed: decoders go far into most."""
    rng = random.Random(f"gentle {seed} {number}")
    pool = (*seeds(), packed(smooth(40, 56), progressive=True, restart_marker_blocks=4))
    original = pool[number % len(pool)]
    parts = parts_of(original)
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(parts))
        action = rng.randrange(7)
        if action == 0 and len(parts) > 2:
            del parts[at]
        elif action == 1:
            parts.insert(rng.randrange(len(parts)), parts[at])
        elif action == 2:
            other = rng.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        elif action == 3:
            parts[at] = _resized(parts[at], rng.randint(-3, 3), original.startswith(PNG_SIGNATURE))
        elif parts[at]:
            changed = bytearray(parts[at])
            changed[rng.randrange(len(changed))] = rng.choice((0, 1, 2, 255, rng.randrange(256)))
            parts[at] = bytes(changed)
    data = b"".join(parts)
    return with_right_checksums(data) if data.startswith(PNG_SIGNATURE) else data


def _resized(part: bytes, by: int, is_png: bool) -> bytes:
    """Return a part with a few bytes more or fewer in its body, and the length that fits."""
    if is_png and len(part) >= 12:
        body = part[8:-4][: len(part) - 12 + by] + b"\x07" * max(by, 0)
        return chunk(part[4:8], body)
    if not is_png and len(part) > 4 and part[1] not in range(0xD0, 0xDA):
        length = int.from_bytes(part[2:4], "big")
        body, rest = part[4 : 2 + length], part[2 + length :]
        body = body[: max(0, len(body) + by)] + b"\x07" * max(by, 0)
        return part[:2] + struct.pack(">H", len(body) + 2) + body + rest
    return part[:by] if by < 0 else part + b"\x07" * by


def jpeg_with_size(width: int, height: int) -> bytes:
    """Return a JPEG of 8 x 8 pixels whose header says another size."""
    data = packed(smooth(8, 8))
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def small_pictures() -> dict[str, bytes]:
    """Return the pictures of the corpus by ``folder/name``."""
    tiny, fine = packed(smooth(8, 8)), packed(smooth(8, 8), "PNG")
    progressive = packed(smooth(16, 16), progressive=True)
    scans = [i for i in range(len(progressive)) if progressive[i : i + 2] == b"\xff\xda"]
    restarts = packed(smooth(32, 32), restart_marker_blocks=1)
    cut = restarts.index(b"\xff\xd1")
    bitmap, pages = packed(smooth(4, 4), "BMP", "1"), packed(smooth(4, 4), "TIFF")
    (at,) = struct.unpack_from("<I", pages, 4)
    entry = pages.index(struct.pack("<HHI", 273, 4, 1))
    strips = pages[entry : entry + 12]
    return {
        "accepted/baseline.jpg": tiny,
        "accepted/cmyk.jpg": packed(smooth(8, 8), "JPEG", "CMYK"),
        "accepted/palette.png": packed(smooth(8, 8), "PNG", "P"),
        "accepted/sixteen-bit.png": png(2, 1, 16, 0, b"\0abcd"),
        "accepted/bytes-after-the-end.png": fine + b"more",
        "refused/jpeg-cut-with-an-end-marker.jpg": tiny[: tiny.index(b"\xff\xda") + 16] + b"\xff\xd9",
        "refused/jpeg-cut-after-a-fill-byte.jpg": tiny[: tiny.index(b"\xff\xda") + 16] + b"\xff\xff\xd9",
        "refused/jpeg-cut-between-scans.jpg": progressive[: scans[1]] + b"\xff\xd9",
        "refused/jpeg-cut-between-restarts.jpg": restarts[:cut] + b"\xff\xd9",
        "refused/jpeg-without-end.jpg": tiny[:-2],
        "refused/jpeg-65535-x-65535.jpg": jpeg_with_size(65535, 65535),
        "refused/jpeg-0-x-0.jpg": jpeg_with_size(0, 0),
        "refused/jpeg-more-pixels-than-data.jpg": jpeg_with_size(900, 900),
        "refused/jpeg-of-start-markers.jpg": b"\xff\xd8\xff" * 300,
        "refused/png-2-31-x-2-31.png": png(2**31 - 1, 2**31 - 1, 8, 0, b"\0" * 64),
        "refused/png-0-x-5.png": png(0, 5, 8, 0, b""),
        "refused/png-more-pixels-than-data.png": png(900, 900, 8, 0, b"\0" * 64),
        "refused/png-bad-checksum.png": fine[:40] + bytes([fine[40] ^ 1]) + fine[41:],
        "refused/png-cut.png": fine[:-20],
        "refused/png-part-of-2-32-bytes.png": fine[:33] + b"\xff\xff\xff\xffIDAT" + fine[41:],
        "refused/png-unknown-critical-part.png": png(2, 1, 8, 0, b"\0ab", b"ABCDbody"),
        "refused/png-palette-missing.png": png(2, 1, 8, 3, b"\0ab"),
        "accepted/tiff-named-jpg.jpg": packed(smooth(4, 4), "TIFF"),
        "accepted/lossy.webp": packed(smooth(8, 8), "WEBP"),
        "accepted/lossless.webp": packed(smooth(8, 8), "WEBP", lossless=True),
        "accepted/palette.bmp": bitmap,
        "accepted/lzw.tif": packed(smooth(8, 8), "TIFF", compression="tiff_lzw"),
        "refused/webp-cut.webp": packed(smooth(8, 8), "WEBP")[:-6],
        "refused/bmp-2-24-x-2-24.bmp": bitmap[:18] + struct.pack("<ii", 2**24, 2**24) + bitmap[26:],
        "refused/bmp-rows-behind-the-end.bmp": bitmap[:10] + b"\xff\xff\xff\x7f" + bitmap[14:],
        "refused/tiff-strip-behind-the-end.tif": pages.replace(strips, strips[:8] + b"\xff\xff\xff\xff"),
        "refused/tiff-of-65535-fields.tif": pages[:at] + b"\xff\xff" + pages[at + 2 :],
        "refused/eps-named-jpg.jpg": packed(smooth(4, 4), "EPS"),
        "refused/gif-named-png.png": packed(smooth(4, 4), "GIF"),
        "refused/empty.jpg": b"",
    }
