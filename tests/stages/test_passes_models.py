"""The pipeline on real graphs: exactly the operations that compute, and the labels of the imported graph."""

from __future__ import annotations

import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from shared_data import shared_dir
from smalti.frontend.tensorflow.importer import Imported, import_graph
from smalti.ir import ops
from smalti.ir.reference import run
from smalti.passes.pipeline import PipelineResult, histogram, run_pipeline
from tolerance import Tol, assert_close

FULL = "deeplabv3_mnv2_pascal_train_aug"
HALF = "deeplabv3_mnv2_dm05_pascal_trainval"
ANY_SIZE = "deeplabv3_mnv2_dm05_anysize"
DATES = {FULL: "2018_01_29", HALF: "2018_10_01"}

COUNTS = {"Conv2d": 39 + 17, "Input": 1, "Reduce": 1, "Reshape": 1, "ResizeArgMax": 1}
NOTES = (
    "SpaceToBatch/BatchToSpace: 10 pairs became dilated convolutions",
    "54 batch norms folded into weights",
    "37 activations fused into a convolution",
    "10 sums fused into a convolution as its residual",
    "image pooling: its part of the convolution behind the concat is computed once for an image",
)


def graph_bytes(folder: Path, name: str) -> bytes:
    if name == ANY_SIZE:
        return (folder / "models" / name / "frozen_inference_graph.pb").read_bytes()
    with tarfile.open(folder / "mirror" / f"{name}_{DATES[name]}.tar.gz") as archive:
        member = archive.extractfile(f"{name}/frozen_inference_graph.pb")
        assert member is not None
        return member.read()


@cache
def compiled(folder: Path, name: str) -> tuple[Imported, PipelineResult]:
    imported = import_graph(graph_bytes(folder, name))
    return imported, run_pipeline(imported.graph, check=True)


@pytest.mark.parametrize("name", [FULL, HALF, ANY_SIZE])
def test_only_operations_that_compute_are_left(name: str) -> None:
    imported, result = compiled(shared_dir(), name)
    assert len([n for n in imported.graph.nodes() if isinstance(n.op, ops.SpaceToBatch)]) == 10
    counts = histogram(result.graph)
    assert counts.pop("Constant") == 2 * (39 + 17) - 1
    assert counts == COUNTS
    assert set(NOTES) <= set(result.notes)


@pytest.mark.parametrize("name", [FULL, HALF, ANY_SIZE])
def test_dilations_paddings_and_the_ends_are_as_the_paper_says(name: str) -> None:
    _, result = compiled(shared_dir(), name)
    depthwise = [n.op for n in result.graph.nodes() if isinstance(n.op, ops.Conv2d) and n.op.groups > 1]
    assert [op.dilation[0] for op in depthwise] == [1] * 7 + [2] * 7 + [4] * 3
    assert all(op.pads == (op.dilation[0],) * 4 for op in depthwise if op.stride == (1, 1))
    first = next(n for n in result.graph.nodes() if isinstance(n.op, ops.Conv2d))
    assert first.inputs[0] is result.graph.inputs[0]
    assert isinstance(first.op, ops.Conv2d) and first.op.input_offset == 127.5
    height, width = result.graph.inputs[0].type.shape[1:3]
    last = result.graph.outputs[0].op
    assert isinstance(last, ops.ResizeArgMax)
    assert last.crop == (height, width)
    assert [s.size for s in last.stages] == [(height, width) if name == ANY_SIZE else (513, 513)]


def test_small_images_have_the_labels_of_the_imported_graph_and_of_tensorflow() -> None:
    folder = shared_dir()
    imported, result = compiled(folder, ANY_SIZE)
    golden = np.load(folder / "golden" / ANY_SIZE / "sizes.npz")
    inputs = {"ImageTensor:0": golden["97x131_image"].reshape(1, 97, 131, 3)}
    logits = "logits/semantic/BiasAdd:0"
    want = run(imported.graph, inputs, [logits])
    got = run(result.graph, inputs, [logits])
    wanted_logits = golden["97x131_logits"].astype(np.float32)
    for values in (got, want):
        scale = float(np.abs(wanted_logits).max())
        assert_close(
            values[logits], wanted_logits.reshape(values[logits].shape), Tol.FLOAT(reduction=10_000, scale=scale)
        )
        labels = values["SemanticPredictions:0"]
        assert_close(labels, golden["97x131_labels"].reshape(labels.shape).astype(np.int32), Tol.EXACT)


@pytest.mark.parametrize(("name", "size"), [(HALF, (61, 118)), (ANY_SIZE, (61, 118)), (ANY_SIZE, (1, 3))])
def test_odd_sizes_have_the_labels_of_the_imported_graph(name: str, size: tuple[int, int]) -> None:
    imported, result = compiled(shared_dir(), name)
    image = np.random.default_rng(3).integers(0, 256, (1, *size, 3)).astype(np.uint8)
    inputs = {"ImageTensor:0": image}
    want, got = run(imported.graph, inputs), run(result.graph, inputs)
    assert_close(got["SemanticPredictions:0"], want["SemanticPredictions:0"], Tol.EXACT)
