"""A 1x1 convolution and the depthwise convolution behind it in one step, in integers.

See :mod:`smalti.kernels.conv.bands`; the piece of the wide tensor consists of bytes, so it is larger than in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.kernels.conv.bands import Band, Index, Rows, choose_band, dividing_blocks, emit_bands, nominal
from smalti.kernels.conv.convolution import INTEGER_DEPTHWISE
from smalti.kernels.epilogue.steps import Add, Epilogue
from smalti.kernels.kernel import KernelPlan, Readers, StepEmitter, asks
from smalti.kernels.matrix.core import Constants, Packed, Run, call_panels
from smalti.kernels.matrix.shapes import Depth, GemmTile
from smalti.kernels.nodes import attributes, static_channels, static_shape
from smalti.kernels.quantised.depthwise import DepthwiseKernel, packed_filters, window_spec
from smalti.kernels.quantised.packing import ROW_COUNT, epilogue_of, pack_convolution, run_time_addend
from smalti.kernels.quantised.pointwise import PointwiseKernel, pixels_at, pointwise_spec, widened
from smalti.kernels.quantised.strips import cut
from smalti.kernels.quantised.tile import choose_tile
from smalti.kernels.quantised.window import ROW_ARGS, RowSpec, depthwise_row
from smalti.kernels.takes import Takes
from smalti.numerics import DType
from smalti.target.target import Target

UNIT_VECTORS = 4
WIDEST_BLOCK = 384


@dataclass(frozen=True, slots=True)
class ExpandDepthwiseTile:
    """Block and band, the panels that make the block, and what happens to the sums of both convolutions."""

    band: Band
    gemm: GemmTile
    wide: Epilogue
    epilogue: Epilogue


@dataclass(frozen=True, slots=True)
class ExpandDepthwiseKernel:
    """Both convolutions of an inverted residual block, the wide tensor never in memory."""

    takes: ClassVar[tuple[Takes, ...]] = (INTEGER_DEPTHWISE,)
    name: str = "i8_expand_depthwise"

    def matches(self, node: Node, target: Target, readers: Readers) -> bool:
        """Whether the node is a depthwise convolution that alone reads a 1x1 convolution too wide for the cache."""
        if not DepthwiseKernel().accepts(node, target):
            return False
        expand, op = node.x, attributes(node, ops.QuantisedConv2d)
        if readers[expand] != 1 or not asks(PointwiseKernel(), expand, target):
            return False
        wide = attributes(expand, ops.QuantisedConv2d)
        if wide.residual or wide.dtype is not DType.UINT8 or run_time_addend(expand):
            return False
        if op.dilation[0] > 1 and op.stride != (1, 1):
            return False
        return nominal(expand.type.nbytes) > target.caches.l2 // 2

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose block and band, pack both sets of constants."""
        expand, depth = node.x, _depth(node)
        tile = self.tile(node, target)
        blocks = static_channels(node) // tile.band.channels
        every = GemmTile(tile.gemm.panels * blocks, tile.gemm.chunk, tile.gemm.block)
        packed = pack_convolution(expand, target, Depth.flat(depth), every)
        rows = _rows(node).taken(tile.band.rows)
        copied = widened(depth, target)
        copies = (copied.stride * tile.gemm.block,) if copied else ()
        return KernelPlan(
            operands=((0, 0),),
            constants=(*packed_filters(node, target, tile.band.channels), *packed.constants),
            scratch=(
                expand.type.shape[2] * (rows * tile.band.channels),
                *copies,
            ),
            tile=tile,
            absorbs=((0,),),
        )

    def tile(self, node: Node, target: Target) -> ExpandDepthwiseTile:
        """Choose channels of a block and rows of a band."""
        expand = node.x
        unit = UNIT_VECTORS * target.vector_bits // 32
        blocks = dividing_blocks(static_channels(node), unit, WIDEST_BLOCK)
        band = choose_band(node, _rows(node), target, blocks, 1, 0.0)
        wide = epilogue_of(expand)
        return ExpandDepthwiseTile(
            band, choose_tile(target, wide, band.channels, _depth(node)), wide, epilogue_of(node)
        )

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is one channel block of one band of one phase."""
        tile = plan.tile
        if not isinstance(tile, ExpandDepthwiseTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        blocks = static_channels(node) // tile.band.channels
        emit_bands(e, node, _rows(node), tile.band, blocks, _Work(e, node, tile))


class _Work:
    """Emits what is done for one item."""

    def __init__(self, e: StepEmitter, node: Node, tile: ExpandDepthwiseTile) -> None:
        self.e, self.fn, self.node, self.tile = e, e.fn, node, tile
        self.spec = pointwise_spec(_depth(node), tile.band.channels, tile.wide, e.target)
        self.window = window_spec(node, tile.epilogue, tile.band.channels)
        self.strips = cut(e.target, tile.band.channels)
        self.width, self.result_width = (e.size(n.type.shape[2]) for n in (node.x, node))
        self.row_bytes = self.fn.mul(self.width, tile.band.channels)
        self.block: Index = 0

    def begin(self, block: Index) -> None:
        """Start with a block of channels."""
        self.block = block

    def expand(self, pixel: Index, scratch_row: Index, pixels: Index) -> None:
        """Make pixels of the wide tensor."""
        e, fn, gemm, spec = self.e, self.fn, self.tile.gemm, self.spec
        column = spec.dot.layout.column_bytes(spec.depth)
        weights = fn.at(e.constant(3), fn.mul(self.block, gemm.width * column))
        rows = fn.at(e.constant(4), fn.mul(self.block, 4 * ROW_COUNT * gemm.width))
        addends = rows
        if self.tile.wide.find(Add) is not None:
            addends = fn.at(e.constant(5), fn.mul(self.block, 4 * gemm.width))
        packed = Packed(spec, gemm.panels, Constants(weights, rows, addends), ROW_COUNT)
        target = fn.at(e.scratch(0), fn.mul(scratch_row, self.row_bytes))
        with fn.loop(0, pixels, gemm.block) as start:
            count = fn.minimum(gemm.block, fn.sub(pixels, start))
            source = pixels_at(e, spec.depth.inner, fn.add(pixel, start), count, 1)
            call_panels(e, packed, Run(source, target, None, fn.mul(start, spec.result_stride), count))

    def filter(self, scratch_row: Index, pixel: Index, low: Index, high: Index) -> None:
        """Make a result row of the block."""
        e, fn, window, channels = self.e, self.fn, self.window, self.tile.band.channels
        result = fn.at(e.result(), fn.mul(pixel, window.result_pixel))
        fn.call(
            e.function(depthwise_row, RowSpec(window, self.strips), ROW_ARGS),
            fn.at(e.scratch(0), fn.mul(scratch_row, self.row_bytes)),
            fn.at(result, fn.mul(self.block, channels * window.epilogue.itemsize)),
            fn.at(e.constant(0), fn.mul(self.block, window.filters.weight_bytes(e.target, self.strips))),
            fn.at(e.constant(1), fn.mul(self.block, window.filters.parameter_bytes(self.strips))),
            e.constant(2),
            low,
            high,
            self.row_bytes,
            self.width,
            self.result_width,
            e.size(attributes(self.node, ops.QuantisedConv2d).pads[2]),
        )


def _depth(node: Node) -> int:
    return static_shape(node.x.weights)[2]


def _rows(node: Node) -> Rows:
    op = attributes(node, ops.QuantisedConv2d)
    return Rows(static_shape(node.weights)[0], op.stride[0], op.dilation[0], op.pads[0])
