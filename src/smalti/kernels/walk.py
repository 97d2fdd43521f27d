"""Loops over dense and strided tensors: dimensions collapsed, work shared out, innermost runs in vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from llvmlite import ir

from smalti.ir.dims import Dim, product
from smalti.ir.ops import Shape
from smalti.kernels.kernel import StepEmitter
from smalti.llvm.builder import I64, Fn

CHUNK_BYTES = 32768
UNROLLED_VECTORS = 4

Index: TypeAlias = "int | ir.Value"


@dataclass(frozen=True, slots=True)
class Walk:
    """A nest of loops over several arrays: ``strides[array][dim]`` in elements; the last dimension is the run."""

    sizes: Shape
    strides: tuple[Shape, ...]

    @property
    def run_strides(self) -> Shape:
        """Return each array's stride along the run."""
        return tuple(s[-1] for s in self.strides)


def c_strides(shape: Shape) -> Shape:
    """Return the strides, in elements, of a dense tensor."""
    return tuple(product(shape[i + 1 :]) for i in range(len(shape)))


def broadcast_strides(shape: Shape, result: Shape) -> Shape:
    """Return the strides that read a dense tensor as if it had the shape ``result`` (0 where it is repeated)."""
    padded = (1,) * (len(result) - len(shape)) + shape
    strides = c_strides(padded)
    return tuple(0 if p == 1 and r != 1 else s for p, s, r in zip(padded, strides, result, strict=True))


def collapse(sizes: Shape, strides: Sequence[Shape]) -> Walk:
    """Return the shortest nest of loops that visits the same elements in the same order.

    Dimensions of size 1 vanish and neighbours that lie one behind the other in every array become one.
    """
    kept: list[tuple[int | Dim, tuple[int | Dim, ...]]] = []
    for i, size in enumerate(sizes):
        if size == 1:
            continue
        steps = tuple(s[i] for s in strides)
        if kept and all(o == s * size for o, s in zip(kept[-1][1], steps, strict=True)):
            kept[-1] = (kept[-1][0] * size, steps)
        else:
            kept.append((size, steps))
    if not kept:
        kept = [(1, tuple(1 for _ in strides))]
    return Walk(tuple(size for size, _ in kept), tuple(tuple(s[1][a] for s in kept) for a in range(len(strides))))


