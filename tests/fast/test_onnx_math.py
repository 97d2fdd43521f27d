"""ONNX's elementwise operations: what they compute, in every version, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smalti.errors import GraphError, UnsupportedGraphError
from smalti.ir import ops
from smalti.ir.ops import UnaryFn
from tolerance import Tol, assert_close

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
onnx_kit = pytest.importorskip("onnx_kit", reason="the onnx package is not installed")

helper, numpy_helper = onnx.helper, onnx.numpy_helper
Array = NDArray[Any]
X = np.array([-9.5, -2.5, -1.0, -0.5, -0.0, 0.25, 0.5, 1.5, 3.0, 30.0], np.float32).reshape(2, 5)
Y = np.array([2.0, 3.0, 0.5, -1.5, 4.0], np.float32)
INTS = np.array([[-7, 7, -8, 0], [5, 3, -1, 100]], np.int64)
OTHERS = np.array([2, -2, 3, 1], np.int64)
BOOLS = np.array([[True, False], [False, True]])
NEAR = Tol.FLOAT(4)


def check(op: str, operands: list[Array | None], tol: Tol = NEAR, outputs: int = 1, **settings: Any) -> None:
    """Compare the numpy meaning of the imported node with ONNX's reference."""
    data = onnx_kit.one_node(op, operands, outputs=outputs, **settings)
    values = onnx_kit.feeds(operands, settings.get("stored", ()))
    for got, want in zip(onnx_kit.meaning(data, values), onnx_kit.wanted(data, values), strict=True):
        assert_close(got, want, tol, op)


@pytest.mark.parametrize("opset", [7, 13, 14])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
def test_arithmetic(op: str, opset: int) -> None:
    check(op, [X, Y], opset=opset)
    check(op, [INTS, OTHERS], Tol.EXACT, opset=opset)


def test_division_of_integers_goes_towards_zero() -> None:
    check("Div", [X, Y])
    data = onnx_kit.one_node("Div", [INTS, OTHERS])
    (got,) = onnx_kit.meaning(data, onnx_kit.feeds([INTS, OTHERS]))
    assert got.tolist() == [[-3, -3, -2, 0], [2, -1, 0, 100]]
    # Known when the model is built: folded to the same.
    stored = onnx_kit.imported(onnx_kit.one_node("Div", [INTS, OTHERS], stored=(0, 1))).graph
    (node,) = stored.outputs
    assert isinstance(node.op, ops.Constant)
    assert node.op.value.tolist() == got.tolist()


@pytest.mark.parametrize(
    ("op", "opsets"),
    [
        ("Neg", (7, 13)),
        ("Abs", (7, 13)),
        ("Exp", (7, 13)),
        ("Floor", (7, 13)),
        ("Ceil", (7, 13)),
        ("Round", (11, 22)),
        ("Erf", (9, 13)),
        ("Sign", (9, 13)),
        ("Sin", (7, 22)),
        ("Cos", (7, 22)),
        ("Tan", (7, 22)),
        ("Reciprocal", (7, 13)),
        ("Relu", (7, 13, 14)),
        ("Sigmoid", (7, 13)),
        ("Tanh", (7, 13)),
        ("Softplus", (7, 22)),
        ("Softsign", (7, 22)),
        ("HardSwish", (14, 22)),
        ("Mish", (18, 22)),
        ("Elu", (7, 22)),
        ("Selu", (7, 22)),
        ("Celu", (12,)),
        ("LeakyRelu", (7, 16)),
        ("HardSigmoid", (7, 22)),
        ("ThresholdedRelu", (10, 22)),
        ("Shrink", (9,)),
        ("Swish", (24,)),
        ("Gelu", (20,)),
        ("IsNaN", (9, 13, 20)),
        ("IsInf", (10, 20)),
    ],
)
def test_functions_of_one_operand(op: str, opsets: tuple[int, ...]) -> None:
    x = X + np.float32(0.25) if op in ("Reciprocal", "Tan") else X
    for opset in opsets:
        check(op, [x], opset=opset)


