"""What is fused behind, around and in front of convolutions, and the fused tail of a segmentation network."""

from __future__ import annotations

import numpy as np
import pytest

from passes_kit import SIZES, H, Maker, W, fires, graph_of, must_not_fire, ops_of
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.ops import Activation, BinaryFn, Layout, PoolFn, ReduceFn, ResizeFn, UnaryFn
from smalti.numerics import DType
from smalti.passes import activations, pooling, pooling_branch, residual, resize_argmax
from tolerance import Tol

Size = tuple[int | Dim, int | Dim]
NEAR = Tol.FLOAT(reduction=100, scale=10)
STATIC_AND_SYMBOLIC = pytest.mark.parametrize("size", SIZES, ids=["static", "symbolic"])


def limited(m: Maker, x: Node, *steps: tuple[BinaryFn, float], left: bool = False) -> Node:
    for fn, limit in steps:
        c = m.const(limit)
        x = m.binary(fn, *((c, x) if left else (x, c)))
    return x


ZERO, SIX = (BinaryFn.MAXIMUM, 0.0), (BinaryFn.MINIMUM, 6.0)


@STATIC_AND_SYMBOLIC
@pytest.mark.parametrize("left", [False, True])
def test_activations_join_convolutions_in_every_spelling(left: bool, size: Size) -> None:
    m = Maker()
    x = m.input(1, *size, 3)
    for make, wanted in (
        (m.relu, Activation.RELU),
        (lambda y: m.unary(UnaryFn.SILU, y), Activation.SILU),
        (lambda y: m.unary(UnaryFn.RELU6, y), Activation.RELU6),
        (lambda y: m.unary(UnaryFn.RELU6, m.relu(y)), Activation.RELU6),
        (lambda y: limited(m, y, ZERO, left=left), Activation.RELU),
        (lambda y: limited(m, y, ZERO, SIX, left=left), Activation.RELU6),
        (lambda y: limited(m, y, SIX, ZERO, left=left), Activation.RELU6),
        (lambda y: limited(m, m.relu(y), SIX, left=left), Activation.RELU6),
    ):
        for conv in (m.conv(x, 5), m.depthwise(x, bias=True)):
            graph = fires(activations.fuse, graph_of(make(conv)), Tol.EXACT)
            op = graph.outputs[0].op
            assert isinstance(op, ops.Conv2d) and op.activation is wanted


@pytest.mark.parametrize("left", [False, True])
def test_a_number_times_its_sigmoid_is_silu(left: bool) -> None:
    m = Maker()
    conv = m.conv(m.input(1, H, W, 3), 5, bias=True)
    gate = m.unary(UnaryFn.SIGMOID, conv)
    graph = fires(activations.fuse, graph_of(m.binary(BinaryFn.MUL, *((gate, conv) if left else (conv, gate)))), NEAR)
    op = graph.outputs[0].op
    assert isinstance(op, ops.Conv2d) and op.activation is Activation.SILU
    other = m.unary(UnaryFn.SIGMOID, m.input(1, H, W, 5, name="other:0"))
    must_not_fire(activations.fuse, graph_of(m.binary(BinaryFn.MUL, conv, other)))
    must_not_fire(activations.fuse, graph_of(m.binary(BinaryFn.ADD, conv, gate)))


def test_what_is_no_activation_stays() -> None:
    m = Maker()
    conv = m.conv(m.input(1, H, W, 3), 5)
    must_not_fire(activations.fuse, graph_of(m.relu(conv), conv))
    must_not_fire(activations.fuse, graph_of(m.binary(BinaryFn.MUL, m.relu(conv), conv)))
    for step in ((BinaryFn.MAXIMUM, 1.0), (BinaryFn.MINIMUM, 0.0), SIX, (BinaryFn.MAXIMUM, -1.0)):
        must_not_fire(activations.fuse, graph_of(limited(m, conv, step)))
    for fn in (UnaryFn.SIGMOID, UnaryFn.ELU, UnaryFn.NEG):
        must_not_fire(activations.fuse, graph_of(m.unary(fn, conv)))
    for fn in (UnaryFn.RELU, UnaryFn.SILU):
        must_not_fire(activations.fuse, graph_of(m.unary(fn, m.conv(conv, 4, activation=Activation.SILU))))
    wide = m.binary(BinaryFn.MAXIMUM, m.input(1, 4, 4, 5), m.const(np.zeros((2, 4, 4, 5))))
    must_not_fire(activations.fuse, graph_of(wide))
    whole = m.input(4, dtype=DType.INT32)
    must_not_fire(activations.fuse, graph_of(m.binary(BinaryFn.MAXIMUM, whole, m.const(0, "int32"))))


