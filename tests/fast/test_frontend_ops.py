"""Every handler: which IR it makes of a node, and with which sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graph_builder import GraphBuilder
from smalti.errors import GraphError, UnsupportedGraphError
from smalti.frontend.tensorflow.importer import Imported, ImportOptions, import_graph
from smalti.frontend.tensorflow.tensors import TfType
from smalti.ir import ops
from smalti.ir.graph import Level, Node
from smalti.ir.reference import run
from smalti.ir.verify import verify

F32, I32 = np.float32, np.int32
Build = Callable[[GraphBuilder], GraphBuilder]
IMAGE = (1, None, None, 3)


def image(shape: Any = IMAGE, dtype: Any = F32) -> GraphBuilder:
    return GraphBuilder().placeholder("x", dtype, shape)


def imported(builder: GraphBuilder, *outputs: str) -> Imported:
    result = import_graph(builder.bytes(), ImportOptions(outputs=outputs or ("y",)))
    verify(result.graph, Level.IMPORTED)
    return result


def output(builder: GraphBuilder) -> Node:
    return imported(builder).graph.outputs[0]


def text(builder: GraphBuilder) -> str:
    """Return the name of the last operation and the result's type."""
    node = output(builder)
    return f"{type(node.op).__name__} {node.type}"


def value(builder: GraphBuilder, **inputs: Any) -> np.ndarray[Any, Any]:
    """Run the numpy meaning of the imported graph."""
    graph = imported(builder).graph
    return run(graph, {f"{k}:0": v for k, v in inputs.items()})[graph.output_names[0]]


def weights(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, F32)


CONV = [
    (dict(strides=[1, 1, 1, 1], padding="SAME"), "Conv2d float32[1, H, W, 8]", (1, 1, 1, 1)),
    (dict(strides=[1, 1, 1, 1], padding="VALID"), "Conv2d float32[1, H - 2, W - 2, 8]", (0, 0, 0, 0)),
    (dict(strides=[1, 1, 1, 1], padding="SAME", dilations=[1, 2, 4, 1]), "Conv2d float32[1, H, W, 8]", (2, 2, 4, 4)),
    (
        dict(strides=[1, 1, 1, 1], padding="EXPLICIT", explicit_paddings=[0, 0, 1, 2, 3, 4, 0, 0]),
        "Conv2d float32[1, H + 1, W + 5, 8]",
        (1, 2, 3, 4),
    ),
]


@pytest.mark.parametrize(("attrs", "expected", "pads"), CONV)
def test_conv2d(attrs: dict[str, Any], expected: str, pads: tuple[int, ...]) -> None:
    node = output(image().const("w", weights(3, 3, 3, 8)).node("Conv2D", "y", ["x", "w"], T=F32, **attrs))
    assert f"{type(node.op).__name__} {node.type}" == expected
    assert isinstance(node.op, ops.Conv2d)
    assert node.op.pads == pads
    assert node.op.dilation == tuple(attrs.get("dilations", [1, 1, 1, 1])[1:3])
    assert node.name == "y:0"


def test_conv2d_same_with_stride_has_sizes_that_depend_on_parity() -> None:
    builder = image().const("w", weights(3, 3, 3, 8))
    node = output(builder.node("Conv2D", "y", ["x", "w"], strides=[1, 2, 2, 1], padding="SAME"))
    assert str(node.type) == "float32[1, floor(1/2*H + 1/2), floor(1/2*W + 1/2), 8]"


def test_conv2d_nchw() -> None:
    builder = image((1, 3, None, None)).const("w", weights(3, 3, 3, 8))
    node = output(builder.node("Conv2D", "y", ["x", "w"], strides=[1, 1, 2, 2], padding="VALID", data_format="NCHW"))
    assert isinstance(node.op, ops.Conv2d)
    assert node.op.layout is ops.Layout.NCHW
    assert str(node.type) == "float32[1, 8, floor(1/2*H + 1/2) - 1, floor(1/2*W + 1/2) - 1]"