@pytest.mark.parametrize("op", ["Log", "Sqrt"])
def test_functions_of_positive_numbers(op: str) -> None:
    check(op, [np.array([0.0, 1e-30, 0.5, 1.0, 2.0, 1e30, np.inf], np.float32)])


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Elu", {"alpha": 0.3}),
        ("Selu", {"alpha": 2.0, "gamma": 0.5}),
        ("Celu", {"alpha": 2.5}),
        ("LeakyRelu", {"alpha": 0.2}),
        ("HardSigmoid", {"alpha": 0.5, "beta": 0.6}),
        ("ThresholdedRelu", {"alpha": -0.75}),
        ("Shrink", {"lambd": 1.0, "bias": 0.5}),
        ("IsInf", {"detect_negative": 0}),
        ("IsInf", {"detect_positive": 0}),
        ("IsInf", {"detect_positive": 0, "detect_negative": 0}),
    ],
)
def test_parameters(op: str, attributes: dict[str, Any]) -> None:
    x = np.append(X.ravel(), np.array([np.inf, -np.inf], np.float32)) if op == "IsInf" else X
    check(op, [x], **attributes)


def test_gelu_by_a_hyperbolic_tangent_and_of_onnxruntime() -> None:
    check("Gelu", [X], approximate="tanh")
    data = onnx_kit.one_node("Gelu", [X], domain=onnx_kit.DOMAIN)
    exact = onnx_kit.one_node("Gelu", [X])
    assert_close(onnx_kit.meaning(data, {"x0": X})[0], onnx_kit.wanted(exact, {"x0": X})[0], NEAR)
    with pytest.raises(GraphError, match="attribute approximate is 'erf'"):
        onnx_kit.imported(onnx_kit.one_node("Gelu", [X], approximate="erf"))


@pytest.mark.parametrize("op", ["Softplus", "Mish", "Sigmoid", "Tanh", "Gelu", "HardSwish", "Elu", "Softsign", "Erf"])
def test_large_numbers_do_not_overflow(op: str) -> None:
    x = np.array([-1e4, -100.0, -89.0, 89.0, 100.0, 1e4], np.float32)
    (got,) = onnx_kit.meaning(onnx_kit.one_node(op, [x], opset=22), {"x0": x})
    assert np.isfinite(got).all()
    upper = x[3:] if op in ("Softplus", "Mish", "Gelu", "HardSwish", "Elu") else np.ones(3, np.float32)
    assert_close(got[3:], upper, Tol.FLOAT(1) if op != "Softsign" else Tol.FLOAT(1, 1e5))


@pytest.mark.parametrize("op", ["Mish", "Gelu", "Softplus", "HardSwish", "Selu"])
def test_half_precision_is_rounded_once(op: str) -> None:
    x = np.linspace(-6, 6, 101, dtype=np.float32).astype(np.float16)
    data = onnx_kit.one_node(op, [x])
    (wide,) = onnx_kit.meaning(onnx_kit.one_node(op, [x.astype(np.float32)]), {"x0": x.astype(np.float32)})
    assert_close(onnx_kit.meaning(data, {"x0": x})[0], wide.astype(np.float16), Tol.EXACT)


def test_prelu_with_slopes_that_are_broadcast() -> None:
    for opset in (7, 9, 16):
        check("PRelu", [X, np.array([0.5, -0.25, 0.0, 2.0, 1.0], np.float32)], opset=opset)
    check("PRelu", [X, np.array([[0.5], [-0.25]], np.float32)])
    check("PRelu", [INTS, np.array([3], np.int64)], Tol.EXACT)
    with pytest.raises(GraphError, match="a slope float32"):
        onnx_kit.imported(onnx_kit.one_node("PRelu", [Y, X]))


# -- powers and remainders --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [-1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 2.5, -2.0])
@pytest.mark.parametrize("stored", [(), (1,)])
def test_powers(exponent: float, stored: tuple[int, ...]) -> None:
    x = np.abs(X) + np.float32(0.125)
    check("Pow", [x, np.array(exponent, np.float32)], stored=stored)
    if exponent.is_integer():
        check("Pow", [x, np.array([exponent], np.int64)], stored=stored)


