"""The matrix kernel: register tiles, the nest of loops over the depth, and the driver over rows of pixels.

A register tile takes a few pixels at once, loads each weight vector once and multiplies it by what it takes of each
pixel.  The depth is a nest of three loops (kernel rows, kernel columns, channels), so one kernel serves matrix products
and general convolutions.  How products are summed is the dot product's affair, what becomes of sums the epilogue's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llvmlite import ir

from smalti.kernels.epilogue.emit import Finisher, Place
from smalti.kernels.epilogue.steps import Add, Epilogue
from smalti.kernels.kernel import FunctionEmitter
from smalti.kernels.matrix.products import Dot
from smalti.kernels.matrix.shapes import Depth, Panel
from smalti.kernels.values import number
from smalti.llvm.builder import F32, I64, PTR, Fn, vector

ADDENDS = 2
"""The row that integer kernels keep apart from the others, since it may be computed at run time."""


@dataclass(frozen=True, slots=True)
class MatrixSpec:
    """What a matrix kernel computes besides the panel.

    Strides are bytes between pixels; a residual lies as the result does.  ``slack`` says that the bytes behind a run of
    activations that complete a step may be read (they meet zero weights), as is so in a scratch buffer.
    """

    dot: Dot
    depth: Depth
    pixel_stride: int
    result_stride: int
    epilogue: Epilogue
    slack: bool = False


@dataclass(frozen=True, slots=True)
class PanelSpec:
    """A matrix kernel and one panel; a tile of it computes ``rows`` pixels at once."""

    matrix: MatrixSpec
    panel: Panel
    rows: int


@dataclass(frozen=True, slots=True)
class Constants:
    """Addresses of what is packed for consecutive panels, from the first one on.

    ``rows`` are the numbers of channels; ``addends`` are those that lie apart, any address if there are none.
    """

    weights: ir.Value
    rows: ir.Value
    addends: ir.Value


@dataclass(frozen=True, slots=True)
class Packed:
    """Consecutive panels while a step is written; ``widen`` copies the weights of one before they are used."""

    spec: MatrixSpec
    panels: tuple[Panel, ...]
    constants: Constants
    row_count: int
    widen: Callable[[ir.Value, Panel], ir.Value] | None = None
    column_bytes: int | None = None

    def each(self, fn: Fn) -> Iterator[tuple[Panel, int, Constants]]:
        """Yield each panel, its first channel and its constants; what is written between two of them uses the first."""
        channel, packed, held = 0, 0, self.constants
        layout, depth = self.spec.dot.layout, self.spec.depth
        column = layout.column_bytes(depth) if self.column_bytes is None else self.column_bytes
        for panel in self.panels:
            weights = fn.at(held.weights, packed * column)
            rows = fn.at(held.rows, 4 * self.row_count * packed)
            addends = fn.at(held.addends, 4 * packed) if _keeps_apart(self.spec) else held.addends
            if self.widen is not None:
                weights = self.widen(weights, panel)
            yield panel, channel, Constants(weights, rows, addends)
            channel += panel.channels
            packed += panel.width


MATRIX_ARGS = (PTR, PTR, PTR, PTR, PTR, PTR, I64, I64)
"""pixels, packed weights, result, rows, addends, residual, outer byte step, number of pixels"""


@dataclass(frozen=True, slots=True)
class Run:
    """Pixels that lie one behind the other: ``offset`` is where the first one's results begin, behind ``result``.

    The outer loop of the depth goes on by ``lines`` lines of ``line_bytes``.
    """

    source: ir.Value
    result: ir.Value
    residual: ir.Value | None
    offset: int | ir.Value
    count: int | ir.Value
    line_bytes: int | ir.Value = 0
    lines: int = 1


def call_panel(e: FunctionEmitter, spec: MatrixSpec, work: tuple[Panel, int, Constants], run: Run) -> None:
    """Compute one panel of a run of pixels."""
    fn, (panel, channel, held) = e.fn, work
    function = e.function(matrix_panel, PanelSpec(spec, panel, panel.rows), MATRIX_ARGS)
    offset = fn.add(run.offset, channel * spec.epilogue.itemsize)
    result = fn.at(run.result, offset)
    residual = result if run.residual is None else fn.at(run.residual, offset)
    step = fn.mul(run.line_bytes, run.lines)
    fn.call(function, run.source, held.weights, result, held.rows, held.addends, residual, step, run.count)


def call_panels(e: FunctionEmitter, packed: Packed, run: Run) -> None:
    """Compute all panels of a run of pixels."""
    for work in packed.each(e.fn):
        call_panel(e, packed.spec, work, run)


def matrix_panel(e: FunctionEmitter, own: PanelSpec) -> None:
    """Build the function that computes one panel for any number of pixels (arguments: ``MATRIX_ARGS``)."""
    fn, spec = e.fn, own.matrix
    pixels, weights, result, rows, addends, residual, step, count = fn.args
    done: int | ir.Value = 0
    for height in (own.rows, *(t for t in spec.dot.tails if t < own.rows)):
        tile = e.function(matrix_tile, PanelSpec(spec, own.panel, height), MATRIX_ARGS[:-1])
        stop = fn.add(done, fn.mul(fn.div(fn.sub(count, done), height), height))
        with fn.loop(done, stop, height) as row:
            start = fn.at(pixels, fn.mul(row, spec.pixel_stride))
            place = fn.at(result, fn.mul(row, spec.result_stride))
            other = fn.at(residual, fn.mul(row, spec.result_stride)) if spec.epilogue.residual else residual
            fn.call(tile, start, weights, place, rows, addends, other, step)
        done = stop
    fn.finish()


def matrix_tile(e: FunctionEmitter, own: PanelSpec) -> None:
    """Build the function of one register tile (arguments: all of ``MATRIX_ARGS`` but the last)."""
    fn, spec, depth, panel = e.fn, own.matrix, own.matrix.depth, own.panel
    pixels, weights, result, rows, addends, residual, outer_step = fn.args
    finisher = Finisher(fn, e.target, spec.epilogue)
    products = spec.dot.products(fn, panel, own.rows, spec.pixel_stride)
    count, length = depth.runs
    run_bytes = spec.dot.layout.column_bytes(depth) // count * panel.width
    kind = spec.dot.sum_type

    def row(which: int, element: ir.Type) -> list[ir.Value]:
        base = addends if which == ADDENDS and _keeps_apart(spec) else fn.at(rows, 4 * panel.width * which)
        return [fn.load(vector(element, n), fn.at(base, 4 * start)) for start, n in panel.lanes]

    def zero() -> list[ir.Value]:
        return [number(vector(kind, n), 0) for n in panel.vectors]

    sums = products.begin(finisher.begins(lambda which: row(which, kind), zero))

    def middle(at: ir.Value, block: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        if depth.middle == 1:
            return products.run(at, block, length, spec.slack, values)

        def body(m: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            start = fn.at(at, fn.mul(m, depth.middle_step))
            return products.run(start, fn.at(block, fn.mul(m, run_bytes)), length, spec.slack, carried)

        return fn.loop_carry(0, depth.middle, 1, values, body)

    def outer(o: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
        start = fn.at(pixels, fn.mul(o, outer_step))
        return middle(start, fn.at(weights, fn.mul(o, run_bytes * depth.middle)), carried)

    sums = middle(pixels, weights, sums) if depth.outer == 1 else fn.loop_carry(0, depth.outer, 1, sums, outer)
    _finish(own, finisher, products.end(sums), result, residual, lambda which: row(which, F32), rows)
    fn.finish()


def _finish(
    own: PanelSpec,
    finisher: Finisher,
    sums: Sequence[ir.Value],
    result: ir.Value,
    residual: ir.Value,
    row: Callable[[int], list[ir.Value]],
    rows: ir.Value,
) -> None:
    fn, spec, panel = finisher.fn, own.matrix, own.panel
    epilogue, vectors = spec.epilogue, len(panel.vectors)
    floats = spec.dot.sum_type == F32
    # Multipliers of integer sums stay in registers for all pixels.
    held = {} if floats else {which: row(which) for which in (1, *((ADDENDS,) if epilogue.find(Add) else ()))}
    for pixel in range(own.rows):
        first, channel = 0, 0
        for group in panel.groups:
            count = min(group.width, panel.channels - channel)
            values = list(sums[pixel * vectors + first : pixel * vectors + first + group.vectors])
            own_lanes = slice(first, first + group.vectors)
            place = pixel * spec.result_stride + channel * epilogue.itemsize

            def taken(
                which: int, lanes: slice = own_lanes, count: int = count, channel: int = channel
            ) -> Sequence[ir.Value]:
                if not floats:
                    return held[which][lanes]
                at = fn.at(fn.at(rows, 4 * channel), 4 * panel.width * which)
                return (fn.load(vector(F32, count), at),)

            if floats:
                values = [fn.first_lanes(values[0], count)]
            other = fn.at(residual, place) if epilogue.residual else None
            finisher.store(values, Place(fn.at(result, place), count, taken, other))
            first, channel = first + group.vectors, channel + group.width


def _keeps_apart(spec: MatrixSpec) -> bool:
    return spec.epilogue.find(Add) is not None
