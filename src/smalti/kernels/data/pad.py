"""Padding: constant, reflected, symmetric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, assert_never

import numpy as np
from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.ir.ops import PadMode, Shape
from smalti.kernels.data.runs import copy_run, fill_run
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.takes import Takes, takes
from smalti.kernels.values import number, raw_type
from smalti.kernels.walk import Index, c_strides, decompose, rows_per_item
from smalti.llvm.builder import I1
from smalti.numerics import DType


@dataclass(frozen=True, slots=True)
class PadKernel(ReadsAll):
    """Pad of any element type."""

    takes: ClassVar[tuple[Takes, ...]] = (
        takes(
            ops.Pad,
            "amounts",
            "value",
            mode=frozenset((PadMode.CONSTANT, PadMode.REFLECT, PadMode.SYMMETRIC)),
        ),
    )
    name: str = "pad"

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a group of rows of the result."""
        op = attributes(node, ops.Pad)
        shape = node.x.type.shape
        padded = [i for i, pair in enumerate(op.amounts) if pair != (0, 0)]
        last = padded[-1] if padded else 0
        match op.mode:
            case PadMode.CONSTANT:
                self._constant(e, node, op, shape, last)
            case PadMode.REFLECT | PadMode.SYMMETRIC:
                self._mirrored(e, node, op, shape, last)
            case PadMode.EDGE | PadMode.WRAP:
                raise CompilerError(f"{op.mode.value} is the work of another kernel")
            case _:
                assert_never(op.mode)

    def _constant(self, e: StepEmitter, node: Node, op: ops.Pad, shape: Shape, last: int) -> None:
        """A row is the last padded dimension with everything behind it."""
        fn, itemsize = e.fn, node.type.dtype.itemsize
        tail = product(shape[last + 1 :])
        inner = e.size(product(shape[last:]))
        left, right = (e.size(tail * amount) for amount in (op.amounts[last] if op.amounts else (0, 0)))
        width = fn.add(left, inner, right)
        sizes = [e.size(s) for s in node.type.shape[:last]]
        inside = [e.size(s) for s in shape[:last]]
        before = [e.size(op.amounts[i][0]) for i in range(last)]
        strides = [e.size(s) for s in c_strides(shape)[:last]]
        source, result = e.operand(0), e.result()
        value = _fill_value(node.type.dtype, op.value)
        rows = e.size(product(node.type.shape[:last]))
        per_item = rows_per_item(fn, width, itemsize)
        with e.parallel(fn.div(fn.add(rows, fn.sub(per_item, 1)), per_item)) as item:
            start = fn.mul(item, per_item)
            with fn.loop(start, fn.minimum(fn.add(start, per_item), rows)) as row:
                target = fn.at(result, fn.mul(fn.mul(row, width), itemsize))
                within: ir.Value = ir.Constant(I1, 1)
                offset: Index = 0
                if sizes:
                    for index, first, size, stride in zip(
                        decompose(fn, row, sizes), before, inside, strides, strict=True
                    ):
                        index = fn.sub(index, first)
                        valid = fn.b.and_(fn.compare(">=", index, 0), fn.compare("<", index, size))
                        within = fn.b.and_(within, valid)
                        offset = fn.add(offset, fn.mul(index, stride))
                read = fn.at(source, fn.mul(offset, itemsize))

                def copied() -> None:
                    fill_run(fn, e.target, itemsize, value, target, left)
                    copy_run(fn, e.target, itemsize, read, fn.at(target, fn.mul(left, itemsize)), inner)
                    end = fn.at(target, fn.mul(fn.add(left, inner), itemsize))
                    fill_run(fn, e.target, itemsize, value, end, right)

                fn.choose(within, copied, lambda: fill_run(fn, e.target, itemsize, value, target, width))

    def _mirrored(self, e: StepEmitter, node: Node, op: ops.Pad, shape: Shape, last: int) -> None:
        """A row is everything behind the last padded dimension."""
        fn, itemsize = e.fn, node.type.dtype.itemsize
        inner = e.size(product(shape[last + 1 :]))
        sizes = [e.size(s) for s in node.type.shape[: last + 1]]
        inside = [e.size(s) for s in shape[: last + 1]]
        before = [e.size(op.amounts[i][0]) for i in range(last + 1)]
        strides = [e.size(s) for s in c_strides(shape)[: last + 1]]
        source, result = e.operand(0), e.result()
        repeat = 1 if op.mode is PadMode.SYMMETRIC else 0
        rows = e.size(product(node.type.shape[: last + 1]))
        per_item = rows_per_item(fn, inner, itemsize)
        with e.parallel(fn.div(fn.add(rows, fn.sub(per_item, 1)), per_item)) as item:
            start = fn.mul(item, per_item)
            with fn.loop(start, fn.minimum(fn.add(start, per_item), rows)) as row:
                offset: Index = 0
                for index, first, size, stride in zip(decompose(fn, row, sizes), before, inside, strides, strict=True):
                    index = fn.sub(index, first)
                    low = fn.sub(-repeat, index)
                    mirrored = fn.maximum(index, low)
                    high = fn.sub(fn.add(fn.mul(size, 2), repeat - 2), mirrored)
                    # A padding wider than the operand is an error of the graph, but must not read outside.
                    valid = fn.maximum(0, fn.minimum(fn.minimum(mirrored, high), fn.sub(size, 1)))
                    offset = fn.add(offset, fn.mul(valid, stride))
                target = fn.at(result, fn.mul(fn.mul(row, inner), itemsize))
                copy_run(fn, e.target, itemsize, fn.at(source, fn.mul(offset, itemsize)), target, inner)


def _fill_value(dtype: DType, value: float) -> ir.Constant:
    raw = np.asarray(value).astype(dtype.numpy)
    if dtype is DType.BFLOAT16:
        raw = (np.asarray(value, np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    bits = raw.view(np.dtype(f"u{dtype.itemsize}"))
    return number(raw_type(dtype.itemsize), int(bits))
