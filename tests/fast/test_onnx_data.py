"""ONNX's data movement: what it does in every version, as numpy or ONNX's own reference does it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smalti.errors import GraphError, UnsupportedGraphError
from smalti.ir import ops
from tolerance import Tol, assert_close

onnx_kit = pytest.importorskip("onnx_kit", reason="the onnx package is not installed")

Array = NDArray[Any]
RNG = np.random.default_rng(5)
X = RNG.standard_normal((2, 3, 4, 5)).astype(np.float32)
LINE = np.arange(7, dtype=np.int64)


def ints(*values: int) -> Array:
    """Return a vector of int64."""
    return np.array(values, np.int64)


def got(op: str, operands: list[Array | None], stored: tuple[int, ...] = (), **settings: Any) -> list[Array]:
    """Return the results of one node by the meaning of its import."""
    data = onnx_kit.one_node(op, operands, stored=stored, **settings)
    return list(onnx_kit.meaning(data, onnx_kit.feeds(operands, stored)))


def check(
    op: str, operands: list[Array | None], stored: tuple[int, ...] = (), tol: Tol = Tol.EXACT, **settings: Any
) -> None:
    """Compare one node with ONNX's reference."""
    data = onnx_kit.one_node(op, operands, stored=stored, **settings)
    values = onnx_kit.feeds(operands, stored)
    for mine, theirs in zip(onnx_kit.meaning(data, values), onnx_kit.wanted(data, values), strict=True):
        assert_close(mine, theirs, tol, op)


def refusal(op: str, operands: list[Array | None], stored: tuple[int, ...] = (), **settings: Any) -> str:
    """Return the reason why a node is refused, which names it."""
    with pytest.raises(UnsupportedGraphError) as caught:
        onnx_kit.imported(onnx_kit.one_node(op, operands, stored=stored, **settings))
    assert [p.op for p in caught.value.problems] == [op]
    return caught.value.problems[0].reason


# -- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "end"), [(0, 4), (1, 3), (-2, 9), (3, 1), (-9, -1)])
def test_a_part_of_a_shape(start: int, end: int) -> None:
    (shape,) = got("Shape", [X], start=start, end=end)
    assert shape.tolist() == list(X.shape[start:end])
    assert shape.dtype == np.int64


def test_a_whole_shape_and_the_number_of_elements() -> None:
    assert got("Shape", [X], opset=7)[0].tolist() == [2, 3, 4, 5]
    assert got("Size", [X])[0] == 120


@pytest.mark.parametrize("axis", [0, 1, 2, 4, -1, -4])
def test_flatten(axis: int) -> None:
    check("Flatten", [X], axis=axis)


def test_an_axis_behind_the_last_is_an_error() -> None:
    with pytest.raises(GraphError, match="axis 5 is outside a tensor of 4 dimensions"):
        got("Flatten", [X], axis=5)


@given(st.permutations([2, 3, 4, 5]), st.sets(st.integers(0, 3)), st.booleans())
@settings(max_examples=30, deadline=None)
def test_reshape(sizes: list[int], kept: set[int], infers: bool) -> None:
    """A 0 keeps the size at its place: here only where the permutation left that in its place."""
    wanted = [0 if i in kept and s == X.shape[i] else s for i, s in enumerate(sizes)]
    if infers:
        wanted[sizes.index(5)] = -1
    (result,) = got("Reshape", [X, ints(*wanted)], (1,))
    assert_close(result, X.reshape(sizes), Tol.EXACT, str(wanted))


def test_reshapes_that_cannot_be() -> None:
    for wanted, text in (
        ((7, -1), "does not divide"),
        ((-1, -1), "more than one size"),
        ((2, 3, 4, 5, 0), "keeps a size"),
        ((-2, 60), "negative"),
    ):
        with pytest.raises(GraphError, match=text):
            got("Reshape", [X, ints(*wanted)], (1,))
    with pytest.raises(GraphError, match="Reshape of"):
        got("Reshape", [X, ints(0, 60)], (1,), allowzero=1)
    assert "must be constant or computed from the image size" in refusal("Reshape", [X, ints(2, 60)])


