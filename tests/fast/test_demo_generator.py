"""The demo's pictures are the same bits everywhere and hold what their masks say."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from smalti.demo.dataset import write_voc_layout
from smalti.demo.generator import CLASS_NAMES, CROP, SMALLEST_SIDE, TRAIN_FIRST, VAL_COUNT, demo_image
from smalti.demo.lattice import Stream, grain, hashed, smooth_noise
from smalti.demo.shapes import OUTLINES, SCALE, Turn, bands, coverage, ramp
from smalti.errors import UsageError
from smalti.vision.images import read_image, read_mask
from smalti.vision.palette import voc_palette

# The first half of SHA-256 of a picture and of its mask.
DIGESTS = {
    0: ("2f6d115322e99e9c5fbfb213be6886a7", "67868f1d78cbdf6fbdf2926a4dbf84d6"),
    6: ("9fdbd54f77a358c36840f0fde38d9998", "3cfb0c941ffacd64fefe41f9520b6a10"),
    17: ("8fae0874059d2c2004c30832ea6e628c", "fc6ef6dcbfe043ea3c79d24a0d5b8bfd"),
    59: ("1f231d836eb90aacea6e23dbf123c599", "446872bb55b7ecc924a72a3abc07367e"),
    TRAIN_FIRST: ("d7fa4254c586d919f692b7d1e729e5ac", "b1826cabc2a01ef74f816674dc97014c"),
}


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes()).hexdigest()[:32]


@pytest.mark.parametrize("index", DIGESTS)
def test_pictures_and_masks_are_these_bits(index: int) -> None:
    image, mask = demo_image(index)
    assert (digest(image), digest(mask)) == DIGESTS[index]


def test_a_picture_depends_on_its_index_alone() -> None:
    first = demo_image(3)
    demo_image(4)
    again = demo_image(3)
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], demo_image(TRAIN_FIRST + 3)[0])


def test_val_set_covers_sizes_and_classes() -> None:
    sizes, pixels = set(), np.zeros(len(CLASS_NAMES), dtype=np.int64)
    for index in range(VAL_COUNT):
        image, mask = demo_image(index)
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == (*mask.shape, 3)
        assert SMALLEST_SIDE <= min(mask.shape) and max(mask.shape) <= CROP
        pixels += np.bincount(mask.reshape(-1), minlength=len(CLASS_NAMES))
        sizes.add(mask.shape)
    assert (CROP, CROP) in sizes
    assert any(h == CROP > w for h, w in sizes) and any(w == CROP > h for h, w in sizes)
    assert any(max(size) < CROP for size in sizes)
    assert len(CLASS_NAMES) >= 6 and pixels.min() > 10_000


def test_every_object_stands_out_from_its_surroundings() -> None:
    image, mask = demo_image(0)
    for label in set(mask.reshape(-1).tolist()) - {0}:
        inside, outside = image[mask == label].mean(axis=0), image[mask == 0].mean(axis=0)
        assert np.abs(inside - outside).sum() > 25


def test_negative_index_is_refused() -> None:
    with pytest.raises(UsageError, match="negative"):
        demo_image(-1)


def test_stream_stays_in_its_bounds_and_reaches_them() -> None:
    stream = Stream(7)
    drawn = {stream.between(-2, 3) for _ in range(400)}
    assert drawn == set(range(-2, 4))
    assert Stream(7).bits() != Stream(8).bits()


def test_stream_is_splitmix64() -> None:
    """The published first outputs of SplitMix64 for the state 1234567."""
    stream = Stream(0)
    stream._state = 1234567
    assert [stream.bits() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_hash_spreads_and_noise_keeps_its_range() -> None:
    values = hashed(5, 100_000)
    assert 0 <= values.min() and values.max() < 2**31
    assert abs(values.mean() / 2**30 - 1) < 0.01
    noise = smooth_noise(9, 50, 70, 7)
    assert noise.shape == (50, 70) and -128 <= noise.min() < -60 and 60 < noise.max() <= 127
    assert np.abs(np.diff(noise, axis=0)).max() <= 255 // 7 + 1
    dust = grain(3, 40, 40, 20)
    assert dust.shape == (40, 40, 3) and abs(dust.mean()) < 1.5 and 15 < dust.max() <= 20


# The area of each outline over radius squared: disk, square, triangle, ring, star, cross.
AREAS = (np.pi, 4 * (13 / 16) ** 2, 3**1.5 / 4, np.pi * 3 / 4, 3**0.5, 4 * (2 * (5 / 16) * (15 / 16) - (5 / 16) ** 2))


@pytest.mark.parametrize("which", range(len(OUTLINES)))
def test_outlines_have_their_area_and_turn(which: int) -> None:
    radius, size = 40, (101, 101)
    centre = (50 * SCALE + 2, 50 * SCALE + 2)
    for turn in (Turn(100, 0, 100), Turn(60, 80, 100)):
        cover = coverage(OUTLINES[which], turn, centre, radius * SCALE, 256, size)
        assert cover.min() == 0 and cover.max() == 4
        assert abs(cover.sum() / 4 / radius**2 / AREAS[which] - 1) < 0.02


def test_shape_beyond_the_edge_is_cut_and_outside_is_empty() -> None:
    turn = Turn(100, 0, 100)
    cover = coverage(OUTLINES[0], turn, (0, 0), 20 * SCALE, 256, (60, 60))
    assert cover[0, 0] == 4 and cover[21:, :].sum() == 0
    assert coverage(OUTLINES[0], turn, (-900, -900), 20 * SCALE, 256, (60, 60)).sum() == 0


def test_voc_layout_reads_back(tmp_path: Path) -> None:
    listed = write_voc_layout(tmp_path / "voc", 3, train_count=1)
    assert listed == tmp_path / "voc" / "ImageSets" / "Segmentation" / "val.txt"
    names = listed.read_text(encoding="ascii").split()
    assert names == ["demo_0000", "demo_0001", "demo_0002"]
    assert listed.with_name("train.txt").read_text(encoding="ascii").split() == ["demo_train_0000"]
    indices = [*enumerate(names), (TRAIN_FIRST, "demo_train_0000")]
    for index, name in indices:
        image, mask = demo_image(index)
        assert np.array_equal(read_image(tmp_path / "voc" / "JPEGImages" / f"{name}.png"), image)
        assert np.array_equal(read_mask(tmp_path / "voc" / "SegmentationClass" / f"{name}.png"), mask)


def test_masks_use_the_voc_colours(tmp_path: Path) -> None:
    write_voc_layout(tmp_path, 1)
    data = (tmp_path / "SegmentationClass" / "demo_0000.png").read_bytes()
    start = data.index(b"PLTE") + 4
    count = 3 * len(CLASS_NAMES)
    assert data[start : start + count] == voc_palette()[: len(CLASS_NAMES)].tobytes()


@pytest.mark.parametrize("count", [0, VAL_COUNT + 1])
def test_voc_layout_refuses_counts_it_does_not_have(tmp_path: Path, count: int) -> None:
    with pytest.raises(UsageError, match="val pictures"):
        write_voc_layout(tmp_path, count)
    assert not list(tmp_path.iterdir())


def test_generator_draws_without_floats() -> None:
    """Floats would let a machine's math library change the bits."""
    cover = coverage(OUTLINES[2], Turn(60, 80, 100), (40, 40), 30, 280, (20, 20))
    band = bands(Turn(60, 80, 100), 12, (9, 9), crossed=True)
    slope = ramp(Turn(60, 80, 100), (9, 9), -5, 9)
    for plane in (cover, band, slope, smooth_noise(1, 8, 8, 3), grain(1, 8, 8, 4)):
        assert plane.dtype == np.int64
