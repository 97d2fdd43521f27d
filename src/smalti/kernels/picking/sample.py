"""Images read at computed positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, assert_never

from llvmlite import ir

from smalti.ir import ops
from smalti.ir.dims import product
from smalti.ir.graph import Node
from smalti.ir.ops import SampleEdge, SampleFn
from smalti.ir.ops.sampling import CUBIC_ALPHA, FAR, FIRST_TAP
from smalti.kernels.kernel import KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.takes import Takes, takes
from smalti.kernels.values import load_value, number, store_value
from smalti.kernels.walk import Index, in_vectors, rows_per_item
from smalti.llvm.builder import I1, I64, Fn


@dataclass(frozen=True, slots=True)
class Tap:
    """A pixel along one axis: its place, its weight, whether it is in the image."""

    place: ir.Value
    weight: ir.Value
    there: ir.Value


@dataclass(frozen=True, slots=True)
class GridSampleKernel(ReadsAll):
    """GridSample of float32 and float64: the channels of a pixel at once, in the order of the operation's meaning."""

    takes: ClassVar[tuple[Takes, ...]] = (
        takes(
            ops.GridSample,
            "align_corners",
            fn=frozenset((SampleFn.NEAREST, SampleFn.LINEAR, SampleFn.CUBIC)),
            edge=frozenset((SampleEdge.ZEROS, SampleEdge.BORDER, SampleEdge.REFLECTION)),
        ),
    )
    name: str = "grid_sample"

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step: a row is a pixel of the result."""
        fn, op, dtype = e.fn, attributes(node, ops.GridSample), node.type.dtype
        x = node.inputs[0].type
        height, width, channels = (e.size(s) for s in x.shape[1:])
        each, rows = e.size(product(node.type.shape[1:3])), e.size(product(node.type.shape[:3]))
        source, grid, result = e.operand(0), e.operand(1), e.result()
        lanes = e.target.vector_bits // 8 // dtype.itemsize
        per_item = rows_per_item(fn, channels, 4 * dtype.itemsize)
        with e.parallel(fn.div(fn.add(rows, fn.sub(per_item, 1)), per_item)) as item:
            start = fn.mul(item, per_item)
            with fn.loop(start, fn.minimum(fn.add(start, per_item), rows)) as row:
                at = fn.at(grid, fn.mul(row, 2 * dtype.itemsize))
                columns = list(taps(fn, load_value(fn, dtype, at, 1), width, op))
                lines = list(taps(fn, load_value(fn, dtype, fn.at(at, dtype.itemsize), 1), height, op))
                image = fn.mul(fn.div(row, each), height)

                def piece(first: Index, count: int) -> None:
                    def pixel(line: Tap, column: Tap) -> ir.Value:
                        place = fn.add(fn.mul(fn.add(image, line.place), width), column.place)
                        offset = fn.mul(fn.add(fn.mul(place, channels), first), dtype.itemsize)
                        value = load_value(fn, dtype, fn.at(source, offset), count)
                        there = fn.b.and_(line.there, column.there)
                        return fn.b.select(there, value, number(value.type, 0.0))

                    total: ir.Value | None = None
                    for line in lines:
                        across: ir.Value | None = None
                        for column in columns:
                            across = _plus(fn, across, column.weight, pixel(line, column), count)
                        total = _plus(fn, total, line.weight, across, count)
                    written = fn.at(result, fn.mul(fn.add(fn.mul(row, channels), first), dtype.itemsize))
                    store_value(fn, dtype, total, written, count)

                in_vectors(fn, 0, channels, lanes, piece)


def _plus(fn: Fn, total: ir.Value | None, weight: ir.Value, value: ir.Value, lanes: int) -> ir.Value:
    scaled = fn.b.fmul(fn.splat(weight, lanes), value)
    return fn.b.fadd(number(scaled.type, 0.0) if total is None else total, scaled)


def taps(fn: Fn, position: ir.Value, extent: Index, op: ops.GridSample) -> Iterator[Tap]:
    """Yield the pixels along one axis that a position reads."""
    b, kind = fn.b, position.type
    size = b.sitofp(fn.i64(extent), kind)
    one, half, zero = (number(kind, v) for v in (1.0, 0.5, 0.0))
    last = b.fsub(size, one)
    low, high = (zero, last) if op.align_corners else (number(kind, -0.5), b.fsub(size, half))
    moved = b.fadd(position, one)
    if op.align_corners:
        at = b.fmul(b.fmul(moved, half), last)
    else:
        at = b.fmul(b.fsub(b.fmul(moved, size), one), half)
    if op.fn is SampleFn.NEAREST:
        at = fn.intrinsic("llvm.nearbyint", kind, at)
    at = _brought_in(fn, at, low, high, last, op.edge)
    at = _limited(fn, at, number(kind, -FAR), b.fadd(last, number(kind, FAR)))
    whole = fn.intrinsic("llvm.floor", kind, at)
    for i, weight in enumerate(_weights(fn, b.fsub(at, whole), op.fn)):
        tap = b.fadd(whole, number(kind, FIRST_TAP[op.fn] + i))
        there: ir.Value = ir.Constant(I1, 1)
        if op.edge is SampleEdge.ZEROS:
            there = b.and_(b.fcmp_ordered(">=", tap, zero), b.fcmp_ordered("<=", tap, last))
        elif op.edge is SampleEdge.REFLECTION:
            tap = _reflected(fn, tap, low, high)
        yield Tap(b.fptosi(_limited(fn, tap, zero, last), I64), weight, there)


def _brought_in(fn: Fn, at: ir.Value, low: ir.Value, high: ir.Value, last: ir.Value, edge: SampleEdge) -> ir.Value:
    match edge:
        case SampleEdge.ZEROS:
            return at
        case SampleEdge.BORDER:
            inside = fn.b.and_(fn.b.fcmp_ordered(">=", at, low), fn.b.fcmp_ordered("<=", at, high))
            return fn.b.select(inside, at, _limited(fn, at, number(at.type, 0.0), last))
        case SampleEdge.REFLECTION:
            return _reflected(fn, at, low, high)
        case _:
            assert_never(edge)


def _limited(fn: Fn, at: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
    at = fn.b.select(fn.b.fcmp_ordered(">", at, low), at, low)
    return fn.b.select(fn.b.fcmp_ordered("<", at, high), at, high)


def _reflected(fn: Fn, at: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
    """Return a position mirrored at both edges until it lies between them."""
    b, kind = fn.b, at.type
    span = b.fsub(high, low)
    below, above = b.fcmp_ordered("<", at, low), b.fcmp_ordered(">", at, high)
    beyond = b.select(below, b.fsub(low, at), b.fsub(at, high))
    times = fn.intrinsic("llvm.trunc", kind, b.fdiv(beyond, span))
    rest = b.fsub(beyond, b.fmul(times, span))
    halved = b.fmul(times, number(kind, 0.5))
    even = b.fcmp_ordered("==", fn.intrinsic("llvm.floor", kind, halved), halved)
    from_low = b.xor(b.xor(even, below), ir.Constant(I1, 1))
    mirrored = b.select(from_low, b.fadd(low, rest), b.fsub(high, rest))
    found = b.select(b.or_(below, above), mirrored, at)
    return b.select(b.fcmp_ordered(">", span, number(kind, 0.0)), found, low)


def _weights(fn: Fn, part: ir.Value, how: SampleFn) -> tuple[ir.Value, ...]:
    b, kind = fn.b, part.type
    one = number(kind, 1.0)
    match how:
        case SampleFn.NEAREST:
            return (one,)
        case SampleFn.LINEAR:
            return b.fsub(one, part), part
        case SampleFn.CUBIC:
            rest = b.fsub(one, part)
            far = (b.fadd(part, one), b.fsub(number(kind, 2.0), part))
            return _far(fn, far[0]), _near(fn, part), _near(fn, rest), _far(fn, far[1])
        case _:
            assert_never(how)


def _near(fn: Fn, distance: ir.Value) -> ir.Value:
    b, kind = fn.b, distance.type
    inner = b.fsub(b.fmul(number(kind, CUBIC_ALPHA + 2), distance), number(kind, CUBIC_ALPHA + 3))
    return b.fadd(b.fmul(b.fmul(inner, distance), distance), number(kind, 1.0))


def _far(fn: Fn, distance: ir.Value) -> ir.Value:
    b, kind = fn.b, distance.type
    inner = b.fsub(b.fmul(number(kind, CUBIC_ALPHA), distance), number(kind, 5 * CUBIC_ALPHA))
    inner = b.fadd(b.fmul(inner, distance), number(kind, 8 * CUBIC_ALPHA))
    return b.fsub(b.fmul(inner, distance), number(kind, 4 * CUBIC_ALPHA))
