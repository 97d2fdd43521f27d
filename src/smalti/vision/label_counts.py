"""Which labels a map holds, and how many pixels of each."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_PIXELS_AT_ONCE: Final = 2**20
_COUNTED_LABELS: Final = 2**16


def band_rows(width: int) -> int:
    """Return how many rows of ``width`` pixels are worked on at once."""
    return max(1, _PIXELS_AT_ONCE // max(width, 1))


def count_labels(labels: NDArray[np.integer]) -> dict[int, int]:
    """Return the number of pixels of every label that a map, integers [H, W], holds, by label."""
    total: dict[int, int] = {}
    step = band_rows(labels.shape[1])
    for top in range(0, labels.shape[0], step):
        for label, count in _count(labels[top : top + step]):
            total[label] = total.get(label, 0) + count
    return dict(sorted(total.items()))


def fit_a_byte(labels: NDArray[np.integer]) -> bool:
    """Return whether every label of a map, integers of any shape, is 0 to 255."""
    return labels.dtype == np.uint8 or not labels.size or (int(labels.min()) >= 0 and int(labels.max()) <= 255)


def _count(band: NDArray[np.integer]) -> list[tuple[int, int]]:
    if not band.size:
        return []
    low, high = int(band.min()), int(band.max())
    if high - low >= _COUNTED_LABELS or high >= 2**63:  # too far apart to count each between them
        values, counts = np.unique(band, return_counts=True)
        return list(zip(values.tolist(), counts.tolist(), strict=True))
    counts = np.bincount((band.astype(np.int64) - low).ravel())
    values = np.flatnonzero(counts)
    return list(zip((values + low).tolist(), counts[values].tolist(), strict=True))
