"""1x1 convolution of uint8 by int8: a matrix product over the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.conv.convolution import INTEGER_CONV
from smalti.kernels.epilogue.steps import Epilogue
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.matrix.core import MatrixSpec
from smalti.kernels.matrix.pixels import Pixels, emit_pixels, widen_pixels
from smalti.kernels.matrix.shapes import Depth
from smalti.kernels.nodes import static_shape
from smalti.kernels.quantised.packing import ConvolutionPlan, computes_bytes, pack_convolution, panels_of
from smalti.kernels.quantised.products import ByteDot
from smalti.kernels.takes import Takes
from smalti.kernels.walk import Index
from smalti.target.target import Target


@dataclass(frozen=True, slots=True)
class PointwiseKernel:
    """``[pixels, in] x [in, out]`` in integers."""

    takes: ClassVar[tuple[Takes, ...]] = (INTEGER_CONV,)
    name: str = "i8_conv1x1"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is an unpadded, unstrided 1x1 convolution of uint8 by int8."""
        op = node.op
        if not isinstance(op, ops.QuantisedConv2d) or not computes_bytes(node):
            return False
        return static_shape(node.weights)[:2] == (1, 1) and op.stride == (1, 1) and all(p == 0 for p in op.pads)

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile and pack the constants."""
        depth = static_shape(node.weights)[2]
        packed = pack_convolution(node, target, Depth.flat(depth))
        copied = widened(depth, target)
        scratch = (copied.stride * packed.own.tile.block,) if copied else ()
        return KernelPlan(packed.operands, packed.constants, (*scratch, *packed.scratch), packed.own)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a chunk of pixels."""
        own = plan.tile
        if not isinstance(own, ConvolutionPlan):
            raise CompilerError(f"{self.name}: foreign tile {own}")
        depth, channels = static_shape(node.weights)[2:]
        spec = pointwise_spec(depth, channels, own.epilogue, e.target)
        residual = e.operand(len(plan.operands) - 1) if own.epilogue.residual else None
        pixels = e.size(node.type.shape[0] * node.type.shape[1] * node.type.shape[2])

        def source(start: Index, count: Index) -> ir.Value:
            return pixels_at(e, depth, start, count, 0)

        emit_pixels(e, pixels, own.tile, lambda: panels_of(e, node, plan, spec, own.tile.panels), source, residual)


def widened(depth: int, target: Target) -> Pixels | None:
    """Return the copy of pixels that the target's dot product reads, ``None`` if it reads them as they are."""
    matrix = ByteDot.of(target)
    group = matrix.layout.group
    return Pixels(depth, depth, -(-depth // group) * group * matrix.element_bytes) if matrix.dot.widens else None


def pointwise_spec(depth: int, channels: int, epilogue: Epilogue, target: Target) -> MatrixSpec:
    """Return the matrix kernel of a 1x1 convolution; copied pixels fill whole steps."""
    copied = widened(depth, target)
    stride = copied.stride if copied else depth
    result = channels * epilogue.itemsize
    return MatrixSpec(ByteDot.of(target), Depth.flat(depth), stride, result, epilogue, slack=copied is not None)


def pixels_at(e: StepEmitter, depth: int, start: Index, count: Index, scratch: int) -> ir.Value:
    """Return the address of pixel ``start`` of operand 0, or of the copy of ``count`` pixels from it on."""
    source = e.fn.at(e.operand(0), e.fn.mul(start, depth))
    copied = widened(depth, e.target)
    if copied is None:
        return source
    widen_pixels(e, copied, e.scratch(scratch), source, count)
    return e.scratch(scratch)
