"""Bilinear and nearest-neighbour resizes of NHWC images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.ops import ResizeFn
from smalti.kernels.data.runs import copy_run
from smalti.kernels.elementwise.functions import cast_value
from smalti.kernels.elementwise.kernel import computes
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.resize.axis import Axis, blend
from smalti.kernels.takes import Takes, takes
from smalti.kernels.values import load_value
from smalti.kernels.walk import Index, in_vectors
from smalti.llvm.builder import Fn
from smalti.numerics import DType
from smalti.target.target import Target

BILINEAR = takes(ops.Resize, "size", "align_corners", "half_pixel_centers", fn=frozenset((ResizeFn.BILINEAR,)))


def load_float(fn: Fn, dtype: DType, address: ir.Value, lanes: int) -> ir.Value:
    """Load elements of any number type as float32."""
    return cast_value(fn, load_value(fn, dtype, address, lanes), dtype, DType.FLOAT32)


@dataclass(frozen=True, slots=True)
class BilinearKernel(ReadsAll):
    """Bilinear resize to float32: vectors along the channels, an item is a result row."""

    takes: ClassVar[tuple[Takes, ...]] = (BILINEAR,)
    name: str = "resize_bilinear"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is a bilinear resize of numbers."""
        op = node.op
        if not isinstance(op, ops.Resize) or op.fn is not ResizeFn.BILINEAR:
            return False
        return computes(node.x.type.dtype)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        fn, op = e.fn, attributes(node, ops.Resize)
        x = node.x.type
        vertical = Axis.make(e, op, x.shape[1], op.size[0])
        horizontal = Axis.make(e, op, x.shape[2], op.size[1])
        rows, columns, channels = (e.size(s) for s in node.type.shape[1:])
        source, result = e.operand(0), e.result()
        line = fn.mul(horizontal.before, fn.mul(channels, x.dtype.itemsize))
        lanes = 2 * e.target.vector_bits // 32
        with e.parallel(fn.mul(e.size(x.shape[0]), rows)) as item:
            image, y = fn.div(item, rows), vertical.source(fn, fn.mod(item, rows))
            top, bottom = (
                fn.at(source, fn.mul(fn.add(fn.mul(image, vertical.before), row), line)) for row in (y.lower, y.upper)
            )
            target = fn.at(result, fn.mul(item, fn.mul(fn.mul(columns, channels), 4)))
            with fn.loop(0, columns) as column:
                blend_pixel(fn, x.dtype, (top, bottom), y.fraction, horizontal, column, channels, target, lanes)


def blend_pixel(
    fn: Fn,
    dtype: DType,
    lines: tuple[ir.Value, ir.Value],
    fraction: ir.Value,
    horizontal: Axis,
    column: Index,
    channels: Index,
    target: ir.Value,
    lanes: int,
) -> None:
    """Compute all channels of pixel ``column`` of a result row that begins at ``target``."""
    x = horizontal.source(fn, column)
    left, right = (fn.mul(p, fn.mul(channels, dtype.itemsize)) for p in (x.lower, x.upper))
    pixel = fn.at(target, fn.mul(column, fn.mul(channels, 4)))

    def piece(index: Index, width: int) -> None:
        offset = fn.mul(index, dtype.itemsize)
        across = [
            blend(
                fn,
                load_float(fn, dtype, fn.at(fn.at(line, left), offset), width),
                load_float(fn, dtype, fn.at(fn.at(line, right), offset), width),
                fn.splat(x.fraction, width),
            )
            for line in lines
        ]
        fn.store(blend(fn, across[0], across[1], fn.splat(fraction, width)), fn.at(pixel, fn.mul(index, 4)))

    in_vectors(fn, 0, channels, lanes, piece)


@dataclass(frozen=True, slots=True)
class NearestKernel(ReadsAll):
    """Nearest-neighbour resize of any element type: copies of pixels."""

    takes: ClassVar[tuple[Takes, ...]] = (
        takes(ops.Resize, "size", "align_corners", "half_pixel_centers", fn=frozenset((ResizeFn.NEAREST,))),
    )
    name: str = "resize_nearest"

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        fn, op = e.fn, attributes(node, ops.Resize)
        shape, itemsize = node.x.type.shape, node.type.dtype.itemsize
        vertical = Axis.make(e, op, shape[1], op.size[0])
        horizontal = Axis.make(e, op, shape[2], op.size[1])
        rows, columns, channels = (e.size(s) for s in node.type.shape[1:])
        source, result = e.operand(0), e.result()
        pixel = fn.mul(channels, itemsize)
        with e.parallel(fn.mul(e.size(shape[0]), rows)) as item:
            image, y = fn.div(item, rows), vertical.nearest(fn, fn.mod(item, rows))
            line = fn.mul(fn.add(fn.mul(image, vertical.before), y), horizontal.before)
            with fn.loop(0, columns) as column:
                position = fn.add(line, horizontal.nearest(fn, column))
                target = fn.at(result, fn.mul(fn.add(fn.mul(item, columns), column), pixel))
                copy_run(fn, e.target, itemsize, fn.at(source, fn.mul(position, pixel)), target, channels)
