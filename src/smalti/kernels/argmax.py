"""Index of the first largest element along an axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.kernels.elementwise.functions import cast_value
from smalti.kernels.elementwise.kernel import computes
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.takes import INTEGERS, Takes, takes
from smalti.kernels.values import is_float_type, is_signed, load_value, number, register_type, store_value
from smalti.kernels.walk import CHUNK_BYTES, Index, in_vectors
from smalti.llvm.builder import I32, Fn, vector
from smalti.numerics import DType
from smalti.target.target import Target


@dataclass(frozen=True, slots=True)
class ArgMaxKernel(ReadsAll):
    """ArgMax over any axis, several results at once; NaN counts as minus infinity."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.ArgMax, "axis", dtype=INTEGERS),)
    name: str = "argmax"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is an arg-max of numbers with an integer result."""
        if not isinstance(node.op, ops.ArgMax) or not node.type.dtype.is_integer:
            return False
        return computes(node.x.type.dtype)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a block of results."""
        fn, op = e.fn, attributes(node, ops.ArgMax)
        x = node.x.type
        lanes = e.target.vector_bits // 8 // max(x.dtype.itemsize, 4)
        outer, inner = product(x.shape[: op.axis]), product(x.shape[op.axis + 1 :])
        extent = e.size(x.shape[op.axis])
        source, result = e.operand(0), e.result()
        # Along the last axis neighbouring results lie ``extent`` apart, otherwise side by side.
        rows, length = (1, e.size(outer)) if inner == 1 else (e.size(outer), e.size(inner))
        step = 1 if inner == 1 else length
        block = max(lanes, CHUNK_BYTES // 32)
        blocks = fn.ceil_div(length, block)
        with e.parallel(fn.mul(rows, blocks)) as item:
            row, first = fn.div(item, blocks), fn.mul(fn.mod(item, blocks), block)
            size = fn.minimum(block, fn.sub(length, first))
            start = fn.mul(first, extent) if inner == 1 else fn.add(fn.mul(fn.mul(row, extent), length), first)
            base = fn.at(source, fn.mul(start, x.dtype.itemsize))
            target = fn.at(result, fn.mul(fn.add(fn.mul(row, length), first), op.dtype.itemsize))

            def piece(index: Index, width: int) -> None:
                def load(position: Index) -> ir.Value:
                    if inner == 1:
                        offset = fn.add(fn.mul(index, extent), position)
                        return load_spaced(fn, x.dtype, fn.at(base, fn.mul(offset, x.dtype.itemsize)), extent, width)
                    offset = fn.add(index, fn.mul(position, step))
                    return load_value(fn, x.dtype, fn.at(base, fn.mul(offset, x.dtype.itemsize)), width)

                labels = first_largest(fn, x.dtype, extent, width, load)
                labels = cast_value(fn, labels, DType.INT32, op.dtype)
                store_value(fn, op.dtype, labels, fn.at(target, fn.mul(index, op.dtype.itemsize)), width)

            in_vectors(fn, 0, size, lanes, piece)


def load_spaced(fn: Fn, dtype: DType, address: ir.Value, stride: Index, lanes: int) -> ir.Value:
    """Load ``lanes`` elements that lie ``stride`` elements apart."""
    apart = fn.mul(stride, dtype.itemsize)
    if lanes == 1:
        return load_value(fn, dtype, address, 1)
    value: ir.Value = ir.Constant(register_type(dtype, lanes), ir.Undefined)
    for lane in range(lanes):
        scalar = load_value(fn, dtype, fn.at(address, fn.mul(lane, apart)), 1)
        value = fn.b.insert_element(value, scalar, ir.Constant(I32, lane))
    return value


def first_largest(fn: Fn, dtype: DType, count: Index, lanes: int, load: Callable[[Index], ir.Value]) -> ir.Value:
    """Return the index (int32) of the first largest of ``load(0), ..., load(count - 1)`` in each lane."""
    indices = vector(I32, lanes)

    def step(position: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        best, label = values
        value = load(position)
        better = _is_larger(fn, dtype, value, best)
        here = fn.splat(fn.b.trunc(position, I32), lanes)
        return [fn.b.select(better, value, best), fn.b.select(better, here, label)]

    return fn.loop_carry(1, count, 1, [_without_nan(fn, load(0)), number(indices, 0)], step)[1]


def _is_larger(fn: Fn, dtype: DType, value: ir.Value, best: ir.Value) -> ir.Value:
    if is_float_type(value.type):
        return fn.b.fcmp_ordered(">", value, best)
    return (fn.b.icmp_signed if is_signed(dtype) else fn.b.icmp_unsigned)(">", value, best)


def _without_nan(fn: Fn, value: ir.Value) -> ir.Value:
    if not is_float_type(value.type):
        return value
    return fn.b.select(fn.b.fcmp_unordered("uno", value, value), number(value.type, -math.inf), value)


KERNELS = (ArgMaxKernel(),)
