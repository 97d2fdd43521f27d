"""Annotation files made from the saved label maps, after the last picture of a job."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from smalti.annotations.coco import CocoMasks, coco_pieces
from smalti.annotations.geojson import geojson_text
from smalti.annotations.labelme import labelme_text
from smalti.annotations.picture import Annotated
from smalti.annotations.shares import shares_pieces
from smalti.errors import OutputError, UsageError
from smalti.jobs.outputs import OutputFolder, write_error, write_pieces
from smalti.labelling.ledger import Ledger
from smalti.strict_json import JsonFault, document
from smalti.vision.images import LARGEST_MAX_PIXELS, naming, read_mask
from smalti.vision.names import OutputNames, strip_suffix
from smalti.vision.voc import Pictures

_MADE_BY: Final = "smalti_shapes"
_LARGEST_LABELME_BYTES: Final = 256 * 2**20
_FILES_AT_ONCE: Final = 16


class ExportKind(str, Enum):
    """A kind of annotation file."""

    COCO = "coco"
    COCO_RLE = "coco-rle"
    LABELME = "labelme"
    GEOJSON = "geojson"
    CSV = "csv"

    @property
    def place(self) -> str:
        """The file, or the folder of the files, in the output folder."""
        return _PLACES[self]


_PLACES: Final = {
    ExportKind.COCO: "annotations/coco.json",
    ExportKind.COCO_RLE: "annotations/coco-rle.json",
    ExportKind.LABELME: "labelme",
    ExportKind.GEOJSON: "geojson",
    ExportKind.CSV: "annotations/shares.csv",
}

ExportProgress = Callable[[ExportKind, int, int], None]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Which annotation files to make: ``min_area`` in pixels and ``tolerance`` in pixels are those of the polygons."""

    kinds: tuple[ExportKind, ...] = ()
    min_area: float = 0.0
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if len(set(self.kinds)) != len(self.kinds):
            raise UsageError(
                f"a kind of annotations is named twice: {', '.join(kind.value for kind in self.kinds)}; name each once"
            )
        for option, value in (("--min-area", self.min_area), ("--tolerance", self.tolerance)):
            if not 0 <= value < float("inf"):
                raise UsageError(f"{option} is a number of pixels of at least 0, not {value}")


@dataclass(frozen=True, slots=True)
class Exported:
    """The files and folders that were written; ``kept`` labelme files were corrected by a person and left alone.

    ``stopped``: the job was stopped before all were written.
    """

    paths: tuple[Path, ...] = ()
    kept: int = 0
    stopped: bool = False