@pytest.mark.parametrize("opset", [7, 11, 13, 24])
def test_dimensions_of_size_one_come_and_go(opset: int) -> None:
    one = X[:, :1, :, :1]
    if opset >= 13:
        check("Squeeze", [one, ints(1, -1)], (1,), opset=opset)
        check("Unsqueeze", [X, ints(-1, 0)], (1,), opset=opset)
    else:
        check("Squeeze", [one], opset=opset, axes=[1, 3])
        check("Unsqueeze", [X], opset=opset, axes=[0, 5])
    assert got("Squeeze", [one], opset=opset)[0].shape == (2, 4)
    with pytest.raises(GraphError, match="repeat|left out"):
        got("Unsqueeze", [X, ints(0, -6)], (1,)) if opset >= 13 else got("Unsqueeze", [X], opset=opset, axes=[1, 1])


def test_transposes() -> None:
    check("Transpose", [X])
    check("Transpose", [X], perm=[2, 0, 3, 1])
    with pytest.raises(GraphError, match="does not permute"):
        got("Transpose", [X], perm=[0, 1, 2, -1])


def test_parts_together_and_apart() -> None:
    check("Concat", [X, X[:, :1]], axis=-3)
    check("Split", [X], opset=7, outputs=2, axis=3, split=[1, 4])
    check("Split", [X], opset=11, outputs=2, axis=2)
    check("Split", [X, ints(2, 0, 3)], (1,), opset=13, outputs=3, axis=-1)
    # Of five elements in three parts the last is the smaller one.
    assert [part.shape[3] for part in got("Split", [X], outputs=3, axis=3, num_outputs=3)] == [2, 2, 1]
    with pytest.raises(GraphError, match="does not split into 2 equal parts"):
        got("Split", [X], opset=13, outputs=2, axis=3)
    with pytest.raises(GraphError, match="num_outputs is 3 for 2 results"):
        got("Split", [X], outputs=2, axis=3, num_outputs=3)
    with pytest.raises(GraphError, match="negative size"):
        got("Split", [X, ints(6, -1)], (1,), opset=13, outputs=2, axis=3)


# -- slices and paddings ---------------------------------------------------------------------------------------------

POSITIONS = st.one_of(st.integers(-9, 9), st.sampled_from([(1 << 63) - 1, -(1 << 63), (1 << 31) - 1, -(1 << 31)]))


@given(POSITIONS, POSITIONS, st.sampled_from([-3, -2, -1, 1, 2, 3]))
@settings(max_examples=120, deadline=None)
def test_slices_are_those_of_python(begin: int, end: int, step: int) -> None:
    (result,) = got("Slice", [LINE, ints(begin), ints(end), ints(0), ints(step)], (1, 2, 3, 4))
    assert result.tolist() == LINE.tolist()[begin:end:step]


def test_slices_of_some_axes_and_of_old_versions() -> None:
    wanted = X[:, 1:, :, -1:0:-2]
    (new,) = got("Slice", [X, ints(1, -1), ints(99, 0), ints(1, -1), ints(1, -2)], (1, 2, 3, 4))
    assert_close(new, wanted, Tol.EXACT, "with steps")
    (old,) = got("Slice", [X], opset=9, starts=[1, -2], ends=[3, 99], axes=[1, 3])
    assert_close(old, X[:, 1:3, :, -2:], Tol.EXACT, "of attributes")
    (first,) = got("Slice", [X, ints(1), ints(2)], (1, 2))
    assert_close(first, X[1:2], Tol.EXACT, "without axes")
    with pytest.raises(GraphError, match="step is zero"):
        got("Slice", [X, ints(1), ints(2), ints(0), ints(0)], (1, 2, 3, 4))
    with pytest.raises(GraphError, match="repeat"):
        got("Slice", [X, ints(1, 1), ints(2, 2), ints(1, -3)], (1, 2, 3))


