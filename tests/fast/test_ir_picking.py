"""Operations at computed positions: their type rules, and their meaning element by element."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smalti.errors import GraphError, InputError
from smalti.ir import ops
from smalti.ir.dims import Dim, symbol
from smalti.ir.infer import infer_type
from smalti.ir.ops import GatherElements, GatherNd, PadMode, ScatterElements, ScatterFn, ScatterNd, TopK
from smalti.ir.schema import eval_op
from smalti.ir.types import TensorType
from smalti.numerics import DType

Array = NDArray[Any]
H = symbol("H", 1)
X = TensorType(DType.FLOAT32, (3, 4, 5))
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3)
SEEDS = st.integers(0, 1 << 30)


def index(*shape: int | Dim, dtype: DType = DType.INT64) -> TensorType:
    """Return the type of a tensor of indices."""
    return TensorType(dtype, shape)


def floats(*shape: int | Dim) -> TensorType:
    """Return a type of float32."""
    return TensorType(DType.FLOAT32, shape)


def front(position: int, extent: int) -> int:
    """Return a position counted from the front."""
    return position + extent if position < 0 else position


def clipped(position: int, extent: int) -> int:
    """Return the nearest position inside."""
    return min(max(front(position, extent), 0), extent - 1)


@given(SHAPES, SEEDS)
@settings(max_examples=40, deadline=None)
def test_pieces_and_elements_one_by_one(shape: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 100, shape)
    depth = int(rng.integers(1, len(shape) + 1))
    rows = rng.integers(-6, 6, (4, depth))
    got = eval_op(GatherNd(), [x, rows], {})
    for row, piece in zip(rows, got, strict=True):
        place = tuple(clipped(int(p), e) for p, e in zip(row, shape[:depth], strict=True))
        assert np.array_equal(piece, x[place])
    axis = int(rng.integers(len(shape)))
    chosen = rng.integers(-6, 6, [3 if a == axis else s for a, s in enumerate(shape)])
    found = eval_op(GatherElements(axis), [x, chosen], {})
    for place in itertools.product(*map(range, chosen.shape)):
        taken = [*place]
        taken[axis] = clipped(int(chosen[place]), shape[axis])
        assert found[place] == x[tuple(taken)]


@given(SHAPES, SEEDS, st.sampled_from([*ScatterFn]))
@settings(max_examples=60, deadline=None)
def test_updates_one_by_one(shape: list[int], seed: int, fn: ScatterFn) -> None:
    rng = np.random.default_rng(seed)
    combine = {
        ScatterFn.SET: lambda old, new: new,
        ScatterFn.ADD: lambda old, new: old + new,
        ScatterFn.MUL: lambda old, new: old * new,
        ScatterFn.MAXIMUM: max,
        ScatterFn.MINIMUM: min,
    }[fn]
    x = rng.integers(0, 9, shape)
    axis = int(rng.integers(len(shape)))
    chosen = rng.integers(-6, 6, [int(rng.integers(1, s + 1)) for s in shape])
    updates = rng.integers(0, 9, chosen.shape)
    wanted = x.copy()
    for place in itertools.product(*map(range, chosen.shape)):
        into = [*place]
        into[axis] = front(int(chosen[place]), shape[axis])
        if 0 <= into[axis] < shape[axis]:
            wanted[tuple(into)] = combine(wanted[tuple(into)], updates[place])
    assert np.array_equal(eval_op(ScatterElements(axis, fn), [x, chosen, updates], {}), wanted)
    rows, pieces = rng.integers(-6, 6, (5, 1)), rng.integers(0, 9, (5, *shape[1:]))
    wanted = x.copy()
    for (row,), piece in zip(rows, pieces, strict=True):
        if 0 <= front(int(row), shape[0]) < shape[0]:
            at = front(int(row), shape[0])
            wanted[at] = np.vectorize(combine, otypes=[np.int64])(wanted[at], piece)
    assert np.array_equal(eval_op(ScatterNd(fn), [x, rows, pieces], {}), wanted)


def test_result_types() -> None:
    assert infer_type(GatherNd(1), (X, index(3, 7, 2))) == floats(3, 7)
    assert infer_type(GatherNd(), (X, index(H, 1))) == floats(H, 4, 5)
    assert infer_type(GatherElements(2), (X, index(3, 2, 9))) == floats(3, 2, 9)
    assert infer_type(TopK(H, 0), (floats(H + 1, 4),)) == index(H, 4)
    assert infer_type(ops.Iota(3, -1, H, DType.INT32), ()) == index(H, dtype=DType.INT32)


@pytest.mark.parametrize(
    ("op", "types", "text"),
    [
        (GatherNd(), (X, index(7, 4)), "GatherNd: int64"),
        (GatherNd(), (X, index(7, 0)), "GatherNd: int64"),
        (GatherNd(1), (X, index(2, 7, 1)), "GatherNd: int64"),
        (GatherNd(), (X, floats(7, 1)), "indices must be int32 or int64"),
        (GatherNd(), (floats(0, 4), index(7, 1)), "nothing to take from an axis of 0 elements"),
        (GatherElements(0), (floats(H - 1, 4), index(7, 4)), "nothing to take from an axis of H - 1 elements"),
        (GatherElements(0), (X, index(3, 5, 5)), "are larger than"),
        (GatherElements(3), (X, index(3, 4, 5)), "along axis 3"),
        (ScatterNd(ScatterFn.SET), (X, index(7, 2), floats(7, 4)), "the updates are"),
        (ScatterNd(ScatterFn.ADD), (TensorType(DType.BOOL, (3,)), index(7, 1), TensorType(DType.BOOL, (7,))), "bool"),
        (ScatterElements(0, ScatterFn.SET), (X, index(1, 1, 1), floats(1, 1, 2)), "the updates are"),
        (TopK(4, 0), (X,), "4 elements of axis 0"),
        (TopK(2, 0), (floats(H, 4),), "2 elements of axis 0"),
        (TopK(1, 0), (TensorType(DType.BOOL, (3,)),), "does not take bool"),
        (ops.Iota(0, 1, 3, DType.UINT8), (), "a range of uint8"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, ops.Op) else "",
)
def test_what_does_not_fit_is_refused(op: ops.Op, types: tuple[TensorType, ...], text: str) -> None:
    with pytest.raises(GraphError, match=text):
        infer_type(op, types)


def test_positions_in_images_are_checked() -> None:
    sample = ops.GridSample(ops.SampleFn.LINEAR, ops.SampleEdge.ZEROS, True)
    image = floats(2, H, 7, 3)
    assert infer_type(sample, (image, floats(2, 5, 6, 2))) == floats(2, 5, 6, 3)
    for grid, text in ((floats(1, 5, 6, 2), "a grid"), (floats(2, 5, 6, 3), "a grid"), (floats(2, 5, 2), "a grid")):
        with pytest.raises(GraphError, match=text):
            infer_type(sample, (image, grid))
    with pytest.raises(GraphError, match="images without pixels"):
        infer_type(sample, (floats(2, 0, 7, 3), floats(2, 5, 6, 2)))


def test_a_padding_from_nothing() -> None:
    for mode in (PadMode.EDGE, PadMode.WRAP):
        with pytest.raises(InputError, match="an axis that has none"):
            eval_op(ops.Pad(((1, 0),), mode), [np.zeros(0)], {})
        assert eval_op(ops.Pad(((0, 0), (1, 2)), mode), [np.zeros((0, 3))], {}).shape == (0, 6)
