"""1x1 convolution of uint8 by int8: a matrix product over the pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.nodes import attributes, static_shape
from smalti.kernels.quantised.dot import Dot
from smalti.kernels.quantised.gemm import Depth, GemmConstants, GemmSpec, gemm_block, widened_bytes
from smalti.kernels.quantised.requant import RESULT_TYPES, RequantSpec, steps_fit
from smalti.kernels.quantised.tile import (
    GemmTile,
    Panel,
    addend_bytes,
    choose_tile,
    pack_constants,
    pack_weights,
)
from smalti.llvm.builder import F32, PTR, Fn, vector
from smalti.numerics import DType
from smalti.target.target import Target


def integer_constant(node: Node) -> NDArray[np.generic] | None:
    """Return the value of a constant node of any type, or ``None``."""
    return node.op.value if isinstance(node.op, ops.Constant) else None


def addend_of(node: Node) -> Node | None:
    """Return the operand that is added to a convolution's steps."""
    op = node.op
    if not isinstance(op, (ops.QuantisedConv2d, ops.QuantisedDepthwiseConv2d)) or not op.addend:
        return None
    return node.inputs[3 + op.bias]


def computes_bytes(node: Node) -> bool:
    """Whether the node is a convolution of uint8 by constant int8 weights with constant multipliers and bias."""
    op = node.op
    if not isinstance(op, ops.QuantisedConv2d) or op.dtype not in RESULT_TYPES:
        return False
    if node.inputs[0].type.dtype is not DType.UINT8 or node.inputs[1].type.dtype is not DType.INT8:
        return False
    if op.residual and op.dtype is not DType.UINT8:
        return False
    return all(integer_constant(n) is not None for n in node.inputs[1 : 3 + op.bias])


@dataclass(frozen=True, slots=True)
class PackedConvolution:
    """A convolution ready for the matrix kernel: what is read at run time, what is packed, and how it is tiled.

    ``constants`` are weights, parameters (biases and multipliers) and, if they are constant, addends; ``operands`` are
    the input, then addends computed at run time, then the residual.
    """

    operands: tuple[int, ...]
    constants: tuple[NDArray[np.generic], ...]
    tile: GemmTile
    requant: RequantSpec


def requant_of(node: Node) -> RequantSpec:
    """Return what happens to the sums of a convolution."""
    op = node.op
    if not isinstance(op, (ops.QuantisedConv2d, ops.QuantisedDepthwiseConv2d)):
        raise CompilerError(f"{node!r} is not a quantised convolution")
    weights, multiplier = (_constant(n) for n in node.inputs[1:3])
    channels = multiplier.shape[0]
    addend = addend_of(node)
    added = np.zeros(channels, np.float32) if addend is None else integer_constant(addend)
    if added is None:
        return RequantSpec.of(op, bounded=False)
    bias = _constant(node.inputs[3]) if op.bias else np.zeros(channels, np.int32)
    scale = op.residual_scale if isinstance(op, ops.QuantisedConv2d) and op.residual else 0.0
    taps = weights.astype(np.int8).reshape(-1, channels)
    fits = steps_fit(taps, multiplier.astype(np.float32), bias.astype(np.int32), added.astype(np.float32), scale)
    return RequantSpec.of(op, fits)


def pack_convolution(
    node: Node, target: Target, runs: tuple[int, int], tile: GemmTile | None = None
) -> PackedConvolution:
    """Pack a convolution whose depth splits into ``runs`` (see ``pack_weights``); the tile is chosen if not given."""
    op = attributes(node, ops.QuantisedConv2d)
    weights, multiplier = (_constant(n) for n in node.inputs[1:3])
    channels = weights.shape[3]
    flat = weights.astype(np.int8).reshape(-1, channels)
    requant = requant_of(node)
    if tile is None:
        tile = choose_tile(target, requant, channels, flat.shape[0])
    bias = _constant(node.inputs[3]).astype(np.int64) if op.bias else np.zeros(channels, np.int64)
    dot = Dot.of_matrix(target)
    # Sums wrap around as int32 does, so the zero point can be taken out beforehand.
    bias = bias - (op.zero_point - dot.shift) * flat.sum(axis=0, dtype=np.int64)
    parameters = (bias.astype(np.int32), multiplier.astype(np.float32))
    constants: list[NDArray[np.generic]] = [
        pack_weights(flat, runs, tile.panels, dot),
        pack_constants(parameters, tile.panels),
    ]
    operands = [0]
    addend = addend_of(node)
    if addend is not None:
        value = integer_constant(addend)
        if value is None:
            operands.append(3 + op.bias)
        else:
            constants.append(pack_constants((value,), tile.panels))
    if op.residual:
        operands.append(len(node.inputs) - 1)
    return PackedConvolution(tuple(operands), tuple(constants), tile, requant)