def test_powers_of_integers_and_mixed_types() -> None:
    check("Pow", [INTS, np.array([2, 3, 0, 1], np.int64)], Tol.EXACT)
    check("Pow", [INTS.astype(np.int32), np.array([2.0, 3.0, 0.0, 1.0], np.float32)], Tol.EXACT)
    check("Pow", [X, np.array([2, 3, 0, 1, 2], np.int32)])
    (negative,) = onnx_kit.meaning(
        onnx_kit.one_node("Pow", [INTS, -OTHERS]), {"x0": np.array([[2, -1, 1, 0]] * 2), "x1": np.full(4, -3)}
    )
    assert negative.tolist() == [[0, -1, 1, 0]] * 2


def test_a_power_whose_exponent_is_known_is_a_product() -> None:
    graph = onnx_kit.imported(onnx_kit.one_node("Pow", [X, np.array([2.0], np.float32)], stored=(1,))).graph
    assert graph.outputs[0].op == ops.Unary(UnaryFn.SQUARE)


def test_remainders() -> None:
    check("Mod", [INTS, OTHERS], Tol.EXACT)
    check("Mod", [INTS, OTHERS], Tol.EXACT, fmod=1)
    check("Mod", [X, Y], Tol.EXACT, fmod=1)
    check("Mod", [np.array([-5.5, 5.5], np.float32), np.array([2.0, -2.0], np.float32)], Tol.EXACT, opset=28)
    check("Mod", [np.array([7, 250], np.uint8), np.array([4, 7], np.uint8)], Tol.EXACT, fmod=1)
    for stored in ((), (0, 1)):
        for fmod in (0, 1):
            check("Mod", [INTS, OTHERS], Tol.EXACT, fmod=fmod, stored=stored)
    with pytest.raises(GraphError, match="fmod is 0"):
        onnx_kit.imported(onnx_kit.one_node("Mod", [X, Y]))


# -- many operands ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [8, 13])
@pytest.mark.parametrize("op", ["Min", "Max", "Sum", "Mean"])
def test_any_number_of_operands(op: str, opset: int) -> None:
    check(op, [X], opset=opset)
    check(op, [X, Y], opset=opset)
    check(op, [X, Y, np.full((2, 1), 0.5, np.float32), X - Y], opset=opset)


def test_nodes_of_a_chain_have_names_of_their_own() -> None:
    graph = onnx_kit.imported(onnx_kit.one_node("Max", [X, Y, X])).graph
    names = [node.name for node in graph.nodes()]
    assert len(set(names)) == len(names)
    assert graph.outputs[0].name == "y0"


# -- clip, cast, dropout ----------------------------------------------------------------------------------------------


def number(value: float, dtype: Any = np.float32) -> Array:
    return np.array(value, dtype)


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 2.0), (None, 2.0), (-1.0, None), (None, None), (3.0, -3.0), (0.0, 6.0)]
)
def test_clip_with_either_bound_left_out(low: float | None, high: float | None) -> None:
    bounds = [None if b is None else number(b) for b in (low, high)]
    operands: list[Array | None] = [X, *bounds]
    for stored in ((), (1, 2)):
        for opset in (11, 12, 13):
            check("Clip", operands, Tol.EXACT, opset=opset, stored=stored)
    attributes = {name: value for name, value in (("min", low), ("max", high)) if value is not None}
    want = onnx_kit.meaning(onnx_kit.one_node("Clip", operands), onnx_kit.feeds(operands))[0]
    got = onnx_kit.meaning(onnx_kit.one_node("Clip", [X], opset=7, **attributes), {"x0": X})[0]
    assert_close(got, want, Tol.EXACT)