@given(st.lists(st.integers(-2, 2), min_size=4, max_size=4), st.sampled_from(["constant", "edge", "reflect", "wrap"]))
@settings(max_examples=60, deadline=None)
def test_paddings_and_cuts(amounts: list[int], mode: str) -> None:
    x = X[0, 0, :, :4]
    before, after = amounts[:2], amounts[2:]
    cut = x[max(-before[0], 0) : 4 + min(after[0], 0), max(-before[1], 0) : 4 + min(after[1], 0)]
    grown = [(max(b, 0), max(a, 0)) for b, a in zip(before, after, strict=True)]
    operands: list[Array | None] = [x, ints(*amounts), None if mode != "constant" else np.float32(3.5)]
    empty = any(extent == 0 and max(pair) for extent, pair in zip(cut.shape, grown, strict=True))
    short = mode == "reflect" and any(max(p) > e - 1 for e, p in zip(cut.shape, grown, strict=True) if max(p))
    if (empty and mode != "constant") or short:
        with pytest.raises(GraphError, match="mirrors|takes 1 elements"):
            got("Pad", operands, (1, 2), mode=mode)
        return
    (result,) = got("Pad", operands, (1, 2), mode=mode)
    kind: Any = mode
    filling = {"constant_values": 3.5} if mode == "constant" else {}
    assert_close(result, np.pad(cut, grown, mode=kind, **filling), Tol.EXACT, f"{mode} {amounts}")


def test_paddings_of_every_version() -> None:
    check("Pad", [X], opset=7, pads=[0, 1, 0, 2, 0, 0, 0, 1], value=2.5)
    check("Pad", [X, ints(0, 1, 0, 2, 0, 0, 0, 1)], (1,), opset=11, mode="edge")
    check("Pad", [X, ints(2, 1), np.float32(-1), ints(-1)], (1, 2, 3), opset=18)
    check("Pad", [X, ints(2, 1), np.array([-np.inf], np.float32), ints(-1)], (1, 3), opset=18)
    big = np.array([[(1 << 53) + 1]], np.int64)
    assert "the padding value" in refusal("Pad", [big, ints(0, 1, 0, 1), big.reshape(())], (1, 2))
    assert refusal("Pad", [X, ints(0).repeat(8)], (1,), mode="circular") == "mode circular"


def test_the_middle_of_a_tensor() -> None:
    for sizes in ((10, 7), (3, 2), (5, 9)):
        check("CenterCropPad", [X, ints(*sizes)], (1,), opset=18, axes=[2, -1])


# -- tensors of few numbers ------------------------------------------------------------------------------------------


def test_broadcasts_go_both_ways() -> None:
    check("Expand", [X[:, :1], ints(3, 1, 1)], (1,))
    check("Tile", [X, ints(1, 2, 1, 3)], (1,))
    check("ConstantOfShape", [ints(2, 3)], (0,), value=onnx_kit.numpy_helper.from_array(np.array([7], np.int8)))
    assert got("ConstantOfShape", [ints(2, 3)], (0,))[0].tolist() == [[0.0] * 3] * 2


def test_ranges() -> None:
    check("Range", [np.int64(10), np.int64(-3), np.int64(-4)], (0, 1, 2))
    check("Range", [np.float32(0.5), np.float32(3), np.float32(0.75)], (0, 1, 2))
    assert got("Range", [np.int32(3), np.int32(3), np.int32(1)], (0, 1, 2))[0].shape == (0,)
    with pytest.raises(GraphError, match="delta is zero"):
        got("Range", [np.int64(1), np.int64(3), np.int64(0)], (0, 1, 2))
    assert "start must be constant" in refusal("Range", [np.int64(1), np.int64(3), np.int64(1)], (1, 2))


def test_one_hot_vectors() -> None:
    picked, choices = np.array([[1, 0, -1], [7, -9, 2]], np.int64), np.array([-1.5, 2.5], np.float32)
    for axis in (-1, 0, 1):
        (result,) = got("OneHot", [picked, np.array([4.0], np.float32), choices], (1,), axis=axis)
        places = np.where(picked < 0, picked + 4, picked)
        there = np.expand_dims(places, axis) == np.arange(4).reshape([4 if i == axis % 3 else 1 for i in range(3)])
        assert_close(result, np.where(there, choices[1], choices[0]), Tol.EXACT, f"axis {axis}")


def test_diagonals_and_triangles() -> None:
    matrix = np.arange(12, dtype=np.int32).reshape(3, 4)
    for k in (-2, 0, 1, 5):
        assert got("EyeLike", [matrix], k=k)[0].tolist() == np.eye(3, 4, k, np.int32).tolist()
        check("Trilu", [X, np.int64(k)], (1,), upper=0)
        check("Trilu", [X, np.int64(k)])
    assert got("EyeLike", [matrix], dtype=11)[0].dtype == np.float64


