"""Whether packed pixels are all there, for formats that pack them by zlib.

A decoder that meets the end of the packed pixels before it has all rows may leave the rest black and tell nobody. Here
that is an error, and so is a packed stream that does not reach its own end or fails its own checksum.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

from smalti.errors import ImageError

_UNPACKED_AT_ONCE: Final = 1 << 18
_SPARE: Final = 1 << 20
"""As many bytes more than its rows take may a picture have: some programs write a row too many."""


def check_unpacked(pieces: Iterable[bytes | memoryview], needed: int, form: str) -> None:
    """Raise ImageError unless pieces of one packed stream give at least ``needed`` bytes and reach the stream's end.

    A little more than needed is let pass. Raises ``zlib.error`` where the stream is damaged.
    """
    left = needed
    unpacker = zlib.decompressobj()
    for piece in pieces:
        rest: bytes | memoryview = piece
        while not unpacker.eof:
            got = len(unpacker.decompress(rest, _UNPACKED_AT_ONCE))
            left -= got
            if left < -_SPARE:
                raise ImageError(f"the {form} has far more pixels than its header says")
            rest = unpacker.unconsumed_tail
            if not rest and not got:
                break
    if left > 0:
        raise ImageError(f"the {form} is cut: pixels are missing")
    if not unpacker.eof:
        raise ImageError(f"the {form} is cut: the end of its packed pixels is missing")