def for_each_run(e: StepEmitter, walk: Walk, item_bytes: int, body: Callable[[list[Index], Index], None]) -> None:
    """Run ``body(offsets, length)`` for every run (or piece of a run), shared out among the threads.

    Args:
        e: the step; its ``parallel`` is used.
        walk: the loops.
        item_bytes: bytes of the largest element, which sets how many elements are one work item.
        body: gets each array's offset in elements and the number of elements of the run.
    """
    fn = e.fn
    run = e.size(walk.sizes[-1])
    strides = [[e.size(s) for s in array] for array in walk.strides]
    if len(walk.sizes) == 1:
        _flat(e, run, max(1, CHUNK_BYTES // item_bytes), strides, body)
        return
    outer = [e.size(s) for s in walk.sizes[:-1]]
    rows = e.size(product(walk.sizes[:-1]))
    per_item = rows_per_item(fn, run, item_bytes)
    with e.parallel(fn.div(fn.add(rows, fn.sub(per_item, 1)), per_item)) as item:
        start = fn.mul(item, per_item)
        stop = fn.minimum(fn.add(start, per_item), rows)
        _rows(fn, start, stop, outer, [s[:-1] for s in strides], lambda offsets: body(offsets, run))


def rows_per_item(fn: Fn, run: Index, item_bytes: int) -> Index:
    """Return how many rows of ``run`` elements make a work item of about ``CHUNK_BYTES``."""
    return fn.maximum(1, fn.div(CHUNK_BYTES, fn.maximum(fn.mul(run, item_bytes), 1)))


def _flat(
    e: StepEmitter, run: Index, chunk: int, strides: list[list[Index]], body: Callable[[list[Index], Index], None]
) -> None:
    fn = e.fn
    if isinstance(run, int) and run <= chunk:
        with e.parallel(1):
            body([0] * len(strides), run)
        return
    with e.parallel(fn.ceil_div(run, chunk)) as item:
        start = fn.mul(item, chunk)
        body([fn.mul(start, s[-1]) for s in strides], fn.minimum(chunk, fn.sub(run, start)))


def decompose(fn: Fn, number: Index, sizes: Sequence[Index]) -> list[Index]:
    """Return the indices of element ``number`` (C order) of a tensor of these sizes."""
    indices: list[Index] = []
    for size in reversed(sizes[1:]):
        indices.append(fn.mod(number, size))
        number = fn.div(number, size)
    return [number, *reversed(indices)]


def dot(fn: Fn, indices: Sequence[Index], strides: Sequence[Index]) -> Index:
    """Return the offset of an element."""
    return fn.add(*(fn.mul(i, s) for i, s in zip(indices, strides, strict=True)))


def _rows(
    fn: Fn,
    start: Index,
    stop: Index,
    sizes: list[Index],
    strides: list[list[Index]],
    body: Callable[[list[Index]], None],
) -> None:
    """Visit rows ``start .. stop - 1`` like an odometer: one division for each dimension at the start only."""
    indices = decompose(fn, start, sizes)
    offsets = [dot(fn, indices, s) for s in strides]
    initial = [fn.i64(v) for v in (*indices[1:], *offsets)]
    inner = len(sizes) - 1

    def step(row: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        digits, current = values[:inner], values[inner:]
        body(list(current))
        following: list[Index] = [fn.add(o, s[-1]) for o, s in zip(current, strides, strict=True)]
        carry: ir.Value | None = None
        for j in range(inner, 0, -1):
            digit = fn.add(digits[j - 1], 1 if carry is None else fn.b.zext(carry, I64))
            carry = fn.compare("==", digit, sizes[j])
            digits[j - 1] = fn.b.select(carry, fn.i64(0), fn.i64(digit))
            following = [
                fn.b.select(carry, fn.i64(fn.add(o, fn.sub(s[j - 1], fn.mul(sizes[j], s[j])))), fn.i64(o))
                for o, s in zip(following, strides, strict=True)
            ]
        return [*digits, *(fn.i64(o) for o in following)]

    fn.loop_carry(start, stop, 1, initial, step)


def in_vectors(fn: Fn, start: Index, stop: Index, lanes: int, body: Callable[[Index, int], None]) -> None:
    """Run ``body(index, width)`` over ``start .. stop - 1`` in vectors of ``lanes``, the rest in halves of it.

    ``lanes`` is a power of two; every index is visited exactly once.
    """
    if isinstance(start, int) and isinstance(stop, int):
        _static_vectors(fn, start, stop, lanes, body)
        return
    length = fn.sub(stop, start)
    whole = fn.add(start, fn.mul(fn.div(length, lanes), lanes))
    with fn.loop(start, whole, lanes) as index:
        body(index, lanes)
    rest = fn.i64(fn.sub(stop, whole))
    width = lanes // 2
    while width:
        above = fn.b.and_(rest, fn.i64(~(2 * width - 1)))
        with fn.when(fn.compare("!=", fn.b.and_(rest, fn.i64(width)), 0)):
            body(fn.add(whole, above), width)
        width //= 2


def _static_vectors(fn: Fn, start: int, stop: int, lanes: int, body: Callable[[Index, int], None]) -> None:
    whole = max(stop - start, 0) // lanes
    if whole <= UNROLLED_VECTORS:
        for i in range(whole):
            body(start + i * lanes, lanes)
    else:
        with fn.loop(start, start + whole * lanes, lanes) as index:
            body(index, lanes)
    index, width = start + whole * lanes, lanes // 2
    while width:
        if stop - index >= width:
            body(index, width)
            index += width
        width //= 2
