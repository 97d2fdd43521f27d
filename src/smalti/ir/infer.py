"""Result types: the rule of each operation, and the one way to make a node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from smalti.errors import CompilerError, GraphError
from smalti.ir import ops
from smalti.ir.dims import Dim, ceil_div, evaluate, floor_div, maximum, product
from smalti.ir.graph import Node, TensorType
from smalti.ir.ops import Layout, Op, Pads, Shape
from smalti.numerics import DType

QUANTISED_TYPES = (DType.UINT8, DType.INT16)
"""Types of quantised activations."""

Types = tuple[TensorType, ...]
Rule = Callable[[Any, Types], TensorType]


def make_node(op: Op, inputs: Sequence[Node] = (), name: str = "", type: TensorType | None = None) -> Node:
    """Make a node, computing its type.

    Args:
        op: the operation; for ``Input`` give ``type``.
        inputs: operand nodes.
        name: TensorFlow's name of the result, kept for reports.
        type: the type of an ``Input``; for other operations an expectation that must hold.

    Raises:
        GraphError: the operands do not fit the operation.
    """
    operands = tuple(inputs)
    if isinstance(op, ops.Input):
        if type is None or operands:
            raise CompilerError("an input node needs a type and no operands")
        return Node(op, (), type, name)
    try:
        result = infer_type(op, tuple(n.type for n in operands))
    except GraphError as error:
        raise GraphError(f"node {name!r}: {error}") from error
    if type is not None and type != result:
        raise CompilerError(f"node {name!r}: {op} gives {result}, not the expected {type}")
    return Node(op, operands, result, name)


def constant(value: Any, name: str = "", *, bfloat16: bool = False) -> Node:
    """Make a constant node of a copy of a numpy array that nobody can write to (uint16 bits if ``bfloat16``)."""
    array = np.array(value)
    array.flags.writeable = False
    return make_node(ops.Constant(array, bfloat16), (), name)


def infer_type(op: Op, types: Types) -> TensorType:
    """Return the result type of ``op`` on operands of the given types.

    Raises:
        GraphError: they do not fit.
    """
    rule = _RULES.get(type(op))
    if rule is None:
        raise CompilerError(f"no type rule for {type(op).__name__}")
    low, high = _arity(op)
    if not low <= len(types) <= high:
        raise GraphError(f"{type(op).__name__} takes {low} operands, not {len(types)}")
    result = rule(op, types)
    for size in result.shape:
        if isinstance(size, int) and size < 0:
            raise GraphError(f"the result would have a negative size: {result}")
    return result


def spatial_axes(layout: Layout) -> tuple[int, int, int]:
    """Return the axes of height, width and channels."""
    return (1, 2, 3) if layout is Layout.NHWC else (2, 3, 1)


def same_pads(size: int | Dim, kernel: int, stride: int, dilation: int = 1) -> tuple[int | Dim, int | Dim]:
    """Return TensorFlow's SAME padding (before, after) of one axis."""
    from_stride = (ceil_div(size, stride) - 1) * stride + ((kernel - 1) * dilation + 1) - size
    total = maximum(from_stride, 0)
    before = floor_div(total, 2)
    return before, total - before


def window_result(size: int | Dim, kernel: int, stride: int, dilation: int, pads: int | Dim) -> int | Dim:
    """Return the number of window positions along one axis; ``pads`` is the sum of both sides."""
    if kernel <= 0 or stride <= 0 or dilation <= 0:
        raise GraphError("kernel size, stride and dilation must be positive")
    span = size + pads - ((kernel - 1) * dilation + 1)
    if isinstance(span, int) and span < 0:
        raise GraphError("the window is larger than the padded image")
    return floor_div(span, stride) + 1


def broadcast(a: Shape, b: Shape) -> Shape:
    """Return the numpy broadcast of two shapes.

    Raises:
        GraphError: they do not broadcast, or that depends on symbols.
    """
    rank = max(len(a), len(b))
    padded_a, padded_b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    result: list[int | Dim] = []
    for x, y in zip(padded_a, padded_b, strict=True):
        if x == y or y == 1:
            result.append(x)
        elif x == 1:
            result.append(y)
        else:
            raise GraphError(f"shapes {_text(a)} and {_text(b)} do not broadcast")
    return tuple(result)


def _text(shape: Shape) -> str:
    return f"[{', '.join(str(s) for s in shape)}]"


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise GraphError(text)


