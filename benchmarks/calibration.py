"""The pictures that int8 models are calibrated on: the same ones, scaled as the run's, for Smalti and every peer."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.images import Picture, load_pictures
from smalti.building.calibrate import calibrate_model, load_record, write_record
from smalti.compiler import CompileOptions
from smalti.quant.record import CalibrationRecord


@dataclass(frozen=True, slots=True)
class Calibration:
    """Decoded pictures in a file that quantisers read.

    Attributes:
        count: how many there are.
        key: SHA-256 over their names, sizes and pixels.
        file: npz of uint8 ``[H, W, 3]`` arrays, in order.
    """

    count: int
    key: str
    file: Path


def gather(image_dir: Path, file_list: Path, count: int, size: int | None, cache: Path) -> Calibration:
    """Decode the first ``count`` pictures, stretched to ``size`` x ``size`` (``None``: at their own sizes).

    Raises:
        UsageError: there are fewer pictures than that.
        ImageError: a picture cannot be decoded.
    """
    pictures = load_pictures(image_dir, file_list, count, size)
    key = _key(pictures)
    file = cache / "calibration" / f"{key[:16]}.npz"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".npz", delete=False) as made:
            np.savez(made, **{f"p{i:05}": p.pixels for i, p in enumerate(pictures)})
        os.replace(made.name, file)
    return Calibration(len(pictures), key, file)


def smalti_record(
    graph: Path, sha256: str, options: CompileOptions, calibration: Calibration, folder: Path
) -> CalibrationRecord:
    """Calibrate Smalti on the pictures, or read the record of an earlier run with the same ones and settings."""
    settings = {
        "graph": sha256,
        "pictures": calibration.key,
        "quant": str(options.quant),
        "mutable": options.shape_mutable,
        "size": options.input_size,
    }
    name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    file = folder / f"smalti-calibration-{name}.json"
    if file.is_file():
        return load_record(file)
    with np.load(calibration.file) as arrays:
        record = calibrate_model(graph, options, [arrays[name] for name in arrays.files])
    folder.mkdir(parents=True, exist_ok=True)
    write_record(file, record)
    return record


def _key(pictures: Sequence[Picture]) -> str:
    total = hashlib.sha256()
    for picture in pictures:
        total.update(f"{picture.name} {picture.size} ".encode())
        total.update(picture.pixels.tobytes())
    return total.hexdigest()