@pytest.mark.parametrize(("layout", "shape"), (("NHWC", (1, 9, 9, 6)), ("NCHW", (1, 6, 9, 9))))
def test_conv2d_of_weights_that_take_a_part_of_the_channels(layout: str, shape: tuple[int, ...]) -> None:
    builder = image(shape).const("w", weights(3, 3, 2, 12))
    node = output(builder.node("Conv2D", "y", ["x", "w"], strides=[1, 1, 1, 1], padding="VALID", data_format=layout))
    assert isinstance(node.op, ops.Conv2d) and node.op.groups == 3
    assert [n for n in node.type.shape if n != 7] == [1, 12]


@pytest.mark.parametrize(("layout", "shape"), (("NHWC", (1, 9, 9, 6)), ("NCHW", (1, 6, 9, 9))))
@pytest.mark.parametrize("multiplier", (1, 2))
def test_conv2d_of_weights_that_take_one_channel_is_depthwise(
    multiplier: int, layout: str, shape: tuple[int, ...]
) -> None:
    builder = image(shape).const("w", weights(3, 3, 1, 6 * multiplier))
    node = output(builder.node("Conv2D", "y", ["x", "w"], strides=[1, 1, 1, 1], padding="VALID", data_format=layout))
    assert isinstance(node.op, ops.Conv2d) and node.op.groups == 6
    assert [n for n in node.type.shape if n != 7] == [1, 6 * multiplier]


@pytest.mark.parametrize(
    ("depth", "results", "text"), ((4, 12, "does not have 4 channels"), (2, 8, "do not split into 3 groups"))
)
def test_conv2d_of_channels_that_do_not_split(depth: int, results: int, text: str) -> None:
    builder = image((1, 9, 9, 6)).const("w", weights(3, 3, depth, results))
    with pytest.raises(GraphError, match=text):
        output(builder.node("Conv2D", "y", ["x", "w"], strides=[1, 1, 1, 1], padding="VALID"))


def test_depthwise() -> None:
    builder = image().const("w", weights(3, 3, 3, 2))
    builder.node("DepthwiseConv2dNative", "y", ["x", "w"], strides=[1, 1, 1, 1], padding="SAME", dilations=[1, 6, 6, 1])
    assert text(builder) == "Conv2d float32[1, H, W, 6]"
    node = output(builder)
    assert isinstance(node.op, ops.Conv2d) and node.op.groups == 3 and node.weights.type.shape == (3, 3, 1, 6)


@pytest.mark.parametrize(("layout", "shape"), (("NHWC", (1, 9, 9, 6)), ("NCHW", (1, 6, 9, 9))))
def test_depthwise_filters_of_other_channels(layout: str, shape: tuple[int, ...]) -> None:
    builder = image(shape).const("w", weights(3, 3, 3, 2))
    builder.node("DepthwiseConv2dNative", "y", ["x", "w"], strides=[1] * 4, padding="SAME", data_format=layout)
    with pytest.raises(GraphError, match="do not have 3 channels"):
        output(builder)


@pytest.mark.parametrize("op", ["AvgPool", "MaxPool"])
def test_pools(op: str) -> None:
    builder = image().node(op, "y", ["x"], ksize=[1, 3, 2, 1], strides=[1, 1, 1, 1], padding="SAME")
    node = output(builder)
    assert isinstance(node.op, ops.Pool)
    assert (node.op.size, node.op.pads) == ((3, 2), (1, 1, 0, 1))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_bias_add(layout: str) -> None:
    shape = IMAGE if layout == "NHWC" else (1, 3, None, None)
    builder = image(shape).const("b", np.arange(3, dtype=F32)).node("BiasAdd", "y", ["x", "b"], data_format=layout)
    x = np.zeros((1, 2, 4, 3) if layout == "NHWC" else (1, 3, 2, 4), F32)
    axis = 3 if layout == "NHWC" else 1
    got = value(builder, x=x)
    assert np.array_equal(got.sum(axis=tuple(a for a in range(4) if a != axis)), [0, 8, 16])


@pytest.mark.parametrize("op", ["FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"])
def test_batch_norm(op: str) -> None:
    builder = image()
    for i, name in enumerate("abcd"):
        builder.const(name, np.full(3, i + 1, F32))
    types = {} if op == "FusedBatchNorm" else {"U": F32}
    builder.node(op, "y", ["x", "a", "b", "c", "d"], T=F32, epsilon=0.5, is_training=False, **types)
    node = output(builder)
    assert isinstance(node.op, ops.BatchNorm)
    assert node.op.epsilon == 0.5
    assert [n.name for n in node.inputs] == ["x:0", "a:0", "b:0", "c:0", "d:0"]
    assert imported(builder, "y:1").graph.outputs[0].name == "c:0", "the statistics are the given ones"


