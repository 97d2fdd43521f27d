"""The first convolution of a picture, exact in integers.

An item is a band of result rows.  Its pixels are copied once into this thread's scratch as ``2 * x - double_offset`` in
16 bits, the padding as zeros; pairs of products then go straight into sums of 32 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.nodes import attributes, static_shape
from smalti.kernels.quantised.bands import Band, Element, emit_rows
from smalti.kernels.quantised.dot import Dot, DotKind
from smalti.kernels.quantised.requant import Requantiser, RequantSpec
from smalti.kernels.quantised.tile import (
    TAIL_ROWS,
    Panel,
    make_panel,
    pack_constants,
    pack_weights,
    parameter_bytes,
    weight_bytes,
)
from smalti.llvm.builder import F32, I16, I32, I64, PTR, Fn, lanes_of, named_intrinsic, vector
from smalti.numerics import DType
from smalti.target.target import Target

LARGEST_STEPS = float(1 << 30)
PIXEL_LIMIT = 255
TILE_ARGS = (PTR, PTR, PTR, PTR, I64)
"""pixels, packed weights, result, parameters, bytes between rows of pixels"""


@dataclass(frozen=True, slots=True)
class ImageTile:
    """Panels of channels, and what happens to sums."""

    panels: tuple[Panel, ...]
    requant: RequantSpec


@dataclass(frozen=True, slots=True)
class ImageConvKernel:
    """Convolution of a picture by 16-bit weights."""

    name: str = "i8_image"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is such a convolution and all but the picture is constant."""
        return isinstance(node.op, ops.ImageConv2d) and all(isinstance(n.op, ops.Constant) for n in node.inputs[1:])

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile, pack the constants, reserve the band."""
        op = attributes(node, ops.ImageConv2d)
        weights, multiplier = (_constant(n) for n in node.inputs[1:3])
        channels = weights.shape[3]
        flat: NDArray[Any] = weights.reshape(-1, channels)
        bias = _constant(node.inputs[3]) if op.bias else np.zeros(channels, np.int32)
        reach = max(op.double_offset, 2 * PIXEL_LIMIT - op.double_offset)
        sums = np.abs(flat.astype(np.float64)).sum(axis=0) * reach + np.abs(bias.astype(np.float64))
        fits = bool((sums * np.abs(multiplier.astype(np.float64)) < LARGEST_STEPS).all())
        requant = RequantSpec(DType.UINT8, op.result_zero_point, op.low, op.high, bounded=fits)
        most = (4 if target.vector_bits == 512 else 2) * (target.vector_bits // 32)
        panels = tuple(make_panel(target, requant, min(most, channels - i)) for i in range(0, channels, most))
        constants = (
            pack_weights(flat, _runs(node), panels, _pairs(target)),
            pack_constants((bias.astype(np.int32), multiplier.astype(np.float32)), panels),
        )
        return KernelPlan((0,), constants, (_band(node).scratch_bytes(node),), ImageTile(panels, requant))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        tile = plan.tile
        if not isinstance(tile, ImageTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        fn, dot, runs, channels = e.fn, _pairs(e.target), _runs(node), static_shape(node.inputs[1])[3]
        width = e.size(node.type.shape[2])

        def row(pixels: ir.Value, result: ir.Value, row_bytes: int | ir.Value) -> None:
            weights, parameters, channel = e.constant(0), e.constant(1), 0
            for panel in tile.panels:
                function = _panel_function(e, node, panel, tile.requant)
                fn.call(function, pixels, weights, fn.at(result, channel), parameters, row_bytes, width)
                weights = fn.at(weights, weight_bytes((panel,), runs, dot))
                parameters = fn.at(parameters, parameter_bytes((panel,)))
                channel += panel.channels

        emit_rows(e, node, node, _band(node), channels, row)


def _pairs(target: Target) -> Dot:
    """Return how packed weights lie: in pairs where the target sums pairs of products."""
    return Dot(DotKind.PAIRS if target.arch == "x86_64" else DotKind.SINGLE, target.vector_bits // 32)


def _runs(node: Node) -> tuple[int, int]:
    kh, kw, cin, _ = static_shape(node.inputs[1])
    return kh, kw * cin


def _band(node: Node) -> Band:
    op = attributes(node, ops.ImageConv2d)
    kh, kw = static_shape(node.inputs[1])[:2]
    return Band(Element.DOUBLED, float(op.double_offset), (kh, kw), op.stride, (1, 1), op.pads)


def _constant(node: Node) -> NDArray[np.generic]:
    if not isinstance(node.op, ops.Constant):
        raise CompilerError(f"{node!r} is not a constant")
    return node.op.value


def _panel_function(e: StepEmitter, node: Node, panel: Panel, requant: RequantSpec) -> ir.Function:
    """Return the function that computes one panel of any number of neighbouring results (``TILE_ARGS``, count)."""
    op = attributes(node, ops.ImageConv2d)
    kh, kw, cin, channels = static_shape(node.inputs[1])
    pixel = 2 * op.stride[1] * cin
    key = f"i8_image_{panel.key}_{kh}x{kw * cin}_p{pixel}c{channels}_{requant.key}"

    def build(fn: Fn) -> None:
        pixels, weights, result, parameters, row_bytes, count = fn.args
        done: int | ir.Value = 0
        for rows in (panel.rows, *(t for t in TAIL_ROWS if t < panel.rows)):
            tile = e.function(
                f"{key}_rows{rows}",
                TILE_ARGS,
                partial(_Tile(e.target, panel, requant, (kh, kw * cin), pixel, channels, rows).emit),
            )
            stop = fn.add(done, fn.mul(fn.div(fn.sub(count, done), rows), rows))
            with fn.loop(done, stop, rows) as x:
                at, to = fn.at(pixels, fn.mul(x, pixel)), fn.at(result, fn.mul(x, channels))
                fn.call(tile, at, weights, to, parameters, row_bytes)
            done = stop
        fn.finish()

    return e.function(key, (*TILE_ARGS, I64), build)


@dataclass(frozen=True, slots=True)
class _Tile:
    """The sums of ``rows`` neighbouring results."""

    target: Target
    panel: Panel
    requant: RequantSpec
    runs: tuple[int, int]
    pixel: int
    result: int
    rows: int

    def emit(self, fn: Fn) -> None:
        """Write the function."""
        pixels, weights, result, parameters, row_bytes = fn.args
        dot = _pairs(self.target)
        steps = -(-self.runs[1] // dot.group)
        step_bytes = self.panel.width * dot.lane_bytes

        def kernel_row(ky: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            line = fn.at(pixels, fn.mul(ky, row_bytes))
            block = fn.at(weights, fn.mul(ky, steps * step_bytes))
            return fn.loop_carry(
                0,
                steps,
                1,
                sums,
                lambda k, carried: self._step(
                    fn, dot, fn.at(line, fn.mul(k, 2 * dot.group)), fn.at(block, fn.mul(k, step_bytes)), carried
                ),
            )

        sums = self._vectors(fn, parameters, I32) * self.rows
        sums = fn.loop_carry(0, self.runs[0], 1, sums, kernel_row)
        self._store(fn, sums, self._vectors(fn, fn.at(parameters, 4 * self.panel.width), F32), result)
        fn.finish()

    def _vectors(self, fn: Fn, address: ir.Value, element: ir.Type) -> list[ir.Value]:
        return [fn.load(vector(element, n), fn.at(address, 4 * start)) for start, n in self._lanes()]

    def _lanes(self) -> list[tuple[int, int]]:
        starts = np.cumsum([0, *self.panel.vectors])
        return [(int(start), lanes) for start, lanes in zip(starts, self.panel.vectors, strict=False)]

    def _step(self, fn: Fn, dot: Dot, pixels: ir.Value, weights: ir.Value, sums: Sequence[ir.Value]) -> list[ir.Value]:
        held = [
            fn.load(vector(I16, n * dot.group), fn.at(weights, start * dot.lane_bytes)) for start, n in self._lanes()
        ]
        updated: list[ir.Value] = []
        for row in range(self.rows):
            # The last pair of a row of the window may reach one element too far, where it meets a zero weight.
            element = I32 if dot.group > 1 else I16
            x = fn.load(element, fn.at(pixels, row * self.pixel), align=2)
            for i, w in enumerate(held):
                updated.append(self._accumulate(fn, sums[row * len(held) + i], x, w))
        return updated

    def _accumulate(self, fn: Fn, total: ir.Value, x: ir.Value, weights: ir.Value) -> ir.Value:
        lanes = lanes_of(total)
        if x.type == I16:
            return fn.b.add(total, fn.b.mul(fn.splat(fn.b.sext(x, I32), lanes), fn.b.sext(weights, total.type)))
        pairs = fn.b.bitcast(fn.splat(x, lanes), weights.type)
        if self.target.has("avx512vnni") or self.target.has("avxvnni"):
            return named_intrinsic(fn, f"llvm.x86.avx512.vpdpwssd.{32 * lanes}", total.type, total, pairs, weights)
        name = {16: "avx512.pmaddw.d.512", 8: "avx2.pmadd.wd", 4: "sse2.pmadd.wd"}[lanes]
        return fn.b.add(total, named_intrinsic(fn, f"llvm.x86.{name}", total.type, pairs, weights))

    def _store(self, fn: Fn, sums: list[ir.Value], multipliers: list[ir.Value], result: ir.Value) -> None:
        requantiser, count = Requantiser(fn, self.target, self.requant), len(multipliers)
        for row in range(self.rows):
            first, channel = 0, 0
            for group in self.panel.groups:
                own = slice(first, first + group.vectors)
                requantiser.store(
                    sums[row * count + own.start : row * count + own.stop],
                    multipliers[own],
                    fn.at(result, row * self.result + channel),
                    min(group.width, self.panel.channels - channel),
                )
                first, channel = own.stop, channel + group.width
