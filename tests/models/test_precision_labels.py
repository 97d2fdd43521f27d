"""The full-width graph in other precisions: labels beside float32's, and the same integers on every CPU."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import smalti
from deeplab_golden import FULL, IMAGE, LABELS, Array, graph_bytes
from deeplab_kit import picture, val_names
from shared_data import shared_dir
from smalti.building.build import build
from smalti.building.calibrate import calibrate_model
from smalti.compiler import CompileOptions
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord
from smalti.target.host import missing_features, native_target, resolve_targets
from smalti.target.target import Target
from smalti.vision.images import decode_image
from smalti.vision.preprocess import Resize

INT8 = QuantMode.QINT8_MIXED_FLOAT16
CALIBRATION_PICTURES = 16
LEAST_EQUAL = {QuantMode.FORCE_FLOAT16: 0.998, QuantMode.FORCE_BFLOAT16: 0.99, INT8: 0.985}
"""Shares of pixels; over all 191 pictures they are 0.9994, 0.996 and 0.994."""


def options(mode: QuantMode, target: str = "native") -> CompileOptions:
    return CompileOptions(resolve_targets(target), quant=QuantOptions(mode))


@lru_cache(maxsize=1)
def graph_file(model: str) -> Path:
    """Return the graph as a file (of the mirror's unpacked copy that the tests keep in memory)."""
    folder = Path(_FOLDERS[0]) / model
    folder.mkdir(exist_ok=True)
    path = folder / "frozen_inference_graph.pb"
    path.write_bytes(graph_bytes(model))
    return path


_FOLDERS: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("precision")
    _FOLDERS[:] = [str(made)]
    graph_file.cache_clear()
    record_of.cache_clear()
    return made


@lru_cache(maxsize=1)
def record_of(model: str) -> CalibrationRecord:
    """Calibrate on the first training pictures."""
    root = "VOCdevkit/VOC2012"
    with tarfile.open(shared_dir() / "mirror" / "VOCtrainval_11-May-2012.tar") as archive:

        def read(path: str) -> bytes:
            source = archive.extractfile(f"{root}/{path}")
            assert source is not None
            return source.read()

        names = read("ImageSets/Segmentation/train.txt").decode().split()[:CALIBRATION_PICTURES]
        pictures = [decode_image(read(f"JPEGImages/{name}.jpg")) for name in names]
    return calibrate_model(graph_file(model), options(INT8), pictures)


def labels_of(path: Path, images: list[Array], threads: int = 2) -> list[Array]:
    with smalti.load(path, threads=threads) as engine:
        return [engine.run({IMAGE: image[None]})[LABELS][0] for image in images]


def make(model: str, mode: QuantMode, folder: Path, target: str = "native") -> Path:
    path = folder / f"{model}-{mode.alias}-{target}.smalti"
    if not path.exists():
        record = record_of(model) if mode.quantised else None
        build(graph_file(model), path, options(mode, target), record=record)
    return path


def some_pictures(step: int) -> list[Array]:
    return [picture(name, Resize.FIT) for name in val_names()[::step]]


def test_labels_are_nearly_those_of_float32(folder: Path) -> None:
    images = some_pictures(24)
    want = labels_of(make(FULL, QuantMode.FORCE_FLOAT32, folder), images)
    sizes = {}
    for mode, least in LEAST_EQUAL.items():
        path = make(FULL, mode, folder)
        sizes[mode] = path.stat().st_size
        got = labels_of(path, images)
        equal = sum(int((a == b).sum()) for a, b in zip(want, got, strict=True)) / sum(a.size for a in want)
        assert least <= equal < 1, mode
    whole = make(FULL, QuantMode.FORCE_FLOAT32, folder).stat().st_size
    assert sizes[QuantMode.FORCE_FLOAT16] < 0.57 * whole
    # CPUs without 8-bit dot products pair weights of 16 bits.
    has_dot_products = any("vnni" in feature or "dotprod" in feature for feature in native_target().features)
    assert sizes[INT8] < (0.36 if has_dot_products else 0.57) * whole


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_int8_labels_are_the_same_on_every_level(target: str, folder: Path) -> None:
    lacking = missing_features(Target.parse(target).features)
    if lacking:
        pytest.skip(f"this CPU lacks {', '.join(lacking)}")
    images = some_pictures(48)
    want = labels_of(make(FULL, INT8, folder), images)
    for a, b in zip(want, labels_of(make(FULL, INT8, folder, target), images), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_record_makes_the_same_bytes(folder: Path) -> None:
    first = make(FULL, INT8, folder).read_bytes()
    again = folder / "again.smalti"
    record = replace(record_of(FULL))
    build(graph_file(FULL), again, options(INT8), record=record)
    assert again.read_bytes() == first
