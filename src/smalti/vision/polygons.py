"""Label maps to polygons: the outlines of the connected regions of every class.

Coordinates are edges of pixels: the region that is the pixel of row r and column c is the square (c, r) .. (c+1, r+1).
So areas are numbers of pixels, a line one pixel wide is a polygon like any other, and filling what was not simplified
(pixel centre inside, even-odd) gives the region again to the pixel.

Regions are 4-connected: two pixels that only meet at a corner are two polygons. That makes every ring simple. A ring
that came back to a corner would have the same background on both sides of it, but the pixels that join the region
there close a curve around one of the sides. A hole may meet the outline, or another hole, at a corner; the rules for
polygons (OGC, GeoJSON, shapely) allow that.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from smalti.errors import InputError
from smalti.vision.label_counts import band_rows, count_labels
from smalti.vision.rings import are_apart, corners, ring_area

MAX_PIXELS: Final = 2**28
MAX_SIDE: Final = 2**23
_NO_PARENT: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Polygon:
    """One connected region of a class.

    ``outer`` and each of ``holes`` are rings, float64 [N, 2] of (x, y) in pixels, y pointing down; the last point is
    not the first again. Taken as plain numbers the area of ``outer`` is positive (clockwise on the screen) and that
    of a hole negative.
    """

    label: int
    outer: NDArray[np.float64]
    holes: tuple[NDArray[np.float64], ...]

    @property
    def area(self) -> float:
        """The area in pixels, holes not counted."""
        return ring_area(self.outer) + sum(ring_area(hole) for hole in self.holes)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """The smallest upright rectangle around it: (x0, y0, x1, y1)."""
        x0, y0 = self.outer.min(axis=0)
        x1, y1 = self.outer.max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)


def find_polygons(
    labels: NDArray[np.integer], *, leave_out: Collection[int] = (), min_area: float = 0.0, tolerance: float = 0.0
) -> tuple[Polygon, ...]:
    """Return the regions of a label map, integers [H, W]: by label, then by their first pixel, row after row.

    Regions of the labels in ``leave_out`` and those of fewer than ``min_area`` pixels are not returned; holes of fewer
    are filled, so that ``area`` then counts their pixels too. ``tolerance`` is that of :func:`simplify_polygon`.

    Raises:
        InputError: not an integer array [H, W], more than MAX_PIXELS pixels or MAX_SIDE on a side, or ``min_area`` or
            ``tolerance`` is negative or not finite.
    """
    _check(labels, min_area, tolerance)
    found: list[Polygon] = []
    for label, top, bottom in _present(labels):
        if label in leave_out:
            continue
        for rings in _regions(labels[top:bottom] == label, top, min_area):
            found.append(simplify_polygon(Polygon(label, rings[0], rings[1:]), tolerance))
    return tuple(found)


def simplify_polygon(polygon: Polygon, tolerance: float) -> Polygon:
    """Return a polygon of :func:`find_polygons` with fewer points: those left out are within ``tolerance`` pixels.

    The points that stay are unmoved (Douglas and Peucker). Each polygon is simplified on its own, so that neighbours
    may overlap or leave a gap of that size. A ring that would lose its area stays as it was. Where rings would cross,
    or touch other than at corners, the polygon is returned as it was; so it is for a tolerance of 0.

    Raises InputError when ``tolerance`` is negative or not finite.
    """
    check_pixels("tolerance", tolerance)
    if not tolerance:
        return polygon
    rings = [_simplify(ring, tolerance) for ring in (polygon.outer, *polygon.holes)]
    if not are_apart(rings):
        return polygon
    return Polygon(polygon.label, _frozen(rings[0]), tuple(_frozen(ring) for ring in rings[1:]))


def _check(labels: NDArray[np.integer], min_area: float, tolerance: float) -> None:
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"a label map is an array of integers [H, W], not {labels.dtype} {list(labels.shape)}")
    if labels.size > MAX_PIXELS or max(labels.shape) > MAX_SIDE:
        raise InputError(
            f"a label map {list(labels.shape)} is too large for polygons: at most {MAX_PIXELS} pixels and {MAX_SIDE} "
            "on a side; cut it into tiles"
        )
    check_pixels("min_area", min_area)
    check_pixels("tolerance", tolerance)


def check_pixels(name: str, value: float) -> None:
    """Raise InputError when an area or a distance is negative or not finite."""
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{name} must be a number of pixels of at least 0, not {value}")


def _present(labels: NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """Return (label, first row, row behind the last) of every label, by label; the rows in steps of a band."""
    rows: dict[int, tuple[int, int]] = {}
    height, width = labels.shape
    step = band_rows(width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        for label in count_labels(labels[top:bottom]):
            rows[label] = (rows.get(label, (top, bottom))[0], bottom)
    return [(label, *rows[label]) for label in sorted(rows)]


def _regions(mask: NDArray[np.bool_], top: int, min_area: float) -> Iterator[tuple[NDArray[np.float64], ...]]:
    """Yield the rings of each region of a mask, the outline first; ``top`` is the row of the mask's first."""
    pixels = mask.view(np.uint8)
    left, upper, width, height = cv2.boundingRect(pixels)
    pixels = pixels[upper : upper + height, left : left + width]
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=4, ltype=cv2.CV_32S)
    areas = stats[:, cv2.CC_STAT_AREA]
    for number in np.flatnonzero(areas >= min_area):
        if number == 0:  # what is not of the mask
            continue
        x, y, width, height, area = stats[number].tolist()
        if area == width * height:
            rings = [np.array([[0, 0], [width, 0], [width, height], [0, height]])]
        else:
            box = numbers[y : y + height, x : x + width]
            rings = _trace((box == number).view(np.uint8))
        place = (left + x, top + upper + y)
        kept = [ring for i, ring in enumerate(rings) if i == 0 or -ring_area(ring) >= min_area]
        yield tuple(_frozen(ring + place) for ring in kept)


def _trace(region: NDArray[np.uint8]) -> list[NDArray[np.int32]]:
    """Return the rings of a single region uint8 [H, W], the outline first.

    OpenCV gives the centres of the outermost pixels. In a picture of twice the size the pixel at an even place is the
    first half of one of ours and that at an odd place the second half, which tells on which side of it the edge is.
    Its runs of pixels never hide a corner: a diagonal step always leads from one of our pixels to another.
    """
    height, width = region.shape
    double = cv2.resize(region, (2 * width, 2 * height), interpolation=cv2.INTER_NEAREST)
    contours, tree = cv2.findContours(double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    is_hole = tree[0, :, 3] != _NO_PARENT
    return [_edges(contours[i]) for i in np.argsort(is_hole, kind="stable")]


def _edges(contour: NDArray[Any]) -> NDArray[np.int32]:
    """Return the ring of a contour int32 [N, 1, 2] of the doubled region, turned the other way round."""
    points = contour[::-1, 0]
    return corners((points + (points & 1)) >> 1)


def _simplify(ring: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    points = cv2.approxPolyDP(ring.astype(np.float32)[:, None], tolerance, True)[:, 0].astype(np.float64)
    keeps_its_area = len(points) >= 3 and ring_area(points) * ring_area(ring) > 0
    return points if keeps_its_area else ring


def _frozen(ring: NDArray[np.integer] | NDArray[np.float64]) -> NDArray[np.float64]:
    fixed = ring.astype(np.float64)
    fixed.flags.writeable = False
    return fixed
