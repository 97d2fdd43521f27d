"""COCO's run lengths: what pycocotools writes and reads, and nothing else is taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from smalti.errors import DataError, InputError
from smalti.vision.rle import MAX_PIXELS, compress_counts, decode_rle, encode_rle, expand_counts

MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))
LENGTHS = st.lists(st.one_of(st.integers(0, 40), st.integers(0, MAX_PIXELS)), max_size=30)


def test_by_hand() -> None:
    mask = np.array([[0, 1, 1], [1, 1, 0]], dtype=np.bool_)
    assert encode_rle(mask).tolist() == [1, 4, 1]
    assert encode_rle(~mask).tolist() == [0, 1, 4, 1]
    assert encode_rle(np.zeros((2, 3), dtype=np.bool_)).tolist() == [6]
    assert encode_rle(np.ones((2, 3), dtype=np.bool_)).tolist() == [0, 6]
    assert encode_rle(np.ones((0, 3), dtype=np.bool_)).tolist() == [0]
    assert compress_counts(np.array([1, 4, 1])) == "141"
    assert compress_counts(np.zeros(0, dtype=np.int64)) == ""


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_there_and_back(mask: NDArray[np.bool_]) -> None:
    counts = encode_rle(mask)
    assert counts.dtype == np.int64 and (counts[1:] > 0).all()
    np.testing.assert_array_equal(decode_rle(counts, *mask.shape), mask)
    np.testing.assert_array_equal(expand_counts(compress_counts(counts)), counts)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_pycocotools_agrees(mask: NDArray[np.bool_]) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    want = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = compress_counts(encode_rle(mask))
    assert text == want["counts"].decode("ascii")
    got = coco.decode({"size": list(mask.shape), "counts": text})
    np.testing.assert_array_equal(got, mask)


@settings(max_examples=200, deadline=None)
@given(MASKS, st.tuples(*[st.integers(0, 3)] * 4))
def test_a_part_of_a_picture(mask: NDArray[np.bool_], margins: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = margins
    whole = np.pad(mask, ((top, bottom), (left, right)))
    got = encode_rle(mask, place=(top, left), size=(whole.shape[0], whole.shape[1]))
    np.testing.assert_array_equal(got, encode_rle(whole))


@settings(max_examples=300, deadline=None)
@given(LENGTHS)
def test_any_lengths_as_text(lengths: list[int]) -> None:
    text = compress_counts(np.array(lengths, dtype=np.int64))
    assert text.isascii() and text.isprintable()
    assert expand_counts(text).tolist() == lengths


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=30), st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=30)))
def test_any_text_is_lengths_or_refused(text: str) -> None:
    try:
        lengths = expand_counts(text)
    except DataError:
        return
    assert ((lengths >= 0) & (lengths <= MAX_PIXELS)).all()


@pytest.mark.parametrize(
    ("counts", "height", "width"),
    [([1, 2], 2, 2), ([5], 2, 2), ([-1, 5], 2, 2), ([], 1, 1), ([2**62, 2**62], 2, 2), ([[4]], 2, 2), ([4.0], 2, 2)],
)
def test_lengths_of_another_mask(counts: list[int], height: int, width: int) -> None:
    with pytest.raises(DataError):
        decode_rle(np.array(counts), height, width)


@pytest.mark.parametrize("text", ["P", "é", "/", "p", "PPPPPPPPPP0", "O"])
def test_texts_that_are_no_rle(text: str) -> None:
    with pytest.raises(DataError):
        expand_counts(text)


def test_wrong_masks() -> None:
    with pytest.raises(InputError):
        encode_rle(np.zeros((2, 2), dtype=np.uint8))  # type: ignore[arg-type]
    with pytest.raises(InputError):
        encode_rle(np.zeros(4, dtype=np.bool_))
    with pytest.raises(InputError):
        encode_rle(np.zeros((2, 2), dtype=np.bool_), place=(1, 0), size=(2, 2))
    for wrong in (-1, MAX_PIXELS + 1):
        with pytest.raises(InputError):
            compress_counts(np.array([wrong]))
