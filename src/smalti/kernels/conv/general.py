"""General 2-D convolution with sums in float32, also straight from a uint8 image.

An item is a band of result rows.  Its input rows are copied once into this thread's scratch, the padding as zeros and
integers or narrow elements as float32, less an offset; the sums then run over plain memory without edge tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from smalti.errors import CompilerError
from smalti.ir.graph import Node
from smalti.kernels.conv.convolution import (
    CONVOLUTIONS,
    PREFIXES,
    Convolution,
    convolution,
    dot_of,
    read_convolution,
)
from smalti.kernels.conv.matrix import matrix_plan, panels_of
from smalti.kernels.kernel import KernelPlan, StepEmitter
from smalti.kernels.matrix.band import Band, Conversion, Fill, emit_bands
from smalti.kernels.matrix.core import MatrixSpec
from smalti.kernels.matrix.shapes import Depth, GemmTile
from smalti.kernels.nodes import static_shape
from smalti.kernels.takes import Takes
from smalti.numerics import DType
from smalti.target.target import Target


@dataclass(frozen=True, slots=True)
class GeneralConvKernel:
    """Any NHWC convolution with constant weights; ``dtype`` is that of the weights."""

    takes: ClassVar[tuple[Takes, ...]] = CONVOLUTIONS
    dtype: DType = DType.FLOAT32

    @property
    def name(self) -> str:
        """Name shown in profiles."""
        return f"{PREFIXES[self.dtype]}_conv2d"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is a convolution (of such elements or of uint8) with constant weights."""
        c = read_convolution(node, target)
        return c is not None and c.weights is self.dtype

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the tile, pack weights and parameters, reserve the band."""
        c = convolution(node, target)
        return matrix_plan(node, c, target, _depth(node, c), (_band(node, c).scratch_bytes(node),))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a band of result rows."""
        c, tile = convolution(node, e.target), plan.tile
        if not isinstance(tile, GemmTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        cin, cout = static_shape(node.weights)[2:]
        pixel, result = c.itemsize * c.stride[1] * cin, c.epilogue.itemsize * cout
        spec = MatrixSpec(dot_of(c, e.target), _depth(node, c), pixel, result, c.epilogue)
        emit_bands(
            e,
            node,
            _band(node, c),
            lambda: panels_of(e, node, c, plan, spec, tile.panels),
            lambda: e.operand(len(plan.operands) - 1) if c.residual else None,
            by_panel=True,
        )


def _depth(node: Node, c: Convolution) -> Depth:
    kh, kw, cin = static_shape(node.weights)[:3]
    return Depth.window((kh, kw), cin, c.dilation[1], c.itemsize)


def _band(node: Node, c: Convolution) -> Band:
    kh, kw = static_shape(node.weights)[:2]
    fill = Fill(c.x, Conversion.COPY_WORDS) if c.pairs else Fill(c.x, Conversion.FLOAT, c.offset)
    return Band(fill, (kh, kw), c.stride, c.dilation, c.pads, slack=False)
