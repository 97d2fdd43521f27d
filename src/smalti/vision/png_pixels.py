"""Whether the packed pixels of a PNG are all there: how many bytes its rows take, and where they are packed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from smalti.vision.raster.unpacking import check_unpacked

_FIRST_PART: Final = 8
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_WHOLE: Final = ((0, 0, 1, 1),)
_INTERLACED: Final = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""Left, top, and the steps to the right and down of the passes of an interlaced picture."""
_READ_AT_ONCE: Final = 1 << 16


def check_png_pixels(data: bytes) -> None:
    """Raise ImageError unless the packed pixels of a PNG whose parts are sound fill its rows and reach their own end.

    A little more than the rows take is let pass. Raises ``zlib.error`` where the packed pixels are damaged.
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    needed = _row_bytes(width, height, depth * _CHANNELS.get(colour, 0), bool(interlaced))
    check_unpacked(_packed(data), needed, "PNG")


def _row_bytes(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Return how many bytes the rows of all passes take, each with the byte of its filter."""
    total = 0
    for left, top, right, down in _INTERLACED if interlaced else _WHOLE:
        columns, lines = -((left - width) // right), -((top - height) // down)
        total += lines * (1 + (columns * bits + 7) // 8) if columns > 0 and lines > 0 else 0
    return total


def _packed(data: bytes) -> Iterator[memoryview]:
    """Yield the bodies of the parts that hold packed pixels, up to the first other part behind them."""
    view, at, seen = memoryview(data), _FIRST_PART, False
    while at < len(data):
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            seen = True
            for start in range(at + 8, end - 4, _READ_AT_ONCE):
                yield view[start : min(start + _READ_AT_ONCE, end - 4)]
        elif seen:
            return
        at = end
