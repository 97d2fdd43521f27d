"""Padding with elements of the tensor itself, however wide: its border, or the other end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.ir.ops import PadMode
from smalti.kernels.data.runs import copy_run
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.takes import Takes, takes
from smalti.kernels.walk import Index, c_strides, decompose, rows_per_item
from smalti.llvm.builder import Fn


@dataclass(frozen=True, slots=True)
class PadAroundKernel(ReadsAll):
    """Pad of any element type by EDGE or WRAP."""

    takes: ClassVar[tuple[Takes, ...]] = (
        takes(ops.Pad, "amounts", "value", mode=frozenset((PadMode.EDGE, PadMode.WRAP))),
    )
    name: str = "pad_around"

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: a row is everything behind the last padded dimension."""
        fn, op, itemsize = e.fn, attributes(node, ops.Pad), node.type.dtype.itemsize
        shape = node.inputs[0].type.shape
        padded = [i for i, pair in enumerate(op.amounts) if pair != (0, 0)]
        last = padded[-1] + 1 if padded else 0
        inner = e.size(product(shape[last:]))
        sizes, inside = [e.size(s) for s in node.type.shape[:last]], [e.size(s) for s in shape[:last]]
        before = [e.size(pair[0]) for pair in op.amounts[:last]]
        strides = [e.size(s) for s in c_strides(shape)[:last]]
        source, result = e.operand(0), e.result()
        rows = e.size(product(node.type.shape[:last]))
        per_item = rows_per_item(fn, inner, itemsize)
        with e.parallel(fn.div(fn.add(rows, fn.sub(per_item, 1)), per_item)) as item:
            start = fn.mul(item, per_item)
            with fn.loop(start, fn.minimum(fn.add(start, per_item), rows)) as row:
                offset: Index = 0
                places = decompose(fn, row, sizes) if sizes else []
                for index, first, size, stride in zip(places, before, inside, strides, strict=True):
                    offset = fn.add(offset, fn.mul(_taken(fn, op.mode, index, first, size), stride))
                target = fn.at(result, fn.mul(fn.mul(row, inner), itemsize))
                copy_run(fn, e.target, itemsize, fn.at(source, fn.mul(offset, itemsize)), target, inner)


def _taken(fn: Fn, mode: PadMode, index: Index, first: Index, size: Index) -> Index:
    """Return which element stands at an index of the result, whose padding has ``first`` elements before."""
    if mode is PadMode.EDGE:
        return fn.maximum(0, fn.minimum(fn.sub(index, first), fn.sub(size, 1)))
    if mode is PadMode.WRAP:
        rounds = fn.mul(fn.div(fn.sub(fn.add(first, size), 1), size), size)
        return fn.mod(fn.add(index, fn.sub(rounds, first)), size)
    raise CompilerError(f"no code for a padding by {mode.value}")
