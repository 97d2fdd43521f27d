"""ONNX's reductions, softmax and arg-max, and matrix products: what they compute, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smalti.errors import GraphError, UnsupportedGraphError
from smalti.frontend.lower.einsum import parse
from smalti.ir import ops
from tolerance import Tol, assert_close

onnx_kit = pytest.importorskip("onnx_kit", reason="the onnx package is not installed")

Array = NDArray[Any]
X = np.random.default_rng(5).standard_normal((2, 3, 4)).astype(np.float32)
INTS = np.random.default_rng(6).integers(-9, 9, (2, 3, 4))
NEAR = Tol.FLOAT(24)
NAMES = ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]


def check(op: str, operands: list[Array | None], tol: Tol = NEAR, **settings: Any) -> None:
    """Compare the numpy meaning of the imported node with ONNX's reference."""
    data = onnx_kit.one_node(op, operands, **settings)
    values = onnx_kit.feeds(operands, settings.get("stored", ()))
    for got, want in zip(onnx_kit.meaning(data, values), onnx_kit.wanted(data, values), strict=True):
        assert_close(got, want, tol, op)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_axes_as_attribute_and_as_operand(name: str, keepdims: int) -> None:
    x = np.abs(X) if name == "LogSum" else X
    for axes in ([0], [1, 2], [-1], [0, 1, 2], None):
        attributes = {} if axes is None else {"axes": axes}
        for opset in (7, 11) if name == "Sum" else (7, 11, 13):
            check(f"Reduce{name}", [x], opset=opset, keepdims=keepdims, **attributes)
        operands: list[Array | None] = [x] if axes is None else [x, np.array(axes, np.int64)]
        for opset in (13, 18) if name == "Sum" else (18,):
            check(f"Reduce{name}", operands, opset=opset, keepdims=keepdims, stored=(1,))


@pytest.mark.parametrize("name", NAMES)
def test_no_axes_mean_all_or_none(name: str) -> None:
    x = np.abs(X) if name == "LogSum" else X
    for noop in (0, 1):
        operands: list[Array | None] = [x, np.array([], np.int64)]
        check(f"Reduce{name}", operands, opset=18, noop_with_empty_axes=noop, stored=(1,))
        check(f"Reduce{name}", [x], opset=18, noop_with_empty_axes=noop)


@pytest.mark.parametrize("name", ["Sum", "Max", "Min", "Prod", "L1", "SumSquare"])
def test_reductions_of_integers(name: str) -> None:
    for stored in ((1,), (0, 1)):
        check(f"Reduce{name}", [INTS[:, :, :2], np.array([1], np.int64)], Tol.EXACT, opset=18, stored=stored)


@pytest.mark.parametrize("name", ["Max", "Min"])
def test_extremes_of_bool(name: str) -> None:
    check(f"Reduce{name}", [X > 0, np.array([2], np.int64)], Tol.EXACT, opset=20, stored=(1,))
    check(f"Reduce{name}", [X[0] > 0, np.array([0], np.int64)], Tol.EXACT, opset=20, stored=(0, 1))


def test_log_of_sum_of_powers_at_the_edges() -> None:
    x = np.array([[1e4, 1e4], [-1e4, -1e4], [-np.inf, -np.inf], [np.inf, 0], [-np.inf, 3]], np.float32)
    data = onnx_kit.one_node("ReduceLogSumExp", [x, np.array([1])], opset=18, keepdims=0, stored=(1,))
    want = np.array([1e4 + np.log(2), -1e4 + np.log(2), -np.inf, np.inf, 3], np.float32)
    assert_close(onnx_kit.meaning(data, {"x0": x})[0], want, Tol.ULP(1))


def test_half_precision_is_summed_in_float32() -> None:
    x = np.full((1, 4096), 20.0, np.float16)
    for name, want in (("L2", 1280.0), ("SumSquare", np.inf), ("LogSumExp", 20 + np.log(4096))):
        data = onnx_kit.one_node(f"Reduce{name}", [x, np.array([1])], opset=18, stored=(1,))
        assert_close(onnx_kit.meaning(data, {"x0": x})[0], np.array([[want]], np.float16), Tol.EXACT)


def test_what_reductions_refuse() -> None:
    for name, x, text in (
        ("L2", INTS, "element type int64"),
        ("LogSumExp", INTS, "element type int64"),
        ("L1", X > 0, "element type bool"),
    ):
        with pytest.raises(UnsupportedGraphError, match=text):
            onnx_kit.imported(onnx_kit.one_node(f"Reduce{name}", [x], opset=18))
    with pytest.raises(GraphError, match="axis 3 is outside"):
        onnx_kit.imported(onnx_kit.one_node("ReduceL1", [X], opset=13, axes=[3]))
    with pytest.raises(UnsupportedGraphError, match="the axes must be constant"):
        onnx_kit.imported(onnx_kit.one_node("ReduceSum", [X, np.array([1])], opset=18))


