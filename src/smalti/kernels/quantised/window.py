"""One result row of an integer depthwise convolution.

Taps outside the image read a row of zero points, so every result sums all taps.  Where a strip's columns fit into
registers, results that share columns follow one another: with dilation ``d`` those are ``x``, ``x + d``, ``x + 2d``...
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import gcd

from llvmlite import ir

from smalti.kernels.kernel import StepEmitter
from smalti.kernels.quantised.requant import Requantiser, RequantSpec
from smalti.kernels.quantised.strips import Filters, Strip, Strips, interleave, load_row, strip_dot
from smalti.llvm.builder import F32, I32, I64, PTR, Fn, vector

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
    requant: RequantSpec

    @property
    def key(self) -> str:
        """Text that names functions."""
        return (
            f"{self.filters.kh}x{self.filters.kw}_s{self.stride}d{self.dilation}_i{self.source_pixel}"
            f"o{self.result_pixel}_{self.requant.key}"
        )

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


def depthwise_row(e: StepEmitter, spec: WindowSpec, strips: tuple[Strips, ...]) -> ir.Function:
    """Return the function that computes one result row of consecutive strips (arguments: ``ROW_ARGS``)."""

    def build(fn: Fn) -> None:
        source, result, weights, parameters, *rest = fn.args
        for run in strips:
            one = (Strips(run.strip, 1),)
            sizes = (
                run.strip.channels,
                run.strip.channels * spec.requant.itemsize,
                spec.filters.weight_bytes(e.target, one),
                spec.filters.parameter_bytes(one),
            )
            function = _strip_function(e, spec, run.strip)
            places = [source, result, weights, parameters]
            with fn.loop(0, run.count) as i:
                fn.call(function, *(fn.at(p, fn.mul(i, n)) for p, n in zip(places, sizes, strict=True)), *rest)
            source, result, weights, parameters = (fn.at(p, run.count * n) for p, n in zip(places, sizes, strict=True))
        fn.finish()

    names = "+".join(f"{r.count}x{r.strip.key}" for r in strips)
    return e.function(f"i8_dwrow_{names}_{spec.key}", ROW_ARGS, build)


def _strip_function(e: StepEmitter, spec: WindowSpec, strip: Strip) -> ir.Function:
    return e.function(f"i8_dw_{strip.key}_{spec.key}", ROW_ARGS, partial(_build_strip, e, spec, strip))


def _build_strip(e: StepEmitter, spec: WindowSpec, strip: Strip, fn: Fn) -> None:
    kind = _Sliding if spec.filters.kh * spec.filters.kw <= MOST_TAPS else _Looping
    kind(e, spec, strip, fn).emit()


class _Row:
    """What both ways to compute a row share."""

    def __init__(self, e: StepEmitter, spec: WindowSpec, strip: Strip, fn: Fn) -> None:
        self.spec, self.strip, self.fn, self.filters = spec, strip, fn, spec.filters
        self.dot = strip_dot(e.target, strip)
        self.groups = self.filters.groups(self.dot)
        self.requantiser = Requantiser(fn, e.target, spec.requant)
        self.source, self.result, self.weights, self.parameters, self.zeros = fn.args[:5]
        self.low, self.high, self.step, self.source_width, self.width, self.left = fn.args[5:]

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
        addends = self._parameters(2, F32) if self.spec.requant.addend else None
        place = self.fn.at(self.result, self.fn.mul(x, self.spec.result_pixel))
        self.requantiser.store(sums, self._parameters(1, F32), place, self.strip.channels, addends)


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
