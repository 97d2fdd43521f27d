"""Pictures cut into tiles: every pixel is labelled once, and scores that overlap are summed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smalti.errors import InputError, UsageError
from smalti.segmenter.spans import cut
from smalti.segmenter.tiles import Tiling, label_by_labels, label_by_scores

lengths = st.integers(1, 400)
sizes = st.integers(2, 90)


@settings(deadline=None)
@given(lengths, sizes, st.data(), st.booleans())
def test_pieces_cover_a_length(length: int, size: int, data: st.DataObject, exact: bool) -> None:
    overlap = data.draw(st.integers(0, size // 2))
    spans = cut(length, size, overlap, exact)
    assert spans[0].start == spans[0].first == spans[0].own_first == 0
    assert spans[-1].stop == spans[-1].last == spans[-1].own_last == length
    assert len({s.stop - s.start for s in spans}) == 1 and spans[0].stop <= size
    if exact and length >= size:
        assert all(s.stop - s.start == size for s in spans)
    for before, after in zip(spans, spans[1:], strict=False):
        assert before.stop - after.start >= overlap
        assert before.own_last == after.own_first and after.start <= before.own_last <= before.stop
        assert after.first <= before.last
    for before, after in zip(spans, spans[2:], strict=False):
        assert before.last <= after.first, "three pieces never count together"
    for span in spans:
        assert span.start <= span.first < span.last <= span.stop
        assert span.start <= span.own_first < span.own_last <= span.stop


@settings(deadline=None)
@given(lengths, sizes, st.data())
def test_no_fewer_pieces_would_do(length: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size // 2))
    count = len(cut(length, size, overlap, exact=False))
    assert count == 1 or (count - 1) * size - (count - 2) * overlap < length


def _picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _pixelwise(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scores [h, w, 3] that depend on a pixel alone."""
    return picture.astype(np.float32) * np.float32([1, 1.5, 0.5])


sides = st.integers(1, 70)


@settings(deadline=None)
@given(sides, sides, st.integers(2, 30), st.integers(2, 30), st.data(), st.booleans())
def test_labels_of_single_pixels_do_not_depend_on_tiles(
    height: int, width: int, tall: int, wide: int, data: st.DataObject, exact: bool
) -> None:
    tiling = Tiling(tall, wide, data.draw(st.integers(0, min(tall, wide) // 2)), exact)
    picture = _picture(height, width)
    want = _pixelwise(picture).argmax(axis=2)
    seen: list[tuple[int, ...]] = []

    def label(tile: NDArray[np.uint8]) -> NDArray[np.integer]:
        assert tile.flags.c_contiguous and tile.shape[0] <= tall and tile.shape[1] <= wide
        seen.append(tile.shape)
        return _pixelwise(tile).argmax(axis=2).astype(np.int32)

    np.testing.assert_array_equal(label_by_labels(picture, tiling, label), want)
    np.testing.assert_array_equal(label_by_scores(picture, tiling, _pixelwise), want)
    assert not exact or set(seen) == {(tall, wide, 3)}


@settings(deadline=None)
@given(sides, sides, st.integers(2, 24), st.data(), st.booleans())
def test_scores_are_the_sums_over_the_tiles_that_count(
    height: int, width: int, side: int, data: st.DataObject, exact: bool
) -> None:
    tiling = Tiling(side, side, data.draw(st.integers(0, side // 2)), exact)
    picture = _picture(height, width, 1)

    def score(tile: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Whole numbers, which sum up without rounding, and depend on where in the tile a pixel is."""
        rows, columns = np.indices(tile.shape[:2])
        return (tile.astype(np.float32) + 7 * rows[..., None] % 50 * [1, 2, 3] + columns[..., None] * [3, 0, 1]).astype(
            np.float32
        )

    filled = tiling.fill(picture)
    sums = np.zeros((*filled.shape[:2], 3), np.float32)
    for row in tiling.rows(filled.shape[0]):
        for column in tiling.columns(filled.shape[1]):
            found = score(filled[row.start : row.stop, column.start : column.stop])
            part = found[row.first - row.start : row.last - row.start]
            sums[row.first : row.last, column.first : column.last] += part[
                :, column.first - column.start : column.last - column.start
            ]
    want = sums.argmax(axis=2)[:height, :width]
    np.testing.assert_array_equal(label_by_scores(picture, tiling, score), want)


def test_labels_come_from_the_middle_of_a_tile() -> None:
    tiling = Tiling(10, 10, 4)
    numbers = iter(range(1, 100))

    def label(tile: NDArray[np.uint8]) -> NDArray[np.integer]:
        return np.full(tile.shape[:2], next(numbers), np.int32)

    found = label_by_labels(_picture(10, 16), tiling, label)
    np.testing.assert_array_equal(found[0], [1] * 8 + [2] * 8)


@pytest.mark.parametrize("value", [-1, 256, 70000])
def test_labels_that_fit_no_byte_are_kept(value: int) -> None:
    found = label_by_labels(_picture(9, 9), Tiling(4, 4, 1), lambda tile: np.full(tile.shape[:2], value))
    assert found.dtype == np.int32 and np.unique(found).tolist() == [value]


def test_a_network_that_does_not_label_every_pixel_is_refused() -> None:
    with pytest.raises(InputError, match="3 x 3 values for a tile of 6 x 6 pixels"):
        label_by_labels(_picture(9, 9), Tiling(6, 6, 3), lambda tile: np.zeros((3, 3), np.int32))
    with pytest.raises(InputError, match="only a network that labels every pixel"):
        label_by_scores(_picture(9, 9), Tiling(6, 6, 3), lambda tile: np.zeros((3, 3, 2), np.float32))


@pytest.mark.parametrize(("height", "width", "overlap"), [(0, 5, 0), (5, 16385, 0), (5, 5, 3), (5, 5, -1), (9, 3, 2)])
def test_a_tiling_that_cannot_be_is_refused(height: int, width: int, overlap: int) -> None:
    with pytest.raises(UsageError, match="pixels"):
        Tiling(height, width, overlap)
