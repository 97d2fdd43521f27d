"""Small graphs that ask for much or lie: each is refused by name, soon and in little memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from graph_builder import GraphBuilder
from smalti.frontend.tensorflow.tensors import TfType

F32, I32, I64 = np.float32, np.int32, np.int64
Build = Callable[[GraphBuilder], object]
FLOAT, INT = TfType.FLOAT, TfType.INT32


def relu(b: GraphBuilder) -> GraphBuilder:
    return b.node("Relu", "y", ["c"])


def splat(kind: TfType, shape: list[int], **fields: Any) -> Build:
    return lambda b: relu(b.raw_const("c", kind, shape, **fields))


def sized(op: str, *values: Any, dtype: Any = I32, **attrs: Any) -> Build:
    """A node on the image whose other inputs are these constants."""

    def build(b: GraphBuilder) -> None:
        names = []
        for i, v in enumerate(values):
            b.const(f"k{i}", v, dtype if not isinstance(v, np.generic) else None)
            names.append(f"k{i}")
        b.node(op, "y", ["x", *names], **attrs)

    return build


def window(op: str, **attrs: Any) -> Build:
    def build(b: GraphBuilder) -> None:
        inputs = ["x"]
        if "Conv" in op:
            b.const("w", np.zeros((3, 3, 3, 3), F32))
            inputs.append("w")
        b.node(op, "y", inputs, **{"strides": [1, 1, 1, 1], "padding": "SAME", **attrs})

    return build


def edges(*nodes: tuple[str, str, list[str]]) -> Build:
    def build(b: GraphBuilder) -> None:
        for op, name, inputs in nodes:
            b.node(op, name, inputs)

    return build


def placeholder(shape: list[int | None]) -> Build:
    return lambda b: b.placeholder("p", F32, shape).node("Relu", "y", ["p"])


def raw_node(**fields: Any) -> Build:
    return lambda b: b.graph.node.add(**fields)


def constant_with_types(declared: int, stored: int) -> Build:
    def build(b: GraphBuilder) -> None:
        relu(b.raw_const("c", FLOAT, [1]))
        dtype, value = b.graph.node[1].attr
        dtype.value.type, value.value.tensor.dtype = declared, stored

    return build


POOL = {"ksize": [1, 2, 2, 1]}
BOMBS: dict[str, Build] = {
    "splat of 2^40 floats": splat(FLOAT, [1 << 20, 1 << 20], float_val=[1.0]),
    "splat of zeros over the limit": splat(FLOAT, [1 << 13, 1 << 13]),
    "splat of halves": splat(TfType.HALF, [1 << 28], half_val=[1]),
    "splat of bools": splat(TfType.BOOL, [1 << 30], bool_val=[True]),
    "splat of int64": splat(TfType.INT64, [1 << 27], int64_val=[7]),
    "product over 2^64": splat(FLOAT, [2**31 - 1] * 8),
    "size over 2^31": splat(FLOAT, [1 << 31, 0]),
    "size 2^63-1": splat(FLOAT, [2**63 - 1]),
    "negative constant size": splat(FLOAT, [-1], float_val=[1.0]),
    "negative sizes whose product is positive": splat(FLOAT, [-4, -4], tensor_content=b"\0" * 64),
    "content too short": splat(FLOAT, [4], tensor_content=b"\0" * 12),
    "content too long": splat(FLOAT, [4], tensor_content=b"\0" * 20),
    "content for no elements": splat(FLOAT, [0], tensor_content=b"\0" * 4),
    "more values than elements": splat(FLOAT, [2], float_val=[1.0, 2.0, 3.0]),
    "255 dimensions": splat(FLOAT, [1] * 255, float_val=[1.0]),
    "many constants": lambda b: (
        [b.raw_const(f"c{i}", FLOAT, [1 << 22]) for i in range(17)]
        and b.node("AddN", "y", [f"c{i}" for i in range(17)], N=17)
    ),
    "dtype lies": constant_with_types(declared=3, stored=1),
    "invalid dtype": constant_with_types(declared=1, stored=77),
    "placeholder of size 2^40": placeholder([1, 1 << 40, 1, 3]),
    "placeholder of size 0": placeholder([1, 0, 4, 3]),
    "placeholder of size -7": placeholder([1, -7, 4, 3]),
    "placeholder of 40 dimensions": placeholder([1] * 40),
    "fill of 2^62": lambda b: b.const("d", [2**31 - 1] * 2, I32).const("v", F32(1)).node("Fill", "y", ["d", "v"]),
    "fill of a negative size": lambda b: b.const("d", [-5], I32).const("v", F32(1)).node("Fill", "y", ["d", "v"]),
    "range of 2^31": lambda b: (
        b.const("a", I32(0)).const("e", I32(2**31 - 1)).const("d", I32(1)) and b.node("Range", "y", ["a", "e", "d"])
    ),
    "range with step 0": lambda b: (
        b.const("a", I32(0)).const("e", I32(9)).const("d", I32(0)) and b.node("Range", "y", ["a", "e", "d"])
    ),
    "tile by 2^31": sized("Tile", [2**31 - 1] * 4),
    "tile by -1": sized("Tile", [1, -1, 1, 1]),
    "pad by -1": sized("Pad", [[0, 0], [-1, 0], [0, 0], [0, 0]]),
    "pad by 2^31": sized("Pad", [[0, 0], [2**31 - 1, 2**31 - 1], [2**31 - 1, 0], [0, 0]]),
    "mirror pad over the edge": sized("MirrorPad", [[0, 0], [9, 0], [0, 0], [0, 0]], mode="REFLECT"),
    "resize to 2^31": sized("ResizeBilinear", [2**31 - 1, 2**31 - 1]),
    "resize to 0": sized("ResizeBilinear", [0, 5]),
    "resize to -1": sized("ResizeNearestNeighbor", [-1, 5]),
    "reshape to a negative size": sized("Reshape", [-2, 3]),
    "reshape with two -1": sized("Reshape", [-1, -1]),
    "reshape with -1 and 0": sized("Reshape", [-1, 0]),
    "reshape to other elements": sized("Reshape", [7]),
    "block 0": sized("SpaceToBatchND", [0, 2], [[0, 0], [0, 0]]),
    "block -2": sized("SpaceToBatchND", [-2, 2], [[0, 0], [0, 0]]),
    "block does not divide": sized("SpaceToBatchND", [3, 3], [[0, 0], [0, 0]]),
    "crop over the image": sized("BatchToSpaceND", [1, 1], [[0, 9], [0, 0]]),
    "depth block 0": sized("SpaceToDepth", block_size=0),
    "depth block 2^62": sized("DepthToSpace", block_size=1 << 62),
    "stride 0": window("Conv2D", strides=[1, 0, 1, 1]),
    "stride -1": window("MaxPool", strides=[1, -1, 1, 1], **POOL),
    "stride 2^40": window("Conv2D", strides=[1, 1 << 40, 1, 1]),
    "three strides": window("Conv2D", strides=[1, 1, 1]),
    "dilation 0": window("Conv2D", dilations=[1, 0, 0, 1]),
    "window 0": window("AvgPool", ksize=[1, 0, 2, 1]),
    "window 2^40": window("AvgPool", ksize=[1, 1 << 40, 2, 1]),
    "negative explicit padding": window("Conv2D", padding="EXPLICIT", explicit_paddings=[0, 0, -1, 0, 0, 0, 0, 0]),
    "short explicit padding": window("Conv2D", padding="EXPLICIT", explicit_paddings=[0, 0]),
    "window larger than the image": window("Conv2D", padding="VALID", dilations=[1, 9, 9, 1]),
    "strides missing": lambda b: b.node("MaxPool", "y", ["x"], ksize=[1, 2, 2, 1], padding="SAME"),
    "padding is a number": window("MaxPool", padding=3, **POOL),
    "strides are a string": window("MaxPool", strides="1221", **POOL),
    "axis outside": sized("ArgMax", I32(4)),
    "axis far outside": sized("ArgMax", I64(1 << 62)),
    "split into 0": lambda b: b.const("a", I32(3)).node("Split", "y", ["a", "x"], num_split=0),
    "split into 2^40": lambda b: b.const("a", I32(3)).node("Split", "y", ["a", "x"], num_split=1 << 40),
    "unpack 2^40": sized("Unpack", num=1 << 40, axis=1),
    "slice stride 0": sized("StridedSlice", [0], [1], [0]),
    "slice outside": sized("Slice", [0, 3, 0, 0], [1, 2, 1, 1]),
    "slice of 2^62": sized("Slice", [0, 0, 0, 0], [1, 1 << 62, 1, 1], dtype=I64),
    "gather outside": sized("GatherV2", [0, 9], I32(1)),
    "gather before the start": sized("GatherV2", [-1], I32(1)),
    "transpose repeats an axis": sized("Transpose", [0, 1, 1, 3]),
    "permutation too short": sized("Transpose", [0, 1]),
    "division of sizes by zero": lambda b: (
        b.node("Shape", "s", ["x"]).const("z", I32(0)) and b.node("FloorDiv", "y", ["s", "z"])
    ),
    "no inputs": edges(("Relu", "y", [])),
    "too many inputs": edges(("Relu", "y", ["x", "x"])),
    "dangling node": edges(("Relu", "y", ["missing"])),
    "dangling output": edges(("Relu", "y", ["x:9"])),
    "huge output number": edges(("Relu", "y", ["x:99999999999999999999"])),
    "negative output number": edges(("Relu", "y", ["x:-1"])),
    "empty input name": edges(("Relu", "y", [""])),
    "dangling control input": edges(("Relu", "y", ["x", "^missing"])),
    "self loop": edges(("Relu", "y", ["y"]), ("Relu", "z", ["y"])),
    "cycle": edges(("AddV2", "a", ["b", "x"]), ("Relu", "b", ["a"]), ("Relu", "y", ["b"])),
    "cycle of control inputs": edges(
        ("Relu", "a", ["x", "^b"]), ("Relu", "b", ["x", "^a"]), ("AddV2", "y", ["a", "b"])
    ),
    "duplicate name": edges(("Relu", "y", ["x"]), ("Relu6", "y", ["x"])),
    "no name": raw_node(name=b"", op=b"Relu"),
    "no operation": raw_node(name=b"y", op=b""),
    "name is not UTF-8": raw_node(name=b"\xff\xfe", op=b"Relu"),
    "name holds a newline": raw_node(name=b"a\nb", op=b"Relu"),
    "name of 1 MB": raw_node(name=b"n" * (1 << 20), op=b"Relu"),
    "attribute given twice": lambda b: b.node("LeakyRelu", "y", ["x"], alpha=0.5) and b._attr("alpha"),
    "epsilon is NaN": lambda b: (
        [b.const(n, np.ones(3, F32)) for n in "abcd"]
        and b.node("FusedBatchNorm", "y", ["x", *"abcd"], epsilon=float("nan"), is_training=False)
    ),
    "channels do not fit": lambda b: (
        b.const("w", np.zeros((3, 3, 5, 2), F32)) and b.node("Conv2D", "y", ["x", "w"], strides=[1] * 4, padding="SAME")
    ),
    "weights without channels": lambda b: (
        b.const("w", np.zeros((3, 3, 0, 2), F32)) and b.node("Conv2D", "y", ["x", "w"], strides=[1] * 4, padding="SAME")
    ),
    "empty weights": lambda b: (
        b.const("w", np.zeros((0, 3, 3, 2), F32)) and b.node("Conv2D", "y", ["x", "w"], strides=[1] * 4, padding="SAME")
    ),
    "types do not agree": lambda b: b.const("c", I32(1)).node("AddV2", "y", ["x", "c"]),
    "shapes do not broadcast": lambda b: b.const("c", np.ones(5, F32)).node("AddV2", "y", ["x", "c"]),
    "type attribute lies": lambda b: b.node("Relu", "y", ["x"], T=np.int32),
}


def bomb(build: Build) -> bytes:
    builder = GraphBuilder().placeholder("x", F32, [1, 4, 4, 3])
    build(builder)
    return builder.bytes()


LEGAL_SPLATS: list[tuple[TfType, list[int], dict[str, Any], Any]] = [
    (FLOAT, [2, 3], {"float_val": [1.5]}, np.full((2, 3), 1.5, F32)),
    (FLOAT, [4], {"float_val": [1.0, 2.0]}, np.array([1, 2, 2, 2], F32)),
    (FLOAT, [3], {}, np.zeros(3, F32)),
    (FLOAT, [], {"float_val": [7.0]}, np.array(7, F32)),
    (TfType.DOUBLE, [2], {"double_val": [0.1]}, np.full(2, 0.1)),
    (TfType.HALF, [2], {"half_val": [0x3C00]}, np.ones(2, np.float16)),
    (TfType.BFLOAT16, [2], {"half_val": [0x3FC0]}, None),
    (INT, [3], {"int_val": [-5]}, np.full(3, -5, I32)),
    (TfType.UINT8, [2], {"int_val": [200]}, np.full(2, 200, np.uint8)),
    (TfType.INT8, [2], {"int_val": [-3]}, np.full(2, -3, np.int8)),
    (TfType.INT64, [2], {"int64_val": [1 << 40]}, np.full(2, 1 << 40, I64)),
    (TfType.BOOL, [2], {"bool_val": [True]}, np.ones(2, np.bool_)),
    (FLOAT, [0, 5], {}, np.zeros((0, 5), F32)),
    (TfType.BOOL, [3], {"tensor_content": b"\x01\x00\x01"}, np.array([True, False, True])),
]


LARGEST_FILE = 1024


def file_name(name: str) -> str:
    """Return the name of a bomb's file."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("-1", "minus 1").replace("-7", "minus 7")).strip("-") + ".pb"


