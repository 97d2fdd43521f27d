"""Real DeepLab graphs: what the import must find in them."""

from __future__ import annotations

import tarfile
from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest

from shared_data import shared_dir
from smalti.compiler import CompileOptions
from smalti.compiling.sizes import import_shaped
from smalti.errors import GraphError, UsageError
from smalti.frontend.tensorflow.importer import Imported, ImportOptions, import_graph
from smalti.ir import ops
from smalti.ir.graph import Level
from smalti.ir.sizes import evaluate
from smalti.ir.verify import verify
from smalti.target.host import resolve_targets

CROP_MODELS = (
    "deeplabv3_mnv2_pascal_train_aug_2018_01_29",
    "deeplabv3_mnv2_dm05_pascal_trainval_2018_10_01",
)
ANY_SIZE = "deeplabv3_mnv2_dm05_anysize"


@lru_cache(maxsize=3)
def _read(path: Path) -> bytes:
    if path.suffix == ".pb":
        return path.read_bytes()
    with tarfile.open(path) as archive:
        member = next(m for m in archive if m.name.endswith("frozen_inference_graph.pb"))
        stream = archive.extractfile(member)
        assert stream is not None
        return stream.read()


def crop_model(name: str) -> bytes:
    return _read(shared_dir() / "mirror" / f"{name}.tar.gz")


def any_size_model() -> bytes:
    return _read(shared_dir() / "models" / ANY_SIZE / "frozen_inference_graph.pb")


def counts(imported: Imported) -> Counter[type[ops.Op]]:
    return Counter(type(n.op) for n in imported.graph.nodes())


@pytest.mark.parametrize("name", CROP_MODELS)
def test_crop_graph(name: str) -> None:
    imported = import_graph(crop_model(name))
    graph, report = imported.graph, imported.report
    verify(graph, Level.IMPORTED)
    assert [(n.name, str(n.type)) for n in graph.inputs] == [("ImageTensor:0", "uint8[1, H, W, 3]")]
    assert graph.output_names == ("SemanticPredictions:0",)
    assert str(graph.outputs[0].type) == "int32[1, H, W]"
    assert [(s.symbol, s.low, s.high) for s in report.limits] == [("H", 1, 513), ("W", 1, 513)]
    assert "accepts images up to 513 x 513" in report.notes
    assert "input padded to 513 x 513" in report.recognised
    assert len(report.dropped_asserts) == 4
    assert all(a.holds for a in report.dropped_asserts)
    found = counts(imported)
    assert found[ops.SizeTensor] == 0
    assert (found[ops.Conv2d], found[ops.BatchNorm]) == (38 + 17, 54)
    assert (found[ops.SpaceToBatch], found[ops.BatchToSpace]) == (10, 10)
    blocks = Counter((n.op.block, n.op.pads) for n in graph.nodes() if isinstance(n.op, ops.SpaceToBatch))
    assert blocks == {((2, 2), (2, 3, 2, 3)): 7, ((4, 4), (4, 7, 4, 7)): 3}
    symbolic = [n for n in graph.nodes() if any(not isinstance(s, int) for s in n.type.shape)]
    behind_padding = [n for n in symbolic if isinstance(n.op, (ops.Conv2d, ops.BatchNorm))]
    assert behind_padding == [], "everything between the padding and the last slice has constant sizes"


@pytest.mark.parametrize("name", CROP_MODELS)
def test_crop_graph_with_a_static_input(name: str) -> None:
    options = ImportOptions(input_shapes={"ImageTensor": (1, 513, 513, 3)})
    imported = import_graph(crop_model(name), options)
    assert str(imported.graph.outputs[0].type) == "int32[1, 513, 513]"
    assert imported.graph.symbols() == ()


def test_any_size_graph() -> None:
    imported = import_graph(any_size_model())
    graph = imported.graph
    verify(graph, Level.IMPORTED)
    assert [str(n.type) for n in graph.inputs] == ["uint8[1, H, W, 3]"]
    assert str(graph.outputs[0].type) == "int32[1, H, W]"
    assert [(s.symbol, s.high) for s in imported.report.limits] == [("H", None), ("W", None)]
    found = counts(imported)
    assert found[ops.SizeTensor] == 0
    assert (found[ops.SpaceToBatch], found[ops.BatchToSpace]) == (10, 10)
    resizes = [n for n in graph.nodes() if isinstance(n.op, ops.Resize)]
    assert [str(n.type) for n in resizes] == [
        "float32[1, floor(1/8*H + 7/8), floor(1/8*W + 7/8), 256]",
        "float32[1, floor(1/8*H + 7/8), floor(1/8*W + 7/8), 21]",
        "float32[1, H, W, 21]",
    ]
    assert resizes[1].inputs[0].type == resizes[1].type, "a resize to the same size is seen to be one"


