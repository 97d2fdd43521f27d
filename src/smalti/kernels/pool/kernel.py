"""Maximum and average over windows of NHWC images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, assert_never

from llvmlite import ir

from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.ops import Layout, PoolFn
from smalti.kernels.elementwise.functions import cast_value
from smalti.kernels.elementwise.kernel import computes
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.reduce.kernel import divide_by_count
from smalti.kernels.reduce.loops import nested
from smalti.kernels.takes import Takes, takes
from smalti.kernels.values import load_value, store_value
from smalti.kernels.walk import Index, in_vectors
from smalti.llvm.builder import Fn
from smalti.numerics import DType
from smalti.target.target import Target

VECTORS = 4
LARGE_WINDOW = 64
"""Windows of at least this many pixels are split over channels too: a global average has one result row only."""


@dataclass(frozen=True, slots=True)
class PoolKernel(ReadsAll):
    """Pooling of any number type, vectors along the channels; a row of the window is summed before the rows are."""

    takes: ClassVar[tuple[Takes, ...]] = (
        takes(ops.Pool, "size", "stride", "pads", fn=frozenset((PoolFn.AVG, PoolFn.MAX))),
    )
    name: str = "pool"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is an NHWC pooling."""
        op = node.op
        return isinstance(op, ops.Pool) and op.layout is Layout.NHWC and computes(node.type.dtype)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a result row (and for large windows a block of channels)."""
        fn, op = e.fn, attributes(node, ops.Pool)
        dtype = node.type.dtype
        lanes = VECTORS * e.target.vector_bits // 8 // max(dtype.itemsize, 4)
        height, width, channels = (e.size(s) for s in node.x.type.shape[1:])
        rows, columns = e.size(node.type.shape[1]), e.size(node.type.shape[2])
        top, left = e.size(op.pads[0]), e.size(op.pads[2])
        source, result = e.operand(0), e.result()
        block: Index = lanes if op.size[0] * op.size[1] >= LARGE_WINDOW else channels
        blocks = fn.ceil_div(channels, block) if isinstance(block, int) else 1
        items = fn.mul(e.size(node.type.shape[0]), fn.mul(rows, blocks))
        with e.parallel(items) as item:
            row, first = fn.div(item, blocks), fn.mul(fn.mod(item, blocks), block)
            length = channels if blocks == 1 else fn.minimum(block, fn.sub(channels, first))
            image, y = fn.div(row, rows), fn.mod(row, rows)
            y_low, y_high = _window(fn, y, op.stride[0], top, op.size[0], height)
            image_at = fn.add(fn.mul(fn.mul(image, height), fn.mul(width, channels)), first)
            row_at = fn.add(fn.mul(fn.mul(row, columns), channels), first)
            with fn.loop(0, columns) as x:
                x_low, x_high = _window(fn, x, op.stride[1], left, op.size[1], width)
                corner = fn.add(image_at, fn.mul(fn.add(fn.mul(y_low, width), x_low), channels))
                base = fn.at(source, fn.mul(corner, dtype.itemsize))
                target = fn.at(result, fn.mul(fn.add(row_at, fn.mul(x, channels)), dtype.itemsize))
                sizes = [fn.sub(y_high, y_low), fn.sub(x_high, x_low)]
                strides = [fn.mul(width, channels), channels]

                def piece(
                    index: Index,
                    lanes: int,
                    base: ir.Value = base,
                    target: ir.Value = target,
                    sizes: list[Index] = sizes,
                    strides: list[Index] = strides,
                ) -> None:
                    offset = fn.mul(index, dtype.itemsize)
                    value = _pooled(fn, op.fn, dtype, fn.at(base, offset), lanes, sizes, strides)
                    store_value(fn, dtype, value, fn.at(target, offset), lanes)

                in_vectors(fn, 0, length, lanes, piece)


def _window(fn: Fn, index: Index, stride: int, before: Index, size: int, extent: Index) -> tuple[Index, Index]:
    """Return the part of a window that lies in the image."""
    start = fn.sub(fn.mul(index, stride), before)
    low = fn.maximum(start, 0)
    return low, fn.maximum(low, fn.minimum(fn.add(start, size), extent))


def _pooled(
    fn: Fn, kind: PoolFn, dtype: DType, base: ir.Value, lanes: int, sizes: list[Index], strides: list[Index]
) -> ir.Value:
    wide = dtype if dtype.is_float or kind is PoolFn.MAX else DType.INT64

    def load(offset: Index) -> ir.Value:
        value = load_value(fn, dtype, fn.at(base, fn.mul(offset, dtype.itemsize)), lanes)
        return value if wide is dtype else cast_value(fn, value, dtype, wide)

    match kind:
        case PoolFn.MAX:
            return nested(fn, "max", dtype, lanes, sizes, strides, 0, load)
        case PoolFn.AVG:
            total = nested(fn, "sum", wide, lanes, sizes, strides, 0, load)
            average = divide_by_count(fn, wide, total, fn.maximum(fn.mul(sizes[0], sizes[1]), 1))
            return average if wide is dtype else cast_value(fn, average, wide, dtype)
        case _:
            assert_never(kind)
