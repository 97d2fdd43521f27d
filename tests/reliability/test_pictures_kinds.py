"""Pictures that are too much, too long or another format than their name says."""

from __future__ import annotations

import resource
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fuzz.pictures import PNG_SIGNATURE, chunk, jpeg_with_size, packed, png, smooth
from smalti.errors import ImageError
from smalti.vision.formats import read_header
from smalti.vision.images import DEFAULT_MAX_PIXELS, LARGEST_MAX_PIXELS, decode_image, read_image
from soak.forks import forked

MEGABYTE = 1 << 20
READ = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
FORMATS = ("GIF", "EPS", "PPM", "PDF", "ICO", "TGA", "PCX", "SGI", "JPEG2000", "AVIF", "DDS")


def white(width: int, height: int) -> bytes:
    """Return a whole PNG of white pixels in a few bytes."""
    body = zlib.compress(b"\0" + b"\xff" * -(-width // 8), 9) if height == 1 else b""
    if not body:
        maker = zlib.compressobj(9)
        row = b"\0" + b"\xff" * -(-width // 8)
        body = b"".join([*(maker.compress(row) for _ in range(height)), maker.flush()])
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return PNG_SIGNATURE + head + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        white(13_000, 13_000),
        png(2**31 - 1, 1, 8, 0, b"\0" * 9),
        jpeg_with_size(65535, 65535),
        jpeg_with_size(9000, 8000),
    ],
    ids=["169 million real pixels", "one long row", "largest jpeg", "jpeg over the cap"],
)
def test_over_the_cap_is_refused_from_the_header_alone(data: bytes) -> None:
    def case() -> str:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.process_time()
        with pytest.raises(ImageError, match=f"more than the limit of {DEFAULT_MAX_PIXELS}"):
            decode_image(data)
        seconds, grown = time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        return "fine" if seconds < 0.5 and grown < 2048 else f"{seconds} s, {grown} kB"

    assert forked(case).text == "fine"


def test_the_header_is_enough_for_the_refusal() -> None:
    """What stands behind the header is not even looked at: it is missing here."""
    large = jpeg_with_size(9000, 8000)
    for data in (white(13_000, 13_000)[:33], large[: large.index(b"\xff\xda") + 14]):
        assert read_header(data).pixels > DEFAULT_MAX_PIXELS
        with pytest.raises(ImageError, match="more than the limit"):
            decode_image(data)


def test_memory_of_a_picture_at_a_cap_is_bounded() -> None:
    pixels = 4_000_000
    data = white(2000, 2000)
    assert len(data) < 2100

    def case() -> str:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        shape = decode_image(data, max_pixels=pixels).shape
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        return f"{shape}" if grown < 12 * pixels else f"{grown / pixels} bytes a pixel"

    assert forked(case).text == "(2000, 2000, 3)"


@pytest.mark.parametrize("size", [(1, 65500), (65500, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_long_pictures(size: tuple[int, int], form: str) -> None:
    made = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    data = packed(made, form)
    want = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert want is not None
    assert np.array_equal(decode_image(data), want[..., ::-1])


def test_only_the_parsers_of_what_is_read_are_reachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trap(*_: object) -> None:
        raise AssertionError("a parser of another format was called")

    Image.init()
    assert len(Image.OPEN) > 20
    for name in Image.OPEN:
        if name not in READ:
            monkeypatch.setitem(Image.OPEN, name, (trap, trap))
    tried = 0
    for form in FORMATS:
        try:
            data = packed(smooth(8, 8), form)
        except (KeyError, OSError, ValueError):  # this build of the library cannot write it
            continue
        tried += 1
        for start in (b"", b"\xff\xd8\xff", PNG_SIGNATURE, b"BM", b"II*\0", b"RIFF\x08\0\0\0WEBP"):
            path = tmp_path / ("picture.jpg" if start != PNG_SIGNATURE else "picture.png")
            path.write_bytes(start + data)
            with pytest.raises(ImageError):
                read_image(path)
    assert tried >= 7
    assert [decode_image(packed(smooth(8, 8), form)).shape for form in READ] == [(8, 8, 3)] * len(READ)


def test_the_library_never_judges_before_our_cap_does() -> None:
    """Pillow warns above ``MAX_IMAGE_PIXELS`` and refuses twice that; warnings are errors in these tests."""
    assert Image.MAX_IMAGE_PIXELS is None or Image.MAX_IMAGE_PIXELS >= LARGEST_MAX_PIXELS