BINARY = "AddV2 Add Sub Mul RealDiv FloorDiv FloorMod Maximum Minimum SquaredDifference".split()
COMPARISONS = "Equal NotEqual Less LessEqual Greater GreaterEqual".split()


@pytest.mark.parametrize("op", BINARY + COMPARISONS)
def test_binary(op: str) -> None:
    builder = image().const("c", np.ones(3, F32)).node(op, "y", ["x", "c"], T=F32)
    assert text(builder) == f"Binary {'bool' if op in COMPARISONS else 'float32'}[1, H, W, 3]"


UNARY = "Neg Abs Square Sqrt Rsqrt Exp Log Floor Ceil Round Relu Relu6 Elu Sigmoid Tanh".split()


@pytest.mark.parametrize("op", UNARY)
def test_unary(op: str) -> None:
    assert text(image().node(op, "y", ["x"], T=F32)) == "Unary float32[1, H, W, 3]"


def test_leaky_relu_reads_alpha() -> None:
    for attrs, alpha in (({}, 0.2), ({"alpha": 0.5}, 0.5)):
        node = output(image().node("LeakyRelu", "y", ["x"], **attrs))
        assert isinstance(node.op, ops.Unary)
        assert np.float32(node.op.alpha) == np.float32(alpha)


def test_logic() -> None:
    builder = image(dtype=np.bool_).node("LogicalNot", "n", ["x"]).node("LogicalOr", "o", ["x", "n"])
    assert text(builder.node("LogicalAnd", "y", ["o", "n"])) == "Binary bool[1, H, W, 3]"


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [(np.uint8, F32, "Cast float32"), (F32, np.int32, "Cast int32"), (np.int64, np.int32, "Cast int32")],
)
def test_cast(source: Any, target: Any, expected: str) -> None:
    builder = image(dtype=source).node("Cast", "y", ["x"], SrcT=source, DstT=target, Truncate=False)
    assert text(builder) == f"{expected}[1, H, W, 3]"


def test_cast_to_the_same_type_is_nothing() -> None:
    assert text(image().node("Cast", "y", ["x"], SrcT=F32, DstT=F32)) == "Input float32[1, H, W, 3]"


@pytest.mark.parametrize(
    ("op", "axes", "keep", "shape"),
    [
        ("Mean", [1, 2], True, "[1, 1, 1, 3]"),
        ("Mean", [-2, 1], False, "[1, 3]"),
        ("Sum", [3], False, "[1, H, W]"),
        ("Max", [0], True, "[1, H, W, 3]"),
    ],
)
def test_reductions(op: str, axes: list[int], keep: bool, shape: str) -> None:
    builder = image().const("a", axes, I32).node(op, "y", ["x", "a"], T=F32, Tidx=I32, keep_dims=keep)
    assert text(builder) == f"Reduce float32{shape}"


@pytest.mark.parametrize(("kind", "name"), [(np.int32, "int32"), (np.int64, "int64"), (None, "int64")])
def test_argmax(kind: Any, name: str) -> None:
    builder = image().const("a", -1, I32).node("ArgMax", "y", ["x", "a"], T=F32, Tidx=I32, output_type=kind)
    assert text(builder) == f"ArgMax {name}[1, H, W]"


@pytest.mark.parametrize("exclusive", (False, True))
@pytest.mark.parametrize("reverse", (False, True))
def test_cumsum(exclusive: bool, reverse: bool) -> None:
    builder = image().const("a", -2, I32)
    node = output(builder.node("Cumsum", "y", ["x", "a"], T=F32, Tidx=I32, exclusive=exclusive, reverse=reverse))
    assert node.op == ops.CumSum(2, exclusive, reverse) and str(node.type) == "float32[1, H, W, 3]"


def test_functions_whose_names_are_those_of_tensorflow() -> None:
    assert text(image().node("Softplus", "y", ["x"], T=F32)) == "Unary float32[1, H, W, 3]"
    with pytest.raises(UnsupportedGraphError, match="Silu"):
        imported(image().node("Silu", "y", ["x"], T=F32))