# -- picked and written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("stored", [(), (1,)])
def test_gather(axis: int, stored: tuple[int, ...]) -> None:
    check("Gather", [X, np.array([[0, -1], [1, -2]], np.int64)], stored, axis=axis)
    check("Gather", [X, np.array(-1, np.int32)], stored, axis=axis)


def test_numbers_outside() -> None:
    """Known ones are errors; computed ones take the nearest element, and write nothing."""
    with pytest.raises(GraphError, match="takes 1 elements from 9 on of 7"):
        got("Gather", [LINE, ints(9)], (1,))
    assert got("GatherElements", [LINE, ints(9, -9, -1)])[0].tolist() == [6, 0, 6]
    assert got("GatherND", [LINE, ints(9, -9, -1).reshape(3, 1)])[0].tolist() == [6, 0, 6]
    assert got("ScatterElements", [LINE, ints(9, -8, -7), ints(50, 51, 52)])[0].tolist() == [52, 1, 2, 3, 4, 5, 6]
    written = got("ScatterND", [LINE, ints(9, -8, -7).reshape(3, 1), ints(50, 51, 52)])
    assert written[0].tolist() == [52, 1, 2, 3, 4, 5, 6]


def test_pieces_at_positions() -> None:
    check("GatherND", [X, np.array([[0, 1], [1, -1]], np.int64)])
    check("GatherND", [X, np.array([[[0], [-1]], [[1], [2]]], np.int64)], batch_dims=1)
    check("GatherElements", [X, RNG.integers(-3, 3, (2, 5, 4, 5))], axis=1)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scatters(reduction: str) -> None:
    places = RNG.integers(-3, 3, (2, 2, 4, 5)) if reduction != "none" else np.array([2, 0]).reshape(1, 2, 1, 1)
    places = np.broadcast_to(places, (2, 2, 4, 5)).astype(np.int64)
    updates = RNG.standard_normal((2, 2, 4, 5)).astype(np.float32)
    check("ScatterElements", [X, places, updates], axis=1, reduction=reduction, opset=18)
    rows = np.array([[0, 1], [1, -1], [0, 1 if reduction != "none" else 2]], np.int64)
    check("ScatterND", [X, rows, updates[0, :1].repeat(3, 0)], reduction=reduction, opset=18)


