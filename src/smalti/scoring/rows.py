"""The rows of an accuracy table as values and JSON, and the file that keeps them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smalti.errors import DataError, UsageError
from smalti.jobs.pictures import passed_over_json
from smalti.jobs.stream import Failure
from smalti.jobs.watch import UNKNOWN_LOAD, Load, read_load
from smalti.quant.modes import QuantMode
from smalti.strict_json import Fields, JsonFault, choice, document, flag, list_of, map_of, natural, number, text
from smalti.vision.images import read_file
from smalti.vision.metrics import MAX_CLASSES, Segmentation

TABLE_FORMAT: Final = "smalti-accuracy-1"
MAX_TABLE_BYTES: Final = 256 << 20
_MOST_PIXELS: Final = (1 << 62) // MAX_CLASSES**2


@dataclass(frozen=True, slots=True, eq=False)
class AccuracyRow:
    """One build of the model and how it did.

    Attributes:
        mode, shape_mutable: what was built.
        key: digest of everything the row depends on.
        accuracy: against the masks.
        flipped: pixels whose label is not that of force_float32 at the same shapes, by picture.
        pixels: pixels of each picture's label map.
        ms: median milliseconds of one call of the engine.
        calls: how many calls that is the median of.
        file_bytes: length of the model file.
        model_file: the file, relative to the output folder; ``sha256`` is its digest.
        labels_dir: folder of its label maps, relative to the output folder.
        threads: threads of an inference.
        cpu: where ``ms`` was measured.
        seconds: wall time of calibrating, building and measuring.
        notes: warnings of the calibration.
        was_kept: taken from an earlier run.
        load: what others took of the CPUs while ``ms`` was measured.
    """

    mode: QuantMode
    shape_mutable: bool
    key: str
    accuracy: Segmentation
    flipped: Mapping[str, int]
    pixels: Mapping[str, int]
    ms: float
    calls: int
    file_bytes: int
    model_file: str
    sha256: str
    labels_dir: str
    threads: int
    cpu: str
    seconds: float
    notes: tuple[str, ...] = ()
    was_kept: bool = False
    load: Load = UNKNOWN_LOAD

    @property
    def name(self) -> str:
        """A name for files: mode and shape."""
        return row_name(self.mode, self.shape_mutable)

    def iou(self, label: int) -> float:
        """Return the IoU of a class, NaN where it does not occur."""
        values = self.accuracy.iou
        return float(values[label]) if label < len(values) else math.nan

    @property
    def flipped_share(self) -> float:
        """Flipped pixels of all."""
        return sum(self.flipped.values()) / max(1, sum(self.pixels.values()))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "quant_mode": self.mode.value,
            "shape_mutable": self.shape_mutable,
            "key": self.key,
            "accuracy": self.accuracy.to_json(),
            "flipped_share": self.flipped_share,
            "flipped": dict(self.flipped),
            "pixels": dict(self.pixels),
            "ms": self.ms,
            "calls": self.calls,
            "other_load": self.load.to_json(),
            "file_bytes": self.file_bytes,
            "model_file": self.model_file,
            "sha256": self.sha256,
            "labels_dir": self.labels_dir,
            "threads": self.threads,
            "cpu": self.cpu,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def row_name(mode: QuantMode, shape_mutable: bool) -> str:
    """Return the name that files of a row have."""
    return f"{mode.value}-{'mutable' if shape_mutable else 'static'}"


@dataclass(frozen=True, slots=True, eq=False)
class AccuracyTable:
    """All rows of one model, in the order in which they were asked for.

    Attributes:
        model: name of the model.
        graph_sha256: digest of the graph.
        pictures_sha256: digest of the names and sizes of pictures and masks.
        images: pictures that each row was measured on.
        rows: float32 of each shape first.
        failures: pictures that were passed over, since they or their masks could not be used.
        left_out: files of the folders by the kind of picture that is not read.
    """

    model: str
    graph_sha256: str
    pictures_sha256: str
    images: int
    rows: tuple[AccuracyRow, ...]
    failures: tuple[Failure, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names; where classes go by number, those of the row with the largest label."""
        return max((row.accuracy.labels for row in self.rows), key=len, default=())

    def float32(self, shape_mutable: bool) -> AccuracyRow | None:
        """Return the row that the others of the same shape are compared with."""
        return self.row(QuantMode.FORCE_FLOAT32, shape_mutable)

    def row(self, mode: QuantMode, shape_mutable: bool) -> AccuracyRow | None:
        """Return a row, or ``None``."""
        return next((r for r in self.rows if r.mode is mode and r.shape_mutable == shape_mutable), None)

    def drop(self, row: AccuracyRow) -> float:
        """Return the loss of mean IoU against float32 at the same shapes, in points (hundredths of mIoU)."""
        base = self.float32(row.shape_mutable)
        return math.nan if base is None else 100 * (base.accuracy.miou - row.accuracy.miou)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        rows = []
        for row in self.rows:
            drop = self.drop(row)
            rows.append({**row.to_json(), "drop_points": drop if math.isfinite(drop) else None})
        return {
            "format": TABLE_FORMAT,
            "model": self.model,
            "graph_sha256": self.graph_sha256,
            "pictures_sha256": self.pictures_sha256,
            "images": self.images,
            **passed_over_json(self.failures, self.left_out),
            "rows": rows,
        }

    def to_bytes(self) -> bytes:
        """Return the file."""
        return (json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n").encode("ascii")


def read_table(path: Path) -> AccuracyTable:
    """Read a table that ``smalti accuracy`` wrote.

    Raises:
        UsageError: there is no such file.
        DataError: it is no such table.
    """
    if not path.is_file():
        raise UsageError(f"there is no accuracy table {path}: write one with --output-dir, or leave --baseline away")
    try:
        take = Fields(document(read_file(path, max_bytes=MAX_TABLE_BYTES), max_bytes=MAX_TABLE_BYTES))
        if take("format", text) != TABLE_FORMAT:
            raise DataError(f"{path} is not an accuracy table of this version of Smalti: measure it again")
        # What follows from the rest (shares, drops, means) is for people and is not read.
        return AccuracyTable(
            take("model", text),
            take("graph_sha256", text),
            take("pictures_sha256", text),
            take("images", natural),
            take("rows", list_of(_row)),
            take.get("failures", list_of(_failure), ()),
            take.get("pictures_left_out", map_of(natural), {}),
        )
    except JsonFault as fault:
        raise DataError(
            f"{path} is not a table of smalti accuracy: {fault}; give a report that the command wrote as JSON"
        ) from fault


def kept(row: AccuracyRow) -> AccuracyRow:
    """Return a row, marked as taken from an earlier run."""
    return replace(row, was_kept=True)


def _row(value: Any, where: str) -> AccuracyRow:
    take = Fields(value, where)
    row = AccuracyRow(
        take("quant_mode", choice(QuantMode)),
        take("shape_mutable", flag),
        take("key", text),
        take("accuracy", _segmentation),
        take("flipped", map_of(_count)),
        take("pixels", map_of(_count)),
        take("ms", number),
        take("calls", natural),
        take("file_bytes", natural),
        take("model_file", text),
        take("sha256", text),
        take("labels_dir", text),
        take("threads", natural),
        take("cpu", text),
        take("seconds", number),
        take("notes", list_of(text)),
        load=take.get("other_load", read_load, UNKNOWN_LOAD),
    )
    if row.ms <= 0:
        raise JsonFault(f"{where}.ms must be above 0, not {row.ms}")
    if row.flipped.keys() != row.pixels.keys() or any(n > row.pixels[name] for name, n in row.flipped.items()):
        raise JsonFault(f"{where}: more pixels flip than there are")
    return row


def _failure(value: Any, where: str) -> Failure:
    take = Fields(value, where)
    return Failure(take("name", text), take("reason", text))


def _count(value: Any, where: str) -> int:
    count = natural(value, where)
    if count > _MOST_PIXELS:
        raise JsonFault(f"{where} is more pixels than there can be")
    return count


def _segmentation(value: Any, where: str) -> Segmentation:
    take = Fields(value, where)
    labels, rows = take("labels", list_of(text)), take("confusion", list_of(list_of(_count)))
    if not 1 <= len(labels) <= MAX_CLASSES or {len(rows), *map(len, rows)} != {len(labels)} or not any(map(any, rows)):
        raise JsonFault(f"{where}.confusion must be a matrix of the labels that counts a pixel")
    counts: NDArray[np.int64] = np.asarray(rows, np.int64)
    counts.setflags(write=False)
    return Segmentation(counts, labels, take("images", natural))
