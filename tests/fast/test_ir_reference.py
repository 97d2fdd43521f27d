"""The numpy meaning against loops written out, and what ``run`` promises about inputs, taps and types."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from random_graphs import GraphMaker, random_inputs
from smalti.errors import CompilerError, InputError, UsageError
from smalti.ir import dims, ops
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import make_node
from smalti.ir.ops import BinaryFn, Layout, PoolFn, ReduceFn, ResizeFn, UnaryFn
from smalti.ir.reference import bfloat16_to_float32, float32_to_bfloat16, run
from smalti.ir.schema import eval_op
from smalti.ir.sizes import evaluate
from smalti.numerics import DType
from tolerance import Tol, assert_close

H, W = dims.symbol("H", 1, 64), dims.symbol("W")


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def floats(*shape: int) -> np.ndarray:
    return rng().normal(0, 1, shape).astype(np.float32)


def conv_by_loops(x: np.ndarray, w: np.ndarray, op: ops.Conv2d) -> np.ndarray:
    """Return the convolution of NHWC ``x`` in float64, one product at a time."""
    top, bottom, left, right = (evaluate(p, {}) for p in op.pads)
    n, h, wide, _ = x.shape
    kh, kw, depth, cout = w.shape
    rows = (h + top + bottom - ((kh - 1) * op.dilation[0] + 1)) // op.stride[0] + 1
    columns = (wide + left + right - ((kw - 1) * op.dilation[1] + 1)) // op.stride[1] + 1
    result = np.zeros((n, rows, columns, cout))
    for i, y, xx, ky, kx in itertools.product(range(n), range(rows), range(columns), range(kh), range(kw)):
        sy, sx = y * op.stride[0] + ky * op.dilation[0] - top, xx * op.stride[1] + kx * op.dilation[1] - left
        if 0 <= sy < h and 0 <= sx < wide:
            for k, o in itertools.product(range(depth), range(cout)):
                channel = o // (cout // op.groups) * depth + k
                result[i, y, xx, o] += float(x[i, sy, sx, channel]) * float(w[ky, kx, k, o])
    return result.astype(np.float32)


@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 3)])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 2, 3, 0)])
@pytest.mark.parametrize(("groups", "results"), [(1, 2), (2, 6), (4, 4), (4, 8)])
def test_convolution_is_that_of_loops(
    stride: tuple[int, int], dilation: tuple[int, int], pads: ops.Pads, groups: int, results: int
) -> None:
    x, w = floats(2, 7, 8, 4), floats(3, 2, 4 // groups, results)
    op = ops.Conv2d(stride, dilation, pads, groups=groups)
    want = conv_by_loops(x, w, op)
    assert_close(eval_op(op, (x, w), {}), want, Tol.FLOAT(reduction=24))
    nchw = replace(op, layout=Layout.NCHW)
    assert_close(eval_op(nchw, (x.transpose(0, 3, 1, 2), w), {}), want.transpose(0, 3, 1, 2), Tol.FLOAT(reduction=24))


def test_convolution_epilogue_order() -> None:
    x, w, bias, residual = floats(1, 3, 4, 2), floats(1, 1, 2, 3), floats(3), floats(1, 3, 4, 3) * 5
    plain = eval_op(ops.Conv2d(), (x, w), {})
    for activation, low, high in ((ops.Activation.RELU, 0, np.inf), (ops.Activation.RELU6, 0, 6)):
        op = ops.Conv2d(bias=True, residual=True, activation=activation)
        want = np.clip(plain + bias + residual, np.float32(low), np.float32(high))
        assert_close(eval_op(op, (x, w, bias, residual), {}), want, Tol.EXACT)


def test_padding_of_pixels_is_the_offset() -> None:
    pixels = rng().integers(0, 256, (1, 4, 5, 3), dtype=np.uint8)
    w = floats(3, 3, 3, 2)
    op = ops.Conv2d(pads=(1, 1, 1, 1), input_offset=127.5)
    grey = np.pad(pixels.astype(np.float32), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=127.5)
    want = eval_op(ops.Conv2d(), (grey - np.float32(127.5), w), {})
    assert_close(eval_op(op, (pixels, w), {}), want, Tol.EXACT)


def test_pooling_leaves_padding_out() -> None:
    x = floats(1, 5, 6, 2)
    for fn, reducer in ((PoolFn.AVG, np.mean), (PoolFn.MAX, np.max)):
        got = eval_op(ops.Pool(fn, (3, 2), (2, 1), (1, 1, 1, 0)), (x,), {})
        assert got.shape == (1, 3, 6, 2)
        for y, xx in itertools.product(range(3), range(6)):
            window = x[:, max(0, 2 * y - 1) : 2 * y + 2, max(0, xx - 1) : xx + 1]
            want = reducer(window.astype(np.float64), axis=(1, 2)).astype(np.float32)
            assert_close(got[:, y, xx], want, Tol.EXACT if fn is PoolFn.MAX else Tol.ULP(1))


def test_integer_division() -> None:
    a = np.array([7, -7, 7, -7, 5, -128], np.int8)
    b = np.array([2, 2, -2, -2, 0, -1], np.int8)
    want = {BinaryFn.DIV: [3, -3, -3, 3, 0, -128], BinaryFn.FLOOR_DIV: [3, -4, -4, 3, 0, -128]}
    want[BinaryFn.FLOOR_MOD] = [1, 1, -1, -1, 0, 0]
    for fn, values in want.items():
        assert_close(eval_op(ops.Binary(fn), (a, b), {}), np.array(values, np.int8), Tol.EXACT)


def test_argmax_takes_the_first_and_ignores_nan() -> None:
    x = np.array([[1, 3, 3], [np.nan, 1, 2], [np.nan] * 3, [np.nan, -np.inf, -1e38], [5, np.nan, 4]], np.float32)
    got = eval_op(ops.ArgMax(1, DType.INT64), (x,), {})
    assert_close(got, np.array([1, 2, 0, 2, 0], np.int64), Tol.EXACT)


def test_reductions_of_nothing() -> None:
    x = np.zeros((0, 2), np.float32)
    for fn, value in ((ReduceFn.SUM, 0), (ReduceFn.PROD, 1), (ReduceFn.MAX, -np.inf), (ReduceFn.MEAN, np.nan)):
        assert_close(eval_op(ops.Reduce(fn, (0,), False), (x,), {}), np.full(2, value, np.float32), Tol.EXACT)


def test_resize_argmax_is_its_composition() -> None:
    x = floats(1, 5, 4, 7)
    stages = (ops.Resize(ResizeFn.BILINEAR, (17, 13), True), ops.Resize(ResizeFn.BILINEAR, (20, 21), False, True))
    whole = eval_op(stages[1], (eval_op(stages[0], (x,), {}),), {})
    want = np.argmax(whole, axis=3).astype(np.int32)[:, :11, :21]
    assert_close(eval_op(ops.ResizeArgMax(stages, (11, 21), DType.INT32), (x,), {}), want, Tol.EXACT)


def test_bfloat16_rounds_to_nearest_even() -> None:
    values = np.array([1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-20, -3.0e38, np.inf, np.nan], np.float32)
    want = np.array([1.0, 1.0, 1 + 2.0**-6, 1 + 2.0**-7, -3.0e38, np.inf, np.nan], np.float32)
    got = bfloat16_to_float32(float32_to_bfloat16(values))
    want[4] = got[4]
    assert abs(float(got[4]) + 3.0e38) < 3.0e38 / 256
    assert_close(got, want, Tol.EXACT)


def two_inputs() -> tuple[Graph, dict[str, np.ndarray]]:
    x = make_node(ops.Input(), (), "x:0", TensorType(DType.FLOAT32, (1, H, W, 2)))
    y = make_node(ops.Input(), (), "y:0", TensorType(DType.FLOAT32, (1, dims.floor_div(H, 2), 3)))
    square = make_node(ops.Unary(UnaryFn.SQUARE), (x,), "square")
    total = make_node(ops.Reduce(ReduceFn.SUM, (1, 2), False), (square,), "total")
    graph = Graph((x, y), (total, square), ("total:0", "square:0"), Level.CANONICAL)
    return graph, {"x:0": floats(1, 7, 5, 2), "y:0": floats(1, 3, 3)}


def test_run_returns_outputs_and_taps() -> None:
    graph, inputs = two_inputs()
    results = run(graph, inputs, taps=["square", "x:0"])
    assert sorted(results) == ["square", "square:0", "total:0", "x:0"]
    assert_close(results["square"], inputs["x:0"] ** 2, Tol.EXACT)
    with pytest.raises(UsageError, match="no node named missing"):
        run(graph, inputs, taps=["missing"])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x:0", floats(1, 7, 5), "must be float32"),
        ("x:0", floats(1, 7, 5, 2).astype(np.float64), "must be float32"),
        ("x:0", floats(1, 7, 5, 3), "must be float32"),
        ("x:0", floats(1, 8, 5, 2), "input y:0 must be"),
        ("x:0", floats(1, 65, 5, 2), "H is 65, the graph takes 1 to 64"),
        ("z:0", floats(1), "takes the inputs"),
    ],
)
def test_wrong_inputs_are_refused(name: str, value: np.ndarray, message: str) -> None:
    graph, inputs = two_inputs()
    inputs[name] = value
    if value.shape[1:2] == (65,):
        inputs["y:0"] = floats(1, 32, 3)
    with pytest.raises(InputError, match=message):
        run(graph, inputs)


def test_a_result_of_another_type_is_a_bug() -> None:
    graph, inputs = two_inputs()
    bad = replace(graph.outputs[1], type=TensorType(DType.FLOAT32, (1, H, W, 3)))
    with pytest.raises(CompilerError, match="where the graph states"):
        run(replace(graph, outputs=(bad,), output_names=("square:0",)), inputs)


def test_elements_outside_are_refused() -> None:
    with pytest.raises(InputError, match="gather index"):
        eval_op(ops.Gather(0), (floats(3), np.array([3])), {})
    with pytest.raises(InputError, match="slice"):
        eval_op(ops.Slice((1,), (H,), (1,)), (floats(3),), {"H": 3})


def test_a_long_chain_needs_no_recursion_and_little_memory() -> None:
    x = make_node(ops.Input(), (), "x:0", TensorType(DType.FLOAT32, (4,)))
    node: Node = x
    for _ in range(5000):
        node = make_node(ops.Unary(UnaryFn.NEG), (node,))
    graph = Graph((x,), (node,), ("y:0",), Level.CANONICAL)
    assert_close(run(graph, {"x:0": floats(4)})["y:0"], floats(4), Tol.EXACT)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1 << 30), st.sampled_from([Level.IMPORTED, Level.CANONICAL]), st.integers(3, 12), st.integers(3, 11)
)
def test_every_result_has_the_inferred_type(seed: int, level: Level, height: int, width: int) -> None:
    """``run`` compares each result with the type rules; random graphs must pass that at every size."""
    graph = GraphMaker(seed, level).graph(8)
    inputs = random_inputs(height, 3 + seed % 9, graph)
    first, again = run(graph, inputs), run(graph, inputs)
    for name, value in first.items():
        assert_close(again[name], value, Tol.EXACT)
