"""A 1x1 convolution and the depthwise convolution behind it in one step.

MobileNetV2 widens a tensor six times and filters it at once.  The wide tensor is made in pieces that stay in the second
cache: a block of channels, and a band of rows that belong together.  With dilation ``d`` the rows ``y``, ``y + d``,
``y + 2d``... never meet the others, so each such phase is a small image of its own and needs few rows more than it
gives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir.dims import Dim, bounds
from smalti.ir.graph import Node
from smalti.kernels.conv.convolution import PREFIXES, Arithmetic, Convolution, convolution, weight_array
from smalti.kernels.conv.depthwise import DepthwiseKernel, depthwise_row, depthwise_spec, filters, valid_taps
from smalti.kernels.conv.gemm import Depth, GemmSpec, gemm_panel
from smalti.kernels.conv.matrix import (
    Panels,
    constant_parameters,
    gemm_tile,
    pack_weights,
    runtime_parameters,
    weight_bytes,
)
from smalti.kernels.conv.pointwise import PointwiseKernel
from smalti.kernels.conv.tile import GemmTile, pack_panels
from smalti.kernels.conv.widen import widen_run
from smalti.kernels.kernel import KernelPlan, Readers, StepEmitter
from smalti.kernels.nodes import static_channels, static_shape
from smalti.numerics import DType
from smalti.target.target import Target

NOMINAL_SIZE = 128
MIN_ITEMS = 8
WIDE_BLOCK = 96
WIDE_ITEM = 4
"""Bytes of an element of the wide tensor: it stays in the cache, so it is float32 whatever the tensors in memory."""
ROUND_COST = 0.004


@dataclass(frozen=True, slots=True)
class ExpandDepthwiseTile:
    """Channels of a block, result rows of a band (within one phase), and the panels that make the block."""

    channels: int
    rows: int
    gemm: GemmTile


@dataclass(frozen=True, slots=True)
class ExpandDepthwiseKernel:
    """Both convolutions of an inverted residual block, the wide tensor never in memory.

    ``dtype`` is that of the weights.
    """

    dtype: DType = DType.FLOAT32

    @property
    def name(self) -> str:
        """Name shown in profiles."""
        return f"{PREFIXES[self.dtype]}_expand_depthwise"

    def matches(self, node: Node, target: Target, readers: Readers) -> bool:
        """Whether the node is a depthwise convolution that alone reads a 1x1 convolution too wide for the cache."""
        if not DepthwiseKernel(self.dtype).accepts(node, target):
            return False
        expand, c = node.inputs[0], convolution(node, target)
        if readers[expand] != 1 or not PointwiseKernel(self.dtype).accepts(expand, target):
            return False
        wide = convolution(expand, target)
        if wide.residual or runtime_parameters(expand, wide):
            return False
        if c.dilation[0] > 1 and c.stride != (1, 1):
            return False
        return _nominal(expand.type.nbytes) > target.caches.l2 // 2

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose block and band, pack both sets of weights."""
        expand = node.inputs[0]
        c, wide, depth = convolution(node, target), convolution(expand, target), _depth(expand)
        channels = static_channels(expand)
        tile = self.tile(node, target)
        panels = tile.gemm.panels * (channels // tile.channels)
        scratch: list[int | Dim] = [
            expand.type.shape[2] * (_source_rows(node, c, tile.rows) * tile.channels * WIDE_ITEM)
        ]
        if wide.arithmetic is Arithmetic.WIDENED:
            width = sum(panel.width for panel in tile.gemm.panels)
            scratch += [4 * depth.total * tile.gemm.block, 4 * depth.total * width]
        return KernelPlan(
            operands=((0, 0),),
            constants=(
                pack_weights(wide, weight_array(expand), depth, panels),
                pack_panels(constant_parameters(expand, wide), panels),
                *filters(node, c),
            ),
            scratch=tuple(scratch),
            tile=tile,
            absorbs=((0,),),
        )

    def tile(self, node: Node, target: Target) -> ExpandDepthwiseTile:
        """Choose channels of a block and rows of a band."""
        block, rows = _choose_block(node, target)
        wide = convolution(node.inputs[0], target)
        return ExpandDepthwiseTile(block, rows, gemm_tile(wide, target, block, _depth(node.inputs[0]).total))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is one channel block of one band of one phase."""
        tile = plan.tile
        if not isinstance(tile, ExpandDepthwiseTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        fn, phases = e.fn, convolution(node, e.target).dilation[0]
        batch, height = (e.size(s) for s in node.type.shape[:2])
        blocks = static_channels(node) // tile.channels
        bands = fn.ceil_div(fn.ceil_div(height, phases), tile.rows)
        with e.parallel(fn.mul(fn.mul(batch, bands), phases * blocks)) as item:
            block, rest = fn.mod(item, blocks), fn.div(item, blocks)
            phase, rest = fn.mod(rest, phases), fn.div(rest, phases)
            image, first = fn.div(rest, bands), fn.mul(fn.mod(rest, bands), tile.rows)
            of_phase = fn.ceil_div(fn.sub(fn.maximum(height, phase), phase), phases)
            last = fn.minimum(fn.add(first, tile.rows), of_phase)
            with fn.when(fn.compare("<", first, last)):
                _Item(e, node, tile, image, phase, first, last, block).emit()


class _Item:
    """Emits the work of one item: result rows ``phase + q * dilation`` for ``first <= q < last``."""

    def __init__(
        self,
        e: StepEmitter,
        node: Node,
        tile: ExpandDepthwiseTile,
        image: int | ir.Value,
        phase: int | ir.Value,
        first: int | ir.Value,
        last: int | ir.Value,
        block: int | ir.Value,
    ) -> None:
        self.e, self.fn, self.node, self.tile = e, e.fn, node, tile
        self.image, self.phase, self.first, self.last, self.block = image, phase, first, last, block
        self.expand = node.inputs[0]
        self.narrow = convolution(self.expand, e.target)
        self.epilogue = replace(self.narrow.epilogue, wide=True)
        self.c = replace(convolution(node, e.target), x=self.epilogue.stored)
        self.depth = _depth(self.expand)
        self.taps = static_shape(node.inputs[1])[0]
        self.height, self.width = (e.size(s) for s in self.expand.type.shape[1:3])
        self.widened = self.narrow.arithmetic is Arithmetic.WIDENED
        self.row_bytes = self.fn.mul(self.width, WIDE_ITEM * tile.channels)
        # Row `j` of the phase is row `origin + j * dilation` of the wide tensor.
        self.origin = self.fn.sub(phase, e.size(self.c.pads[0]))

    def emit(self) -> None:
        self.panels = self._panels()
        self._expand_rows()
        self._filter_rows()

    def _panels(self) -> Panels:
        """Return the panels of the block; their weights are widened once for the item."""
        e, fn, c = self.e, self.fn, self.narrow
        width = sum(panel.width for panel in self.tile.gemm.panels)
        weights = fn.at(e.constant(0), fn.mul(self.block, width * weight_bytes(c, self.depth)))
        parameters = fn.at(e.constant(1), fn.mul(self.block, 4 * width * len(c.parameters)))
        if self.widened:
            fn.call(widen_run(e, c.weights), e.scratch(2), weights, width * self.depth.total)
            weights, c = e.scratch(2), replace(c, weights=DType.FLOAT32, arithmetic=Arithmetic.PLAIN)
        return Panels(e, c, self.depth, self.tile.gemm, weights, parameters, None)

    def _expand_rows(self) -> None:
        fn, stride, dilation = self.fn, self.c.stride[0], self.c.dilation[0]
        begin = fn.mul(self.first, stride)
        end = fn.add(fn.mul(fn.sub(self.last, 1), stride), self.taps)
        if dilation == 1:
            low = fn.maximum(fn.add(begin, self.origin), 0)
            high = fn.maximum(fn.minimum(fn.add(end, self.origin), self.height), low)
            self._expand(low, fn.sub(fn.sub(low, self.origin), begin), fn.mul(fn.sub(high, low), self.width))
            return
        with fn.loop(begin, end) as j:
            row = fn.add(self.origin, fn.mul(j, dilation))
            inside = fn.b.and_(fn.compare(">=", row, 0), fn.compare("<", row, self.height))
            with fn.when(inside):
                self._expand(row, fn.sub(j, begin), self.width)

    def _expand(self, row: int | ir.Value, scratch_row: int | ir.Value, pixels: int | ir.Value) -> None:
        """Make ``pixels`` of the wide tensor from row ``row`` on, into the scratch from ``scratch_row`` on."""
        e, fn, tile, depth, c = self.e, self.fn, self.tile, self.depth, self.narrow
        result = WIDE_ITEM * tile.channels
        spec = GemmSpec(depth, c.itemsize * depth.total, result, 0, False, self.epilogue, c.pairs)
        pixel = fn.mul(fn.add(fn.mul(self.image, self.height), row), self.width)
        target = fn.at(e.scratch(0), fn.mul(scratch_row, self.row_bytes))
        with fn.loop(0, pixels, tile.gemm.block) as start:
            count = fn.minimum(tile.gemm.block, fn.sub(pixels, start))
            source = fn.at(e.operand(0), fn.mul(fn.add(pixel, start), c.x.itemsize * depth.total))
            if self.widened:
                fn.call(widen_run(e, c.x, c.offset), e.scratch(1), source, fn.mul(count, depth.total))
                source = e.scratch(1)
            for work in self.panels.each():
                place = fn.at(target, fn.add(fn.mul(start, result), WIDE_ITEM * work.channel))
                fn.call(gemm_panel(e, spec, work.panel), source, work.weights, place, work.parameters, source, 0, count)

    def _filter_rows(self) -> None:
        e, fn, c, tile = self.e, self.fn, self.c, self.tile
        channels = static_channels(self.node)
        spec = depthwise_spec(self.node, c, tile.channels, WIDE_ITEM * tile.channels)
        height, width = (e.size(s) for s in self.node.type.shape[1:3])
        offset, size = fn.mul(self.block, 4 * tile.channels), c.epilogue.stored.itemsize
        at_block = fn.mul(self.block, size * tile.channels)
        with fn.loop(self.first, self.last) as q:
            y = fn.add(self.phase, fn.mul(q, c.dilation[0]))
            taken = fn.mul(q, c.stride[0])
            low, high = valid_taps(
                fn, fn.add(self.origin, fn.mul(taken, c.dilation[0])), self.height, self.taps, c.dilation[0]
            )
            pixel = fn.mul(fn.add(fn.mul(self.image, height), y), width)
            fn.call(
                depthwise_row(e, spec),
                fn.at(e.scratch(0), fn.mul(fn.sub(taken, fn.mul(self.first, c.stride[0])), self.row_bytes)),
                fn.at(e.result(), fn.add(fn.mul(pixel, size * channels), at_block)),
                fn.at(e.constant(2), offset),
                fn.at(e.constant(3), offset),
                low,
                high,
                self.row_bytes,
                self.width,
                width,
                e.size(c.pads[2]),
            )


def _depth(expand: Node) -> Depth:
    return Depth(1, 1, 0, static_shape(expand.inputs[1])[2])


def _source_rows(node: Node, c: Convolution, rows: int) -> int:
    """Return the rows of one phase of the wide tensor that ``rows`` result rows read."""
    return (rows - 1) * c.stride[0] + static_shape(node.inputs[1])[0]


def _nominal(size: int | Dim) -> int:
    """Return a size, or what it is for an image of a usual size."""
    if isinstance(size, int):
        return size
    _, high = bounds(size)
    return NOMINAL_SIZE * NOMINAL_SIZE * 1024 if high is None else int(high)


def _choose_block(node: Node, target: Target) -> tuple[int, int]:
    """Return channels of a block and rows of a band: the least rows made twice and reads of the narrow tensor."""
    c, expand = convolution(node, target), node.inputs[0]
    channels = static_channels(expand)
    lanes = target.vector_bits // 32
    sizes = [bounds(s)[1] for s in (node.type.shape[1], expand.type.shape[2])]
    height, width = (NOMINAL_SIZE if s is None else int(s) for s in sizes)
    of_phase = -(-height // c.dilation[0])
    best: tuple[float, int, int] | None = None
    for block in range(lanes, channels + lanes, lanes):
        if block > WIDE_BLOCK and best is not None:
            break
        block = min(block, channels)
        if channels % block:
            continue
        room = target.caches.l2 // 2 // (width * block * WIDE_ITEM)
        rows = max(1, (room - static_shape(node.inputs[1])[0]) // c.stride[0] + 1)
        blocks = channels // block
        wanted_bands = max(-(-of_phase // rows), -(-MIN_ITEMS // (blocks * c.dilation[0])))
        rows = max(1, -(-of_phase // wanted_bands))
        made = 1.0 if rows >= of_phase else _source_rows(node, c, rows) / (rows * c.stride[0])
        # A narrow block has too few sums in flight for each pixel value it loads.
        narrow = 1.0 + 0.25 * lanes / block
        cost = made * narrow + ROUND_COST * blocks
        if best is None or cost < best[0]:
            best = (cost, block, rows)
    if best is None:
        raise CompilerError(f"{node!r}: no channel block divides {channels}")
    return best[1], best[2]
