"""Buffers between guard pages: a kernel that touches one byte too many dies at once."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_PROT_NONE, _PROT_READ = 0, 1
PAGE = mmap.PAGESIZE
POISON = 0xFF
"""Every float made of these bytes is NaN, every signed integer -1."""


class Side(Enum):
    """Which guard page a buffer touches."""

    LEFT = "left"
    RIGHT = "right"


class Fill(Enum):
    """What a buffer holds before anything is written to it."""

    NAN = "nan"
    ZERO = "zero"
    RANDOM = "random"

    def bytes(self, count: int) -> NDArray[np.uint8]:
        """Return that many bytes of it."""
        if self is Fill.RANDOM:
            return np.random.default_rng(count).integers(0, 256, count, np.uint8)
        return np.full(count, POISON if self is Fill.NAN else 0, np.uint8)


class GuardedArray:
    """An array that ends (RIGHT) or begins (LEFT) exactly at an unreadable page; filled with garbage."""

    def __init__(
        self, shape: tuple[int, ...], dtype: DTypeLike, side: Side = Side.RIGHT, fill: Fill = Fill.NAN
    ) -> None:
        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        size = count * kind.itemsize
        self._pages = max(1, -(-size // PAGE))
        self._map = mmap.mmap(-1, (self._pages + 2) * PAGE)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        start = PAGE if side is Side.LEFT else (self._pages + 1) * PAGE - size
        whole = np.frombuffer(self._map, np.uint8, self._pages * PAGE, PAGE)
        whole[:] = POISON
        self.address = self._base + start
        self.array: NDArray[Any] = np.frombuffer(self._map, kind, count, start).reshape(shape)
        if fill is not Fill.NAN:
            whole[start - PAGE : start - PAGE + size] = fill.bytes(size)
        self.slack = (whole, start - PAGE, size)
        for page in (0, self._pages + 1):
            _protect(self._base + page * PAGE, PAGE, _PROT_NONE)

    def freeze(self) -> None:
        """From here on who writes to the array dies, too."""
        _protect(self._base + PAGE, self._pages * PAGE, _PROT_READ)

    def slack_is_intact(self) -> bool:
        """Return whether the readable bytes beside the array still hold the garbage they were filled with."""
        whole, start, size = self.slack
        return bool((whole[:start] == POISON).all() and (whole[start + size :] == POISON).all())


def guarded_copy(values: NDArray[Any], side: Side = Side.RIGHT, frozen: bool = False) -> GuardedArray:
    """Return a guarded array with these values, which nobody may write to if ``frozen``."""
    result = GuardedArray(values.shape, values.dtype, side)
    result.array[...] = values
    if frozen:
        result.freeze()
    return result


def apart(sizes: Sequence[int], side: Side) -> tuple[tuple[int, ...], int]:
    """Return where arrays of these bytes lie in a section with an unreadable page between any two, and its size."""
    offsets: list[int] = []
    page = 0
    for size in sizes:
        pages = -(-size // PAGE)
        page += 1
        offsets.append(page * PAGE if side is Side.LEFT else (page + pages) * PAGE - size)
        page += pages
    return tuple(offsets), (page + 1) * PAGE


class GuardedSection:
    """A section of constants as :func:`apart` lays them out: read-only, and nothing else can be read."""

    def __init__(self, values: Sequence[NDArray[Any]], offsets: Sequence[int], size: int) -> None:
        self._map = mmap.mmap(-1, max(1, -(-size // PAGE)) * PAGE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        whole = np.frombuffer(self._map, np.uint8)
        whole[:] = POISON
        _protect(self.address, len(whole), _PROT_NONE)
        for value, offset in zip(values, offsets, strict=True):
            flat = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
            first, last = offset // PAGE, -(-(offset + flat.size) // PAGE)
            if last > first:
                _protect(self.address + first * PAGE, (last - first) * PAGE, _PROT_READ | 2)
                whole[offset : offset + flat.size] = flat
                _protect(self.address + first * PAGE, (last - first) * PAGE, _PROT_READ)


def _protect(address: int, size: int, rights: int) -> None:
    if _LIBC.mprotect(address, size, rights):
        raise OSError(ctypes.get_errno(), "mprotect failed")