class Exporter:
    """Writes annotation files of the pictures that are done, from their label maps in ``folder``."""

    def __init__(
        self,
        folder: OutputFolder,
        pictures: Pictures,
        names: OutputNames,
        ledger: Ledger,
        classes: Sequence[str],
        *,
        overwrite: bool = False,
        progress: ExportProgress | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self._folder = folder
        self._pictures = pictures
        self._names = names
        self._ledger = ledger
        self._classes = classes
        self._overwrite = overwrite
        self._progress = progress
        self._stop = stop
        self._kept = 0

    def write(self, options: ExportOptions) -> Exported:
        """Write all kinds. The memory does not grow with the number of pictures.

        Raises:
            ImageError: a label map cannot be read any more.
            OutputError: the disk refuses.
        """
        paths: list[Path] = []
        try:
            for kind in options.kinds:
                self._write(kind, options)
                paths.append(self._folder.path / kind.place)
        except _Stopped:
            return Exported(tuple(paths), self._kept, stopped=True)
        return Exported(tuple(paths), self._kept)

    def _write(self, kind: ExportKind, options: ExportOptions) -> None:
        if kind in (ExportKind.COCO, ExportKind.COCO_RLE):
            masks = CocoMasks.POLYGONS if kind is ExportKind.COCO else CocoMasks.RLE
            area, tolerance = options.min_area, options.tolerance
            pieces = coco_pieces(self._done(kind), self._classes, masks=masks, min_area=area, tolerance=tolerance)
            write_pieces(self._folder.path / kind.place, (piece.encode() for piece in pieces))
        elif kind is ExportKind.CSV:
            pieces = shares_pieces(self._done(kind), self._classes)
            write_pieces(self._folder.path / kind.place, (piece.encode() for piece in pieces))
        else:
            self._write_each(kind, options)

    def _write_each(self, kind: ExportKind, options: ExportOptions) -> None:
        group: list[list[tuple[str, bytes]]] = []
        for picture in self._done(kind):
            text = self._text(kind, picture, options)
            if text is not None:
                group.append([(self._file_name(kind, picture.name), text.encode())])
            if len(group) == _FILES_AT_ONCE:
                self._write_group(group)
                group = []
        self._write_group(group)

    def _write_group(self, group: Sequence[Sequence[tuple[str, bytes]]]) -> None:
        if not group:
            return
        written = self._folder.write_groups(group)
        for problem in (written.stopped, *written.problems):
            if problem is not None:
                raise problem

    def _text(self, kind: ExportKind, picture: Annotated, options: ExportOptions) -> str | None:
        """Return the file of one picture, or None where a person has corrected the one that is there."""
        area, tolerance = options.min_area, options.tolerance
        if kind is ExportKind.GEOJSON:
            return geojson_text(picture, self._classes, min_area=area, tolerance=tolerance)
        target = self._folder.path / self._file_name(kind, picture.name)
        if not self._overwrite and _is_corrected(target):
            self._kept += 1
            return None
        source = os.path.relpath(self._pictures.folder / picture.name, target.parent)
        text = labelme_text(picture, self._classes, image_path=source, min_area=area, tolerance=tolerance)
        made: dict[str, Any] = json.loads(text)
        return json.dumps({**made, _MADE_BY: _digest(made["shapes"])}, allow_nan=False, indent=1) + "\n"

    def _file_name(self, kind: ExportKind, picture: str) -> str:
        index = self._pictures.names.find(picture)
        stem = strip_suffix(picture) if index is None else self._names[index].removesuffix(".png")
        return f"{kind.place}/{stem}.{'json' if kind is ExportKind.LABELME else 'geojson'}"

    def _done(self, kind: ExportKind) -> Iterator[Annotated]:
        for index, name in enumerate(self._pictures.names):
            if self._ledger.is_done(index):
                path = self._folder.path / self._names[index]
                with naming(path):
                    labels = read_mask(path, max_pixels=LARGEST_MAX_PIXELS)
                yield Annotated(name, labels)
            if self._progress is not None:
                self._progress(kind, index + 1, len(self._pictures))
            if self._stop is not None and self._stop():
                raise _Stopped


class _Stopped(Exception):
    """The job is to be stopped; nothing half is written."""


def _is_corrected(path: Path) -> bool:
    """Whether a labelme file is there whose shapes are not those that were written there."""
    try:
        if path.stat().st_size > _LARGEST_LABELME_BYTES:
            return True
        said = document(path.read_bytes(), max_bytes=_LARGEST_LABELME_BYTES)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OutputError(str(write_error(path, error))) from error
    except JsonFault:
        return True
    return said.get(_MADE_BY) != _digest(said.get("shapes"))


def _digest(shapes: Any) -> str:
    """Return a digest of what labelme shows of the shapes; labelme writes numbers and other fields in its own way."""
    shown = [
        [shape.get("label"), [[float(x), float(y)] for x, y in shape["points"]]]
        for shape in (shapes if isinstance(shapes, list) else ())
        if isinstance(shape, dict) and _has_points(shape)
    ]
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]


def _has_points(shape: dict[str, Any]) -> bool:
    points = shape.get("points")
    return isinstance(points, list) and all(
        isinstance(p, list) and len(p) == 2 and all(isinstance(v, (int, float)) for v in p) for p in points
    )
