"""One result row of an integer depthwise convolution.

Taps outside the image read a row of zero points, so every result sums all taps.  Where a strip's columns fit into
registers, results that share columns follow one another: with dilation ``d`` those are ``x``, ``x + d``, ``x + 2d``...
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from llvmlite import ir

from smalti.kernels.epilogue.emit import Finisher, Place
from smalti.kernels.epilogue.steps import Epilogue
from smalti.kernels.kernel import FunctionEmitter
from smalti.kernels.quantised.strips import Filters, Strip, Strips, interleave, load_row, strip_dot
from smalti.llvm.builder import F32, I32, I64, PTR, vector

MOST_TAPS = 49
UNROLLED_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Geometry of a row; ``source_pixel`` and ``result_pixel`` are bytes between neighbouring pixels."""

    filters: Filters
    stride: int
    dilation: int
    source_pixel: int
    result_pixel: int
    epilogue: Epilogue

    @property
    def phases(self) -> int:
        """Return how many interleaved sequences of results share no column."""
        return self.dilation // gcd(self.stride, self.dilation)

    @property
    def advance(self) -> int:
        """Columns between neighbouring results of a phase."""
        return self.stride // gcd(self.stride, self.dilation)


ROW_ARGS = (PTR, PTR, PTR, PTR, PTR, I64, I64, I64, I64, I64, I64)
"""source row of tap 0 at x = 0, result row, weights, parameters, zero points, first tap row, end tap row, bytes between
tap rows, source width, result width, left padding"""


@dataclass(frozen=True, slots=True)
class RowSpec:
    """One result row of consecutive strips."""

    window: WindowSpec
    strips: tuple[Strips, ...]


@dataclass(frozen=True, slots=True)
class StripSpec:
    """One result row of one strip."""

    window: WindowSpec
    strip: Strip


def depthwise_row(e: FunctionEmitter, own: RowSpec) -> None:
    """Build the function that computes one result row of consecutive strips (arguments: ``ROW_ARGS``)."""
    fn, spec = e.fn, own.window
    source, result, weights, parameters, *rest = fn.args
    for run in own.strips:
        one = (Strips(run.strip, 1),)
        sizes = (
            run.strip.channels,
            run.strip.channels * spec.epilogue.itemsize,
            spec.filters.weight_bytes(e.target, one),
            spec.filters.parameter_bytes(one),
        )
        function = e.function(strip_row, StripSpec(spec, run.strip), ROW_ARGS)
        places = [source, result, weights, parameters]
        with fn.loop(0, run.count) as i:
            fn.call(function, *(fn.at(p, fn.mul(i, n)) for p, n in zip(places, sizes, strict=True)), *rest)
        source, result, weights, parameters = (fn.at(p, run.count * n) for p, n in zip(places, sizes, strict=True))
    fn.finish()


def strip_row(e: FunctionEmitter, own: StripSpec) -> None:
    """Build the function that computes one result row of one strip (arguments: ``ROW_ARGS``)."""
    filters = own.window.filters
    kind = _Sliding if filters.kh * filters.kw <= MOST_TAPS else _Looping
    kind(e, own).emit()


class _Row:
    """What both ways to compute a row share."""

    def __init__(self, e: FunctionEmitter, own: StripSpec) -> None:
        self.spec, self.strip, self.fn = own.window, own.strip, e.fn
        self.filters = self.spec.filters
        self.dot = strip_dot(e.target, self.strip)
        self.groups = self.filters.groups(self.dot)
        self.finisher = Finisher(self.fn, e.target, self.spec.epilogue)
        self.source, self.result, self.weights, self.parameters, self.zeros = self.fn.args[:5]
        self.low, self.high, self.step, self.source_width, self.width, self.left = self.fn.args[5:]

    def _weight(self, index: int | ir.Value) -> ir.Value:
        fn, dot = self.fn, self.dot
        element = ir.IntType(8 * dot.weight_type.itemsize)
        place = fn.at(self.weights, fn.mul(index, self.filters.vector_bytes(dot)))
        return fn.load(vector(element, self.strip.lanes * dot.group), place)

    def _parameters(self, which: int, element: ir.Type) -> list[ir.Value]:
        fn, strip = self.fn, self.strip
        base = fn.at(self.parameters, 4 * strip.width * which)
        return [fn.load(vector(element, strip.lanes), fn.at(base, 4 * strip.lanes * q)) for q in range(strip.vectors)]

    def _store(self, sums: list[ir.Value], x: int | ir.Value) -> None:
        rows = {which: self._parameters(which, F32) for which in ((2, 1) if self.filters.addend else (1,))}
        place = self.fn.at(self.result, self.fn.mul(x, self.spec.result_pixel))
        self.finisher.store(sums, Place(place, self.strip.channels, rows.__getitem__))


