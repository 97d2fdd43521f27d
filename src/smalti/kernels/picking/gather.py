"""Elements and pieces picked by computed positions; a position outside takes the nearest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.kernels.data.runs import copy_run
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.picking.position import load_position, nearest
from smalti.kernels.takes import Takes, takes
from smalti.kernels.values import raw_type
from smalti.kernels.walk import Index, c_strides, collapse, for_each_run, rows_per_item


@dataclass(frozen=True, slots=True)
class GatherNdKernel(ReadsAll):
    """Pieces at positions of many dimensions, of any element type."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.GatherNd, "batch"),)
    name: str = "gather_nd"

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: a row is a piece."""
        fn, batch = e.fn, attributes(node, ops.GatherNd).batch
        x, indices = (n.type for n in node.inputs)
        itemsize, depth = x.dtype.itemsize, int(str(indices.shape[-1]))
        extents = [e.size(s) for s in x.shape[batch : batch + depth]]
        inner = e.size(product(x.shape[batch + depth :]))
        rows, each = e.size(product(indices.shape[:-1])), e.size(product(indices.shape[batch:-1]))
        source, table, result = e.operand(0), e.operand(1), e.result()
        per_item = rows_per_item(fn, inner, itemsize)
        with e.parallel(fn.div(fn.add(rows, fn.sub(per_item, 1)), per_item)) as item:
            start = fn.mul(item, per_item)
            with fn.loop(start, fn.minimum(fn.add(start, per_item), rows)) as row:
                place: Index = fn.div(row, each) if batch else 0
                for i, extent in enumerate(extents):
                    position = load_position(fn, indices.dtype, table, fn.add(fn.mul(row, depth), i), extent)
                    place = fn.add(fn.mul(place, extent), nearest(fn, position, extent))
                read = fn.at(source, fn.mul(fn.mul(place, inner), itemsize))
                copy_run(fn, e.target, itemsize, read, fn.at(result, fn.mul(fn.mul(row, inner), itemsize)), inner)


@dataclass(frozen=True, slots=True)
class GatherElementsKernel(ReadsAll):
    """One element for each index, of any element type."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.GatherElements, "axis"),)
    name: str = "gather_elements"

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: the operand is read as if its axis had no length, and the index says where along it."""
        fn, axis = e.fn, attributes(node, ops.GatherElements).axis
        x, indices = (n.type for n in node.inputs)
        itemsize, strides = x.dtype.itemsize, c_strides(x.shape)
        along, extent = e.size(strides[axis]), e.size(x.shape[axis])
        still = tuple(0 if i == axis else s for i, s in enumerate(strides))
        walk = collapse(indices.shape, (still, c_strides(indices.shape)))
        step, apart = (e.size(s) for s in walk.run_strides)
        source, table, result = e.operand(0), e.operand(1), e.result()

        def run(offsets: list[Index], length: Index) -> None:
            with fn.loop(0, length) as i:
                number = fn.add(offsets[1], fn.mul(i, apart))
                position = nearest(fn, load_position(fn, indices.dtype, table, number, extent), extent)
                place = fn.add(offsets[0], fn.mul(i, step), fn.mul(position, along))
                value = fn.load(raw_type(itemsize), fn.at(source, fn.mul(place, itemsize)))
                fn.store(value, fn.at(result, fn.mul(number, itemsize)))

        for_each_run(e, walk, max(itemsize, indices.dtype.itemsize), run)
