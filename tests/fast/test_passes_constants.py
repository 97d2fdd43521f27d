"""Constant folding, identities and common subexpressions: fires, must not fire, same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from passes_kit import SIZES, H, Maker, W, fires, graph_of, must_not_fire, ops_of
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.ops import BinaryFn, PadMode, PoolFn, ReduceFn, ResizeFn, UnaryFn
from smalti.numerics import DType
from smalti.passes import constants, cse
from tolerance import Tol

Size = tuple[int | Dim, int | Dim]


def kinds(graph: object) -> list[str]:
    return [type(n.op).__name__ for n in graph.nodes()]  # type: ignore[attr-defined]


def test_constants_fold_through_a_chain() -> None:
    m = Maker()
    scale = m.unary(UnaryFn.RSQRT, m.binary(BinaryFn.ADD, m.random(5, low=1, high=2), m.const(1e-3)))
    graph = fires(constants.fold, graph_of(m.binary(BinaryFn.MUL, m.input(3, 5), scale)), Tol.EXACT)
    assert kinds(graph) == ["Input", "Constant", "Binary"]


def test_sizes_fold_only_when_they_are_numbers() -> None:
    m = Maker()
    x = m.input(1, H, W, 2)
    fixed = m.op(ops.SizeTensor((3, 4), (2,), DType.INT32))
    graph = fires(constants.fold, graph_of(fixed, m.relu(x)), Tol.EXACT)
    assert isinstance(graph.outputs[0].op, ops.Constant)
    must_not_fire(constants.fold, graph_of(m.op(ops.SizeTensor((H, 4), (2,), DType.INT32)), m.relu(x)))
    column = m.const(np.zeros((1, 1, 1, 2)))
    must_not_fire(constants.fold, graph_of(m.op(ops.BroadcastTo((1, H, W, 2)), column), m.relu(x)))


def test_a_constant_that_would_grow_too_much_is_not_folded() -> None:
    m = Maker()
    big = m.op(ops.BroadcastTo((300, 300)), m.const(1.0))
    must_not_fire(constants.fold, graph_of(big))
    fires(constants.fold, graph_of(m.op(ops.BroadcastTo((30, 30)), m.const(1.0))), Tol.EXACT)


def test_a_gather_that_fails_at_run_time_is_not_folded() -> None:
    m = Maker()
    must_not_fire(constants.fold, graph_of(m.op(ops.Gather(0), m.random(3), m.const([7], "int32"))))


@pytest.mark.parametrize("size", SIZES, ids=["static", "symbolic"])
def test_operations_without_effect_go(size: Size) -> None:
    m = Maker()
    x = m.input(1, *size, 3)
    shape = x.type.shape
    full = ops.Slice((0, 0, 0, 0), shape, (1, 1, 1, 1))
    resizes = [
        ops.Resize(fn, size, *flags) for fn in ResizeFn for flags in ((False, False), (True, False), (False, True))
    ]
    plain: list[ops.Op] = [
        ops.Reshape(shape),
        ops.Pad(((0, 0),) * 4),
        ops.Pad(((0, 0),) * 4, PadMode.REFLECT),
        full,
        ops.Cast(DType.FLOAT32),
        ops.Transpose((0, 1, 2, 3)),
        ops.BroadcastTo(shape),
        ops.Concat(3),
        ops.Pool(PoolFn.AVG, (1, 1), (1, 1)),
        *resizes,
    ]
    for op in plain:
        graph = fires(constants.fold, graph_of(m.relu(m.op(op, x))), Tol.EXACT)
        assert kinds(graph) == ["Input", "Unary"], op


@pytest.mark.parametrize("size", SIZES, ids=["static", "symbolic"])
def test_operations_with_effect_stay(size: Size) -> None:
    m = Maker()
    x = m.input(1, *size, 3)
    h, w = size
    kept: list[ops.Op] = [
        ops.Reshape((h * w, 3)),
        ops.Pad(((0, 0), (0, 1), (0, 0), (0, 0))),
        ops.Slice((0, 1, 0, 0), (1, h - 1, w, 3), (1, 1, 1, 1)),
        ops.Slice((0, h - 1, 0, 0), (1, h, w, 3), (1, -1, 1, 1)),
        ops.Cast(DType.INT32),
        ops.Transpose((0, 2, 1, 3)),
        ops.BroadcastTo((2, h, w, 3)),
        ops.Pool(PoolFn.MAX, (1, 1), (2, 2)),
        ops.Resize(ResizeFn.BILINEAR, (h + 1, w)),
        ops.Reduce(ReduceFn.MEAN, (1,), True),
    ]
    for op in kept:
        must_not_fire(constants.fold, graph_of(m.op(op, x)))


@pytest.mark.parametrize(
    ("fn", "value", "left"),
    [
        (BinaryFn.MUL, 1.0, False),
        (BinaryFn.MUL, 1.0, True),
        (BinaryFn.DIV, 1.0, False),
        (BinaryFn.ADD, 0.0, False),
        (BinaryFn.ADD, 0.0, True),
        (BinaryFn.SUB, 0.0, False),
    ],
)
def test_neutral_elements(fn: BinaryFn, value: float, left: bool) -> None:
    m = Maker()
    x, c = m.input(4, 3), m.const(np.full(3, value))
    graph = fires(constants.fold, graph_of(m.relu(m.binary(fn, *((c, x) if left else (x, c))))), Tol.EXACT)
    assert kinds(graph) == ["Input", "Unary"]


@pytest.mark.parametrize(
    ("fn", "value", "left"),
    [
        (BinaryFn.SUB, 0.0, True),
        (BinaryFn.DIV, 1.0, True),
        (BinaryFn.MUL, 0.0, False),
        (BinaryFn.FLOOR_DIV, 1.0, False),
    ],
)
def test_what_only_looks_neutral_stays(fn: BinaryFn, value: float, left: bool) -> None:
    m = Maker()
    x, c = m.input(4, 3), m.const(value)
    must_not_fire(constants.fold, graph_of(m.binary(fn, *((c, x) if left else (x, c)))))
    wider = m.const(np.full((5, 4, 3), value))
    must_not_fire(constants.fold, graph_of(m.binary(BinaryFn.ADD, x, wider)))


@pytest.mark.parametrize("fn", ResizeFn)
@pytest.mark.parametrize("align", [False, True])
def test_resize_of_one_pixel_is_a_broadcast(fn: ResizeFn, align: bool) -> None:
    m = Maker()
    x, pixel = m.input(1, H, W, 3), m.input(1, 1, 1, 3, name="pixel:0")
    resized = m.op(ops.Resize(fn, (H, W), align_corners=align), pixel)
    graph = fires(constants.fold, graph_of(m.op(ops.Concat(3), resized, x)), Tol.EXACT)
    assert kinds(graph) == ["Input", "Input", "BroadcastTo", "Concat"]


def test_resize_of_bytes_keeps_the_conversion() -> None:
    m = Maker()
    x = m.input(1, 5, 6, 3, dtype=DType.UINT8)
    graph = fires(constants.fold, graph_of(m.op(ops.Resize(ResizeFn.BILINEAR, (5, 6)), x)), Tol.EXACT)
    assert kinds(graph) == ["Input", "Cast"]


@pytest.mark.parametrize(
    ("start", "middle", "end", "casts"),
    [
        (DType.UINT8, DType.FLOAT32, DType.INT32, 1),
        (DType.INT32, DType.INT64, DType.FLOAT32, 1),
        (DType.INT32, DType.FLOAT64, DType.INT32, 0),
        (DType.UINT8, DType.INT16, DType.FLOAT16, 1),
        (DType.BOOL, DType.FLOAT32, DType.INT32, 1),
        (DType.INT32, DType.FLOAT32, DType.INT32, 2),
        (DType.UINT8, DType.INT8, DType.INT32, 2),
        (DType.FLOAT32, DType.INT32, DType.FLOAT32, 2),
        (DType.INT16, DType.FLOAT16, DType.INT32, 2),
        (DType.INT8, DType.UINT16, DType.INT32, 2),
    ],
)
def test_casts_merge_where_the_first_is_exact(start: DType, middle: DType, end: DType, casts: int) -> None:
    m = Maker()
    x = m.input(4, 5, dtype=start)
    graph = graph_of(m.op(ops.Cast(end), m.op(ops.Cast(middle), x)))
    if casts == 2:
        must_not_fire(constants.fold, graph)
    else:
        after = fires(constants.fold, graph, Tol.EXACT)
        assert len(ops_of(after, ops.Cast)) == casts


def test_pairs_merge() -> None:
    m = Maker()
    x = m.input(2, H, W, 4)
    pad = ops.Pad(((0, 0), (1, 2), (0, 3), (0, 0)))
    cut = ops.Slice((0, 1, 2, 0), (2, H - 2, W - 3, 4), (1, 1, 1, 1))
    rest = ops.Slice((0, 1, 1, 2), (2, H - 4, W - 5, 2), (1, 1, 1, 1))
    pairs: list[tuple[ops.Op, ops.Op]] = [
        (ops.Reshape((2, H * W, 4)), ops.Reshape((2, H, W * 4))),
        (ops.Transpose((0, 3, 1, 2)), ops.Transpose((0, 1, 3, 2))),
        (ops.BroadcastTo((2, H, W, 4)), ops.BroadcastTo((3, 2, H, W, 4))),
        (pad, pad),
        (cut, rest),
    ]
    for first, second in pairs:
        graph = fires(constants.fold, graph_of(m.op(second, m.op(first, x))), Tol.EXACT)
        assert len(graph.nodes()) == 2, second


def test_pads_with_different_values_do_not_merge() -> None:
    m = Maker()
    amounts = ((0, 0), (1, 1))
    x = m.op(ops.Pad(amounts, value=1.0), m.input(2, 3))
    must_not_fire(constants.fold, graph_of(m.op(ops.Pad(amounts), x)))
    x = m.op(ops.Pad(amounts, PadMode.REFLECT), m.input(2, 3))
    must_not_fire(constants.fold, graph_of(m.op(ops.Pad(amounts, PadMode.REFLECT), x)))


def test_moves_of_unit_axes_are_reshapes() -> None:
    m = Maker()
    x = m.input(1, 1, W, 3)
    assert kinds(fires(constants.fold, graph_of(m.op(ops.Transpose((2, 0, 1, 3)), x)), Tol.EXACT)) == [
        "Input",
        "Reshape",
    ]
    graph = fires(constants.fold, graph_of(m.op(ops.Reduce(ReduceFn.MAX, (0, 1), False), x)), Tol.EXACT)
    assert kinds(graph) == ["Input", "Reshape"]


def test_broadcast_before_arithmetic_goes() -> None:
    m = Maker()
    x, v = m.input(1, H, W, 3), m.input(3, name="v:0")
    wide = m.op(ops.BroadcastTo((1, H, W, 3)), v)
    for pair in ((x, wide), (wide, x)):
        graph = fires(constants.fold, graph_of(m.binary(BinaryFn.SUB, *pair)), Tol.EXACT)
        assert not ops_of(graph, ops.BroadcastTo)


def test_argmax_takes_the_cast_and_the_slice_behind_it() -> None:
    m = Maker()
    x = m.input(1, 5, 6, 7)
    labels = m.op(ops.Cast(DType.INT32), m.op(ops.ArgMax(3, DType.INT64), x))
    assert kinds(fires(constants.fold, graph_of(labels), Tol.EXACT)) == ["Input", "ArgMax"]
    large = m.op(ops.Resize(ResizeFn.BILINEAR, (9, 9)), x)
    cut = m.op(ops.Slice((0, 1, 0, 0), (1, 5, 6, 7), (1, 1, 1, 1)), large)
    graph = fires(constants.fold, graph_of(m.op(ops.ArgMax(3, DType.INT32), cut)), Tol.EXACT)
    assert kinds(graph) == ["Input", "Resize", "ArgMax", "Slice"]
    fewer = m.op(ops.Slice((0, 0, 0, 1), (1, 9, 9, 6), (1, 1, 1, 1)), large)
    must_not_fire(constants.fold, graph_of(m.op(ops.ArgMax(3, DType.INT32), fewer)))


def test_empty_parts_leave_a_concat() -> None:
    m = Maker()
    x, empty = m.input(2, 3), m.const(np.zeros((2, 0)))
    assert kinds(fires(constants.fold, graph_of(m.op(ops.Concat(1), x, empty)), Tol.EXACT)) == ["Input"]


def test_equal_computations_merge() -> None:
    m = Maker()
    x = m.input(1, H, W, 3)
    values = np.arange(3, dtype=np.float32)
    a = m.relu(m.binary(BinaryFn.ADD, x, m.const(values)))
    b = m.relu(m.binary(BinaryFn.ADD, x, m.const(values)))
    graph = fires(cse.merge, graph_of(m.binary(BinaryFn.MUL, a, b)), Tol.EXACT)
    assert kinds(graph) == ["Input", "Constant", "Binary", "Unary", "Binary"]


def test_computations_that_differ_do_not_merge() -> None:
    m = Maker()
    x, y = m.input(2, 2), m.input(2, 2, name="other:0")
    differing = [
        (m.relu(x), m.relu(y)),
        (m.relu(x), m.unary(UnaryFn.RELU6, x)),
        (m.op(ops.Cast(DType.INT32), x), m.op(ops.Cast(DType.INT64), x)),
        (m.const([0.0]), m.const([-0.0])),
        (m.const([0.0]), m.const([[0.0]])),
        (m.const([0]), m.const([0], "int32")),
        (m.binary(BinaryFn.SUB, x, y), m.binary(BinaryFn.SUB, y, x)),
        (m.op(ops.Pad(((1, 0), (0, 0))), x), m.op(ops.Pad(((1, 0), (0, 0)), value=-0.0), x)),
    ]
    for pair in differing:
        must_not_fire(cse.merge, graph_of(*pair))