def test_matmul_softmax() -> None:
    builder = image((4, 5)).const("w", weights(7, 5)).node("MatMul", "m", ["x", "w"], transpose_b=True)
    assert text(builder.node("Softmax", "y", ["m"])) == "Softmax float32[4, 7]"


@pytest.mark.parametrize("dtype", [F32, np.uint8, np.int32])
def test_bilinear_resize_gives_float32(dtype: Any) -> None:
    builder = image(dtype=dtype).const("s", [7, 9], I32).node("ResizeBilinear", "y", ["x", "s"], align_corners=True)
    node = output(builder)
    assert str(node.type) == "float32[1, 7, 9, 3]"
    assert isinstance(node.inputs[0].op, ops.Input if dtype is F32 else ops.Cast)


def test_nearest_resize_keeps_the_type() -> None:
    builder = image(dtype=np.int64).const("s", [7, 9], I32)
    assert text(builder.node("ResizeNearestNeighbor", "y", ["x", "s"])) == "Resize int64[1, 7, 9, 3]"


def test_space_to_batch_with_computed_paddings() -> None:
    builder = image().node("Shape", "s", ["x"], out_type=I32)
    for name, item in (("b", [1]), ("e", [3]), ("one", [1])):
        builder.const(name, item, I32)
    builder.node("StridedSlice", "hw", ["s", "b", "e", "one"], T=I32, Index=I32)
    builder.const("block", [2, 2], I32).node("Neg", "m", ["hw"]).node("FloorMod", "after", ["m", "block"])
    builder.const("zero", [0, 0], I32).node("Pack", "p", ["zero", "after"], N=2, axis=1)
    builder.node("SpaceToBatchND", "z", ["x", "block", "p"])
    builder.node("BatchToSpaceND", "y", ["z", "block", "p"])
    node = output(builder)
    assert str(node.type) == "float32[1, H, W, 3]"
    assert str(node.inputs[0].type) == "float32[4, -floor(-1/2*H), -floor(-1/2*W), 3]"


@pytest.mark.parametrize(("op", "shape"), [("SpaceToDepth", "[1, 2, 3, 12]"), ("DepthToSpace", "[1, 8, 12, 3]")])
def test_space_and_depth(op: str, shape: str) -> None:
    builder = image((1, 4, 6, 3 if op == "SpaceToDepth" else 12)).node(op, "y", ["x"], block_size=2)
    assert text(builder) == f"{op} float32{shape}"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([1, -1, 3], "[1, H*W, 3]"), ([-1], "[3*H*W]"), ([3, -1, 1], "[3, H*W, 1]")],
)
def test_reshape(sizes: list[int], expected: str) -> None:
    builder = image().const("s", sizes, I32).node("Reshape", "y", ["x", "s"])
    assert text(builder) == f"Reshape float32{expected}"


def test_squeeze_expand_transpose() -> None:
    builder = image().node("Squeeze", "q", ["x"], squeeze_dims=[0]).const("a", 1, I32)
    builder.node("ExpandDims", "e", ["q", "a"]).const("p", [3, 0, 1, 2], I32).node("Transpose", "y", ["e", "p"])
    assert text(builder) == "Transpose float32[3, H, 1, W]"


def test_squeeze_without_axes_takes_every_one() -> None:
    assert text(image((1, 5, 1, 3)).node("Squeeze", "y", ["x"])) == "Reshape float32[5, 3]"


def test_pack_unpack_of_data() -> None:
    builder = image((2, 3)).node("Unpack", "u", ["x"], num=2, axis=0).node("Pack", "y", ["u:1", "u"], N=2, axis=1)
    x = np.arange(6, dtype=F32).reshape(2, 3)
    assert np.array_equal(value(builder, x=x), np.stack([x[1], x[0]], 1))


@pytest.mark.parametrize("op", ["Concat", "ConcatV2"])
def test_concat(op: str) -> None:
    builder = image().const("a", -1, I32)
    inputs = ["a", "x", "x"] if op == "Concat" else ["x", "x", "a"]
    assert text(builder.node(op, "y", inputs, N=2)) == "Concat float32[1, H, W, 6]"


