"""The picture code of the C++ example against Python's: the same pixels, label maps, sizes and refusals."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infer_cpp_kit import Pictures, Refusal, build, shared_folder, smalti_command
from smalti.errors import ImageError, ResourceError
from smalti.vision.images import decode_image, decode_mask, encode_mask, read_image
from smalti.vision.overlay import blend
from smalti.vision.palette import voc_palette
from smalti.vision.preprocess import Resize, resize_labels, resize_picture, target_size
from tolerance import Tol, assert_close

CAP = 2**26


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """The picture code, built as the example's README says: with ``smalti`` on the PATH and nothing else."""
    command = smalti_command(tmp_path_factory.mktemp("command"))
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    folder = build(shared_folder(tmp_path_factory), "infer_cpp_release", ("infer_cpp_shim",), PATH=path)
    return Pictures(folder / "libinfer_cpp_shim.so")


def in_python(data: bytes, max_pixels: int = CAP) -> NDArray[np.uint8] | Refusal:
    try:
        return decode_image(data, max_pixels=max_pixels)
    except ImageError as error:
        return Refusal(4, str(error))
    except ResourceError as error:
        return Refusal(7, str(error))


def assert_same(got: NDArray[np.uint8] | Refusal, want: NDArray[np.uint8] | Refusal, what: str) -> None:
    if isinstance(got, Refusal) or isinstance(want, Refusal):
        assert isinstance(got, Refusal) and isinstance(want, Refusal), f"{what}: {got!r} and {want!r}"
        assert got == want, what
        return
    assert_close(got, want, Tol.EXACT, what)


