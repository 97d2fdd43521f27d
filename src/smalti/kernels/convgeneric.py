"""Convolutions of any geometry: plain loops, vectors along the result channels; slow but always there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.kernels.conv.convolution import FLOAT_CONV, FLOAT_DEPTHWISE
from smalti.kernels.elementwise.functions import cast_value
from smalti.kernels.elementwise.kernel import computes
from smalti.kernels.elementwise.mathfn import madd
from smalti.kernels.epilogue.emit import Finisher, Place
from smalti.kernels.epilogue.steps import Add, Epilogue, of_floats
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import static_shape
from smalti.kernels.takes import Takes
from smalti.kernels.values import load_value, number, register_type
from smalti.kernels.walk import Index, in_vectors
from smalti.llvm.builder import Fn
from smalti.numerics import DType
from smalti.target.target import Target

VECTORS = 2


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the geometry: sizes, stride, dilation, padding in front."""

    extent: Index
    kernel: int
    stride: int
    dilation: int
    before: Index

    def taps(self, fn: Fn, index: Index) -> tuple[Index, Index, Index]:
        """Return (position of tap 0, first tap inside the image, first tap behind it) for a result position."""
        start = fn.sub(fn.mul(index, self.stride), self.before)
        d = self.dilation
        low = fn.div(fn.maximum(fn.sub(d - 1, start), 0), d)
        high = fn.minimum(self.kernel, fn.div(fn.add(fn.maximum(fn.sub(self.extent, start), 0), d - 1), d))
        return start, low, high


@dataclass(frozen=True, slots=True)
class _Sum:
    """Where one sum of products reads: element types, addresses, extents."""

    x_dtype: DType
    w_dtype: DType
    source: ir.Value
    weights: ir.Value
    offset: float


def _geometry(e: StepEmitter, op: ops.Conv2d | ops.DepthwiseConv2d, node: Node) -> tuple[_Axis, _Axis]:
    shape = node.x.type.shape
    kernel = static_shape(node.weights)

    def axis(size: int | Dim, i: int) -> _Axis:
        return _Axis(e.size(size), kernel[i], op.stride[i], op.dilation[i], e.size(op.pads[2 * i]))

    return axis(shape[1], 0), axis(shape[2], 1)


def _accepts(node: Node, target: Target) -> bool:
    op = node.op
    if not isinstance(op, (ops.Conv2d, ops.DepthwiseConv2d)):
        return False
    return node.type.dtype.is_float and all(computes(n.type.dtype) for n in node.inputs)


@dataclass(frozen=True, slots=True)
class GenericConvKernel(ReadsAll):
    """Conv2d with run-time weights, bias and residual of any float type (and uint8 images)."""

    takes: ClassVar[tuple[Takes, ...]] = (FLOAT_CONV,)
    name: str = "conv_generic"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is an NHWC convolution."""
        return isinstance(node.op, ops.Conv2d) and _accepts(node, target)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a result row."""
        op = node.op
        if isinstance(op, ops.Conv2d):
            cin, cout = static_shape(node.weights)[2:]
            _emit(e, node, op, cin, cin, cout)


@dataclass(frozen=True, slots=True)
class GenericDepthwiseKernel(ReadsAll):
    """DepthwiseConv2d of any float type and multiplier."""

    takes: ClassVar[tuple[Takes, ...]] = (FLOAT_DEPTHWISE,)
    name: str = "depthwise_generic"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is an NHWC depthwise convolution."""
        return isinstance(node.op, ops.DepthwiseConv2d) and _accepts(node, target)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a result row."""
        op = node.op
        if isinstance(op, ops.DepthwiseConv2d):
            channels, multiplier = static_shape(node.weights)[2:]
            _emit(e, node, op, channels, 1, channels * multiplier)


