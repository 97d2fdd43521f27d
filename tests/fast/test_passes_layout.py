"""NCHW to NHWC: every operation converts, transposes cancel, nothing happens to NHWC graphs."""

from __future__ import annotations

import numpy as np
import pytest

from passes_kit import Maker, fires, graph_of, must_not_fire, ops_of
from smalti.frontend.tensorflow.importer import ImportOptions, import_graph
from smalti.ir import ops
from smalti.ir.dims import symbol
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, Layout, PoolFn, ReduceFn, UnaryFn
from smalti.ir.schema import layout_of
from smalti.numerics import DType
from smalti.passes import layout
from smalti.passes.pipeline import run_pipeline
from tf_vectors import vectors
from tolerance import Tol

NCHW = Layout.NCHW
H, W = symbol("H"), symbol("W")
SIZES = [(10, 12), (H, W)]
BOUND = {"H": 10, "W": 12}
SUM = Tol.FLOAT(reduction=100, scale=10)


def image(m: Maker, size: tuple[object, object], channels: int = 4) -> Node:
    return m.input(2, channels, *size)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", SIZES, ids=["static", "symbolic"])
def test_every_operation_converts(size: tuple[object, object]) -> None:
    m = Maker()
    x = image(m, size)
    nodes = [
        m.conv(x, 5, layout=NCHW, bias=True, stride=(2, 1)),
        m.depthwise(x, layout=NCHW, multiplier=2),
        m.batch_norm(x, NCHW),
        m.op(ops.Pool(PoolFn.MAX, (3, 2), (2, 2), (1, 1, 0, 1), NCHW), x),
        m.op(ops.DepthToSpace(2, NCHW), x),
    ]
    for node in nodes:
        graph = fires(layout.to_nhwc, graph_of(node), SUM, BOUND)
        assert all(layout_of(n.op) is Layout.NHWC for n in graph.nodes())
        assert len(ops_of(graph, ops.Transpose)) == 2


def test_space_to_depth_converts() -> None:
    m = Maker()
    graph = fires(layout.to_nhwc, graph_of(m.op(ops.SpaceToDepth(2, NCHW), m.input(1, 3, 6, 8))), Tol.EXACT)
    assert all(layout_of(n.op) is Layout.NHWC for n in graph.nodes())


def test_a_residual_converts_with_the_image() -> None:
    m = Maker()
    x, y = image(m, (6, 7)), m.input(2, 5, 6, 7, name="residual:0")
    conv = ops.Conv2d(layout=NCHW, bias=True, residual=True)
    fires(layout.to_nhwc, graph_of(m.op(conv, x, m.random(1, 1, 4, 5), m.random(5), y)), SUM)


@pytest.mark.parametrize("size", SIZES, ids=["static", "symbolic"])
def test_a_network_keeps_one_transpose_at_each_end(size: tuple[object, object]) -> None:
    m = Maker()
    x = image(m, size)
    y = m.batch_norm(m.conv(x, 6, layout=NCHW), NCHW)
    y = m.unary(UnaryFn.RELU6, m.binary(BinaryFn.ADD, m.const(np.ones((6, 1, 1))), y))
    z = m.binary(BinaryFn.ADD, m.depthwise(y, layout=NCHW), y)
    gate = m.op(ops.Reduce(ReduceFn.MEAN, (2, 3), True), z)
    gate = m.unary(UnaryFn.SIGMOID, m.conv(gate, 6, k=1, layout=NCHW))
    z = m.binary(BinaryFn.MUL, z, gate)
    z = m.op(ops.Concat(1), z, m.conv(z, 3, layout=NCHW))
    graph = fires(layout.to_nhwc, graph_of(z), Tol.FLOAT(reduction=400, scale=100), BOUND)
    assert len(ops_of(graph, ops.Transpose)) == 2
    assert isinstance(graph.outputs[0].op, ops.Transpose)


def test_moves_and_reductions_let_transposes_through() -> None:
    m = Maker()
    x = m.op(ops.Transpose((0, 3, 1, 2)), m.input(1, H, W, 4))
    c = m.conv(x, 4, layout=NCHW)
    moved = [
        m.op(ops.Pad(((0, 0), (1, 0), (0, 2), (3, 0)), value=0.5), c),
        m.op(ops.Slice((0, 1, 0, 2), (1, 2, H, W - 2), (1, 1, 1, 1)), c),
        m.op(ops.BroadcastTo((3, 4, H, W)), c),
        m.op(ops.Reduce(ReduceFn.MAX, (1, 3), False), c),
        m.op(ops.Reduce(ReduceFn.MAX, (1, 3), True), c),
        m.op(ops.Reduce(ReduceFn.MAX, (0,), False), c),
        m.op(ops.ArgMax(1, DType.INT32), c),
        m.op(ops.ArgMax(3, DType.INT32), c),
        m.op(ops.Cast(DType.INT32), c),
    ]
    for node in moved:
        graph = fires(layout.to_nhwc, graph_of(node), SUM, BOUND)
        assert len(ops_of(graph, ops.Transpose)) <= 1
    graph = fires(layout.to_nhwc, graph_of(moved[6]), Tol.EXACT, BOUND)
    assert not ops_of(graph, ops.Transpose)


def test_nhwc_graphs_stay() -> None:
    m = Maker()
    must_not_fire(layout.to_nhwc, graph_of(m.relu(m.batch_norm(m.conv(m.input(1, H, W, 3), 4)))))
    x = m.op(ops.Transpose((0, 2, 1, 3)), m.input(1, H, W, 3))
    must_not_fire(layout.to_nhwc, graph_of(m.binary(BinaryFn.ADD, x, m.input(1, W, H, 3, name="other:0"))))


def test_networks_written_for_channels_first_devices_keep_no_transpose() -> None:
    chosen = [v for v in vectors() if v.name in ("nchw/unet", "nchw/deeplab")]
    assert len(chosen) == 2
    for vector in chosen:
        imported = import_graph(vector.graph, ImportOptions(outputs=tuple(vector.runs[0].outputs))).graph
        assert any(isinstance(n.op, ops.Transpose) for n in imported.nodes())
        left = [n.name for n in run_pipeline(imported).graph.nodes() if isinstance(n.op, ops.Transpose)]
        assert (vector.name, left) == (vector.name, [])