def test_relu6_of_limits_on_one_side_only_is_kept_as_it_is() -> None:
    m = Maker()
    conv = m.conv(m.input(1, H, W, 3), 5)
    per_channel = m.binary(BinaryFn.MINIMUM, m.relu(conv), m.const([6, 6, 6, 6, 5]))
    graph = fires(activations.fuse, graph_of(per_channel), Tol.EXACT)
    assert isinstance(graph.outputs[0].op, ops.Binary)


@STATIC_AND_SYMBOLIC
def test_a_sum_becomes_a_residual(size: Size) -> None:
    m = Maker()
    x = m.input(1, *size, 4)
    for left in (False, True):
        conv = m.conv(x, 4, bias=left)
        graph = fires(residual.fuse, graph_of(m.binary(BinaryFn.ADD, *((x, conv) if left else (conv, x)))), NEAR)
        op = graph.outputs[0].op
        assert isinstance(op, ops.Conv2d) and op.residual
        assert graph.outputs[0].inputs[-1].name == x.name


def test_of_two_convolutions_the_later_takes_the_residual() -> None:
    m = Maker()
    x = m.input(1, H, W, 4)
    early, late = m.conv(x, 4), m.conv(m.relu(x), 4, k=1)
    for pair in ((early, late), (late, early)):
        first, second = (early, late) if pair[0] is early else (late, early)
        graph = fires(residual.fuse, graph_of(m.relu(m.binary(BinaryFn.ADD, *pair))), NEAR)
        (taken,) = [n for n in ops_of(graph, ops.Conv2d) if isinstance(n.op, ops.Conv2d) and n.op.residual]
        assert taken.inputs[1] is second.inputs[1]
        assert taken.inputs[-1].inputs[1] is first.inputs[1]


def test_residual_chains_and_the_activation_behind() -> None:
    m = Maker()
    x = m.conv(m.input(1, H, W, 4), 4)
    for _ in range(3):
        x = m.relu(m.binary(BinaryFn.ADD, m.conv(m.relu(x), 4, bias=True), x))
    graph = fires(residual.fuse, graph_of(x), Tol.FLOAT(reduction=200, scale=1000))
    graph = fires(activations.fuse, graph, Tol.EXACT)
    assert not ops_of(graph, ops.Binary)
    assert isinstance(graph.outputs[0].op, ops.Conv2d) and graph.outputs[0].op.activation is Activation.RELU


def test_what_is_no_residual_stays() -> None:
    m = Maker()
    x = m.input(1, 8, 9, 4)
    conv, y = m.conv(x, 4), m.input(1, 1, 1, 4, name="y:0")
    active = m.conv(x, 4, activation=Activation.RELU)
    must_not_fire(residual.fuse, graph_of(m.binary(BinaryFn.ADD, active, x)))
    must_not_fire(residual.fuse, graph_of(m.binary(BinaryFn.ADD, conv, y)))
    must_not_fire(residual.fuse, graph_of(m.binary(BinaryFn.SUB, conv, x)))
    must_not_fire(residual.fuse, graph_of(m.binary(BinaryFn.ADD, conv, m.relu(conv))))
    must_not_fire(residual.fuse, graph_of(m.binary(BinaryFn.ADD, conv, x), conv))
    must_not_fire(residual.fuse, graph_of(m.binary(BinaryFn.ADD, conv, conv)))
    must_not_fire(residual.fuse, graph_of(m.binary(BinaryFn.ADD, m.depthwise(x), x)))


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("fn", PoolFn)
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 2, 2)])
def test_a_window_over_the_whole_image_is_a_reduction(fn: PoolFn, layout: Layout, pads: tuple[int, ...]) -> None:
    m = Maker()
    x = m.input(2, 6, 7, 5) if layout is Layout.NHWC else m.input(2, 5, 6, 7)
    top, bottom, left, right = pads
    pool = ops.Pool(fn, (6 + top + bottom, 7 + left + right), (1, 3), (top, bottom, left, right), layout)
    graph = fires(pooling.to_reduction, graph_of(m.op(pool, x)), Tol.ULP(1))
    assert isinstance(graph.outputs[0].op, ops.Reduce)