def test_the_last_of_two_updates_is_there() -> None:
    assert got("ScatterElements", [LINE, ints(1, 1), ints(8, 9)])[0].tolist() == [0, 9, 2, 3, 4, 5, 6]
    assert got("Scatter", [LINE, ints(1), ints(8)], opset=9)[0].tolist() == [0, 8, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("largest", [0, 1])
def test_the_best_numbers(largest: int) -> None:
    x = np.round(X)
    check("TopK", [x, ints(2)], (1,), outputs=2, axis=2, largest=largest)
    numbers, places = got("TopK", [x], opset=9, outputs=2, k=3, axis=1)
    assert_close(numbers, np.take_along_axis(x, places, 1), Tol.EXACT, "k as an attribute")
    odd = np.array([np.nan, 1, -0.0, 0, np.inf], np.float32)
    _, order = got("TopK", [odd, ints(5)], (1,), outputs=2, largest=largest)
    assert order.tolist() == ([0, 4, 1, 2, 3] if largest else [2, 3, 1, 4, 0])
    with pytest.raises(GraphError, match="takes 9 elements"):
        got("TopK", [x, ints(9)], (1,), outputs=2)


def test_conditions_that_are_known() -> None:
    flags = np.array([False, True, True])
    check("Compress", [X, flags], (1,), axis=1)
    check("Compress", [X, flags], (1,))
    check("NonZero", [np.array([[1, 0], [0, 2]], np.int64)], (0,))
    for op, operands in (("Compress", [X, flags]), ("NonZero", [flags])):
        assert "depends on the data of a run: end the graph before this node (--outputs)" in refusal(op, operands)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("edge", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [0, 1])
def test_images_at_positions(mode: str, edge: str, align: int) -> None:
    grid = (RNG.random((2, 3, 4, 2)) * 5 - 2.5).astype(np.float32)
    check("GridSample", [X, grid], tol=Tol.FLOAT(30), mode=mode, padding_mode=edge, align_corners=align)


def test_positions_that_are_no_numbers_read_nothing_outside() -> None:
    grid = np.full((2, 1, 3, 2), [[np.nan, 0], [np.inf, 0], [-1e38, 1e38]], np.float32)
    for edge in ("zeros", "border", "reflection"):
        (result,) = got("GridSample", [X, grid], mode="linear", padding_mode=edge)
        assert np.isfinite(result).all()
    assert "positions in float32[1, 2, 3, 4, 5]" in refusal(
        "GridSample", [X[None], np.zeros((1, 1, 1, 1, 3), np.float32)]
    )


def test_pooled_pixels_go_back() -> None:
    x, places = X[:1, :1, :2, :2], np.array([[[[5, 7], [13, 15]]]], np.int64)
    check("MaxUnpool", [x, places], kernel_shape=[2, 2], strides=[2, 2])
    (wide,) = got("MaxUnpool", [x, places, ints(1, 1, 5, 6)], (2,), kernel_shape=[2, 2], strides=[2, 2])
    assert wide.shape == (1, 1, 5, 6)
    assert_close(wide[0, 0, 1, 1], x[0, 0, 0, 0], Tol.EXACT, "place 5 of the inner image")


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_blocks(mode: str) -> None:
    deep = RNG.standard_normal((2, 12, 3, 5)).astype(np.float32)
    check("DepthToSpace", [deep], blocksize=2, mode=mode)
    (back,) = got("SpaceToDepth", got("DepthToSpace", [deep], blocksize=2, mode=mode), opset=28, blocksize=2, mode=mode)
    assert_close(back, deep, Tol.EXACT, "there and back")


# -- refused by name -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "text"),
    [
        ("Unique", "how many results there are depends on the data of a run"),
        ("LSTM", "a recurrent layer"),
        ("SequenceConstruct", "a sequence or optional of tensors"),
        ("RandomNormalLike", "random numbers, which are other ones in every run"),
        ("StringNormalizer", "texts, not numbers"),
    ],
)
def test_known_and_refused(op: str, text: str) -> None:
    assert refusal(op, [X]) == f"{text}: end the graph before it (--outputs)"


def test_what_would_take_too_much_memory_is_refused_before() -> None:
    with pytest.raises(UnsupportedGraphError, match="a tensor of 4100 dimensions"):
        got("Unsqueeze", [X], opset=11, axes=[*range(4096)])
    with pytest.raises(GraphError, match="positions take 120000000 bytes"):
        got("NonZero", [np.ones((10, 50_000, 10), np.int8)], (0,))
    with pytest.raises(GraphError, match="bytes"):
        got("EyeLike", [np.zeros((1 << 14, 1 << 14), np.bool_)], dtype=7)


def test_weights_that_are_moved_stay_constants() -> None:
    for op, operands, how in (
        ("Reshape", [X, ints(6, -1)], {}),
        ("Transpose", [X], {"perm": [3, 2, 0, 1]}),
        ("Unsqueeze", [X, ints(0, -1)], {}),
        ("Squeeze", [X[:1], ints(0)], {}),
        ("Flatten", [X], {"axis": 3}),
    ):
        stored = tuple(range(len(operands)))
        data = onnx_kit.one_node(op, operands, stored=stored, **how)
        (node,) = onnx_kit.imported(data).graph.outputs
        assert isinstance(node.op, ops.Constant)
        assert_close(node.op.value, onnx_kit.wanted(data, {})[0], Tol.EXACT, op)
    with pytest.raises(GraphError, match="Reshape of"):
        got("Reshape", [X, ints(7, 7)], (0, 1))


def test_picked_numbers_are_folded_where_all_is_known() -> None:
    data = onnx_kit.one_node("GatherND", [LINE, ints(3, -1).reshape(2, 1)], stored=(0, 1))
    (node,) = onnx_kit.imported(data).graph.outputs
    assert isinstance(node.op, ops.Constant)
    assert node.op.value.tolist() == [3, 6]
