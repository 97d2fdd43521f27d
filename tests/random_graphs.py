"""Random small graphs that use every operation, for tests of the text form, the verifier and the rewriter."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from smalti.ir import ops
from smalti.ir.dims import Dim, ceil_div, floor_div, maximum, symbol
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import make_node
from smalti.ir.ops import (
    BinaryFn,
    Layout,
    PadMode,
    PoolFn,
    ReduceFn,
    ResizeFn,
    SampleEdge,
    SampleFn,
    ScatterFn,
    UnaryFn,
)
from smalti.ir.ops.elementwise import BINARY
from smalti.ir.shapes import same_pads
from smalti.numerics import DType

FLOAT_UNARY = tuple(fn for fn in UnaryFn if fn is not UnaryFn.LOGICAL_NOT)
# Powers of negative numbers are none, and would be all that is left of a graph.
FLOAT_BINARY = tuple(f for f in BinaryFn if not (BINARY[f].logical or BINARY[f].bits) and f is not BinaryFn.POW)
_INDEX = (DType.INT32, DType.INT64)


class GraphMaker:
    """Grows a graph one random operation at a time; all image tensors are float32 NHWC ``[1, h, w, c]``."""

    def __init__(self, seed: int, level: Level = Level.IMPORTED) -> None:
        self.rng = random.Random(seed)
        self.level = level
        self.height, self.width = symbol("H", 3, 40), symbol("W", 3)
        self.count = 0
        image = TensorType(DType.FLOAT32, (1, self.height, self.width, self.rng.randint(1, 4)))
        pixels = TensorType(DType.UINT8, (1, self.height, 6, 3))
        self.inputs = (self.input("image:0", image), self.input("pixels:0", pixels))
        self.images: list[Node] = [self.inputs[0]]
        self.others: list[Node] = []

    def input(self, name: str, type_: TensorType) -> Node:
        return make_node(ops.Input(), (), name, type_)

    def node(self, op: ops.Op, *inputs: Node) -> Node:
        self.count += 1
        name = self.rng.choice((f"n{self.count}", f"scope/n{self.count}:0", f'odd "name" # {self.count} é', ""))
        return make_node(op, inputs, name)

    def constant(self, value: Any, dtype: Any = np.float32) -> Node:
        array = np.array(value, dtype)
        array.flags.writeable = False
        return self.node(ops.Constant(array))

    def weights(self, *shape: int) -> Node:
        return self.constant(np.random.default_rng(self.rng.randrange(1 << 30)).normal(0, 0.5, shape))

    def image(self) -> Node:
        return self.rng.choice(self.images)

    def channels(self, node: Node) -> int:
        count = node.type.shape[3]
        if not isinstance(count, int):
            raise TypeError(f"{node} has {count} channels")
        return count

    def same(self, node: Node, kernel: int, stride: int, dilation: int = 1) -> ops.Pads:
        _, h, w, _ = node.type.shape
        return (*same_pads(h, kernel, stride, dilation), *same_pads(w, kernel, stride, dilation))

    def graph(self, operations: int) -> Graph:
        """Return a graph of about ``operations`` random operations."""
        makers = [MAKERS[name] for name in sorted(MAKERS)]
        for _ in range(operations):
            self.add(self.rng.choice(makers))
        return self.finish()

    def add(self, maker: Callable[[GraphMaker], Node]) -> None:
        node = maker(self)
        keep_going = node.type.rank == 4 and node.type.dtype is DType.FLOAT32 and node.type.shape[0] == 1
        small = keep_going and isinstance(node.type.shape[3], int) and 1 <= node.type.shape[3] <= 12
        (self.images if small and len(str(node.type)) < 120 else self.others).append(node)

    def finish(self) -> Graph:
        results = tuple(dict.fromkeys((*self.images[1:], *self.others)))
        read = {operand for node in results for operand in node.inputs}
        outputs = tuple(node for node in results if node not in read)
        names = tuple(f"out/{i}:0" for i in range(len(outputs)))
        return Graph(self.inputs, outputs, names, self.level, self.rng.choice(("graph", 'a "b" é')))


def _conv2d(m: GraphMaker) -> Node:
    x, kernel, stride = m.image(), m.rng.choice((1, 2, 3)), m.rng.choice((1, 2))
    dilation, out = m.rng.choice((1, 2)) if stride == 1 else 1, m.rng.randint(1, 5)
    operands = [x, m.weights(kernel, kernel, m.channels(x), out)]
    bias = m.rng.random() < 0.5
    pads = m.same(x, kernel, stride, dilation)
    op = ops.Conv2d((stride, stride), (dilation, dilation), pads, bias=bias, activation=m.rng.choice([*ops.Activation]))
    return m.node(op, *operands, *([m.weights(out)] if bias else []))


def _conv2d_residual(m: GraphMaker) -> Node:
    x = m.image()
    return m.node(ops.Conv2d(residual=True), x, m.weights(1, 1, m.channels(x), m.channels(x)), x)


def _conv2d_pixels(m: GraphMaker) -> Node:
    op = ops.Conv2d((2, 1), pads=(1, 1, 0, 2), bias=True, input_offset=m.rng.choice((0.0, 127.5, 1 / 3)))
    return m.node(op, m.inputs[1], m.weights(2, 3, 3, 4), m.weights(4))


def _depthwise(m: GraphMaker) -> Node:
    x, multiplier = m.image(), m.rng.choice((1, 2))
    groups, how = m.channels(x), {"dilation": (2, 1), "pads": (2, 2, 1, 1), "activation": ops.Activation.RELU6}
    op = ops.Conv2d(bias=True, groups=groups, **how)
    return m.node(op, x, m.weights(3, 3, 1, groups * multiplier), m.weights(groups * multiplier))


def _nchw(m: GraphMaker) -> Node:
    layout, op = Layout.NCHW, ops.Transpose
    if m.level is not Level.IMPORTED:
        return m.node(op((0, 2, 1, 3)), m.image())
    image = m.image()
    x = m.node(op((0, 3, 1, 2)), image)
    channels = m.channels(image)
    x = m.node(ops.Pool(PoolFn.AVG, (2, 3), (1, 1), (1, 1, 1, 1), layout), x)
    x = m.node(ops.Conv2d(layout=layout), x, m.weights(1, 1, channels, 4))
    x = m.node(ops.Conv2d(layout=layout, groups=4), x, m.weights(1, 1, 1, 4))
    return m.node(op((0, 2, 3, 1)), m.node(ops.DepthToSpace(2, layout), x))


def _batch_norm(m: GraphMaker) -> Node:
    x = m.image()
    if m.level is not Level.IMPORTED:
        return m.node(ops.Unary(UnaryFn.RELU), x)
    c = m.channels(x)
    variance = m.constant(np.arange(1, c + 1))
    return m.node(ops.BatchNorm(m.rng.choice((1e-3, 1e-5))), x, m.weights(c), m.weights(c), m.weights(c), variance)


def _space_to_batch(m: GraphMaker) -> Node:
    x = m.image()
    if m.level is not Level.IMPORTED:
        return m.node(ops.Unary(UnaryFn.ABS), x)
    _, h, w, _ = x.type.shape
    pads = (1, ceil_div(h, 2) * 2 - h + 1, 0, ceil_div(w, 3) * 3 - w)
    batch = m.node(ops.SpaceToBatch((2, 3), pads), x)
    return m.node(ops.BatchToSpace((2, 3), pads), batch)


def _slice(m: GraphMaker) -> Node:
    x = m.image()
    _, h, w, c = x.type.shape
    if m.rng.random() < 0.5:
        return m.node(ops.Slice((0, 0, 0, 0), (1, ceil_div(h, 2), w, c), (1, 2, 1, 1)), x)
    return m.node(ops.Slice((0, h - 1, 0, 0), (1, h, w, m.rng.randint(1, m.channels(x))), (1, -1, 1, 1)), x)


def _pad(m: GraphMaker) -> Node:
    x, mode = m.image(), m.rng.choice([*PadMode])
    _, h, _, _ = x.type.shape
    if mode is PadMode.CONSTANT:
        to_even = ceil_div(h, 2) * 2 - h
        amounts = ((0, 0), (0, to_even), (m.rng.randint(0, 2), 1), (0, 0))
        return m.node(ops.Pad(amounts, mode, m.rng.choice((0.0, -0.0, 127.5, float("inf")))), x)
    whole = m.node(ops.Concat(1), x, x)
    return m.node(ops.Pad(((0, 0), (1, 0), (0, 0), (0, 0)), mode), whole)


def _reduce(m: GraphMaker) -> Node:
    x = m.image()
    op = ops.Reduce(m.rng.choice([*ReduceFn]), m.rng.choice(((1, 2), (3,), (0, 1, 2, 3))), m.rng.random() < 0.6)
    return m.node(op, x)


def _cumsum(m: GraphMaker) -> Node:
    op = ops.CumSum(m.rng.choice((1, 2, 3)), m.rng.random() < 0.5, m.rng.random() < 0.5)
    # Scaled down, so that sums of sums stay small.
    return m.node(ops.Binary(BinaryFn.MUL), m.node(op, m.image()), m.constant(0.01))


def _global_pool(m: GraphMaker) -> Node:
    x = m.image()
    mean = m.node(ops.Reduce(ReduceFn.MEAN, (1, 2), True), x)
    return m.node(ops.BroadcastTo(x.type.shape), mean)


def _resize(m: GraphMaker) -> Node:
    x = m.image()
    flags = m.rng.choice(((False, False), (True, False), (False, True)))
    size: tuple[int | Dim, int | Dim] = m.rng.choice(((m.height, m.width), (5, 9), (maximum(m.width - 7, 3), 4)))
    return m.node(ops.Resize(m.rng.choice([*ResizeFn]), size, *flags), x)


def _labels(m: GraphMaker) -> Node:
    x, dtype = m.image(), m.rng.choice((DType.INT32, DType.INT64))
    up = ops.Resize(ResizeFn.BILINEAR, (m.height, 9), True)
    if m.level is Level.CANONICAL:
        whole = ops.Resize(ResizeFn.BILINEAR, (41, 12))
        return m.node(ops.ResizeArgMax(m.rng.choice(((up,), (whole, up))), (m.height, 7), dtype), x)
    return m.node(ops.ArgMax(m.rng.choice((1, 3)), dtype), m.node(up, x))


def _cast(m: GraphMaker) -> Node:
    x = m.node(ops.Unary(UnaryFn.RELU6), m.image())
    middle = m.rng.choice((DType.FLOAT16, DType.FLOAT64, DType.BFLOAT16, DType.UINT8, DType.INT64, DType.BOOL))
    return m.node(ops.Cast(DType.FLOAT32), m.node(ops.Cast(middle), x))


def _select(m: GraphMaker) -> Node:
    x = m.image()
    condition = m.node(ops.Binary(BinaryFn.GREATER), x, m.constant(0.25))
    other = m.node(ops.Binary(BinaryFn.LESS), x, m.constant(1e30))
    logic = m.node(ops.Binary(m.rng.choice((BinaryFn.LOGICAL_AND, BinaryFn.LOGICAL_OR))), condition, other)
    return m.node(ops.Select(), m.node(ops.Unary(UnaryFn.LOGICAL_NOT), logic), x, m.constant([[[0.1]]]))


def _binary(m: GraphMaker) -> Node:
    x = m.image()
    other = m.rng.choice((x, m.constant(0.1), m.weights(m.channels(x)), m.constant([1e-45, 3.3e38, -0.0, np.inf][:1])))
    result = m.node(ops.Binary(m.rng.choice(FLOAT_BINARY)), x, other)
    return result if result.type.dtype is DType.FLOAT32 else m.node(ops.Cast(DType.FLOAT32), result)


def _unary(m: GraphMaker) -> Node:
    return m.node(ops.Unary(m.rng.choice(FLOAT_UNARY), m.rng.choice((0.0, 0.2, 0.01))), m.image())


def _pool(m: GraphMaker) -> Node:
    return m.node(ops.Pool(m.rng.choice([*PoolFn]), (3, 2), (2, 1), (1, 1, 1, 0)), m.image())


def _sizes(m: GraphMaker) -> Node:
    half = floor_div(m.height, 2)
    dtype = m.rng.choice((DType.INT32, DType.INT64))
    sizes = m.node(ops.SizeTensor((m.height, half, -3, m.width * m.height), (2, 2), dtype))
    wanted = m.constant([1, 0, 1], np.int32)
    return m.node(ops.Gather(0), sizes, wanted)


def _matmul(m: GraphMaker) -> Node:
    x = m.image()
    _, h, w, c = x.type.shape
    flat = m.node(ops.Reshape((h * w, c)), x)
    b = m.weights(3, m.channels(x))
    return m.node(ops.Reshape((1, h, w, 3)), m.node(ops.MatMul(transpose_b=True), flat, b))


def _picked(m: GraphMaker) -> Node:
    """Positions are those of the best pixels of each channel, so they are data of the run."""
    x = m.image()
    _, h, w, c = x.type.shape
    four = m.node(ops.Concat(1), x, x, x, x)
    flat = m.node(ops.Reshape((h * w * 4, c)), four)
    best = m.node(ops.TopK(3, 0, m.rng.random() < 0.5), flat)
    chosen = m.node(ops.GatherElements(0), flat, best)
    column = m.node(ops.Reshape((3, m.channels(x), 1)), best)
    pieces = m.node(ops.GatherNd(), flat, column)
    fn = m.rng.choice([*ScatterFn])
    changed = m.node(ops.ScatterElements(0, fn), flat, best, m.node(ops.Unary(UnaryFn.NEG), chosen))
    changed = m.node(ops.ScatterNd(fn), changed, column, m.node(ops.Unary(UnaryFn.ABS), pieces))
    return m.node(ops.Reshape((1, h * 4, w, c)), changed)


def _iota(m: GraphMaker) -> Node:
    return m.node(ops.Iota(m.height - 4, m.rng.choice((1, -2)), floor_div(m.width, 2), m.rng.choice(_INDEX)))


def _grid_sample(m: GraphMaker) -> Node:
    x = m.image()
    grid = m.node(ops.Concat(3), x, x, m.node(ops.Unary(UnaryFn.TANH), x))
    _, h, w, _ = grid.type.shape
    grid = m.node(ops.Slice((0, 0, 0, 0), (1, h, w, 2), (1, 1, 1, 1)), grid)
    how = m.rng.choice([*SampleFn]), m.rng.choice([*SampleEdge]), m.rng.random() < 0.5
    return m.node(ops.GridSample(*how), x, grid)


def _softmax(m: GraphMaker) -> Node:
    return m.node(ops.Softmax(), m.image())


def _concat(m: GraphMaker) -> Node:
    x = m.image()
    return m.node(ops.Concat(3), x, m.node(ops.Transpose((0, 1, 2, 3)), x), x)


def _depth(m: GraphMaker) -> Node:
    x = m.image()
    four = m.node(ops.Concat(3), x, x, x, x)
    big = m.node(ops.DepthToSpace(2), four)
    return m.node(ops.SpaceToDepth(2), big) if m.rng.random() < 0.7 else big


def _odd_constant(m: GraphMaker) -> Node:
    dtype = m.rng.choice((np.float16, np.float32, np.float64, np.uint8, np.int8, np.int32, np.int64, np.bool_))
    shape = m.rng.choice(((), (0, 2), (3,), (2, 2), (3, 4)))
    values = np.random.default_rng(m.rng.randrange(1 << 30)).normal(0, 30, shape)
    if np.dtype(dtype).kind == "f" and m.rng.random() < 0.3:
        values = values * np.nan
    if np.dtype(dtype).kind == "u":
        values = np.abs(values)
    return m.constant(values if np.dtype(dtype).kind == "f" else np.trunc(values), dtype)


MAKERS: dict[str, Callable[[GraphMaker], Node]] = {
    "batch_norm": _batch_norm,
    "binary": _binary,
    "cast": _cast,
    "concat": _concat,
    "constant": _odd_constant,
    "cumsum": _cumsum,
    "conv2d": _conv2d,
    "conv2d_pixels": _conv2d_pixels,
    "conv2d_residual": _conv2d_residual,
    "depth": _depth,
    "depthwise": _depthwise,
    "global_pool": _global_pool,
    "grid_sample": _grid_sample,
    "iota": _iota,
    "labels": _labels,
    "matmul": _matmul,
    "nchw": _nchw,
    "pad": _pad,
    "picked": _picked,
    "pool": _pool,
    "reduce": _reduce,
    "resize": _resize,
    "select": _select,
    "sizes": _sizes,
    "slice": _slice,
    "softmax": _softmax,
    "space_to_batch": _space_to_batch,
    "unary": _unary,
}


def graph_of_everything(level: Level, seed: int = 7) -> Graph:
    """Return a graph in which every maker took part twice."""
    maker = GraphMaker(seed, level)
    for name in (*sorted(MAKERS), *sorted(MAKERS, reverse=True)):
        maker.add(MAKERS[name])
    return maker.finish()


def random_inputs(height: int, width: int, graph: Graph, seed: int = 3) -> dict[str, Any]:
    """Return inputs for a graph made here."""
    rng = np.random.default_rng(seed)
    channels = graph.inputs[0].type.shape[3]
    return {
        "image:0": rng.normal(0, 1, (1, height, width, channels)).astype(np.float32),
        "pixels:0": rng.integers(0, 256, (1, height, 6, 3), dtype=np.uint8),
    }