def _arity(op: Op) -> tuple[int, int]:
    if isinstance(op, (ops.Constant, ops.SizeTensor)):
        return 0, 0
    if isinstance(op, ops.Conv2d):
        count = 2 + op.bias + op.residual
        return count, count
    if isinstance(op, ops.DepthwiseConv2d):
        return 2 + op.bias, 2 + op.bias
    if isinstance(op, ops.QuantisedConv2d):
        count = 3 + op.bias + op.addend + op.residual
        return count, count
    if isinstance(op, ops.ImageConv2d):
        return 3 + op.bias, 3 + op.bias
    if isinstance(op, ops.QuantisedDepthwiseConv2d):
        return 3 + op.bias + op.addend, 3 + op.bias + op.addend
    if isinstance(op, (ops.Binary, ops.MatMul, ops.Gather)):
        return 2, 2
    if isinstance(op, ops.Select):
        return 3, 3
    if isinstance(op, ops.BatchNorm):
        return 5, 5
    if isinstance(op, ops.Concat):
        return 1, 1 << 20
    return 1, 1


def _constant(op: ops.Constant, types: Types) -> TensorType:
    try:
        dtype = DType.BFLOAT16 if op.bfloat16 else DType.from_numpy(op.value.dtype)
    except ValueError as error:
        raise GraphError(f"constants of type {op.value.dtype} are not supported") from error
    return TensorType(dtype, tuple(op.value.shape))


def _size_tensor(op: ops.SizeTensor, types: Types) -> TensorType:
    _require(op.dtype.is_integer, "a size tensor holds integers")
    _require(product(op.shape) == len(op.values), "a size tensor has one value for each element")
    return TensorType(op.dtype, op.shape)


def _unary(op: ops.Unary, types: Types) -> TensorType:
    (x,) = types
    if op.fn is ops.UnaryFn.LOGICAL_NOT:
        _require(x.dtype is DType.BOOL, "logical_not takes bool")
    else:
        _require(x.dtype is not DType.BOOL, f"{op.fn.value} does not take bool")
    return x


def _binary(op: ops.Binary, types: Types) -> TensorType:
    a, b = types
    _require(a.dtype is b.dtype, f"operands have types {a.dtype.value} and {b.dtype.value}")
    logical = op.fn in (ops.BinaryFn.LOGICAL_AND, ops.BinaryFn.LOGICAL_OR)
    if logical:
        _require(a.dtype is DType.BOOL, f"{op.fn.value} takes bool")
    elif op.fn not in (ops.BinaryFn.EQUAL, ops.BinaryFn.NOT_EQUAL):
        _require(a.dtype is not DType.BOOL, f"{op.fn.value} does not take bool")
    return TensorType(DType.BOOL if op.fn.is_comparison else a.dtype, broadcast(a.shape, b.shape))


def _select(op: ops.Select, types: Types) -> TensorType:
    condition, a, b = types
    _require(condition.dtype is DType.BOOL, "the condition must be bool")
    _require(a.dtype is b.dtype, "both choices must have one type")
    return TensorType(a.dtype, broadcast(condition.shape, broadcast(a.shape, b.shape)))


def _cast(op: ops.Cast, types: Types) -> TensorType:
    return TensorType(op.dtype, types[0].shape)


def _window(
    shape: Shape,
    layout: Layout,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pads: Pads,
) -> tuple[int | Dim, int | Dim]:
    _require(len(shape) == 4, f"needs a 4-D image tensor, not {_text(shape)}")
    h, w, _ = spatial_axes(layout)
    return (
        window_result(shape[h], kernel[0], stride[0], dilation[0], pads[0] + pads[1]),
        window_result(shape[w], kernel[1], stride[1], dilation[1], pads[2] + pads[3]),
    )


def _image(n: int | Dim, size: tuple[int | Dim, int | Dim], channels: int | Dim, layout: Layout) -> Shape:
    return (n, *size, channels) if layout is Layout.NHWC else (n, channels, *size)


def _weights(x: TensorType, w: TensorType, layout: Layout, what: str) -> tuple[int, int, int, int]:
    _require(x.rank == 4, f"{what} needs a 4-D input, not {x}")
    _require(w.rank == 4, f"{what} needs 4-D weights, not {w}")
    kh, kw, cin, cout = w.shape
    if not (isinstance(kh, int) and isinstance(kw, int) and isinstance(cin, int) and isinstance(cout, int)):
        raise GraphError(f"{what} needs weights of constant shape, not {w}")
    _require(min(kh, kw, cin, cout) > 0, f"{what} has empty weights {w}")
    _require(x.shape[spatial_axes(layout)[2]] == cin, f"{what}: the input {x} does not have {cin} channels")
    return kh, kw, cin, cout


