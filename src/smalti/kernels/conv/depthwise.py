"""Depthwise 2-D convolution with sums in float32, any kernel size, stride, dilation and padding.

Inside the image a tile of neighbouring pixels shares the weights of a channel vector; pixels whose window leaves the
image run over the taps that lie inside.  Nothing outside the tensors is read.  Weights are kept as float32 whatever
their type, narrow pixels are widened as they are loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir.dims import bounds
from smalti.ir.graph import Node
from smalti.kernels.conv.convolution import (
    DEPTHWISE,
    PREFIXES,
    Convolution,
    convolution,
    is_depthwise,
    read_convolution,
    wide_constant,
)
from smalti.kernels.conv.matrix import constant_parameters, runtime_parameters
from smalti.kernels.epilogue.emit import Finisher, Place, load_wide
from smalti.kernels.epilogue.steps import Epilogue
from smalti.kernels.kernel import FunctionEmitter, KernelPlan, StepEmitter
from smalti.kernels.nodes import static_channels, static_shape
from smalti.kernels.takes import Takes
from smalti.llvm.builder import F32, I64, PTR, Fn, lanes_of, vector
from smalti.numerics import DType
from smalti.target.target import Target

ROWS = 8
TILE_PIXELS = 4
"""Six or eight are equal to 1 % slower: the loads bound it already (docs/performance.md, what did not help)."""
NOMINAL_WIDTH = 128


@dataclass(frozen=True, slots=True)
class DepthwiseTile:
    """``channels`` of one work item (the last item may have fewer) and its result rows."""

    channels: int
    rows: int


@dataclass(frozen=True, slots=True)
class DepthwiseSpec:
    """Geometry of the row function; strides in bytes.

    ``span`` is the distance of the rows of parameters, ``offset`` is subtracted from pixels of type ``source``.
    """

    kh: int
    kw: int
    stride: int
    dilation: int
    source_pixel: int
    result_pixel: int
    tap: int
    channels: int
    span: int
    source: DType
    offset: float
    epilogue: Epilogue


ROW_ARGS = (PTR, PTR, PTR, PTR, I64, I64, I64, I64, I64, I64)
"""source row of tap 0 at x = 0, result row, weights, parameters, first tap row, end tap row, bytes between tap rows,
source width, result width, left padding"""


@dataclass(frozen=True, slots=True)
class DepthwiseKernel:
    """Depthwise convolution with multiplier 1; ``dtype`` is that of the weights."""

    takes: ClassVar[tuple[Takes, ...]] = DEPTHWISE
    dtype: DType = DType.FLOAT32

    @property
    def name(self) -> str:
        """Name shown in profiles."""
        return f"{PREFIXES[self.dtype]}_depthwise"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is a depthwise convolution with multiplier 1 and constant weights and parameters."""
        c = read_convolution(node, target)
        if c is None or not is_depthwise(node) or c.residual or c.weights is not self.dtype or c.x is DType.UINT8:
            return False
        return not runtime_parameters(node, c)

    def plan(self, node: Node, target: Target) -> KernelPlan:
        """Choose the channel block so that the rows of a window stay in the second-level cache."""
        c = convolution(node, target)
        kh, channels = static_shape(node.weights)[0], static_channels(node)
        _, high = bounds(node.x.type.shape[2])
        width = NOMINAL_WIDTH if high is None else int(high)
        window = ((kh - 1) * c.dilation[0] + 1) * width * c.x.itemsize
        lanes = target.vector_bits // 32
        vectors = -(-channels // lanes)
        blocks = 1
        while blocks < vectors and window * (-(-vectors // blocks) * lanes) > target.caches.l2 // 2:
            blocks += 1
        while blocks < vectors and vectors % blocks and blocks * 2 > vectors:
            blocks += 1
        block = -(-vectors // blocks) * lanes
        return KernelPlan((0,), filters(node, c), (), DepthwiseTile(min(block, channels), ROWS))

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: an item is a band of rows of one channel block."""
        c, tile = convolution(node, e.target), plan.tile
        if not isinstance(tile, DepthwiseTile):
            raise CompilerError(f"{self.name}: foreign tile {tile}")
        fn = e.fn
        channels = static_channels(node)
        kh = static_shape(node.weights)[0]
        source_height, source_width = (e.size(s) for s in node.x.type.shape[1:3])
        batch, height, width = (e.size(s) for s in node.type.shape[:3])
        top, left = e.size(c.pads[0]), e.size(c.pads[2])
        source, result, weights, bias = e.operand(0), e.result(), e.constant(0), e.constant(1)
        blocks, bands = -(-channels // tile.channels), fn.ceil_div(height, tile.rows)
        size, result_size = c.x.itemsize, c.epilogue.itemsize
        row_bytes = fn.mul(source_width, size * channels)

        def band(spec: DepthwiseSpec, image: int | ir.Value, start: int | ir.Value, channel: int | ir.Value) -> None:
            row_function = e.function(depthwise_row, spec, ROW_ARGS)
            stop = fn.minimum(fn.add(start, tile.rows), height)
            with fn.loop(start, stop) as y:
                origin = fn.sub(fn.mul(y, c.stride[0]), top)
                low, high = valid_taps(fn, origin, source_height, kh, c.dilation[0])
                above = fn.mul(fn.add(fn.mul(image, source_height), origin), row_bytes)
                below = fn.mul(fn.mul(fn.add(fn.mul(image, height), y), width), result_size * channels)
                fn.call(
                    row_function,
                    fn.at(source, fn.add(above, fn.mul(channel, size))),
                    fn.at(result, fn.add(below, fn.mul(channel, result_size))),
                    fn.at(weights, fn.mul(channel, 4)),
                    fn.at(bias, fn.mul(channel, 4)),
                    low,
                    high,
                    fn.mul(row_bytes, c.dilation[0]),
                    source_width,
                    width,
                    left,
                )

        with e.parallel(fn.mul(fn.mul(batch, bands), blocks)) as item:
            block, rest = fn.mod(item, blocks), fn.div(item, blocks)
            image, start = fn.div(rest, bands), fn.mul(fn.mod(rest, bands), tile.rows)
            channel = fn.mul(block, tile.channels)
            full = depthwise_spec(node, c, tile.channels, size * channels)
            last = channels - (blocks - 1) * tile.channels
            if last == tile.channels:
                band(full, image, start, channel)
            else:
                part = depthwise_spec(node, c, last, size * channels)
                fn.choose(
                    fn.compare("<", block, blocks - 1),
                    lambda: band(full, image, start, channel),
                    lambda: band(part, image, start, channel),
                )


def filters(node: Node, c: Convolution) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights ``[taps, channels]`` and parameters ``[rows, channels]`` of a depthwise node in float32."""
    weights = wide_constant(node.weights)
    if weights is None:
        raise CompilerError(f"{node!r}: the weights are not constant")
    return weights.reshape(-1, static_channels(node)), constant_parameters(node, c)


def depthwise_spec(node: Node, c: Convolution, channels: int, source_pixel: int) -> DepthwiseSpec:
    """Return the row geometry of a depthwise node for ``channels`` of its channels.

    Pixels are read in the type of ``c.x`` and lie ``source_pixel`` bytes apart.
    """
    (kh, kw), every = static_shape(node.weights)[:2], static_channels(node)
    result_pixel = c.epilogue.itemsize * every
    return DepthwiseSpec(
        kh, kw, c.stride[1], c.dilation[1], source_pixel, result_pixel, 4 * every, channels, 4 * every, c.x, c.offset,
        c.epilogue,
    )  # fmt: skip


def valid_taps(
    fn: Fn, origin: int | ir.Value, extent: int | ir.Value, taps: int, dilation: int
) -> tuple[int | ir.Value, int | ir.Value]:
    """Return the range of taps ``t`` with ``0 <= origin + t * dilation < extent`` (empty ranges have low = high)."""
    low = fn.maximum(fn.floor_div(fn.sub(dilation - 1, origin), dilation), 0)
    high = fn.minimum(fn.floor_div(fn.add(fn.sub(extent, origin), dilation - 1), dilation), taps)
    low = fn.minimum(low, taps)
    return low, fn.maximum(high, low)


def depthwise_row(e: FunctionEmitter, spec: DepthwiseSpec) -> None:
    """Build the function that computes one result row (arguments: ``ROW_ARGS``)."""
    fn = e.fn
    source, result, weights, parameters, low, high, step, source_width, width, left = fn.args
    # Result columns whose whole window lies inside the source row.
    reach = (spec.kw - 1) * spec.dilation
    begin = fn.minimum(fn.div(fn.add(left, spec.stride - 1), spec.stride), width)
    room = fn.sub(fn.add(source_width, left), reach + 1)
    end = fn.add(fn.floor_div(room, spec.stride), 1)
    end = fn.maximum(fn.minimum(end, width), begin)

    def edge(x: ir.Value) -> None:
        origin = fn.sub(fn.mul(x, spec.stride), left)
        first, stop = valid_taps(fn, origin, source_width, spec.kw, spec.dilation)
        _pixel_channels(e, spec, 1, origin, x, (low, high), (first, stop))

    with fn.loop(0, begin) as x:
        edge(x)
    whole = fn.add(begin, fn.mul(fn.div(fn.sub(end, begin), TILE_PIXELS), TILE_PIXELS))
    every_tap = fn.b.and_(fn.compare("==", low, 0), fn.compare("==", high, spec.kh))

    def inside(rows: tuple[int | ir.Value, int | ir.Value]) -> Callable[[], None]:
        def emit() -> None:
            for start, stop, count in ((begin, whole, TILE_PIXELS), (whole, end, 1)):
                with fn.loop(start, stop, count) as x:
                    origin = fn.sub(fn.mul(x, spec.stride), left)
                    _pixel_channels(e, spec, count, origin, x, rows, (0, spec.kw))

        return emit

    fn.choose(every_tap, inside((0, spec.kh)), inside((low, high)))
    with fn.loop(end, width) as x:
        edge(x)
    fn.finish()


def _pixel_channels(
    e: FunctionEmitter,
    spec: DepthwiseSpec,
    pixels: int,
    origin: int | ir.Value,
    x: ir.Value,
    rows: tuple[int | ir.Value, int | ir.Value],
    columns: tuple[int | ir.Value, int | ir.Value],
) -> None:
    """Compute ``pixels`` neighbouring result pixels for all channels of the block."""
    fn, lanes = e.fn, e.target.vector_bits // 32
    source, result, weights, parameters, _, _, step = fn.args[:7]
    finisher = Finisher(fn, e.target, spec.epilogue)
    base = fn.at(source, fn.mul(origin, spec.source_pixel))
    target = fn.at(result, fn.mul(x, spec.result_pixel))

    def body(channel: int | ir.Value, count: int) -> None:
        wide, narrow = fn.mul(channel, 4), fn.mul(channel, spec.source.itemsize)
        of_channel = fn.at(parameters, wide)

        def row(which: int) -> list[ir.Value]:
            return [fn.load(vector(F32, count), fn.at(of_channel, spec.span * which))]

        first = finisher.begins(row, lambda: [fn.f32(0.0, count)])
        sums = _sums(fn, spec, list(first) * pixels, fn.at(base, narrow), fn.at(weights, wide), step, rows, columns)
        place = fn.at(target, fn.mul(channel, spec.epilogue.itemsize))
        for p, value in enumerate(sums):
            finisher.store([value], Place(fn.at(place, p * spec.result_pixel), count, row))

    whole = spec.channels // lanes * lanes
    if whole:
        with fn.loop(0, whole, lanes) as channel:
            body(channel, lanes)
    if spec.channels > whole:
        body(whole, spec.channels - whole)


def _sums(
    fn: Fn,
    spec: DepthwiseSpec,
    sums: list[ir.Value],
    base: ir.Value,
    weights: ir.Value,
    step: ir.Value,
    rows: tuple[int | ir.Value, int | ir.Value],
    columns: tuple[int | ir.Value, int | ir.Value],
) -> list[ir.Value]:
    count = lanes_of(sums[0])

    def tap(ky: int | ir.Value, kx: int | ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        weight = fn.load(vector(F32, count), fn.at(weights, fn.mul(fn.add(fn.mul(ky, spec.kw), kx), spec.tap)))
        at = fn.add(fn.mul(step, ky), fn.mul(kx, spec.dilation * spec.source_pixel))
        updated = []
        for p, value in enumerate(values):
            place = fn.at(base, fn.add(at, p * spec.stride * spec.source_pixel))
            x = load_wide(fn, spec.source, place, count, spec.offset)
            updated.append(fn.fma(x, weight, value))
        return updated

    def row(ky: int | ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        first, stop = columns
        if isinstance(first, int) and isinstance(stop, int):
            for kx in range(first, stop):
                values = tap(ky, kx, values)
            return values
        return fn.loop_carry(first, stop, 1, values, lambda kx, v: tap(ky, kx, v))

    low, high = rows
    if isinstance(low, int) and isinstance(high, int):
        for ky in range(low, high):
            sums = row(ky, sums)
        return sums
    return fn.loop_carry(low, high, 1, sums, row)
