"""Lists of numbers as protobuf packs them, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import GraphError

FIXED: dict[str, np.dtype[np.generic]] = {"float_data": np.dtype("<f4"), "double_data": np.dtype("<f8")}
"""Lists whose numbers all have one width."""
_CHUNK = 1 << 18
_MOST_BYTES = 10


def listed(
    name: str, parts: Sequence[NDArray[np.uint8]], single: Any, storage: np.dtype[np.generic], count: int
) -> NDArray[np.generic]:
    """Return the numbers of a list, in the file's own bits where they have a width.

    Args:
        name: of the list, as in ``TensorProto``.
        parts: its packed bytes; more than one where the list was written in pieces.
        single: its numbers, where they were written one by one.
        storage: the type of the result.  Halves are listed as the numbers that their bits are; other integers are cut
            to the width of the type: uint8 128 may have been written as -128.
        count: how many there must be; only then anything is allocated.

    Raises:
        GraphError: there are more or fewer, one does not end, or the list is written in both ways.
    """
    if parts and len(single):
        raise GraphError(f"its {name} is written in two ways at once")
    fixed = FIXED.get(name)
    if fixed is not None and any(len(part) % fixed.itemsize for part in parts):
        raise GraphError(f"its {name} ends in the middle of a number")
    given = [len(part) // fixed.itemsize if fixed is not None else _count_of(part) for part in parts]
    if sum(given) + len(single) != count:
        raise GraphError(f"the tensor lists {sum(given) + len(single)} values for {count} elements")
    if fixed is not None:
        numbers = [part.view(fixed) for part in parts] or [np.fromiter(single, fixed, len(single))]
        return np.concatenate(numbers).astype(storage)
    work = np.dtype(np.uint16) if storage == np.float16 else np.dtype(np.int64) if storage == np.bool_ else storage
    whole = np.empty(count, work)
    at = 0
    for part, number in zip(parts, given, strict=True):
        _unpack(part, whole[at : at + number])
        at += number
    if len(single):
        wide = np.uint64 if name == "uint64_data" else np.int64
        whole[:] = np.fromiter(single, wide, count).astype(work)
    return whole.view(np.float16) if storage == np.float16 else whole.astype(storage, copy=False)


def _count_of(packed: NDArray[np.uint8]) -> int:
    """Return how many numbers end in these bytes."""
    return sum(int(np.count_nonzero(packed[at : at + _CHUNK] < 128)) for at in range(0, len(packed), _CHUNK))


def _unpack(packed: NDArray[np.uint8], out: NDArray[np.generic]) -> None:
    """Decode packed numbers into ``out``, which has as many elements."""
    at = filled = 0
    while at < len(packed):
        part = packed[at : at + _CHUNK]
        ends = np.flatnonzero(part < 128)
        if not ends.size:
            raise GraphError("its packed numbers do not end")
        starts = np.empty_like(ends)
        starts[0] = 0
        starts[1:] = ends[:-1] + 1
        lengths = ends - starts + 1
        longest = int(lengths.max())
        if longest > _MOST_BYTES:
            raise GraphError("one of its packed numbers is longer than ten bytes")
        numbers = np.zeros(ends.size, np.uint64)
        for place in range(longest):
            there = np.flatnonzero(lengths > place)
            bits = (part[starts[there] + place] & 127).astype(np.uint64)
            numbers[there] |= bits << np.uint64(7 * place)
        out[filled : filled + ends.size] = numbers.view(np.int64).astype(out.dtype)
        filled += ends.size
        at += int(ends[-1]) + 1