# -- softmax ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1, -2])
def test_softmax_along_any_axis(op: str, axis: int | None) -> None:
    attributes = {} if axis is None else {"axis": axis}
    check(op, [X], opset=13, **attributes)
    # Before version 13 all dimensions from the axis on were one.
    rows = X.reshape((2 * 3 * 4 // int(np.prod(X.shape[1 if axis is None else axis :])), -1))
    data = onnx_kit.one_node(op, [X], opset=11, **attributes)
    flat = onnx_kit.one_node(op, [rows], opset=13, axis=1)
    want = onnx_kit.wanted(flat, {"x0": rows})[0].reshape(X.shape)
    assert_close(onnx_kit.meaning(data, {"x0": X})[0], want, NEAR)


def test_softmax_of_large_numbers() -> None:
    x = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]], np.float32)
    check("Softmax", [x], opset=13)
    (got,) = onnx_kit.meaning(onnx_kit.one_node("LogSoftmax", [x], opset=13), {"x0": x})
    assert_close(got, np.array([[0.0, -1e4, -2e4], [-np.log(3)] * 3], np.float32), Tol.FLOAT(1))


def test_hardmax_needs_a_constant_number_of_classes() -> None:
    with pytest.raises(UnsupportedGraphError, match="their number must be constant"):
        onnx_kit.imported(onnx_kit.one_node("Hardmax", [X], opset=13, sizes={0: [2, 3, "n"]}))


# -- arg-max ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_places_of_extremes(op: str, last: int, keepdims: int) -> None:
    ties = np.array([[1, 3, 3, -2], [-2, -2, 0, 0], [5, 1, 5, 1]])
    for x in (ties.astype(np.float32), ties.astype(np.int32), ties.astype(np.int8), np.uint8(ties % 5)):
        for axis in (0, 1, -1):
            check(op, [x], opset=13, axis=axis, keepdims=keepdims, select_last_index=last)
    lowest = np.array([[-128, 127, -128]], np.int8)
    check(op, [lowest], opset=13, axis=1, keepdims=keepdims, select_last_index=last)


def test_places_in_older_versions_and_of_open_sizes() -> None:
    for opset in (7, 11, 12):
        check("ArgMax", [X], opset=opset, axis=1)
    data = onnx_kit.one_node("ArgMin", [X], opset=13, axis=2, select_last_index=1, sizes={0: [2, 3, "n"]})
    fixed = onnx_kit.one_node("ArgMin", [X], opset=13, axis=2, select_last_index=1)
    assert_close(onnx_kit.meaning(data, {"x0": X})[0], onnx_kit.wanted(fixed, {"x0": X})[0], Tol.EXACT)


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("exclusive", [0, 1])
def test_running_sums(exclusive: int, reverse: int) -> None:
    settings = {"exclusive": exclusive, "reverse": reverse, "stored": (1,)}
    for axis in (0, 1, -1):
        for opset in (11, 14):
            check("CumSum", [X, np.array(axis)], opset=opset, **settings)
            check("CumSum", [INTS, np.array(axis, np.int32)], Tol.EXACT, opset=opset, **settings)


# -- matrix products --------------------------------------------------------------------------------------------------

DIMS = st.lists(st.integers(1, 3), max_size=2)


@settings(max_examples=40, deadline=None)
@given(DIMS, st.data())
def test_matrix_products_of_any_rank(batch: list[int], data: st.DataObject) -> None:
    rng = np.random.default_rng(len(batch))
    other = [data.draw(st.sampled_from([1, size])) for size in batch]
    other = other[data.draw(st.integers(0, len(other))) :]
    a = rng.standard_normal((*batch, 3, 4)).astype(np.float32)
    b = rng.standard_normal((*other, 4, 2)).astype(np.float32)
    left, right = data.draw(st.booleans()), data.draw(st.booleans())
    a, b = (rng.standard_normal(4).astype(np.float32) if left else a), (b[..., 0] if right and b.ndim == 2 else b)
    check("MatMul", [a, b], opset=13)
    check("MatMul", [np.moveaxis(b, -2, -1) if b.ndim > 1 else b, np.moveaxis(a, -1, -2) if a.ndim > 1 else a])


def test_matrix_products_of_integers_and_what_is_refused() -> None:
    check("MatMul", [INTS, INTS[0].T.copy()], Tol.EXACT)
    for a, b, text in (
        (X, X, "inner sizes 4 and 3 differ"),
        (X, INTS, "have types"),
        (np.float32(3), X, "a matrix product of"),
    ):
        with pytest.raises(GraphError, match=text):
            onnx_kit.imported(onnx_kit.one_node("MatMul", [np.asarray(a), b]))
    with pytest.raises(UnsupportedGraphError, match="MatMulInteger"):
        onnx_kit.imported(onnx_kit.one_node("MatMulInteger", [np.zeros((2, 2), np.uint8)] * 2))


