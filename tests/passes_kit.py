"""Small graphs for the tests of passes, and the three questions each rule is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.ir import ops
from smalti.ir.dims import Dim, symbol
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.ir.reference import run
from smalti.ir.shapes import same_pads
from smalti.ir.sizes import evaluate
from smalti.ir.verify import verify
from smalti.numerics import DType
from tolerance import Tol, assert_close

Array = NDArray[Any]
PassFunction = Callable[[Graph], tuple[Graph, tuple[str, ...]]]

H = symbol("H")
W = symbol("W")
ANY_SIZE = {"H": 11, "W": 14}
SIZES: list[tuple[int | Dim, int | Dim]] = [(11, 14), (H, W)]
"""A static and a symbolic image size; the symbols are bound to the same numbers."""


def number(size: int | Dim) -> int:
    """Return a size that must be a number."""
    return evaluate(size, {})


@dataclass
class Maker:
    """Makes nodes with made-up names and random constants."""

    seed: int = 1
    rng: np.random.Generator = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def name(self, what: str) -> str:
        self.count += 1
        return f"{what}_{self.count}"

    def input(self, *shape: int | Dim, dtype: DType = DType.FLOAT32, name: str = "image:0") -> Node:
        return make_node(ops.Input(), (), name, TensorType(dtype, shape))

    def const(self, value: Any, dtype: str = "float32") -> Node:
        array = np.array(value, dtype, order="C")
        array.flags.writeable = False
        return constant(array, self.name("const"))

    def random(self, *shape: int, low: float = -1.0, high: float = 1.0) -> Node:
        return self.const(self.rng.uniform(low, high, shape))

    def op(self, op: ops.Op, *inputs: Node) -> Node:
        return make_node(op, inputs, self.name(type(op).__name__.lower()))

    def unary(self, fn: UnaryFn, x: Node) -> Node:
        return self.op(ops.Unary(fn), x)

    def binary(self, fn: BinaryFn, a: Node, b: Node) -> Node:
        return self.op(ops.Binary(fn), a, b)

    def relu(self, x: Node) -> Node:
        return self.unary(UnaryFn.RELU, x)

    def conv(self, x: Node, cout: int, k: int = 3, bias: bool = False, same: bool = True, **attrs: Any) -> Node:
        stride, dilation = attrs.get("stride", (1, 1)), attrs.get("dilation", (1, 1))
        layout = attrs.get("layout", ops.Layout.NHWC)
        h, w, c = (1, 2, 3) if layout is ops.Layout.NHWC else (2, 3, 1)
        if same and "pads" not in attrs:
            rows = same_pads(x.type.shape[h], k, stride[0], dilation[0])
            attrs["pads"] = (*rows, *same_pads(x.type.shape[w], k, stride[1], dilation[1]))
        weights = self.random(k, k, number(x.type.shape[c]), cout)
        inputs = [x, weights, *([self.random(cout)] if bias else [])]
        return self.op(ops.Conv2d(bias=bias, **attrs), *inputs)

    def depthwise(self, x: Node, k: int = 3, multiplier: int = 1, bias: bool = False, **attrs: Any) -> Node:
        c = number(x.type.shape[3 if attrs.get("layout", ops.Layout.NHWC) is ops.Layout.NHWC else 1])
        if "pads" not in attrs:
            attrs["pads"] = (k // 2,) * 4
        inputs = [x, self.random(k, k, 1, c * multiplier), *([self.random(c * multiplier)] if bias else [])]
        return self.op(ops.Conv2d(bias=bias, groups=c, **attrs), *inputs)

    def batch_norm(self, x: Node, layout: ops.Layout = ops.Layout.NHWC) -> Node:
        c = number(x.type.shape[3 if layout is ops.Layout.NHWC else 1])
        gamma, beta, mean = self.random(c), self.random(c), self.random(c)
        return self.op(ops.BatchNorm(1e-3, layout), x, gamma, beta, mean, self.random(c, low=0.2, high=2.0))


def graph_of(*outputs: Node, level: Level = Level.IMPORTED) -> Graph:
    """Return a graph with these results, its inputs found by following the operands."""
    probe = Graph((), outputs, tuple(f"out:{i}" for i in range(len(outputs))), level)
    inputs = tuple(n for n in probe.nodes() if isinstance(n.op, ops.Input))
    return Graph(inputs, outputs, probe.output_names, level, "test")


def ops_of(graph: Graph, *kinds: type[ops.Op]) -> list[Node]:
    """Return the nodes of some operations."""
    return [n for n in graph.nodes() if isinstance(n.op, kinds)]


def feed(graph: Graph, sizes: Mapping[str, int] | None = None, seed: int = 7) -> dict[str, Array]:
    """Return random inputs."""
    rng = np.random.default_rng(seed)
    values: dict[str, Array] = {}
    for node in graph.inputs:
        shape = tuple(evaluate(s, sizes or ANY_SIZE) for s in node.type.shape)
        dtype = node.type.dtype.numpy
        values[node.name] = (
            rng.integers(0, 256, shape).astype(dtype) if dtype.kind in "iu" else rng.normal(size=shape).astype(dtype)
        )
    return values


def same_numbers(before: Graph, after: Graph, tol: Tol, sizes: Mapping[str, int] | None = None) -> None:
    """Fail unless both graphs compute the same from random inputs."""
    inputs = feed(before, sizes)
    want, got = run(before, inputs), run(after, inputs)
    assert list(got) == list(want)
    for name in want:
        assert_close(got[name], want[name], tol, name)


def fires(step: PassFunction, graph: Graph, tol: Tol, sizes: Mapping[str, int] | None = None) -> Graph:
    """Run a pass that must change the graph but not its numbers; return the new graph."""
    verify(graph)
    after, notes = step(graph)
    assert after is not graph
    assert notes
    verify(after)
    assert [n.type for n in after.outputs] == [n.type for n in graph.outputs]
    same_numbers(graph, after, tol, sizes)
    return after


def must_not_fire(step: PassFunction, graph: Graph) -> None:
    """Run a pass that must leave the graph alone."""
    verify(graph)
    after, notes = step(graph)
    assert after.nodes() == graph.nodes()
    assert notes == ()


Size = int | Dim
Axis = tuple[tuple[Size, Size], tuple[Size, Size]]


def tensorflow_axis(size: Size, block: int, kernel: int, same: bool) -> Axis:
    """Return (paddings, crops) as ``tf.nn.with_space_to_batch`` computes them."""
    base = (kernel - 1) * block if same else 0
    start, end = base // 2, base - base // 2
    extra = (block - (size + start + end) % block) % block
    return (start, end + extra), (0, extra)