def run_time_addend(node: Node) -> bool:
    """Whether the convolution's addend is computed when the model runs."""
    addend = addend_of(node)
    return addend is not None and integer_constant(addend) is None


def ordered_addends(e: StepEmitter, panels: tuple[Panel, ...], scratch: int) -> ir.Value:
    """Copy addends computed at run time (operand 1) to a scratch buffer in the order of the panels; return the copy."""
    key = "i8_addends_" + "_".join(p.key for p in panels)

    def build(fn: Fn) -> None:
        to, source = fn.args
        first, packed = 0, 0
        for panel in panels:
            order = panel.order
            for lane in range(0, panel.width, 4):
                channel = int(order[lane])
                count = min(4, panel.channels - channel)
                if count > 0:
                    # Four lanes hold four consecutive channels; where there are fewer, the rest is never stored.
                    piece = fn.load(vector(F32, count), fn.at(source, 4 * (first + channel)))
                    fn.store(piece, fn.at(to, 4 * (packed + lane)))
            first += panel.channels
            packed += panel.width
        fn.finish()

    copy = e.scratch(scratch)
    e.fn.call(e.function(key, (PTR, PTR), build), copy, e.operand(1))
    return copy


def addend_scratch(node: Node, panels: tuple[Panel, ...]) -> tuple[int, ...]:
    """Return the scratch buffer (the plan's last) for addends computed at run time, or none."""
    return (addend_bytes(panels),) if run_time_addend(node) else ()


def gemm_constants(e: StepEmitter, node: Node, plan: KernelPlan, panels: tuple[Panel, ...]) -> GemmConstants:
    """Return the addresses of a packed convolution's constants; addends of run time go to the last scratch buffer."""
    weights, parameters = e.constant(0), e.constant(1)
    if run_time_addend(node):
        return GemmConstants(weights, parameters, ordered_addends(e, panels, len(plan.scratch) - 1))
    return GemmConstants(weights, parameters, e.constant(2) if addend_of(node) is not None else parameters)


def _constant(node: Node) -> NDArray[np.generic]:
    value = integer_constant(node)
    if value is None:
        raise CompilerError(f"{node!r} is not a constant")
    return value


@dataclass(frozen=True, slots=True)
class ConvolutionPlan:
    """Tile and requantisation of a convolution."""

    tile: GemmTile
    requant: RequantSpec


@dataclass(frozen=True, slots=True)
class PointwiseKernel:
    """``[pixels, in] x [in, out]`` in integers."""

    name: str = "i8_conv1x1"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is an unpadded, unstrided 1x1 convolution of uint8 by int8."""
        op = node.op
        if not isinstance(op, ops.QuantisedConv2d) or not computes_bytes(node):
            return False
        return static_shape(node.inputs[1])[:2] == (1, 1) and op.stride == (1, 1) and all(p == 0 for p in op.pads)

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile and pack the constants."""
        depth = static_shape(node.inputs[1])[2]
        packed = pack_convolution(node, target, (1, depth))
        spec = _spec(node, packed.requant)
        widened = widened_bytes(spec, Dot.of_matrix(target), packed.tile.block)
        scratch = ((widened,) if widened else ()) + addend_scratch(node, packed.tile.panels)
        return KernelPlan(packed.operands, packed.constants, scratch, ConvolutionPlan(packed.tile, packed.requant))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a chunk of pixels, all panels after one another."""
        own = plan.tile
        if not isinstance(own, ConvolutionPlan):
            raise CompilerError(f"{self.name}: foreign tile {own}")
        fn, tile, spec = e.fn, own.tile, _spec(node, own.requant)
        source, result = e.operand(0), e.result()
        residual = e.operand(len(plan.operands) - 1) if own.requant.residual else None
        pixels = e.size(node.type.shape[0] * node.type.shape[1] * node.type.shape[2])
        scratch = e.scratch(0) if Dot.of_matrix(e.target).widens else None
        with e.parallel(fn.ceil_div(pixels, tile.chunk)) as item:
            constants = gemm_constants(e, node, plan, tile.panels)
            begin = fn.mul(item, tile.chunk)
            end = fn.minimum(fn.add(begin, tile.chunk), pixels)
            with fn.loop(begin, end, tile.block) as start:
                offset = fn.mul(start, spec.result_stride)
                gemm_block(
                    e,
                    spec,
                    tile.panels,
                    fn.at(source, fn.mul(start, spec.pixel_stride)),
                    constants,
                    fn.at(result, offset),
                    fn.minimum(tile.block, fn.sub(end, start)),
                    None if residual is None else fn.at(residual, offset),
                    0,
                    scratch,
                )


def _spec(node: Node, requant: RequantSpec) -> GemmSpec:
    depth, channels = static_shape(node.inputs[1])[2:]
    return GemmSpec(Depth(1, 1, 0, depth), depth, channels * requant.itemsize, requant)
