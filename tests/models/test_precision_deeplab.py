"""The half-width graphs in other precisions: sizes, mean IoU, threads, and int8 at pictures' own sizes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import smalti
from deeplab_golden import ANY_SIZE, HALF, IMAGE, LABELS, Array, graph_bytes
from deeplab_kit import mask, picture, train_names, val_names
from smalti.building.build import BuildResult, build
from smalti.building.calibrate import calibrate_model
from smalti.compiler import CompileOptions
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord
from smalti.target.host import missing_features, resolve_targets
from smalti.target.target import Target
from smalti.vision.metrics import ConfusionMatrix
from smalti.vision.palette import VOC_LABELS
from smalti.vision.preprocess import Resize, resize_labels
from stage_runners import Precision
from tolerance import Tol, assert_close

INT8 = QuantMode.QINT8_MIXED_FLOAT16
MODES = (QuantMode.FORCE_FLOAT32, QuantMode.FORCE_FLOAT16, QuantMode.FORCE_BFLOAT16, INT8)
CALIBRATION_PICTURES = 8
"""Enough for sums and bits; how good labels are with more of them is another test's matter."""
THREADS = (1, 3, 8)
MIOU_DROP = 0.02
"""Over a dozen pictures one object found or lost is a point; on the whole list the largest loss is 0.002."""
HALF_CONSTANTS = 0.56
"""Above a half: biases, and the logits' weights and biases, stay float32."""


class Graph:
    """A graph's files in some modes, calibrated once."""

    def __init__(self, model: str, resize: Resize, folder: Path) -> None:
        self.model, self.folder = model, folder
        self.graph = folder / f"{model}.pb"
        self.graph.write_bytes(graph_bytes(model))
        pictures = [picture(name, resize) for name in train_names()[:CALIBRATION_PICTURES]]
        options = CompileOptions(resolve_targets("native"), QuantOptions(INT8))
        self.record: CalibrationRecord = calibrate_model(self.graph, options, pictures)

    def build(self, mode: QuantMode, target: str = "native") -> BuildResult:
        path = self.folder / f"{self.model}-{mode.alias}-{target}.smalti"
        options = CompileOptions(resolve_targets(target), QuantOptions(mode))
        return build(self.graph, path, options, record=self.record if mode.quantised else None)

    def numpy_labels(self, image: Array) -> Array:
        """Return labels ``[h, w]`` of the numpy meaning of the int8 graph."""
        precision = Precision(QuantOptions(INT8), self.record)
        return precision.run_quantised(graph_bytes(self.model), {IMAGE: image[None]}, (LABELS,))[LABELS][0]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return Graph(ANY_SIZE, Resize.NONE, tmp_path_factory.mktemp("any"))


@pytest.fixture(scope="module")
def images() -> list[Array]:
    """Pictures lying and standing, at their own sizes."""
    images = {}
    for name in val_names():
        image = picture(name, Resize.NONE)
        images.setdefault(image.shape[0] > image.shape[1], image)
        if len(images) == 2:
            break
    return list(images.values())


@pytest.fixture(scope="module")
def engine(graph: Graph) -> Iterator[smalti.Engine]:
    with smalti.load(graph.build(INT8).path, threads=2) as engine:
        yield engine


def test_int8_labels_are_numpys_for_every_number_of_threads(
    graph: Graph, images: list[Array], engine: smalti.Engine
) -> None:
    assert len({image.shape for image in images}) == 2
    for image in images:
        want = graph.numpy_labels(image)
        assert want.shape == image.shape[:2] and len(set(want.flat)) > 1
        for threads in (2, *THREADS):
            engine.set_threads(threads)
            assert_close(engine(image), want, Tol.EXACT, f"labels of {image.shape}, {threads} threads")
    engine.set_threads(2)


def test_int8_labels_are_the_same_with_narrower_vectors(
    graph: Graph, images: list[Array], engine: smalti.Engine
) -> None:
    lacking = missing_features(Target.parse("x86-64-v3").features)
    if lacking:
        pytest.skip(f"this CPU lacks {', '.join(lacking)}")
    with smalti.load(graph.build(INT8, "x86-64-v3").path, threads=2) as other:
        for image in images:
            assert_close(other(image), engine(image), Tol.EXACT, f"labels of {image.shape}")


def test_int8_labels_are_nearly_those_of_float32(graph: Graph, images: list[Array], engine: smalti.Engine) -> None:
    with smalti.load(graph.build(QuantMode.FORCE_FLOAT32).path, threads=2) as float32:
        for image in images:
            assert (engine(image) == float32(image)).mean() >= 0.98


def test_sizes_accuracy_and_threads(tmp_path: Path) -> None:
    """Constants of half the bytes, about the same mean IoU, and the same bits for every number of threads."""
    graph = Graph(HALF, Resize.FIT, tmp_path)
    names = val_names()[::16]
    assert len(names) == 12
    images = [(picture(name, Resize.FIT), mask(name)) for name in names]
    constants, points = {}, {}
    for mode in MODES:
        done = graph.build(mode)
        constants[mode], matrix = done.constant_bytes, ConfusionMatrix(VOC_LABELS)
        with smalti.load(done.path, threads=2) as engine:
            for image, truth in images:
                matrix.add(resize_labels(engine(image), *truth.shape), truth)
            points[mode] = matrix.result().miou
            want = engine(images[0][0])
            for threads in THREADS:
                engine.set_threads(threads)
                assert_close(engine(images[0][0]), want, Tol.EXACT, f"{mode.value}, {threads} threads")
    for mode in (QuantMode.FORCE_FLOAT16, QuantMode.FORCE_BFLOAT16):
        assert 0.5 <= constants[mode] / constants[QuantMode.FORCE_FLOAT32] <= HALF_CONSTANTS, constants
    assert max(points[QuantMode.FORCE_FLOAT32] - found for found in points.values()) <= MIOU_DROP, points
