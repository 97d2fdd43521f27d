"""Elements and pieces written to computed positions; an update outside changes nothing.

Updates of one element come one after the other, so work is split over the places that they can reach, never over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, ScatterFn
from smalti.kernels.data.runs import copy_run
from smalti.kernels.elementwise.functions import binary_value
from smalti.kernels.elementwise.kernel import computes
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.picking.position import is_inside, load_position
from smalti.kernels.takes import Takes, takes
from smalti.kernels.values import load_value, store_value
from smalti.kernels.walk import Index, c_strides, decompose, dot, in_vectors
from smalti.llvm.builder import I1, Fn
from smalti.numerics import DType
from smalti.target.target import Target

COMBINED = {
    ScatterFn.ADD: BinaryFn.ADD,
    ScatterFn.MUL: BinaryFn.MUL,
    ScatterFn.MAXIMUM: BinaryFn.MAXIMUM,
    ScatterFn.MINIMUM: BinaryFn.MINIMUM,
}
FUNCTIONS = frozenset((ScatterFn.SET, *COMBINED))
BLOCK = 4096
"""Elements of a piece that one thread changes."""


def scatters(node: Node, fn: ScatterFn) -> bool:
    """Whether there is code for the element type: sums of bfloat16 would be rounded after each update."""
    dtype = node.type.dtype
    return fn is ScatterFn.SET or (computes(dtype) and dtype not in (DType.BFLOAT16, DType.BOOL))


def update_run(
    fn: Fn, target: Target, dtype: DType, how: ScatterFn, updates: ir.Value, result: ir.Value, length: Index
) -> None:
    """Change ``length`` consecutive elements."""
    if how is ScatterFn.SET:
        copy_run(fn, target, dtype.itemsize, updates, result, length)
        return
    kind = COMBINED.get(how)
    if kind is None:
        raise CompilerError(f"no code for {how.value} of updates")

    def piece(index: Index, width: int) -> None:
        offset = fn.mul(index, dtype.itemsize)
        old, new = (load_value(fn, dtype, fn.at(base, offset), width) for base in (result, updates))
        store_value(fn, dtype, binary_value(fn, kind, old, new, dtype), fn.at(result, offset), width)

    in_vectors(fn, 0, length, target.vector_bits // 8 // max(dtype.itemsize, 4), piece)


@dataclass(frozen=True, slots=True)
class ScatterNdKernel(ReadsAll):
    """Pieces written to positions of many dimensions: a thread has a block of every piece."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.ScatterNd, fn=FUNCTIONS),)
    name: str = "scatter_nd"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether there is code for the function of the element type."""
        return isinstance(node.op, ops.ScatterNd) and scatters(node, node.op.fn)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        fn, how = e.fn, attributes(node, ops.ScatterNd).fn
        x, indices, _ = (n.type for n in node.inputs)
        itemsize, depth = x.dtype.itemsize, int(str(indices.shape[-1]))
        extents = [e.size(s) for s in x.shape[:depth]]
        outer, inner = e.size(product(x.shape[:depth])), e.size(product(x.shape[depth:]))
        rows = e.size(product(indices.shape[:-1]))
        source, table, updates, result = e.operand(0), e.operand(1), e.operand(2), e.result()
        blocks = fn.ceil_div(inner, BLOCK)
        with e.parallel(blocks) as item:
            first = fn.mul(item, BLOCK)
            length = fn.minimum(BLOCK, fn.sub(inner, first))

            def rows_of_a_block() -> None:
                with fn.loop(0, outer) as piece:
                    at = fn.mul(fn.add(fn.mul(piece, inner), first), itemsize)
                    copy_run(fn, e.target, itemsize, fn.at(source, at), fn.at(result, at), length)

            fn.choose(
                fn.compare("==", blocks, 1),
                lambda: copy_run(fn, e.target, itemsize, source, result, fn.mul(outer, inner)),
                rows_of_a_block,
            )
            with fn.loop(0, rows) as row:
                place: Index = 0
                inside: ir.Value = ir.Constant(I1, 1)
                for i, extent in enumerate(extents):
                    position = load_position(fn, indices.dtype, table, fn.add(fn.mul(row, depth), i), extent)
                    inside = fn.b.and_(inside, is_inside(fn, position, extent))
                    place = fn.add(fn.mul(place, extent), position)
                with fn.when(inside):
                    read = fn.at(updates, fn.mul(fn.add(fn.mul(row, inner), first), itemsize))
                    written = fn.at(result, fn.mul(fn.add(fn.mul(place, inner), first), itemsize))
                    update_run(fn, e.target, x.dtype, how, read, written, length)


@dataclass(frozen=True, slots=True)
class ScatterElementsKernel(ReadsAll):
    """One element written for each index: a thread has all that stands before the axis in one place."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.ScatterElements, "axis", fn=FUNCTIONS),)
    name: str = "scatter_elements"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether there is code for the function of the element type."""
        return isinstance(node.op, ops.ScatterElements) and scatters(node, node.op.fn)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        fn, op = e.fn, attributes(node, ops.ScatterElements)
        x, indices, _ = (n.type for n in node.inputs)
        axis, itemsize = op.axis, x.dtype.itemsize
        block, extent = e.size(product(x.shape[axis:])), e.size(x.shape[axis])
        each = e.size(product(indices.shape[axis:]))
        before, there = ([e.size(s) for s in t.shape[:axis]] for t in (x, indices))
        behind = [e.size(s) for s in indices.shape[axis:]]
        strides = [e.size(s) for s in c_strides(x.shape)[axis:]]
        firsts = [e.size(s) for s in c_strides(indices.shape)[:axis]]
        source, table, updates, result = e.operand(0), e.operand(1), e.operand(2), e.result()
        with e.parallel(e.size(product(x.shape[:axis]))) as item:
            at = fn.mul(item, block)
            target = fn.at(result, fn.mul(at, itemsize))
            copy_run(fn, e.target, itemsize, fn.at(source, fn.mul(at, itemsize)), target, block)
            inside: ir.Value = ir.Constant(I1, 1)
            start: Index = 0
            if before:
                places = decompose(fn, item, before)
                for place, size in zip(places, there, strict=True):
                    inside = fn.b.and_(inside, fn.compare("<", place, size))
                start = dot(fn, places, firsts)
            with fn.when(inside), fn.loop(0, each) as i:
                number = fn.add(start, i)
                position = load_position(fn, indices.dtype, table, number, extent)
                _, *rest = decompose(fn, i, behind)
                with fn.when(is_inside(fn, position, extent)):
                    place = dot(fn, [position, *rest], strides)
                    read = fn.at(updates, fn.mul(number, itemsize))
                    update_run(fn, e.target, x.dtype, op.fn, read, fn.at(target, fn.mul(place, itemsize)), 1)
