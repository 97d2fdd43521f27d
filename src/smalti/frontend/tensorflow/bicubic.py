"""The weights of TensorFlow's bicubic resize: its positions, its table of distances, its borders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = np.float32
_TABLE = 1024
"""Distances are rounded to this part of a pixel."""


def weights(before: int, after: int, align_corners: bool, half_pixel: bool) -> NDArray[np.float32]:
    """Return the matrix ``[after, before]`` that resizes one axis.

    With ``half_pixel`` it is Keys' cubic, and pixels outside weigh nothing; else a steeper one, and the border is
    repeated.  Positions are computed in float32, as TensorFlow does.
    """
    corners = align_corners and after > 1
    scale = F32(before - 1) / F32(after - 1) if corners else F32(before) / F32(after)
    places = np.arange(after, dtype=F32)
    at = (places + F32(0.5)) * scale - F32(0.5) if half_pixel else places * scale
    low = np.floor(at)
    part = np.rint((at - low) * F32(_TABLE)) / _TABLE
    first = low.astype(np.int64)
    distances = np.stack([part + 1, part, 1 - part, 2 - part], 1)
    values = _cubic(distances.astype(np.float64), -0.5 if half_pixel else -0.75)
    taps = first[:, None] + np.arange(-1, 3)
    if half_pixel:
        values = np.where((taps >= 0) & (taps < before), values, 0.0)
        values = values / values.sum(1, keepdims=True)
    found = np.zeros((after, before))
    np.add.at(found, (np.arange(after)[:, None], np.clip(taps, 0, before - 1)), values)
    return found.astype(F32)


def _cubic(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, far)
