"""The integer matrix kernel: pixels x depth times depth x channels, sums in registers, results requantised.

A panel of weights is ``[step][lane][group]``; a register tile takes ``rows`` pixels at once, loads each weight vector
once and broadcasts the few bytes of each pixel that belong to a step.  The depth is a nest of three loops (kernel rows,
kernel columns, channels), so one kernel serves 1x1 and general convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.kernels.kernel import StepEmitter
from smalti.kernels.quantised.arm import ElementTile
from smalti.kernels.quantised.dot import Dot
from smalti.kernels.quantised.requant import Requantiser, RequantSpec
from smalti.kernels.quantised.tile import (
    TAIL_ROWS,
    Panel,
    addend_bytes,
    parameter_bytes,
    weight_bytes,
)
from smalti.llvm.builder import F32, I8, I16, I32, I64, PTR, Fn, vector


@dataclass(frozen=True, slots=True)
class Depth:
    """The loops of a sum: ``outer`` (byte step given at run time) x ``middle`` (bytes) x ``inner`` activations."""

    outer: int
    middle: int
    middle_step: int
    inner: int

    @property
    def runs(self) -> tuple[int, int]:
        """Runs of consecutive activations, and the length of one."""
        return self.outer * self.middle, self.inner


@dataclass(frozen=True, slots=True)
class GemmSpec:
    """What a matrix kernel computes besides the panel.

    Strides are bytes between pixels.  ``slack`` says that a few bytes behind each run of activations may be read (they
    meet zero weights), as is so in a scratch buffer.
    """

    depth: Depth
    pixel_stride: int
    result_stride: int
    requant: RequantSpec
    slack: bool = False

    @property
    def key(self) -> str:
        """Text that names the kernel."""
        d = self.depth
        return (
            f"{d.outer}x{d.middle}s{d.middle_step}x{d.inner}_p{self.pixel_stride}_c{self.result_stride}"
            f"_{'s' if self.slack else 'e'}_{self.requant.key}"
        )


@dataclass(frozen=True, slots=True)
class GemmConstants:
    """Addresses of what is packed for the panels; ``addends`` is any address if there are none."""

    weights: ir.Value
    parameters: ir.Value
    addends: ir.Value


GEMM_ARGS = (PTR, PTR, PTR, PTR, PTR, PTR, I64, I64)
"""pixels, packed weights, result, parameters, addends, residual, outer byte step, number of pixels"""


def widened_bytes(spec: GemmSpec, dot: Dot, pixels: int) -> int:
    """Return the scratch bytes that :func:`gemm_block` needs for so many pixels (0 if it reads them as they are)."""
    return pixels * _widened_stride(spec, dot) if dot.widens else 0


def gemm_block(
    e: StepEmitter,
    spec: GemmSpec,
    panels: Sequence[Panel],
    source: ir.Value,
    constants: GemmConstants,
    result: ir.Value,
    count: int | ir.Value,
    residual: ir.Value | None = None,
    step: int | ir.Value = 0,
    scratch: ir.Value | None = None,
) -> None:
    """Compute ``count`` pixels of all panels.

    Args:
        e: the step; the code is written at its current position.
        spec: strides, depth and requantisation.
        panels: consecutive panels.
        source: first activation of the first pixel.  With ``scratch`` it is uint8 and gets widened if the target's dot
            product wants that; without, it already is what ``Dot.element_bytes`` says.
        constants: of the first panel (see ``weight_bytes``, ``parameter_bytes`` and ``addend_bytes`` of ``tile``).
        result: first channel of the first panel of the first pixel.
        count: pixels.
        residual: the same place in the residual, whose stride is that of the result.
        step: bytes of the outer loop of the depth.
        scratch: ``widened_bytes`` of this thread for at least ``count`` pixels; only for a depth of one run.
    """
    fn, dot = e.fn, Dot.of_matrix(e.target)
    if dot.widens and scratch is not None:
        source, spec = _widened(e, spec, dot, source, scratch, count)
    weights, parameters, addends = constants.weights, constants.parameters, constants.addends
    for panel in panels:
        fn.call(
            gemm_panel(e, spec, panel),
            source,
            weights,
            result,
            parameters,
            addends,
            result if residual is None else residual,
            step,
            count,
        )
        offset = panel.channels * spec.requant.itemsize
        weights = fn.at(weights, weight_bytes((panel,), spec.depth.runs, dot))
        parameters = fn.at(parameters, parameter_bytes((panel,)))
        addends = fn.at(addends, addend_bytes((panel,))) if spec.requant.addend else addends
        result = fn.at(result, offset)
        residual = None if residual is None else fn.at(residual, offset)


def gemm_panel(e: StepEmitter, spec: GemmSpec, panel: Panel) -> ir.Function:
    """Return the function that computes one panel for any number of pixels (arguments: ``GEMM_ARGS``)."""
    key = f"i8_gemm_{panel.key}_{spec.key}"
    if spec.requant.residual and spec.requant.itemsize != 1:
        raise CompilerError("an integer convolution with a float result has no residual")

    def build(fn: Fn) -> None:
        sizes = [panel.rows, *(t for t in TAIL_ROWS if t < panel.rows)]
        *pointers, step, pixels = fn.args
        done: int | ir.Value = 0
        for rows in sizes:
            tile = e.function(f"{key}_rows{rows}", GEMM_ARGS[:-1], partial(_emit_tile, e, spec, panel, rows))
            stop = fn.add(done, fn.mul(fn.div(fn.sub(pixels, done), rows), rows))
            with fn.loop(done, stop, rows) as row:
                _call_tile(fn, tile, spec, pointers, step, row)
            done = stop
        fn.finish()

    return e.function(key, GEMM_ARGS, build)


def _call_tile(
    fn: Fn, tile: ir.Function, spec: GemmSpec, pointers: Sequence[ir.Value], step: ir.Value, row: ir.Value
) -> None:
    pixels, weights, result, parameters, addends, residual = pointers
    offset = fn.mul(row, spec.result_stride)
    fn.call(
        tile,
        fn.at(pixels, fn.mul(row, spec.pixel_stride)),
        weights,
        fn.at(result, offset),
        parameters,
        addends,
        fn.at(residual, offset) if spec.requant.residual else residual,
        step,
    )


def _emit_tile(e: StepEmitter, spec: GemmSpec, panel: Panel, rows: int, fn: Fn) -> None:
    _Tile(e, spec, panel, rows, fn).emit()


class _Tile:
    """Emits the function of one register tile."""

    def __init__(self, e: StepEmitter, spec: GemmSpec, panel: Panel, rows: int, fn: Fn) -> None:
        self.spec, self.panel, self.rows, self.fn = spec, panel, rows, fn
        self.target = e.target
        self.dot = Dot.of_matrix(e.target)
        length = spec.depth.inner
        self.elements = (
            ElementTile(fn, self.dot, rows, spec.pixel_stride, len(panel.vectors)) if self.dot.by_element else None
        )
        # Without a byte to spare behind the run, what is left of it is put together from single bytes.
        self.whole = -(-length // self.dot.group) if spec.slack else length // self.dot.group
        self.rest = 0 if spec.slack else length % self.dot.group
        self.step_bytes = panel.width * self.dot.lane_bytes
        self.run_bytes = (self.whole + (self.rest > 0)) * self.step_bytes

    def emit(self) -> None:
        fn, depth = self.fn, self.spec.depth
        pixels, weights, result, parameters, addends, residual, outer_step = fn.args
        biases = self._vectors(parameters, I32)
        sums = self.elements.begin(biases) if self.elements else biases * self.rows
        if depth.outer == 1:
            sums = self._middle(pixels, weights, sums)
        else:

            def body(o: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
                block = fn.at(weights, fn.mul(o, self.run_bytes * depth.middle))
                return self._middle(fn.at(pixels, fn.mul(o, outer_step)), block, carried)

            sums = fn.loop_carry(0, depth.outer, 1, sums, body)
        self._store(self.elements.end(sums) if self.elements else sums, result, parameters, addends, residual)
        fn.finish()

    def _vectors(self, address: ir.Value, element: ir.Type) -> list[ir.Value]:
        fn = self.fn
        return [fn.load(vector(element, n), fn.at(address, 4 * start)) for start, n in self._lanes()]

    def _lanes(self) -> list[tuple[int, int]]:
        """Return the first lane and the number of lanes of each vector of a pixel."""
        result, start = [], 0
        for lanes in self.panel.vectors:
            result.append((start, lanes))
            start += lanes
        return result

    def _middle(self, pixels: ir.Value, weights: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        fn, depth = self.fn, self.spec.depth
        if depth.middle == 1:
            return self._inner(pixels, weights, sums)

        def body(m: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            start = fn.at(pixels, fn.mul(m, depth.middle_step))
            return self._inner(start, fn.at(weights, fn.mul(m, self.run_bytes)), carried)

        return fn.loop_carry(0, depth.middle, 1, sums, body)

    def _inner(self, pixels: ir.Value, weights: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        fn = self.fn
        if self.elements:
            return self.elements.run(pixels, weights, self.spec.depth.inner, self.spec.slack, sums)
        word = self.dot.group * self.dot.element_bytes

        def body(k: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            base = fn.at(pixels, fn.mul(k, word))
            return self._step(base, fn.at(weights, fn.mul(k, self.step_bytes)), self.dot.group, carried)

        sums = fn.loop_carry(0, self.whole, 1, sums, body)
        if self.rest:
            base = fn.at(pixels, self.whole * word)
            sums = self._step(base, fn.at(weights, self.whole * self.step_bytes), self.rest, sums)
        return sums

    def _step(self, pixels: ir.Value, weights: ir.Value, count: int, sums: list[ir.Value]) -> list[ir.Value]:
        fn, dot = self.fn, self.dot
        held = [dot.load_weights(fn, fn.at(weights, start * dot.lane_bytes), n) for start, n in self._lanes()]
        updated: list[ir.Value] = []
        for row in range(self.rows):
            x = dot.load_activations(fn, fn.at(pixels, row * self.spec.pixel_stride), count)
            for i, w in enumerate(held):
                updated.append(dot.accumulate(fn, sums[row * len(held) + i], x, w))
        return updated

    def _store(
        self,
        sums: list[ir.Value],
        result: ir.Value,
        parameters: ir.Value,
        addends: ir.Value,
        residual: ir.Value,
    ) -> None:
        fn, panel, spec = self.fn, self.panel, self.spec
        requantiser = Requantiser(fn, self.target, spec.requant)
        multipliers = self._vectors(fn.at(parameters, 4 * panel.width), F32)
        more = self._vectors(addends, F32) if spec.requant.addend else None
        for row in range(self.rows):
            first, channel = row * len(multipliers), 0
            for group in panel.groups:
                held = slice(first, first + group.vectors)
                own = slice(first - row * len(multipliers), held.stop - row * len(multipliers))
                place = row * spec.result_stride + channel * spec.requant.itemsize
                requantiser.store(
                    sums[held],
                    multipliers[own],
                    fn.at(result, place),
                    min(group.width, panel.channels - channel),
                    None if more is None else more[own],
                    fn.at(residual, place) if spec.requant.residual else None,
                )
                first, channel = held.stop, channel + group.width


def _widened_stride(spec: GemmSpec, dot: Dot) -> int:
    return -(-spec.depth.inner // dot.group) * dot.group * dot.element_bytes


def _widened(
    e: StepEmitter, spec: GemmSpec, dot: Dot, source: ir.Value, scratch: ir.Value, count: int | ir.Value
) -> tuple[ir.Value, GemmSpec]:
    """Copy uint8 pixels to 16 bits, each to whole groups; return the copy and its specification."""
    if spec.depth.runs[0] != 1:
        raise CompilerError("only sums over one run of activations are widened here")
    stride = _widened_stride(spec, dot)
    copied = GemmSpec(spec.depth, stride, spec.result_stride, spec.requant, slack=True)
    lanes = 2 * dot.lanes
    length = spec.depth.inner

    def build(fn: Fn) -> None:
        to, pixels, total = fn.args
        with fn.loop(0, total) as pixel:
            x, y = fn.at(pixels, fn.mul(pixel, spec.pixel_stride)), fn.at(to, fn.mul(pixel, stride))
            with fn.loop(0, length // lanes * lanes, lanes) as i:
                widen(fn, fn.at(x, i), fn.at(y, fn.mul(i, 2)), lanes)
            with fn.loop(length // lanes * lanes, length) as i:
                widen(fn, fn.at(x, i), fn.at(y, fn.mul(i, 2)), 1)
            if length % dot.group:
                fn.store(ir.Constant(I16, 0), fn.at(y, 2 * length))
        fn.finish()

    function = e.function(f"i8_widen_{length}_p{spec.pixel_stride}_{stride}", (PTR, PTR, I64), build)
    e.fn.call(function, scratch, source, count)
    return scratch, copied


def widen(fn: Fn, source: ir.Value, to: ir.Value, lanes: int) -> None:
    """Copy bytes to 16-bit integers."""
    fn.store(fn.b.zext(fn.load(vector(I8, lanes), source), vector(I16, lanes)), to)
