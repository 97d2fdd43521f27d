"""Many names in little memory, and the names of result files made from them.

A folder may hold a million pictures. Their names are kept end to end in one block of bytes, and two names are compared
by 64-bit hashes first, so that no dictionary of them is needed.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

PICTURE_SUFFIXES: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")

_Lookup = tuple[NDArray[np.intp], NDArray[np.int64]]
"""Indices of names in the order of their hashes, and those hashes."""


def printable(text: str) -> str:
    """Return ``text`` in one line that any terminal can show: control and undecodable characters are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def strip_suffix(name: str) -> str:
    """Return ``name`` without the suffix of a picture, such as .jpg."""
    lower = name[-5:].lower()
    for suffix in PICTURE_SUFFIXES:
        if lower.endswith(suffix) and len(name.rpartition("/")[2]) > len(suffix):
            return name[: -len(suffix)]
    return name


class NameList(Sequence[str]):
    """Texts in a fixed order; undecodable bytes of file names are kept as surrogates."""

    def __init__(self, names: Iterable[str | bytes] = ()) -> None:
        blob = bytearray()
        ends = array("Q")
        for name in names:
            blob += name if isinstance(name, bytes) else encode_name(name)
            ends.append(len(blob))
        self._blob = bytes(blob)
        self._ends = ends
        self._lookup: _Lookup | None = None

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index < 0:
            index += len(self._ends)
        if not 0 <= index < len(self._ends):
            raise IndexError(index)
        start = self._ends[index - 1] if index else 0
        return self._blob[start : self._ends[index]].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends:
            yield self._blob[start:end].decode("utf-8", "surrogateescape")
            start = end

    def find(self, name: str) -> int | None:
        """Return the index of a name, or None."""
        if self._lookup is None:
            self._lookup = _look_up(self)
        return _find(self, self._lookup, name)

    def repeated(self) -> int | None:
        """Return the index of the first name that stood in the list before, or None."""
        return _first_repeated(self, hash_names(self))


class OutputNames(Sequence[str]):
    """A result name for every picture, all different: the stem plus ``suffix``.

    Pictures that would share a name (``a.jpg`` and ``a.png``) keep their full names: ``a.jpg.png``, ``a.png.png``.
    The pictures' own names must be different.
    """

    def __init__(self, names: Sequence[str], suffix: str = ".png") -> None:
        self._names = names
        self._suffix = suffix
        self._full = bytearray(len(names))
        hashes = hash_names(self)
        self._lookup: _Lookup | None = None
        while True:
            shared = [index for index in _sharing(self, hashes) if not self._full[index]]
            if not shared:
                break
            for index in shared:
                self._full[index] = 1
                hashes[index] = hash(self[index])

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        name = self._names[index]
        return (name if self._full[index] else strip_suffix(name)) + self._suffix

    def find(self, name: str) -> int | None:
        """Return the index of the picture whose result has this name, or None."""
        if self._lookup is None:
            self._lookup = _look_up(self)
        return _find(self, self._lookup, name)


def encode_name(name: str) -> bytes:
    """Return the bytes of a file name as Python shows it."""
    return name.encode("utf-8", "surrogateescape")


def hash_names(names: Sequence[str]) -> NDArray[np.int64]:
    """Return a 64-bit hash of every name; it holds for this process only."""
    return np.fromiter((hash(name) for name in names), dtype=np.int64, count=len(names))


def _look_up(names: Sequence[str]) -> _Lookup:
    hashes = hash_names(names)
    order = np.argsort(hashes, kind="stable")
    return order, hashes[order]


def _find(names: Sequence[str], lookup: _Lookup, name: str) -> int | None:
    """Return the index of a name, or None."""
    order, hashes = lookup
    wanted = np.int64(hash(name))
    for at in range(int(np.searchsorted(hashes, wanted)), len(names)):
        if hashes[at] != wanted:
            break
        index = int(order[at])
        if names[index] == name:
            return index
    return None


def _groups(names: Sequence[str], hashes: NDArray[np.int64]) -> Iterator[list[int]]:
    """Yield the indices of equal names, for every name that occurs more than once."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    same = np.flatnonzero(ordered[1:] == ordered[:-1])
    at = 0
    while at < same.size:
        first = int(same[at])
        last = first + 1
        while at + 1 < same.size and int(same[at + 1]) == last:
            at += 1
            last += 1
        at += 1
        by_name: dict[str, list[int]] = {}
        for index in order[first : last + 1]:
            by_name.setdefault(names[int(index)], []).append(int(index))
        yield from (found for found in by_name.values() if len(found) > 1)


def _sharing(names: Sequence[str], hashes: NDArray[np.int64]) -> list[int]:
    return [index for group in _groups(names, hashes) for index in group]


def _first_repeated(names: Sequence[str], hashes: NDArray[np.int64]) -> int | None:
    return min((group[1] for group in _groups(names, hashes)), default=None)
