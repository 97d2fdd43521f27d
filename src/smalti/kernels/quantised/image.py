"""The first convolution of a picture, exact in integers.

Its pixels lie in scratch as ``2 * x - double_offset`` in 16 bits, the padding as zeros; products of 16 bits then go
straight into sums of 32 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.epilogue.steps import Begin, Epilogue, Requantise, Scale
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.matrix.band import Band, Conversion, Fill, emit_bands
from smalti.kernels.matrix.core import Constants, MatrixSpec, Packed
from smalti.kernels.matrix.shapes import Depth, Panel, pack_rows
from smalti.kernels.nodes import attributes, known, static_shape
from smalti.kernels.quantised.packing import ROW_COUNT, bias_of
from smalti.kernels.quantised.products import WordDot
from smalti.kernels.quantised.tile import make_panel
from smalti.kernels.takes import Takes, takes
from smalti.numerics import DType
from smalti.target.target import Target

LARGEST_STEPS = float(1 << 30)
PIXEL_LIMIT = 255


@dataclass(frozen=True, slots=True)
class ImageTile:
    """Panels of channels, and what happens to sums."""

    panels: tuple[Panel, ...]
    epilogue: Epilogue


@dataclass(frozen=True, slots=True)
class ImageConvKernel:
    """Convolution of a picture by 16-bit weights."""

    takes: ClassVar[tuple[Takes, ...]] = (
        takes(
            ops.ImageConv2d,
            "stride",
            "pads",
            "double_offset",
            "bias",
            "scale",
            "result_zero_point",
            "low",
            "high",
        ),
    )
    name: str = "i8_image"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is such a convolution and all but the picture is constant."""
        return isinstance(node.op, ops.ImageConv2d) and all(isinstance(n.op, ops.Constant) for n in node.inputs[1:])

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile, pack the constants, reserve the band."""
        op = attributes(node, ops.ImageConv2d)
        weights, multiplier = (known(n) for n in (node.weights, node.multiplier))
        channels = weights.shape[3]
        flat, bias = weights.reshape(-1, channels), bias_of(node)
        reach = max(op.double_offset, 2 * PIXEL_LIMIT - op.double_offset)
        sums = np.abs(flat.astype(np.float64)).sum(axis=0) * reach + np.abs(bias.astype(np.float64))
        fits = bool((sums * np.abs(multiplier.astype(np.float64)) < LARGEST_STEPS).all())
        requantise = Requantise(DType.UINT8, op.result_zero_point, op.low, op.high, fits)
        epilogue = Epilogue((Begin(), Scale(), requantise), DType.UINT8)
        most = (4 if target.vector_bits == 512 else 2) * (target.vector_bits // 32)
        panels = tuple(make_panel(target, epilogue, min(most, channels - i)) for i in range(0, channels, most))
        constants = (
            WordDot.of(target).layout.pack(flat, _depth(node), panels),
            pack_rows((bias.astype(np.int32), multiplier.astype(np.float32)), panels),
        )
        return KernelPlan((0,), constants, (_band(node).scratch_bytes(node),), ImageTile(panels, epilogue))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a band of result rows."""
        op, tile = attributes(node, ops.ImageConv2d), plan.tile
        if not isinstance(tile, ImageTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        cin, channels = static_shape(node.weights)[2:]
        spec = MatrixSpec(WordDot.of(e.target), _depth(node), 2 * op.stride[1] * cin, channels, tile.epilogue, True)

        def packed() -> Packed:
            return Packed(spec, tile.panels, Constants(e.constant(0), e.constant(1), e.constant(1)), ROW_COUNT)

        emit_bands(e, node, _band(node), packed)


def _depth(node: Node) -> Depth:
    kh, kw, cin, _ = static_shape(node.weights)
    return Depth.window((kh, kw), cin, 1, 2)


def _band(node: Node) -> Band:
    op = attributes(node, ops.ImageConv2d)
    kh, kw = static_shape(node.weights)[:2]
    fill = Fill(DType.UINT8, Conversion.DOUBLE, float(op.double_offset), single=False)
    return Band(fill, (kh, kw), op.stride, (1, 1), op.pads)
