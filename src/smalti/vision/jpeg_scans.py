"""Whether the scans of a JPEG hold every coefficient of every component, as far as their headers tell."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from smalti.errors import ImageError

PROGRESSIVE: Final = 0xC2
_COEFFICIENTS: Final = 64
_NEVER: Final = 99


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan: the body of its header, the (start, end) of its coded pixels between markers, the restart interval."""

    header: bytes
    pieces: tuple[tuple[int, int], ...]
    interval: int


@dataclass(frozen=True, slots=True)
class _Frame:
    width: int
    height: int
    sampling: dict[int, tuple[int, int]]

    def units(self, components: Sequence[int]) -> int:
        """Return how many units of coded pixels a scan of these components has."""
        across = max(h for h, _ in self.sampling.values())
        down = max(v for _, v in self.sampling.values())
        if len(components) == 1:  # blocks of that component alone; otherwise a unit holds blocks of each
            h, v = self.sampling[components[0]]
            return _ceil(_ceil(self.width * h, across), 8) * _ceil(_ceil(self.height * v, down), 8)
        return _ceil(self.width, 8 * across) * _ceil(self.height, 8 * down)


def check_scans(marker: int, frame: bytes, scans: Sequence[Scan]) -> None:
    """Raise ImageError where a scan, or a part of one between two restart markers, is missing.

    ``marker`` and ``frame`` are the kind and the body of the frame header.
    """
    described = _frame(frame)
    left = {component: [_NEVER] * _COEFFICIENTS for component in described.sampling}
    for scan in scans:
        components, first, last, high, low = _scan(scan.header)
        if not components or not all(c in left for c in components) or not first <= last < _COEFFICIENTS:
            raise ImageError("the JPEG has a scan that does not fit its frame")
        for component in components:
            if marker == PROGRESSIVE:
                # A scan that refines follows on the one that sent the bits above its own.
                if high and any(bits > high for bits in left[component][first : last + 1]):
                    raise ImageError("the JPEG is cut: a scan is missing")
                left[component][first : last + 1] = [low] * (last + 1 - first)
            else:
                left[component] = [0] * _COEFFICIENTS
        if scan.interval and len(scan.pieces) < _ceil(described.units(components), scan.interval):
            raise ImageError("the JPEG is cut: a part between two restart markers is missing")
    if any(any(bits) for bits in left.values()):
        raise ImageError("the JPEG is cut: a scan is missing")


def _frame(body: bytes) -> _Frame:
    _, height, width, count = struct.unpack_from(">BHHB", body)
    if count == 0 or len(body) < 6 + 3 * count:
        raise ImageError("the JPEG frame header is cut")
    sampling = {body[6 + 3 * i]: (body[7 + 3 * i] >> 4, body[7 + 3 * i] & 15) for i in range(count)}
    if len(sampling) != count or not all(1 <= h <= 4 and 1 <= v <= 4 for h, v in sampling.values()):
        raise ImageError("the JPEG frame header gives impossible components")
    return _Frame(width, height, sampling)


def _scan(body: bytes) -> tuple[list[int], int, int, int, int]:
    count = body[0] if body else 0
    if len(body) < 4 + 2 * count:
        raise ImageError("the JPEG has a scan header that is cut")
    first, last, bits = body[1 + 2 * count : 4 + 2 * count]
    return [body[1 + 2 * i] for i in range(count)], first, last, bits >> 4, bits & 15


def _ceil(a: int, b: int) -> int:
    return -(-a // b)
