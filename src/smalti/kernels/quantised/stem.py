"""A float32 convolution whose results are quantised in registers: the first one of most networks.

The bits are those of the two steps one after the other; the float tensor between them is never written.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.conv.epilogue import Epilogue
from smalti.kernels.conv.gemm import Depth, GemmSpec, gemm_panel
from smalti.kernels.conv.tile import GemmTile, choose_tile, pack_panels
from smalti.kernels.kernel import KernelPlan, Readers, StepEmitter
from smalti.kernels.nodes import attributes, constant_value, required_constant, static_shape
from smalti.kernels.quantised.bands import Band, Element, emit_rows
from smalti.kernels.quantised.quantise import quantised
from smalti.llvm.builder import Fn
from smalti.numerics import DType
from smalti.target.target import Target

CONV = (0,)
PIXELS = (0, 0)


@dataclass(frozen=True, slots=True)
class QuantisingEpilogue(Epilogue):
    """A float32 epilogue whose results are stored as the integers that stand for them."""

    quantise: ops.Quantise = ops.Quantise(1.0)

    @property
    def stored(self) -> DType:
        """Element type of results in memory."""
        return self.quantise.dtype

    @property
    def key(self) -> str:
        """Text that names the functions it is part of."""
        q = self.quantise
        return f"q{q.dtype.value}_{q.scale.hex()}_{q.zero_point}_{self.activation.value}".replace("-", "m")

    def store(self, fn: Fn, value: ir.Value, address: ir.Value) -> None:
        """Store finished values."""
        fn.store(quantised(fn, value, self.quantise), address)


@dataclass(frozen=True, slots=True)
class StemKernel:
    """Conv2d and the Quantise behind it."""

    name: str = "i8_stem"

    def matches(self, node: Node, target: Target, readers: Readers) -> bool:
        """Whether the node quantises a float32 convolution that nothing else reads (1x1 ones have a kernel to keep)."""
        conv = node.inputs[0] if isinstance(node.op, ops.Quantise) else node
        op = conv.op
        if conv is node or not isinstance(op, ops.Conv2d) or readers[conv] != 1:
            return False
        if op.residual or op.layout is not ops.Layout.NHWC:
            return False
        x, w = conv.inputs[:2]
        if x.type.dtype not in (DType.UINT8, DType.FLOAT32) or static_shape(w)[:2] == (1, 1):
            return False
        return all(constant_value(n) is not None for n in conv.inputs[1:])

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile, pack weights and bias, reserve the band."""
        conv = node.inputs[0]
        weights = required_constant(conv.inputs[1])
        channels = weights.shape[3]
        tile = choose_tile(target, channels, _depth(conv).total)
        bias = required_constant(conv.inputs[2]) if len(conv.inputs) > 2 else np.zeros(channels, np.float32)
        constants = (
            pack_panels(weights.reshape(-1, channels), tile.panels),
            pack_panels(bias.reshape(1, channels), tile.panels),
        )
        return KernelPlan((PIXELS,), constants, (_band(conv).scratch_bytes(conv),), tile, (CONV,))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a band of result rows."""
        conv, tile = node.inputs[0], plan.tile
        if not isinstance(tile, GemmTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        fn, op, quantise = e.fn, attributes(conv, ops.Conv2d), attributes(node, ops.Quantise)
        depth, (_, _, cin, channels) = _depth(conv), static_shape(conv.inputs[1])
        size, width = quantise.dtype.itemsize, e.size(node.type.shape[2])
        epilogue = QuantisingEpilogue(activation=op.activation, quantise=quantise)
        spec = GemmSpec(depth, 4 * op.stride[1] * cin, size * channels, 0, False, epilogue)

        def row(pixels: ir.Value, result: ir.Value, row_bytes: int | ir.Value) -> None:
            weights, bias, channel = e.constant(0), e.constant(1), 0
            for panel in tile.panels:
                at = fn.at(result, size * channel)
                fn.call(gemm_panel(e, spec, panel), pixels, weights, at, bias, at, row_bytes, width)
                weights = fn.at(weights, 4 * panel.width * depth.total)
                bias = fn.at(bias, 4 * panel.width)
                channel += panel.channels

        emit_rows(e, conv, node, _band(conv), size * channels, row)


def _band(conv: Node) -> Band:
    op, (kh, kw, _, _) = attributes(conv, ops.Conv2d), static_shape(conv.inputs[1])
    return Band(Element.FLOAT, op.input_offset, (kh, kw), op.stride, op.dilation, op.pads)


def _depth(conv: Node) -> Depth:
    op, (kh, kw, cin, _) = attributes(conv, ops.Conv2d), static_shape(conv.inputs[1])
    if op.dilation[1] == 1:
        return Depth(kh, 1, 0, kw * cin)
    return Depth(kh, kw, 4 * op.dilation[1] * cin, cin)
