"""The constants of one file, packed by several plans into one section."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from smalti.plan.planner import ALIGNMENT


class ConstantPool:
    """Grows while plans are compiled; what is there already, byte for byte, is not put there again."""

    def __init__(self) -> None:
        self._section = bytearray()
        self._entries: dict[tuple[int, bytes], int] = {}

    def place(self, values: Iterable[NDArray[np.generic]]) -> tuple[int, ...]:
        """Put constants into the pool and return where they lie, each at a multiple of 64 bytes."""
        return tuple(self._place(np.ascontiguousarray(value).tobytes()) for value in values)

    @property
    def nbytes(self) -> int:
        """Bytes so far."""
        return len(self._section)

    def section(self) -> bytes:
        """Return the constants as they lie in the file."""
        return bytes(self._section)

    def _place(self, raw: bytes) -> int:
        key = len(raw), hashlib.sha256(raw).digest()
        known = self._entries.get(key)
        if known is None:
            known = self._entries[key] = len(self._section)
            self._section += raw + bytes(-len(raw) % ALIGNMENT)
        return known
