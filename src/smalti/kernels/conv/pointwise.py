"""1x1 convolution with sums in float32: a matrix product over the pixels."""

from __future__ import annotations

from dataclasses import dataclass

from smalti.errors import CompilerError
from smalti.ir.graph import Node
from smalti.kernels.conv.convolution import PREFIXES, Arithmetic, convolution, is_depthwise, read_convolution
from smalti.kernels.conv.gemm import Depth, GemmSpec, gemm_panel
from smalti.kernels.conv.matrix import gemm_tile, matrix_plan, panels_of
from smalti.kernels.conv.tile import GemmTile
from smalti.kernels.conv.widen import widen_run
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.nodes import static_shape
from smalti.numerics import DType
from smalti.target.target import Target


@dataclass(frozen=True, slots=True)
class PointwiseKernel:
    """``[pixels, in] x [in, out]`` with fused bias, residual and activation; ``dtype`` is that of the weights."""

    dtype: DType = DType.FLOAT32

    @property
    def name(self) -> str:
        """Name shown in profiles."""
        return f"{PREFIXES[self.dtype]}_conv1x1"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is an unpadded, unstrided 1x1 convolution with constant weights."""
        c = read_convolution(node, target)
        if c is None or is_depthwise(node) or c.weights is not self.dtype or c.x is DType.UINT8:
            return False
        if c.arithmetic is Arithmetic.PLAIN and c.offset:
            return False
        return static_shape(node.inputs[1])[:2] == (1, 1) and c.stride == (1, 1) and all(p == 0 for p in c.pads)

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile and pack weights and parameters."""
        c, depth = convolution(node, target), _depth(node)
        tile = gemm_tile(c, target, static_shape(node.inputs[1])[3], depth.total)
        return matrix_plan(node, c, target, depth, (4 * depth.total * tile.block,) if c.widened else ())

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a chunk of pixels, all panels after one another."""
        c, depth, tile = convolution(node, e.target), _depth(node), plan.tile
        if not isinstance(tile, GemmTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        fn = e.fn
        channels = static_shape(node.inputs[1])[3]
        size = c.epilogue.stored.itemsize
        pixel, stride = c.itemsize * depth.total, size * channels
        spec = GemmSpec(depth, pixel, stride, stride, c.residual, c.epilogue, c.pairs, c.panel_type)
        source, result = e.operand(0), e.result()
        residual = e.operand(len(plan.operands) - 1) if c.residual else source
        pixels = e.size(node.type.shape[0] * node.type.shape[1] * node.type.shape[2])
        with e.parallel(fn.ceil_div(pixels, tile.chunk)) as item:
            begin = fn.mul(item, tile.chunk)
            end = fn.minimum(fn.add(begin, tile.chunk), pixels)
            panels = panels_of(e, node, c, depth, plan, tile)
            with fn.loop(begin, end, tile.block) as start:
                count = fn.minimum(tile.block, fn.sub(end, start))
                block = fn.at(source, fn.mul(start, c.x.itemsize * depth.total))
                if c.widened:
                    fn.call(widen_run(e, c.x, c.offset), e.scratch(0), block, fn.mul(count, depth.total))
                    block = e.scratch(0)
                for work in panels.each():
                    fn.call(
                        gemm_panel(e, spec, work.panel),
                        block,
                        work.weights,
                        fn.at(result, fn.add(fn.mul(start, spec.result_stride), size * work.channel)),
                        work.parameters,
                        fn.at(residual, fn.add(fn.mul(start, spec.residual_stride), size * work.channel)),
                        0,
                        count,
                    )


def _depth(node: Node) -> Depth:
    return Depth(1, 1, 0, static_shape(node.inputs[1])[2])
