"""A float32 convolution whose results are quantised in registers: the first one of most networks.

The bits are those of the two steps one after the other; the float tensor between them is never written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.conv.convolution import FLOAT_CONV
from smalti.kernels.epilogue.steps import Begin, Epilogue, activation, quantising
from smalti.kernels.kernel import KernelPlan, Readers, StepEmitter
from smalti.kernels.matrix.band import Band, Conversion, Fill, emit_bands
from smalti.kernels.matrix.core import Constants, MatrixSpec, Packed
from smalti.kernels.matrix.floats import FloatDot, element_lanes
from smalti.kernels.matrix.shapes import Depth, GemmTile, pack_rows
from smalti.kernels.matrix.tile import choose_tile
from smalti.kernels.nodes import attributes, constant_value, required_constant, static_shape
from smalti.kernels.quantised.quantise import QUANTISE
from smalti.kernels.takes import Takes, may_take
from smalti.numerics import DType
from smalti.target.target import Target

CONV = (0,)
PIXELS = (0, 0)


@dataclass(frozen=True, slots=True)
class StemKernel:
    """Conv2d and the Quantise behind it."""

    takes: ClassVar[tuple[Takes, ...]] = (QUANTISE,)
    name: str = "i8_stem"

    def matches(self, node: Node, target: Target, readers: Readers) -> bool:
        """Whether the node quantises a float32 convolution that nothing else reads (1x1 ones have a kernel to keep)."""
        conv = node.x if isinstance(node.op, ops.Quantise) else node
        op = conv.op
        if conv is node or not isinstance(op, ops.Conv2d) or not may_take((FLOAT_CONV,), op) or readers[conv] != 1:
            return False
        if op.residual:
            return False
        x, w = conv.inputs[:2]
        if x.type.dtype not in (DType.UINT8, DType.FLOAT32) or static_shape(w)[:2] == (1, 1):
            return False
        return all(constant_value(n) is not None for n in conv.inputs[1:])

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile, pack weights and bias, reserve the band."""
        conv = node.x
        weights = required_constant(conv.weights)
        channels = weights.shape[3]
        tile = choose_tile(target, channels, _depth(conv).total)
        bias = np.zeros(channels, np.float32) if conv.bias is None else required_constant(conv.bias)
        packed = FloatDot().layout.pack(weights, _depth(conv), tile.panels)
        constants = (packed, pack_rows((bias,), tile.panels))
        return KernelPlan((PIXELS,), constants, (_band(conv).scratch_bytes(conv),), tile, (CONV,))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a band of result rows."""
        conv, tile = node.x, plan.tile
        if not isinstance(tile, GemmTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        op, quantise = attributes(conv, ops.Conv2d), attributes(node, ops.Quantise)
        cin, channels = static_shape(conv.weights)[2:]
        epilogue = Epilogue((Begin(), *activation(op.activation), quantising(quantise)), quantise.dtype)
        dot = FloatDot(at_once=element_lanes(e.target))
        spec = MatrixSpec(dot, _depth(conv), 4 * op.stride[1] * cin, epilogue.itemsize * channels, epilogue)

        def packed() -> Packed:
            return Packed(spec, tile.panels, Constants(e.constant(0), e.constant(1), e.constant(1)), 1)

        emit_bands(e, conv, _band(conv), packed)


def _band(conv: Node) -> Band:
    op, (kh, kw, _, _) = attributes(conv, ops.Conv2d), static_shape(conv.weights)
    fill = Fill(conv.x.type.dtype, Conversion.FLOAT, op.input_offset, single=False)
    return Band(fill, (kh, kw), op.stride, op.dilation, op.pads)


def _depth(conv: Node) -> Depth:
    kh, kw, cin, _ = static_shape(conv.weights)
    return Depth.window((kh, kw), cin, attributes(conv, ops.Conv2d).dilation[1], 4)
