"""1x1 convolution with sums in float32: a matrix product over the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir.graph import Node
from smalti.kernels.conv.convolution import (
    CONVOLUTIONS,
    PREFIXES,
    Arithmetic,
    convolution,
    dot_of,
    read_convolution,
)
from smalti.kernels.conv.matrix import gemm_tile, matrix_plan, panels_of
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.matrix.core import MatrixSpec
from smalti.kernels.matrix.pixels import Elements, emit_pixels, widen_run
from smalti.kernels.matrix.shapes import Depth, GemmTile
from smalti.kernels.nodes import static_shape
from smalti.kernels.takes import Takes
from smalti.kernels.walk import Index
from smalti.numerics import DType
from smalti.target.target import Target


@dataclass(frozen=True, slots=True)
class PointwiseKernel:
    """``[pixels, in] x [in, out]`` with fused bias, residual and activation; ``dtype`` is that of the weights."""

    takes: ClassVar[tuple[Takes, ...]] = CONVOLUTIONS
    dtype: DType = DType.FLOAT32

    @property
    def name(self) -> str:
        """Name shown in profiles."""
        return f"{PREFIXES[self.dtype]}_conv1x1"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is an unpadded, unstrided 1x1 convolution with constant weights."""
        c = read_convolution(node, target)
        if c is None or c.weights is not self.dtype or c.x is DType.UINT8:
            return False
        if c.arithmetic is Arithmetic.PLAIN and c.offset:
            return False
        return static_shape(node.weights)[:2] == (1, 1) and c.stride == (1, 1) and all(p == 0 for p in c.pads)

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile and pack weights and parameters."""
        c, depth = convolution(node, target), _depth(node)
        tile = gemm_tile(c, target, static_shape(node.weights)[3], depth.total)
        return matrix_plan(node, c, target, depth, (4 * depth.total * tile.block,) if c.widened else ())

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a chunk of pixels, all panels after one another."""
        c, depth, tile = convolution(node, e.target), _depth(node), plan.tile
        if not isinstance(tile, GemmTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        fn = e.fn
        stride = c.epilogue.itemsize * static_shape(node.weights)[3]
        spec = MatrixSpec(dot_of(c, e.target), depth, c.itemsize * depth.total, stride, c.epilogue)
        first, _ = e.operand(0), e.result()
        residual = e.operand(len(plan.operands) - 1) if c.residual else None
        pixels = e.size(node.type.shape[0] * node.type.shape[1] * node.type.shape[2])

        def source(start: Index, count: Index) -> ir.Value:
            block = fn.at(first, fn.mul(start, c.x.itemsize * depth.total))
            if not c.widened:
                return block
            widen_run(e, Elements(c.x, c.offset), e.scratch(0), block, fn.mul(count, depth.total))
            return e.scratch(0)

        emit_pixels(e, pixels, tile, lambda: panels_of(e, node, c, plan, spec, tile.panels), source, residual)


def _depth(node: Node) -> Depth:
    return Depth.flat(static_shape(node.weights)[2])