class _Sliding(_Row):
    """Keeps the columns of the window while it moves along the row."""

    def emit(self) -> None:
        fn, spec, kw = self.fn, self.spec, self.filters.kw
        self.bases: list[ir.Value] = []
        self.masks: list[ir.Value] = []
        for ky in range(self.filters.kh):
            valid = fn.b.and_(fn.compare("<=", self.low, ky), fn.compare(">", self.high, ky))
            self.bases.append(fn.b.select(valid, fn.at(self.source, fn.mul(self.step, ky)), self.zeros))
            self.masks.append(fn.b.sext(valid, I64))
        vectors = self.groups * self.strip.vectors
        self.held = [[self._weight(kx * vectors + i) for i in range(vectors)] for kx in range(kw)]
        kept = max(kw - spec.advance, 0)
        unroll = max(1, UNROLLED_COLUMNS // spec.advance) if kw <= UNROLLED_COLUMNS else 1
        with fn.loop(0, fn.minimum(spec.phases, self.width)) as phase:
            total = fn.ceil_div(fn.sub(self.width, phase), spec.phases)
            start = fn.sub(fn.mul(phase, spec.stride), self.left)
            columns = [value for j in range(kept) for value in self._column(start, j)]
            done: int | ir.Value = 0
            for count in (unroll, 1) if unroll > 1 else (1,):
                stop = fn.add(done, fn.mul(fn.div(fn.sub(total, done), count), count))

                def body(q: ir.Value, values: list[ir.Value], count: int = count) -> list[ir.Value]:
                    return self._results(phase, start, q, count, values)

                columns = fn.loop_carry(done, stop, count, columns, body)
                done = stop
        fn.finish()

    def _results(
        self, phase: ir.Value, start: int | ir.Value, first: ir.Value, count: int, carried: list[ir.Value]
    ) -> list[ir.Value]:
        """Compute ``count`` results of a phase; return the columns that the next one shares."""
        fn, spec, kw = self.fn, self.spec, self.filters.kw
        size = self.groups * self.strip.vectors
        columns = [carried[i : i + size] for i in range(0, len(carried), size)]
        base = fn.mul(first, spec.advance)
        for i in range(count):
            here = i * spec.advance
            while len(columns) < here + kw:
                columns.append(self._column(start, fn.add(base, len(columns))))
            sums = self._parameters(0, I32)
            for kx in range(kw):
                for k, value in enumerate(columns[here + kx]):
                    q = k % self.strip.vectors
                    sums[q] = self.dot.accumulate(fn, sums[q], value, self.held[kx][k])
            self._store(sums, fn.add(phase, fn.mul(fn.add(first, i), spec.phases)))
        return [value for column in columns[count * spec.advance :] for value in column]

    def _column(self, start: int | ir.Value, number: int | ir.Value) -> list[ir.Value]:
        """Return column ``number`` of a phase: for each group of rows the vectors of the strip."""
        fn, spec, group = self.fn, self.spec, self.dot.group
        x = fn.add(start, fn.mul(number, spec.dilation))
        inside = fn.b.icmp_unsigned("<", fn.i64(x), fn.i64(self.source_width))
        offset = fn.i64(fn.mul(x, spec.source_pixel))
        rows = []
        for base, mask in zip(self.bases, self.masks, strict=True):
            address = fn.b.select(inside, fn.at(base, fn.b.and_(offset, mask)), self.zeros)
            rows.append(load_row(fn, self.strip, address))
        values: list[ir.Value] = []
        for g in range(0, len(rows), group):
            values += interleave(fn, self.dot, self.strip, rows[g : g + group])
        return values


class _Looping(_Row):
    """Runs over the taps of every result: for windows of any size."""

    def emit(self) -> None:
        fn, spec = self.fn, self.spec
        vectors = self.strip.vectors
        with fn.loop(0, self.width) as x:
            start = fn.sub(fn.mul(x, spec.stride), self.left)

            def column(kx: ir.Value, sums: list[ir.Value], start: int | ir.Value = start) -> list[ir.Value]:
                at = fn.add(start, fn.mul(kx, spec.dilation))
                inside = fn.b.icmp_unsigned("<", fn.i64(at), fn.i64(self.source_width))
                offset = fn.mul(at, spec.source_pixel)

                def rows(g: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
                    held = [
                        self._row(fn.add(fn.mul(g, self.dot.group), i), inside, offset) for i in range(self.dot.group)
                    ]
                    values = interleave(fn, self.dot, self.strip, held)
                    index = fn.mul(fn.add(fn.mul(kx, self.groups), g), vectors)
                    return [
                        self.dot.accumulate(fn, total, value, self._weight(fn.add(index, q)))
                        for q, (total, value) in enumerate(zip(carried, values, strict=True))
                    ]

                return fn.loop_carry(0, self.groups, 1, sums, rows)

            self._store(fn.loop_carry(0, self.filters.kw, 1, self._parameters(0, I32), column), x)
        fn.finish()

    def _row(self, ky: int | ir.Value, inside: ir.Value, offset: int | ir.Value) -> ir.Value:
        fn = self.fn
        valid = fn.b.and_(fn.compare("<=", self.low, ky), fn.compare(">", self.high, ky))
        address = fn.at(fn.at(self.source, fn.mul(ky, self.step)), offset)
        return load_row(fn, self.strip, fn.b.select(fn.b.and_(valid, inside), address, self.zeros))