def scene(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """Waves with some noise, as a decoder sees them in photographs."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(7).normal(0, 9, (height, width, channels))
    waves = [np.sin(y / 7 + c) * np.cos(x / 9 * (c + 1)) * 100 + 128 for c in range(channels)]
    return (np.stack(waves, axis=-1) + noise).clip(0, 255).astype(np.uint8)


def packed(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def coded(mode: str, height: int, width: int) -> Image.Image:
    if mode == "CMYK":
        return Image.frombytes("CMYK", (width, height), scene(height, width, 4).tobytes())
    return Image.fromarray(scene(height, width)).convert(mode)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, interlaced: bool, *extra: bytes) -> bytes:
    """A PNG of random samples, with random row filters."""
    random = np.random.default_rng(width * 100 + depth * 10 + colour)
    steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for left, top, right, down in steps if interlaced else [(0, 0, 1, 1)]:
        columns, lines = -((left - width) // right), -((top - height) // down)
        stride = (columns * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] * depth + 7) // 8
        for _ in range(lines if columns > 0 else 0):
            rows += bytes([int(random.integers(0, 5))]) + random.integers(0, 256, stride, dtype=np.uint8).tobytes()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    body = b"".join([chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs_give_the_same_pixels(pictures: Pictures, mode: str) -> None:
    for height, width in ((1, 1), (7, 5), (33, 47), (64, 100)):
        for subsampling in (0, 1, 2):
            for progressive in (False, True):
                options = {"quality": 60, "progressive": progressive}
                if mode != "L":
                    options["subsampling"] = subsampling
                data = packed(coded(mode, height, width), "JPEG", **options)
                assert_same(pictures.decode(data), in_python(data), f"{height} x {width}, {options}")


@pytest.mark.parametrize(("colour", "depths"), [(0, (1, 2, 4, 8, 16)), (2, (8, 16)), (4, (8, 16)), (6, (8, 16))])
def test_pngs_give_the_same_pixels(pictures: Pictures, colour: int, depths: tuple[int, ...]) -> None:
    for depth in depths:
        for interlaced in (False, True):
            for width, height in ((1, 1), (13, 9), (40, 31)):
                data = png(width, height, depth, colour, interlaced)
                assert_same(pictures.decode(data), in_python(data), f"{width} x {height}, depth {depth}, {interlaced}")


def test_palettes_give_the_same_pixels(pictures: Pictures) -> None:
    random = np.random.default_rng(3)
    for depth in (1, 2, 4, 8):
        for interlaced in (False, True):
            colours = random.integers(0, 256, 3 * min(200, 2**depth), dtype=np.uint8).tobytes()
            data = png(40, 31, depth, 3, interlaced, chunk(b"PLTE", colours))
            assert_same(pictures.decode(data), in_python(data), f"depth {depth}, {interlaced}")


def test_transparency_and_gamma_are_ignored(pictures: Pictures) -> None:
    for extra in (chunk(b"tRNS", bytes(6)), chunk(b"gAMA", struct.pack(">I", 100000))):
        data = png(13, 9, 8, 2, False, extra)
        assert_same(pictures.decode(data), in_python(data), repr(extra[4:8]))


@pytest.mark.parametrize("orientation", range(10))
def test_orientation_is_applied_as_python_does(pictures: Pictures, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for form in ("JPEG", "PNG"):
        data = packed(Image.fromarray(scene(20, 31)), form, exif=exif)
        assert_same(pictures.decode(data), in_python(data), form)


def test_damaged_pictures_are_refused_with_the_same_words(pictures: Pictures) -> None:
    whole = {
        "baseline": packed(Image.fromarray(scene(20, 31)), "JPEG"),
        "PNG": packed(Image.fromarray(scene(20, 31)), "PNG"),
    }
    random = np.random.default_rng(11)
    for name, data in whole.items():
        for cut in random.integers(0, len(data), 60):
            assert_same(pictures.decode(data[:cut]), in_python(data[:cut]), f"{name} cut at {cut}")
        for at in random.integers(0, min(len(data), 700), 150):
            changed = data[:at] + bytes([int(random.integers(256))]) + data[at + 1 :]
            assert_same(pictures.decode(changed), in_python(changed), f"{name} changed at {at}")
    for data in (b"", b"GIF89a", b"\xff\xd8\xff\xd9", whole["PNG"].replace(b"IDAT", b"JDAT")):
        assert_same(pictures.decode(data), in_python(data), repr(data[:8]))


def test_jpegs_that_lack_pixels_are_refused_with_the_same_words(pictures: Pictures) -> None:
    scans = [packed(Image.fromarray(scene(40, 56)), "JPEG", progressive=value) for value in (False, True)]
    restarts = packed(Image.fromarray(scene(40, 56)), "JPEG", subsampling=0, restart_marker_rows=1)
    second, third = restarts.index(b"\xff\xd1"), restarts.index(b"\xff\xd2")
    assert_same(pictures.decode(restarts), in_python(restarts), "restart markers")
    damaged = [data[: len(data) * part // 10] + b"\xff\xd9" for data in (*scans, restarts) for part in (6, 7, 8, 9)]
    for data in (*damaged, restarts[:second] + restarts[third:]):
        refusal = pictures.decode(data)
        assert isinstance(refusal, Refusal) and refusal.text.startswith("the JPEG is cut"), refusal
        assert_same(refusal, in_python(data), f"{len(data)} bytes")


def test_pixel_caps_are_the_same(pictures: Pictures) -> None:
    many_scans = packed(Image.fromarray(scene(64, 64)), "JPEG", progressive=True)
    many_scans = many_scans[:-2] + b"\xff\xda" * 400 + b"\xff\xd9"
    for data in (packed(Image.fromarray(scene(64, 64)), "JPEG"), png(64, 64, 8, 2, False), many_scans):
        for cap in (64 * 64 - 1, 64 * 64):
            assert_same(pictures.decode(data, cap), in_python(data, cap), f"{len(data)} bytes, cap {cap}")


def test_what_is_no_regular_file(pictures: Pictures, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png", "missing.png"):
        got = pictures.read(tmp_path / name)
        with pytest.raises(ImageError) as problem:
            read_image(tmp_path / name)
        assert got == Refusal(4, str(problem.value))


SIZES = (
    [(375, 500, 385, 513), (500, 333, 513, 342), (10, 7, 33, 14), (1, 1, 5, 5), (1, 9, 3, 27)]  # up
    + [(40, 50, 30, 70), (50, 40, 70, 30), (40, 40, 40, 80), (40, 40, 80, 40)]  # up and down
    + [(37, 50, 23, 41), (40, 50, 30, 50), (61, 91, 30, 45), (601, 901, 342, 513)]  # down
    + [(60, 90, 30, 45), (60, 90, 20, 30), (60, 90, 15, 45), (40, 40, 20, 40), (98, 49, 2, 1)]  # down by whole numbers
)


@pytest.mark.parametrize(("height", "width", "new_height", "new_width"), SIZES)
def test_scaling_equals_opencv_bit_by_bit(
    pictures: Pictures, height: int, width: int, new_height: int, new_width: int
) -> None:
    picture = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    want = resize_picture(picture, new_height, new_width)
    assert_close(pictures.resize(picture, new_height, new_width), want, Tol.EXACT, "scaled")


def test_scaling_of_random_sizes_equals_opencv_bit_by_bit(pictures: Pictures) -> None:
    random = np.random.default_rng(5)
    for _ in range(150):
        height, width, new_height, new_width = (int(side) for side in random.integers(1, 80, 4))
        picture = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        got = pictures.resize(picture, new_height, new_width)
        what = f"{height} x {width} to {new_height} x {new_width}"
        assert_close(got, resize_picture(picture, new_height, new_width), Tol.EXACT, what)


def test_sizes_and_label_maps_are_scaled_as_python_does(pictures: Pictures) -> None:
    random = np.random.default_rng(9)
    for _ in range(200):
        height, width, size = (int(side) for side in random.integers(1, 900, 3))
        for fit in Resize:
            number = {Resize.NONE: 0, Resize.FIT: 1, Resize.STRETCH: 2}[fit]
            assert pictures.target_size(height, width, number, size) == target_size(height, width, fit, size)
    for _ in range(60):
        height, width, new_height, new_width = (int(side) for side in random.integers(1, 120, 4))
        labels = random.integers(0, 21, (height, width), dtype=np.int32)
        want = resize_labels(labels, new_height, new_width)
        assert_close(pictures.resize_labels(labels, new_height, new_width), want, Tol.EXACT, "labels")


def test_masks_hold_the_labels_and_the_palette(pictures: Pictures) -> None:
    labels = np.arange(256, dtype=np.int32).reshape(16, 16)[:, :15].copy()
    data = pictures.mask(labels)
    assert isinstance(data, bytes)
    assert_close(decode_mask(data), labels.astype(np.uint8), Tol.EXACT, "labels")
    image, reference = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(encode_mask(labels)))
    assert (image.mode, image.size) == (reference.mode, reference.size)
    assert image.getpalette() == reference.getpalette() == voc_palette().ravel().tolist()
    assert data[:57] == encode_mask(labels)[:57], "the header and the start of the palette"


@pytest.mark.parametrize("label", [-1, 256])
def test_labels_that_no_png_can_hold(pictures: Pictures, label: int) -> None:
    labels = np.full((3, 3), label, dtype=np.int32)
    with pytest.raises(ImageError) as problem:
        encode_mask(labels)
    assert pictures.mask(labels) == Refusal(4, str(problem.value))


def test_overlays_are_blended_as_python_does(pictures: Pictures) -> None:
    picture = cv2.GaussianBlur(scene(48, 64), (0, 0), 4)
    labels = np.repeat(np.arange(3, dtype=np.int32), 16)[:, None].repeat(64, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(blend(picture, labels)).save(buffer, "JPEG", quality=92)
    drawn = decode_image(pictures.overlay(picture, labels))
    assert_close(drawn, decode_image(buffer.getvalue()), Tol.EXACT, "overlay")
