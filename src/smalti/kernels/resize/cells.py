"""Writing the labels of one cell: filled, interpolated in registers, or (with infinities or NaN) pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llvmlite import ir

from smalti.kernels.argmax import first_largest
from smalti.kernels.elementwise.functions import cast_value
from smalti.kernels.kernel import StepEmitter
from smalti.kernels.resize.axis import LARGEST, Axis, blend, gap_limit, infinity
from smalti.kernels.resize.kernel import load_float
from smalti.kernels.resize.rows import Line
from smalti.kernels.resize.tables import CellTable
from smalti.kernels.values import combine_values, number
from smalti.kernels.walk import Index
from smalti.llvm.builder import F32, I1, I32, I64, Fn, vector
from smalti.numerics import DType


@dataclass(frozen=True, slots=True)
class Corners:
    """The four operand pixels around a cell."""

    upper: Line
    lower: Line
    left: Index
    right: Index


Box = tuple[ir.Value, ir.Value, ir.Value, ir.Value]
"""first row, row behind, first column, column behind (rows counted in the band)"""
Exact = tuple[Axis, Axis, Index]
"""vertical axis, horizontal axis, first row of the band"""


class CellWriter:
    """Writes cells from left to right: a vector may run over a cell's right edge, where the next cell writes again."""

    def __init__(
        self,
        e: StepEmitter,
        dtype: DType,
        label_dtype: DType,
        channels: Index,
        width: Index,
        across: CellTable,
        down: CellTable,
        candidates: ir.Value,
    ) -> None:
        self.dtype = dtype
        self.label_dtype = label_dtype
        self.channels = channels
        self.width = width
        self.across = across
        self.down = down
        self.candidates = candidates
        self.lanes = 8 if e.target.vector_bits >= 256 else 4
        self.rows = 8 if e.target.vector_registers >= 32 else 4

    def write(self, fn: Fn, target: ir.Value, corners: Corners, box: Box, exact: Exact) -> None:
        """Write the labels of a cell; ``target`` is the first row of the band."""
        pixels = [(line, column) for line in (corners.upper, corners.lower) for column in (corners.left, corners.right)]
        labels = [fn.load(I32, fn.at(line.labels, fn.mul(c, 4))) for line, c in pixels]
        gaps = [fn.load(F32, fn.at(line.gaps, fn.mul(c, 4))) for line, c in pixels]
        largest = _reduce(fn, "max", [fn.load(F32, fn.at(line.magnitudes, fn.mul(c, 4))) for line, c in pixels])
        limit = gap_limit(fn, largest)
        finite = fn.b.fcmp_ordered("<", largest, fn.f32(LARGEST))
        sure: ir.Value = finite
        for label, gap in zip(labels, gaps, strict=True):
            sure = fn.b.and_(sure, fn.b.icmp_signed("==", label, labels[0]))
            sure = fn.b.and_(sure, fn.b.fcmp_ordered(">", gap, limit))

        def interpolate() -> None:
            addresses = [
                fn.at(line.pixels, fn.mul(fn.mul(c, self.channels), self.dtype.itemsize)) for line, c in pixels
            ]
            fn.choose(
                finite,
                lambda: self._blend(fn, target, addresses, labels[0], limit, box),
                lambda: self._pixels(fn, target, corners, box, exact),
            )

        fn.choose(sure, lambda: self._fill(fn, target, labels[0], box), interpolate)

    def _address(self, fn: Fn, target: ir.Value, row: Index, column: Index) -> ir.Value:
        position = fn.add(fn.mul(row, self.width), column)
        return fn.at(target, fn.mul(position, self.label_dtype.itemsize))

    def _cut(self, fn: Fn, column: Index, write: Callable[[ir.Value], None]) -> None:
        """Run ``write(lane)`` for the lanes that are left of the image's right edge."""
        with fn.loop(0, fn.sub(self.width, column)) as lane:
            write(lane)

    def _fits(self, fn: Fn, column: Index) -> ir.Value:
        return fn.compare("<=", fn.add(column, self.lanes), self.width)

    def _fill(self, fn: Fn, target: ir.Value, leader: ir.Value, box: Box) -> None:
        y_low, y_high, x_low, x_high = box
        label = cast_value(fn, leader, DType.INT32, self.label_dtype)
        labels = fn.splat(label, self.lanes)

        def whole(column: ir.Value) -> None:
            with fn.loop(y_low, y_high) as row:
                fn.store(labels, self._address(fn, target, row, column))

        def cut(column: ir.Value) -> None:
            with fn.loop(y_low, y_high) as row:
                self._cut(
                    fn, column, lambda lane: fn.store(label, self._address(fn, target, row, fn.add(column, lane)))
                )

        with fn.loop(x_low, x_high, self.lanes) as column:
            fn.choose(self._fits(fn, column), lambda: whole(column), lambda: cut(column))

    def _blend(
        self, fn: Fn, target: ir.Value, addresses: Sequence[ir.Value], leader: ir.Value, limit: ir.Value, box: Box
    ) -> None:
        """Interpolate the classes that may lead somewhere in the cell."""
        y_low, y_high, x_low, x_high = box
        count = self._select(fn, addresses, leader, limit)

        def store(first: ir.Value, column: Index, values: Sequence[ir.Value]) -> None:
            for i, value in enumerate(values):
                row = fn.add(first, i)
                with fn.when(fn.compare("<", row, y_high)):
                    fn.store(value, self._address(fn, target, row, column))

        def cut(first: ir.Value, column: ir.Value, labels: Sequence[ir.Value]) -> None:
            def lane_of_all(lane: ir.Value) -> None:
                position = fn.b.trunc(lane, I32)
                store(first, fn.add(column, lane), [fn.b.extract_element(v, position) for v in labels])

            self._cut(fn, column, lane_of_all)

        with fn.loop(x_low, x_high, self.lanes) as column:
            fits = self._fits(fn, column)
            along = self.across.fraction(fn, column, self.lanes)
            with fn.loop(y_low, y_high, self.rows) as first:
                tile = self._tile(fn, addresses, count, along, first)
                labels = [cast_value(fn, v, DType.INT32, self.label_dtype) for v in tile]
                fn.choose(fits, lambda: store(first, column, labels), lambda: cut(first, column, labels))

    def _select(self, fn: Fn, addresses: Sequence[ir.Value], leader: ir.Value, limit: ir.Value) -> ir.Value:
        """List the classes that the upper left corner's leader does not surely beat; return how many there are."""
        size = self.dtype.itemsize
        chosen = fn.b.sext(leader, I64)
        levels = [load_float(fn, self.dtype, fn.at(a, fn.mul(chosen, size)), 1) for a in addresses]

        def step(channel: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
            beaten: ir.Value = ir.Constant(I1, 1)
            for address, level in zip(addresses, levels, strict=True):
                value = load_float(fn, self.dtype, fn.at(address, fn.mul(channel, size)), 1)
                beaten = fn.b.and_(beaten, fn.b.fcmp_ordered(">", fn.b.fsub(level, value), limit))
            fn.store(fn.b.trunc(channel, I32), fn.at(self.candidates, fn.mul(values[0], 4)))
            return [fn.b.add(values[0], fn.b.zext(fn.b.not_(beaten), I64))]

        return fn.loop_carry(0, self.channels, 1, [fn.i64(0)], step)[0]

    def _tile(
        self, fn: Fn, addresses: Sequence[ir.Value], count: ir.Value, along: ir.Value, first: Index
    ) -> list[ir.Value]:
        """Return the labels of ``rows`` x ``lanes`` pixels."""
        lanes, rows = self.lanes, self.rows
        fractions = [fn.splat(self.down.fraction(fn, fn.add(first, i)), lanes) for i in range(rows)]

        def step(number_: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
            channel = fn.load(I32, fn.at(self.candidates, fn.mul(number_, 4)))
            offset = fn.mul(fn.b.sext(channel, I64), self.dtype.itemsize)
            tl, tr, bl, br = (fn.splat(load_float(fn, self.dtype, fn.at(a, offset), 1), lanes) for a in addresses)
            upper, lower = blend(fn, tl, tr, along), blend(fn, bl, br, along)
            here = fn.splat(channel, lanes)
            best, labels = [], []
            for fraction, old, label in zip(fractions, values[:rows], values[rows:], strict=True):
                value = blend(fn, upper, lower, fraction)
                better = fn.b.fcmp_ordered(">", value, old)
                best.append(fn.b.select(better, value, old))
                labels.append(fn.b.select(better, here, label))
            return [*best, *labels]

        initial = [infinity(fn, lanes)] * rows + [number(vector(I32, lanes), 0)] * rows
        return fn.loop_carry(0, count, 1, initial, step)[rows:]

    def _pixels(self, fn: Fn, target: ir.Value, corners: Corners, box: Box, exact: Exact) -> None:
        """With infinities or NaN the weights of zero matter: take each pixel's own neighbours."""
        y_low, y_high, x_low, x_high = box
        vertical, horizontal, first = exact
        size = self.dtype.itemsize
        with fn.loop(y_low, y_high) as row:
            y = vertical.source(fn, fn.add(first, row))
            lines = []
            for position in (y.lower, y.upper):
                is_upper = fn.compare("==", position, corners.upper.row)
                lines.append(fn.b.select(is_upper, corners.upper.pixels, corners.lower.pixels))
            with fn.loop(x_low, x_high) as column:
                x = horizontal.source(fn, column)
                offsets = [fn.mul(fn.mul(p, self.channels), size) for p in (x.lower, x.upper)]

                def value(
                    channel: Index,
                    lines: list[ir.Value] = lines,
                    offsets: list[Index] = offsets,
                    fraction: tuple[ir.Value, ir.Value] = (x.fraction, y.fraction),
                ) -> ir.Value:
                    across = []
                    for line in lines:
                        pair = [fn.at(fn.at(line, o), fn.mul(channel, size)) for o in offsets]
                        left, right = (load_float(fn, self.dtype, a, 1) for a in pair)
                        across.append(blend(fn, left, right, fraction[0]))
                    return blend(fn, across[0], across[1], fraction[1])

                label = first_largest(fn, DType.FLOAT32, self.channels, 1, value)
                label = cast_value(fn, label, DType.INT32, self.label_dtype)
                fn.store(label, self._address(fn, target, row, column), self.label_dtype.itemsize)


def _reduce(fn: Fn, how: str, values: Sequence[ir.Value]) -> ir.Value:
    total = values[0]
    for value in values[1:]:
        total = combine_values(fn, how, total, value)
    return total
