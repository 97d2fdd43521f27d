"""Pictures: equal to the reference decode, refused when over a limit, never grey where data is missing."""

from __future__ import annotations

import io
import os
import random
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fuzz.pictures import packed, png, smooth
from smalti.errors import ImageError, UsageError
from smalti.vision.formats import read_header
from smalti.vision.headers import ImageFormat, exif_orientation
from smalti.vision.images import (
    DEFAULT_MAX_PIXELS,
    decode_image,
    decode_mask,
    encode_mask,
    encode_picture,
    from_pil,
    read_image,
)
from smalti.vision.kinds import kind_by_name, other_kind
from smalti.vision.palette import voc_palette


def reference(data: bytes) -> NDArray[np.uint8]:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return np.ascontiguousarray(bgr[..., ::-1])


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5), (33, 64), (97, 131)], ids=str)
@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("JPEG", None, {}),
        ("JPEG", None, {"quality": 100, "subsampling": 0}),
        ("JPEG", None, {"progressive": True}),
        ("JPEG", "L", {}),
        ("PNG", None, {}),
        ("PNG", "L", {}),
        ("PNG", "P", {}),
        ("PNG", "1", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "LA", {}),
    ],
    ids=str,
)
def test_decoding_equals_the_reference(
    size: tuple[int, int], form: str, mode: str | None, options: dict[str, object]
) -> None:
    data = packed(smooth(*size), form, mode, **options)
    np.testing.assert_array_equal(decode_image(data), reference(data))


def test_cmyk_is_close_to_the_reference() -> None:
    data = packed(smooth(40, 60), "JPEG", "CMYK")
    assert np.abs(decode_image(data).astype(int) - reference(data)).max() <= 2


def test_sixteen_bit_samples_keep_their_high_byte() -> None:
    grey = np.arange(0, 65536, 97, dtype=">u2")[:600].reshape(20, 30)
    data = png(30, 20, 16, 0, b"".join(b"\0" + row.tobytes() for row in grey))
    want = np.repeat((grey.astype(np.uint16) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode_image(data), want)
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=2).astype(">u2")
    data = png(30, 20, 16, 2, b"".join(b"\0" + row.tobytes() for row in colour))
    np.testing.assert_array_equal(decode_image(data), (colour.astype(np.uint16) >> 8).astype(np.uint8))


