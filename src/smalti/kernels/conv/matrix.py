"""What 1x1 and general convolutions share: packed constants and the panels of a block of pixels.

Scratch buffers are first the kernel's own, then (copied weights) one panel of them, then (parameters computed
at run time that do not lie as the matrix kernel wants them) the parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.kernels.conv.convolution import Arithmetic, Convolution, weight_array, wide_constant
from smalti.kernels.conv.gemm import Depth
from smalti.kernels.conv.tile import SPARE, SPARE_WIDENED, GemmTile, Panel, choose_tile, pack_pairs, pack_panels
from smalti.kernels.conv.widen import widen_run
from smalti.kernels.half.bfloat import DOT_LANES
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.nodes import static_channels
from smalti.numerics import DType
from smalti.target.target import Target


def gemm_tile(c: Convolution, target: Target, channels: int, depth: int) -> GemmTile:
    """Return the panels for a convolution's arithmetic."""
    if c.pairs:
        return choose_tile(target, channels, (depth + 1) // 2, DOT_LANES[0])
    tile = choose_tile(target, channels, depth, spare=SPARE if c.panel_type is DType.FLOAT32 else SPARE_WIDENED)
    # Weights are copied once for a block of pixels.
    return replace(tile, block=tile.chunk) if c.arithmetic is Arithmetic.COPIED else tile


def pack_weights(
    c: Convolution, weights: NDArray[np.generic], depth: Depth, panels: tuple[Panel, ...]
) -> NDArray[np.generic]:
    """Pack ``[..., channels]`` weights for the matrix kernel."""
    matrix = weights.reshape(depth.total, weights.shape[-1])
    return pack_pairs(matrix, depth.inner, panels) if c.pairs else pack_panels(matrix, panels)


def weight_bytes(c: Convolution, depth: Depth) -> int:
    """Return the bytes of packed weights of one column of a panel."""
    return depth.panel_bytes(1, c.pairs) if c.pairs else depth.total * c.weights.itemsize


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


def parameters_are_copied(node: Node, c: Convolution, tile: GemmTile) -> bool:
    """Whether parameters computed at run time must be copied before the matrix kernel can read them."""
    runtime = runtime_parameters(node, c)
    padded = any(p.width != p.channels for p in tile.panels)
    plain = len(c.parameters) == 1 and not padded
    return bool(runtime) and not (plain and node.inputs[runtime[0]].type.dtype is DType.FLOAT32)


def matrix_plan(node: Node, c: Convolution, target: Target, depth: Depth, own: tuple[int | Dim, ...]) -> KernelPlan:
    """Return the plan of a matrix kernel whose own scratch buffers are of ``own`` bytes."""
    weights = weight_array(node)
    tile = gemm_tile(c, target, weights.shape[-1], depth.total)
    runtime = runtime_parameters(node, c)
    copied = parameters_are_copied(node, c, tile)
    constants = [pack_weights(c, weights, depth, tile.panels)]
    if copied or not runtime:
        constants.append(pack_panels(constant_parameters(node, c), tile.panels))
    scratch = list(own)
    if c.arithmetic is Arithmetic.COPIED:
        scratch.append(4 * max(p.width for p in tile.panels) * depth.total)
    if copied:
        scratch.append(constants[1].nbytes)
    operands = (0, *runtime, *((len(node.inputs) - 1,) if c.residual else ()))
    return KernelPlan(operands, tuple(constants), tuple(scratch), tile)


@dataclass(frozen=True, slots=True)
class PanelWork:
    """One panel, ready for the matrix kernel: its first channel, its weights and parameters."""

    panel: Panel
    channel: int
    weights: ir.Value
    parameters: ir.Value


@dataclass(frozen=True, slots=True)
class Panels:
    """The packed constants of a convolution (or of a block of its channels) while a step is written.

    ``room`` is the scratch buffer of a copied panel, ``None`` where weights are multiplied as they are.
    """

    e: StepEmitter
    c: Convolution
    depth: Depth
    tile: GemmTile
    weights: ir.Value
    parameters: ir.Value
    room: ir.Value | None

    def each(self) -> Iterator[PanelWork]:
        """Yield one panel after another; work written between two of them uses the first."""
        fn, channel, packed = self.e.fn, 0, 0
        for panel in self.tile.panels:
            weights = fn.at(self.weights, packed * weight_bytes(self.c, self.depth))
            if self.room is not None:
                fn.call(widen_run(self.e, self.c.weights), self.room, weights, self.depth.total * panel.width)
                weights = self.room
            yield PanelWork(panel, channel, weights, fn.at(self.parameters, 4 * len(self.c.parameters) * packed))
            channel += panel.channels
            packed += panel.width


def panels_of(e: StepEmitter, node: Node, c: Convolution, depth: Depth, plan: KernelPlan, tile: GemmTile) -> Panels:
    """Return the panels of a step; where parameters must be copied, write that (inside the parallel part)."""
    copied = parameters_are_copied(node, c, tile)
    if copied:
        parameters = _copied_parameters(e, node, c, tile, e.constant(1), e.scratch(len(plan.scratch) - 1))
    else:
        parameters = e.operand(1) if runtime_parameters(node, c) else e.constant(1)
    room = e.scratch(len(plan.scratch) - 1 - copied) if c.arithmetic is Arithmetic.COPIED else None
    return Panels(e, c, depth, tile, e.constant(0), parameters, room)


def _copied_parameters(
    e: StepEmitter, node: Node, c: Convolution, tile: GemmTile, packed: ir.Value, room: ir.Value
) -> ir.Value:
    fn, rows = e.fn, len(c.parameters)
    fn.call(widen_run(e, DType.FLOAT32), room, packed, rows * sum(p.width for p in tile.panels))
    for operand, position in enumerate(runtime_parameters(node, c), 1):
        dtype, row = node.inputs[position].type.dtype, c.parameters.index(position)
        channel, column = 0, 0
        for panel in tile.panels:
            target = fn.at(room, 4 * (rows * column + row * panel.width))
            source = fn.at(e.operand(operand), dtype.itemsize * channel)
            fn.call(widen_run(e, dtype), target, source, panel.channels)
            channel += panel.channels
            column += panel.width
    return room