def _conv2d(op: ops.Conv2d, types: Types) -> TensorType:
    x, w = types[:2]
    kh, kw, _, cout = _weights(x, w, op.layout, "Conv2d")
    if x.dtype is DType.UINT8:
        _require(
            w.dtype.is_float and w.dtype is not DType.FLOAT64, "a convolution of a uint8 image has float32 weights"
        )
    else:
        _require(x.dtype is w.dtype and x.dtype.is_float, f"Conv2d of {x.dtype.value} with {w.dtype.value} weights")
    size = _window(x.shape, op.layout, (kh, kw), op.stride, op.dilation, op.pads)
    result = TensorType(w.dtype, _image(x.shape[0], size, cout, op.layout))
    if op.bias:
        _require(types[2] in _biases(w.dtype, cout), f"Conv2d: the bias is {types[2]}")
    if op.residual:
        _require(types[-1] == result, f"Conv2d: the residual is {types[-1]}, the result {result}")
    return result


def _depthwise(op: ops.DepthwiseConv2d, types: Types) -> TensorType:
    x, w = types[:2]
    kh, kw, cin, multiplier = _weights(x, w, op.layout, "DepthwiseConv2d")
    _require(
        x.dtype is w.dtype and x.dtype.is_float, f"DepthwiseConv2d of {x.dtype.value} with {w.dtype.value} weights"
    )
    size = _window(x.shape, op.layout, (kh, kw), op.stride, op.dilation, op.pads)
    if op.bias:
        expected = _biases(w.dtype, cin * multiplier)
        _require(types[2] in expected, f"DepthwiseConv2d: the bias is {types[2]}, not {expected[0]}")
    return TensorType(x.dtype, _image(x.shape[0], size, cin * multiplier, op.layout))


def _biases(weights: DType, channels: int | Dim) -> tuple[TensorType, ...]:
    """Return the types a bias may have: that of the weights, or float32 beside weights of half precision."""
    own = TensorType(weights, (channels,))
    half = weights in (DType.FLOAT16, DType.BFLOAT16)
    return (own, TensorType(DType.FLOAT32, (channels,))) if half else (own,)


def _quantise(op: ops.Quantise, types: Types) -> TensorType:
    _require(types[0].dtype.is_float, f"Quantise of {types[0].dtype.value}")
    _require(op.dtype in QUANTISED_TYPES, f"Quantise to {op.dtype.value}")
    return TensorType(op.dtype, types[0].shape)


def _dequantise(op: ops.Dequantise, types: Types) -> TensorType:
    _require(types[0].dtype in QUANTISED_TYPES, f"Dequantise of {types[0].dtype.value}")
    _require(op.dtype.is_float, f"Dequantise to {op.dtype.value}")
    return TensorType(op.dtype, types[0].shape)


def _quantised_conv2d(op: ops.QuantisedConv2d, types: Types) -> TensorType:
    x, w, multiplier = types[:3]
    kh, kw, _, cout = _weights(x, w, Layout.NHWC, "QuantisedConv2d")
    size = _window(x.shape, Layout.NHWC, (kh, kw), op.stride, op.dilation, op.pads)
    result = TensorType(op.dtype, _image(x.shape[0], size, cout, Layout.NHWC))
    _quantised_operands(op, types, cout)
    if op.residual:
        _require(types[-1] == result, f"QuantisedConv2d: the residual is {types[-1]}, the result {result}")
    return result


def _image_conv2d(op: ops.ImageConv2d, types: Types) -> TensorType:
    x, w, multiplier = types[:3]
    kh, kw, _, cout = _weights(x, w, Layout.NHWC, "ImageConv2d")
    size = _window(x.shape, Layout.NHWC, (kh, kw), op.stride, (1, 1), op.pads)
    pair = (x.dtype, w.dtype)
    _require(pair == (DType.UINT8, DType.INT16), f"ImageConv2d of {x.dtype.value} with {w.dtype.value} weights")
    _require(multiplier == TensorType(DType.FLOAT32, (cout,)), f"the multiplier is {multiplier}")
    _require(not op.bias or types[3] == TensorType(DType.INT32, (cout,)), f"the bias is {types[-1]}")
    return TensorType(DType.UINT8, _image(x.shape[0], size, cout, Layout.NHWC))