def test_clip_of_integers_and_with_bounds_of_one_element() -> None:
    check("Clip", [INTS, number(-2, np.int64), number(6, np.int64)], Tol.EXACT)
    operands: list[Array | None] = [X, np.array([0.0], np.float32), None]
    got = onnx_kit.meaning(onnx_kit.one_node("Clip", operands), onnx_kit.feeds(operands))[0]
    assert_close(got, np.maximum(X, np.float32(0)), Tol.EXACT)
    with pytest.raises(GraphError, match="a bound must be one number"):
        onnx_kit.imported(onnx_kit.one_node("Clip", [X, Y]))


@pytest.mark.parametrize("opset", [7, 9, 13, 19, 21, 23, 24, 25])
def test_casts(opset: int) -> None:
    pairs = [(X, 1), (X, 11), (X, 10), (X, 6), (X, 7), (X, 9), (INTS, 1), (INTS, 3), (BOOLS, 1), (BOOLS, 7)]
    for x, target in pairs:
        check("Cast", [x], Tol.EXACT, opset=opset, to=target)


def test_cast_like() -> None:
    for target in (np.float64, np.float16, np.int8, np.int64):
        check("CastLike", [X, np.zeros(1, target)], Tol.EXACT)


@pytest.mark.parametrize(("to", "name"), [(17, "float8e4m3fn"), (8, "string"), (14, "complex64"), (22, "int4")])
def test_types_that_are_refused_by_name(to: int, name: str) -> None:
    with pytest.raises(UnsupportedGraphError, match=f"attribute to: conversion to {name}"):
        onnx_kit.imported(onnx_kit.one_node("Cast", [X], to=to))


def test_dropout_does_nothing() -> None:
    for opset in (7, 10):
        check("Dropout", [X], Tol.EXACT, opset=opset, ratio=0.7)
    for opset in (12, 13, 22):
        check("Dropout", [X], Tol.EXACT, opset=opset, outputs=2)
        check("Dropout", [X, number(0.1)], Tol.EXACT, opset=opset, outputs=2)
        check("Dropout", [X, number(0.9), np.array(False)], Tol.EXACT, opset=opset, outputs=2, stored=(2,))
        check("Dropout", [X, number(0.0), np.array(True)], Tol.EXACT, opset=opset, stored=(1, 2))


def test_dropout_in_training_mode_is_refused() -> None:
    operands: list[Array | None] = [X, number(0.5), np.array(True)]
    with pytest.raises(UnsupportedGraphError, match=r"dropout in training mode: export the network after model.eval"):
        onnx_kit.imported(onnx_kit.one_node("Dropout", operands, stored=(1, 2)))
    with pytest.raises(UnsupportedGraphError, match="training_mode must be constant"):
        onnx_kit.imported(onnx_kit.one_node("Dropout", operands))


# -- comparisons, logic, bits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"])
def test_comparisons(op: str) -> None:
    check(op, [X, np.abs(X)], Tol.EXACT, opset=16)
    check(op, [INTS, OTHERS], Tol.EXACT, opset=16)
    check(op, [INTS, OTHERS], Tol.EXACT, opset=16, stored=(0, 1))


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic(op: str) -> None:
    check(op, [BOOLS, np.array([True, False])], Tol.EXACT)
    with pytest.raises(GraphError, match="takes bool, not"):
        onnx_kit.imported(onnx_kit.one_node(op, [INTS, OTHERS]))


def test_not_equal_and_where() -> None:
    check("Not", [BOOLS], Tol.EXACT)
    check("Equal", [BOOLS, BOOLS[0]], Tol.EXACT)
    check("Where", [X > 0, X, Y], Tol.EXACT)
    check("Where", [np.array([[True], [False]]), INTS, OTHERS], Tol.EXACT, stored=(0, 1, 2))


