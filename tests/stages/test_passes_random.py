"""Random small networks compute the same before and after the pipeline."""

from __future__ import annotations

import numpy as np
import pytest

from passes_kit import Maker, graph_of, number, same_numbers, tensorflow_axis
from smalti.ir import ops
from smalti.ir.dims import Dim, symbol
from smalti.ir.graph import Graph, Node
from smalti.ir.ops import BinaryFn, Layout, PadMode, PoolFn, ReduceFn, ResizeFn, UnaryFn
from smalti.ir.verify import verify
from smalti.numerics import DType
from smalti.passes.pipeline import run_pipeline
from tolerance import Tol

SEEDS = range(120)
BOUNDED = [UnaryFn.RELU, UnaryFn.RELU6, UnaryFn.TANH, UnaryFn.SIGMOID, UnaryFn.NEG, UnaryFn.ABS, UnaryFn.LEAKY_RELU]


class Growth:
    """Grows a network by random steps; every tensor it keeps is an NHWC image of at least 4 x 4 pixels."""

    def __init__(self, seed: int) -> None:
        self.m = Maker(seed)
        self.rng = np.random.default_rng(seed)
        size: tuple[int | Dim, int | Dim] = (symbol("H", 16), symbol("W", 16)) if seed % 2 else (19, 22)
        image = self.m.input(1, *size, 3, dtype=DType.UINT8)
        x = self.m.op(ops.Cast(DType.FLOAT32), image)
        if self.flip():
            x = self.m.binary(BinaryFn.MUL, x, self.m.const(1 / 128))
            x = self.m.binary(BinaryFn.SUB, x, self.m.const(1.0 if self.flip() else [1.0, 0.9, 1.1]))
        else:
            x = self.m.binary(BinaryFn.DIV, x, self.m.const(255.0))
        self.images = [x]

    def flip(self) -> bool:
        return bool(self.rng.integers(2))

    def pick(self, count: int) -> int:
        return int(self.rng.integers(count))

    def channels(self, x: Node) -> int:
        return number(x.type.shape[3])

    def conv(self, x: Node) -> Node:
        k, stride = 1 + 2 * self.pick(2), 1 + (self.pick(4) == 0 and x is self.images[0])
        dilation = (1 + self.pick(2),) * 2 if k > 1 else (1, 1)
        if self.flip():
            return self.m.conv(x, 2 + self.pick(5), k, self.flip(), stride=(stride, stride), dilation=dilation)
        pad = k // 2 * dilation[0]
        return self.m.depthwise(x, k, 1 + self.pick(2), self.flip(), pads=(pad,) * 4, dilation=dilation)

    def nchw(self, x: Node) -> Node:
        y = self.m.op(ops.Transpose((0, 3, 1, 2)), x)
        y = self.m.conv(y, 3, layout=Layout.NCHW)
        y = self.m.batch_norm(y, Layout.NCHW) if self.flip() else self.m.relu(y)
        return self.m.op(ops.Transpose((0, 2, 3, 1)), y)

    def atrous(self, x: Node) -> Node:
        rate = (1 + self.pick(3), 1 + self.pick(3))
        axes = [tensorflow_axis(s, b, 3, True) for s, b in zip(x.type.shape[1:3], rate, strict=True)]
        y = self.m.op(ops.SpaceToBatch(rate, (*axes[0][0], *axes[1][0])), x)
        if self.flip():
            y = self.m.unary(BOUNDED[self.pick(len(BOUNDED))], y)
        y = self.m.conv(y, 4, pads=(0, 0, 0, 0)) if self.flip() else self.m.depthwise(y, pads=(0, 0, 0, 0))
        y = self.arithmetic(y)
        return self.m.op(ops.BatchToSpace(rate, (*axes[0][1], *axes[1][1])), y)

    def arithmetic(self, x: Node) -> Node:
        shape = ((), (self.channels(x),), (1, 1, self.channels(x)))[self.pick(3)]
        c = self.m.random(*shape, low=0.5, high=1.5)
        fn = (BinaryFn.ADD, BinaryFn.SUB, BinaryFn.MUL, BinaryFn.DIV, BinaryFn.MAXIMUM, BinaryFn.MINIMUM)[self.pick(6)]
        swap = fn is not BinaryFn.DIV and self.flip()
        return self.m.binary(fn, *((c, x) if swap else (x, c)))

    def padded(self, x: Node) -> Node:
        amounts = ((0, 0), (self.pick(3), self.pick(3)), (self.pick(3), 1), (0, 0))
        mode = (PadMode.CONSTANT, PadMode.CONSTANT, PadMode.REFLECT)[self.pick(3)]
        return self.m.op(ops.Pad(amounts, mode, float(self.pick(2))), x)

    def pooled(self, x: Node) -> Node:
        return self.m.op(ops.Pool((PoolFn.AVG, PoolFn.MAX)[self.pick(2)], (3, 3), (1, 1), (1, 1, 1, 1)), x)

    def global_branch(self, x: Node) -> Node:
        h, w = x.type.shape[1:3]
        v = self.m.relu(self.m.conv(self.m.op(ops.Reduce(ReduceFn.MEAN, (1, 2), True), x), 3, k=1))
        v = self.m.op(ops.Resize(ResizeFn.BILINEAR, (h, w), align_corners=self.flip()), v)
        parts = (v, x) if self.flip() else (x, v)
        return self.m.conv(self.m.op(ops.Concat(3), *parts), 4, k=1)

    def joined(self, x: Node) -> Node:
        for y in reversed(self.images):
            if y is not x and y.type.shape[1:3] == x.type.shape[1:3]:
                if y.type == x.type:
                    return self.m.binary((BinaryFn.ADD, BinaryFn.ADD, BinaryFn.MUL)[self.pick(3)], x, y)
                return self.m.op(ops.Concat(3), x, y)
        return x

    def activation(self, x: Node) -> Node:
        return self.m.unary(BOUNDED[self.pick(len(BOUNDED))], x)

    def graph(self, steps: int) -> Graph:
        makers = (
            self.conv, self.conv, self.nchw, self.atrous, self.arithmetic, self.padded, self.pooled,
            self.global_branch, self.joined, self.activation, self.activation, self.m.batch_norm,
        )  # fmt: skip
        for _ in range(steps):
            x = self.images[-1 - self.pick(min(2, len(self.images)))]
            y = makers[self.pick(len(makers))](x)
            # Keep numbers small, so that the tolerance means something.
            self.images.append(y if self.rng.random() < 0.6 else self.m.unary(UnaryFn.TANH, y))
        last = self.m.unary(UnaryFn.TANH, self.images[-1])
        return graph_of(last, self.images[-1 - self.pick(len(self.images) - 1)])


@pytest.mark.parametrize("seed", SEEDS)
def test_same_numbers(seed: int) -> None:
    graph = Growth(seed).graph(4 + seed % 9)
    verify(graph)
    result = run_pipeline(graph, check=True)
    same_numbers(graph, result.graph, Tol.FLOAT(reduction=5000), {"H": 17, "W": 23})
