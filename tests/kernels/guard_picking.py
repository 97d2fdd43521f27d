"""Random graphs for the kernels that read and write at computed positions, some of which lie outside."""

from __future__ import annotations

from kernels.guard_draw import FLOATS, NUMBERS, Draw
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.infer import make_node
from smalti.ir.ops import PadMode, SampleEdge, SampleFn, ScatterFn
from smalti.numerics import DType

INDEX = (DType.INT32, DType.INT64)
EXACT_SCATTERS = (ScatterFn.SET, ScatterFn.MAXIMUM, ScatterFn.MINIMUM)


def gather_nd(d: Draw) -> Node:
    x = d.input(d.one(*NUMBERS), d.image(d.size(65)))
    batch = int(d.one(0, 1))
    rows = [d.size(40), int(d.rng.integers(1, 5 - batch))]
    indices = d.input(d.one(*INDEX), [*x.type.shape[:batch], *rows])
    return make_node(ops.GatherNd(batch), (x, indices), "y")


def gather_elements(d: Draw) -> Node:
    x = d.input(d.one(*NUMBERS), d.image(d.size(17)))
    axis = int(d.one(3, 3, 1, 0))
    shape = [d.size(20) if a == axis else s for a, s in enumerate(x.type.shape)]
    return make_node(ops.GatherElements(axis), (x, d.input(d.one(*INDEX), shape)), "y")


def scatter_nd(d: Draw) -> Node:
    x = d.input(d.one(DType.FLOAT32, DType.UINT8, DType.INT32), d.image(d.size(65)))
    rows, depth = d.size(20), int(d.one(1, 2, 4))
    indices = d.input(d.one(*INDEX), [rows, depth])
    updates = d.input(x.type.dtype, [rows, *x.type.shape[depth:]])
    return make_node(ops.ScatterNd(d.one(*EXACT_SCATTERS)), (x, indices, updates), "y")


def scatter_elements(d: Draw) -> Node:
    x = d.input(d.one(DType.FLOAT32, DType.UINT8, DType.INT32), d.image(d.size(17)))
    axis = int(d.one(3, 1, 0))
    shape = [d.size(9) if a == axis else s for a, s in enumerate(x.type.shape)]
    operands = (x, d.input(d.one(*INDEX), shape), d.input(x.type.dtype, shape))
    return make_node(ops.ScatterElements(axis, d.one(*EXACT_SCATTERS)), operands, "y")


def top_k(d: Draw) -> Node:
    x = d.input(d.one(DType.FLOAT32, DType.FLOAT16, DType.UINT8, DType.INT64), d.image(d.size(33)))
    extent = x.type.shape[3]
    count = int(d.rng.integers(1, extent + 1)) if isinstance(extent, int) else 1
    return make_node(ops.TopK(count, 3, d.flag()), (x,), "y")


def grid_sample(d: Draw) -> Node:
    x = d.input(DType.FLOAT32, d.image(d.size(33)))
    grid = d.input(DType.FLOAT32, [x.type.shape[0], d.size(12), d.size(12), 2])
    d.terms, d.scale = 64, 16.0
    how = ops.GridSample(d.one(SampleFn.NEAREST, SampleFn.LINEAR), d.one(*SampleEdge), d.flag())
    return make_node(how, (x, grid), "y")


def pad_around(d: Draw) -> Node:
    x = d.input(d.one(*FLOATS, DType.UINT8, DType.INT64), d.image(d.size(65)))
    amounts = tuple((int(d.rng.integers(5)), int(d.rng.integers(5))) if d.flag() else (0, 0) for _ in range(4))
    return make_node(ops.Pad(amounts, d.one(PadMode.EDGE, PadMode.WRAP)), (x,), "y")


def iota(d: Draw) -> Node:
    x = d.input(DType.FLOAT32, d.image(1))
    first = d.one(3, -7, x.type.shape[1])
    count = x.type.shape[2] if d.symbolic else d.size()
    return make_node(ops.Iota(first, int(d.one(1, -2, 5)), count, d.one(*INDEX)), (), "y")