def test_splits() -> None:
    x = np.arange(12, dtype=F32).reshape(2, 6)
    builder = image((2, 6)).const("a", 1, I32).const("n", [1, -1, 2], I32)
    builder.node("Split", "s", ["a", "x"], num_split=3).node("SplitV", "v", ["x", "n", "a"], num_split=3)
    builder.node("ConcatV2", "y", ["v:2", "s:1", "v:1", "a"], N=3)
    assert np.array_equal(value(builder, x=x), np.concatenate([x[:, 4:], x[:, 2:4], x[:, 1:4]], 1))


def strided(begin: list[int], end: list[int], stride: list[int], **masks: int) -> GraphBuilder:
    builder = image((4, 5, 6)).const("b", begin, I32).const("e", end, I32).const("s", stride, I32)
    return builder.node("StridedSlice", "y", ["x", "b", "e", "s"], T=F32, Index=I32, **masks)


X456 = np.arange(120, dtype=F32).reshape(4, 5, 6)
STRIDED = [
    (([1], [3], [1], {}), X456[1:3]),
    (([0, 1], [-1, 100], [2, 1], {}), X456[0:-1:2, 1:100]),
    (([-1], [-3], [-1], {}), X456[-1:-3:-1]),
    (([3, 9], [0, -9], [-2, -1], {"end_mask": 2}), X456[3:0:-2, 9::-1]),
    (([1, 2], [0, 0], [1, 1], {"shrink_axis_mask": 3}), X456[1, 2]),
    (([0, 2], [0, 3], [1, 1], {"ellipsis_mask": 1}), X456[..., 2:3]),
    (([0, -1], [0, 0], [1, 1], {"ellipsis_mask": 1, "shrink_axis_mask": 2}), X456[..., -1]),
    (([0, 1, 1], [0, 0, 3], [1, 1, 1], {"new_axis_mask": 1, "shrink_axis_mask": 2}), X456[None, 1, 1:3]),
    (([0, 0, 0], [0, 0, 2], [1, 1, 1], {"ellipsis_mask": 2, "new_axis_mask": 1}), X456[None, ..., 0:2]),
    (([1, 1], [2, 2], [1, 1], {"begin_mask": 1, "end_mask": 2}), X456[:2, 1:]),
    (([0], [0], [1], {"ellipsis_mask": 1}), X456),
    (([3], [1], [1], {}), X456[3:1]),
]


@pytest.mark.parametrize(("call", "expected"), STRIDED)
def test_strided_slice(call: Any, expected: np.ndarray[Any, Any]) -> None:
    begin, end, stride, masks = call
    got = value(strided(begin, end, stride, **masks), x=X456)
    assert got.shape == expected.shape
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("call", [c for c, _ in STRIDED])
def test_strided_slice_of_a_known_tensor_is_the_same(call: Any) -> None:
    begin, end, stride, masks = call
    builder = GraphBuilder().const("x", X456.astype(I32)).const("b", begin, I32).const("e", end, I32)
    builder.const("s", stride, I32).node("StridedSlice", "y", ["x", "b", "e", "s"], T=I32, Index=I32, **masks)
    expected = next(e for c, e in STRIDED if c is call)
    node = output(builder)
    assert isinstance(node.op, ops.Constant)
    assert np.array_equal(node.op.value, expected)


def test_slice_to_the_end() -> None:
    builder = image((4, 5)).const("b", [1, 2], I32).const("s", [-1, 2], I32).node("Slice", "y", ["x", "b", "s"])
    assert text(builder) == "Slice float32[3, 2]"


@pytest.mark.parametrize(("op", "inputs"), [("Pad", []), ("PadV2", ["c"])])
def test_pad(op: str, inputs: list[str]) -> None:
    builder = image().const("p", [[0, 0], [1, 2], [3, 4], [0, 0]], I32).const("c", F32(2.5))
    node = output(builder.node(op, "y", ["x", "p", *inputs]))
    assert isinstance(node.op, ops.Pad)
    assert (str(node.type), node.op.value) == ("float32[1, H + 3, W + 7, 3]", 2.5 if inputs else 0.0)


@pytest.mark.parametrize("mode", ["REFLECT", "SYMMETRIC"])
def test_mirror_pad(mode: str) -> None:
    builder = image((3, 3)).const("p", [[1, 2], [0, 1]], I32).node("MirrorPad", "y", ["x", "p"], mode=mode)
    x = np.arange(9, dtype=F32).reshape(3, 3)
    assert np.array_equal(value(builder, x=x), np.pad(x, [(1, 2), (0, 1)], mode=mode.lower()))  # type: ignore[call-overload]


