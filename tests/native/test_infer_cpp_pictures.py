"""The picture code of the C++ example against Python's: the same pixels, label maps, sizes and refusals."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from infer_cpp_kit import Pictures, Refusal, build, shared_folder, smalti_command
from picture_cases import PictureCase, mutants, other_cases, picture_cases, shared_words
from smalti.artifact.colours import colours_of
from smalti.errors import DamagedModelError, ImageError, ResourceError
from smalti.vision.images import decode_image, decode_mask, encode_mask, read_image
from smalti.vision.overlay import blend
from smalti.vision.palette import class_palette, voc_palette
from smalti.vision.preprocess import Resize, resize_labels, resize_picture, target_size
from tolerance import Tol, assert_close

CAP = 2**26
MUTANTS = 2000


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
        assert (got.code, shared_words(got.text)) == (want.code, shared_words(want.text)), what
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


@pytest.mark.parametrize("case", picture_cases(), ids=lambda case: case.name)
def test_cases_end_as_they_state_and_as_python_ends(pictures: Pictures, case: PictureCase) -> None:
    got = pictures.decode(case.data, case.max_pixels)
    if case.pixels is not None:
        assert_same(got, case.pixels, case.name)
        return
    assert isinstance(got, Refusal), case.name
    assert got.text.startswith(case.words)
    assert_same(got, in_python(case.data, case.max_pixels), case.name)


@pytest.mark.parametrize("case", other_cases(), ids=lambda case: case.name)
def test_kinds_that_python_alone_reads_are_refused_by_name(pictures: Pictures, case: PictureCase) -> None:
    got = pictures.decode(case.data, case.max_pixels)
    assert isinstance(got, Refusal) and got.code == 4
    form = case.name.replace("WEBP", "WebP").replace(":", " ").split(" ")[0]
    if "of the large kind" in case.name or "cut at 2" in case.name:  # hardly a beginning
        return
    assert got.text == (
        f"not a JPEG or PNG picture but a {form}, which this program does not read: `smalti infer` does, or convert it "
        "to PNG"
    )


def test_mutants_end_as_in_python(pictures: Pictures) -> None:
    outcomes: Counter[str] = Counter()
    for name, data in mutants(MUTANTS):
        got = pictures.decode(data)
        assert_same(got, in_python(data), name)
        outcomes["refused" if isinstance(got, Refusal) else "taken"] += 1
    assert outcomes["taken"] > 200 and outcomes["refused"] > 1000, outcomes


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


def test_what_is_no_regular_file(pictures: Pictures, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png", "missing.png"):
        got = pictures.read(tmp_path / name)
        with pytest.raises(ImageError) as problem:
            read_image(tmp_path / name)
        assert got == Refusal(4, str(problem.value))


def test_a_file_that_grows_while_it_is_read(pictures: Pictures) -> None:
    """Files of the system tell a size of 0 and then give bytes."""
    path = Path("/proc/self/status")
    with pytest.raises(ImageError, match="grew") as problem:
        read_image(path)
    assert pictures.read(path) == Refusal(4, str(problem.value))


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


COLOURS: tuple[tuple[str | None, ...], ...] = (
    ("#000000", "#ff8000", "#0a1b2c", "#ffffff"),
    (None, "#123456", None, None),
    (None, None, None, None),
)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("colours", COLOURS, ids=str)
def test_the_palette_is_pythons(pictures: Pictures, colours: tuple[str | None, ...], indent: int | None) -> None:
    """Whatever stands around the colours: names with quotes and brackets, lists in lists, the same name elsewhere."""
    graph = {"colours": list(colours), "a": [[{"colours": [1, "]"]}], "}", '\\"'], "b": {}, "c": -1.5e3, "d": True}
    manifest = {"colours": ["#111111"], "labels": ['a"', "b\\", "{", "],"], "graph": graph, "z": {"graph": None}}
    found = pictures.palette(json.dumps(manifest, indent=indent), 4)
    assert not isinstance(found, Refusal)
    assert_close(found, class_palette(colours), Tol.EXACT, "palette")


@pytest.mark.parametrize("manifest", ["{}", '{"graph": {}}', '{"graph": null}', '{"graph": {"colours": null}}', "[]"])
def test_a_file_without_colours_has_those_of_voc(pictures: Pictures, manifest: str) -> None:
    found = pictures.palette(manifest, 0)
    assert not isinstance(found, Refusal)
    assert_close(found, voc_palette(), Tol.EXACT, "palette")


WRONG_COLOURS = (
    [],
    ["#123456"],
    ["#123456"] * 3,
    ["#12345", None],
    ["#1234567", None],
    ["#12345g", None],
    ["#12345F", None],
    ["123456", None],
    [1, None],
    [["#123456"], None],
    [{}, None],
    "#123456",
    {"0": "#123456", "1": None},
    17,
    True,
)


@pytest.mark.parametrize("colours", WRONG_COLOURS, ids=str)
def test_damaged_colours_are_refused_as_python_refuses_them(pictures: Pictures, colours: object) -> None:
    manifest = SimpleNamespace(labels=("a", "b"), graph={"colours": colours})
    with pytest.raises(DamagedModelError) as refused:
        colours_of(cast(Any, manifest))
    text = json.dumps({"graph": {"colours": colours}})
    assert pictures.palette(text, 2) == Refusal(5, str(refused.value))


@pytest.mark.parametrize(
    "text",
    [
        '{"graph',
        '{"graph": {"colours": ["#123456"',
        '{"graph": {"colours": [,',
        '{"a" 1}',
        '{"a": "\\',
        '{"graph": {"c"',
        "{",
    ],
)
def test_text_that_is_cut_ends(pictures: Pictures, text: str) -> None:
    """The library takes no such manifest; the reader ends all the same."""
    found = pictures.palette(text, 1)
    assert isinstance(found, Refusal) and found.code == 5