@pytest.mark.parametrize("transposed", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("factors", [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0)])
def test_gemm(transposed: tuple[int, int], factors: tuple[float, float]) -> None:
    a, b = X[0], X[1].T.copy()
    operands = [a.T.copy() if transposed[0] else a, b.T.copy() if transposed[1] else b]
    settings = dict(zip(("transA", "transB", "alpha", "beta"), (*transposed, *factors), strict=True))
    for c in (np.ones((3, 3), np.float32), np.arange(3, dtype=np.float32), np.float32([[1], [2], [3]]), np.float32(2)):
        for opset in (7, 9, 11, 13):
            check("Gemm", [*operands, np.asarray(c)], opset=opset, **settings)
    check("Gemm", operands, opset=13, **settings)


def test_what_gemm_refuses() -> None:
    with pytest.raises(GraphError, match="does not broadcast to the product"):
        onnx_kit.imported(onnx_kit.one_node("Gemm", [X[0], X[0].T.copy(), np.zeros((2, 3, 3), np.float32)]))
    with pytest.raises(GraphError, match="must have 2 dimensions"):
        onnx_kit.imported(onnx_kit.one_node("Gemm", [X, X]))
    whole = [INTS[0], INTS[0].T.copy()]
    check("Gemm", whole, Tol.EXACT, opset=13)
    with pytest.raises(UnsupportedGraphError, match=r"integers times alpha=0\.5"):
        onnx_kit.imported(onnx_kit.one_node("Gemm", whole, alpha=0.5))


def test_fused_matmul() -> None:
    data = onnx_kit.one_node("FusedMatMul", [X, X], domain=onnx_kit.DOMAIN, transB=1, alpha=0.25)
    want = (np.float32(0.25) * (X @ X.swapaxes(-1, -2))).astype(np.float32)
    assert_close(onnx_kit.meaning(data, {"x0": X, "x1": X})[0], want, NEAR)
    with pytest.raises(UnsupportedGraphError, match="transBatchA"):
        onnx_kit.imported(onnx_kit.one_node("FusedMatMul", [X, X], domain=onnx_kit.DOMAIN, transBatchA=1))


EQUATIONS = [
    ("ij->ji", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("i...->...", [(2, 3, 4)]),
    ("ijk->kj", [(2, 3, 4)]),
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("i,i->", [(3,), (3,)]),
    ("i,j->ij", [(3,), (4,)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("...ij,...jk->...ik", [(2, 2, 3, 4), (2, 4, 5)]),
    ("bij,bkj->bik", [(2, 3, 4), (2, 5, 4)]),
    ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)]),
    ("bhij,bhjd->bihd", [(2, 3, 4, 6), (2, 3, 6, 5)]),
    ("bchw,bc->bhw", [(2, 3, 4, 5), (2, 3)]),
    ("bchw,bkc->bkhw", [(2, 3, 4, 5), (2, 6, 3)]),
    ("bhwc,hkc->bhwk", [(2, 3, 4, 5), (3, 6, 5)]),
    ("ij,ij->ij", [(2, 3), (2, 3)]),
    ("ij,ij->i", [(2, 3), (2, 3)]),
    ("ij,j->ij", [(2, 3), (3,)]),
    ("ij,kl->ik", [(2, 3), (4, 5)]),
    ("ab,bc,cd->ad", [(2, 3), (3, 4), (4, 2)]),
    (" ij , jk -> ik ", [(2, 3), (3, 4)]),
    ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]),
    ("...ii->...i", [(2, 3, 3)]),
    ("iji,jk->ik", [(3, 2, 3), (2, 4)]),
]


@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS, ids=[e for e, _ in EQUATIONS])
def test_einstein_sums(equation: str, shapes: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(1)
    operands: list[Array | None] = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    check("Einsum", operands, Tol.FLOAT(40), opset=12, equation=equation)


@pytest.mark.parametrize(
    ("equation", "ranks", "text"),
    [
        ("ij,jk->ik", [2], "has 2 terms for 1 operands"),
        ("ij->i", [3], "names 2 dimensions of an operand that has 3"),
        ("...ij->i", [1], "more dimensions than"),
        ("i1->i", [2], "has a term"),
        ("ij->ii", [2], "repeats or invents"),
        ("ij->ik", [2], "repeats or invents"),
        ("i" * 600, [600], "600 characters"),
    ],
)
def test_equations_that_are_wrong(equation: str, ranks: list[int], text: str) -> None:
    with pytest.raises(GraphError, match=text):
        parse(equation, ranks)


def test_what_einstein_sums_refuse() -> None:
    square = np.ones((3, 3), np.float32)
    with pytest.raises(UnsupportedGraphError, match="the diagonal of a tensor of sizes 3 and 2"):
        onnx_kit.imported(onnx_kit.one_node("Einsum", [square[:, :2].copy()], equation="ii->i"))
    with pytest.raises(GraphError, match="of the dimension j differ"):
        onnx_kit.imported(onnx_kit.one_node("Einsum", [square, square[:2]], equation="ij,jk->ik"))


def test_a_product_by_a_constant_matrix_is_one_product() -> None:
    graph = onnx_kit.imported(onnx_kit.one_node("MatMul", [X, X[0].T.copy()], stored=(1,))).graph
    assert [type(n.op) for n in graph.nodes() if not isinstance(n.op, ops.Input | ops.Constant)] == [ops.MatMul]
