"""General 2-D convolution of uint8 by int8: bands of pixels in scratch, with the zero point as padding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.conv.convolution import INTEGER_CONV
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.matrix.band import Band, Conversion, Fill, emit_bands
from smalti.kernels.matrix.core import MatrixSpec
from smalti.kernels.matrix.shapes import Depth
from smalti.kernels.nodes import attributes, static_shape
from smalti.kernels.quantised.packing import ConvolutionPlan, computes_bytes, pack_convolution, panels_of
from smalti.kernels.quantised.products import ByteDot
from smalti.kernels.takes import Takes
from smalti.numerics import DType
from smalti.target.target import Target


@dataclass(frozen=True, slots=True)
class GeneralConvKernel:
    """Any convolution of uint8 by constant int8 weights."""

    takes: ClassVar[tuple[Takes, ...]] = (INTEGER_CONV,)
    name: str = "i8_conv2d"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is such a convolution."""
        return computes_bytes(node)

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile, pack the constants, reserve the band."""
        packed = pack_convolution(node, target, _depth(node, target))
        band = _band(node, target).scratch_bytes(node)
        return KernelPlan(packed.operands, packed.constants, (band, *packed.scratch), packed.own)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a band of result rows."""
        op, own = attributes(node, ops.QuantisedConv2d), plan.tile
        if not isinstance(own, ConvolutionPlan):
            raise CompilerError(f"{self.name}: foreign tile {own}")
        matrix = ByteDot.of(e.target)
        cin, cout = static_shape(node.weights)[2:]
        pixel, result = matrix.element_bytes * op.stride[1] * cin, cout * own.epilogue.itemsize
        spec = MatrixSpec(matrix, _depth(node, e.target), pixel, result, own.epilogue, slack=True)
        band = _band(node, e.target)
        emit_bands(
            e,
            node,
            band,
            lambda: panels_of(e, node, plan, spec, own.tile.panels),
            lambda: e.operand(len(plan.operands) - 1) if op.residual else None,
        )


def _depth(node: Node, target: Target) -> Depth:
    kh, kw, cin, _ = static_shape(node.weights)
    dilation = attributes(node, ops.QuantisedConv2d).dilation[1]
    return Depth.window((kh, kw), cin, dilation, ByteDot.of(target).element_bytes)


def _band(node: Node, target: Target) -> Band:
    op, (kh, kw) = attributes(node, ops.QuantisedConv2d), static_shape(node.weights)[:2]
    conversion = Conversion.WIDEN if ByteDot.of(target).dot.widens else Conversion.COPY_BYTES
    fill = Fill(DType.UINT8, conversion, padding=op.zero_point)
    return Band(fill, (kh, kw), op.stride, op.dilation, op.pads)
