"""The JSON file that labelme keeps beside a picture.

Its polygons have no holes. A region with holes is cut from top to bottom through them into pieces that have none, so
that no pixel of a hole is inside of any; the pieces of a region share a ``group_id``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, Final

from smalti.annotations.picture import BACKGROUND, Annotated, as_text, plain_points, shown_name
from smalti.vision.polygon_masks import without_holes
from smalti.vision.polygons import Polygon, find_polygons, simplify_polygon

VERSION: Final = "5.0.0"
"""The version of labelme's layout; labelme asks for it, and reads files of its own major version without a warning."""


def labelme_text(
    picture: Annotated,
    names: Sequence[str],
    *,
    image_path: str | None = None,
    leave_out: Collection[int] = (BACKGROUND,),
    min_area: float = 0.0,
    tolerance: float = 0.0,
) -> str:
    """Return the labelme file of one picture, ASCII.

    ``image_path`` leads from the folder of this file to the picture; without it the file belongs into the folder of the
    pictures. ``names`` are the class names by label; ``leave_out``, ``min_area`` and ``tolerance`` are those of
    :func:`smalti.vision.polygons.find_polygons`. Raises InputError as that does.
    """
    # Simplified after the cut: pieces follow edges of pixels.
    polygons = find_polygons(picture.labels, leave_out=leave_out, min_area=min_area)
    shapes: list[dict[str, Any]] = []
    groups = 0
    for polygon in polygons:
        pieces = [simplify_polygon(piece, tolerance) for piece in without_holes(polygon)]
        group = None
        if len(pieces) > 1:
            groups += 1
            group = groups
        shapes.extend(_shape(piece, shown_name(piece.label, names), group) for piece in pieces)
    content: dict[str, Any] = {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": as_text(picture.name if image_path is None else image_path),
        "imageData": None,
        "imageHeight": picture.height,
        "imageWidth": picture.width,
    }
    return json.dumps(content, allow_nan=False, indent=1) + "\n"


def _shape(polygon: Polygon, name: str, group: int | None) -> dict[str, Any]:
    points = plain_points(polygon.outer)
    return {"label": name, "points": points, "group_id": group, "shape_type": "polygon", "flags": {}}
