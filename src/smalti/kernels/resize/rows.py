"""The two operand rows that a row of cells lies between, and what is known of each of their pixels."""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from smalti.ir.dims import Dim
from smalti.kernels.argmax import load_spaced
from smalti.kernels.elementwise.functions import cast_value
from smalti.kernels.elementwise.mathfn import magnitude
from smalti.kernels.kernel import StepEmitter
from smalti.kernels.resize.axis import Axis, infinity
from smalti.kernels.resize.kernel import blend_pixel
from smalti.kernels.values import combine_values, number
from smalti.kernels.walk import Index, in_vectors
from smalti.llvm.builder import I32, I64, Fn, vector
from smalti.numerics import DType

STATS = 3
"""Words for each pixel: label, gap, magnitude."""


def stats_bytes(columns: int | Dim) -> int | Dim:
    """Return the bytes of two rows' statistics and the numbers of the rows."""
    return columns * (2 * STATS * 4) + 16


@dataclass(frozen=True, slots=True)
class Line:
    """One row: its pixels, and for each pixel the label, its lead over the second class and the largest magnitude."""

    row: Index
    pixels: ir.Value
    labels: ir.Value
    gaps: ir.Value
    magnitudes: ir.Value


@dataclass(frozen=True, slots=True)
class RowCache:
    """Two rows by the parity of their number, so neighbours never displace each other.

    With ``first`` (the axes of a first stage) rows are those of its result, computed into ``rows`` when needed.
    """

    dtype: DType
    source_dtype: DType
    source: ir.Value
    columns: Index
    channels: Index
    stats: ir.Value
    rows: ir.Value
    first: tuple[Axis, Axis] | None
    lanes: int

    @classmethod
    def make(
        cls,
        e: StepEmitter,
        dtype: DType,
        source: ir.Value,
        columns: Index,
        channels: Index,
        stats: ir.Value,
        rows: ir.Value,
        first: tuple[Axis, Axis] | None,
    ) -> RowCache:
        """Return the cache of a step."""
        kind = dtype if first is None else DType.FLOAT32
        return cls(kind, dtype, source, columns, channels, stats, rows, first, e.target.vector_bits // 32)

    def forget(self, fn: Fn) -> None:
        """Empty the cache (at the start of a work item)."""
        for slot in (0, 8):
            fn.store(fn.i64(-1), fn.at(self.stats, slot))

    def need(self, fn: Fn, image_row: Index, row: Index) -> Line:
        """Return a row of the image whose operand rows begin at ``image_row``, computing what the cache lacks."""
        slot = fn.mod(row, 2)
        tag = fn.at(self.stats, fn.mul(slot, 8))
        words = fn.mul(slot, fn.mul(self.columns, STATS))
        base = fn.at(self.stats, fn.add(16, fn.mul(words, 4)))
        step = fn.mul(self.columns, 4)
        line_bytes = fn.mul(fn.mul(self.columns, self.channels), self.dtype.itemsize)
        if self.first is None:
            pixels = fn.at(self.source, fn.mul(fn.add(image_row, row), line_bytes))
        else:
            pixels = fn.at(self.rows, fn.mul(slot, line_bytes))
        line = Line(row, pixels, base, fn.at(base, step), fn.at(base, fn.mul(step, 2)))
        with fn.when(fn.compare("!=", fn.load(I64, tag), row)):
            fn.store(fn.i64(row), tag)
            if self.first is not None:
                self._first_stage(fn, image_row, row, pixels, self.first)
            self._statistics(fn, line)
        return line

    def _first_stage(self, fn: Fn, image_row: Index, row: Index, target: ir.Value, axes: tuple[Axis, Axis]) -> None:
        vertical, horizontal = axes
        y = vertical.source(fn, row)
        line = fn.mul(fn.mul(horizontal.before, self.channels), self.source_dtype.itemsize)
        lines = (
            fn.at(self.source, fn.mul(fn.add(image_row, y.lower), line)),
            fn.at(self.source, fn.mul(fn.add(image_row, y.upper), line)),
        )
        with fn.loop(0, self.columns) as column:
            blend_pixel(
                fn,
                self.source_dtype,
                lines,
                y.fraction,
                horizontal,
                column,
                self.channels,
                target,
                self.lanes,
            )

    def _statistics(self, fn: Fn, line: Line) -> None:
        """Find label, lead and magnitude, several pixels at once."""

        def piece(index: Index, width: int) -> None:
            b = fn.b
            pixel = fn.at(line.pixels, fn.mul(fn.mul(index, self.channels), self.dtype.itemsize))

            def load(channel: Index) -> ir.Value:
                address = fn.at(pixel, fn.mul(channel, self.dtype.itemsize))
                return cast_value(
                    fn, load_spaced(fn, self.dtype, address, self.channels, width), self.dtype, DType.FLOAT32
                )

            def step(channel: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
                best, second, label, largest = values
                value = load(channel)
                better = b.fcmp_ordered(">", value, best)
                runner_up = b.select(b.fcmp_ordered(">", value, second), value, second)
                return [
                    b.select(better, value, best),
                    b.select(better, best, runner_up),
                    b.select(better, fn.splat(b.trunc(channel, I32), width), label),
                    combine_values(fn, "max", largest, magnitude(fn, value)),
                ]

            start = load(0)
            initial = [start, infinity(fn, width), number(vector(I32, width), 0), magnitude(fn, start)]
            best, second, label, largest = fn.loop_carry(1, self.channels, 1, initial, step)
            for target, value in (
                (line.labels, label),
                (line.gaps, b.fsub(best, second)),
                (line.magnitudes, largest),
            ):
                fn.store(value, fn.at(target, fn.mul(index, 4)))

        in_vectors(fn, 0, self.columns, self.lanes, piece)