def test_smaller_windows_stay() -> None:
    m = Maker()
    x = m.input(2, 6, 7, 5)
    for pool in (
        ops.Pool(PoolFn.AVG, (6, 6), (1, 1)),
        ops.Pool(PoolFn.AVG, (5, 7), (2, 1)),
        ops.Pool(PoolFn.AVG, (6, 7), (1, 1), (1, 0, 0, 0)),
    ):
        must_not_fire(pooling.to_reduction, graph_of(m.op(pool, x)))
    must_not_fire(pooling.to_reduction, graph_of(m.op(ops.Pool(PoolFn.AVG, (6, 7), (6, 7)), m.input(1, H, W, 3))))


def branch(m: Maker, x: Node, order: str, **conv: object) -> Node:
    """Return a 1x1 convolution of a concat; ``v`` in ``order`` is a vector over the image, ``m`` a map."""
    h, w = x.type.shape[1:3]
    parts: list[Node] = []
    for kind in order:
        if kind == "v":
            pooled = m.conv(m.op(ops.Reduce(ReduceFn.MEAN, (1, 2), True), x), 3, k=1)
            parts.append(m.op(ops.BroadcastTo((x.type.shape[0], h, w, 3)), pooled))
        else:
            parts.append(m.conv(x, 2))
    return m.conv(m.op(ops.Concat(3), *parts), 6, k=1, **conv)  # type: ignore[arg-type]


@STATIC_AND_SYMBOLIC
@pytest.mark.parametrize("order", ["vm", "mv", "mvm", "vmvmm"])
@pytest.mark.parametrize("bias", [False, True])
def test_vectors_leave_the_concat(order: str, bias: bool, size: Size) -> None:
    m = Maker()
    node = branch(m, m.input(1, *size, 4), order, bias=bias, activation=Activation.RELU)
    graph = fires(pooling_branch.split, graph_of(node), NEAR)
    assert not ops_of(graph, ops.BroadcastTo)
    op = graph.outputs[0].op
    assert isinstance(op, ops.Conv2d) and op.bias and op.activation is Activation.RELU
    assert not isinstance(graph.outputs[0].inputs[2].op, ops.Constant)


def test_a_short_vector_and_a_residual_are_kept_in_mind() -> None:
    m = Maker()
    x, v, y = m.input(1, H, W, 4), m.input(3, name="v:0"), m.input(1, H, W, 6, name="y:0")
    joined = m.op(ops.Concat(3), m.op(ops.BroadcastTo((1, H, W, 3)), v), x)
    conv = m.op(ops.Conv2d(residual=True), joined, m.random(1, 1, 7, 6), y)
    fires(pooling_branch.split, graph_of(conv), NEAR)
    x = m.input(3, H, W, 4)
    joined = m.op(ops.Concat(3), x, m.op(ops.BroadcastTo((3, H, W, 3)), v))
    fires(pooling_branch.split, graph_of(m.conv(joined, 5, k=1)), NEAR)


def test_what_is_no_pooling_branch_stays() -> None:
    m = Maker()
    x = m.input(1, 8, 9, 4)
    must_not_fire(pooling_branch.split, graph_of(branch(m, x, "mm")))
    must_not_fire(pooling_branch.split, graph_of(branch(m, m.input(2, 8, 9, 4), "vm")))
    must_not_fire(pooling_branch.split, graph_of(branch(m, x, "vm", pads=(1, 1, 1, 1))))
    node = branch(m, x, "vm")
    must_not_fire(pooling_branch.split, graph_of(node, node.inputs[0]))
    rows = m.op(ops.BroadcastTo((1, 8, 9, 3)), m.input(1, 8, 1, 3, name="rows:0"))
    must_not_fire(pooling_branch.split, graph_of(m.conv(m.op(ops.Concat(3), rows, x), 6, k=1)))
    must_not_fire(pooling_branch.split, graph_of(m.conv(m.op(ops.Concat(3), *branch(m, x, "vm").inputs[0].inputs), 6)))


