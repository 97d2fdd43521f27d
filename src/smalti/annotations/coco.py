"""A JSON file of the COCO layout, as instance segmentation tools read it, for any number of pictures.

``info``, ``licenses`` and ``annotations`` come first, one annotation after another; the short records of the pictures
wait in a temporary file until then. So memory does not grow with the number of pictures.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import Enum
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from smalti.annotations.picture import BACKGROUND, Annotated, as_text, plain_points, shown_name
from smalti.errors import OutputError
from smalti.vision.label_counts import count_labels
from smalti.vision.polygon_masks import polygon_mask
from smalti.vision.polygons import Polygon, check_pixels, find_polygons
from smalti.vision.rle import compress_counts, encode_rle

_KEPT_IN_MEMORY: Final = 2**16
_COPIED_AT_ONCE: Final = 2**16


class CocoMasks(Enum):
    """How COCO annotations hold their pixels.

    ``POLYGONS``: an annotation for each connected region, with its outline, or with run lengths where the region has
    holes, which COCO's polygons cannot say. ``RLE``: an annotation for each class of a picture, with run lengths.
    """

    POLYGONS = "polygons"
    RLE = "rle"


def coco_pieces(
    pictures: Iterable[Annotated],
    names: Sequence[str],
    *,
    masks: CocoMasks = CocoMasks.POLYGONS,
    leave_out: Collection[int] = (BACKGROUND,),
    min_area: float = 0.0,
    tolerance: float = 0.0,
) -> Iterator[str]:
    """Yield a COCO file in pieces of ASCII text. ``pictures`` is read once, each picture when its turn comes.

    ``names`` are the class names by label. The id of a category is its label; pictures and annotations count from 1.
    Classes in ``leave_out`` are left out. ``min_area`` (pixels) leaves out smaller regions, or with ``CocoMasks.RLE``
    smaller classes; ``tolerance`` is that of :func:`smalti.vision.polygons.find_polygons`, for polygons only.

    Raises:
        InputError: ``min_area``, ``tolerance`` or a label map cannot be used.
        OutputError: the temporary file cannot be written.
    """
    check_pixels("min_area", min_area)
    check_pixels("tolerance", tolerance)
    seen: set[int] = set()
    number = 0
    yield '{"info": {"description": "made by Smalti"},\n"licenses": [],\n"annotations": ['
    with tempfile.SpooledTemporaryFile(_KEPT_IN_MEMORY, "w+", encoding="ascii", newline="\n") as spool:
        for image, picture in enumerate(pictures, 1):
            _keep(spool, image, picture)
            if masks is CocoMasks.RLE:
                found = _classes(picture, leave_out, min_area)
            else:
                polygons = find_polygons(picture.labels, leave_out=leave_out, min_area=min_area, tolerance=tolerance)
                found = (_region(polygon, picture) for polygon in polygons)
            for annotation in found:
                number += 1
                seen.add(annotation["category_id"])
                yield _item({"id": number, "image_id": image, **annotation, "iscrowd": 0}, number)
        yield '\n],\n"images": ['
        yield from _kept(spool)
    yield '\n],\n"categories": ['
    named = set(range(len(names))) - set(leave_out)
    for position, label in enumerate(sorted(named | seen), 1):
        yield _item({"id": label, "name": shown_name(label, names), "supercategory": ""}, position)
    yield "\n]}\n"


def _item(value: dict[str, Any], position: int) -> str:
    return ("\n" if position == 1 else ",\n") + json.dumps(value, allow_nan=False)


def _keep(spool: IO[str], image: int, picture: Annotated) -> None:
    record = {"id": image, "file_name": as_text(picture.name), "height": picture.height, "width": picture.width}
    try:
        spool.write(_item(record, image))
    except OSError as error:
        raise OutputError(f"cannot write a temporary file for the COCO pictures: {error.strerror}") from error


def _kept(spool: IO[str]) -> Iterator[str]:
    try:
        spool.seek(0)
        while piece := spool.read(_COPIED_AT_ONCE):
            yield piece
    except OSError as error:
        raise OutputError(f"cannot use a temporary file for the COCO pictures: {error.strerror}") from error


def _region(polygon: Polygon, picture: Annotated) -> dict[str, Any]:
    if polygon.holes:
        mask, place = polygon_mask(polygon)
        return _from_mask(polygon.label, mask, place, picture)
    x0, y0, x1, y1 = polygon.bounds
    return {
        "category_id": polygon.label,
        "segmentation": [[value for point in plain_points(polygon.outer) for value in point]],
        "area": polygon.area,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
    }


def _classes(picture: Annotated, leave_out: Collection[int], min_area: float) -> Iterator[dict[str, Any]]:
    for label, count in count_labels(picture.labels).items():
        if label not in leave_out and count >= min_area:
            yield _from_mask(label, picture.labels == label, (0, 0), picture)


def _from_mask(label: int, mask: NDArray[np.bool_], place: tuple[int, int], picture: Annotated) -> dict[str, Any]:
    """Return an annotation of the pixels of a mask, whose first pixel is at ``place`` (row, column)."""
    counts = encode_rle(mask, place=place, size=(picture.height, picture.width))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = (int(rows[0]), int(columns[0])) if rows.size else (0, 0)
    height, width = (int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left) if rows.size else (0, 0)
    return {
        "category_id": label,
        "segmentation": {"size": [picture.height, picture.width], "counts": compress_counts(counts)},
        "area": float(np.count_nonzero(mask)),
        "bbox": [float(left + place[1]), float(top + place[0]), float(width), float(height)],
    }
