"""What goes into weights and paddings: batch norm, scales, shifts, pads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from passes_kit import SIZES, H, Maker, W, fires, graph_of, must_not_fire, ops_of
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.ir.ops import Activation, BinaryFn, Layout, PadMode, PoolFn
from smalti.numerics import DType
from smalti.passes import batchnorm, pads, scales
from tolerance import Tol, assert_close

Size = tuple[int | Dim, int | Dim]
NEAR = Tol.FLOAT(reduction=100, scale=10)
STATIC_AND_SYMBOLIC = pytest.mark.parametrize("size", SIZES, ids=["static", "symbolic"])


def conv_like(m: Maker, kind: str, x: Node) -> Node:
    if kind == "conv":
        return m.conv(x, 6)
    return m.depthwise(x, multiplier=2) if kind == "depthwise" else m.conv(x, 6, bias=True, stride=(2, 2))


@STATIC_AND_SYMBOLIC
@pytest.mark.parametrize("kind", ["conv", "depthwise", "biased"])
def test_batch_norm_goes_into_weights(kind: str, size: Size) -> None:
    m = Maker()
    graph = fires(batchnorm.fold, graph_of(m.batch_norm(conv_like(m, kind, m.input(2, *size, 3)))), NEAR)
    (conv,) = ops_of(graph, ops.Conv2d)
    assert graph.outputs == (conv,)
    assert len(conv.inputs) == 3


def test_folded_weights_are_rounded_once() -> None:
    m = Maker()
    conv = m.conv(m.input(1, H, W, 3), 8)
    norm = m.batch_norm(conv)
    after, _ = batchnorm.fold(graph_of(norm))
    weights, gamma, beta, mean, variance = (
        n.op.value.astype(np.float64) for n in (conv.inputs[1], *norm.inputs[1:]) if isinstance(n.op, ops.Constant)
    )
    scale = gamma / np.sqrt(variance + float(np.float32(1e-3)))
    _, got_weights, got_bias = after.outputs[0].inputs
    assert isinstance(got_weights.op, ops.Constant) and isinstance(got_bias.op, ops.Constant)
    assert_close(got_weights.op.value, (weights * scale).astype(np.float32), Tol.EXACT)
    assert_close(got_bias.op.value, (beta - mean * scale).astype(np.float32), Tol.EXACT)


@STATIC_AND_SYMBOLIC
@pytest.mark.parametrize(
    ("fn", "left"),
    [(fn, left) for fn in (BinaryFn.MUL, BinaryFn.ADD, BinaryFn.SUB) for left in (False, True)]
    + [(BinaryFn.DIV, False)],
)
@pytest.mark.parametrize("kind", ["conv", "depthwise", "biased"])
def test_arithmetic_per_channel_goes_into_weights(kind: str, fn: BinaryFn, left: bool, size: Size) -> None:
    m = Maker()
    conv = conv_like(m, kind, m.input(2, *size, 3))
    for c in (m.random(6, low=0.5, high=2), m.random(1, 1, 6, low=0.5, high=2), m.const(1.5), m.const([[0.75]])):
        pair = (c, conv) if left else (conv, c)
        graph = fires(batchnorm.fold, graph_of(m.binary(fn, *pair)), NEAR)
        assert isinstance(graph.outputs[0].op, ops.Conv2d)


def test_a_shift_joins_a_convolution_with_a_residual() -> None:
    m = Maker()
    x, y = m.input(1, H, W, 4), m.input(1, H, W, 4, name="y:0")
    conv = m.op(ops.Conv2d(residual=True), x, m.random(1, 1, 4, 4), y)
    fires(batchnorm.fold, graph_of(m.binary(BinaryFn.ADD, conv, m.random(4))), NEAR)
    must_not_fire(batchnorm.fold, graph_of(m.binary(BinaryFn.MUL, conv, m.random(4))))


def test_folding_reaches_through_batch_to_space() -> None:
    m = Maker()
    x = m.op(ops.SpaceToBatch((2, 2), (0, 0, 0, 0)), m.input(1, 8, 8, 3))
    y = m.op(ops.BatchToSpace((2, 2), (1, 0, 1, 0)), m.conv(x, 6, stride=(2, 2)))
    graph = fires(batchnorm.fold, graph_of(m.binary(BinaryFn.MUL, m.batch_norm(y), m.random(6))), NEAR)
    assert isinstance(graph.outputs[0].op, ops.BatchToSpace)


def test_what_must_not_be_folded() -> None:
    m = Maker()
    x = m.input(1, 8, 9, 3)
    conv = m.conv(x, 9)
    keep: list[Callable[[], tuple[Node, ...]]] = [
        lambda: (m.binary(BinaryFn.MUL, conv, m.random(9)), conv),
        lambda: (m.binary(BinaryFn.ADD, conv, conv),),
        lambda: (m.binary(BinaryFn.ADD, conv, m.random(9, 1)),),
        lambda: (m.binary(BinaryFn.ADD, conv, m.random(2, 8, 9, 9)),),
        lambda: (m.binary(BinaryFn.DIV, m.random(9, low=1, high=2), conv),),
        lambda: (m.binary(BinaryFn.DIV, conv, m.const(np.zeros(9))),),
        lambda: (m.binary(BinaryFn.MAXIMUM, conv, m.random(9)),),
        lambda: (m.binary(BinaryFn.MUL, m.conv(x, 9, activation=Activation.RELU), m.random(9)),),
        lambda: (m.binary(BinaryFn.MUL, m.relu(conv), m.random(9)),),
        lambda: (m.binary(BinaryFn.MUL, m.op(ops.Conv2d(), x, m.input(1, 1, 3, 4, name="w:0")), m.random(4)),),
    ]
    for make in keep:
        must_not_fire(batchnorm.fold, graph_of(*make()))


def test_a_batch_norm_alone_is_written_out() -> None:
    m = Maker()
    x = m.input(1, H, W, 4)
    for layout, image in ((Layout.NHWC, x), (Layout.NCHW, m.input(1, 4, H, W))):
        graph = fires(batchnorm.fold, graph_of(m.relu(m.batch_norm(m.relu(image), layout))), NEAR)
        assert [n.op.fn for n in ops_of(graph, ops.Binary)] == [BinaryFn.MUL, BinaryFn.ADD]  # type: ignore[attr-defined]


@pytest.mark.parametrize("layout", Layout)
def test_a_batch_norm_with_computed_parameters_is_written_out(layout: Layout) -> None:
    m = Maker()
    x = m.input(1, H, W, 4) if layout is Layout.NHWC else m.input(1, 4, H, W)
    inputs = [m.input(4, name=f"{name}:0") for name in ("gamma", "beta", "mean")]
    variance = m.op(ops.Unary(ops.UnaryFn.SQUARE), m.input(4, name="v:0"))
    graph = fires(batchnorm.fold, graph_of(m.op(ops.BatchNorm(1e-3, layout), x, *inputs, variance)), NEAR)
    assert not ops_of(graph, ops.BatchNorm)


def test_a_half_precision_batch_norm_is_computed_in_the_precision_of_its_parameters() -> None:
    m = Maker()
    x = m.input(1, H, W, 4, dtype=DType.FLOAT16)
    graph = fires(batchnorm.fold, graph_of(m.batch_norm(x)), Tol.FLOAT(reduction=1, scale=4))
    assert len(ops_of(graph, ops.Cast)) == 2


@STATIC_AND_SYMBOLIC
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_scale_goes_into_the_weights_behind_it(depthwise: bool, size: Size) -> None:
    m = Maker()
    x = m.input(2, *size, 4)
    for scaled in (m.binary(BinaryFn.MUL, m.random(4), x), m.binary(BinaryFn.DIV, x, m.const(3.0))):
        behind = m.depthwise(scaled, multiplier=2, bias=True) if depthwise else m.conv(scaled, 5)
        graph = fires(scales.fold, graph_of(behind), NEAR)
        assert not ops_of(graph, ops.Binary)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_shift_goes_into_the_bias_where_nothing_is_padded(bias: bool, depthwise: bool) -> None:
    m = Maker()
    x = m.binary(BinaryFn.SUB, m.random(4), m.input(1, H, W, 4))
    bare = (0, 0, 0, 0)
    behind = m.depthwise(x, multiplier=2, bias=bias, pads=bare) if depthwise else m.conv(x, 5, bias=bias, pads=bare)
    graph = fires(scales.fold, graph_of(behind), NEAR)
    assert not ops_of(graph, ops.Binary)
    padded = m.depthwise(x, bias=bias) if depthwise else m.conv(x, 5, bias=bias)
    must_not_fire(scales.fold, graph_of(padded))


def test_scales_that_others_read_stay() -> None:
    m = Maker()
    x = m.binary(BinaryFn.MUL, m.input(1, H, W, 4), m.random(4))
    must_not_fire(scales.fold, graph_of(m.conv(x, 5), m.relu(x)))
    must_not_fire(scales.fold, graph_of(m.conv(x, 5), x))
    graph = fires(scales.fold, graph_of(m.conv(x, 5), m.depthwise(x)), NEAR)
    assert not ops_of(graph, ops.Binary)
    per_pixel = m.binary(BinaryFn.MUL, m.input(1, 6, 6, 4), m.random(6, 4))
    must_not_fire(scales.fold, graph_of(m.conv(per_pixel, 5)))


IMAGE = ((0, 0), (1, 2), (3, 0), (0, 0))


@STATIC_AND_SYMBOLIC
def test_zero_padding_joins_convolutions(size: Size) -> None:
    m = Maker()
    x = m.op(ops.Pad(IMAGE), m.input(1, *size, 4))
    for behind in (m.conv(x, 5, stride=(2, 2)), m.depthwise(x, bias=True), m.conv(x, 5, dilation=(2, 1))):
        graph = fires(pads.fold, graph_of(behind), Tol.EXACT)
        assert not ops_of(graph, ops.Pad)


def test_symbolic_padding_joins_convolutions() -> None:
    m = Maker()
    x = m.op(ops.Pad(((0, 0), (0, (-H) % 4), (W % 3, 0), (0, 0))), m.input(1, H, W, 4))
    assert not ops_of(fires(pads.fold, graph_of(m.conv(x, 5, stride=(2, 2))), Tol.EXACT), ops.Pad)


def test_padding_with_the_lowest_value_joins_maximum_pooling() -> None:
    m = Maker()
    pool = ops.Pool(PoolFn.MAX, (3, 3), (2, 2), (0, 1, 0, 1))
    x = m.op(ops.Pad(IMAGE, value=-np.inf), m.input(1, H, W, 4))
    assert not ops_of(fires(pads.fold, graph_of(m.op(pool, x)), Tol.EXACT), ops.Pad)
    y = m.op(ops.Pad(IMAGE), m.input(1, H, W, 4, dtype=DType.UINT8))
    assert not ops_of(fires(pads.fold, graph_of(m.op(pool, y)), Tol.EXACT), ops.Pad)


def test_other_padding_stays() -> None:
    m = Maker()
    x = m.input(1, 8, 9, 4)
    must_not_fire(pads.fold, graph_of(m.conv(m.op(ops.Pad(IMAGE, value=1.0), x), 5)))
    must_not_fire(pads.fold, graph_of(m.conv(m.op(ops.Pad(IMAGE, PadMode.REFLECT), x), 5)))
    must_not_fire(pads.fold, graph_of(m.conv(m.op(ops.Pad(((0, 1), *IMAGE[1:])), x), 5)))
    must_not_fire(pads.fold, graph_of(m.conv(m.op(ops.Pad((*IMAGE[:3], (0, 1))), x), 5)))
    must_not_fire(pads.fold, graph_of(m.op(ops.Pool(PoolFn.AVG, (2, 2), (1, 1)), m.op(ops.Pad(IMAGE), x))))
    must_not_fire(pads.fold, graph_of(m.op(ops.Pool(PoolFn.MAX, (2, 2), (1, 1)), m.op(ops.Pad(IMAGE), x))))
    lowest = m.op(ops.Pad(IMAGE, value=-np.inf), x)
    must_not_fire(pads.fold, graph_of(m.op(ops.Pool(PoolFn.AVG, (2, 2), (1, 1)), lowest)))
    image = m.op(ops.Pad(IMAGE), m.input(1, 8, 9, 3, dtype=DType.UINT8))
    must_not_fire(pads.fold, graph_of(m.conv(image, 5, input_offset=127.5)))
