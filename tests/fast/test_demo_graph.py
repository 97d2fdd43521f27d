"""The embedded frozen graph is what a DeepLab exporter writes, small enough, and the one the golden answers are of."""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared_data import shared_dir
from smalti.demo.dataset import GRAPH_PATH, graph_bytes
from smalti.demo.generator import CLASS_NAMES, CROP, demo_image
from smalti.frontend.tensorflow.graphdef import parse_graph_def
from smalti.frontend.tensorflow.importer import ImportOptions, import_graph
from smalti.ir.reference import run

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "demo_labels.npz"
REAL_ARCHIVE = "deeplabv3_mnv2_pascal_train_aug_2018_01_29.tar.gz"
REAL_MEMBER = "deeplabv3_mnv2_pascal_train_aug/frozen_inference_graph.pb"


@pytest.fixture(scope="module")
def nodes() -> dict[bytes, Any]:
    return {node.name: node for node in parse_graph_def(graph_bytes()).node}


def numbers(node: Any, key: bytes = b"value") -> np.ndarray:
    value = next(entry.value for entry in node.attr if entry.key == key)
    tensor = value.tensor
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    flat = np.frombuffer(tensor.tensor_content, np.int32) if tensor.tensor_content else np.array(tensor.int_val)
    return np.broadcast_to(flat, shape) if flat.size == 1 else flat.reshape(shape)


def test_graph_is_small() -> None:
    assert GRAPH_PATH.stat().st_size <= 3_000_000


def test_graph_has_the_exporters_kinds_of_nodes(nodes: dict[bytes, Any]) -> None:
    kinds = Counter(node.op.decode() for node in nodes.values())
    assert kinds["Assert"] == 4 and kinds["ResizeBilinear"] == 3 and kinds["ResizeNearestNeighbor"] == 1
    assert kinds["SpaceToBatchND"] == kinds["BatchToSpaceND"] >= 4
    assert kinds["FusedBatchNormV3"] == kinds["Conv2D"] - 1 + kinds["DepthwiseConv2dNative"]
    assert kinds["AvgPool"] == kinds["ArgMax"] == kinds["Slice"] == kinds["Pad"] == kinds["ConcatV2"] == 1
    assert kinds["AddV2"] >= 8
    assert any(name.startswith(b"^") for node in nodes.values() for name in node.input)


def test_dilated_convolutions_pad_for_their_rate(nodes: dict[bytes, Any]) -> None:
    side, rates = (CROP - 1) // 8 + 1, set()
    for name, node in nodes.items():
        if node.op != b"SpaceToBatchND":
            continue
        rate = int(numbers(nodes[name + b"/block_shape"])[0])
        before, after = numbers(nodes[name + b"/paddings"])[0].tolist()
        crops = numbers(nodes[name.replace(b"SpaceToBatchND", b"BatchToSpaceND") + b"/crops"])[0].tolist()
        assert before == rate and crops == [0, after - rate] and (side + before + after) % rate == 0
        rates.add(rate)
    assert rates == {2, 4}


def real_nodes() -> list[Any]:
    with tarfile.open(shared_dir() / "mirror" / REAL_ARCHIVE) as archive:
        member = archive.extractfile(REAL_MEMBER)
        if member is None:
            pytest.fail(f"{REAL_ARCHIVE} has no {REAL_MEMBER}")
        return list(parse_graph_def(member.read()).node)


def test_all_around_the_body_is_as_in_the_published_graph(nodes: dict[bytes, Any]) -> None:
    """Outside the body both graphs have the same nodes with the same inputs and attributes other than sizes."""
    sizes = {b"ksize", b"value", b"shape"}

    def outline(all_nodes: list[Any]) -> dict[bytes, tuple[Any, ...]]:
        last = max(int(n.name.split(b"_")[2].split(b"/")[0]) for n in all_nodes if b"expanded_conv_" in n.name)
        output = f"expanded_conv_{last}/".encode()
        return {
            node.name: (
                node.op,
                [name.replace(output, b"LAST/") for name in node.input],
                sorted((e.key, e.value.SerializeToString()) for e in node.attr if e.key not in sizes),
            )
            for node in all_nodes
            if not node.name.startswith(b"MobilenetV2/expanded_conv")
        }

    assert outline(list(nodes.values())) == outline(real_nodes())


def test_blocks_are_named_and_wired_as_in_the_published_graph(nodes: dict[bytes, Any]) -> None:
    """A residual block and a dilated block have the published graph's nodes, under their own number."""

    def block(all_nodes: list[Any], number: int) -> list[tuple[Any, ...]]:
        scope, before = (f"MobilenetV2/expanded_conv_{k}/".encode() for k in (number, number - 1))
        return sorted(
            (n.name.removeprefix(scope), n.op, [i.replace(scope, b"").replace(before, b"BEFORE/") for i in n.input])
            for n in all_nodes
            if n.name.startswith(scope)
        )

    real = real_nodes()
    assert block(list(nodes.values()), 2) == block(real, 2)
    assert block(list(nodes.values()), 8) == block(real, 8)
    assert block(list(nodes.values()), 11) == block(real, 15)


def test_golden_answers_belong_to_this_graph() -> None:
    with np.load(GOLDEN) as golden:
        assert str(golden["graph_sha256"]) == hashlib.sha256(graph_bytes()).hexdigest()
        recorded = [name for name in golden.files if name.startswith("labels_")]
        assert len(recorded) >= 8
        for name in recorded:
            _, mask = demo_image(int(name.removeprefix("labels_")))
            labels = golden[name]
            assert labels.shape == mask.shape
            assert (labels == mask).mean() > 0.9


def test_golden_confusion_matrix_gives_the_promised_accuracy() -> None:
    with np.load(GOLDEN) as golden:
        counts = golden["confusion"]
    assert counts.shape == (len(CLASS_NAMES), len(CLASS_NAMES))
    hits = np.diag(counts)
    assert (hits / (counts.sum(axis=0) + counts.sum(axis=1) - hits)).mean() >= 0.85


def test_golden_file_is_small() -> None:
    assert GOLDEN.stat().st_size <= 200_000


@pytest.mark.parametrize("index", [6, 9])
def test_numpy_meaning_of_the_graph_gives_tensorflows_answers(index: int) -> None:
    image, _ = demo_image(index)
    wanted = ImportOptions(outputs=("SemanticPredictions:0", "logits/semantic/BiasAdd:0"))
    answers = list(run(import_graph(graph_bytes(), wanted).graph, {"ImageTensor:0": image[None]}).values())
    labels, logits = sorted(answers, key=lambda answer: answer.ndim)
    with np.load(GOLDEN) as golden:
        assert np.array_equal(labels[0], golden[f"labels_{index}"])
        expected = golden[f"logits_{index}"]
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
