"""Space/batch pairs: TensorFlow's spelling of dilation, at every size, and what is left of them."""

from __future__ import annotations

import numpy as np
import pytest

from passes_kit import Axis, H, Maker, W, fires, graph_of, must_not_fire, ops_of, same_numbers, tensorflow_axis
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Graph, Node
from smalti.ir.ops import Activation, BinaryFn, UnaryFn
from smalti.passes import atrous, space_batch
from smalti.passes.rewrite import rewrite
from tolerance import Tol

Size = int | Dim
NEAR = Tol.FLOAT(reduction=100, scale=10)
LEFT = (ops.SpaceToBatch, ops.BatchToSpace)


def spread(m: Maker, x: Node, block: tuple[int, int], rows: Axis, columns: Axis) -> Node:
    return m.op(ops.SpaceToBatch(block, (*rows[0], *columns[0])), x)


def gather(m: Maker, x: Node, block: tuple[int, int], rows: Axis, columns: Axis) -> Node:
    return m.op(ops.BatchToSpace(block, (*rows[1], *columns[1])), x)


def tensorflow_conv(m: Maker, x: Node, block: tuple[int, int], kernel: int, same: bool, depthwise: bool) -> Node:
    rows = tensorflow_axis(x.type.shape[1], block[0], kernel, same)
    columns = tensorflow_axis(x.type.shape[2], block[1], kernel, same)
    inside = spread(m, x, block, rows, columns)
    conv = m.depthwise(inside, kernel, pads=(0,) * 4) if depthwise else m.conv(inside, 5, kernel, pads=(0,) * 4)
    return gather(m, conv, block, rows, columns)


@pytest.mark.parametrize("depthwise", [False, True], ids=["conv", "depthwise"])
@pytest.mark.parametrize("same", [False, True], ids=["valid", "same"])
@pytest.mark.parametrize(
    ("block", "kernel"), [((2, 2), 3), ((4, 4), 3), ((3, 2), 3), ((6, 6), 3), ((2, 1), 5), ((2, 3), 2)]
)
def test_pairs_become_dilations_at_any_size(block: tuple[int, int], kernel: int, same: bool, depthwise: bool) -> None:
    m = Maker()
    before = graph_of(tensorflow_conv(m, m.input(2, H, W, 3), block, kernel, same, depthwise))
    after, notes = atrous.to_dilation(before)
    assert notes == ("SpaceToBatch/BatchToSpace: 1 pair became a dilated convolution",)
    assert not ops_of(after, *LEFT)
    (conv,) = ops_of(after, ops.Conv2d)
    assert isinstance(conv.op, ops.Conv2d)
    assert conv.op.dilation == block
    assert all(isinstance(p, int) for p in conv.op.pads)
    smallest = 1 if same else (kernel - 1) * max(block) + 1
    for h, w in ((smallest, smallest + 3), (smallest + 1, smallest + 6), (24, 25), (29, 36)):
        same_numbers(before, after, NEAR, {"H": h, "W": w})


def test_random_static_paddings_and_crops() -> None:
    rng = np.random.default_rng(5)
    fired = 0
    for seed in range(150):
        graph = random_pair(Maker(seed), rng)
        if graph is None:
            continue
        after, stats = rewrite(graph, atrous.RULES)
        fired += stats.total
        assert bool(stats.total) != bool(ops_of(after, *LEFT))
        same_numbers(graph, after, NEAR)
    assert 40 < fired < 150


def random_pair(m: Maker, rng: np.random.Generator) -> Graph | None:
    """Return a pair with any paddings, inner padding, inner dilation and crops that fit a small image."""
    block = tuple(int(v) for v in rng.integers(1, 4, 2))
    kernel, dilation = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    sizes, axes = rng.integers(3, 12, 2), []
    inner = [int(v) for v in rng.integers(0, 3, 4)]
    for i in (0, 1):
        before = int(rng.integers(0, 5))
        after = (-(before + int(sizes[i]))) % block[i] + block[i] * int(rng.integers(0, 3))
        blocks = (before + int(sizes[i]) + after) // block[i]
        result = (blocks + inner[2 * i] + inner[2 * i + 1] - (kernel - 1) * dilation) * block[i]
        first, last = int(rng.integers(0, 4)), int(rng.integers(0, 4))
        if result - first - last <= 0:
            return None
        axes.append(((before, after), (first, last)))
    x = spread(m, m.input(1, int(sizes[0]), int(sizes[1]), 2), block, *axes)  # type: ignore[arg-type]
    conv = m.conv(x, 3, kernel, dilation=(dilation, dilation), pads=tuple(inner))
    return graph_of(gather(m, conv, block, *axes))  # type: ignore[arg-type]


