"""The embedded network in every precision mode: accuracy, what the file says, and the numpy meaning of its graph."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import smalti
from smalti.artifact.reader import open_model
from smalti.building.build import build
from smalti.building.calibrate import calibrate_model
from smalti.codegen.constants import ConstantPool
from smalti.comparing.taps import lower
from smalti.compiler import CompileOptions
from smalti.delivery.inspect import facts_table, inspect
from smalti.demo.dataset import GRAPH_PATH, graph_bytes
from smalti.demo.generator import CLASS_NAMES, TRAIN_FIRST, demo_image
from smalti.frontend.tensorflow.importer import import_graph
from smalti.ir import ops
from smalti.kernels.registry import FUSED, KERNELS
from smalti.numerics import DType
from smalti.passes.pipeline import run_pipeline
from smalti.plan.planner import plan_graph
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord
from smalti.target.host import resolve_targets
from smalti.vision.metrics import ConfusionMatrix
from stage_runners import OTHER_TARGETS, Precision
from tolerance import Tol, assert_close

IMAGE, LABELS, LOGITS = "ImageTensor:0", "SemanticPredictions:0", "logits/semantic/BiasAdd:0"
CALIBRATION_PICTURES, PICTURES = 8, 20
MIOU_DROP = 0.01
LEAST_EQUAL = 0.999
INT8 = QuantMode.QINT8_MIXED_FLOAT16
TARGETS = {"native": "native", **{name: name.removeprefix("compiled-") for name in OTHER_TARGETS}}

# How far a logit may be from numpy's, as a share of the largest. Sums in another order round to the other neighbour now
# and then, in each of forty layers: about a step of the type in the end (two steps are allowed, and for int16, whose
# steps are set by the range of each tensor, 16 of 2 ** -15).
LOGITS_ERROR = {
    QuantMode.FORCE_FLOAT16: 2 * 2.0**-10,
    QuantMode.FORCE_BFLOAT16: 2 * 2.0**-7,
    QuantMode.QINT16_MIXED_FLOAT32: 16 * 2.0**-15,
}
WITH_DOT_PRODUCTS = "x86-64-v4+vnni"
SHARES_OF_FLOAT32_CONSTANTS = {
    QuantMode.FORCE_FLOAT16: 0.57,
    QuantMode.FORCE_BFLOAT16: 0.57,
    QuantMode.QINT8_MIXED_FLOAT16: 0.32,
    QuantMode.QINT8_MIXED_FLOAT32: 0.32,
    QuantMode.QINT16_MIXED_FLOAT16: 0.59,
    QuantMode.QINT16_MIXED_FLOAT32: 0.59,
}
"""Above one half or one quarter: biases and multipliers are four bytes in every mode, and weights are padded to whole
vectors."""


@pytest.fixture(scope="module")
def record() -> CalibrationRecord:
    pictures = [demo_image(TRAIN_FIRST + i)[0] for i in range(CALIBRATION_PICTURES)]
    return calibrate_model(GRAPH_PATH, CompileOptions(resolve_targets("native"), QuantOptions(INT8)), pictures)


class Built:
    """The finished file of each mode, which gives labels and logits, and how well it labels the val pictures."""

    def __init__(self, folder: Path, record: CalibrationRecord) -> None:
        self.val = [demo_image(i) for i in range(PICTURES)]
        self.paths: dict[QuantMode, Path] = {}
        self.points: dict[QuantMode, float] = {}
        for mode in QuantMode:
            self.paths[mode] = folder / f"{mode.alias}.smalti"
            options = CompileOptions(
                resolve_targets("native"), QuantOptions(mode), name="demo", labels=CLASS_NAMES, outputs=(LABELS, LOGITS)
            )
            build(GRAPH_PATH, self.paths[mode], options, record=record if mode.quantised else None)
            self.points[mode] = self._miou(mode)

    def _miou(self, mode: QuantMode) -> float:
        matrix = ConfusionMatrix(CLASS_NAMES)
        with smalti.load(self.paths[mode], threads=2) as engine:
            for image, mask in self.val:
                matrix.add(_labels(engine, image), mask)
        return matrix.result().miou


def _labels(engine: smalti.Engine, image: NDArray[np.uint8]) -> NDArray[Any]:
    return engine.run({IMAGE: image[None]})[LABELS][0]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, record: CalibrationRecord) -> Built:
    return Built(tmp_path_factory.mktemp("precision"), record)


@pytest.mark.parametrize("mode", QuantMode, ids=lambda mode: mode.alias)
def test_accuracy_stays(built: Built, mode: QuantMode) -> None:
    assert built.points[QuantMode.FORCE_FLOAT32] > 0.85
    assert abs(built.points[mode] - built.points[QuantMode.FORCE_FLOAT32]) <= MIOU_DROP


def _constant_bytes(record: CalibrationRecord, mode: QuantMode, target: str) -> int:
    """Return how large the constants of a file for that target are, as its plan says: no code is needed for that."""
    (chosen,) = resolve_targets(target)
    lowered = lower(graph_bytes(), CompileOptions((chosen,), QuantOptions(mode)), record if mode.quantised else None)
    pool = ConstantPool()
    pool.place(plan_graph(lowered.graph, chosen, KERNELS, fused=FUSED).constants)
    return pool.nbytes


@pytest.mark.parametrize("mode", SHARES_OF_FLOAT32_CONSTANTS, ids=lambda mode: mode.alias)
def test_constants_shrink(record: CalibrationRecord, mode: QuantMode) -> None:
    """For a CPU with 8-bit dot products, whichever CPU this is: the others pair 16-bit weights."""
    whole = _constant_bytes(record, QuantMode.FORCE_FLOAT32, WITH_DOT_PRODUCTS)
    assert _constant_bytes(record, mode, WITH_DOT_PRODUCTS) <= SHARES_OF_FLOAT32_CONSTANTS[mode] * whole


def test_constants_of_pairs_shrink(record: CalibrationRecord) -> None:
    whole = _constant_bytes(record, QuantMode.FORCE_FLOAT32, "x86-64-v3")
    assert _constant_bytes(record, INT8, "x86-64-v3") <= SHARES_OF_FLOAT32_CONSTANTS[QuantMode.FORCE_FLOAT16] * whole


def test_the_constants_of_a_file_are_those_of_its_plan(built: Built, record: CalibrationRecord) -> None:
    for mode in (QuantMode.FORCE_FLOAT32, INT8):
        with open_model(built.paths[mode]) as file:
            assert file.constants.size == _constant_bytes(record, mode, "native")


@pytest.mark.parametrize("mode", QuantMode, ids=lambda mode: mode.alias)
def test_the_file_says_its_precision(built: Built, mode: QuantMode) -> None:
    with smalti.load(built.paths[mode]) as engine:
        assert engine.precision == mode.value
        said = engine.manifest.quantisation
    seen = inspect(built.paths[mode])
    assert seen.to_json()["precision"] == mode.value
    assert ("precision", mode.value) in facts_table(seen).rows
    assert said["float_type"] == mode.float_type.value and said["keep"] == []
    if mode.quantised is None:
        assert "tensors" not in said and "calibration" not in said
    else:
        assert said["calibration"]["images"] == CALIBRATION_PICTURES
        assert {steps["dtype"] for steps in said["tensors"].values()} == {mode.quantised.value}


@pytest.mark.parametrize("mode", QuantMode, ids=lambda mode: mode.alias)
def test_every_layer_computes_in_the_modes_types(built: Built, mode: QuantMode) -> None:
    """All but the picture's convolution, which reads uint8, and in the float modes the logits' one, always float32."""
    layers = inspect(built.paths[mode]).manifest.quantisation["layers"]
    types = Counter((activations, weights) for _, activations, weights, _ in layers)
    canonical = run_pipeline(import_graph(graph_bytes()).graph).graph
    convolutions = sum(isinstance(node.op, ops.Conv2d) for node in canonical.nodes())
    assert sum(types.values()) == convolutions
    usual = mode.float_type.value if mode.quantised is None else mode.quantised.value
    weights = {DType.UINT8: DType.INT8.value, DType.INT16: DType.INT16.value, None: usual}[mode.quantised]
    assert types[usual, weights] >= convolutions - 2, types


@pytest.mark.parametrize("target", TARGETS)
def test_int8_is_numpys_to_the_bit(record: CalibrationRecord, target: str) -> None:
    """Labels and logits, on every kind of vectors this CPU has."""
    precision = Precision(QuantOptions(INT8), record)
    feed = {IMAGE: demo_image(3)[0][None]}
    want = precision.run_quantised(graph_bytes(), feed, (LABELS, LOGITS))
    got = precision.run_compiled(graph_bytes(), feed, (LABELS, LOGITS), TARGETS[target])
    for name in (LABELS, LOGITS):
        assert_close(got[name], want[name], Tol.EXACT, name)


@pytest.mark.parametrize("mode", LOGITS_ERROR, ids=lambda mode: mode.alias)
def test_other_modes_are_numpys_but_for_rounding(record: CalibrationRecord, mode: QuantMode) -> None:
    precision = Precision(QuantOptions(mode), record if mode.quantised else None)
    feed = {IMAGE: demo_image(3)[0][None]}
    want = precision.run_quantised(graph_bytes(), feed, (LABELS, LOGITS))
    got = precision.run_compiled(graph_bytes(), feed, (LABELS, LOGITS))
    largest = float(np.abs(want[LOGITS]).max())
    assert_close(got[LOGITS], want[LOGITS], Tol.ROUNDED(0.0, LOGITS_ERROR[mode] * largest, 0, 0.0), LOGITS)
    assert (got[LABELS] == want[LABELS]).mean() >= LEAST_EQUAL


@pytest.mark.parametrize("mode", [INT8, QuantMode.QINT8_MIXED_FLOAT32], ids=lambda mode: mode.alias)
def test_int8_labels_are_numpys_at_every_size(built: Built, record: CalibrationRecord, mode: QuantMode) -> None:
    """One file, pictures of many sizes one after another, and of the smallest."""
    images = [image for image, _ in built.val[:6]] + [built.val[0][0][:1, :1], built.val[0][0][:40, :77]]
    assert len({image.shape for image in images}) > 4
    precision = Precision(QuantOptions(mode), record)
    with smalti.load(built.paths[mode], threads=3) as engine:
        for image in images:
            want = precision.run_quantised(graph_bytes(), {IMAGE: image[None]}, (LABELS,))[LABELS][0]
            assert_close(_labels(engine, image), want, Tol.EXACT, f"labels of {image.shape}")