def test_fill_range_tile_gather() -> None:
    builder = image((2, 3)).const("d", [2, 3], I32).const("v", F32(1.5)).node("Fill", "f", ["d", "v"])
    for name, number in (("a", 0), ("l", 3), ("one", 1)):
        builder.const(name, number, I32)
    builder.node("Range", "r", ["a", "l", "one"]).node("AddV2", "s", ["x", "f"])
    builder.node("GatherV2", "g", ["s", "r", "one"], batch_dims=0).const("m", [1, 2], I32).node("Tile", "y", ["g", "m"])
    x = np.arange(6, dtype=F32).reshape(2, 3)
    assert np.array_equal(value(builder, x=x), np.tile(x + 1.5, (1, 2)))


def test_positions_that_are_data_of_a_run() -> None:
    rows = np.array([[1, 0], [0, 2], [1, 0]], np.int32)
    x = np.arange(6, dtype=F32).reshape(2, 3)
    picked = image((2, 3)).placeholder("i", np.int32, [3, 2]).const("axis", 1, I32)
    assert np.array_equal(value(picked.node("GatherV2", "y", ["x", "i", "axis"]), x=x, i=rows), x[:, rows])
    picked = image((2, 3)).placeholder("i", np.int32, [3, 2]).node("GatherNd", "y", ["x", "i"])
    assert np.array_equal(value(picked, x=x, i=rows), x[tuple(rows.T)])
    written = image((3, 4)).placeholder("i", np.int32, [3, 2]).const("shape", [2, 3, 4], I32)
    updates = np.arange(12, dtype=F32).reshape(3, 4)
    wanted = np.zeros((2, 3, 4), F32)
    wanted[1, 0], wanted[0, 2] = updates[0] + updates[2], updates[1]
    assert np.array_equal(value(written.node("ScatterNd", "y", ["i", "x", "shape"]), x=updates, i=rows), wanted)


@pytest.mark.parametrize("op", ["Select", "SelectV2"])
def test_select(op: str) -> None:
    builder = image((2, 3)).const("z", F32(0)).node("Greater", "c", ["x", "z"]).const("k", np.full((2, 3), -1, F32))
    x = np.array([[1, -2, 3], [-4, 5, -6]], F32)
    assert np.array_equal(value(builder.node(op, "y", ["c", "x", "k"]), x=x), np.where(x > 0, x, -1))


def test_select_with_a_vector_chooses_rows() -> None:
    builder = image((2, 3)).const("c", [True, False], np.bool_).const("k", np.full((2, 3), -1, F32))
    builder.node("Select", "y", ["c", "x", "k"])
    x = np.ones((2, 3), F32)
    assert np.array_equal(value(builder, x=x), [[1, 1, 1], [-1, -1, -1]])


def test_add_n_and_clip() -> None:
    builder = image((2,)).const("lo", F32(0)).const("hi", F32(5)).node("AddN", "s", ["x", "x", "x"], N=3)
    got = value(builder.node("ClipByValue", "y", ["s", "lo", "hi"]), x=np.array([-1, 9], F32))
    assert np.array_equal(got, [0, 5])


def test_where_of_a_constant() -> None:
    builder = GraphBuilder().const("c", [[True, False], [True, True]], np.bool_).node("Where", "y", ["c"], T=np.bool_)
    node = output(builder)
    assert isinstance(node.op, ops.Constant)
    assert np.array_equal(node.op.value, [[0, 0], [1, 0], [1, 1]])


