"""A GeoJSON file (RFC 7946) with the regions of one picture, as QuPath and other viewers of large pictures read it.

Coordinates are pixels of the picture: x to the right, y **down**, (0, 0) its upper left corner, and no place on Earth.
RFC 7946 wants outlines counter-clockwise and holes clockwise. They are that as numbers (the area by the formula of the
shoelace is positive for outlines), which is what programs check; on a screen with y down an outline runs clockwise.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.annotations.picture import BACKGROUND, Annotated, as_text, plain_points, shown_name
from smalti.vision.polygons import Polygon, find_polygons


def geojson_text(
    picture: Annotated,
    names: Sequence[str],
    *,
    leave_out: Collection[int] = (BACKGROUND,),
    min_area: float = 0.0,
    tolerance: float = 0.0,
) -> str:
    """Return a FeatureCollection of one picture, ASCII: a feature for each connected region.

    A feature's properties are ``label`` (number), ``name`` (of the class), ``area`` in pixels and ``share`` of the
    picture. ``image`` of the collection is the picture's name. ``names`` are the class names by label; ``leave_out``,
    ``min_area`` and ``tolerance`` are those of :func:`smalti.vision.polygons.find_polygons`. Raises InputError as that
    does.
    """
    polygons = find_polygons(picture.labels, leave_out=leave_out, min_area=min_area, tolerance=tolerance)
    features = [_feature(polygon, shown_name(polygon.label, names), picture.labels.size) for polygon in polygons]
    head = {"type": "FeatureCollection", "image": as_text(picture.name), "features": features}
    return json.dumps(head, allow_nan=False) + "\n"


def _feature(polygon: Polygon, name: str, pixels: int) -> dict[str, Any]:
    area = polygon.area
    rings = [_closed(ring) for ring in (polygon.outer, *polygon.holes)]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {"label": polygon.label, "name": name, "area": area, "share": area / pixels},
    }


def _closed(ring: NDArray[np.float64]) -> list[list[Any]]:
    points = plain_points(ring)
    return [*points, points[0]]
