"""What integer convolutions that are matrix products share: packed constants, and panels while a step is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.epilogue.steps import Epilogue
from smalti.kernels.kernel import FunctionEmitter, KernelPlan, StepEmitter
from smalti.kernels.matrix.core import Constants, MatrixSpec, Packed
from smalti.kernels.matrix.shapes import Depth, GemmTile, Panel, pack_rows
from smalti.kernels.nodes import array_of, attributes, known, position_of
from smalti.kernels.quantised.products import ByteDot
from smalti.kernels.quantised.requant import has_epilogue, requantising, steps_fit
from smalti.kernels.quantised.tile import choose_tile
from smalti.llvm.builder import F32, PTR, vector
from smalti.numerics import DType
from smalti.target.target import Target

ROW_COUNT = 2
"""Biases and multipliers lie together; addends lie apart, since they may be computed at run time."""


def run_time_addend(node: Node) -> bool:
    """Whether the convolution's addend is computed when the model runs."""
    addend = node.operand("addend")
    return addend is not None and array_of(addend) is None


def bias_of(node: Node) -> NDArray[np.generic]:
    """Return the constant biases of an integer convolution (zeros if it has none)."""
    return np.zeros(known(node.multiplier).shape[0], np.int32) if node.bias is None else known(node.bias)


def computes_bytes(node: Node) -> bool:
    """Whether the node is a convolution of uint8 by constant int8 weights with constant multipliers and bias."""
    op = node.op
    if not isinstance(op, ops.QuantisedConv2d) or not has_epilogue(op):
        return False
    if node.x.type.dtype is not DType.UINT8 or node.weights.type.dtype is not DType.INT8:
        return False
    return all(n is None or array_of(n) is not None for n in (node.weights, node.multiplier, node.bias))


@dataclass(frozen=True, slots=True)
class ConvolutionPlan:
    """Tile and epilogue of a convolution."""

    tile: GemmTile
    epilogue: Epilogue


@dataclass(frozen=True, slots=True)
class PackedConvolution:
    """A convolution ready for the matrix kernel: what is read at run time, what is packed, and how it is tiled.

    ``constants`` are weights, rows (biases and multipliers) and, if they are constant, addends; ``operands`` are
    the input, then addends computed at run time, then the residual; ``scratch`` is for those addends.
    """

    operands: tuple[int, ...]
    constants: tuple[NDArray[np.generic], ...]
    scratch: tuple[int, ...]
    own: ConvolutionPlan


def epilogue_of(node: Node) -> Epilogue:
    """Return what happens to the sums of a convolution."""
    op = attributes(node, ops.QuantisedConv2d)
    weights, multiplier = (known(n) for n in (node.weights, node.multiplier))
    channels = multiplier.shape[0]
    addend = node.operand("addend")
    added = np.zeros(channels, np.float32) if addend is None else array_of(addend)
    if added is None:
        return requantising(op, bounded=False)
    scale = op.residual_scale if op.residual else 0.0
    taps, bias = weights.astype(np.int8).reshape(-1, channels), bias_of(node).astype(np.int32)
    fits = steps_fit(taps, multiplier.astype(np.float32), bias, added.astype(np.float32), scale)
    return requantising(op, fits)


def pack_convolution(node: Node, target: Target, depth: Depth, tile: GemmTile | None = None) -> PackedConvolution:
    """Pack a convolution; the tile is chosen if not given."""
    op = attributes(node, ops.QuantisedConv2d)
    weights, multiplier = (known(n) for n in (node.weights, node.multiplier))
    channels = weights.shape[3]
    flat = weights.astype(np.int8).reshape(-1, channels)
    own = epilogue_of(node)
    if tile is None:
        tile = choose_tile(target, own, channels, flat.shape[0])
    matrix = ByteDot.of(target)
    # Sums wrap around as int32 does, so the zero point can be taken out beforehand.
    bias = bias_of(node).astype(np.int64) - (op.zero_point - matrix.dot.shift) * flat.sum(axis=0, dtype=np.int64)
    rows = (bias.astype(np.int32), multiplier.astype(np.float32))
    constants = [matrix.layout.pack(flat, depth, tile.panels), pack_rows(rows, tile.panels)]
    operands, scratch = [0], []
    addend = node.operand("addend")
    if addend is not None:
        value = array_of(addend)
        if value is None:
            operands.append(position_of(node, "addend"))
            scratch.append(4 * tile.width)
        else:
            constants.append(pack_rows((value,), tile.panels))
    if op.residual:
        operands.append(position_of(node, "residual"))
    return PackedConvolution(tuple(operands), tuple(constants), tuple(scratch), ConvolutionPlan(tile, own))


def panels_of(e: StepEmitter, node: Node, plan: KernelPlan, spec: MatrixSpec, panels: tuple[Panel, ...]) -> Packed:
    """Return the panels of a step; addends computed at run time go to the last scratch buffer, in their order."""
    rows = e.constant(1)
    addends = rows
    if run_time_addend(node):
        addends = e.scratch(len(plan.scratch) - 1)
        e.fn.call(e.function(ordered_addends, panels, (PTR, PTR)), addends, e.operand(1))
    elif node.operand("addend") is not None:
        addends = e.constant(2)
    return Packed(spec, panels, Constants(e.constant(0), rows, addends), ROW_COUNT)


def ordered_addends(e: FunctionEmitter, panels: tuple[Panel, ...]) -> None:
    """Build ``ordered_addends(target, source)``, which copies addends in the order of the panels."""
    fn = e.fn
    to, source = fn.args
    first, packed = 0, 0
    for panel in panels:
        order = panel.order
        for lane in range(0, panel.width, 4):
            channel = int(order[lane])
            count = min(4, panel.channels - channel)
            if count > 0:
                # Four lanes hold four consecutive channels; where there are fewer, the rest is never stored.
                piece: ir.Value = fn.load(vector(F32, count), fn.at(source, 4 * (first + channel)))
                fn.store(piece, fn.at(to, 4 * (packed + lane)))
        first += panel.channels
        packed += panel.width
    fn.finish()