@pytest.mark.parametrize(
    "op", ["Identity", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot", "PlaceholderWithDefault"]
)
def test_transparent(op: str) -> None:
    attrs = {"message": "x"} if op in ("CheckNumerics", "PreventGradient") else {}
    builder = image().node("Relu", "r", ["x"]).node(op, "y", ["r"], **attrs)
    result = imported(builder)
    assert result.graph.outputs[0].name == "r:0"
    assert result.graph.output_names == ("y:0",)


def test_switch_and_merge_with_a_constant_predicate() -> None:
    for predicate, expected in ((True, 1.0), (False, 3.0)):
        builder = image((2,)).const("p", predicate, np.bool_).node("Switch", "s", ["x", "p"])
        # A constant inside a branch hangs on it by a control input alone.
        builder.node("Identity", "on", ["s:1"]).node("Identity", "off", ["s:0"])
        builder.const("one", F32(1)).const("three", F32(3))
        for name, pivot in (("one", "^on"), ("three", "^off")):
            next(n for n in builder.graph.node if n.name == name.encode()).input.append(pivot.encode())
        builder.node("Merge", "y", ["three", "one"], N=2)
        node = output(builder.node("AddV2", "unused", ["x", "x"]))
        assert isinstance(node.op, ops.Constant)
        assert float(node.op.value.item()) == expected
        number = imported(builder, "y:1").graph.outputs[0]
        assert isinstance(number.op, ops.Constant)
        assert int(number.op.value.item()) == int(predicate)


DEQUANTIZE = [
    ("MIN_COMBINED", TfType.QUINT8, np.uint8, [0, 128, 255], [-1.0, -1.0 + 128 * (4 / 255), 3.0]),
    ("MIN_COMBINED", TfType.QINT8, np.int8, [-128, 0, 127], [-1.0, -1.0 + 128 * (4 / 255), 3.0]),
    ("SCALED", TfType.QINT8, np.int8, [-127, 0, 127], [-3.0, 0.0, 3.0]),
    ("SCALED", TfType.QUINT8, np.uint8, [0, 51, 255], [0.0, 0.6, 3.0]),
    # MIN_FIRST moves the range so that zero is exact: -63.75 steps become -64.
    ("MIN_FIRST", TfType.QUINT8, np.uint8, [0, 64, 255], [-64 * (4 / 255), 0.0, 191 * (4 / 255)]),
]


@pytest.mark.parametrize(("mode", "kind", "dtype", "codes", "expected"), DEQUANTIZE)
def test_dequantize(mode: str, kind: TfType, dtype: Any, codes: list[int], expected: list[float]) -> None:
    builder = GraphBuilder().const("q", codes, dtype, kind=kind).const("lo", F32(-1)).const("hi", F32(3))
    builder.node("Dequantize", "y", ["q", "lo", "hi"], T=kind, mode=mode)
    node = output(builder)
    assert isinstance(node.op, ops.Constant)
    assert node.op.value.dtype == F32
    assert float(np.abs(node.op.value.astype(np.float64) - expected).max()) <= 8 * np.finfo(F32).eps


def test_dequantize_per_axis() -> None:
    builder = GraphBuilder().const("q", [[127, 127], [-127, 0]], np.int8, kind=TfType.QINT8)
    builder.const("lo", [-1, -2], F32).const("hi", [1, 2], F32)
    builder.node("Dequantize", "y", ["q", "lo", "hi"], mode="SCALED", axis=1, narrow_range=True)
    node = output(builder)
    assert isinstance(node.op, ops.Constant)
    assert np.array_equal(node.op.value, np.array([[1, 2], [-1, 0]], F32))


NOT_SUPPORTED: list[tuple[str, Build]] = [
    ("data_format", lambda b: b.node("BiasAdd", "y", ["x", "c"], data_format="NCHW_VECT_C")),
    ("padding", lambda b: b.node("MaxPool", "y", ["x"], ksize=[1] * 4, strides=[1] * 4, padding="NONE")),
    (
        "over batch or channels",
        lambda b: b.node("MaxPool", "y", ["x"], ksize=[1, 1, 1, 3], strides=[1] * 4, padding="SAME"),
    ),
    ("is_training", lambda b: b.node("FusedBatchNormV3", "y", ["x", "c", "c", "c", "c"])),
    ("attribute 'colour'", lambda b: b.node("Relu", "y", ["x"], colour=3)),
    ("operation not supported", lambda b: b.node("Cross", "y", ["x", "c"])),
    ("predicate", lambda b: b.node("Greater", "g", ["x", "x"]).node("Switch", "y", ["x", "g"])),
    ("must be constant", lambda b: b.node("Cast", "i", ["x"], DstT=I32).node("Reshape", "y", ["x", "i"])),
    ("batch_dims", lambda b: b.const("i", 0, I32).node("GatherV2", "y", ["x", "i", "i"], batch_dims=1)),
    ("mode", lambda b: b.node("MirrorPad", "y", ["x", "c"], mode="WRAP")),
    ("conversion to complex64", lambda b: b.node("Cast", "y", ["x"], DstT=TfType.COMPLEX64)),
    ("output_type", lambda b: b.const("i", 0, I32).node("ArgMax", "y", ["x", "i"], output_type=np.int16)),
]


@pytest.mark.parametrize(("reason", "build"), NOT_SUPPORTED)
def test_unsupported_says_why(reason: str, build: Build) -> None:
    builder = build(image().const("c", np.ones(3, F32)))
    with pytest.raises(UnsupportedGraphError) as caught:
        imported(builder)
    assert any(reason in p.reason for p in caught.value.problems), caught.value


def test_negative_padding_for_some_images_is_a_limit() -> None:
    builder = image().node("Shape", "s", ["x"]).const("c", [1, 100, 200, 3], I32).node("Sub", "d", ["c", "s"])
    builder.const("z", [0, 0, 0, 0], I32).node("Pack", "p", ["z", "d"], N=2, axis=1).node("Pad", "y", ["x", "p"])
    result = imported(builder)
    assert str(result.graph.outputs[0].type) == "float32[1, 100, 200, 3]"
    assert [(s.symbol, s.high) for s in result.report.limits] == [("H", 100), ("W", 200)]


def test_sizes_as_data_become_a_size_tensor() -> None:
    builder = image().node("Shape", "s", ["x"], out_type=I32).node("Cast", "f", ["s"], DstT=F32)
    builder.const("k", F32(0.5)).node("Mul", "m", ["f", "k"]).const("one", np.ones(4, F32)).node(
        "Mul", "n", ["m", "one"]
    )
    builder.node("ReduceLike", "dead", ["x"])
    got = value(builder.node("Identity", "y", ["n"]), x=np.zeros((1, 5, 8, 3), F32))
    assert np.array_equal(got, [0.5, 2.5, 4, 1.5])


def test_batch_size_and_open_sizes() -> None:
    builder = GraphBuilder().placeholder("x", F32, [None, None, None, 3]).placeholder("z", F32, [None, None, None, 3])
    builder.node("Relu", "y", ["x"]).node("Relu", "w", ["z"])
    result = import_graph(builder.bytes(), ImportOptions(batch_size=4))
    assert [t.type for t in result.report.inputs] == ["float32[4, H, W, 3]", "float32[4, H_1, W_1, 3]"]
    assert [t.name for t in result.report.outputs] == ["y:0", "w:0"]


def test_an_assertion_that_always_fails() -> None:
    builder = image((1, 4, 4, 3)).node("Shape", "s", ["x"]).const("five", [1, 5, 5, 3], I32)
    builder.node("Equal", "e", ["s", "five"]).const("a", [0], I32).node("All", "all", ["e", "a"])
    builder.node("Assert", "check", ["all", "s"]).node("Relu", "y", ["x", "^check"])
    with pytest.raises(GraphError, match="'check'.*assertion fails"):
        imported(builder)


def test_nodes_that_only_order_others_may_be_unsupported() -> None:
    builder = image().node("Print", "p", ["x"]).node("Mystery", "m", ["p"]).node("Assert", "a", ["m", "m"])
    result = imported(builder.node("Relu", "y", ["x", "^a"]))
    assert [(a.name, a.holds) for a in result.report.dropped_asserts] == [("a", None)]


@pytest.mark.parametrize("seed", range(4))
def test_constants_that_handlers_make_do_not_become_each_other(seed: int) -> None:
    """Each lives for a moment only, so the next takes its place in memory."""
    rng = np.random.default_rng(seed)
    builder, want = image(), {"x": 7.0}
    for i in range(30):
        source, kind = list(want)[rng.integers(len(want))], rng.integers(3)
        if kind < 2:
            builder.node(("ZerosLike", "OnesLike")[kind], f"n{i}", [source], T=F32)
            want[f"n{i}"] = float(kind)
        else:
            builder.const(f"c{i}", np.full(3, i, F32)).node("Add", f"n{i}", [source, f"c{i}"], T=F32)
            want[f"n{i}"] = want[source] + i
    names = list(want)[1:]
    results = run(imported(builder, *names).graph, {"x:0": np.full((1, 2, 3, 3), 7, F32)})
    assert {name: set(results[f"{name}:0"].ravel().tolist()) for name in names} == {n: {want[n]} for n in names}
