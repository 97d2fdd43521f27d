"""How far the results of a layer are from a reference: the four differences, the cosine, and the largest error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smalti.errors import InputError

TINY: Final = 1e-6
"""A reference value below this counts as zero in diff3."""


@dataclass(frozen=True, slots=True)
class Differences:
    """The differences ``d = x - r`` of results ``x`` from a reference ``r``, over all elements of all images.

    Attributes:
        diff1: ``sum|d| / sum|r|``.
        diff2: ``sqrt(sum d^2 / sum r^2)``.
        diff3: the largest ``|d| / |r|`` (``|d|`` itself where ``|r|`` is below 1e-6).
        greater, less: diff4, the shares of elements that are greater and less than the reference.
        cosine: of the angle between the two; NaN where one is all zero.
        largest: the largest ``|d|``.
        elements: how many were compared.
        not_finite: elements that are infinite or NaN on either side (and not the same infinity on both); they count
            nowhere else.
    """

    diff1: float
    diff2: float
    diff3: float
    greater: float
    less: float
    cosine: float
    largest: float
    elements: int
    not_finite: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values; NaN and infinities are null."""
        return {
            "diff1": _number(self.diff1),
            "diff2": _number(self.diff2),
            "diff3": _number(self.diff3),
            "diff4_greater": _number(self.greater),
            "diff4_less": _number(self.less),
            "cosine": _number(self.cosine),
            "max_abs": _number(self.largest),
            "elements": self.elements,
            "not_finite": self.not_finite,
        }


class DifferenceSums:
    """Accumulates :class:`Differences` over any number of arrays."""

    def __init__(self) -> None:
        self._abs_d = self._abs_r = 0.0
        self._dd = self._rr = self._xx = self._xr = 0.0
        self._relative = self._largest = 0.0
        self._greater = self._less = self._count = self._odd = 0

    def add(self, result: NDArray[np.floating[Any]], reference: NDArray[np.floating[Any]]) -> None:
        """Count one pair of arrays.

        Raises:
            InputError: their shapes differ.
        """
        if result.shape != reference.shape:
            raise InputError(f"a result of shape {list(result.shape)} beside {list(reference.shape)}")
        x, r = result.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
        finite = np.isfinite(x) & np.isfinite(r)
        if not finite.all():
            self._odd += int((~finite & (x != r)).sum())
            x, r = x[finite], r[finite]
        if not x.size:
            return
        d = x - r
        size, base = np.abs(d), np.abs(r)
        self._abs_d += float(size.sum())
        self._abs_r += float(base.sum())
        self._dd += float(d @ d)
        self._rr += float(r @ r)
        self._xx += float(x @ x)
        self._xr += float(x @ r)
        self._largest = max(self._largest, float(size.max()))
        self._relative = max(self._relative, float((size / np.where(base < TINY, 1.0, base)).max()))
        self._greater += int((d > 0).sum())
        self._less += int((d < 0).sum())
        self._count += x.size

    def result(self) -> Differences:
        """Return what has been counted so far."""
        norm = math.sqrt(self._xx) * math.sqrt(self._rr)
        count = max(1, self._count)
        return Differences(
            diff1=_share(self._abs_d, self._abs_r),
            diff2=math.sqrt(_share(self._dd, self._rr)),
            diff3=self._relative,
            greater=self._greater / count,
            less=self._less / count,
            cosine=min(1.0, self._xr / norm) if norm else math.nan,
            largest=self._largest,
            elements=self._count,
            not_finite=self._odd,
        )


def _share(part: float, whole: float) -> float:
    if whole:
        return part / whole
    return 0.0 if not part else math.inf


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