def _emit(
    e: StepEmitter, node: Node, op: ops.Conv2d | ops.DepthwiseConv2d, channels: int, depth: int, outputs: int
) -> None:
    """Write the loops; ``depth`` input channels are summed for each of ``outputs`` results."""
    fn, dtype = e.fn, node.type.dtype
    vertical, horizontal = _geometry(e, op, node)
    rows, columns = e.size(node.type.shape[1]), e.size(node.type.shape[2])
    is_depthwise = isinstance(op, ops.DepthwiseConv2d)
    offset = 0.0 if isinstance(op, ops.DepthwiseConv2d) else op.input_offset
    result = e.result()
    spec = _Sum(node.x.type.dtype, node.weights.type.dtype, e.operand(0), e.operand(1), offset)
    bias, bias_dtype = (e.operand(2), node.inputs[2].type.dtype) if op.bias else (result, dtype)
    residual = e.operand(len(node.inputs) - 1) if isinstance(op, ops.Conv2d) and op.residual else None
    steps = (*((Add(),) if op.bias else ()), *of_floats(op.activation, dtype, residual is not None))
    finisher = Finisher(fn, e.target, Epilogue(steps, dtype))

    def place_of(where: Index, channel: Index, width: int) -> Place:
        def row(which: int) -> list[ir.Value]:
            return [load_value(fn, bias_dtype, fn.at(bias, fn.mul(channel, bias_dtype.itemsize)), width)]

        offset = fn.mul(where, dtype.itemsize)
        return Place(fn.at(result, offset), width, row, None if residual is None else fn.at(residual, offset))

    lanes = VECTORS * e.target.vector_bits // 8 // max(dtype.itemsize, 4)
    with e.parallel(fn.mul(e.size(node.type.shape[0]), rows)) as item:
        image, row = fn.div(item, rows), fn.mod(item, rows)
        y, y_low, y_high = vertical.taps(fn, row)
        with fn.loop(0, columns) as column:
            x, x_low, x_high = horizontal.taps(fn, column)
            pixel = fn.mul(fn.add(fn.mul(item, columns), column), outputs)

            def at_tap(ky: Index, kx: Index) -> tuple[Index, Index]:
                """Return the element offsets of a tap's pixel and of its weights."""
                line = fn.add(fn.mul(image, vertical.extent), fn.add(y, fn.mul(ky, vertical.dilation)))
                place = fn.add(fn.mul(line, horizontal.extent), fn.add(x, fn.mul(kx, horizontal.dilation)))
                tap = fn.add(fn.mul(ky, horizontal.kernel), kx)
                return fn.mul(place, channels), fn.mul(tap, depth * outputs)

            def piece(index: Index, width: int, channel: Index | None) -> None:
                """Compute ``width`` results from ``index``; ``channel`` is the input of a depthwise multiplier > 1."""
                zero = number(register_type(dtype, width), 0.0)

                def over_depth(ky: Index, kx: Index, total: ir.Value) -> ir.Value:
                    place, tap = at_tap(ky, kx)
                    if is_depthwise:
                        first = index if channel is None else channel
                        value = _input(fn, spec, fn.add(place, first), dtype, width if channel is None else 1)
                        return madd(
                            fn,
                            fn.splat(value, width) if channel is not None else value,
                            _weight(fn, spec, fn.add(tap, index), width),
                            total,
                        )

                    def term(k: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
                        value = fn.splat(_input(fn, spec, fn.add(place, k), dtype, 1), width)
                        weight = _weight(fn, spec, fn.add(tap, fn.mul(k, outputs), index), width)
                        return [madd(fn, value, weight, sums[0])]

                    return fn.loop_carry(0, depth, 1, [total], term)[0]

                def over_columns(ky: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
                    return fn.loop_carry(x_low, x_high, 1, sums, lambda kx, s: [over_depth(ky, kx, s[0])])

                (total,) = fn.loop_carry(y_low, y_high, 1, [zero], over_columns)
                where = fn.add(pixel, index)
                finisher.store([total], place_of(where, index, width))

            if is_depthwise and outputs != channels:
                multiplier = outputs // channels
                with fn.loop(0, channels) as c:
                    base = fn.mul(c, multiplier)
                    in_vectors(fn, 0, multiplier, lanes, lambda i, w: piece(fn.add(base, i), w, c))
            else:
                in_vectors(fn, 0, outputs, lanes, lambda i, w: piece(i, w, None))


def _input(fn: Fn, spec: _Sum, position: Index, dtype: DType, lanes: int) -> ir.Value:
    address = fn.at(spec.source, fn.mul(position, spec.x_dtype.itemsize))
    value = cast_value(fn, load_value(fn, spec.x_dtype, address, lanes), spec.x_dtype, dtype)
    return fn.b.fsub(value, number(value.type, spec.offset)) if spec.offset else value


def _weight(fn: Fn, spec: _Sum, position: Index, lanes: int) -> ir.Value:
    return load_value(fn, spec.w_dtype, fn.at(spec.weights, fn.mul(position, spec.w_dtype.itemsize)), lanes)


KERNELS = (GenericConvKernel(), GenericDepthwiseKernel())