def small_bombs() -> dict[str, bytes]:
    """Return the bombs that fit into small files, by file name."""
    made = {file_name(name): bomb(build) for name, build in BOMBS.items()}
    return {name: data for name, data in made.items() if len(data) <= LARGEST_FILE}


def unsupported() -> bytes:
    """Return a graph with 25 different reasons why it cannot be compiled."""
    builder = GraphBuilder().placeholder("x", F32, [1, None, None, 3]).const("c", np.ones(3, F32))
    names = []
    for i in range(20):
        builder.node(f"Mystery{i}", f"m{i}", ["x"]).node(f"Mystery{i}", f"again{i}", [f"m{i}"])
        names += [f"again{i}"]
    builder.node("FusedBatchNormV3", "training", [names[0], "c", "c", "c", "c"], is_training=True)
    builder.node("BiasAdd", "layout", [names[1], "c"], data_format="NCDHW")
    builder.node("Relu", "extra", [names[2]], colour="blue")
    builder.node("Cast", "complex", [names[3]], DstT=TfType.COMPLEX64)
    builder.node("MaxPool", "batch", [names[4]], ksize=[2, 1, 1, 1], strides=[1] * 4, padding="SAME")
    ends = ["training", "layout", "extra", "complex", "batch", *names[5:]]
    builder.node("AddN", "y", ends, N=len(ends))
    return builder.bytes()
