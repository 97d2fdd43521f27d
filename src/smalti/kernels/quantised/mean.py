"""Mean of integers over dimensions: exact sums, then the float32 steps of the operation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from smalti.ir import ops
from smalti.ir.dims import bounds, product
from smalti.ir.graph import Node
from smalti.kernels.epilogue.emit import Finisher, Place, no_rows
from smalti.kernels.epilogue.steps import Epilogue, Quantise
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.reduce.kernel import reduced_dims
from smalti.kernels.reduce.loops import nested
from smalti.kernels.takes import Takes, takes
from smalti.kernels.values import load_value, register_type
from smalti.kernels.walk import Index, decompose, dot, in_vectors
from smalti.llvm.builder import F32, Fn, lanes_of, vector
from smalti.numerics import DType

VECTORS = 2
LARGEST_SUM = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class QuantisedMeanKernel(ReadsAll):
    """Work is split over results only; neighbouring results share vectors where the innermost dimension stays."""

    takes: ClassVar[tuple[Takes, ...]] = (
        takes(ops.QuantisedMean, "axes", "keep_dims", "zero_point", "multiplier", "scale", "result_zero_point"),
    )
    name: str = "i8_mean"

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a block of neighbouring results."""
        fn, op, dtype = e.fn, attributes(node, ops.QuantisedMean), node.x.type.dtype
        dims = reduced_dims(node, op.axes)
        kept, kept_strides = [e.size(s) for s in dims.kept], [e.size(s) for s in dims.kept_strides]
        reduced, strides = [e.size(s) for s in dims.reduced], [e.size(s) for s in dims.reduced_strides]
        inner: Index = kept[-1] if dims.last_kept else 1
        outer, outer_strides = (kept[:-1], kept_strides[:-1]) if dims.last_kept else (kept, kept_strides)
        rows = e.size(product(dims.kept[:-1] if dims.last_kept else dims.kept))
        count = e.size(product(dims.reduced))
        lanes = VECTORS * e.target.vector_bits // 32
        sums = _sum_type(node, op)
        finisher = Finisher(fn, e.target, Epilogue((Quantise(dtype, op.result_zero_point),), dtype))
        blocks = fn.ceil_div(inner, lanes)
        with e.parallel(fn.mul(rows, blocks)) as item:
            row, first = fn.div(item, blocks), fn.mul(fn.mod(item, blocks), lanes)
            offset = dot(fn, decompose(fn, row, outer), outer_strides) if outer else 0
            base = fn.at(e.operand(0), fn.mul(fn.add(offset, first), dtype.itemsize))
            target = fn.at(e.result(), fn.mul(fn.add(fn.mul(row, inner), first), dtype.itemsize))

            def piece(index: Index, width: int) -> None:
                def term(place: Index) -> ir.Value:
                    at = fn.at(base, fn.mul(fn.add(place, index), dtype.itemsize))
                    value = load_value(fn, dtype, at, width)
                    extend = fn.b.zext if dtype is DType.UINT8 else fn.b.sext
                    return extend(value, register_type(sums, width))

                total = nested(fn, "sum", sums, width, reduced, strides, 0, term)
                place = Place(fn.at(target, fn.mul(index, dtype.itemsize)), width, no_rows)
                finisher.store([_mean(fn, op, total, count)], place)

            in_vectors(fn, 0, fn.minimum(lanes, fn.sub(inner, first)), lanes, piece)


def _sum_type(node: Node, op: ops.QuantisedMean) -> DType:
    """Return an integer type that surely holds the sums."""
    source = node.x.type
    _, most = bounds(product(tuple(source.shape[axis] for axis in op.axes)))
    largest = max(abs(limit) for limit in source.dtype.limits)
    return DType.INT32 if most is not None and most * largest <= LARGEST_SUM else DType.INT64


def _mean(fn: Fn, op: ops.QuantisedMean, total: ir.Value, count: Index) -> ir.Value:
    lanes = lanes_of(total)
    floats = vector(F32, lanes)
    divisor = fn.splat(fn.b.sitofp(fn.i64(count), F32), lanes)
    steps = fn.b.fdiv(fn.b.sitofp(total, floats), divisor)
    return fn.b.fmul(fn.b.fsub(steps, fn.f32(float(op.zero_point), lanes)), fn.f32(op.multiplier, lanes))
