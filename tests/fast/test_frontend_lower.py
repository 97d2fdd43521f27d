"""Builders check what they are given, for handlers of formats that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from smalti.errors import GraphError
from smalti.frontend.budget import DEFAULT_LIMITS
from smalti.frontend.context import Lowering
from smalti.frontend.importing.evaluate import Evaluation, InputRule
from smalti.frontend.lower import (
    activations,
    blocks,
    dense,
    einsum,
    elementwise,
    fill,
    join,
    pad,
    powers,
    products,
    reduce,
    reductions,
    resize,
    shape,
    slices,
    window,
)
from smalti.frontend.signals import Unsupported
from smalti.frontend.symbolic import from_array
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.graph import Graph, Level, TensorType
from smalti.ir.ops import Layout
from smalti.ir.reference import run
from smalti.numerics import DType
from tiny_format import read

NHWC = Layout.NHWC
ONE = (1, 1)


def value(*sizes: int, dtype: Any = np.float32) -> Value:
    array = np.arange(np.prod(sizes, dtype=int)).astype(dtype).reshape(sizes)
    kind = DType.from_numpy(array.dtype)
    return Value(TensorType(kind, sizes), "v", array=array, sym=from_array(array, kind))


def lowering() -> Lowering:
    raw = read({"nodes": [{"op": "made", "in": [], "out": ["r"]}]}, DEFAULT_LIMITS)
    return Lowering(Evaluation(raw, InputRule((), {}, 1, {}), 1 << 20), raw.nodes[0], ())


IMAGE, VECTOR = value(1, 4, 4, 2), value(3)
INTS = value(3, dtype=np.int32)
Call = Callable[[Lowering], object]
REFUSED: list[tuple[Call, str]] = [
    (lambda c: pad.pad(c, IMAGE, ((1, 1),)), "1 pairs of paddings for"),
    (lambda c: pad.pad(c, VECTOR, ((1, -1),)), "a padding is negative: -1"),
    (lambda c: pad.mirror(c, VECTOR, ((3, 0),), ops.PadMode.REFLECT), "mirrors 3 elements of 3"),
    (lambda c: resize.resize(c, VECTOR, ops.ResizeFn.NEAREST, (1, 1), False, False), "an operand must have 4 dim"),
    (lambda c: resize.resize(c, IMAGE, ops.ResizeFn.NEAREST, (1, 0), False, False), "the size 0 is not positive"),
    (lambda c: slices.gather(c, VECTOR, VECTOR, 0), "indices float32"),
    (lambda c: slices.piece(c, VECTOR, (0, 0), (1, 1)), "2 begins and 2 sizes"),
    (lambda c: slices.piece(c, VECTOR, (2,), (2,)), "takes 2 elements from 2 on of 3"),
    (lambda c: join.split(c, VECTOR, 0, [0] * 4097), "4097 parts"),
    (lambda c: join.split(c, VECTOR, 0, [1, 1]), "do not add up"),
    (lambda c: join.split_evenly(c, VECTOR, 0, 0, "outputs"), "outputs is 0"),
    (lambda c: join.unstack(c, VECTOR, 0, 2, "outputs"), "outputs is 2 for axis 0"),
    (lambda c: dense.batch_norm(c, IMAGE, VECTOR, VECTOR, VECTOR, VECTOR, -1.0, NHWC), "epsilon is -1.0"),
    (lambda c: dense.bias_add(c, IMAGE, VECTOR, NHWC), "a bias float32"),
    (lambda c: dense.matmul(c, INTS, INTS, False, False), "element type int32"),
    (lambda c: blocks.space_depth(c, IMAGE, ops.SpaceToDepth, 0, NHWC), "the size of blocks is 0"),
    (lambda c: blocks.space_batch(c, IMAGE, ops.SpaceToBatch, (0, 1), (0, 0, 0, 0)), r"block sizes \[0, 1\]"),
    (lambda c: window.check_paddings(c, (0, -1), "pads"), r"pads \[0, -1\] must not be negative"),
    (lambda c: window.read_extents(c, (1, 0), "strides", (0, 1)), r"strides \[1, 0\] must be positive"),
    (lambda c: window.pool(c, IMAGE, ops.PoolFn.MAX, ONE, ONE, (1, 0, 0, 0), NHWC), "see padding alone"),
    (lambda c: reduce.reduce(c, ops.ReduceFn.SUM, IMAGE, (1, -3), False), r"the axes \[1, 1\] repeat"),
    (lambda c: shape.transpose(c, IMAGE, (0, 1, 2, 2)), "does not permute"),
    (lambda c: shape.reshape(c, VECTOR, (-1, -1)), "more than one size of the shape is -1"),
    (lambda c: shape.reshape(c, VECTOR, (2, -1)), "does not divide into"),
    (lambda c: shape.squeeze(c, VECTOR, (0,)), "are not all of size 1"),
    (lambda c: elementwise.add_all(c, [VECTOR, INTS]), "different types"),
    (lambda c: elementwise.select(c, VECTOR, VECTOR, VECTOR), "a condition float32"),
    (lambda c: fill.arange(c, 0, 9, 0, DType.INT32), "delta is zero"),
    (lambda c: fill.tile(c, VECTOR, (1, 1)), "2 multiples for"),
    (lambda c: fill.broadcast(c, VECTOR, (-1,)), "a size is negative"),
    (lambda c: elementwise.limit(c, VECTOR, VECTOR, None), "a bound must be one number"),
    (lambda c: activations.celu(c, VECTOR, 0.0), r"attribute alpha is 0\.0"),
    (lambda c: activations.prelu(c, VECTOR, IMAGE), "do not broadcast"),
    (lambda c: activations.gelu(c, INTS), "element type int32"),
    (lambda c: powers.remainder(c, VECTOR, INTS), "the operands have types"),
    (lambda c: products.matmul(c, VECTOR, INTS), "the operands have types"),
    (lambda c: products.matmul(c, value(), VECTOR), "a matrix product of"),
    (lambda c: einsum.einsum(c, "i,i->", [VECTOR, INTS]), "the operands have different types"),
    (lambda c: reductions.norm2(c, INTS, (0,), False), "element type int32"),
    (lambda c: reductions.softmax(c, INTS, 0, False), "element type int32"),
    (lambda c: c.value(0), "input 0 is left out"),
]


@pytest.mark.parametrize(("call", "text"), REFUSED)
def test_a_builder_refuses_what_does_not_fit(call: Call, text: str) -> None:
    with pytest.raises((GraphError, Unsupported), match=text):
        call(lowering())


@pytest.mark.parametrize(("dtype", "want"), [(DType.BOOL, True), (DType.INT32, 1)])
def test_one_is_true_where_tensors_are_flags(dtype: DType, want: object) -> None:
    found = fill.filled_like(lowering(), 1, TensorType(dtype, (2,)))
    assert found.sym is not None
    assert [type(v) is type(want) and v == want for v in found.sym.tolist()] == [True, True]


def test_a_bias_of_nchw_images_stands_before_height_and_width() -> None:
    ctx = lowering()
    x, bias = value(1, 2, 2, 3), value(2)
    node = ctx.node_of(dense.bias_add(ctx, x, bias, Layout.NCHW))
    assert x.array is not None
    want = np.asarray(x.array) + np.array([0, 1], np.float32).reshape(1, 2, 1, 1)
    np.testing.assert_array_equal(run(Graph((), (node,), ("r",), Level.IMPORTED), {})["r"], want)