def _quantised_depthwise(op: ops.QuantisedDepthwiseConv2d, types: Types) -> TensorType:
    x, w = types[:2]
    kh, kw, cin, multiplier = _weights(x, w, Layout.NHWC, "QuantisedDepthwiseConv2d")
    _require(multiplier == 1, "QuantisedDepthwiseConv2d gives one result channel for each channel")
    size = _window(x.shape, Layout.NHWC, (kh, kw), op.stride, op.dilation, op.pads)
    _quantised_operands(op, types, cin)
    return TensorType(op.dtype, _image(x.shape[0], size, cin, Layout.NHWC))


def _quantised_operands(
    op: ops.QuantisedConv2d | ops.QuantisedDepthwiseConv2d, types: Types, channels: int | Dim
) -> None:
    x, w, multiplier = types[:3]
    pair = (x.dtype, w.dtype)
    _require(
        pair in ((DType.UINT8, DType.INT8), (DType.INT16, DType.INT16)),
        f"a quantised convolution of {x.dtype.value} with {w.dtype.value} weights",
    )
    _require(op.dtype in (x.dtype, DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16), f"a result of {op.dtype.value}")
    _require(multiplier == TensorType(DType.FLOAT32, (channels,)), f"the multiplier is {multiplier}")
    if op.bias:
        _require(types[3] == TensorType(DType.INT32, (channels,)), f"the bias is {types[3]}")
    if op.addend:
        _require(types[3 + op.bias] == TensorType(DType.FLOAT32, (channels,)), f"the addend is {types[3 + op.bias]}")


def _quantised_mean(op: ops.QuantisedMean, types: Types) -> TensorType:
    _require(types[0].dtype in QUANTISED_TYPES, f"QuantisedMean of {types[0].dtype.value}")
    low, high = types[0].dtype.limits
    _require(low <= op.result_zero_point <= high, f"QuantisedMean: zero point {op.result_zero_point}")
    return _reduce(ops.Reduce(ops.ReduceFn.MEAN, op.axes, op.keep_dims), types)


def _batch_norm(op: ops.BatchNorm, types: Types) -> TensorType:
    x = types[0]
    _require(x.rank == 4, f"BatchNorm needs a 4-D input, not {x}")
    channels = x.shape[spatial_axes(op.layout)[2]]
    for t in types[1:]:
        _require(t.shape == (channels,), f"BatchNorm: a parameter is {t}, the input has {channels} channels")
    return x


def _pool(op: ops.Pool, types: Types) -> TensorType:
    (x,) = types
    size = _window(x.shape, op.layout, op.size, op.stride, (1, 1), op.pads)
    return TensorType(x.dtype, _image(x.shape[0], size, x.shape[spatial_axes(op.layout)[2]], op.layout))


def _reduce(op: ops.Reduce, types: Types) -> TensorType:
    (x,) = types
    _require(all(0 <= a < x.rank for a in op.axes), f"an axis of {op.axes} is outside {x}")
    _require(x.dtype is not DType.BOOL, "bool cannot be reduced")
    if op.keep_dims:
        return TensorType(x.dtype, tuple(1 if i in op.axes else s for i, s in enumerate(x.shape)))
    return TensorType(x.dtype, tuple(s for i, s in enumerate(x.shape) if i not in op.axes))


def _matmul(op: ops.MatMul, types: Types) -> TensorType:
    a, b = types
    _require(a.rank == 2 and b.rank == 2, f"MatMul takes 2-D tensors, not {a} and {b}")
    _require(a.dtype is b.dtype, f"MatMul of {a.dtype.value} with {b.dtype.value}")
    m, k = reversed(a.shape) if op.transpose_a else a.shape
    k2, n = reversed(b.shape) if op.transpose_b else b.shape
    _require(k == k2, f"MatMul: inner sizes {k} and {k2} differ")
    return TensorType(a.dtype, (m, n))


def _softmax(op: ops.Softmax, types: Types) -> TensorType:
    _require(types[0].rank >= 1 and types[0].dtype.is_float, f"Softmax takes a float tensor, not {types[0]}")
    return types[0]


