"""Positions of the best numbers along an axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.kernels.elementwise.kernel import computes
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.takes import Takes, takes
from smalti.kernels.values import bits_type, is_float_type, is_signed, load_value, number
from smalti.kernels.walk import rows_per_item
from smalti.llvm.builder import I64, Fn
from smalti.numerics import DType
from smalti.target.target import Target

HIGHEST, LOWEST = (1 << 63) - 1, -(1 << 63)


@dataclass(frozen=True, slots=True)
class TopKKernel(ReadsAll):
    """One after the other: each is the best of those behind the one before it, so no memory is needed."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.TopK, "k", "axis", "largest"),)
    name: str = "top_k"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the operand holds numbers."""
        return computes(node.inputs[0].type.dtype) and node.inputs[0].type.dtype is not DType.BOOL

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: a row is one line along the axis."""
        fn, op = e.fn, attributes(node, ops.TopK)
        x = node.inputs[0].type
        itemsize, extent, wanted = x.dtype.itemsize, e.size(x.shape[op.axis]), e.size(op.k)
        inner = e.size(product(x.shape[op.axis + 1 :]))
        rows = fn.mul(e.size(product(x.shape[: op.axis])), inner)
        source, result = e.operand(0), e.result()
        per_item = rows_per_item(fn, fn.mul(extent, wanted), itemsize)
        with e.parallel(fn.div(fn.add(rows, fn.sub(per_item, 1)), per_item)) as item:
            start = fn.mul(item, per_item)
            with fn.loop(start, fn.minimum(fn.add(start, per_item), rows)) as row:
                outer, lane = fn.div(row, inner), fn.mod(row, inner)
                line = fn.at(source, fn.mul(fn.add(fn.mul(fn.mul(outer, extent), inner), lane), itemsize))
                into = fn.at(result, fn.mul(fn.add(fn.mul(fn.mul(outer, wanted), inner), lane), 8))

                def best(i: ir.Value, last: list[ir.Value]) -> list[ir.Value]:
                    def compared(position: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
                        at = fn.at(line, fn.mul(fn.mul(position, inner), itemsize))
                        key = rank_of(fn, load_value(fn, x.dtype, at, 1), x.dtype, op.largest)
                        b = fn.b
                        tied = b.and_(fn.compare("==", key, last[0]), fn.compare(">", position, last[1]))
                        left = b.or_(fn.compare("<", key, last[0]), tied)
                        first = b.or_(fn.compare("<", values[1], 0), fn.compare(">", key, values[0]))
                        taken = b.and_(left, first)
                        return [b.select(taken, key, values[0]), b.select(taken, position, values[1])]

                    found = fn.loop_carry(0, extent, 1, [fn.i64(LOWEST), fn.i64(-1)], compared)
                    fn.store(found[1], fn.at(into, fn.mul(fn.mul(i, inner), 8)))
                    return found

                fn.loop_carry(0, wanted, 1, [fn.i64(HIGHEST), fn.i64(-1)], best)


def rank_of(fn: Fn, value: ir.Value, dtype: DType, largest: bool) -> ir.Value:
    """Return an integer that is the larger the better a number is; NaN is larger than every number, -0 equals 0."""
    b = fn.b
    if is_float_type(value.type):
        ints = bits_type(value.type)
        top = ints.width - 1
        zero = number(value.type, 0.0)
        bits = b.bitcast(b.select(b.fcmp_ordered("==", value, zero), zero, value), ints)
        # The bits of a number without its sign grow with it; a negative one has all but the sign turned round.
        turned = b.and_(b.ashr(bits, number(ints, top)), number(ints, (1 << top) - 1))
        unordered = b.fcmp_unordered("uno", value, value)
        value = b.select(unordered, number(ints, (1 << top) - 1), b.xor(bits, turned))
        value = value if ints == I64 else b.sext(value, I64)
    elif dtype is DType.UINT64:
        value = b.xor(value, number(I64, LOWEST))
    elif value.type != I64:
        value = b.sext(value, I64) if is_signed(dtype) else b.zext(value, I64)
    return value if largest else b.not_(value)