@pytest.mark.parametrize("stored", [(), (0, 1)])
@pytest.mark.parametrize("op", ["BitwiseAnd", "BitwiseOr", "BitwiseXor"])
def test_bits(op: str, stored: tuple[int, ...]) -> None:
    check(op, [INTS, OTHERS], Tol.EXACT, stored=stored)
    check("BitwiseNot", [INTS], Tol.EXACT, stored=stored[:1])
    check("BitwiseNot", [np.array([0, 7, 255], np.uint8)], Tol.EXACT, stored=stored[:1])


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_shifts(direction: str) -> None:
    x, y = np.array([16, 4, 255, 200], np.uint8), np.array([1, 2, 7, 3], np.uint8)
    for stored in ((), (0, 1)):
        check("BitShift", [x, y], Tol.EXACT, direction=direction, stored=stored)
    # As many places as there are bits: nothing is left but the sign.
    far = np.array([-5, 5, -1, 3], np.int16)
    (got,) = onnx_kit.meaning(
        onnx_kit.one_node("BitShift", [far, far], opset=28, direction=direction),
        {"x0": far, "x1": np.array([16, 16, 99, -1], np.int16)},
    )
    assert got.tolist() == ([0, 0, 0, 0] if direction == "LEFT" else [-1, 0, -1, 0])
    with pytest.raises(GraphError, match="it must be LEFT or RIGHT"):
        onnx_kit.imported(onnx_kit.one_node("BitShift", [x, y], direction="UP"))


# -- shapes -----------------------------------------------------------------------------------------------------------

SHAPES = st.lists(st.integers(1, 4), max_size=4)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.data())
def test_broadcasting(shape: list[int], data: st.DataObject) -> None:
    dims = [data.draw(st.sampled_from([1, size])) for size in shape]
    other = dims[data.draw(st.integers(0, len(dims))) :]
    rng = np.random.default_rng(len(shape))
    a, b = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(other).astype(np.float32)
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    for op in ("Add", "Max", "Sum"):
        check(op, [a, b], Tol.EXACT, opset=13)
        check(op, [b, a], Tol.EXACT, opset=13)


def test_open_sizes_stay_open() -> None:
    graph = onnx_kit.imported(onnx_kit.one_node("Add", [X, Y], sizes={0: [1, "height", 5]})).graph
    assert [str(n.type) for n in graph.outputs] == ["float32[1, D0, 5]"]
    with pytest.raises(GraphError, match="do not broadcast"):
        onnx_kit.imported(onnx_kit.one_node("Add", [X, Y], sizes={0: [1, "n", 5], 1: ["m"]}))


def test_arithmetic_of_sizes_is_done_while_importing() -> None:
    """``(shape / 2 * 2 + shape % 2, at least 1) as float and back`` is the shape itself, whatever the image."""
    steps = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Div", ["shape", "two"], ["half"]),
        helper.make_node("Mul", ["half", "two"], ["even"]),
        helper.make_node("Mod", ["shape", "two"], ["rest"]),
        helper.make_node("Sum", ["even", "rest"], ["again"]),
        helper.make_node("Max", ["again", "one"], ["most"]),
        helper.make_node("Cast", ["most"], ["real"], to=1),
        helper.make_node("Floor", ["real"], ["floor"]),
        helper.make_node("Cast", ["floor"], ["y"], to=7),
    ]
    inputs = [helper.make_tensor_value_info("x", 1, [1, 3, "h", "w"])]
    held = [numpy_helper.from_array(np.array(v), name) for name, v in (("two", 2), ("one", 1))]
    graph = helper.make_graph(steps, "g", inputs, [onnx.ValueInfoProto(name="y")], held)
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    (result,) = onnx_kit.imported(data).graph.outputs
    assert isinstance(result.op, ops.SizeTensor)
    assert [str(v) for v in result.op.values] == ["1", "3", "H", "W"]


def test_operands_of_two_types_are_an_error() -> None:
    for op, attributes in (("Add", {}), ("Mod", {"fmod": 1}), ("Max", {}), ("Equal", {}), ("PRelu", {})):
        with pytest.raises(GraphError, match="int64.*float32|float32.*int64"):
            onnx_kit.imported(onnx_kit.one_node(op, [X, np.zeros(5, np.int64)], opset=13, **attributes))
