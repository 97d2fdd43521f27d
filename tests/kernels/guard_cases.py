"""Random graphs for every kernel of the registry: any shape it may meet, with operands and tolerance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kernels import guard_picking as picking
from kernels.guard_convs import (
    byte_block,
    byte_conv,
    byte_depthwise,
    byte_image,
    byte_mean,
    byte_stem,
    float_block,
    float_conv,
    float_depthwise,
    generic_conv,
    quantise,
    word_block,
    word_conv,
    word_depthwise,
)
from kernels.guard_draw import FLOATS, HIGH, LOW, NUMBERS, SMALL, Array, Draw, Maker, numbers
from kernels.half_types import LEAST, STEPS, usable_targets
from smalti.ir import ops
from smalti.ir.dims import Dim, symbol
from smalti.ir.graph import Graph, Level, Node
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import BinaryFn, PadMode, PoolFn, ReduceFn, ResizeFn, UnaryFn
from smalti.ir.sizes import evaluate
from smalti.kernels.kernel import FusedKernel, Kernel
from smalti.kernels.registry import FUSED, KERNELS
from smalti.numerics import DType
from smalti.target.target import Target
from tolerance import Tol


def elementwise(d: Draw) -> Node:
    shape, dtype = d.image(d.size()), d.one(*NUMBERS)
    x = d.input(dtype, shape)
    kind = d.one("unary", "binary", "binary", "select", "cast")
    d.terms, d.scale = 64, 4096.0
    if kind == "unary":
        fns = (UnaryFn.NEG, UnaryFn.ABS, UnaryFn.SQUARE, UnaryFn.RELU, UnaryFn.RELU6, UnaryFn.FLOOR)
        real = (UnaryFn.EXP, UnaryFn.TANH, UnaryFn.SIGMOID, UnaryFn.ELU, UnaryFn.LEAKY_RELU, UnaryFn.CEIL,
                UnaryFn.SILU, UnaryFn.SOFTPLUS)  # fmt: skip
        return make_node(ops.Unary(d.one(*fns, *(real if dtype.is_float else ())), 0.1), (x,), "y")
    if kind == "cast":
        to = d.one(*(FLOATS if dtype.is_float else NUMBERS))
        return make_node(ops.Cast(to), (x,), "y")
    other = [1 if d.flag() else s for s in shape][d.one(0, 0, 1, 3) :]
    if kind == "select":
        choice = d.input(DType.BOOL, [1 if d.flag() else s for s in shape])
        return make_node(ops.Select(), (choice, x, d.input(dtype, other)), "y")
    fns2 = (BinaryFn.ADD, BinaryFn.SUB, BinaryFn.MUL, BinaryFn.MAXIMUM, BinaryFn.MINIMUM, BinaryFn.LESS, BinaryFn.EQUAL)
    operands = (x, d.input(dtype, other))
    return make_node(ops.Binary(d.one(*fns2)), operands if d.flag() else operands[::-1], "y")


def reduce(d: Draw) -> Node:
    dtype = d.one(DType.FLOAT32, DType.FLOAT32, DType.FLOAT64, DType.INT32, DType.FLOAT16)
    fn = d.one(ReduceFn.MAX, ReduceFn.MIN, *(() if dtype is DType.FLOAT16 else (ReduceFn.SUM, ReduceFn.MEAN)))
    fn = ReduceFn.SUM if dtype is DType.INT32 and fn is ReduceFn.MEAN else fn
    axes = d.one((1, 2), (3,), (2,), (0,), (1,), (0, 1, 2, 3), (2, 3), (0, 2))
    d.terms, d.scale = 60_000, 300.0
    return make_node(ops.Reduce(fn, axes, d.flag()), (d.input(dtype, d.image(d.size())),), "y")


def cumsum(d: Draw) -> Node:
    dtype = d.one(*FLOATS, DType.FLOAT64, DType.INT32, DType.UINT8)
    d.terms, d.scale = 600, 300.0
    op = ops.CumSum(d.one(0, 1, 2, 3), d.flag(), d.flag())
    return make_node(op, (d.input(dtype, d.image(d.size())),), "y")


def pool(d: Draw) -> Node:
    size = d.taps(4)
    strides, _, _, _ = d.window(size, dilated=False)
    pads = (size[0] - 1, d.one(0, size[0] - 1), size[1] - 1, d.one(0, size[1] - 1))
    dtype = d.one(DType.FLOAT32, DType.FLOAT32, DType.FLOAT64)
    d.terms, d.scale = 16, 8.0
    x = d.input(dtype, d.image(d.size(), max(size)))
    return make_node(ops.Pool(d.one(*PoolFn), size, strides, pads), (x,), "y")


def _resized(d: Draw, x: Node) -> Any:
    _, height, width, _ = x.type.shape
    if d.symbolic and d.flag():
        return d.one((height * 2, width * 2 - 1), (height * 8 - 7, width), (height, 3))
    return tuple(d.sizes(2, 1200))


def resize(fn: ResizeFn) -> Maker:
    def make(d: Draw) -> Node:
        dtypes = NUMBERS if fn is ResizeFn.NEAREST else (DType.FLOAT32, DType.FLOAT32, DType.UINT8, DType.INT32)
        x = d.input(d.one(*dtypes), d.image(d.size(65)))
        d.terms, d.scale = 4, 2.0**32 if x.type.dtype is DType.INT32 else 256.0
        return make_node(
            ops.Resize(fn, _resized(d, x), *d.one((False, False), (True, False), (False, True))), (x,), "y"
        )

    return make


def labels(d: Draw) -> Node:
    x = d.input(DType.FLOAT32, d.image(d.size(65)))
    flags = d.one((False, False), (True, False), (False, True))
    stages = [ops.Resize(ResizeFn.BILINEAR, _resized(d, x), *flags)]
    if d.flag():
        stages.insert(0, ops.Resize(ResizeFn.BILINEAR, _resized(d, x), *d.one((False, False), (True, False))))
    crop = tuple(s if d.flag() or not isinstance(s, int) else max(1, s - 2) for s in stages[-1].size)
    return make_node(ops.ResizeArgMax(tuple(stages), (crop[0], crop[1]), d.one(DType.INT32, DType.INT64)), (x,), "y")


def softmax(d: Draw) -> Node:
    d.terms, d.scale = 600, 1.0
    return make_node(ops.Softmax(), (d.input(d.one(DType.FLOAT32, DType.FLOAT64), d.image(d.size())),), "y")


def argmax(d: Draw) -> Node:
    x = d.input(d.one(*NUMBERS), d.image(d.size()))
    return make_node(ops.ArgMax(d.one(3, 3, 1, 2), d.one(DType.INT32, DType.INT64)), (x,), "y")


def matmul(d: Draw) -> Node:
    m, k, n = d.sizes(3, 40_000)
    a, b = d.flag(), d.flag()
    dtype = d.one(DType.FLOAT32, DType.FLOAT32, DType.FLOAT64, DType.INT32)
    d.terms, d.scale = k, 8.0 * k**0.5
    first = symbol("H", LOW, HIGH) if d.symbolic else m
    outer = d.one((), (), (2,), (3, 1))
    x = d.input(dtype, (*outer, *((k, first) if a else (first, k))))
    shape = (*d.one((), outer, (1, *outer[1:])), *((n, k) if b else (k, n)))
    w = d.fixed(dtype, *shape) if d.flag() else d.input(dtype, shape)
    return make_node(ops.MatMul(a, b), (x, w), "y")


def packed_matmul(d: Draw) -> Node:
    m, k, n = d.sizes(3, 40_000)
    b, dtype = d.flag(), d.one(*FLOATS)
    d.terms, d.scale = k, 8.0 * k**0.5
    x = d.input(dtype, (symbol("H", LOW, HIGH) if d.symbolic else m, k))
    return make_node(ops.MatMul(False, b), (x, d.fixed(dtype, *((n, k) if b else (k, n)))), "y")


def concat(d: Draw) -> Node:
    dtype, axis, shape = d.one(*NUMBERS), int(d.one(3, 3, 1, 0)), list(d.image(d.size()))
    parts = []
    for _ in range(int(d.rng.integers(2, 5))):
        own = list(shape)
        if axis == 3 or not d.symbolic:
            own[axis] = d.size(65)
        parts.append(d.input(dtype, own))
    return make_node(ops.Concat(axis), parts, "y")


def pad(d: Draw) -> Node:
    mode = d.one(PadMode.CONSTANT, PadMode.REFLECT, PadMode.SYMMETRIC)
    x = d.input(d.one(DType.FLOAT32, DType.UINT8, DType.FLOAT16, DType.INT64), d.image(d.size(65), 5))
    least = [s if isinstance(s, int) else LOW for s in x.type.shape]
    most = [3 if mode is PadMode.CONSTANT else min(3, s - (mode is PadMode.REFLECT)) for s in least]
    amounts = tuple((int(d.rng.integers(m + 1)), int(d.rng.integers(m + 1))) if d.flag() else (0, 0) for m in most)
    return make_node(ops.Pad(amounts, mode, float(d.one(0, 1))), (x,), "y")


def rearrange(d: Draw) -> Node:
    dtype, kind = d.one(*NUMBERS, DType.BOOL), d.one("slice", "transpose", "broadcast", "to depth", "to space")
    if kind == "to depth" and d.symbolic:  # an input of even height cannot be said
        kind = "to space"
    if kind == "broadcast":
        shape = d.image(d.size(65))
        x = d.input(dtype, [1 if isinstance(s, int) and d.flag() else s for s in shape])
        return make_node(ops.BroadcastTo(shape), (x,), "y")
    if kind == "to space":
        return make_node(ops.DepthToSpace(2), (d.input(dtype, d.image(4 * d.size(17))),), "y")
    shape = d.image(d.size(65), 2)
    if kind == "to depth":
        shape = (shape[0], shape[1] * 2, shape[2] * 2, shape[3])
        return make_node(ops.SpaceToDepth(2), (d.input(dtype, shape),), "y")
    x = d.input(dtype, shape)
    if kind == "transpose":
        perm = tuple(int(p) for p in d.rng.permutation(4))
        return make_node(ops.Transpose(perm), (x,), "y")
    begins: list[int | Dim] = []
    sizes: list[int | Dim] = []
    steps: list[int] = []
    for extent in shape:
        if not isinstance(extent, int):
            step = int(d.one(1, -1))
            begins.append(0 if step == 1 else extent - 1)
            sizes.append(d.one(extent, extent - 2))
        else:
            size = int(d.rng.integers(1, extent + 1))
            step = int(d.one(1, -1, 2)) if size * 2 <= extent + 1 else int(d.one(1, -1))
            span = (size - 1) * abs(step)
            low = int(d.rng.integers(0, extent - span))
            begins.append(low if step > 0 else low + span)
            sizes.append(size)
        steps.append(step)
    return make_node(ops.Slice(tuple(begins), tuple(sizes), tuple(steps)), (x,), "y")


def gather(d: Draw) -> Node:
    shape, axis = d.image(d.size()), int(d.one(3, 3, 1, 0))
    extent = shape[axis] if isinstance(shape[axis], int) else LOW
    indices = d.rng.integers(0, extent, d.sizes(int(d.one(1, 2)), 300))
    x = d.input(d.one(*NUMBERS), shape)
    return make_node(ops.Gather(axis), (x, constant(indices.astype(d.one(np.int32, np.int64)))), "y")


def sizes(d: Draw) -> Node:
    count = d.size(65)
    x = d.input(DType.FLOAT32, d.image(1))
    values = tuple(d.one(3, -7, x.type.shape[1], x.type.shape[2]) for _ in range(count))
    return make_node(ops.SizeTensor(values, (count,), d.one(DType.INT32, DType.INT64)), (), "y")


def copy(d: Draw) -> Node:
    x = d.input(d.one(*NUMBERS, DType.BOOL), d.image(d.size()))
    n, h, w, c = x.type.shape
    return make_node(ops.Reshape((n * h, w * c)), (x,), "y")


MAKERS: dict[str, Maker] = {
    **{f"{p}_conv1x1": float_conv(t, True) for p, t in zip(("f32", "f16", "bf16"), FLOATS, strict=True)},
    **{f"{p}_conv2d": float_conv(t, False) for p, t in zip(("f32", "f16", "bf16"), FLOATS, strict=True)},
    **{f"{p}_depthwise": float_depthwise(t) for p, t in zip(("f32", "f16", "bf16"), FLOATS, strict=True)},
    **{f"{p}_expand_depthwise": float_block(t) for p, t in zip(("f32", "f16", "bf16"), FLOATS, strict=True)},
    "i16_conv1x1": word_conv(True),
    "i16_conv2d": word_conv(False),
    "i16_depthwise": word_depthwise,
    "i16_expand_depthwise": word_block,
    "i8_conv1x1": byte_conv(True),
    "i8_conv2d": byte_conv(False),
    "i8_depthwise": byte_depthwise,
    "i8_expand_depthwise": byte_block,
    "i8_image": byte_image,
    "i8_stem": byte_stem,
    "i8_mean": byte_mean,
    "quantise": quantise,
    "conv_generic": generic_conv,
    "elementwise": elementwise,
    "reduce": reduce,
    "cumsum": cumsum,
    "pool": pool,
    "resize_argmax": labels,
    "resize_bilinear": resize(ResizeFn.BILINEAR),
    "resize_nearest": resize(ResizeFn.NEAREST),
    "softmax": softmax,
    "argmax": argmax,
    "matmul": matmul,
    "matmul_packed": packed_matmul,
    "concat": concat,
    "pad": pad,
    "rearrange": rearrange,
    "gather": gather,
    "sizes": sizes,
    "copy": copy,
    "gather_nd": picking.gather_nd,
    "gather_elements": picking.gather_elements,
    "scatter_nd": picking.scatter_nd,
    "scatter_elements": picking.scatter_elements,
    "top_k": picking.top_k,
    "grid_sample": picking.grid_sample,
    "pad_around": picking.pad_around,
    "iota": picking.iota,
}
"""Kernel name -> what makes a node for it."""


@dataclass(frozen=True)
class Case:
    """A graph for one kernel and the inputs of its runs."""

    kernel: str
    graph: Graph
    target: Target
    kernels: tuple[Kernel, ...]
    fused: tuple[FusedKernel, ...]
    runs: tuple[dict[str, Array], ...]
    tolerance: Tol


TARGETS = tuple(replace(t, caches=SMALL) for t in usable_targets())


def make_case(kernel: str, seed: int, runs: int = 1, target: Target | None = None) -> Case:
    """Return a case: the sizes of its image are known at run time (``runs`` of them) or, with one run, compiled in."""
    rng = np.random.default_rng([seed, *kernel.encode()])
    d = Draw(rng, runs > 1)
    node = MAKERS[kernel](d)
    graph = Graph(tuple(d.inputs), (node,), ("y",), Level.QUANTISED)
    ends = [{"H": LOW, "W": LOW}, {"H": HIGH, "W": 16}, {"H": 17, "W": 33}]
    bindings = [*ends, *({k: int(rng.integers(LOW, HIGH + 1)) for k in "HW"} for _ in range(runs))][:runs]
    bound = [{s.name: max(one[s.name], s.low) for s in graph.symbols()} for one in bindings]
    values = tuple({n.name: _values(rng, n, sizes) for n in d.inputs} for sizes in bound)
    plain = tuple(k for k in KERNELS if k.name == kernel)
    fused = tuple(k for k in FUSED if k.name == kernel)
    chosen = target or d.one(*TARGETS)
    return Case(kernel, graph, chosen, plain, fused, values, _tolerance(d, node))


def _values(rng: np.random.Generator, node: Node, sizes: dict[str, int]) -> Array:
    shape = tuple(evaluate(s, sizes) for s in node.type.shape)
    return numbers(rng, node.type.dtype, shape)


def _tolerance(d: Draw, node: Node) -> Tol:
    dtype = node.type.dtype
    if isinstance(node.op, ops.Quantise) and isinstance(node.inputs[0].op, ops.Conv2d):
        # A float32 sum in another order may round to the next step.
        return Tol.ROUNDED(0.0, 1.0, 1, 1.0)
    exact = isinstance(node.op, (ops.QuantisedConv2d, ops.ImageConv2d))
    if (exact or not dtype.is_float) and dtype is not DType.INT16:
        return Tol.EXACT
    if dtype in (DType.FLOAT16, DType.BFLOAT16, DType.INT16):
        # A fused kernel keeps in float32 what the reference rounds between two operations.
        between = STEPS[dtype] * d.scale if isinstance(node.inputs[0].op, (ops.Conv2d, ops.QuantisedConv2d)) else 0.0
        return Tol.ROUNDED(STEPS[dtype], LEAST[dtype] + between, d.terms, d.scale)
    return Tol.FLOAT(max(d.terms, 2), d.scale)
