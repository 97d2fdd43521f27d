"""Random graphs for every kernel of the registry: any shape it may meet, with operands and tolerance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.half_types import LEAST, STEPS, narrow, usable_targets
from smalti.ir import ops
from smalti.ir.dims import Dim, evaluate, symbol
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import Activation, BinaryFn, PadMode, PoolFn, ReduceFn, ResizeFn, UnaryFn
from smalti.kernels.kernel import FusedKernel, Kernel
from smalti.kernels.registry import FUSED, KERNELS
from smalti.numerics import DType
from smalti.target.target import Caches, Target
from tolerance import Tol

Array = NDArray[Any]
EDGES = (1, 7, 15, 16, 17, 33, 65, 513)
"""Sizes around which vectors, tiles and bands end."""
SMALL = Caches(1024, 4096, 65536)
"""Caches for which small tensors are large, so that they are fused and cut into bands."""
LOW, HIGH = 5, 40
"""Range of height and width where they are known at run time only."""
FLOATS = (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)
NUMBERS = (*FLOATS, DType.FLOAT64, DType.UINT8, DType.INT8, DType.INT16, DType.INT32, DType.INT64)


@dataclass
class Draw:
    """Random choices for one case; ``terms`` and ``scale`` say how exact its result can be."""

    rng: np.random.Generator
    symbolic: bool
    terms: int = 1
    scale: float = 1.0
    inputs: list[Node] = field(default_factory=list)

    def one(self, *choices: Any) -> Any:
        """Return one of the choices."""
        return choices[int(self.rng.integers(len(choices)))]

    def flag(self) -> bool:
        """Return whether or not."""
        return bool(self.rng.integers(2))

    def size(self, most: int = 600) -> int:
        """Return a size: an edge, or any small one."""
        edges = [edge for edge in EDGES if edge <= most]
        return int(self.one(*edges)) if self.flag() else int(self.rng.integers(1, min(most, 48) + 1))

    def sizes(self, count: int, most: int = 60_000) -> list[int]:
        """Return sizes with a bounded product, in any order."""
        result: list[int] = []
        for _ in range(count):
            result.append(self.size(max(1, most // math.prod(result))))
        return [result[i] for i in self.rng.permutation(count)]

    def image(self, channels: int, low: int = 1, batch: int = 2) -> tuple[int | Dim, ...]:
        """Return the shape of an image tensor of at least ``low`` x ``low``."""
        n = self.one(1, 1, batch)
        if self.symbolic:
            return (n, symbol("H", max(low, LOW), HIGH), symbol("W", max(low, LOW), HIGH), channels)
        height, width = self.sizes(2, max(60_000 // channels, 4))
        return (n, max(height, low), max(width, low), channels)

    def input(self, dtype: DType, shape: Sequence[int | Dim]) -> Node:
        """Return a graph input."""
        node = make_node(ops.Input(), (), f"x{len(self.inputs)}", TensorType(dtype, tuple(shape)))
        self.inputs.append(node)
        return node

    def fixed(self, dtype: DType, *shape: int, size: float = 1.0) -> Node:
        """Return a constant operand."""
        value = numbers(self.rng, dtype, shape, size)
        return constant(value, bfloat16=dtype is DType.BFLOAT16)

    def taps(self, most: int = 5) -> tuple[int, int]:
        """Return height and width of a window."""
        return int(self.rng.integers(1, most + 1)), int(self.rng.integers(1, most + 1))

    def window(self, kernel: tuple[int, int], dilated: bool = True) -> tuple[Any, Any, ops.Pads, int]:
        """Return stride, dilation, pads and the least size of an image for which there is a result."""
        strides = (self.one(1, 1, 2, 3), self.one(1, 1, 2, 3))
        dilations = (self.one(1, 1, 2, 4), self.one(1, 1, 2, 4)) if dilated else (1, 1)
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        pads = tuple(int(self.rng.integers(0, span + 1)) for span in spans for _ in range(2))
        least = max(1, spans[0] - pads[0] - pads[1], spans[1] - pads[2] - pads[3])
        return strides, dilations, (pads[0], pads[1], pads[2], pads[3]), least


def numbers(rng: np.random.Generator, dtype: DType, shape: Sequence[int], size: float = 1.0) -> Array:
    """Return random elements of a type, as arrays of that type are carried."""
    if dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(np.bool_)
    if dtype.is_float:
        values = rng.standard_normal(shape).astype(np.float32) * np.float32(size)
        return narrow(np.asarray(values), dtype)
    low, high = dtype.limits
    limit = min(high, int(size * 127)) if dtype.itemsize > 1 and size > 1 else high
    return np.asarray(rng.integers(max(low, -limit), limit + 1, shape)).astype(dtype.numpy)


# ---- convolutions ----------------------------------------------------------------------------------------------------

Maker = Callable[[Draw], Node]
ACTIVATIONS = tuple(Activation)


def _channels(d: Draw) -> tuple[int, int]:
    cin, cout = d.sizes(2, 6000)
    return cin, cout


def float_conv(dtype: DType, pointwise: bool) -> Maker:
    def make(d: Draw) -> Node:
        cin, cout = _channels(d)
        kernel = (1, 1) if pointwise else d.one((3, 3), d.taps(), (1, 1))
        cin = max(1, cin // (kernel[0] * kernel[1]))
        stride, dilation, pads, least = d.window(kernel)
        if pointwise:
            stride, dilation, pads, least = (1, 1), (1, 1), (0, 0, 0, 0), 1
        elif kernel == (1, 1):
            stride = (2, 1)
        pixels = not pointwise and d.one(False, False, True)
        bias, residual = d.flag(), d.flag()
        op = ops.Conv2d(stride, dilation, pads, bias=bias, activation=d.one(*ACTIVATIONS),
                        input_offset=d.one(0.0, 127.5) if pixels else 0.0)  # fmt: skip
        d.terms = kernel[0] * kernel[1] * cin + 1
        size = d.terms**-0.5
        d.scale = 8.0 * (256 if pixels else 1)
        x = d.input(DType.UINT8 if pixels else dtype, d.image(cin, least))
        operands = [x, d.fixed(dtype, *kernel, cin, cout, size=size)]
        if bias:
            own = dtype if d.flag() else DType.FLOAT32
            operands.append(d.fixed(own, cout) if pointwise is False or d.flag() else d.input(own, (cout,)))
        if residual:
            shape = make_node(op, operands, "plain").type.shape
            operands.append(d.input(dtype, shape))
            op = replace(op, residual=True)
        return make_node(op, operands, "y")

    return make


def float_depthwise(dtype: DType) -> Maker:
    def make(d: Draw) -> Node:
        channels, kernel = d.size(), d.one((3, 3), d.taps())
        stride, dilation, pads, least = d.window(kernel)
        op = ops.DepthwiseConv2d(stride, dilation, pads, bias=d.flag(), activation=d.one(*ACTIVATIONS))
        d.terms, d.scale = kernel[0] * kernel[1] + 1, 12.0
        operands = [d.input(dtype, d.image(channels, least)), d.fixed(dtype, *kernel, channels, 1)]
        if op.bias:
            operands.append(d.fixed(d.one(dtype, DType.FLOAT32), channels))
        return make_node(op, operands, "y")

    return make


def float_block(dtype: DType) -> Maker:
    def make(d: Draw) -> Node:
        depth, channels = d.size(70), max(32, d.size())
        wide = ops.Conv2d(bias=d.flag(), activation=d.one(*ACTIVATIONS))
        x = d.input(dtype, _wide_image(d, depth, channels * dtype.itemsize))
        operands = [x, d.fixed(dtype, 1, 1, depth, channels, size=depth**-0.5)]
        inner = make_node(wide, [*operands, *([d.fixed(DType.FLOAT32, channels)] if wide.bias else [])], "wide")
        stride, dilation, pads = _band_window(d)
        op = ops.DepthwiseConv2d(stride, dilation, pads, bias=d.flag(), activation=d.one(*ACTIVATIONS))
        d.terms, d.scale = 9 * depth, 40.0
        filters = [d.fixed(dtype, 3, 3, channels, 1), *([d.fixed(DType.FLOAT32, channels)] if op.bias else [])]
        return make_node(op, [inner, *filters], "y")

    return make


def _wide_image(d: Draw, depth: int, pixel: int) -> tuple[int | Dim, ...]:
    """Return an image whose widened form is too large for the small cache."""
    if d.symbolic:
        return d.image(depth, 12)
    width = d.size(65)
    return (d.one(1, 2), max(9, -(-4096 // (width * pixel))), max(width, 9), depth)


def _band_window(d: Draw) -> tuple[Any, Any, ops.Pads]:
    if d.flag():
        rate = d.one(2, 4)
        pads = tuple(int(d.rng.integers(1, 2 * rate)) for _ in range(4))
        return (1, 1), (rate, rate), (pads[0], pads[1], pads[2], pads[3])
    return d.one((1, 1), (2, 2), (3, 2)), (1, 1), d.one((1, 1, 1, 1), (0, 1, 0, 1), (2, 0, 1, 1))


WORDS = {"dtype": DType.INT16, "low": -32768, "high": 32767}


def word_conv(pointwise: bool) -> Maker:
    def make(d: Draw) -> Node:
        cin, cout = _channels(d)
        kernel = (1, 1) if pointwise else d.one((3, 3), d.taps())
        cin = max(1, cin // (kernel[0] * kernel[1]))
        stride, dilation, pads, least = d.window(kernel)
        if pointwise:
            stride, dilation, pads, least = (1, 1), (1, 1), (0, 0, 0, 0), 1
        op = ops.QuantisedConv2d(stride, dilation, pads, int(d.one(0, 0, -12)), addend=d.flag(), **WORDS)
        d.terms, d.scale = kernel[0] * kernel[1] * cin + 1, 30_000.0
        operands = [d.input(DType.INT16, d.image(cin, least)), d.fixed(DType.INT16, *kernel, cin, cout)]
        operands.append(_multipliers(d, cout, 5000 / (32767.0**2 / 3 * d.terms**0.5)))
        if op.addend:
            operands.append(d.fixed(DType.FLOAT32, cout) if d.flag() else d.input(DType.FLOAT32, (cout,)))
        if pointwise and d.flag():
            shape = make_node(op, operands, "plain").type.shape
            operands.append(d.input(DType.INT16, shape))
            op = replace(op, residual=True, residual_scale=0.25)
        return make_node(op, operands, "y")

    return make


def word_depthwise(d: Draw) -> Node:
    channels, kernel = d.size(), d.one((3, 3), d.taps())
    stride, dilation, pads, least = d.window(kernel)
    op = ops.QuantisedDepthwiseConv2d(stride, dilation, pads, int(d.one(0, 9)), addend=d.flag(), **WORDS)
    d.terms, d.scale = kernel[0] * kernel[1] + 1, 30_000.0
    operands = [d.input(DType.INT16, d.image(channels, least)), d.fixed(DType.INT16, *kernel, channels, 1)]
    operands.append(_multipliers(d, channels, 5000 / (32767.0**2 / 3 * d.terms**0.5)))
    return make_node(op, [*operands, *([d.fixed(DType.FLOAT32, channels)] if op.addend else [])], "y")


def word_block(d: Draw) -> Node:
    depth, channels = d.size(70), max(32, d.size())
    x = d.input(DType.INT16, _wide_image(d, depth, channels * 2))
    wide = ops.QuantisedConv2d(addend=d.flag(), **WORDS)
    operands = [x, d.fixed(DType.INT16, 1, 1, depth, channels)]
    operands.append(_multipliers(d, channels, 5000 / (32767.0**2 / 3 * depth**0.5)))
    inner = make_node(wide, [*operands, *([d.fixed(DType.FLOAT32, channels)] if wide.addend else [])], "wide")
    stride, dilation, pads = _band_window(d)
    op = ops.QuantisedDepthwiseConv2d(stride, dilation, pads, addend=True, **WORDS)
    d.terms, d.scale = 9 * depth, 60_000.0
    filters = [d.fixed(DType.INT16, 3, 3, channels, 1), _multipliers(d, channels, 5000 / (32767.0 * 9000 * 3))]
    return make_node(op, [inner, *filters, d.fixed(DType.FLOAT32, channels)], "y")


def _multipliers(d: Draw, channels: int, size: float) -> Node:
    return constant((size * d.rng.uniform(0.5, 1.5, channels)).astype(np.float32))


def _biases(d: Draw, channels: int) -> Node:
    return constant(d.rng.integers(-9999, 9999, channels).astype(np.int32))


def byte_conv(pointwise: bool) -> Maker:
    def make(d: Draw) -> Node:
        cin, cout = _channels(d)
        kernel = (1, 1) if pointwise else d.one((3, 3), d.taps())
        cin = max(1, cin // (kernel[0] * kernel[1]))
        stride, dilation, pads, least = d.window(kernel)
        if pointwise:
            stride, dilation, pads, least = (1, 1), (1, 1), (0, 0, 0, 0), 1
        dtype = d.one(DType.UINT8, DType.UINT8, *FLOATS)
        op = ops.QuantisedConv2d(stride, dilation, pads, int(d.rng.integers(256)), d.flag(), d.flag(), dtype=dtype,
                                 result_zero_point=3 if dtype is DType.UINT8 else 0)  # fmt: skip
        operands = [d.input(DType.UINT8, d.image(cin, least)), d.fixed(DType.INT8, *kernel, cin, cout)]
        operands.append(_multipliers(d, cout, 90 / (74 * 74 * (kernel[0] * kernel[1] * cin) ** 0.5)))
        if op.bias:
            operands.append(_biases(d, cout))
        if op.addend:
            operands.append(d.fixed(DType.FLOAT32, cout) if d.flag() else d.input(DType.FLOAT32, (cout,)))
        if dtype is DType.UINT8 and d.flag():
            shape = make_node(op, operands, "plain").type.shape
            operands.append(d.input(DType.UINT8, shape))
            op = replace(op, residual=True, residual_zero_point=7, residual_scale=0.25)
        return make_node(op, operands, "y")

    return make


def byte_depthwise(d: Draw) -> Node:
    channels, kernel = d.size(), d.one((3, 3), d.taps())
    stride, dilation, pads, least = d.window(kernel)
    op = ops.QuantisedDepthwiseConv2d(stride, dilation, pads, int(d.rng.integers(256)), d.flag(), d.flag(),
                                      dtype=d.one(DType.UINT8, *FLOATS))  # fmt: skip
    operands = [d.input(DType.UINT8, d.image(channels, least)), d.fixed(DType.INT8, *kernel, channels, 1)]
    operands.append(_multipliers(d, channels, 60 / (74 * 74 * (kernel[0] * kernel[1]) ** 0.5)))
    if op.bias:
        operands.append(_biases(d, channels))
    return make_node(op, [*operands, *([d.fixed(DType.FLOAT32, channels)] if op.addend else [])], "y")


def byte_block(d: Draw) -> Node:
    depth, channels = d.size(70), max(32, d.size())
    x = d.input(DType.UINT8, _wide_image(d, depth, channels))
    wide = ops.QuantisedConv2d(zero_point=120, bias=d.flag(), addend=d.flag(), result_zero_point=9)
    operands = [x, d.fixed(DType.INT8, 1, 1, depth, channels), _multipliers(d, channels, 2e-3)]
    operands += [_biases(d, channels)] if wide.bias else []
    inner = make_node(wide, [*operands, *([d.fixed(DType.FLOAT32, channels)] if wide.addend else [])], "wide")
    stride, dilation, pads = _band_window(d)
    op = ops.QuantisedDepthwiseConv2d(stride, dilation, pads, 9, bias=True, result_zero_point=31)
    filters = [d.fixed(DType.INT8, 3, 3, channels, 1), _multipliers(d, channels, 3e-3), _biases(d, channels)]
    return make_node(op, [inner, *filters], "y")


def byte_image(d: Draw) -> Node:
    kernel, cin, cout = d.one((3, 3), d.taps()), int(d.one(3, 1, 4, 7)), d.size(65)
    stride, _, pads, least = d.window(kernel, dilated=False)
    op = ops.ImageConv2d(stride, pads, int(d.one(255, 0, 10)), d.flag(), 1.0, 3)
    terms = kernel[0] * kernel[1] * cin
    w = constant(d.rng.integers(-99, 100, (*kernel, cin, cout)).astype(np.int16))
    operands = [d.input(DType.UINT8, d.image(cin, least)), w, _multipliers(d, cout, 90 / (150 * 57 * terms**0.5))]
    return make_node(op, [*operands, *([_biases(d, cout)] if op.bias else [])], "y")


def byte_stem(d: Draw) -> Node:
    kernel, cin, cout = d.one((3, 3), (1, 2), (5, 4)), int(d.one(3, 1, 5)), d.size(65)
    stride, dilation, pads, least = d.window(kernel)
    dtype = d.one(DType.UINT8, DType.FLOAT32)
    offset = 127.5 if dtype is DType.UINT8 else 0.0
    op = ops.Conv2d(stride, dilation, pads, bias=d.flag(), activation=Activation.RELU6, input_offset=offset)
    operands = [d.input(dtype, d.image(cin, least)), d.fixed(DType.FLOAT32, *kernel, cin, cout, size=0.02)]
    inner = make_node(op, [*operands, *([d.fixed(DType.FLOAT32, cout)] if op.bias else [])], "stem")
    return make_node(ops.Quantise(float(np.float32(6 / 255)), 0), (inner,), "y")


def byte_mean(d: Draw) -> Node:
    axes = d.one((1, 2), (3,), (2,), (1,), (0, 1, 2), (1, 2, 3))
    op = ops.QuantisedMean(axes, d.flag(), 7, float(np.float32(1.3)), 1.0, 5)
    return make_node(op, (d.input(d.one(DType.UINT8, DType.INT16), d.image(d.size())),), "y")


def quantise(d: Draw) -> Node:
    dtype, real = d.one(DType.UINT8, DType.INT16), d.one(*FLOATS)
    op = ops.Quantise(0.25, 3, dtype) if d.flag() else ops.Dequantise(0.25, 3, real)
    source = real if isinstance(op, ops.Quantise) else dtype
    return make_node(op, (d.input(source, d.image(d.size())),), "y")


def generic_conv(d: Draw) -> Node:
    cin, cout = d.sizes(2, 300)
    kernel, dtype = d.taps(3), d.one(*FLOATS, DType.FLOAT64)
    stride, dilation, pads, least = d.window(kernel)
    op = ops.Conv2d(stride, dilation, pads, bias=d.flag(), activation=d.one(*ACTIVATIONS))
    x = d.input(dtype, d.image(cin, least))
    d.terms = kernel[0] * kernel[1] * cin + 1
    d.scale = 20.0 * d.terms**0.5
    operands = [x, d.input(dtype, (*kernel, cin, cout)), *([d.input(dtype, (cout,))] if op.bias else [])]
    return make_node(op, operands, "y")


def generic_depthwise(d: Draw) -> Node:
    channels, multiplier, kernel, dtype = d.size(65), int(d.one(1, 2, 3)), d.taps(3), d.one(*FLOATS, DType.FLOAT64)
    stride, dilation, pads, least = d.window(kernel)
    op = ops.DepthwiseConv2d(stride, dilation, pads, bias=d.flag(), activation=d.one(*ACTIVATIONS))
    x = d.input(dtype, d.image(channels, least))
    d.terms, d.scale = kernel[0] * kernel[1] + 1, 60.0
    operands = [x, d.input(dtype, (*kernel, channels, multiplier))]
    return make_node(op, [*operands, *([d.input(dtype, (channels * multiplier,))] if op.bias else [])], "y")


# ---- everything else -------------------------------------------------------------------------------------------------


def elementwise(d: Draw) -> Node:
    shape, dtype = d.image(d.size()), d.one(*NUMBERS)
    x = d.input(dtype, shape)
    kind = d.one("unary", "binary", "binary", "select", "cast")
    d.terms, d.scale = 64, 4096.0
    if kind == "unary":
        fns = (UnaryFn.NEG, UnaryFn.ABS, UnaryFn.SQUARE, UnaryFn.RELU, UnaryFn.RELU6, UnaryFn.FLOOR)
        real = (UnaryFn.EXP, UnaryFn.TANH, UnaryFn.SIGMOID, UnaryFn.ELU, UnaryFn.LEAKY_RELU, UnaryFn.CEIL)
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
    x = d.input(dtype, (k, first) if a else (first, k))
    shape = (n, k) if b else (k, n)
    w = d.fixed(dtype, *shape) if d.flag() else d.input(dtype, shape)
    return make_node(ops.MatMul(a, b), (x, w), "y")


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
    mode = d.one(*PadMode)
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
    "depthwise_generic": generic_depthwise,
    "elementwise": elementwise,
    "reduce": reduce,
    "pool": pool,
    "resize_argmax": labels,
    "resize_bilinear": resize(ResizeFn.BILINEAR),
    "resize_nearest": resize(ResizeFn.NEAREST),
    "softmax": softmax,
    "argmax": argmax,
    "matmul": matmul,
    "concat": concat,
    "pad": pad,
    "rearrange": rearrange,
    "gather": gather,
    "sizes": sizes,
    "copy": copy,
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
    exact = isinstance(node.op, (ops.QuantisedConv2d, ops.QuantisedDepthwiseConv2d, ops.ImageConv2d))
    if (exact or not dtype.is_float) and dtype is not DType.INT16:
        return Tol.EXACT
    if dtype in (DType.FLOAT16, DType.BFLOAT16, DType.INT16):
        # A fused kernel keeps in float32 what the reference rounds between two operations.
        between = STEPS[dtype] * d.scale if isinstance(node.inputs[0].op, (ops.Conv2d, ops.QuantisedConv2d)) else 0.0
        return Tol.ROUNDED(STEPS[dtype], LEAST[dtype] + between, d.terms, d.scale)
    return Tol.FLOAT(max(d.terms, 2), d.scale)
