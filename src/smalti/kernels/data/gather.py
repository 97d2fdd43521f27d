"""Gather and size tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.kernels.data.runs import copy_run
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.takes import INTEGERS, Takes, takes
from smalti.kernels.walk import rows_per_item
from smalti.llvm.builder import I64, scalar_type


@dataclass(frozen=True, slots=True)
class GatherKernel(ReadsAll):
    """Gather of any element type.

    An index outside the operand takes the nearest element, where TensorFlow reports an error.
    """

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.Gather, "axis"),)
    name: str = "gather"

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: a row is one index of one outer element."""
        fn, axis = e.fn, attributes(node, ops.Gather).axis
        x, indices = (n.type for n in node.inputs)
        itemsize = x.dtype.itemsize
        inner = e.size(product(x.shape[axis + 1 :]))
        count, extent = e.size(indices.elements), e.size(x.shape[axis])
        outer = e.size(product(x.shape[:axis]))
        source, table, result = e.operand(0), e.operand(1), e.result()
        rows = fn.mul(outer, count)
        per_item = rows_per_item(fn, inner, itemsize)
        with e.parallel(fn.div(fn.add(rows, fn.sub(per_item, 1)), per_item)) as item:
            start = fn.mul(item, per_item)
            with fn.loop(start, fn.minimum(fn.add(start, per_item), rows)) as row:
                position = fn.mod(row, count)
                index = fn.load(scalar_type(indices.dtype), fn.at(table, fn.mul(position, indices.dtype.itemsize)))
                if index.type != I64:
                    index = fn.b.sext(index, I64)
                valid = fn.maximum(0, fn.minimum(index, fn.sub(extent, 1)))
                taken = fn.add(fn.mul(fn.div(row, count), extent), valid)
                read = fn.at(source, fn.mul(fn.mul(taken, inner), itemsize))
                copy_run(fn, e.target, itemsize, read, fn.at(result, fn.mul(fn.mul(row, inner), itemsize)), inner)


@dataclass(frozen=True, slots=True)
class SizeTensorKernel(ReadsAll):
    """Writes sizes as integers."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.SizeTensor, "values", "shape", dtype=INTEGERS),)
    name: str = "sizes"

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        fn, op = e.fn, attributes(node, ops.SizeTensor)
        type_ = scalar_type(op.dtype)
        result = e.result()
        values = [fn.i64(e.size(v)) for v in op.values]
        with e.parallel(1):
            for i, value in enumerate(values):
                fn.store(value if type_ == I64 else fn.b.trunc(value, type_), fn.at(result, i * op.dtype.itemsize))
