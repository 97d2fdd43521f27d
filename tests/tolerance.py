"""The one way in which tests compare arrays: named tolerances, dtype and shape included."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FLOAT_FACTOR = 4.0


class _Kind(Enum):
    EXACT = "exact"
    ULP = "ulp"
    FLOAT = "float"
    ROUNDED = "rounded"


@dataclass(frozen=True, slots=True)
class Tol:
    """How far a result may be from the wanted one.

    * ``Tol.EXACT``: the same values (and -0.0 is 0.0); for integers and for data that is only moved.
    * ``Tol.ULP(n)``: every float at most ``n`` representable numbers away; for elementwise functions.
    * ``Tol.FLOAT(reduction=k, scale=s)``: ``|error| <= 4 * eps * sqrt(k) * s``, where ``eps`` is that of the wanted
      dtype, ``k`` the number of terms summed for one element (rounding errors of a sum grow like a random walk) and
      ``s`` the size of the terms' sum before cancellation; by default the largest wanted magnitude.
    * ``Tol.ROUNDED(relative=r, absolute=a, reduction=k, scale=s)``: ``|error| <= r * |want| + a`` + the limit of FLOAT
      for each element; for sums in float32 (``eps``) that are rounded to a narrower type, whose step is ``r`` of a
      number (and ``a`` where numbers are evenly spaced).

    NaN and infinities must stand in the same places, whatever the tolerance.
    """

    kind: _Kind
    steps: int = 0
    reduction: int = 1
    scale: float | None = None
    relative: float = 0.0
    absolute: float = 0.0

    EXACT: ClassVar[Tol]

    @staticmethod
    def ULP(steps: int) -> Tol:
        """Return the tolerance of ``steps`` representable numbers."""
        return Tol(_Kind.ULP, steps=steps)

    @staticmethod
    def FLOAT(reduction: int, scale: float | None = None) -> Tol:
        """Return the tolerance of a sum of ``reduction`` terms."""
        return Tol(_Kind.FLOAT, reduction=reduction, scale=scale)

    @staticmethod
    def ROUNDED(relative: float, absolute: float, reduction: int, scale: float) -> Tol:
        """Return the tolerance of a float32 sum of ``reduction`` terms that is rounded to a narrower type."""
        return Tol(_Kind.ROUNDED, reduction=reduction, scale=scale, relative=relative, absolute=absolute)


Tol.EXACT = Tol(_Kind.EXACT)


def assert_close(got: Array, want: Array, tol: Tol, what: str = "result") -> None:
    """Fail unless ``got`` has the dtype, the shape and, within ``tol``, the values of ``want``."""
    got, want = np.asarray(got), np.asarray(want)
    if got.dtype != want.dtype or got.shape != want.shape:
        raise AssertionError(f"{what} is {got.dtype}{list(got.shape)}, not {want.dtype}{list(want.shape)}")
    if tol.kind is _Kind.EXACT or want.dtype.kind != "f":
        wrong = ~((got == want) | (_missing(got) & _missing(want)))
        _report(wrong, got, want, what, "must be equal")
        return
    special = ~np.isfinite(want) | ~np.isfinite(got)
    same_special = (got == want) | (_missing(got) & _missing(want))
    _report(special & ~same_special, got, want, what, "has NaN or infinities in other places")
    got, want = (np.where(special, x.dtype.type(0), x) for x in (got, want))
    if tol.kind is _Kind.ULP:
        wrong = _steps_apart(got, want) > tol.steps
        _report(wrong, got, want, what, f"must be within {tol.steps} ulp")
        return
    if tol.kind is _Kind.ROUNDED:
        allowed = tol.relative * np.abs(want.astype(np.float64)) + tol.absolute + float_limit(want, tol)
        wrong = np.abs(got.astype(np.float64) - want) > allowed
        _report(wrong, got, want, what, f"must be within one step ({tol.reduction} terms)")
        return
    limit = float_limit(want, tol)
    wrong = np.abs(got.astype(np.float64) - want) > limit
    _report(wrong, got, want, what, f"must be within {limit:.3g} ({tol.reduction} terms)")


def float_limit(want: Array, tol: Tol) -> float:
    """Return the largest error that a FLOAT tolerance (or the sum of a ROUNDED one) allows for ``want``."""
    magnitude = float(np.max(np.abs(want), initial=0)) if tol.scale is None else tol.scale
    return FLOAT_FACTOR * float(np.finfo(want.dtype).eps) * math.sqrt(tol.reduction) * magnitude


def _missing(x: Array) -> Array:
    return np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)


def _steps_apart(a: Array, b: Array) -> Array:
    """Return how many representable numbers lie between the elements (0 between -0.0 and 0.0)."""
    kind = np.dtype(f"i{a.dtype.itemsize}")
    ordered = []
    for x in (a, b):
        bits = np.ascontiguousarray(x).view(kind).astype(object if kind.itemsize == 8 else np.int64)
        lowest = -(1 << (kind.itemsize * 8 - 1))
        ordered.append(np.where(bits < 0, lowest - bits, bits))
    return np.abs(ordered[0] - ordered[1])


def _report(wrong: Array, got: Array, want: Array, what: str, rule: str) -> None:
    if not wrong.any():
        return
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    worst = ""
    if want.dtype.kind == "f":
        finite = wrong & np.isfinite(got) & np.isfinite(want)
        error = np.abs(got.astype(np.float64)[finite] - want.astype(np.float64)[finite])
        worst = (
            f"; largest error {error.max():.3g} of {np.abs(want[np.isfinite(want)]).max():.3g}" if error.size else ""
        )
    raise AssertionError(
        f"{what} {rule}: {int(wrong.sum())} of {wrong.size} elements differ, the first at {list(index)}: "
        f"{got[index]!r}, not {want[index]!r}{worst}"
    )
