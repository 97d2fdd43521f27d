"""Random convolutions of every element type, alone and in blocks that one kernel computes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kernels.guard_draw import FLOATS, Draw, Maker
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import Activation
from smalti.numerics import DType

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
        bias, activation = d.flag(), d.one(*ACTIVATIONS)
        op = ops.Conv2d(stride, dilation, pads, bias=bias, activation=activation, groups=channels)
        d.terms, d.scale = kernel[0] * kernel[1] + 1, 12.0
        operands = [d.input(dtype, d.image(channels, least)), d.fixed(dtype, *kernel, 1, channels)]
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
        bias, activation = d.flag(), d.one(*ACTIVATIONS)
        op = ops.Conv2d(stride, dilation, pads, bias=bias, activation=activation, groups=channels)
        d.terms, d.scale = 9 * depth, 40.0
        filters = [d.fixed(dtype, 3, 3, 1, channels), *([d.fixed(DType.FLOAT32, channels)] if op.bias else [])]
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
    op = ops.QuantisedConv2d(stride, dilation, pads, int(d.one(0, 9)), addend=d.flag(), groups=channels, **WORDS)
    d.terms, d.scale = kernel[0] * kernel[1] + 1, 30_000.0
    operands = [d.input(DType.INT16, d.image(channels, least)), d.fixed(DType.INT16, *kernel, 1, channels)]
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
    op = ops.QuantisedConv2d(stride, dilation, pads, addend=True, groups=channels, **WORDS)
    d.terms, d.scale = 9 * depth, 60_000.0
    filters = [d.fixed(DType.INT16, 3, 3, 1, channels), _multipliers(d, channels, 5000 / (32767.0 * 9000 * 3))]
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
    op = ops.QuantisedConv2d(stride, dilation, pads, int(d.rng.integers(256)), d.flag(), d.flag(),
                             dtype=d.one(DType.UINT8, *FLOATS), groups=channels)  # fmt: skip
    operands = [d.input(DType.UINT8, d.image(channels, least)), d.fixed(DType.INT8, *kernel, 1, channels)]
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
    op = ops.QuantisedConv2d(stride, dilation, pads, 9, bias=True, result_zero_point=31, groups=channels)
    filters = [d.fixed(DType.INT8, 3, 3, 1, channels), _multipliers(d, channels, 3e-3), _biases(d, channels)]
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
    """Groups of any size in any precision; whatever can be is computed at run time."""
    return d.one(_generic_floats, _generic_floats, _generic_depthwise, _generic_bytes, _generic_words)(d)  # type: ignore[no-any-return]


def _groups(d: Draw) -> tuple[int, int, int]:
    """Return the number of groups, the channels of one, and its results."""
    if d.flag():
        return 1, *d.sizes(2, 300)
    return d.one((d.size(65), 1, 1), (2, *d.sizes(2, 150)), (3, *d.sizes(2, 60)), (17, 1, d.one(2, 3, 5)))  # type: ignore[no-any-return]


def _generic_floats(d: Draw) -> Node:
    groups, depth, results = _groups(d)
    kernel, dtype = d.taps(3), d.one(*FLOATS, DType.FLOAT64)
    stride, dilation, pads, least = d.window(kernel)
    op = ops.Conv2d(stride, dilation, pads, bias=d.flag(), activation=d.one(*ACTIVATIONS), groups=groups)
    d.terms = kernel[0] * kernel[1] * depth + 1
    d.scale = 20.0 * d.terms**0.5
    operands = [d.input(dtype, d.image(groups * depth, least)), d.input(dtype, (*kernel, depth, groups * results))]
    return make_node(op, [*operands, *([d.input(dtype, (groups * results,))] if op.bias else [])], "y")


def _generic_bytes(d: Draw) -> Node:
    (groups, depth, results), kernel, dtype = _groups(d), d.taps(3), d.one(DType.UINT8, DType.UINT8, *FLOATS)
    stride, dilation, pads, least = d.window(kernel)
    op = ops.QuantisedConv2d(stride, dilation, pads, int(d.rng.integers(256)), d.flag(), d.flag(), dtype=dtype,
                             result_zero_point=3 if dtype is DType.UINT8 else 0, groups=groups)  # fmt: skip
    cout, terms = groups * results, kernel[0] * kernel[1] * depth
    x, w = d.input(DType.UINT8, d.image(groups * depth, least)), d.input(DType.INT8, (*kernel, depth, cout))
    operands = [x, w, _multipliers(d, cout, 90 / (74 * 74 * terms**0.5))]
    operands += [_biases(d, cout)] if op.bias else []
    operands += [d.input(DType.FLOAT32, (cout,))] if op.addend else []
    if dtype is DType.UINT8 and d.flag():
        operands.append(d.input(DType.UINT8, make_node(op, operands, "plain").type.shape))
        op = replace(op, residual=True, residual_zero_point=7, residual_scale=0.25)
    return make_node(op, operands, "y")


def _generic_words(d: Draw) -> Node:
    (groups, depth, results), kernel = _groups(d), d.taps(3)
    stride, dilation, pads, least = d.window(kernel)
    op = ops.QuantisedConv2d(stride, dilation, pads, -12, d.flag(), d.flag(), groups=groups, **WORDS)
    cout, d.terms, d.scale = groups * results, kernel[0] * kernel[1] * depth + 1, 30_000.0
    x, w = d.input(DType.INT16, d.image(groups * depth, least)), d.input(DType.INT16, (*kernel, depth, cout))
    operands = [x, w, _multipliers(d, cout, 5000 / (32767.0**2 / 3 * d.terms**0.5))]
    operands += [_biases(d, cout)] if op.bias else []
    return make_node(op, [*operands, *([d.input(DType.FLOAT32, (cout,))] if op.addend else [])], "y")


def _generic_depthwise(d: Draw) -> Node:
    channels, multiplier, kernel, dtype = d.size(65), int(d.one(1, 2, 3)), d.taps(3), d.one(*FLOATS, DType.FLOAT64)
    stride, dilation, pads, least = d.window(kernel)
    bias, activation = d.flag(), d.one(*ACTIVATIONS)
    op = ops.Conv2d(stride, dilation, pads, bias=bias, activation=activation, groups=channels)
    x = d.input(dtype, d.image(channels, least))
    d.terms, d.scale = kernel[0] * kernel[1] + 1, 60.0
    operands = [x, d.input(dtype, (*kernel, 1, channels * multiplier))]
    return make_node(op, [*operands, *([d.input(dtype, (channels * multiplier,))] if op.bias else [])], "y")