def _argmax(op: ops.ArgMax, types: Types) -> TensorType:
    (x,) = types
    _require(0 <= op.axis < x.rank, f"ArgMax: axis {op.axis} is outside {x}")
    _require(x.shape[op.axis] != 0, "ArgMax over no elements")
    return TensorType(op.dtype, x.shape[: op.axis] + x.shape[op.axis + 1 :])


def _resize(op: ops.Resize, types: Types) -> TensorType:
    (x,) = types
    _require(x.rank == 4, f"Resize needs a 4-D image tensor, not {x}")
    _require(
        not (op.align_corners and op.half_pixel_centers), "align_corners and half_pixel_centers exclude each other"
    )
    _require(all(not isinstance(s, int) or s > 0 for s in (*op.size, *x.shape[1:3])), "Resize to or from nothing")
    dtype = DType.FLOAT32 if op.fn is ops.ResizeFn.BILINEAR else x.dtype
    return TensorType(dtype, (x.shape[0], *op.size, x.shape[3]))


def _resize_argmax(op: ops.ResizeArgMax, types: Types) -> TensorType:
    (x,) = types
    _require(1 <= len(op.stages) <= 2, "ResizeArgMax has one or two stages")
    _require(all(s.fn is ops.ResizeFn.BILINEAR for s in op.stages), "ResizeArgMax takes bilinear stages")
    _require(x.rank == 4 and x.shape[3] != 0, f"ResizeArgMax needs a 4-D image tensor, not {x}")
    return TensorType(op.dtype, (x.shape[0], *op.crop))


def _concat(op: ops.Concat, types: Types) -> TensorType:
    first = types[0]
    _require(0 <= op.axis < first.rank, f"Concat: axis {op.axis} is outside {first}")
    total: int | Dim = 0
    for t in types:
        same = t.rank == first.rank and all(
            i == op.axis or s == r for i, (s, r) in enumerate(zip(t.shape, first.shape, strict=True))
        )
        _require(same and t.dtype is first.dtype, f"Concat of {first} with {t} along axis {op.axis}")
        total = total + t.shape[op.axis]
    return TensorType(first.dtype, (*first.shape[: op.axis], total, *first.shape[op.axis + 1 :]))


def _pad(op: ops.Pad, types: Types) -> TensorType:
    (x,) = types
    _require(len(op.amounts) == x.rank, f"Pad: {len(op.amounts)} pairs for {x}")
    for before, after in op.amounts:
        _require(all(not isinstance(v, int) or v >= 0 for v in (before, after)), "Pad: negative padding")
    return TensorType(x.dtype, tuple(s + b + a for s, (b, a) in zip(x.shape, op.amounts, strict=True)))


def _slice(op: ops.Slice, types: Types) -> TensorType:
    (x,) = types
    _require(len(op.begin) == len(op.size) == len(op.stride) == x.rank, f"Slice does not fit {x}")
    _require(0 not in op.stride, "Slice: a stride is zero")
    for extent, begin, size, stride in zip(x.shape, op.begin, op.size, op.stride, strict=True):
        values = (extent, begin, size)
        if all(isinstance(v, int) for v in values):
            e, b, s = (evaluate(v, {}) for v in values)
            last = b + (s - 1) * stride
            _require(s == 0 or (0 <= b < e and 0 <= last < e), f"Slice: elements {b}..{last} are outside {x}")
    return TensorType(x.dtype, op.size)


def _reshape(op: ops.Reshape, types: Types) -> TensorType:
    (x,) = types
    _require(product(op.shape) == x.elements, f"Reshape of {x} to {_text(op.shape)}")
    return TensorType(x.dtype, op.shape)


def _transpose(op: ops.Transpose, types: Types) -> TensorType:
    (x,) = types
    _require(sorted(op.perm) == list(range(x.rank)), f"Transpose: {op.perm} does not permute {x}")
    return TensorType(x.dtype, tuple(x.shape[p] for p in op.perm))


def _broadcast_to(op: ops.BroadcastTo, types: Types) -> TensorType:
    (x,) = types
    _require(broadcast(x.shape, op.shape) == op.shape, f"{x} does not broadcast to {_text(op.shape)}")
    return TensorType(x.dtype, op.shape)


def _gather(op: ops.Gather, types: Types) -> TensorType:
    x, indices = types
    _require(0 <= op.axis < x.rank, f"Gather: axis {op.axis} is outside {x}")
    _require(indices.dtype in (DType.INT32, DType.INT64), "Gather: indices must be int32 or int64")
    return TensorType(x.dtype, x.shape[: op.axis] + indices.shape + x.shape[op.axis + 1 :])