def resized(m: Maker, x: Node, *sizes: Size, **flags: bool) -> Node:
    for size in sizes:
        x = m.op(ops.Resize(ResizeFn.BILINEAR, size, **flags), x)
    return x


def canonical(*outputs: Node) -> Graph:
    return graph_of(*outputs, level=Level.CANONICAL)


@pytest.mark.parametrize("flags", [{}, {"align_corners": True}, {"half_pixel_centers": True}], ids=str)
@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("cut", [False, True])
def test_resize_and_argmax_become_one(stages: int, cut: bool, flags: dict[str, bool]) -> None:
    m = Maker()
    image, logits = m.input(1, H, W, 3), m.input(1, 5, 6, 7, name="logits:0")
    every: list[Size] = [(9, 8), (H, 20), (40, 41)]
    sizes = every[-stages:]
    node = m.op(ops.ArgMax(3, DType.INT64), resized(m, logits, *sizes, **flags))
    if cut:
        node = m.op(ops.Slice((0, 0, 0), (1, H, W), (1, 1, 1)), node)
        node = m.op(ops.Reshape((1, H, W, 1)), node)
        node = m.op(ops.Reshape((1, H, W)), node)
    node = m.op(ops.Cast(DType.INT32), node)
    graph = fires(resize_argmax.fuse, canonical(node, m.relu(image)), Tol.EXACT)
    (fused,) = ops_of(graph, ops.ResizeArgMax)
    assert isinstance(fused.op, ops.ResizeArgMax)
    assert len(fused.op.stages) == min(stages, 2)
    assert fused.op.crop == ((H, W) if cut else (40, 41))
    assert not ops_of(graph, ops.ArgMax, ops.Slice, ops.Cast)
    assert len(ops_of(graph, ops.Resize)) == max(stages - 2, 0)


def test_what_is_no_resized_label_map_stays() -> None:
    m = Maker()
    x = m.input(1, 5, 6, 7)
    argmax = ops.ArgMax(3, DType.INT32)
    must_not_fire(resize_argmax.fuse, canonical(m.op(argmax, x)))
    must_not_fire(resize_argmax.fuse, canonical(m.op(argmax, m.op(ops.Resize(ResizeFn.NEAREST, (9, 9)), x))))
    must_not_fire(resize_argmax.fuse, canonical(m.op(ops.ArgMax(1, DType.INT32), resized(m, x, (9, 9)))))
    large = resized(m, x, (9, 9))
    must_not_fire(resize_argmax.fuse, canonical(m.op(argmax, large), large))
    image = m.input(1, 5, 6, 3, dtype=DType.UINT8)
    must_not_fire(resize_argmax.fuse, canonical(m.op(argmax, resized(m, image, (9, 9)))))


def test_slices_that_are_no_crop_from_the_corner_stay_behind() -> None:
    m = Maker()
    labels = m.op(ops.ArgMax(3, DType.INT32), resized(m, m.input(1, 5, 6, 7), (9, 9)))
    for cut in (ops.Slice((0, 1, 0), (1, 8, 9), (1, 1, 1)), ops.Slice((0, 0, 0), (1, 5, 9), (1, 2, 1))):
        graph = fires(resize_argmax.fuse, canonical(m.op(cut, labels)), Tol.EXACT)
        assert isinstance(graph.outputs[0].op, ops.Slice)
    two = m.op(ops.ArgMax(3, DType.INT32), resized(m, m.input(2, 5, 6, 7), (9, 9)))
    graph = fires(resize_argmax.fuse, canonical(m.op(ops.Slice((0, 0, 0), (1, 9, 9), (1, 1, 1)), two)), Tol.EXACT)
    assert isinstance(graph.outputs[0].op, ops.Slice)
    both = fires(resize_argmax.fuse, canonical(m.op(ops.Cast(DType.FLOAT32), labels), labels), Tol.EXACT)
    assert isinstance(both.outputs[0].op, ops.Cast)
