"""Depthwise 2-D convolution of uint8 by int8, any window, stride, dilation and padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.conv.convolution import INTEGER_DEPTHWISE, is_depthwise
from smalti.kernels.conv.depthwise import valid_taps
from smalti.kernels.epilogue.steps import Add, Epilogue
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.nodes import array_of, attributes, known, static_channels, static_shape
from smalti.kernels.quantised.dot import Dot
from smalti.kernels.quantised.packing import bias_of, epilogue_of
from smalti.kernels.quantised.requant import has_epilogue
from smalti.kernels.quantised.strips import Filters, Strips, cut, pack_filters
from smalti.kernels.quantised.window import ROW_ARGS, RowSpec, WindowSpec, depthwise_row
from smalti.kernels.takes import Takes
from smalti.numerics import DType
from smalti.target.target import Target

ROWS = 8
BLOCK = 64
WIDEST_LOAD = 64


@dataclass(frozen=True, slots=True)
class DepthwiseTile:
    """Channels and result rows of a work item (the last ones may be fewer), and what happens to sums."""

    channels: int
    rows: int
    epilogue: Epilogue


@dataclass(frozen=True, slots=True)
class DepthwiseKernel:
    """Depthwise convolution in integers."""

    takes: ClassVar[tuple[Takes, ...]] = (INTEGER_DEPTHWISE,)
    name: str = "i8_depthwise"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is a depthwise convolution of uint8 by int8, all but the pixels constant."""
        op = node.op
        if not isinstance(op, ops.QuantisedConv2d) or not is_depthwise(node) or op.residual or not has_epilogue(op):
            return False
        if node.x.type.dtype is not DType.UINT8 or node.weights.type.dtype is not DType.INT8:
            return False
        return all(array_of(n) is not None for n in node.inputs[1:])

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the block and pack the constants."""
        channels = static_channels(node)
        block = channels if channels < 2 * BLOCK else BLOCK
        return KernelPlan((0,), packed_filters(node, target, block), (), DepthwiseTile(block, ROWS, epilogue_of(node)))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a band of rows of one channel block."""
        op, tile = attributes(node, ops.QuantisedConv2d), plan.tile
        if not isinstance(tile, DepthwiseTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        fn = e.fn
        channels = static_channels(node)
        source_height, source_width = (e.size(s) for s in node.x.type.shape[1:3])
        batch, height, width = (e.size(s) for s in node.type.shape[:3])
        top, left = e.size(op.pads[0]), e.size(op.pads[2])
        spec = window_spec(node, tile.epilogue, channels)
        blocks, bands = -(-channels // tile.channels), fn.ceil_div(height, tile.rows)
        row_bytes = fn.mul(source_width, channels)
        whole, last = blocks_of(e.target, channels, tile.channels)

        with e.parallel(fn.mul(fn.mul(batch, bands), blocks)) as item:
            block, rest = fn.mod(item, blocks), fn.div(item, blocks)
            image, start = fn.div(rest, bands), fn.mul(fn.mod(rest, bands), tile.rows)
            stop = fn.minimum(fn.add(start, tile.rows), height)

            def band(strips: tuple[Strips, ...]) -> None:
                function = e.function(depthwise_row, RowSpec(spec, strips), ROW_ARGS)
                channel = fn.mul(block, tile.channels)
                source, result = (
                    fn.at(e.operand(0), channel),
                    fn.at(e.result(), fn.mul(channel, spec.epilogue.itemsize)),
                )
                weights = fn.at(e.constant(0), fn.mul(block, spec.filters.weight_bytes(e.target, whole)))
                parameters = fn.at(e.constant(1), fn.mul(block, spec.filters.parameter_bytes(whole)))
                with fn.loop(start, stop) as y:
                    origin = fn.sub(fn.mul(y, op.stride[0]), top)
                    low, high = valid_taps(fn, origin, source_height, spec.filters.kh, op.dilation[0])
                    above = fn.mul(fn.add(fn.mul(image, source_height), origin), row_bytes)
                    below = fn.mul(fn.mul(fn.add(fn.mul(image, height), y), width), spec.result_pixel)
                    fn.call(
                        function,
                        fn.at(source, above),
                        fn.at(result, below),
                        weights,
                        parameters,
                        e.constant(2),
                        low,
                        high,
                        fn.mul(row_bytes, op.dilation[0]),
                        source_width,
                        width,
                        left,
                    )

            choose_block(e, block, blocks, whole, last, band)


def choose_block(
    e: StepEmitter,
    block: int | ir.Value,
    blocks: int,
    whole: tuple[Strips, ...],
    last: tuple[Strips, ...],
    emit: Callable[[tuple[Strips, ...]], None],
) -> None:
    """Emit the work of a block, whose strips differ if it is the last."""
    if whole == last:
        emit(whole)
    else:
        e.fn.choose(e.fn.compare("<", block, blocks - 1), lambda: emit(whole), lambda: emit(last))


def blocks_of(target: Target, channels: int, block: int) -> tuple[tuple[Strips, ...], tuple[Strips, ...]]:
    """Return the strips of a block of channels and those of the last block."""
    rest = channels % block
    return cut(target, block), cut(target, rest or block)


def window_spec(node: Node, epilogue: Epilogue, source_pixel: int) -> WindowSpec:
    """Return the row geometry of a depthwise node whose pixels lie so many bytes apart."""
    op = attributes(node, ops.QuantisedConv2d)
    (kh, kw), channels = static_shape(node.weights)[:2], static_channels(node)
    filters = Filters(kh, kw, epilogue.find(Add) is not None)
    return WindowSpec(filters, op.stride[1], op.dilation[1], source_pixel, channels * epilogue.itemsize, epilogue)


def packed_filters(node: Node, target: Target, block: int) -> tuple[NDArray[np.generic], ...]:
    """Return packed weights, packed parameters and a row of zero points, for blocks of so many channels."""
    op = attributes(node, ops.QuantisedConv2d)
    weights = known(node.weights).astype(np.int8)[:, :, 0]
    channels = weights.shape[2]
    # Sums wrap around as int32 does, so the zero point can be taken out beforehand.
    bias = bias_of(node).astype(np.int64) - (op.zero_point - Dot.of(target).shift) * weights.sum(
        axis=(0, 1), dtype=np.int64
    )
    parameters: list[NDArray[np.generic]] = [bias.astype(np.int32), known(node.multiplier).astype(np.float32)]
    addend = node.operand("addend")
    if addend is not None:
        parameters.append(known(addend).astype(np.float32))
    whole, last = blocks_of(target, channels, block)
    strips = whole * (channels // block) + (last if channels % block else ())
    packed = pack_filters(weights, parameters, target, strips)
    return (*packed, np.full(WIDEST_LOAD, op.zero_point, np.uint8))
