"""A 1x1 convolution and the depthwise convolution behind it in one step (see :mod:`smalti.kernels.conv.bands`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from smalti.errors import CompilerError
from smalti.ir.dims import Dim
from smalti.ir.graph import Node
from smalti.kernels.conv.bands import Band, Index, Rows, choose_band, dividing_blocks, emit_bands, nominal
from smalti.kernels.conv.convolution import DEPTHWISE, PREFIXES, Arithmetic, Convolution, convolution, dot_of
from smalti.kernels.conv.depthwise import ROW_ARGS, DepthwiseKernel, depthwise_row, depthwise_spec, filters
from smalti.kernels.conv.matrix import constant_parameters, gemm_tile, runtime_parameters, stored_layout
from smalti.kernels.conv.pointwise import PointwiseKernel
from smalti.kernels.kernel import KernelPlan, Readers, StepEmitter, asks
from smalti.kernels.matrix.core import Constants, MatrixSpec, Packed, Run, call_panels
from smalti.kernels.matrix.pixels import Elements, widen_run
from smalti.kernels.matrix.shapes import Depth, GemmTile, pack_rows
from smalti.kernels.nodes import known, static_channels, static_shape
from smalti.kernels.takes import Takes
from smalti.numerics import DType
from smalti.target.target import Target

WIDE_BLOCK = 96
WIDE_ITEM = 4
"""Bytes of an element of the wide tensor: it stays in the cache, so it is float32 whatever the tensors in memory."""
NARROW_COST = 0.25
"""A narrow block has too few sums in flight for each pixel value it loads: what a block of one vector costs more."""


@dataclass(frozen=True, slots=True)
class ExpandDepthwiseTile:
    """Block and band, and the panels that make the block."""

    band: Band
    gemm: GemmTile


@dataclass(frozen=True, slots=True)
class ExpandDepthwiseKernel:
    """Both convolutions of an inverted residual block, the wide tensor never in memory.

    ``dtype`` is that of the weights.
    """

    takes: ClassVar[tuple[Takes, ...]] = DEPTHWISE
    dtype: DType = DType.FLOAT32

    @property
    def name(self) -> str:
        """Name shown in profiles."""
        return f"{PREFIXES[self.dtype]}_expand_depthwise"

    def matches(self, node: Node, target: Target, readers: Readers) -> bool:
        """Whether the node is a depthwise convolution that alone reads a 1x1 convolution too wide for the cache."""
        if not DepthwiseKernel(self.dtype).accepts(node, target):
            return False
        expand, c = node.x, convolution(node, target)
        if readers[expand] != 1 or not asks(PointwiseKernel(self.dtype), expand, target):
            return False
        wide = convolution(expand, target)
        if wide.residual or runtime_parameters(expand, wide):
            return False
        if c.dilation[0] > 1 and c.stride != (1, 1):
            return False
        return nominal(expand.type.nbytes) > target.caches.l2 // 2

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose block and band, pack both sets of weights."""
        expand = node.x
        c, wide, depth = convolution(node, target), convolution(expand, target), _depth(expand)
        channels = static_channels(expand)
        tile = self.tile(node, target)
        panels = tile.gemm.panels * (channels // tile.band.channels)
        rows = _rows(node, c).taken(tile.band.rows)
        scratch: list[int | Dim] = [expand.type.shape[2] * (rows * tile.band.channels * WIDE_ITEM)]
        if wide.widened:
            scratch.append(4 * depth.total * tile.gemm.block)
        if wide.arithmetic is Arithmetic.COPIED:
            scratch.append(4 * depth.total * tile.gemm.width)
        return KernelPlan(
            operands=((0, 0),),
            constants=(
                stored_layout(wide).pack(known(expand.weights), depth, panels),
                pack_rows(tuple(constant_parameters(expand, wide)), panels),
                *filters(node, c),
            ),
            scratch=tuple(scratch),
            tile=tile,
            absorbs=((0,),),
        )

    def tile(self, node: Node, target: Target) -> ExpandDepthwiseTile:
        """Choose channels of a block and rows of a band."""
        lanes = target.vector_bits // 32
        rows = _rows(node, convolution(node, target))
        blocks = dividing_blocks(static_channels(node), lanes, WIDE_BLOCK)
        band = choose_band(node, rows, target, blocks, WIDE_ITEM, NARROW_COST * lanes)
        wide = convolution(node.x, target)
        return ExpandDepthwiseTile(band, gemm_tile(wide, target, band.channels, _depth(node.x).total))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is one channel block of one band of one phase."""
        tile = plan.tile
        if not isinstance(tile, ExpandDepthwiseTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        blocks = static_channels(node) // tile.band.channels
        emit_bands(e, node, _rows(node, convolution(node, e.target)), tile.band, blocks, _Work(e, node, tile))


class _Work:
    """Emits what is done for one item."""

    def __init__(self, e: StepEmitter, node: Node, tile: ExpandDepthwiseTile) -> None:
        self.e, self.fn, self.node, self.tile = e, e.fn, node, tile
        self.narrow = convolution(node.x, e.target)
        epilogue = replace(self.narrow.epilogue, stored=DType.FLOAT32)
        self.c = replace(convolution(node, e.target), x=DType.FLOAT32)
        self.depth = _depth(node.x)
        self.width, self.result_width = (e.size(n.type.shape[2]) for n in (node.x, node))
        self.row_bytes = self.fn.mul(self.width, WIDE_ITEM * tile.band.channels)
        pixel, result = self.narrow.itemsize * self.depth.total, WIDE_ITEM * tile.band.channels
        self.spec = MatrixSpec(dot_of(self.narrow, e.target), self.depth, pixel, result, epilogue)
        self.block: Index = 0
        self.packed: Packed

    def begin(self, block: Index) -> None:
        """Take the panels of the block; weights are copied once for the item if at all."""
        e, fn, c, gemm = self.e, self.fn, self.narrow, self.tile.gemm
        self.block = block
        weights = fn.at(e.constant(0), fn.mul(block, gemm.width * stored_layout(c).column_bytes(self.depth)))
        rows = fn.at(e.constant(1), fn.mul(block, 4 * gemm.width * len(c.parameters)))
        if c.arithmetic is Arithmetic.COPIED:
            widen_run(e, Elements(c.weights), e.scratch(2), weights, gemm.width * self.depth.total)
            weights = e.scratch(2)
        self.packed = Packed(self.spec, gemm.panels, Constants(weights, rows, rows), len(c.parameters))

    def expand(self, pixel: Index, scratch_row: Index, pixels: Index) -> None:
        """Make pixels of the wide tensor."""
        e, fn, tile, depth, c = self.e, self.fn, self.tile, self.depth, self.narrow
        target = fn.at(e.scratch(0), fn.mul(scratch_row, self.row_bytes))
        with fn.loop(0, pixels, tile.gemm.block) as start:
            count = fn.minimum(tile.gemm.block, fn.sub(pixels, start))
            source = fn.at(e.operand(0), fn.mul(fn.add(pixel, start), c.x.itemsize * depth.total))
            if c.widened:
                widen_run(e, Elements(c.x, c.offset), e.scratch(1), source, fn.mul(count, depth.total))
                source = e.scratch(1)
            run = Run(source, target, None, fn.mul(start, self.spec.result_stride), count)
            call_panels(e, self.packed, run)

    def filter(self, scratch_row: Index, pixel: Index, low: Index, high: Index) -> None:
        """Make a result row of the block."""
        e, fn, c, block = self.e, self.fn, self.c, self.tile.band.channels
        spec = depthwise_spec(self.node, c, block, WIDE_ITEM * block)
        offset, size = fn.mul(self.block, 4 * block), c.epilogue.itemsize
        at_pixel = fn.mul(pixel, size * static_channels(self.node))
        fn.call(
            e.function(depthwise_row, spec, ROW_ARGS),
            fn.at(e.scratch(0), fn.mul(scratch_row, self.row_bytes)),
            fn.at(e.result(), fn.add(at_pixel, fn.mul(self.block, size * block))),
            fn.at(e.constant(2), offset),
            fn.at(e.constant(3), offset),
            low,
            high,
            self.row_bytes,
            self.width,
            self.result_width,
            e.size(c.pads[2]),
        )


def _depth(expand: Node) -> Depth:
    return Depth.flat(static_shape(expand.weights)[2])


def _rows(node: Node, c: Convolution) -> Rows:
    return Rows(static_shape(node.weights)[0], c.stride[0], c.dilation[0], c.pads[0])
