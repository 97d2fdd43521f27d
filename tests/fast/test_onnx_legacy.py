"""Operations of opset 6, whose second operand is broadcast as attributes say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from smalti.errors import GraphError
from tolerance import Tol, assert_close

onnx_kit = pytest.importorskip("onnx_kit", reason="the onnx package is not installed")

Array = NDArray[Any]
RNG = np.random.default_rng(6)
FUNCTIONS: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Greater": np.greater,
    "Less": np.less,
}
LOGIC: dict[str, Callable[[Array, Array], Array]] = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.not_equal}


def data(*shape: int) -> Array:
    return RNG.uniform(0.5, 2.0, shape).astype(np.float32)


def found(op: str, operands: list[Array], stored: tuple[int, ...] = (), **attributes: Any) -> Array:
    model = onnx_kit.one_node(op, operands, opset=6, stored=stored, **attributes)
    (result,) = onnx_kit.meaning(model, onnx_kit.feeds(operands, stored))
    return np.asarray(result)


@pytest.mark.parametrize("op", FUNCTIONS)
@pytest.mark.parametrize("stored", [(), (1,)])
@pytest.mark.parametrize(
    ("shape", "attributes", "upright"),
    [
        ((2, 3, 4, 5), {}, (2, 3, 4, 5)),
        ((5,), {"broadcast": 1}, (5,)),
        ((3, 4), {"broadcast": 1, "axis": 1}, (3, 4, 1)),
        ((3,), {"broadcast": 1, "axis": -3}, (3, 1, 1)),
        ((), {"broadcast": 1, "axis": 1}, ()),
        ((1,), {"broadcast": 1}, (1,)),
    ],
)
def test_the_second_operand_begins_at_an_axis(
    op: str, stored: tuple[int, ...], shape: tuple[int, ...], attributes: dict[str, int], upright: tuple[int, ...]
) -> None:
    a, b = data(2, 3, 4, 5), data(*shape)
    want = FUNCTIONS[op](a, b.reshape(upright))
    assert_close(found(op, [a, b], stored, **attributes), want, Tol.ULP(1))


@pytest.mark.parametrize("op", LOGIC)
def test_logic(op: str) -> None:
    a, b = RNG.random((2, 3, 4)) > 0.5, RNG.random(3) > 0.5
    want = LOGIC[op](a, b[:, None])
    assert_close(found(op, [a, b], broadcast=1, axis=1), want, Tol.EXACT)


def test_integers_are_equal() -> None:
    a, b = RNG.integers(0, 3, (2, 3)), RNG.integers(0, 3, 2)
    assert_close(found("Equal", [a, b], broadcast=1, axis=0), a == b[:, None], Tol.EXACT)


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3, 4)])
def test_slopes_of_channels(shape: tuple[int, ...]) -> None:
    x, slope = data(2, 3, 4) - 1, data(*shape)
    scaled = x * (slope[:, None] if shape == (3,) else slope)
    assert_close(found("PRelu", [x, slope], (1,)), np.where(x < 0, scaled, x), Tol.ULP(1))


def test_matrix_products() -> None:
    a, b, c = data(2, 3), data(3, 4), data(4)
    want = (a.astype(np.float64) @ b + c).astype(np.float32)
    assert_close(found("Gemm", [a, b, c], (1, 2), broadcast=1), want, Tol.FLOAT(8, 1.0))
    with pytest.raises(GraphError, match="without broadcast=1"):
        found("Gemm", [a, b, c], (1, 2))


@pytest.mark.parametrize(
    ("shape", "attributes", "text"),
    [
        ((4,), {}, "without broadcast=1"),
        ((3,), {"broadcast": 1}, "broadcast"),
        ((3, 4, 1), {"broadcast": 1, "axis": 1}, "more dimensions"),
        ((2,), {"broadcast": 1, "axis": 3}, "axis 3 is outside"),
    ],
)
def test_what_does_not_fit(shape: tuple[int, ...], attributes: dict[str, int], text: str) -> None:
    with pytest.raises(GraphError, match=text):
        found("Add", [data(2, 3, 4), data(*shape)], **attributes)