def test_elementwise_operations_inside_the_pair_move_out() -> None:
    m = Maker()
    x = m.input(1, H, W, 4)
    axes = (tensorflow_axis(H, 2, 3, True), tensorflow_axis(W, 2, 3, True))
    y = m.relu(spread(m, x, (2, 2), *axes))
    y = m.binary(BinaryFn.MUL, y, m.random(4))
    y = m.depthwise(y, pads=(0, 0, 0, 0))
    y = m.unary(UnaryFn.RELU6, m.batch_norm(m.binary(BinaryFn.ADD, m.random(1, 1, 1, 4), y)))
    y = m.conv(y, 7, k=1, bias=True, activation=Activation.RELU)
    y = m.unary(UnaryFn.SIGMOID, y)
    graph = fires(atrous.to_dilation, graph_of(gather(m, y, (2, 2), *axes)), NEAR)
    assert not ops_of(graph, *LEFT)


def test_pairs_that_cancel_go() -> None:
    m = Maker()
    x = m.input(2, 7, 9, 3)
    axes = (((1, 0), (1, 0)), ((0, 3), (0, 3)))
    y = gather(m, spread(m, x, (2, 3), *axes), (2, 3), *axes)
    after, stats = rewrite(graph_of(m.relu(y)), atrous.RULES)
    assert stats.total == 1 and not ops_of(after, *LEFT)
    same_numbers(graph_of(m.relu(y)), after, Tol.EXACT)
    plain = (((0, 0), (0, 0)), ((0, 0), (0, 0)))
    z = m.input(8, 3, 4, 3)
    y = m.relu(spread(m, gather(m, z, (2, 2), *plain), (2, 2), *plain))
    after, stats = rewrite(graph_of(y), atrous.RULES)
    assert not ops_of(after, *LEFT)
    same_numbers(graph_of(y), after, Tol.EXACT)


def pair_around(m: Maker, axes: tuple[Axis, Axis], block: tuple[int, int] = (2, 2), **attrs: object) -> Node:
    conv = m.conv(spread(m, m.input(1, 8, 8, 3), (2, 2), *axes), 4, **{"pads": (0, 0, 0, 0), **attrs})  # type: ignore[arg-type]
    return gather(m, conv, block, *axes)


PLAIN: tuple[Axis, Axis] = (((2, 2), (0, 0)), ((2, 2), (0, 0)))


def test_what_is_no_dilation_stays() -> None:
    m = Maker()
    must_not_fire(atrous.to_dilation, graph_of(pair_around(m, PLAIN, block=(4, 1))))
    must_not_fire(atrous.to_dilation, graph_of(pair_around(m, PLAIN, stride=(2, 2))))
    cropped_more_than_padded: tuple[Axis, Axis] = (((0, 0), (1, 1)), ((2, 2), (0, 0)))
    must_not_fire(atrous.to_dilation, graph_of(pair_around(m, cropped_more_than_padded)))
    pair = pair_around(m, PLAIN)
    must_not_fire(atrous.to_dilation, graph_of(pair, pair.inputs[0]))


def test_position_dependent_arithmetic_stays_inside() -> None:
    m = Maker()
    x = spread(m, m.input(1, 8, 8, 3), (2, 2), *PLAIN)
    per_pixel = m.binary(BinaryFn.ADD, x, m.random(6, 6, 3))
    must_not_fire(atrous.to_dilation, graph_of(gather(m, per_pixel, (2, 2), *PLAIN)))
    shifted = m.conv(m.binary(BinaryFn.ADD, x, m.random(3)), 4, pads=(0, 0, 0, 0))
    must_not_fire(atrous.to_dilation, graph_of(gather(m, shifted, (2, 2), *PLAIN)))
    unbounded = m.conv(m.binary(BinaryFn.MUL, x, m.const([1.0, np.inf, 1.0])), 4, pads=(0, 0, 0, 0))
    must_not_fire(atrous.to_dilation, graph_of(gather(m, unbounded, (2, 2), *PLAIN)))
    grown = m.conv(m.unary(UnaryFn.EXP, x), 4, pads=(0, 0, 0, 0))
    must_not_fire(atrous.to_dilation, graph_of(gather(m, grown, (2, 2), *PLAIN)))


@pytest.mark.parametrize("size", [(7, 9), (H, W)], ids=["static", "symbolic"])
def test_what_is_left_is_lowered(size: tuple[Size, Size]) -> None:
    m = Maker()
    h, w = size
    x = m.input(2, h, w, 3)
    axes = (((1, (1 - h) % 2), (1, 0)), ((0, (-w) % 3), (0, 1)))
    y = m.unary(UnaryFn.EXP, spread(m, x, (2, 3), *axes))
    graph = fires(space_batch.lower, graph_of(gather(m, y, (2, 3), *axes), y), Tol.EXACT)
    assert not ops_of(graph, *LEFT)


def test_lowering_leaves_other_graphs_alone() -> None:
    m = Maker()
    must_not_fire(space_batch.lower, graph_of(m.conv(m.input(1, H, W, 3), 4)))
