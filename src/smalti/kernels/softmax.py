"""Softmax over the last axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.kernels.elementwise import mathfn
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.reduce.loops import reduce_run
from smalti.kernels.takes import Takes, takes
from smalti.kernels.values import load_value, store_value
from smalti.kernels.walk import Index, in_vectors, rows_per_item
from smalti.llvm.builder import Fn
from smalti.numerics import DType
from smalti.target.target import Target


@dataclass(frozen=True, slots=True)
class SoftmaxKernel(ReadsAll):
    """``exp(x - max) / sum(exp(x - max))`` for float32 and float64."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.Softmax),)
    name: str = "softmax"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is a softmax."""
        return isinstance(node.op, ops.Softmax) and node.type.dtype in (DType.FLOAT32, DType.FLOAT64)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a group of rows."""
        fn, dtype = e.fn, node.type.dtype
        lanes = e.target.vector_bits // 8 // dtype.itemsize
        length = e.size(node.type.shape[-1])
        rows = e.size(product(node.type.shape[:-1]))
        source, result = e.operand(0), e.result()
        per_item = rows_per_item(fn, length, 2 * dtype.itemsize)
        with e.parallel(fn.div(fn.add(rows, fn.sub(per_item, 1)), per_item)) as item:
            start = fn.mul(item, per_item)
            with fn.loop(start, fn.minimum(fn.add(start, per_item), rows)) as row:
                offset = fn.mul(fn.mul(row, length), dtype.itemsize)
                _softmax_row(fn, dtype, fn.at(source, offset), fn.at(result, offset), length, lanes)


def _softmax_row(fn: Fn, dtype: DType, source: ir.Value, target: ir.Value, length: Index, lanes: int) -> None:
    largest = reduce_run(fn, "max", dtype, source, length, lanes)

    def power(index: Index, width: int) -> None:
        offset = fn.mul(index, dtype.itemsize)
        x = fn.b.fsub(load_value(fn, dtype, fn.at(source, offset), width), fn.splat(largest, width))
        store_value(fn, dtype, mathfn.exp(fn, x), fn.at(target, offset), width)

    in_vectors(fn, 0, length, lanes, power)
    total = reduce_run(fn, "sum", dtype, target, length, lanes)

    def share(index: Index, width: int) -> None:
        address = fn.at(target, fn.mul(index, dtype.itemsize))
        value = fn.b.fdiv(load_value(fn, dtype, address, width), fn.splat(total, width))
        store_value(fn, dtype, value, address, width)

    in_vectors(fn, 0, length, lanes, share)


KERNELS = (SoftmaxKernel(),)
