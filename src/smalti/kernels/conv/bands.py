"""Geometry of a depthwise convolution fused with the 1x1 convolution before it.

MobileNetV2 widens a tensor six times and filters it at once.  The wide tensor is made in pieces that stay in the second
cache: a block of channels, and a band of rows that belong together.  With dilation ``d`` the rows ``y``, ``y + d``,
``y + 2d``... never meet the others, so each such phase is a small image of its own and needs few rows more than it
gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.ir.dims import Dim, bounds
from smalti.ir.graph import Node
from smalti.kernels.conv.depthwise import valid_taps
from smalti.kernels.kernel import StepEmitter
from smalti.kernels.nodes import static_channels
from smalti.target.target import Target

NOMINAL_SIZE = 128
NOMINAL_CHANNELS = 1024
MIN_ITEMS = 8
ROUND_COST = 0.004

Index: TypeAlias = int | ir.Value


@dataclass(frozen=True, slots=True)
class Rows:
    """How result rows of a depthwise convolution take rows of its input; ``top`` is the padding above."""

    taps: int
    stride: int
    dilation: int
    top: int | Dim

    def taken(self, rows: int) -> int:
        """Return the rows of one phase that ``rows`` result rows take."""
        return (rows - 1) * self.stride + self.taps


@dataclass(frozen=True, slots=True)
class Band:
    """Channels of a block and result rows of a band (within one phase)."""

    channels: int
    rows: int


class BandWork(Protocol):
    """What a fused kernel does for an item."""

    def begin(self, block: Index) -> None:
        """Start with a block of channels."""
        ...

    def expand(self, pixel: Index, scratch_row: Index, pixels: Index) -> None:
        """Make ``pixels`` of the block from the narrow tensor's pixel ``pixel`` on, at a row of the scratch."""
        ...

    def filter(self, scratch_row: Index, pixel: Index, low: Index, high: Index) -> None:
        """Make the result row that begins at ``pixel``; taps ``low .. high - 1`` are rows from ``scratch_row`` on."""
        ...


def emit_bands(e: StepEmitter, node: Node, rows: Rows, band: Band, blocks: int, work: BandWork) -> None:
    """Write the step of a depthwise node whose input is made on the way: an item is a block of a band of a phase."""
    fn, phases = e.fn, rows.dilation
    batch, height = (e.size(s) for s in node.type.shape[:2])
    bands = fn.ceil_div(fn.ceil_div(height, phases), band.rows)
    with e.parallel(fn.mul(fn.mul(batch, bands), phases * blocks)) as item:
        block, rest = fn.mod(item, blocks), fn.div(item, blocks)
        phase, rest = fn.mod(rest, phases), fn.div(rest, phases)
        image, first = fn.div(rest, bands), fn.mul(fn.mod(rest, bands), band.rows)
        of_phase = fn.ceil_div(fn.sub(fn.maximum(height, phase), phase), phases)
        last = fn.minimum(fn.add(first, band.rows), of_phase)
        with fn.when(fn.compare("<", first, last)):
            work.begin(block)
            _Item(e, node, rows, image, phase, first, last).emit(work)