@pytest.mark.parametrize("size", [(97, 131), (375, 500), (513, 513), (640, 427), (1, 1), (8, 9)])
def test_any_size_paddings_are_those_of_tensorflow(size: tuple[int, int]) -> None:
    values = {"H": size[0], "W": size[1]}
    for node in import_graph(any_size_model()).graph.nodes():
        if isinstance(node.op, ops.SpaceToBatch):
            for axis in (0, 1):
                extent = (size[axis] + 7) // 8
                block = node.op.block[axis]
                rate = block
                before, after = (evaluate(v, values) for v in node.op.pads[2 * axis : 2 * axis + 2])
                assert before == rate
                assert after == rate + (-(extent + 2 * rate)) % block
        if isinstance(node.op, ops.BatchToSpace):
            block = node.op.block[0]
            crops = [evaluate(v, values) for v in node.op.crops]
            extents = [(s + 7) // 8 for s in size]
            assert crops == [0, -extents[0] % block, 0, -extents[1] % block]
            assert [evaluate(s, values) for s in node.type.shape[1:3]] == extents


def test_cut_at_the_logits() -> None:
    options = ImportOptions(outputs=("logits/semantic/BiasAdd:0",))
    report = import_graph(crop_model(CROP_MODELS[0]), options).report
    assert report.outputs[0].type == "float32[1, 65, 65, 21]"
    assert report.after_outputs.count == 9
    assert report.after_outputs.names[:3] == ("ResizeBilinear_1", "ResizeBilinear_2", "ArgMax")


def test_cut_in_the_middle() -> None:
    options = ImportOptions(inputs=("MobilenetV2/Conv/Relu6",), outputs=("logits/semantic/BiasAdd",))
    static = import_graph(crop_model(CROP_MODELS[1]), options)
    assert static.report.inputs[0].type == "float32[1, 257, 257, 16]"
    assert static.report.before_inputs.count == 66
    open_size = import_graph(any_size_model(), options)
    assert open_size.report.inputs[0].type == "float32[1, H, W, 16]"
    assert open_size.report.outputs[0].type == "float32[1, floor(1/4*H + 3/4), floor(1/4*W + 3/4), 21]"


def test_a_cut_that_leaves_the_image_needed() -> None:
    with pytest.raises(GraphError, match="ImageTensor: a placeholder that is not among the chosen inputs"):
        import_graph(crop_model(CROP_MODELS[0]), ImportOptions(inputs=("sub_2:0",)))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (ImportOptions(outputs=("missing:0",)), "no node for the tensor 'missing:0'"),
        (ImportOptions(outputs=("ArgMax:x",)), "not the name of a tensor"),
        (ImportOptions(outputs=("ArgMax", "ArgMax:0")), "named twice"),
        (ImportOptions(outputs=()), "at least one"),
        (ImportOptions(batch_size=0), "batch size"),
        (ImportOptions(input_shapes={"ImageTensor": (1, 513, 513, 4)}), "does not fit"),
        (ImportOptions(inputs=("ImageTensor", "aspp0/Relu"), outputs=("MobilenetV2/Conv/Conv2D",)), "'aspp0/Relu:0'"),
        (ImportOptions(inputs=("ImageTensor",), outputs=("aspp0/weights",)), "do not depend on the input 'ImageTensor"),
    ],
)
def test_wrong_options(options: ImportOptions, match: str) -> None:
    data = crop_model(CROP_MODELS[0])
    with pytest.raises(UsageError, match=match):
        import_graph(data, options)


def test_image_larger_than_the_crop_is_refused() -> None:
    with pytest.raises(GraphError, match="SpaceToBatchND"):
        import_graph(crop_model(CROP_MODELS[0]), ImportOptions(input_shapes={"ImageTensor": (1, 600, 513, 3)}))


@pytest.mark.parametrize("shape", [(1, 600, 513, 3), (1, None, 600, 3)])
def test_a_given_shape_over_the_crop_is_refused_with_the_limit(shape: tuple[int | None, ...]) -> None:
    options = CompileOptions(resolve_targets("generic"), input_shapes={"ImageTensor": shape})
    with pytest.raises(UsageError, match="--input-shape ImageTensor:0=.*: 600 is over the limit of this graph, 513"):
        import_shaped(crop_model(CROP_MODELS[0]), options)


def test_report_text_and_json() -> None:
    report = import_graph(crop_model(CROP_MODELS[0])).report
    text = report.to_text()
    assert "942 of 964 nodes are needed" in text
    assert "dropped 4 assertions (4 hold for every image, 0 depend on the run)" in text
    record = report.to_json()
    assert record["operations"]["Conv2D"] == 38
    sizes = {"low": 1, "high": 513, "multiple": 1}
    assert record["limits"] == [{"symbol": "H", **sizes}, {"symbol": "W", **sizes}]
