"""The matrix kernel: pixels x depth times depth x channels, sums in float32 in registers.

A panel of weights is ``[depth][width]``; a register tile takes ``rows`` pixels at once, loads each weight vector once
and broadcasts the pixel values.  The depth is a nest of three loops (kernel rows, kernel columns, channels), so one
kernel serves 1x1 and general convolutions.

Elements are float32 (weights may be stored in 16 bits and are widened as they are loaded), or bfloat16 where the CPU
multiplies pairs of them: then a panel is ``[depth / 2][width][2]``; a step of the innermost loop takes two products.
Where products take a factor from any lane of a register, four elements of a pixel are loaded at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from llvmlite import ir

from smalti.kernels.conv.epilogue import Epilogue, activate, load_wide
from smalti.kernels.conv.tile import TAIL_ROWS, Panel, element_lanes
from smalti.kernels.half.bfloat import dot_pairs
from smalti.kernels.kernel import StepEmitter
from smalti.llvm.builder import F32, I16, I32, I64, PTR, Fn, lanes_of, vector
from smalti.numerics import DType

__all__ = ["GEMM_ARGS", "Depth", "GemmSpec", "activate", "gemm_panel"]


@dataclass(frozen=True, slots=True)
class Depth:
    """The loops of a sum: ``outer`` (byte step given at run time) x ``middle`` x ``inner`` consecutive elements."""

    outer: int
    middle: int
    middle_step: int
    inner: int

    @property
    def total(self) -> int:
        """Products in one sum."""
        return self.outer * self.middle * self.inner

    def panel_bytes(self, width: int, pairs: bool) -> int:
        """Return the size of a packed panel."""
        return self.outer * self.middle * self.steps(pairs) * width * 4

    def steps(self, pairs: bool) -> int:
        """Return the steps of the innermost loop."""
        return (self.inner + 1) // 2 if pairs else self.inner


@dataclass(frozen=True, slots=True)
class GemmSpec:
    """What a matrix kernel computes besides the panel: strides are bytes between pixels."""

    depth: Depth
    pixel_stride: int
    result_stride: int
    residual_stride: int
    residual: bool
    epilogue: Epilogue
    pairs: bool = False
    weights: DType = DType.FLOAT32

    @property
    def column_bytes(self) -> int:
        """Bytes of the weights of one channel in one step of the innermost loop."""
        return 4 if self.pairs else self.weights.itemsize

    @property
    def key(self) -> str:
        """Text that names the kernel."""
        d, elements = self.depth, "pairs" if self.pairs else self.weights.value
        return (
            f"{elements}_{d.outer}x{d.middle}s{d.middle_step}x{d.inner}_p{self.pixel_stride}"
            f"_c{self.result_stride}_r{self.residual_stride if self.residual else 'no'}_{self.epilogue.key}"
        )


GEMM_ARGS = (PTR, PTR, PTR, PTR, PTR, I64, I64)
"""pixels, packed weights, result, packed parameters, residual, outer byte step, number of pixels"""


def gemm_panel(e: StepEmitter, spec: GemmSpec, panel: Panel) -> ir.Function:
    """Return the function that computes one panel for any number of pixels (arguments: ``GEMM_ARGS``)."""
    shape = f"{'+'.join(str(n) for n in panel.lanes)}of{panel.channels}"
    key = f"gemm_{panel.rows}x{shape}_{spec.key}"

    def build(fn: Fn) -> None:
        sizes = [panel.rows, *(t for t in TAIL_ROWS if t < panel.rows)]
        lanes = 1 if spec.pairs else element_lanes(e.target)
        *pointers, step, pixels = fn.args
        done: int | ir.Value = 0
        for rows in sizes:
            tile = e.function(
                f"{key}_rows{rows}", GEMM_ARGS[:-1], partial(_tile, spec=spec, panel=panel, rows=rows, lanes=lanes)
            )
            stop = fn.add(done, fn.mul(fn.div(fn.sub(pixels, done), rows), rows))
            with fn.loop(done, stop, rows) as row:
                _call_tile(fn, tile, spec, pointers, step, row)
            done = stop
        fn.finish()

    return e.function(key, GEMM_ARGS, build)


def _call_tile(
    fn: Fn, tile: ir.Function, spec: GemmSpec, pointers: list[ir.Value], step: ir.Value, row: ir.Value
) -> None:
    pixels, weights, result, parameters, residual = pointers
    fn.call(
        tile,
        fn.at(pixels, fn.mul(row, spec.pixel_stride)),
        weights,
        fn.at(result, fn.mul(row, spec.result_stride)),
        parameters,
        fn.at(residual, fn.mul(row, spec.residual_stride)) if spec.residual else residual,
        step,
    )


def _tile(fn: Fn, spec: GemmSpec, panel: Panel, rows: int, lanes: int) -> None:
    pixels, weights, result, parameters, residual, outer_step = fn.args
    depth = spec.depth
    starts = _lane_starts(panel)
    initial = [spec.epilogue.first(fn, fn.at(parameters, 4 * s), n) for n, s in zip(panel.lanes, starts, strict=True)]
    sums = [value for _ in range(rows) for value in initial]
    element, column = I32 if spec.pairs else F32, spec.column_bytes

    def load_weights(place: ir.Value, n: int) -> ir.Value:
        return fn.load(vector(I32, n), place) if spec.pairs else load_wide(fn, spec.weights, place, n)

    def product(total: ir.Value, w: ir.Value, every: ir.Value) -> ir.Value:
        return dot_pairs(fn, total, w, every) if spec.pairs else fn.fma(every, w, total)

    def step(
        base: ir.Value, weight: ir.Value, k: int | ir.Value, values: list[ir.Value], kind: ir.Type
    ) -> list[ir.Value]:
        block = fn.at(weight, fn.mul(k, column * panel.width))
        vectors = [load_weights(fn.at(block, column * s), n) for n, s in zip(panel.lanes, starts, strict=True)]
        updated: list[ir.Value] = []
        for row in range(rows):
            address = fn.at(fn.at(base, fn.mul(k, 4)), row * spec.pixel_stride)
            x = fn.load(kind, address, align=2 if spec.pairs else 4)
            x = fn.b.zext(x, I32) if kind == I16 else x
            for i, w in enumerate(vectors):
                total = values[row * len(vectors) + i]
                updated.append(product(total, w, fn.splat(x, lanes_of(w))))
        return updated

    def long_step(base: ir.Value, weight: ir.Value, k: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        start, updated = fn.at(base, fn.mul(k, 4)), list(values)
        places = [fn.at(start, row * spec.pixel_stride) for row in range(rows)]
        held = [fn.load(vector(element, lanes), place, align=2 if spec.pairs else 4) for place in places]
        for i in range(lanes):
            block = fn.at(weight, fn.mul(fn.add(k, i), column * panel.width))
            for v, (n, s) in enumerate(zip(panel.lanes, starts, strict=True)):
                w = load_weights(fn.at(block, column * s), n)
                for row, x in enumerate(held):
                    at = row * len(starts) + v
                    updated[at] = product(updated[at], w, fn.lane(x, i, n))
        return updated

    def inner_loop(base: ir.Value, weight: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        whole = depth.inner // 2 if spec.pairs else depth.inner
        many = whole // lanes * lanes if lanes > 1 else 0
        if many:
            values = fn.loop_carry(0, many, lanes, values, lambda k, v: long_step(base, weight, k, v))
        if many < whole:
            values = fn.loop_carry(many, whole, 1, values, lambda k, v: step(base, weight, k, v, element))
        # The last element alone: there may be nothing behind it.
        return step(base, weight, whole, values, I16) if whole < depth.steps(spec.pairs) else values

    def middle_loop(base: ir.Value, weight: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        if depth.middle == 1:
            return inner_loop(base, weight, values)

        def body(m: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            return inner_loop(
                fn.at(base, fn.mul(m, depth.middle_step)),
                fn.at(weight, fn.mul(m, column * panel.width * depth.steps(spec.pairs))),
                carried,
            )

        return fn.loop_carry(0, depth.middle, 1, values, body)

    if depth.outer == 1:
        sums = middle_loop(pixels, weights, sums)
    else:

        def outer_body(o: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            block = column * panel.width * depth.steps(spec.pairs) * depth.middle
            return middle_loop(fn.at(pixels, fn.mul(o, outer_step)), fn.at(weights, fn.mul(o, block)), carried)

        sums = fn.loop_carry(0, depth.outer, 1, sums, outer_body)
    _write(fn, spec, panel, rows, sums)
    fn.finish()


def _lane_starts(panel: Panel) -> list[int]:
    starts = [0]
    for lanes in panel.lanes[:-1]:
        starts.append(starts[-1] + lanes)
    return starts


def _write(fn: Fn, spec: GemmSpec, panel: Panel, rows: int, sums: list[ir.Value]) -> None:
    _, _, result, parameters, residual, _ = fn.args
    epilogue, starts = spec.epilogue, _lane_starts(panel)
    size = epilogue.stored.itemsize
    for row in range(rows):
        for i, start in enumerate(starts):
            lanes = min(panel.lanes[i], panel.channels - start)
            value = fn.first_lanes(sums[row * len(starts) + i], lanes)
            other = fn.at(residual, row * spec.residual_stride + size * start) if spec.residual else None
            value = epilogue.finish(fn, value, fn.at(parameters, 4 * start), 4 * panel.width, other)
            epilogue.store(fn, value, fn.at(result, row * spec.result_stride + size * start))
