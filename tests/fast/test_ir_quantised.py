"""Operations of level quantised: types, rules, and their numpy meaning on small cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from quantised_graphs import graph_of_quantised_operations
from smalti.errors import CompilerError, GraphError
from smalti.ir import ops
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import constant, infer_type, make_node
from smalti.ir.ops import Activation
from smalti.ir.reference import run
from smalti.ir.verify import verify
from smalti.numerics import DType

FLOAT, BYTE, SHORT, WEIGHT, WORD = DType.FLOAT32, DType.UINT8, DType.INT16, DType.INT8, DType.INT32


def evaluate(op: ops.Op, x: ArrayLike, dtype: DType, *constants: Node) -> Any:
    """Return the result of an operation on one input and constants, with the rules of its level checked."""
    values = np.asarray(x, dtype.numpy)
    node = make_node(ops.Input(), (), "x", TensorType(dtype, values.shape))
    graph = Graph((node,), (make_node(op, (node, *constants), "y"),), ("y",), Level.QUANTISED)
    verify(graph, Level.QUANTISED)
    return run(graph, {"x": values})["y"]


def filters(values: ArrayLike, dtype: DType, *shape: int) -> Node:
    return constant(np.asarray(values, dtype.numpy).reshape(shape))


def row(*values: float, dtype: DType = FLOAT) -> Node:
    return constant(np.asarray(values, dtype.numpy))


# ---- numpy meaning -------------------------------------------------------------------------------------------------


def test_quantise_rounds_halves_to_even_and_clips() -> None:
    reals = [0.25, 0.75, 1.25, -0.25, -0.75, 1e9, -1e9, np.nan, np.inf, -np.inf]
    # Steps of 1/2: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, -0.5 -> 0, -1.5 -> -2, all plus the zero point 10.
    want = [10, 12, 12, 10, 8, 255, 0, 0, 255, 0]
    assert evaluate(ops.Quantise(0.5, 10), reals, FLOAT).tolist() == want
    wide = evaluate(ops.Quantise(0.5, 0, SHORT), reals, FLOAT)
    assert wide.tolist() == [0, 2, 2, 0, -2, 32767, -32768, -32768, 32767, -32768]


def test_quantise_multiplies_by_the_rounded_reciprocal() -> None:
    scale, value = np.float32(0.1), np.float32(0.25)
    steps = value * (np.float32(1) / scale)
    assert steps == np.float32(2.5)
    assert evaluate(ops.Quantise(float(scale)), [value], FLOAT).tolist() == [2]


def test_dequantise() -> None:
    assert evaluate(ops.Dequantise(0.5, 10), [0, 10, 11, 255], BYTE).tolist() == [-5.0, 0.0, 0.5, 122.5]
    half = evaluate(ops.Dequantise(0.5, 0, DType.FLOAT16), [-32768, 4097, 4099], SHORT)
    assert half.dtype == np.float16
    # 2048.5 and 2049.5 lie between the even numbers that float16 holds from 2048 on.
    assert half.tolist() == [-16384.0, 2048.0, 2050.0]


def test_padding_is_the_zero_point_and_halves_round_to_even() -> None:
    op = ops.QuantisedConv2d(pads=(0, 0, 1, 1), zero_point=100, bias=True, result_zero_point=7, low=6, high=9)
    x = np.reshape([101, 103, 100], (1, 1, 3, 1))
    w = filters([1, 2, 4], WEIGHT, 1, 3, 1, 1)
    # x - 100 is 1 3 0; windows (0 1 3), (1 3 0), (3 0 0) give 14, 7, 3; less 1 and by halves: 6.5, 3, 1.
    result = evaluate(op, x, BYTE, w, row(0.5), row(-1, dtype=WORD))
    assert result.reshape(-1).tolist() == [9, 9, 8]
    wide = evaluate(replace(op, low=0, high=255), x, BYTE, w, row(0.5), row(-1, dtype=WORD))
    assert wide.reshape(-1).tolist() == [13, 10, 8]


def test_residual_and_addend_are_added_in_float32_one_after_the_other() -> None:
    op = ops.QuantisedConv2d(addend=True, residual=True, residual_zero_point=20, residual_scale=0.25)
    x = np.reshape([10, 3], (1, 1, 2, 1))
    residual = constant(np.reshape([22, 19], (1, 1, 2, 1)).astype(np.uint8))
    # 2 * 10 * 0.25 + 1 + (22 - 20) * 0.25 = 6.5 -> 6; 2 * 3 * 0.25 + 1 + (19 - 20) * 0.25 = 2.25 -> 2.
    result = evaluate(op, x, BYTE, filters(2, WEIGHT, 1, 1, 1, 1), row(0.25), row(1.0), residual)
    assert result.reshape(-1).tolist() == [6, 2]


def test_each_float_operation_is_rounded() -> None:
    """With one rounding for product and sum the small rest of the product would show."""
    multiplier, total = np.float32(1 / 3), np.float32(3 * 255 * 127)
    product = total * multiplier
    exact = float(total) * float(multiplier)
    assert float(product) != exact
    op = ops.QuantisedConv2d(addend=True, dtype=FLOAT)
    x = np.full((1, 1, 1, 3), 255)
    w = filters([127] * 3, WEIGHT, 1, 1, 3, 1)
    assert evaluate(op, x, BYTE, w, row(multiplier), row(-float(product))).item() == 0.0


def test_sums_of_a_depthwise_convolution_stay_in_their_channel() -> None:
    op = ops.QuantisedConv2d((2, 2), pads=(0, 1, 0, 0), zero_point=1, bias=True, dtype=FLOAT, groups=2)
    x = np.reshape([2, 3, 4, 5], (1, 1, 2, 2))
    w = filters([1, 10, 2, 20, 99, 99, 99, 99], WEIGHT, 2, 2, 1, 2)
    # Channel 0: 1 * 1 + 2 * 3 + 5, channel 1: 10 * 2 + 20 * 4 - 5; the second kernel row lies on padding.
    result = evaluate(op, x, BYTE, w, row(1.0, 0.5), row(5, -5, dtype=WORD))
    assert result.reshape(-1).tolist() == [12.0, 47.5]
    limited = evaluate(replace(op, activation=Activation.RELU6), x, BYTE, w, row(1.0, -0.5), row(5, -5, dtype=WORD))
    assert limited.reshape(-1).tolist() == [6.0, 0.0]


def test_sixteen_bit_sums_are_not_lost() -> None:
    op = ops.QuantisedConv2d(dtype=SHORT, low=-32768, high=32767)
    x = np.full((1, 1, 1, 4), -32768)
    w = filters([32767] * 4, SHORT, 1, 1, 4, 1)
    assert evaluate(op, x, SHORT, w, row(2.0**-17)).item() == -32767
    assert evaluate(op, x, SHORT, w, row(1.0)).item() == -32768


def test_a_picture_is_convolved_with_half_an_offset() -> None:
    op = ops.ImageConv2d((1, 1), (0, 0, 1, 0), 255, True, result_zero_point=100, low=90, high=200)
    x = np.reshape([127, 128, 255], (1, 1, 3, 1))
    w = filters([3, -1], SHORT, 1, 2, 1, 1)
    # 2x - 255 is -1 1 255; windows (0 -1), (-1 1), (1 255) give 1, -4, -252; plus 1 and by halves: 1, -1.5, -125.5.
    result = evaluate(op, x, BYTE, w, row(0.5), row(1, dtype=WORD))
    assert result.reshape(-1).tolist() == [101, 98, 90]


def test_a_mean_has_steps_of_its_own() -> None:
    x = np.reshape([1, 2, 4, 11, 12, 14], (2, 3, 1))
    means = evaluate(ops.QuantisedMean((1,), False, 2, 3.0, 1.0, 4), x, BYTE)
    # (7/3 - 2) * 3 + 4 = 5 and (37/3 - 2) * 3 + 4 = 35.
    assert means.tolist() == [[5], [35]]
    assert evaluate(ops.QuantisedMean((0,), True), np.reshape([1, 2], (2, 1)), BYTE).tolist() == [[2]]
    assert evaluate(ops.QuantisedMean((0,), True), np.reshape([2, 3], (2, 1)), BYTE).tolist() == [[2]]
    large = np.full((1, 70000), 32767)
    assert evaluate(ops.QuantisedMean((1,), False), large, SHORT).tolist() == [32767]


# ---- types and rules -----------------------------------------------------------------------------------------------


def test_a_graph_of_every_operation_keeps_the_rules() -> None:
    verify(graph_of_quantised_operations(), Level.QUANTISED)


def test_other_levels_refuse_them() -> None:
    graph = replace(graph_of_quantised_operations(), level=Level.CANONICAL)
    with pytest.raises(CompilerError, match="graphs of level quantised only"):
        verify(graph)


IMAGE = (1, 5, 5, 2)
CONV = ops.QuantisedConv2d(bias=True)
DEPTHWISE = ops.QuantisedConv2d(groups=2)
PICTURE = ops.ImageConv2d(bias=True)


@pytest.mark.parametrize(
    ("op", "types", "message"),
    (
        (ops.Quantise(1.0), [(BYTE, IMAGE)], "Quantise of uint8"),
        (ops.Dequantise(1.0), [(FLOAT, IMAGE)], "Dequantise of float32"),
        (CONV, [(BYTE, IMAGE), (WEIGHT, (1, 1, 2, 3)), (FLOAT, (3,))], "takes 4 operands"),
        (CONV, [(BYTE, IMAGE), (SHORT, (1, 1, 2, 3)), (FLOAT, (3,)), (WORD, (3,))], "of uint8 with int16 weights"),
        (CONV, [(BYTE, IMAGE), (WEIGHT, (1, 1, 2, 3)), (FLOAT, (1,)), (WORD, (3,))], "the multiplier"),
        (CONV, [(BYTE, IMAGE), (WEIGHT, (1, 1, 2, 3)), (FLOAT, (3,)), (FLOAT, (3,))], "the bias"),
        (
            replace(CONV, dtype=SHORT),
            [(BYTE, IMAGE), (WEIGHT, (1, 1, 2, 3)), (FLOAT, (3,)), (WORD, (3,))],
            "a result of int16",
        ),
        (
            ops.QuantisedConv2d(residual=True),
            [(BYTE, IMAGE), (WEIGHT, (1, 1, 2, 3)), (FLOAT, (3,)), (BYTE, IMAGE)],
            "the residual",
        ),
        (
            ops.QuantisedConv2d(addend=True),
            [(BYTE, IMAGE), (WEIGHT, (1, 1, 2, 3)), (FLOAT, (3,)), (DType.FLOAT16, (3,))],
            "the addend",
        ),
        (DEPTHWISE, [(BYTE, IMAGE), (WEIGHT, (1, 1, 1, 3)), (FLOAT, (3,))], "3 results do not split into 2 groups"),
        (PICTURE, [(BYTE, IMAGE), (WEIGHT, (1, 1, 2, 3)), (FLOAT, (3,)), (WORD, (3,))], "uint8 with int8 weights"),
        (PICTURE, [(BYTE, IMAGE), (SHORT, (1, 1, 2, 3)), (FLOAT, (3,)), (WORD, (2,))], "the bias"),
        (ops.QuantisedMean((1,), True), [(FLOAT, IMAGE)], "QuantisedMean of float32"),
        (ops.QuantisedMean((1,), True, result_zero_point=256), [(BYTE, IMAGE)], "zero point 256"),
    ),
)
def test_operands_that_do_not_fit(op: ops.Op, types: list[Any], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        infer_type(op, tuple(TensorType(dtype, shape) for dtype, shape in types))


@pytest.mark.parametrize(
    ("changes", "message"),
    (
        ({"stride": (0, 1)}, "must be positive"),
        ({"scale": 0.1}, "scale is 0.1, not a positive float32 value"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"result_zero_point": 256}, "zero point 256 is outside uint8"),
        ({"low": 9, "high": 8}, r"results in \[9, 8\]"),
        ({"high": 256}, r"results in \[0, 256\]"),
    ),
)
@pytest.mark.parametrize("kind", (ops.QuantisedConv2d, ops.ImageConv2d))
def test_broken_attributes_are_named(
    kind: type[ops.QuantisedConv2d] | type[ops.ImageConv2d], changes: dict[str, Any], message: str
) -> None:
    weight = SHORT if kind is ops.ImageConv2d else WEIGHT
    x = make_node(ops.Input(), (), "x", TensorType(BYTE, IMAGE))
    w, multiplier = filters([1, 2], weight, 1, 1, 2, 1), row(1.0)
    good = make_node(kind(), (x, w, multiplier), "y")
    verify(Graph((x,), (good,), ("y",), Level.QUANTISED))
    bad = replace(good, op=replace(good.op, **changes))
    with pytest.raises(CompilerError, match=message):
        verify(Graph((x,), (bad,), ("y",), Level.QUANTISED))


@pytest.mark.parametrize(
    ("op", "message"),
    (
        (ops.ImageConv2d(double_offset=-1), "double_offset is -1"),
        (ops.ImageConv2d(double_offset=511), "double_offset is 511"),
        (ops.QuantisedConv2d(activation=Activation.RELU), "an integer result has limits, no activation"),
        (ops.QuantisedMean((2, 1), True), "not sorted"),
        (ops.QuantisedMean((1,), True, multiplier=0.1), "multiplier is 0.1"),
        (ops.QuantisedMean((1,), True, scale=float("nan")), "scale is nan"),
        (ops.Quantise(1.0, -1), "zero point -1 is outside uint8"),
        (ops.Dequantise(float("inf")), "scale is inf"),
    ),
)
def test_other_broken_attributes_are_named(op: ops.Op, message: str) -> None:
    x = make_node(ops.Input(), (), "x", TensorType(FLOAT if isinstance(op, ops.Quantise) else BYTE, IMAGE))
    operands: list[Node] = [x]
    if isinstance(op, (ops.ImageConv2d, ops.QuantisedConv2d)):
        weight = SHORT if isinstance(op, ops.ImageConv2d) else WEIGHT
        operands += [filters([1, 2], weight, 1, 1, 2, 1), row(1.0)]
    y = make_node(op, operands, "y")
    with pytest.raises(CompilerError, match=message):
        verify(Graph((x,), (y,), ("y",), Level.QUANTISED))