def _space_to_batch(op: ops.SpaceToBatch, types: Types) -> TensorType:
    (x,) = types
    _require(x.rank == 4, f"SpaceToBatch needs a 4-D image tensor, not {x}")
    height, width = x.shape[1] + op.pads[0] + op.pads[1], x.shape[2] + op.pads[2] + op.pads[3]
    for size, block in zip((height, width), op.block, strict=True):
        _require(block > 0 and size % block == 0, f"SpaceToBatch: padded size {size} is not a multiple of {block}")
    n = x.shape[0] * (op.block[0] * op.block[1])
    return TensorType(x.dtype, (n, floor_div(height, op.block[0]), floor_div(width, op.block[1]), x.shape[3]))


def _batch_to_space(op: ops.BatchToSpace, types: Types) -> TensorType:
    (x,) = types
    _require(x.rank == 4, f"BatchToSpace needs a 4-D image tensor, not {x}")
    _require(min(op.block) > 0, "BatchToSpace: the block must be positive")
    blocks = op.block[0] * op.block[1]
    _require(x.shape[0] % blocks == 0, f"BatchToSpace: batch {x.shape[0]} is not a multiple of {blocks}")
    height = x.shape[1] * op.block[0] - op.crops[0] - op.crops[1]
    width = x.shape[2] * op.block[1] - op.crops[2] - op.crops[3]
    return TensorType(x.dtype, (floor_div(x.shape[0], blocks), height, width, x.shape[3]))


def _block_sizes(op: ops.SpaceToDepth | ops.DepthToSpace, x: TensorType) -> tuple[int | Dim, int | Dim, int | Dim]:
    _require(x.rank == 4, f"needs a 4-D image tensor, not {x}")
    _require(op.block > 0, "the block must be positive")
    h, w, c = spatial_axes(op.layout)
    return x.shape[h], x.shape[w], x.shape[c]


def _space_to_depth(op: ops.SpaceToDepth, types: Types) -> TensorType:
    (x,) = types
    h, w, c = _block_sizes(op, x)
    _require(h % op.block == 0 and w % op.block == 0, f"SpaceToDepth: {x} is not a multiple of {op.block}")
    size = (floor_div(h, op.block), floor_div(w, op.block))
    return TensorType(x.dtype, _image(x.shape[0], size, c * (op.block * op.block), op.layout))


def _depth_to_space(op: ops.DepthToSpace, types: Types) -> TensorType:
    (x,) = types
    h, w, c = _block_sizes(op, x)
    _require(c % (op.block * op.block) == 0, f"DepthToSpace: channels of {x} are not a multiple of {op.block} squared")
    channels = floor_div(c, op.block * op.block)
    return TensorType(x.dtype, _image(x.shape[0], (h * op.block, w * op.block), channels, op.layout))


_RULES: dict[type[Op], Rule] = {
    ops.Constant: _constant,
    ops.SizeTensor: _size_tensor,
    ops.Unary: _unary,
    ops.Binary: _binary,
    ops.Select: _select,
    ops.Cast: _cast,
    ops.Conv2d: _conv2d,
    ops.DepthwiseConv2d: _depthwise,
    ops.BatchNorm: _batch_norm,
    ops.Pool: _pool,
    ops.Reduce: _reduce,
    ops.MatMul: _matmul,
    ops.Softmax: _softmax,
    ops.ArgMax: _argmax,
    ops.Resize: _resize,
    ops.ResizeArgMax: _resize_argmax,
    ops.Concat: _concat,
    ops.Pad: _pad,
    ops.Slice: _slice,
    ops.Reshape: _reshape,
    ops.Transpose: _transpose,
    ops.BroadcastTo: _broadcast_to,
    ops.Gather: _gather,
    ops.SpaceToBatch: _space_to_batch,
    ops.BatchToSpace: _batch_to_space,
    ops.SpaceToDepth: _space_to_depth,
    ops.DepthToSpace: _depth_to_space,
    ops.Quantise: _quantise,
    ops.Dequantise: _dequantise,
    ops.QuantisedConv2d: _quantised_conv2d,
    ops.ImageConv2d: _image_conv2d,
    ops.QuantisedDepthwiseConv2d: _quantised_depthwise,
    ops.QuantisedMean: _quantised_mean,
}
