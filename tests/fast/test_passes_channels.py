"""A choice of channels behind a convolution becomes one of its weights."""

from __future__ import annotations

import numpy as np
import pytest

from passes_kit import ANY_SIZE, SIZES, Maker, fires, graph_of, must_not_fire, ops_of
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.ir.ops import Layout, UnaryFn
from smalti.passes import channel_order, layout
from tolerance import Tol

ORDER = [0, 4, 1, 5, 2, 6, 3, 7]


def gather(m: Maker, x: Node, order: list[int], axis: int = 3) -> Node:
    return m.op(ops.Gather(axis), x, m.const(np.array(order), "int32"))


@pytest.mark.parametrize("size", SIZES, ids=["static", "symbolic"])
def test_an_order_of_channels_goes_into_the_weights(size: tuple[int | Dim, int | Dim]) -> None:
    m = Maker()
    x = m.input(1, *size, 3)
    for bias in (False, True):
        node = gather(m, m.unary(UnaryFn.TANH, m.relu(m.conv(x, 8, bias=bias))), ORDER)
        graph = fires(channel_order.fold, graph_of(node), Tol.EXACT, ANY_SIZE)
        assert not ops_of(graph, ops.Gather)
    fewer = fires(channel_order.fold, graph_of(gather(m, m.conv(x, 8, bias=True), [7, 7, 1])), Tol.EXACT, ANY_SIZE)
    assert ops_of(fewer, ops.Conv2d)[0].type.shape[3] == 3


def test_what_is_left_alone() -> None:
    m = Maker()
    x = m.input(1, 5, 6, 3)
    conv = m.conv(x, 8)
    must_not_fire(channel_order.fold, graph_of(gather(m, conv, [*ORDER, 0])))
    must_not_fire(channel_order.fold, graph_of(gather(m, conv, [0, 1], axis=2)))
    must_not_fire(channel_order.fold, graph_of(gather(m, conv, ORDER), conv))
    shared = m.relu(conv)
    must_not_fire(channel_order.fold, graph_of(gather(m, shared, ORDER), shared))
    must_not_fire(channel_order.fold, graph_of(gather(m, x, [0, 2])))


def test_transposes_sink_below_a_choice_of_channels() -> None:
    m = Maker()
    x = m.input(1, 12, 5, 6)
    picked = gather(m, m.conv(x, 8, layout=Layout.NCHW), ORDER, axis=1)
    node = m.op(ops.DepthToSpace(2, Layout.NCHW), picked)
    graph = fires(layout.to_nhwc, graph_of(node), Tol.FLOAT(200))
    assert len(ops_of(graph, ops.Transpose)) == 2
    folded = fires(channel_order.fold, graph, Tol.EXACT)
    assert not ops_of(folded, ops.Gather)


def test_transposes_stay_above_a_table_of_numbers() -> None:
    m = Maker()
    turned = m.op(ops.Transpose((0, 3, 1, 2)), m.input(1, 5, 6, 4))
    table = m.op(ops.Gather(1), turned, m.const(np.array([[0, 1], [2, 3]]), "int32"))
    must_not_fire(layout.to_nhwc, graph_of(table))
