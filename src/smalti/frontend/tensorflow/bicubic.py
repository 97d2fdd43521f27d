"""The weights of TensorFlow's bicubic resize, which reads its kernel from a table of 1,024 distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = np.float32
_TABLE = 1024


def bicubic_weights(before: int, after: int, align_corners: bool, half_pixel: bool) -> NDArray[np.float32]:
    """Return the matrix ``[after, before]`` of a resized axis.

    With half pixels the parameter is that of Keys (-0.5), and what is outside weighs nothing; else it is -0.75, and the
    border is repeated.
    """
    is_keys = half_pixel
    scale = F32(before - 1) / F32(after - 1) if align_corners and after > 1 else F32(before) / F32(after)
    i = np.arange(after, dtype=F32)
    at = (i + F32(0.5)) * scale - F32(0.5) if half_pixel else i * scale
    first = np.floor(at)
    distance = np.rint((at - first).astype(F32) * F32(_TABLE)).astype(np.int64)
    near, far = _table(-0.5 if is_keys else -0.75)
    parts = np.stack([far[distance], near[distance], near[_TABLE - distance], far[_TABLE - distance]], 1)
    places = first.astype(np.int64)[:, None] + np.arange(-1, 3)
    if is_keys:
        parts = np.where((places >= 0) & (places < before), parts, F32(0))
        total = parts.sum(axis=1, keepdims=True, dtype=F32)
        parts = np.where(np.abs(total) >= F32(1000) * np.finfo(F32).tiny, parts / total, parts).astype(F32)
    found = np.zeros((after, before), F32)
    rows = np.broadcast_to(np.arange(after)[:, None], places.shape)
    np.add.at(found, (rows, np.clip(places, 0, before - 1)), parts)
    return found


def _table(a: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the kernel at distances of 0 to 1, and of 1 to 2, in steps of 1/1024."""
    x = np.arange(_TABLE + 1) / _TABLE
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    y = x + 1
    far = ((a * y - 5 * a) * y + 8 * a) * y - 4 * a
    return near.astype(F32), far.astype(F32)
