"""Tensors that follow from positions: ranges, the identity, triangles, one-hot vectors."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from smalti.frontend import symbolic
from smalti.frontend.context import Lowering
from smalti.frontend.lower.checks import Size, check_amounts
from smalti.frontend.lower.fill import MAX_RANGE, kept
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import ceil_div, maximum
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn
from smalti.numerics import DType

MAX_DEPTH = 1 << 20


def numbers(ctx: Lowering, start: Size, limit: Size, step: Size, dtype: DType) -> Value:
    """``start, start + step, ...`` before ``limit``; bounds may be sizes, and fractions where all are constant."""
    found = [symbolic.constant_of(v) for v in (start, limit, step)]
    if found[2] == 0:
        ctx.invalid("delta is zero")
    if None not in found:
        return _constant_range(ctx, [f for f in found if f is not None], dtype)
    if not isinstance(step, int) or dtype not in (DType.INT32, DType.INT64):
        ctx.unsupported(f"a range of {dtype.value} whose bounds depend on the image size")
    distance = limit - start if step > 0 else start - limit
    count = maximum(ceil_div(distance, abs(step)), 0)
    return ctx.emit(ops.Iota(start, step, count, dtype), ())


def _constant_range(ctx: Lowering, found: list[Fraction], dtype: DType) -> Value:
    start, limit, step = found
    count = max(0, -((start - limit) // step))
    if count > MAX_RANGE:
        ctx.unsupported(f"a range of {count} numbers")
    places = np.arange(count)
    if dtype.is_integer:
        return ctx.constant((int(start) + int(step) * places).astype(dtype.numpy))
    wide = np.float32 if dtype in (DType.FLOAT16, DType.BFLOAT16) else dtype.numpy
    values = np.asarray(float(start), wide) + np.asarray(float(step), wide) * places.astype(wide)
    return ctx.constant(values if dtype is DType.BFLOAT16 else values.astype(dtype.numpy), dtype=dtype)


def eye(ctx: Lowering, shape: tuple[Size, Size], offset: int, dtype: DType) -> Value:
    """A matrix that is 1 where the column is ``offset`` behind the row, else 0."""
    rows, columns = shape
    if isinstance(rows, int) and isinstance(columns, int):
        ctx.host.spend(rows * columns * dtype.itemsize, rows * columns * dtype.itemsize)
        wide = np.dtype(np.float32) if dtype is DType.BFLOAT16 else dtype.numpy
        return ctx.constant(np.eye(rows, columns, offset).astype(wide), dtype=dtype)
    same = ctx.part(ops.Binary(BinaryFn.EQUAL), _columns_and_rows(ctx, shape, offset), "same")
    return ctx.emit(ops.Cast(dtype), (same,))


def triangle(ctx: Lowering, x: Value, offset: Value | None, upper: bool) -> Value:
    """Matrices (the last two dimensions), zero below (``upper``) or above a diagonal, which may be computed."""
    rows, columns = x.type.shape[-2:]
    behind: Value | Node
    if isinstance(rows, int) and isinstance(columns, int) and rows * columns <= MAX_DEPTH:
        behind = kept(ctx, np.arange(columns) - np.arange(rows)[:, None], "behind")
    else:
        behind = ctx.part(ops.Binary(BinaryFn.SUB), _columns_and_rows(ctx, (rows, columns), 0), "behind")
    diagonal = kept(ctx, np.zeros((), np.int64), "diagonal") if offset is None else offset
    fn = BinaryFn.GREATER_EQUAL if upper else BinaryFn.LESS_EQUAL
    mask = ctx.part(ops.Binary(fn), (behind, diagonal), "mask")
    return ctx.emit(ops.Select(), (mask, x, zero(ctx, x.type.dtype)))


def zero(ctx: Lowering, dtype: DType) -> Value:
    """One zero of a type."""
    return kept(ctx, np.zeros((), np.float32 if dtype is DType.BFLOAT16 else dtype.numpy), "zero", dtype)


def one_hot(ctx: Lowering, picked: Value, depth: int, choices: Value, axis: int, *, wraps: bool = True) -> Value:
    """``choices[1]`` where a position along a new axis is the index, else ``choices[0]``.

    A negative index counts from the back where ``wraps``; one that is outside is nowhere.
    """
    if not 0 <= depth <= MAX_DEPTH or picked.type.dtype is DType.BOOL:
        ctx.invalid(f"a depth of {depth} for {picked.type}")
    shape = picked.type.shape
    indices = picked.type.dtype
    node = ctx.node_of(picked)
    if indices is not DType.INT64:
        node = ctx.part(ops.Cast(DType.INT64), (node,), "index")
    if wraps:
        node = from_front(ctx, node, depth)
    node = ctx.part(ops.Reshape((*shape[:axis], 1, *shape[axis:])), (node,), "column")
    places = np.arange(depth).reshape(-1, *(1,) * (len(shape) - axis))
    there = ctx.part(ops.Binary(BinaryFn.EQUAL), (node, kept(ctx, places, "places")), "there")
    off, on = (_element(ctx, choices, i) for i in range(2))
    return ctx.emit(ops.Select(), (there, on, off))


def from_front(ctx: Lowering, indices: Node, extent: Size) -> Node:
    """Positions of which negative ones are counted from the back."""
    dtype = indices.type.dtype
    zeros = kept(ctx, np.zeros((), dtype.numpy), "first")
    whole: Value | Node
    if isinstance(extent, int):
        whole = kept(ctx, np.array(extent, dtype.numpy), "extent")
    else:
        whole = ctx.part(ops.SizeTensor((extent,), (), dtype), (), "extent")
    negative = ctx.part(ops.Binary(BinaryFn.LESS), (indices, zeros), "negative")
    moved = ctx.part(ops.Binary(BinaryFn.ADD), (indices, whole), "moved")
    return ctx.part(ops.Select(), (negative, moved, indices), "from_front")


def _element(ctx: Lowering, vector: Value, place: int) -> Node:
    cut = ctx.part(ops.Slice((place,), (1,), (1,)), (vector,), f"choice_{place}")
    return ctx.part(ops.Reshape(()), (cut,), f"number_{place}")


def _columns_and_rows(ctx: Lowering, shape: tuple[Size, Size], offset: int) -> tuple[Node, Node]:
    """The numbers of columns, and upright those of rows, from ``offset`` on."""
    check_amounts(ctx, shape, "a size")
    rows, columns = shape
    column = ctx.part(ops.Iota(0, 1, columns, DType.INT64), (), "columns")
    row = ctx.part(ops.Iota(offset, 1, rows, DType.INT64), (), "rows")
    return column, ctx.part(ops.Reshape((rows, 1)), (row,), "upright")
