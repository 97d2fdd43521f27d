"""Buffers between guard pages: a kernel that touches one byte too many dies at once."""

from __future__ import annotations

import ctypes
import mmap
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_PROT_NONE = 0
PAGE = mmap.PAGESIZE
POISON = 0xFF
"""Every float made of these bytes is NaN, every signed integer -1."""


class Side(Enum):
    """Which guard page a buffer touches."""

    LEFT = "left"
    RIGHT = "right"


class GuardedArray:
    """An array that ends (RIGHT) or begins (LEFT) exactly at an unreadable page; filled with garbage."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, side: Side = Side.RIGHT) -> None:
        kind = np.dtype(dtype)
        count = int(np.prod(shape, dtype=np.int64))
        size = count * kind.itemsize
        pages = max(1, -(-size // PAGE))
        self._map = mmap.mmap(-1, (pages + 2) * PAGE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        start = PAGE if side is Side.LEFT else (pages + 1) * PAGE - size
        whole = np.frombuffer(self._map, np.uint8, pages * PAGE, PAGE)
        whole[:] = POISON
        self.address = base + start
        self.array: NDArray[Any] = np.frombuffer(self._map, kind, count, start).reshape(shape)
        self.slack = (whole, start - PAGE, size)
        for page in (0, pages + 1):
            if _LIBC.mprotect(base + page * PAGE, PAGE, _PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect failed")

    def slack_is_intact(self) -> bool:
        """Return whether the readable bytes beside the array still hold the garbage they were filled with."""
        whole, start, size = self.slack
        return bool((whole[:start] == POISON).all() and (whole[start + size :] == POISON).all())


def guarded_copy(values: NDArray[Any], side: Side = Side.RIGHT) -> GuardedArray:
    """Return a guarded array with these values."""
    result = GuardedArray(values.shape, values.dtype, side)
    result.array[...] = values
    return result
