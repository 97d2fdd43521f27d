"""1x1 convolution in float32: a matrix product over the pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.conv.gemm import Depth, GemmSpec, gemm_panel
from smalti.kernels.conv.tile import GemmTile, Panel, choose_tile, pack_bias, pack_panels
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.nodes import attributes, constant_value, required_constant, static_shape
from smalti.numerics import DType
from smalti.target.target import Target


def packed_bias(node: Node, channels: int, panels: tuple[Panel, ...]) -> NDArray[np.float32] | None:
    """Return the packed bias of a convolution, zeros where it has none, ``None`` where it is computed at run time."""
    if not getattr(node.op, "bias", False):
        return pack_bias(np.zeros(channels, np.float32), panels)
    value = constant_value(node.inputs[2])
    return None if value is None else pack_bias(value, panels)


def bias_needs_padding(panels: tuple[Panel, ...]) -> bool:
    """Whether the packed bias has elements that the plain one has not."""
    return any(p.width != p.channels for p in panels)


def pack_convolution(node: Node, target: Target) -> tuple[tuple[int, ...], tuple[NDArray[np.float32], ...], GemmTile]:
    """Return the run-time operands, the packed weights (and bias, unless computed at run time) and the tile."""
    op = attributes(node, ops.Conv2d)
    weights = required_constant(node.inputs[1])
    depth, channels = int(np.prod(weights.shape[:3])), weights.shape[3]
    tile = choose_tile(target, channels, depth)
    bias = packed_bias(node, channels, tile.panels)
    constants = [pack_panels(weights.reshape(depth, channels), tile.panels)]
    operands = [0]
    if bias is None:
        operands.append(2)
    else:
        constants.append(bias)
    if op.residual:
        operands.append(len(node.inputs) - 1)
    return tuple(operands), tuple(constants), tile


@dataclass(frozen=True, slots=True)
class PointwiseKernel:
    """``[pixels, in] x [in, out]`` with fused bias, residual and activation."""

    name: str = "f32_conv1x1"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is an unpadded, unstrided 1x1 float32 convolution with constant weights."""
        op = node.op
        if not isinstance(op, ops.Conv2d) or op.layout is not ops.Layout.NHWC or op.input_offset:
            return False
        weights = constant_value(node.inputs[1])
        if weights is None or node.inputs[0].type.dtype is not DType.FLOAT32:
            return False
        if weights.shape[:2] != (1, 1) or op.stride != (1, 1) or any(p != 0 for p in op.pads):
            return False
        run_time_bias = op.bias and constant_value(node.inputs[2]) is None
        return not (
            run_time_bias and bias_needs_padding(choose_tile(target, weights.shape[3], weights.shape[2]).panels)
        )

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile and pack weights and bias."""
        operands, constants, tile = pack_convolution(node, target)
        return KernelPlan(operands, constants, (), tile)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a chunk of pixels, all panels after one another."""
        op, tile = attributes(node, ops.Conv2d), plan.tile
        if not isinstance(tile, GemmTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        fn = e.fn
        depth, channels = static_shape(node.inputs[1])[2:]
        spec = GemmSpec(Depth(1, 1, 0, depth), 4 * depth, 4 * channels, 4 * channels, op.residual, op.activation)
        source, result, weights = e.operand(0), e.result(), e.constant(0)
        run_time_bias = len(plan.constants) == 1
        bias = e.operand(1) if run_time_bias else e.constant(1)
        residual = e.operand(len(plan.operands) - 1) if op.residual else source
        pixels = e.size(node.type.shape[0] * node.type.shape[1] * node.type.shape[2])
        with e.parallel(fn.ceil_div(pixels, tile.chunk)) as item:
            begin = fn.mul(item, tile.chunk)
            end = fn.minimum(fn.add(begin, tile.chunk), pixels)
            with fn.loop(begin, end, tile.block) as start:
                count = fn.minimum(tile.block, fn.sub(end, start))
                first, packed = 0, 0
                for panel in tile.panels:
                    fn.call(
                        gemm_panel(e, spec, panel),
                        fn.at(source, fn.mul(start, spec.pixel_stride)),
                        fn.at(weights, 4 * packed * depth),
                        fn.at(result, fn.add(fn.mul(start, spec.result_stride), 4 * first)),
                        fn.at(bias, 4 * packed),
                        fn.at(residual, fn.add(fn.mul(start, spec.residual_stride), 4 * first)),
                        0,
                        count,
                    )
                    first += panel.channels
                    packed += panel.width
