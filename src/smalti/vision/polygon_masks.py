"""Polygons back to pixels: the mask of a polygon, and a polygon with holes as several that have none."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from smalti.vision.polygons import Polygon, find_polygons
from smalti.vision.rings import crossings


def polygon_mask(polygon: Polygon) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """Return the pixels whose centre is inside and in no hole, bool [h, w], and the (row, column) of the first one.

    The mask covers the whole pixels around the polygon's bounds. Centres on an edge belong to what is right of it.
    """
    x0, y0, x1, y1 = polygon.bounds
    left, top = math.floor(x0), math.floor(y0)
    height, width = math.ceil(y1) - top, math.ceil(x1) - left
    flat = np.concatenate([_toggles(ring - (left, top), width) for ring in (polygon.outer, *polygon.holes)])
    places, times = np.unique(flat, return_counts=True)
    mask = np.zeros((height, width + 1), dtype=np.bool_)
    mask.reshape(-1)[places[times % 2 == 1]] = True
    np.logical_xor.accumulate(mask, axis=1, out=mask)
    return mask[:, :width], (top, left)


def without_holes(polygon: Polygon) -> tuple[Polygon, ...]:
    """Return polygons that have no holes and together are all pixels of this one, each once.

    The region is cut from top to bottom where holes are, always through the hole in the middle of those that are left.
    The outlines of pieces follow edges of pixels.
    """
    if not polygon.holes:
        return (polygon,)
    whole, todo = [], [polygon]
    while todo:
        piece = todo.pop()
        if piece.holes:
            todo.extend(reversed(_halves(piece)))
        else:
            whole.append(piece)
    return tuple(whole)


def _toggles(ring: NDArray[np.float64], width: int) -> NDArray[np.int64]:
    """Return where rows of pixel centres cross a ring: the flat index of the next pixel, in rows of ``width`` + 1."""
    row, x, _ = crossings(ring)
    column = np.ceil(x - 0.5).astype(np.int64)
    places: NDArray[np.int64] = row * (width + 1) + np.clip(column, 0, width)
    return places


def _halves(polygon: Polygon) -> Sequence[Polygon]:
    """Return the regions left and right of a line through the middle one of the holes, which opens in both."""
    mask, (top, left) = polygon_mask(polygon)
    middle = sorted((hole[:, 0].min() + hole[:, 0].max()) / 2 for hole in polygon.holes)[len(polygon.holes) // 2]
    cut = int(middle) - left
    labels = mask.astype(np.int32)
    labels[:, cut:] *= 2
    pieces = find_polygons(labels, leave_out=(0,))
    place = (left, top)
    return [Polygon(polygon.label, p.outer + place, tuple(hole + place for hole in p.holes)) for p in pieces]
