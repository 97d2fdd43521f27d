"""Resize and arg-max in one: labels without the resized image.

Between two neighbouring rows and columns of the operand lies a *cell* of result pixels, all interpolated from the same
four corners.  A class that leads at all four corners by more than the roundings can take away
(:func:`smalti.kernels.resize.axis.gap_limit`) leads in the whole cell, which is then filled.  In other cells the
classes that may lead somewhere are interpolated in registers.  Every label equals that of the plain composition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.kernels.elementwise.kernel import computes
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.resize.axis import Axis
from smalti.kernels.resize.cells import CellWriter, Corners
from smalti.kernels.resize.kernel import BILINEAR
from smalti.kernels.resize.rows import RowCache, stats_bytes
from smalti.kernels.resize.tables import CellTable
from smalti.kernels.takes import INTEGERS, Takes, takes
from smalti.target.target import Target

BAND = 32
"""Result rows of one work item."""


@dataclass(frozen=True, slots=True)
class ResizeArgMaxKernel:
    """ResizeArgMax with one or two bilinear stages."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.ResizeArgMax, "crop", stages=BILINEAR, dtype=INTEGERS),)
    name: str = "resize_argmax"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is a fused resize and arg-max with an integer result."""
        if not isinstance(node.op, ops.ResizeArgMax) or not node.type.dtype.is_integer:
            return False
        return computes(node.x.type.dtype)

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Return the plan: scratch for the tables, the two rows' statistics, a cell's classes and stage-one rows."""
        op = attributes(node, ops.ResizeArgMax)
        columns, channels = _grid(node, op)[1], node.x.type.shape[3]
        rows = columns * channels * 8 if len(op.stages) == 2 else 0
        tables = (CellTable.bytes_for(op.crop[1]), CellTable.bytes_for(BAND))
        return KernelPlan((0,), (), (*tables, stats_bytes(columns), channels * 4 + 64, rows + 64))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a band of result rows."""
        fn, op = e.fn, attributes(node, ops.ResizeArgMax)
        x = node.x.type
        last = op.stages[-1]
        grid = _grid(node, op)
        vertical = Axis.make(e, last, grid[0], last.size[0])
        horizontal = Axis.make(e, last, grid[1], last.size[1])
        channels = e.size(x.shape[3])
        height, width = e.size(op.crop[0]), e.size(op.crop[1])
        result = e.result()
        across, down = CellTable(e, e.scratch(0), op.crop[1]), CellTable(e, e.scratch(1), BAND)
        first = _first_stage(e, node, op)
        cache = RowCache.make(e, x.dtype, e.operand(0), horizontal.before, channels, e.scratch(2), e.scratch(4), first)
        writer = CellWriter(e, cache.dtype, op.dtype, channels, width, across, down, e.scratch(3))
        bands = fn.ceil_div(height, BAND)
        line = fn.mul(width, op.dtype.itemsize)
        source_rows = e.size(x.shape[1])
        with e.parallel(fn.mul(e.size(x.shape[0]), bands)) as item:
            image, start = fn.div(item, bands), fn.mul(fn.mod(item, bands), BAND)
            count = fn.minimum(BAND, fn.sub(height, start))
            cells_across = across.fill(fn, horizontal, 0, width)
            cells_down = down.fill(fn, vertical, start, count)
            cache.forget(fn)
            target = fn.at(result, fn.mul(fn.add(fn.mul(image, height), start), line))
            with fn.loop(0, cells_down) as cell:
                y_low, y_high, floor = down.cell(fn, cell)
                upper, lower = vertical.clamp(fn, floor), vertical.clamp(fn, fn.add(floor, 1))
                lines = [cache.need(fn, fn.mul(image, source_rows), row) for row in (upper, lower)]
                with fn.loop(0, cells_across) as column:
                    x_low, x_high, left = across.cell(fn, column)
                    columns = (horizontal.clamp(fn, left), horizontal.clamp(fn, fn.add(left, 1)))
                    corners = Corners(lines[0], lines[1], columns[0], columns[1])
                    exact = (vertical, horizontal, start)
                    writer.write(fn, target, corners, (y_low, y_high, x_low, x_high), exact)


def _grid(node: Node, op: ops.ResizeArgMax) -> tuple[int | Dim, int | Dim]:
    """Return height and width of the image that the last stage reads."""
    if len(op.stages) == 2:
        return op.stages[0].size
    shape = node.x.type.shape
    return shape[1], shape[2]


def _first_stage(e: StepEmitter, node: Node, op: ops.ResizeArgMax) -> tuple[Axis, Axis] | None:
    if len(op.stages) == 1:
        return None
    stage, shape = op.stages[0], node.x.type.shape
    return Axis.make(e, stage, shape[1], stage.size[0]), Axis.make(e, stage, shape[2], stage.size[1])
