"""Concatenation: row by row, one run of each operand after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.kernels.data.runs import copy_run
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.takes import Takes, takes
from smalti.kernels.walk import CHUNK_BYTES, rows_per_item


@dataclass(frozen=True, slots=True)
class ConcatKernel(ReadsAll):
    """Concat of any element type."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.Concat, "axis"),)
    name: str = "concat"

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        axis = attributes(node, ops.Concat).axis
        if product(node.type.shape[:axis]) == 1:
            self._one_row(e, node)
        else:
            self._rows(e, node, axis)

    def _one_row(self, e: StepEmitter, node: Node) -> None:
        fn, itemsize = e.fn, node.type.dtype.itemsize
        chunk = CHUNK_BYTES // itemsize
        lengths = [e.size(n.type.elements) for n in node.inputs]
        counts = [fn.ceil_div(length, chunk) for length in lengths]
        pointers = [e.operand(i) for i in range(len(lengths))]
        result = e.result()
        with e.parallel(fn.add(*counts)) as item:
            before, position = 0, 0
            for pointer, length, count in zip(pointers, lengths, counts, strict=True):
                mine = fn.b.and_(fn.compare(">=", item, before), fn.compare("<", item, fn.add(before, count)))
                with fn.when(mine):
                    start = fn.mul(fn.sub(item, before), chunk)
                    size = fn.minimum(chunk, fn.sub(length, start))
                    read = fn.at(pointer, fn.mul(start, itemsize))
                    written = fn.at(result, fn.mul(fn.add(position, start), itemsize))
                    copy_run(fn, e.target, itemsize, read, written, size)
                before, position = fn.add(before, count), fn.add(position, length)

    def _rows(self, e: StepEmitter, node: Node, axis: int) -> None:
        fn, itemsize = e.fn, node.type.dtype.itemsize
        runs = [e.size(product(n.type.shape[axis:])) for n in node.inputs]
        total = e.size(product(node.type.shape[axis:]))
        rows = e.size(product(node.type.shape[:axis]))
        pointers = [e.operand(i) for i in range(len(runs))]
        result = e.result()
        per_item = rows_per_item(fn, total, itemsize)
        with e.parallel(fn.div(fn.add(rows, fn.sub(per_item, 1)), per_item)) as item:
            start = fn.mul(item, per_item)
            with fn.loop(start, fn.minimum(fn.add(start, per_item), rows)) as row:
                position = fn.mul(row, total)
                for pointer, run in zip(pointers, runs, strict=True):
                    read = fn.at(pointer, fn.mul(fn.mul(row, run), itemsize))
                    copy_run(fn, e.target, itemsize, read, fn.at(result, fn.mul(position, itemsize)), run)
                    position = fn.add(position, run)
