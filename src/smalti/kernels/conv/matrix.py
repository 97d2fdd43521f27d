"""What float convolutions that are matrix products share: packed constants, and the panels while a step is written.

Scratch buffers are first the kernel's own, then (copied weights) one panel of them, then (parameters computed
at run time that do not lie as the matrix kernel wants them) the parameters.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.kernels.conv.convolution import Arithmetic, Convolution, wide_constant
from smalti.kernels.half.bfloat import DOT_LANES
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.matrix.core import Constants, MatrixSpec, Packed
from smalti.kernels.matrix.floats import PairDot
from smalti.kernels.matrix.pixels import Elements, widen_run
from smalti.kernels.matrix.shapes import Depth, GemmTile, Layout, Panel, pack_rows
from smalti.kernels.matrix.tile import SPARE, SPARE_WIDENED, choose_tile
from smalti.kernels.nodes import known, position_of, static_channels
from smalti.numerics import DType
from smalti.target.target import Target


def gemm_tile(c: Convolution, target: Target, channels: int, depth: int) -> GemmTile:
    """Return the panels for a convolution's arithmetic."""
    if c.pairs:
        return choose_tile(target, channels, (depth + 1) // 2, DOT_LANES[0])
    tile = choose_tile(target, channels, depth, spare=SPARE if c.panel_type is DType.FLOAT32 else SPARE_WIDENED)
    # Weights are copied once for a block of pixels.
    return replace(tile, block=tile.chunk) if c.arithmetic is Arithmetic.COPIED else tile


def stored_layout(c: Convolution) -> Layout:
    """Return how packed weights lie in the model file."""
    return PairDot().layout if c.pairs else Layout(1, c.weights.numpy)


def constant_parameters(node: Node, c: Convolution) -> NDArray[np.float32]:
    """Return the parameters ``[rows, channels]``, zeros in place of those that are computed at run time."""
    rows = np.zeros((len(c.parameters), static_channels(node)), np.float32)
    for row, position in zip(rows, c.parameters, strict=True):
        value = None if position is None else wide_constant(node.inputs[position])
        row[:] = 0.0 if value is None else value
    return rows


def runtime_parameters(node: Node, c: Convolution) -> tuple[int, ...]:
    """Return the positions of the operands that are parameters computed at run time."""
    return tuple(p for p in c.parameters if p is not None and wide_constant(node.inputs[p]) is None)


def parameters_are_copied(node: Node, c: Convolution, panels: tuple[Panel, ...]) -> bool:
    """Whether parameters computed at run time must be copied before the matrix kernel can read them."""
    runtime = runtime_parameters(node, c)
    padded = any(p.width != p.channels for p in panels)
    plain = len(c.parameters) == 1 and not padded
    return bool(runtime) and not (plain and node.inputs[runtime[0]].type.dtype is DType.FLOAT32)


def matrix_plan(node: Node, c: Convolution, target: Target, depth: Depth, own: tuple[int | Dim, ...]) -> KernelPlan:
    """Return the plan of a matrix kernel whose own scratch buffers are of ``own`` bytes."""
    weights = known(node.weights)
    tile = gemm_tile(c, target, weights.shape[-1], depth.total)
    runtime = runtime_parameters(node, c)
    copied = parameters_are_copied(node, c, tile.panels)
    constants = [stored_layout(c).pack(weights, depth, tile.panels)]
    if copied or not runtime:
        constants.append(pack_rows(tuple(constant_parameters(node, c)), tile.panels))
    scratch = list(own)
    if c.arithmetic is Arithmetic.COPIED:
        scratch.append(4 * max(p.width for p in tile.panels) * depth.total)
    if copied:
        scratch.append(constants[1].nbytes)
    operands = (0, *runtime, *((position_of(node, "residual"),) if c.residual else ()))
    return KernelPlan(operands, tuple(constants), tuple(scratch), tile)


def panels_of(
    e: StepEmitter, node: Node, c: Convolution, plan: KernelPlan, spec: MatrixSpec, panels: tuple[Panel, ...]
) -> Packed:
    """Return the panels of a step; where parameters must be copied, write that (inside the parallel part)."""
    copied = parameters_are_copied(node, c, panels)
    if copied:
        rows = _copied_parameters(e, node, c, panels, e.constant(1), e.scratch(len(plan.scratch) - 1))
    else:
        rows = e.operand(1) if runtime_parameters(node, c) else e.constant(1)
    held = Constants(e.constant(0), rows, rows)
    packed = Packed(spec, panels, held, len(c.parameters), column_bytes=stored_layout(c).column_bytes(spec.depth))
    if c.arithmetic is not Arithmetic.COPIED:
        return packed
    room = e.scratch(len(plan.scratch) - 1 - copied)

    def widen(weights: ir.Value, panel: Panel) -> ir.Value:
        widen_run(e, Elements(c.weights), room, weights, spec.depth.total * panel.width)
        return room

    return replace(packed, widen=widen)


def _copied_parameters(
    e: StepEmitter, node: Node, c: Convolution, panels: tuple[Panel, ...], packed: ir.Value, room: ir.Value
) -> ir.Value:
    fn, rows = e.fn, len(c.parameters)
    widen_run(e, Elements(DType.FLOAT32), room, packed, rows * sum(p.width for p in panels))
    for operand, position in enumerate(runtime_parameters(node, c), 1):
        dtype, row = node.inputs[position].type.dtype, c.parameters.index(position)
        channel, column = 0, 0
        for panel in panels:
            target = fn.at(room, 4 * (rows * column + row * panel.width))
            source = fn.at(e.operand(operand), dtype.itemsize * channel)
            widen_run(e, Elements(dtype), target, source, panel.channels)
            channel += panel.channels
            column += panel.width
    return room
