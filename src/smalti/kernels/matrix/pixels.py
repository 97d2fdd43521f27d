"""A matrix product over consecutive pixels, and the copies that widen pixels for a dot product that wants them so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir

from smalti.kernels.epilogue.emit import load_wide
from smalti.kernels.kernel import FunctionEmitter, StepEmitter
from smalti.kernels.matrix.core import Packed, Run, call_panels
from smalti.kernels.matrix.shapes import GemmTile
from smalti.kernels.walk import Index
from smalti.llvm.builder import I8, I16, I64, PTR, vector
from smalti.numerics import DType

UNROLLED = 4


def emit_pixels(
    e: StepEmitter,
    pixels: Index,
    tile: GemmTile,
    packed: Callable[[], Packed],
    source: Callable[[Index, Index], ir.Value],
    residual: ir.Value | None = None,
) -> None:
    """Write a step whose items are chunks of pixels, all panels after one another.

    Args:
        e: the step.
        pixels: how many there are.
        tile: how they are cut.
        packed: returns the panels (called inside an item).
        source: ``source(start, count)`` returns the address of pixel ``start``, of which ``count`` follow.
        residual: address of the residual.
    """
    fn, result = e.fn, e.result()
    with e.parallel(fn.ceil_div(pixels, tile.chunk)) as item:
        begin = fn.mul(item, tile.chunk)
        end = fn.minimum(fn.add(begin, tile.chunk), pixels)
        panels = packed()
        with fn.loop(begin, end, tile.block) as start:
            count = fn.minimum(tile.block, fn.sub(end, start))
            block = source(start, count)
            call_panels(e, panels, Run(block, result, residual, fn.mul(start, panels.spec.result_stride), count))


@dataclass(frozen=True, slots=True)
class Elements:
    """Elements that become float32, less ``offset``."""

    dtype: DType
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Pixels:
    """Pixels of ``length`` bytes, ``apart`` bytes from one another, become 16-bit integers, ``stride`` bytes apart."""

    length: int
    apart: int
    stride: int


def widen_run(e: FunctionEmitter, run: Elements, target: ir.Value, source: ir.Value, count: Index) -> None:
    """Copy consecutive elements as float32."""
    e.fn.call(e.function(float_run, run, (PTR, PTR, I64)), target, source, count)


def float_run(e: FunctionEmitter, run: Elements) -> None:
    """Build ``float_run(target, source, count)``."""
    fn, lanes = e.fn, e.target.vector_bits // 32
    target, source, count = fn.args
    done: Index = 0
    for vectors, width in ((UNROLLED, lanes), (1, lanes), (1, 1)):
        step = vectors * width
        stop = fn.add(done, fn.mul(fn.div(fn.sub(count, done), step), step))
        with fn.loop(done, stop, step) as index:
            places = [fn.add(index, i * width) for i in range(vectors)]
            addresses = [fn.at(source, fn.mul(p, run.dtype.itemsize)) for p in places]
            values = [load_wide(fn, run.dtype, address, width, run.offset) for address in addresses]
            for place, value in zip(places, values, strict=True):
                fn.store(value, fn.at(target, fn.mul(place, 4)))
        done = stop
    fn.finish()


def widen_pixels(e: FunctionEmitter, pixels: Pixels, target: ir.Value, source: ir.Value, count: Index) -> None:
    """Copy pixels as 16-bit integers, with a zero where a pixel does not fill its stride."""
    e.fn.call(e.function(word_pixels, pixels, (PTR, PTR, I64)), target, source, count)


def word_pixels(e: FunctionEmitter, own: Pixels) -> None:
    """Build ``word_pixels(target, source, count)``."""
    fn, lanes, length = e.fn, e.target.vector_bits // 16, own.length
    target, source, total = fn.args
    with fn.loop(0, total) as pixel:
        x, y = fn.at(source, fn.mul(pixel, own.apart)), fn.at(target, fn.mul(pixel, own.stride))
        whole = length // lanes * lanes
        for start, stop, width in ((0, whole, lanes), (whole, length, 1)):
            with fn.loop(start, stop, width) as i:
                value = fn.b.zext(fn.load(vector(I8, width), fn.at(x, i)), vector(I16, width))
                fn.store(value, fn.at(y, fn.mul(i, 2)))
        if own.stride > 2 * length:
            fn.store(ir.Constant(I16, 0), fn.at(y, 2 * length))
    fn.finish()
