"""The float32 matrix kernel: pixels x depth times depth x channels, sums in registers.

A panel of weights is ``[depth][width]``; a register tile takes ``rows`` pixels at once, loads each weight vector once
and broadcasts the pixel values.  The depth is a nest of three loops (kernel rows, kernel columns, channels), so one
kernel serves 1x1 and general convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from llvmlite import ir

from smalti.ir.ops import Activation
from smalti.kernels.conv.tile import TAIL_ROWS, Panel
from smalti.kernels.kernel import StepEmitter
from smalti.llvm.builder import F32, I64, PTR, Fn, lanes_of, vector


@dataclass(frozen=True, slots=True)
class Depth:
    """The loops of a sum: ``outer`` (byte step given at run time) x ``middle`` x ``inner`` consecutive floats."""

    outer: int
    middle: int
    middle_step: int
    inner: int

    @property
    def total(self) -> int:
        """Products in one sum."""
        return self.outer * self.middle * self.inner


@dataclass(frozen=True, slots=True)
class GemmSpec:
    """What a matrix kernel computes besides the panel: strides are bytes between pixels."""

    depth: Depth
    pixel_stride: int
    result_stride: int
    residual_stride: int
    residual: bool
    activation: Activation

    @property
    def key(self) -> str:
        """Text that names the kernel."""
        d = self.depth
        return (
            f"{d.outer}x{d.middle}s{d.middle_step}x{d.inner}_p{self.pixel_stride}_c{self.result_stride}"
            f"_r{self.residual_stride if self.residual else 'no'}_{self.activation.value}"
        )


GEMM_ARGS = (PTR, PTR, PTR, PTR, PTR, I64, I64)
"""pixels, packed weights, result, packed bias, residual, outer byte step, number of pixels"""


def activate(fn: Fn, value: ir.Value, activation: Activation) -> ir.Value:
    """Apply a fused activation; NaN stays NaN as in TensorFlow."""
    if activation is Activation.NONE:
        return value
    value = fn.clamp_low(value, 0.0)
    return fn.clamp_high(value, 6.0) if activation is Activation.RELU6 else value


def gemm_panel(e: StepEmitter, spec: GemmSpec, panel: Panel) -> ir.Function:
    """Return the function that computes one panel for any number of pixels (arguments: ``GEMM_ARGS``)."""
    shape = f"{'+'.join(str(n) for n in panel.lanes)}of{panel.channels}"
    key = f"f32_gemm_{panel.rows}x{shape}_{spec.key}"

    def build(fn: Fn) -> None:
        sizes = [panel.rows, *(t for t in TAIL_ROWS if t < panel.rows)]
        *pointers, step, pixels = fn.args
        done: int | ir.Value = 0
        for rows in sizes:
            tile = e.function(f"{key}_rows{rows}", GEMM_ARGS[:-1], partial(_tile, spec=spec, panel=panel, rows=rows))
            stop = fn.add(done, fn.mul(fn.div(fn.sub(pixels, done), rows), rows))
            with fn.loop(done, stop, rows) as row:
                _call_tile(fn, tile, spec, pointers, step, row)
            done = stop
        fn.finish()

    return e.function(key, GEMM_ARGS, build)


def _call_tile(
    fn: Fn, tile: ir.Function, spec: GemmSpec, pointers: list[ir.Value], step: ir.Value, row: ir.Value
) -> None:
    pixels, weights, result, bias, residual = pointers
    fn.call(
        tile,
        fn.at(pixels, fn.mul(row, spec.pixel_stride)),
        weights,
        fn.at(result, fn.mul(row, spec.result_stride)),
        bias,
        fn.at(residual, fn.mul(row, spec.residual_stride)) if spec.residual else residual,
        step,
    )


def _tile(fn: Fn, spec: GemmSpec, panel: Panel, rows: int) -> None:
    pixels, weights, result, bias, residual, outer_step = fn.args
    depth = spec.depth
    starts = _lane_starts(panel)
    initial = [fn.load(vector(F32, n), fn.at(bias, 4 * s)) for n, s in zip(panel.lanes, starts, strict=True)]
    sums = [value for _ in range(rows) for value in initial]

    def inner_loop(base: ir.Value, weight: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        def body(k: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            block = fn.at(weight, fn.mul(k, 4 * panel.width))
            vectors = [fn.load(vector(F32, n), fn.at(block, 4 * s)) for n, s in zip(panel.lanes, starts, strict=True)]
            updated: list[ir.Value] = []
            for row in range(rows):
                x = fn.load(F32, fn.at(fn.at(base, fn.mul(k, 4)), row * spec.pixel_stride))
                for i, w in enumerate(vectors):
                    updated.append(fn.fma(fn.splat(x, lanes_of(w)), w, carried[row * len(vectors) + i]))
            return updated

        return fn.loop_carry(0, depth.inner, 1, values, body)

    def middle_loop(base: ir.Value, weight: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        if depth.middle == 1:
            return inner_loop(base, weight, values)

        def body(m: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            return inner_loop(
                fn.at(base, fn.mul(m, depth.middle_step)),
                fn.at(weight, fn.mul(m, 4 * panel.width * depth.inner)),
                carried,
            )

        return fn.loop_carry(0, depth.middle, 1, values, body)

    if depth.outer == 1:
        sums = middle_loop(pixels, weights, sums)
    else:

        def outer_body(o: ir.Value, carried: list[ir.Value]) -> list[ir.Value]:
            block = 4 * panel.width * depth.inner * depth.middle
            return middle_loop(fn.at(pixels, fn.mul(o, outer_step)), fn.at(weights, fn.mul(o, block)), carried)

        sums = fn.loop_carry(0, depth.outer, 1, sums, outer_body)
    _write(fn, spec, panel, rows, sums, result, residual)
    fn.finish()


def _lane_starts(panel: Panel) -> list[int]:
    starts = [0]
    for lanes in panel.lanes[:-1]:
        starts.append(starts[-1] + lanes)
    return starts


def _write(
    fn: Fn, spec: GemmSpec, panel: Panel, rows: int, sums: list[ir.Value], result: ir.Value, residual: ir.Value
) -> None:
    starts = _lane_starts(panel)
    for row in range(rows):
        for i, start in enumerate(starts):
            lanes = min(panel.lanes[i], panel.channels - start)
            value = fn.first_lanes(sums[row * len(starts) + i], lanes)
            if spec.residual:
                other = fn.load(vector(F32, lanes), fn.at(residual, row * spec.residual_stride + 4 * start))
                value = fn.b.fadd(value, other)
            fn.store(activate(fn, value, spec.activation), fn.at(result, row * spec.result_stride + 4 * start))
