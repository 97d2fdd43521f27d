"""Convolutions of any geometry, precision and number of groups: plain loops; slow but always there.

Vectors lie along the result channels of a group, and along the groups where each of them is one channel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.kernels.conv.convolution import FLOAT_CONV, INTEGER_DEPTHWISE, Convolutions
from smalti.kernels.elementwise.functions import cast_value
from smalti.kernels.elementwise.kernel import computes
from smalti.kernels.elementwise.mathfn import multiply_add
from smalti.kernels.epilogue.emit import Finisher, Place
from smalti.kernels.epilogue.steps import Add, Begin, Epilogue, Scale, Step, of_floats, of_integers
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import position_of, static_shape
from smalti.kernels.takes import Takes
from smalti.kernels.values import is_float_type, load_value, number, register_type
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
class _Groups:
    """How channels go together: each of ``results`` of a group is a sum over ``depth`` channels."""

    count: int
    depth: int
    results: int

    @classmethod
    def of(cls, node: Node) -> _Groups:
        """Return the groups of a convolution."""
        depth, last = static_shape(node.weights)[2:]
        groups = node.op.groups if isinstance(node.op, Convolutions) else 1
        return cls(groups, depth, last // groups)

    def each(self, fn: Fn, lanes: int, piece: Callable[[Index, int, Index | None], None]) -> None:
        """Run ``piece(result, width, first)`` for all results: ``first`` is the first channel of their group.

        Without it result channels and channels are the same.
        """
        if self.depth == self.results == 1:
            in_vectors(fn, 0, self.count, lanes, lambda i, w: piece(i, w, None))
        elif self.count == 1:
            in_vectors(fn, 0, self.results, lanes, lambda i, w: piece(i, w, 0))
        else:
            with fn.loop(0, self.count) as group:
                base, first = fn.mul(group, self.results), fn.mul(group, self.depth)
                in_vectors(fn, 0, self.results, lanes, lambda i, w: piece(fn.add(base, i), w, first))


class _Sums:
    """The products of one convolution, and what becomes of their sums.

    Sums of bytes are int32, those of 16-bit integers float32, those of floats have the type of the result.
    """

    def __init__(self, e: StepEmitter, node: Node, op: Convolutions) -> None:
        self.fn, self.node = e.fn, node
        x, w = node.x.type.dtype, node.weights.type.dtype
        self.x, self.weights = x, w
        self.source, self.filters, self.result = e.operand(0), e.operand(1), e.result()
        self.type = {DType.INT8: DType.INT32, DType.INT16: DType.FLOAT32}.get(w, node.type.dtype)
        self.real = self.type if self.type.is_float else DType.FLOAT32
        first: tuple[Step, ...] = ((Add() if self.type.is_float else Begin()),) if node.bias else ()
        names = ("bias",) if node.bias else ()
        if isinstance(op, ops.QuantisedConv2d):
            self.offset: float = op.zero_point
            steps = (*first, Scale(), *((Add(),) if op.addend else ()), *of_integers(op))
            names += ("multiplier", *(("addend",) if op.addend else ()))
        else:
            self.offset = op.input_offset
            steps = (*first, *of_floats(op.activation, node.type.dtype, node.residual is not None))
        positions = [position_of(node, name) for name in names]
        self.rows = [(node.inputs[p].type.dtype, e.operand(p)) for p in positions]
        self.residual = None if node.residual is None else e.operand(position_of(node, "residual"))
        self.finisher = Finisher(e.fn, e.target, Epilogue(steps, node.type.dtype))

    def begin(self, place: Place, width: int) -> ir.Value:
        """Return what a sum begins with."""
        zero = number(register_type(self.type, width), 0)
        return self.finisher.begins(place.row, lambda: [zero])[0]

    def product(self, total: ir.Value, pixel: Index, weight: Index, width: int, one: bool) -> ir.Value:
        """Return a sum plus weights times elements of the picture, or times the ``one`` at ``pixel``."""
        fn, lanes = self.fn, 1 if one else width
        value = load_value(fn, self.x, fn.at(self.source, fn.mul(pixel, self.x.itemsize)), lanes)
        value = cast_value(fn, value, self.x, self.type)
        if self.offset:
            less = fn.b.fsub if is_float_type(value.type) else fn.b.sub
            value = less(value, number(value.type, self.offset))
        filters = load_value(fn, self.weights, fn.at(self.filters, fn.mul(weight, self.weights.itemsize)), width)
        filters = cast_value(fn, filters, self.weights, self.type)
        return multiply_add(fn, fn.splat(value, width) if one else value, filters, total)

    def place(self, where: Index, channel: Index, width: int) -> Place:
        """Return where results go, and what belongs to their channels."""
        fn, offset = self.fn, self.fn.mul(where, self.node.type.dtype.itemsize)

        def row(which: int) -> list[ir.Value]:
            dtype, address = self.rows[which]
            value = load_value(fn, dtype, fn.at(address, fn.mul(channel, dtype.itemsize)), width)
            # Biases of int32 sums begin them; whatever else there is belongs to real numbers.
            return [cast_value(fn, value, dtype, self.type if dtype is DType.INT32 else self.real)]

        residual = None if self.residual is None else fn.at(self.residual, offset)
        return Place(fn.at(self.result, offset), width, row, residual)

    def finish(self, total: ir.Value, place: Place) -> None:
        """Write what becomes of sums."""
        self.finisher.store([cast_value(self.fn, total, self.type, self.real)], place)


def _geometry(e: StepEmitter, op: Convolutions, node: Node) -> tuple[_Axis, _Axis]:
    shape = node.x.type.shape
    kernel = static_shape(node.weights)

    def axis(size: int | Dim, i: int) -> _Axis:
        return _Axis(e.size(size), kernel[i], op.stride[i], op.dilation[i], e.size(op.pads[2 * i]))

    return axis(shape[1], 0), axis(shape[2], 1)


@dataclass(frozen=True, slots=True)
class GenericConvKernel(ReadsAll):
    """All convolutions: float (also of uint8 images), 8-bit and 16-bit ones, whatever is computed at run time."""

    takes: ClassVar[tuple[Takes, ...]] = (FLOAT_CONV.also("groups"), INTEGER_DEPTHWISE)
    name: str = "conv_generic"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether there is arithmetic for the element types, and steps for what becomes of sums."""
        op = node.op
        if isinstance(op, ops.QuantisedConv2d):
            return node.residual is None if op.dtype.is_float else op.activation is ops.Activation.NONE
        return node.type.dtype.is_float and all(computes(n.type.dtype) for n in node.inputs)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a result row."""
        fn, op = e.fn, node.op
        if not isinstance(op, Convolutions):
            raise CompilerError(f"{node!r} is not a convolution")
        vertical, horizontal = _geometry(e, op, node)
        rows, columns = e.size(node.type.shape[1]), e.size(node.type.shape[2])
        groups, sums = _Groups.of(node), _Sums(e, node, op)
        channels, outputs = groups.count * groups.depth, groups.count * groups.results
        lanes = VECTORS * e.target.vector_bits // 8 // max(sums.type.itemsize, 4)
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
                    return fn.mul(place, channels), fn.mul(tap, groups.depth * outputs)

                def piece(index: Index, width: int, first: Index | None) -> None:
                    """Compute ``width`` results from ``index`` on."""
                    place = sums.place(fn.add(pixel, index), index, width)

                    def over_depth(ky: Index, kx: Index, total: ir.Value) -> ir.Value:
                        at, tap = at_tap(ky, kx)
                        if first is None:
                            return sums.product(total, fn.add(at, index), fn.add(tap, index), width, one=False)

                        def term(k: Index, totals: list[ir.Value]) -> list[ir.Value]:
                            weight = fn.add(tap, fn.mul(k, outputs), index)
                            return [sums.product(totals[0], fn.add(at, first, k), weight, width, one=True)]

                        return fn.loop_carry(0, groups.depth, 1, [total], term)[0]

                    def over_columns(ky: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
                        return fn.loop_carry(x_low, x_high, 1, totals, lambda kx, t: [over_depth(ky, kx, t[0])])

                    (total,) = fn.loop_carry(y_low, y_high, 1, [sums.begin(place, width)], over_columns)
                    sums.finish(total, place)

                groups.each(fn, lanes, piece)


KERNELS = (GenericConvKernel(),)