class _Item:
    """Walks over the rows of one item: result rows ``phase + q * dilation`` for ``first <= q < last``."""

    def __init__(
        self, e: StepEmitter, node: Node, rows: Rows, image: Index, phase: Index, first: Index, last: Index
    ) -> None:
        self.fn, self.rows = e.fn, rows
        self.image, self.phase, self.first, self.last = image, phase, first, last
        self.height, self.width = (e.size(s) for s in node.x.type.shape[1:3])
        self.result_height, self.result_width = (e.size(s) for s in node.type.shape[1:3])
        # Row `j` of the phase is row `origin + j * dilation` of the wide tensor.
        self.origin = self.fn.sub(phase, e.size(rows.top))

    def emit(self, work: BandWork) -> None:
        self._expand(work)
        self._filter(work)

    def _expand(self, work: BandWork) -> None:
        fn, rows = self.fn, self.rows
        begin = fn.mul(self.first, rows.stride)
        end = fn.add(fn.mul(fn.sub(self.last, 1), rows.stride), rows.taps)
        if rows.dilation == 1:
            low = fn.maximum(fn.add(begin, self.origin), 0)
            high = fn.maximum(fn.minimum(fn.add(end, self.origin), self.height), low)
            place = fn.sub(fn.sub(low, self.origin), begin)
            work.expand(self._narrow_pixel(low), place, fn.mul(fn.sub(high, low), self.width))
            return
        with fn.loop(begin, end) as j:
            row = fn.add(self.origin, fn.mul(j, rows.dilation))
            inside = fn.b.and_(fn.compare(">=", row, 0), fn.compare("<", row, self.height))
            with fn.when(inside):
                work.expand(self._narrow_pixel(row), fn.sub(j, begin), self.width)

    def _narrow_pixel(self, row: Index) -> Index:
        return self.fn.mul(self.fn.add(self.fn.mul(self.image, self.height), row), self.width)

    def _filter(self, work: BandWork) -> None:
        fn, rows = self.fn, self.rows
        with fn.loop(self.first, self.last) as q:
            y = fn.add(self.phase, fn.mul(q, rows.dilation))
            taken = fn.mul(q, rows.stride)
            start = fn.add(self.origin, fn.mul(taken, rows.dilation))
            low, high = valid_taps(fn, start, self.height, rows.taps, rows.dilation)
            pixel = fn.mul(fn.add(fn.mul(self.image, self.result_height), y), self.result_width)
            work.filter(fn.sub(taken, fn.mul(self.first, rows.stride)), pixel, low, high)


def nominal(size: int | Dim) -> int:
    """Return a size in bytes, or what it is for an image of a usual size."""
    if isinstance(size, int):
        return size
    _, high = bounds(size)
    return NOMINAL_SIZE * NOMINAL_SIZE * NOMINAL_CHANNELS if high is None else int(high)


def dividing_blocks(channels: int, unit: int, widest: int) -> list[int]:
    """Return the blocks, multiples of ``unit``, that divide the channels: up to ``widest``, or the narrowest above."""
    blocks = [b for b in range(unit, channels, unit) if channels % b == 0] + [channels]
    return [b for b in blocks if b <= widest] or blocks[:1]


def choose_band(
    node: Node, rows: Rows, target: Target, blocks: Sequence[int], itemsize: int, narrow_cost: float
) -> Band:
    """Choose a block and the rows of a band: the least rows made twice and reads of the narrow tensor.

    Args:
        node: the depthwise node.
        rows: its geometry.
        target: whose second cache holds the piece of the wide tensor.
        blocks: the channels that a block may have.
        itemsize: bytes of an element of the wide tensor.
        narrow_cost: what a block of one channel would cost more; it gets less in proportion.
    """
    channels = static_channels(node)
    sizes = [bounds(s)[1] for s in (node.type.shape[1], node.x.type.shape[2])]
    height, width = (NOMINAL_SIZE if s is None else int(s) for s in sizes)
    of_phase = -(-height // rows.dilation)
    best: tuple[float, Band] | None = None
    for block in blocks:
        room = target.caches.l2 // 2 // (width * block * itemsize)
        count = max(1, (room - rows.taps) // rows.stride + 1)
        rounds = -(-channels // block)
        wanted_bands = max(-(-of_phase // count), -(-MIN_ITEMS // (rounds * rows.dilation)))
        count = max(1, -(-of_phase // wanted_bands))
        made = 1.0 if count >= of_phase else rows.taken(count) / (count * rows.stride)
        cost = made * (1.0 + narrow_cost / block) + ROUND_COST * rounds
        if best is None or cost < best[0]:
            best = (cost, Band(block, count))
    if best is None:
        raise CompilerError(f"{node!r}: no block of channels")
    return best[1]
