"""A 1x1 convolution and the depthwise convolution behind it in one step.

MobileNetV2 widens a tensor six times and filters it at once.  The wide tensor is made in pieces that stay in the second
cache: a block of channels, and a band of rows that belong together.  With dilation ``d`` the rows ``y``, ``y + d``,
``y + 2d``... never meet the others, so each such phase is a small image of its own and needs few rows more than it
gives.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.dims import Dim, bounds
from smalti.ir.graph import Node
from smalti.kernels.conv.depthwise import DepthwiseKernel, depthwise_row, depthwise_spec, valid_taps
from smalti.kernels.conv.gemm import Depth, GemmSpec, gemm_panel
from smalti.kernels.conv.pointwise import PointwiseKernel, packed_bias
from smalti.kernels.conv.tile import GemmTile, choose_tile, pack_panels
from smalti.kernels.kernel import KernelPlan, Readers, StepEmitter
from smalti.kernels.nodes import attributes, constant_value, required_constant, static_channels, static_shape
from smalti.target.target import Target

NOMINAL_SIZE = 128
MIN_ITEMS = 8
WIDE_BLOCK = 96
ROUND_COST = 0.004


@dataclass(frozen=True, slots=True)
class ExpandDepthwiseTile:
    """Channels of a block, result rows of a band (within one phase), and the panels that make the block."""

    channels: int
    rows: int
    gemm: GemmTile


@dataclass(frozen=True, slots=True)
class ExpandDepthwiseKernel:
    """Both convolutions of an inverted residual block, the wide tensor never in memory."""

    name: str = "f32_expand_depthwise"

    def matches(self, node: Node, target: Target, readers: Readers) -> bool:
        """Whether the node is a depthwise convolution that alone reads a 1x1 convolution too wide for the cache."""
        if not DepthwiseKernel().accepts(node, target):
            return False
        expand, op = node.inputs[0], attributes(node, ops.DepthwiseConv2d)
        if readers[expand] != 1 or not PointwiseKernel().accepts(expand, target):
            return False
        wide = attributes(expand, ops.Conv2d)
        if wide.residual or (wide.bias and constant_value(expand.inputs[2]) is None):
            return False
        if op.dilation[0] > 1 and op.stride != (1, 1):
            return False
        return _nominal(expand.type.nbytes) > target.caches.l2 // 2

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose block and band, pack both sets of weights."""
        expand = node.inputs[0]
        depth = static_shape(expand.inputs[1])[2]
        channels = static_channels(expand)
        tile = self.tile(node, target)
        weights = required_constant(expand.inputs[1]).reshape(depth, channels)
        panels = tile.gemm.panels * (channels // tile.channels)
        bias = packed_bias(expand, channels, panels)
        if bias is None:
            raise CompilerError(f"{expand!r}: the bias is not constant")
        filters = DepthwiseKernel().plan(node, target).constants
        return KernelPlan(
            operands=((0, 0),),
            constants=(pack_panels(weights, panels), bias, *filters),
            scratch=(expand.type.shape[2] * (_source_rows(node, tile.rows) * tile.channels * 4),),
            tile=tile,
            absorbs=((0,),),
        )

    def tile(self, node: Node, target: Target) -> ExpandDepthwiseTile:
        """Choose channels of a block and rows of a band."""
        block, rows = _choose_block(node, target)
        depth = static_shape(node.inputs[0].inputs[1])[2]
        return ExpandDepthwiseTile(block, rows, choose_tile(target, block, depth))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is one channel block of one band of one phase."""
        tile = plan.tile
        if not isinstance(tile, ExpandDepthwiseTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        fn, phases = e.fn, attributes(node, ops.DepthwiseConv2d).dilation[0]
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
        self.op = attributes(node, ops.DepthwiseConv2d)
        self.expand = node.inputs[0]
        self.depth = static_shape(self.expand.inputs[1])[2]
        self.taps = static_shape(node.inputs[1])[0]
        self.height, self.width = (e.size(s) for s in self.expand.type.shape[1:3])
        self.row_bytes = self.fn.mul(self.width, 4 * tile.channels)
        # Row `j` of the phase is row `origin + j * dilation` of the wide tensor.
        self.origin = self.fn.sub(phase, e.size(self.op.pads[0]))

    def emit(self) -> None:
        self._expand_rows()
        self._filter_rows()

    def _expand_rows(self) -> None:
        fn, stride, dilation = self.fn, self.op.stride[0], self.op.dilation[0]
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
        e, fn, tile, depth = self.e, self.fn, self.tile, self.depth
        wide = attributes(self.expand, ops.Conv2d)
        spec = GemmSpec(Depth(1, 1, 0, depth), 4 * depth, 4 * tile.channels, 0, False, wide.activation)
        pixel = fn.mul(fn.add(fn.mul(self.image, self.height), row), self.width)
        source = fn.at(e.operand(0), fn.mul(pixel, 4 * depth))
        target = fn.at(e.scratch(0), fn.mul(scratch_row, self.row_bytes))
        width = sum(panel.width for panel in tile.gemm.panels)
        weights = fn.at(e.constant(0), fn.mul(self.block, 4 * width * depth))
        bias = fn.at(e.constant(1), fn.mul(self.block, 4 * width))
        with fn.loop(0, pixels, tile.gemm.block) as start:
            count = fn.minimum(tile.gemm.block, fn.sub(pixels, start))
            first, packed = 0, 0
            for panel in tile.gemm.panels:
                fn.call(
                    gemm_panel(e, spec, panel),
                    fn.at(source, fn.mul(start, spec.pixel_stride)),
                    fn.at(weights, 4 * packed * depth),
                    fn.at(target, fn.add(fn.mul(start, spec.result_stride), 4 * first)),
                    fn.at(bias, 4 * packed),
                    source,
                    0,
                    count,
                )
                first += panel.channels
                packed += panel.width

    def _filter_rows(self) -> None:
        e, fn, op, tile = self.e, self.fn, self.op, self.tile
        channels = static_channels(self.node)
        spec = depthwise_spec(self.node, tile.channels, 4 * tile.channels, 4 * channels, 4 * channels)
        height, width = (e.size(s) for s in self.node.type.shape[1:3])
        offset = fn.mul(self.block, 4 * tile.channels)
        with fn.loop(self.first, self.last) as q:
            y = fn.add(self.phase, fn.mul(q, op.dilation[0]))
            taken = fn.mul(q, op.stride[0])
            low, high = valid_taps(
                fn, fn.add(self.origin, fn.mul(taken, op.dilation[0])), self.height, self.taps, op.dilation[0]
            )
            pixel = fn.mul(fn.add(fn.mul(self.image, height), y), width)
            fn.call(
                depthwise_row(e, spec),
                fn.at(e.scratch(0), fn.mul(fn.sub(taken, fn.mul(self.first, op.stride[0])), self.row_bytes)),
                fn.at(e.result(), fn.add(fn.mul(pixel, 4 * channels), offset)),
                fn.at(e.constant(2), offset),
                fn.at(e.constant(3), offset),
                low,
                high,
                self.row_bytes,
                self.width,
                width,
                e.size(op.pads[2]),
            )


def _source_rows(node: Node, rows: int) -> int:
    """Return the rows of one phase of the wide tensor that ``rows`` result rows read."""
    return (rows - 1) * attributes(node, ops.DepthwiseConv2d).stride[0] + static_shape(node.inputs[1])[0]


def _nominal(size: int | Dim) -> int:
    """Return a size, or what it is for an image of a usual size."""
    if isinstance(size, int):
        return size
    _, high = bounds(size)
    return NOMINAL_SIZE * NOMINAL_SIZE * 1024 if high is None else int(high)


def _choose_block(node: Node, target: Target) -> tuple[int, int]:
    """Return channels of a block and rows of a band: the least rows made twice and reads of the narrow tensor."""
    op, expand = attributes(node, ops.DepthwiseConv2d), node.inputs[0]
    channels = static_channels(expand)
    lanes = target.vector_bits // 32
    sizes = [bounds(s)[1] for s in (node.type.shape[1], expand.type.shape[2])]
    height, width = (NOMINAL_SIZE if s is None else int(s) for s in sizes)
    of_phase = -(-height // op.dilation[0])
    best: tuple[float, int, int] | None = None
    for block in range(lanes, channels + lanes, lanes):
        if block > WIDE_BLOCK and best is not None:
            break
        block = min(block, channels)
        if channels % block:
            continue
        room = target.caches.l2 // 2 // (width * block * 4)
        rows = max(1, (room - static_shape(node.inputs[1])[0]) // op.stride[0] + 1)
        blocks = channels // block
        wanted_bands = max(-(-of_phase // rows), -(-MIN_ITEMS // (blocks * op.dilation[0])))
        rows = max(1, -(-of_phase // wanted_bands))
        made = 1.0 if rows >= of_phase else _source_rows(node, rows) / (rows * op.stride[0])
        # A narrow block has too few sums in flight for each pixel value it loads.
        narrow = 1.0 + 0.25 * lanes / block
        cost = made * narrow + ROUND_COST * blocks
        if best is None or cost < best[0]:
            best = (cost, block, rows)
    if best is None:
        raise CompilerError(f"{node!r}: no channel block divides {channels}")
    return best[1], best[2]