def test_transparent_palette_gives_the_plain_colours() -> None:
    image = Image.fromarray(smooth(20, 30)).convert("P")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=bytes(range(256)))
    np.testing.assert_array_equal(decode_image(buffer.getvalue()), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_exif_orientation_is_applied_as_the_reference_does(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = packed(smooth(24, 40), form, exif=exif.tobytes())
    got = decode_image(data)
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, reference(data))
    assert got.shape[:2] == ((40, 24) if orientation >= 5 else (24, 40))


def test_damaged_exif_means_no_rotation() -> None:
    rng = random.Random(5)
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()[6:]
    assert exif_orientation(block) == 6
    for _ in range(2000):
        bad = bytearray(block)
        for _ in range(rng.randint(1, 4)):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        assert 1 <= exif_orientation(bytes(bad[: rng.randint(0, len(bad))])) <= 8


def test_animation_gives_its_still_picture() -> None:
    frames = [Image.fromarray(smooth(16, 24, seed)) for seed in (1, 2, 3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="PNG", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode_image(buffer.getvalue()), np.asarray(frames[0]))


@pytest.mark.parametrize("form", ["GIF", "EPS", "PPM", "PDF", "ICO", "JPEG2000"])
def test_other_formats_are_out_of_reach_whatever_their_name(form: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(packed(smooth(8, 8), form))
    with pytest.raises(
        ImageError, match="^not a JPEG, PNG, WebP, BMP or TIFF picture but .*: convert it to PNG or JPEG$"
    ):
        read_image(path)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG", b"hello", b"\0" * 1000])
def test_no_picture_at_all(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode_image(data)


@pytest.mark.parametrize(
    "options",
    [{"form": "JPEG"}, {"form": "JPEG", "progressive": True}, {"form": "PNG"}, {"form": "PNG", "mode": "P"}],
    ids=str,
)
def test_every_cut_is_an_error(options: dict[str, object]) -> None:
    data = packed(smooth(24, 24), **options)  # type: ignore[arg-type]
    for end in range(len(data)):
        with pytest.raises(ImageError):
            decode_image(data[:end])


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_tail_of_zeros_is_an_error(form: str) -> None:
    data = packed(smooth(64, 64), form)
    for end in range(len(data) // 3, len(data) - 1, 37):
        with pytest.raises(ImageError):
            decode_image(data[:end] + bytes(len(data) - end))


def test_bytes_after_the_end_are_ignored() -> None:
    for form in ("JPEG", "PNG"):
        data = packed(smooth(10, 10), form)
        np.testing.assert_array_equal(decode_image(data + b"trailing bytes"), decode_image(data))


def test_one_flipped_bit_of_a_png_never_changes_pixels_silently() -> None:
    data = packed(smooth(12, 12), "PNG")
    want = decode_image(data)
    rng = random.Random(3)
    for _ in range(600):
        bad = bytearray(data)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        try:
            got = decode_image(bytes(bad))
        except ImageError:
            continue
        np.testing.assert_array_equal(got, want)


def bomb(width: int, height: int) -> bytes:
    return png(width, height, 8, 0, b"\0" * 64)


def test_pixel_cap_is_exact_and_read_from_the_header() -> None:
    data = packed(smooth(30, 40), "JPEG")
    assert decode_image(data, max_pixels=1200).shape == (30, 40, 3)
    with pytest.raises(ImageError, match="40 x 30 pixels are more than the limit of 1199"):
        decode_image(data, max_pixels=1199)


@pytest.mark.parametrize(
    "data",
    [
        bomb(13_000, 13_000),
        bomb(2**31 - 1, 2**31 - 1),
        bomb(1, 2**31 - 1),
        packed(smooth(8, 8)).replace(b"\x00\x11\x08\x00\x08\x00\x08", b"\x00\x11\x08\xff\xff\xff\xff"),
    ],
    ids=["square", "largest", "column", "jpeg"],
)
def test_bombs_are_refused_at_once(data: bytes) -> None:
    assert read_header(data).pixels > DEFAULT_MAX_PIXELS
    start = time.process_time()
    with pytest.raises(ImageError, match="more than the limit"):
        decode_image(data)
    assert time.process_time() - start < 0.05


def test_a_size_that_the_data_does_not_fill_is_an_error() -> None:
    with pytest.raises(ImageError, match="pixels are missing"):
        decode_image(bomb(300, 300))


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (2**31, 1)])
def test_a_png_without_a_valid_size(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="no valid size"):
        read_header(bomb(*size))


def test_compressed_texts_and_profiles_never_reach_the_decoder() -> None:
    huge = zlib.compress(bytes(200_000_000), 9)
    rows = b"".join(b"\0" + bytes([17] * 5) for _ in range(4))
    data = png(5, 4, 8, 0, rows, b"zTXtkey\0\0" + huge, b"iCCPname\0\0" + huge)
    start = time.process_time()
    assert (decode_image(data) == 17).all()
    assert time.process_time() - start < 0.2


def test_a_scan_bomb_is_refused() -> None:
    data = packed(smooth(64, 64), "JPEG", progressive=True)
    first = data.index(b"\xff\xda")
    many = data[:first] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 200 + data[first:]
    with pytest.raises(ImageError, match="too much work"):
        decode_image(many, max_pixels=4096)


def test_endless_segments_are_refused() -> None:
    with pytest.raises(ImageError, match="too many segments"):
        decode_image(b"\xff\xd8\xff" + b"\xd0\xff" * 3_000_000)
    empty = struct.pack(">I", 0) + b"abCd" + struct.pack(">I", zlib.crc32(b"abCd"))
    start = bomb(4, 4)[:33]
    with pytest.raises(ImageError, match="too many parts"):
        decode_image(start + empty * 300_000)


@pytest.mark.parametrize(("frame", "coding"), [(0xC3, "lossless"), (0xC5, "hierarchical"), (0xC9, "arithmetic-coded")])
def test_the_refusal_of_another_coding_names_it(frame: int, coding: str) -> None:
    """A whole picture of a kind that is not decoded must not be called cut."""
    data = packed(smooth(24, 40)).replace(b"\xff\xc0", bytes([0xFF, frame]), 1)
    with pytest.raises(ImageError, match=f"^this JPEG is {coding}: only baseline and progressive"):
        decode_image(data)


@pytest.mark.parametrize("place", [26, 27, 28])
def test_an_unknown_method_of_a_png_is_refused(place: int) -> None:
    """Interlacing 2 would be read as 1; the decoder sees to no compression."""
    data = bytearray(png(1, 1, 8, 0, b"\0a"))
    decode_image(bytes(data))
    data[place] = 2
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(ImageError, match="unknown compression, filter or interlacing"):
        decode_image(bytes(data))


def test_an_unknown_critical_part_is_refused() -> None:
    with pytest.raises(ImageError, match="critical"):
        decode_image(png(2, 1, 8, 0, b"\0ab", b"ABCDbody"))


@pytest.mark.parametrize("limit", [0, -1, 2**40])
def test_an_impossible_pixel_cap_is_a_usage_error(limit: int) -> None:
    with pytest.raises(UsageError, match="limit of pixels"):
        decode_image(packed(smooth(4, 4)), max_pixels=limit)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name in ("pipe.jpg", "folder.jpg", "dangling.jpg", "loop.jpg", "missing.jpg", "zero\0byte.jpg"):
        with pytest.raises(ImageError) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)


def test_masks_keep_their_indices() -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    data = encode_mask(labels)
    np.testing.assert_array_equal(decode_mask(data), labels)
    np.testing.assert_array_equal(decode_image(data), voc_palette()[labels])
    np.testing.assert_array_equal(decode_mask(packed(labels, "PNG")), labels)
    few = Image.fromarray(labels % 4)
    few.putpalette(voc_palette()[:4].tobytes())
    buffer = io.BytesIO()
    few.save(buffer, format="PNG", bits=2)
    assert read_header(buffer.getvalue()).bit_depth == 2
    np.testing.assert_array_equal(decode_mask(buffer.getvalue()), labels % 4)


def test_the_same_labels_give_the_same_bytes() -> None:
    labels = np.random.default_rng(2).integers(0, 21, (60, 80), dtype=np.int32)
    assert encode_mask(labels) == encode_mask(labels.copy())


@pytest.mark.parametrize(
    "data",
    [
        packed(smooth(8, 8), "JPEG", "L"),
        packed(smooth(8, 8), "PNG"),
        packed(smooth(8, 8), "PNG", "1"),
        packed(smooth(8, 8), "PNG", "LA"),
        png(2, 1, 16, 0, b"\0abcd"),
    ],
    ids=["jpeg", "colour", "one bit", "alpha", "sixteen bits"],
)
def test_what_is_no_mask(data: bytes) -> None:
    with pytest.raises(ImageError, match="label map must be"):
        decode_mask(data)


@pytest.mark.parametrize(
    "labels", [np.full((2, 2), 256), np.full((2, 2), -1), np.zeros((2, 2, 1), int), np.zeros((0, 2), int)]
)
def test_what_no_mask_can_hold(labels: NDArray[np.int64]) -> None:
    with pytest.raises(ImageError):
        encode_mask(labels)


def test_encoded_pictures_come_back() -> None:
    picture = smooth(30, 40)
    np.testing.assert_array_equal(decode_image(encode_picture(picture, ImageFormat.PNG)), picture)
    assert np.abs(decode_image(encode_picture(picture)).astype(int) - picture).mean() < 4


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_the_same_from_its_file_and_from_a_pil_image(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = packed(smooth(20, 30), form, exif=exif)
    got = decode_image(data)
    assert got.shape == ((30, 20, 3) if orientation >= 5 else (20, 30, 3))
    np.testing.assert_array_equal(from_pil(Image.open(io.BytesIO(data))), got)


@pytest.mark.parametrize(
    ("form", "kind"), [("GIF", "GIF"), ("ICO", "ICO"), ("PPM", "PNM"), ("PDF", "PDF"), ("AVIF", "AVIF")]
)
def test_a_kind_that_is_not_read_is_named(form: str, kind: str) -> None:
    if form == "AVIF":
        data = b"\0\0\0\x1cftypavif" + bytes(99)
    else:
        data = packed(smooth(16, 16), form)
    assert other_kind(data) == kind
    assert other_kind(b"hello") is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.gif", "GIF"), ("A.HEIC", "HEIC"), ("x/y.jp2", "JPEG 2000"), ("a.jpg", None), (".gif", None), ("gif", None)],
)
def test_a_name_tells_a_kind_that_is_not_read(name: str, kind: str | None) -> None:
    assert kind_by_name(name) == kind


@pytest.mark.parametrize("form", ["WEBP", "BMP", "TIFF"])
def test_a_label_map_of_another_format_is_refused(form: str) -> None:
    with pytest.raises(ImageError, match="a label map must be a PNG, not a"):
        decode_mask(packed(smooth(8, 8), form, "L"))
