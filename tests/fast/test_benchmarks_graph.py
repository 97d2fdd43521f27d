"""Benchmarks: where graphs are cut, and the tail of a graph in numpy and OpenCV."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from benchmarks.cuts import find_cuts
from benchmarks.engines.post import Finisher, resize_matrix, upsample_argmax
from benchmarks.engines.spec import EngineSpec, ResizeStage, Upsampling
from benchmarks.routes import upsampling_of

from graph_builder import GraphBuilder
from smalti.errors import UsageError
from smalti.ir import ops
from smalti.ir.infer import constant, make_node
from smalti.ir.reference import eval_node
from tolerance import Tol, assert_close


def test_cuts_of_the_embedded_graph() -> None:
    cuts = find_cuts(Path(str(files("smalti.demo") / "frozen_inference_graph.pb")))
    assert (cuts.input, cuts.output) == ("ImageTensor:0", "SemanticPredictions:0")
    assert cuts.labels is not None and cuts.behind_labels is not None
    assert cuts.logits is not None and len(cuts.stages) >= 1
    assert all(stage.align_corners for stage in cuts.stages)


def test_a_graph_that_ends_in_arg_max_has_no_cut_behind_the_labels(tmp_path: Path) -> None:
    graph = (
        GraphBuilder()
        .placeholder("x", np.float32, [1, 4, 4, 3])
        .const("axis", np.int32(3))
        .node("ArgMax", "labels", ["x", "axis"], T=np.float32, Tidx=np.int32, output_type=np.int32)
    )
    path = tmp_path / "g.pb"
    path.write_bytes(graph.bytes())
    cuts = find_cuts(path)
    assert (cuts.labels, cuts.behind_labels, cuts.logits, cuts.stages) == (None, None, None, ())


def test_a_graph_with_two_inputs_is_refused(tmp_path: Path) -> None:
    graph = GraphBuilder().placeholder("a", np.float32, [1, 4]).placeholder("b", np.float32, [1, 4])
    path = tmp_path / "g.pb"
    path.write_bytes(graph.node("Add", "c", ["a", "b"], T=np.float32).bytes())
    with pytest.raises(UsageError, match="one image to one label map"):
        find_cuts(path)


@pytest.mark.parametrize(("align", "half"), [(True, False), (False, False), (False, True)])
@pytest.mark.parametrize(("source", "result"), [((5, 7), (17, 13)), ((6, 6), (6, 6)), ((1, 3), (4, 9))])
def test_matrices_resize_as_tensorflow_does(
    align: bool, half: bool, source: tuple[int, int], result: tuple[int, int]
) -> None:
    rng = np.random.default_rng(3)
    values = rng.standard_normal((1, *source, 5)).astype(np.float32)
    op = ops.Resize(ops.ResizeFn.BILINEAR, result, align_corners=align, half_pixel_centers=half)
    node = make_node(op, (constant(values),))
    want = eval_node(node, [values], {})
    rows = resize_matrix(source[0], result[0], align, half)
    columns = resize_matrix(source[1], result[1], align, half)
    got = np.einsum("yh,hwc,xw->yxc", rows, values[0], columns)
    assert_close(got.astype(np.float32), want[0], Tol.FLOAT(reduction=16))


def test_upsample_argmax_takes_the_first_of_equals() -> None:
    rng = np.random.default_rng(4)
    logits = rng.standard_normal((5, 6, 9)).astype(np.float32)
    rows, columns = resize_matrix(5, 12, True, False), resize_matrix(6, 11, True, False)
    want = np.einsum("yh,hwc,xw->yxc", rows, logits, columns).argmax(axis=2)
    got = upsample_argmax(logits, rows, columns)
    assert got.dtype == np.int32
    assert np.array_equal(got, want)
    assert np.all(upsample_argmax(np.ones((2, 2, 4), np.float32), rows[:3, :2], columns[:3, :2]) == 0)


def test_more_classes_than_a_byte_holds_are_refused() -> None:
    identity = np.eye(2, dtype=np.float32)
    with pytest.raises(ValueError, match="257 classes"):
        upsample_argmax(np.zeros((2, 2, 257), np.float32), identity, identity)


def test_the_finisher_crops_labels_and_logits() -> None:
    size = (3, 4)
    stage = ResizeStage((2, 2), (5, 5), True, False)
    finish = Finisher((Upsampling(size, (stage,)),))
    labels = np.arange(25, dtype=np.int64).reshape(1, 5, 5)
    cut = finish(labels, size)
    assert cut.dtype == np.int32 and np.array_equal(cut, labels[0, :3, :4])
    logits = np.zeros((1, 2, 2, 3), np.float32)
    logits[..., 2] = 1
    assert np.array_equal(finish(logits, size), np.full(size, 2, np.int32))


def test_stages_come_from_the_shapes_of_their_tensors(tmp_path: Path) -> None:
    cuts = find_cuts(Path(str(files("smalti.demo") / "frozen_inference_graph.pb")))
    shapes = [[1, 9 * (i + 1), 8 * (i + 1), 7] for i in range(len(cuts.stages) + 1)]
    up = upsampling_of(cuts, (70, 60), shapes)
    assert up.stages[0].source == (9, 8) and up.stages[0].result == (18, 16)
    spec = EngineSpec("x", "", "file", 2, "in:0", "out:0", ((70, 60),), (up,))
    assert EngineSpec.from_json(spec.to_json()) == spec
