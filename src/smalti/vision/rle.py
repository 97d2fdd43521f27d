"""The run-length encoding of COCO: a mask as the lengths of its runs, column after column.

The first run is of pixels that are not in the mask (0 where the first pixel is), then they take turns. The compressed
form is text: each length less the one two before it, in groups of five bits, lowest first, one character each.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from smalti.errors import DataError, InputError

MAX_PIXELS: Final = 2**32 - 1
"""Readers keep lengths in 32 bits."""
_BITS: Final = 5
_MORE: Final = 0x20
_SIGN: Final = 0x10
_LOW_BITS: Final = 0x1F
_FIRST_CHARACTER: Final = 48
_MOST_GROUPS: Final = 7


def encode_rle(
    mask: NDArray[np.bool_], *, place: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None
) -> NDArray[np.int64]:
    """Return the run lengths int64 [N] of a mask, bool [h, w].

    ``size`` is (height, width) of the picture when the mask is only a part of it, ``place`` the row and column of the
    part's first pixel. Raises InputError when the mask is no bool [h, w] or does not lie in the picture.
    """
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise InputError(f"a mask is a bool array [H, W], not {mask.dtype} {list(mask.shape)}")
    height, width = mask.shape if size is None else size
    top, left = place
    if not (0 <= top <= height - mask.shape[0] and 0 <= left <= width - mask.shape[1]) or height * width > MAX_PIXELS:
        raise InputError(f"a mask {list(mask.shape)} at {list(place)} does not lie in a picture {[height, width]}")
    # A row of zeros behind each column ends its last run, so that only its start and its end have to be found.
    columns = np.zeros((mask.shape[1], mask.shape[0] + 2), dtype=np.bool_)
    columns[:, 1:-1] = mask.T
    column, row = np.nonzero(columns[:, 1:] != columns[:, :-1])
    changes = (column + left) * height + row + top
    # Where one run ends and the next column begins with another at once, they are one.
    meets = np.flatnonzero(changes[1:-1:2] == changes[2::2]) * 2 + 1
    changes = np.delete(changes, np.concatenate([meets, meets + 1]))
    edges = np.concatenate([[0], changes, [height * width]]).astype(np.int64)
    lengths = np.diff(edges)
    return lengths[:-1] if len(lengths) > 1 and lengths[-1] == 0 else lengths


def decode_rle(counts: NDArray[np.integer], height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask bool [height, width] of run lengths. Raises DataError when they are not those of such a mask."""
    lengths = np.asarray(counts)
    if lengths.ndim != 1 or not np.issubdtype(lengths.dtype, np.integer):
        raise DataError("run lengths are a list of integers")
    if (lengths < 0).any() or (lengths > MAX_PIXELS).any() or sum(lengths.tolist()) != height * width:
        raise DataError(f"the run lengths are not those of a mask of {height} x {width} pixels")
    values = np.arange(len(lengths)) % 2 == 1
    flat = np.repeat(values, lengths)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def compress_counts(counts: NDArray[np.integer]) -> str:
    """Return run lengths as a compressed RLE, ASCII. Raises InputError when one is negative or over MAX_PIXELS."""
    lengths = np.asarray(counts).astype(np.int64)
    if (lengths < 0).any() or (lengths > MAX_PIXELS).any():
        raise InputError(f"run lengths are from 0 to {MAX_PIXELS}")
    left = lengths.copy()
    left[3:] -= lengths[1:-2]
    groups = np.zeros((len(left), _MOST_GROUPS), dtype=np.uint8)
    used = np.zeros(groups.shape, dtype=np.bool_)
    open_ = np.ones(len(left), dtype=np.bool_)
    for place in range(_MOST_GROUPS):
        used[:, place] = open_
        bits = left & _LOW_BITS
        left >>= _BITS
        open_ = open_ & np.where(bits & _SIGN, left != -1, left != 0)
        groups[:, place] = bits + np.where(open_, _MORE, 0) + _FIRST_CHARACTER
    return groups[used].tobytes().decode("ascii")


def expand_counts(text: str) -> NDArray[np.int64]:
    """Return the run lengths int64 [N] of a compressed RLE. Raises DataError when the text is none."""
    if not text:
        return np.zeros(0, dtype=np.int64)
    if not text.isascii():
        raise DataError("a compressed RLE holds other characters than '0' to 'o'")
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - _FIRST_CHARACTER
    if (codes < 0).any() or (codes >= 2 * _MORE).any():
        raise DataError("a compressed RLE holds other characters than '0' to 'o'")
    last = np.flatnonzero(codes & _MORE == 0)
    if not len(last) or last[-1] != len(codes) - 1:
        raise DataError("a compressed RLE ends within a number")
    first = np.concatenate([[0], last[:-1] + 1])
    sizes = last - first + 1
    if sizes.max() > _MOST_GROUPS:
        raise DataError("a compressed RLE holds a number that no picture has pixels for")
    shifts = (np.arange(len(codes)) - np.repeat(first, sizes)) * _BITS
    numbers = np.add.reduceat((codes & _LOW_BITS) << shifts, first)
    numbers -= np.where(codes[last] & _SIGN, 1 << (sizes * _BITS), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    if (numbers < 0).any() or (numbers > MAX_PIXELS).any():
        raise DataError("a compressed RLE holds a length that no picture has pixels for")
    return numbers
