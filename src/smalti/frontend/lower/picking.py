"""Elements picked by computed positions, and written to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smalti.frontend import symbolic
from smalti.frontend.context import Lowering
from smalti.frontend.lower import slices
from smalti.frontend.lower.checks import Size, check_amounts, check_inside
from smalti.frontend.lower.fill import kept
from smalti.frontend.lower.grids import from_front, zero
from smalti.frontend.lower.slices import Span
from smalti.frontend.lower.steps import Steps
from smalti.frontend.symbolic import SymArray, sign_is_known
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.graph import Node, TensorType
from smalti.ir.schema import eval_op
from smalti.numerics import DType

Picking = ops.GatherNd | ops.GatherElements | ops.ScatterNd | ops.ScatterElements


def gather(ctx: Lowering, x: Value, picked: Value, axis: int) -> Value:
    """Elements picked by numbers along an axis; negative ones count from the back.

    Numbers that are known must be inside.  Of numbers that are data of a run and outside, code takes the nearest
    element, and the numpy meaning raises.
    """
    extent = x.type.shape[axis]
    numbers = slices.numbers_of(picked)
    if numbers is not None and not (numbers < 0).any():
        return slices.gather(ctx, x, picked, axis)
    if numbers is not None and isinstance(extent, int):
        moved = np.where(numbers < 0, numbers + extent, numbers).astype(picked.type.dtype.numpy)
        return slices.gather(ctx, x, kept(ctx, moved, "numbers"), axis)
    if picked.sym is not None:
        if picked.sym.size == 1:
            return _one(ctx, x, picked, picked.sym.item(0), axis)
        known = _all_from_front(picked.sym, extent)
        if known is not None:
            for position in known.ravel().tolist():
                check_inside(ctx, position, 1, extent)
            return ctx.emit(ops.Gather(axis), (x, Value(picked.type, f"{ctx.raw.name}/numbers", sym=known)))
    check_inside(ctx, 0, 1, extent)
    return ctx.emit(ops.Gather(axis), (x, from_front(ctx, ctx.node_of(picked), extent)))


def folded(ctx: Lowering, op: Picking, values: Sequence[Value]) -> Value:
    """Elements picked or written; computed at once where all operands are known."""
    x, indices, *rest = values
    setting = isinstance(op, (ops.GatherNd, ops.GatherElements)) or op.fn is ops.ScatterFn.SET
    numbers = slices.numbers_of(indices)
    if setting and numbers is not None and all(v.sym is not None for v in (x, *rest)):
        result = op.result(*(v.type for v in values))
        operands = [x.sym, numbers.astype(indices.type.dtype.numpy), *(v.sym for v in rest)]
        small = all(isinstance(s, int) for s in result.shape)
        if small and isinstance(result.elements, int) and result.elements <= symbolic.MAX_ELEMENTS:
            return ctx.symbolic(_objects(eval_op(op, [o for o in operands if o is not None], {})), x.type.dtype)
    if not setting and x.type.dtype is DType.BFLOAT16 and all(v.type.dtype is x.type.dtype for v in rest):
        # Many updates of one element are rounded once, not after each of them.
        s = Steps(ctx, x.type.dtype)
        return s.result(s.op(op, s.take(x), ctx.node_of(indices), *(s.take(v) for v in rest)))
    return ctx.emit(op, values)


def scattered(ctx: Lowering, indices: Value, updates: Value, sizes: tuple[Size, ...]) -> Value:
    """Pieces added to a tensor of zeros."""
    check_amounts(ctx, sizes, "a size")
    zeros = ctx.part(ops.BroadcastTo(sizes), (zero(ctx, updates.type.dtype),), "zeros")
    return ctx.emit(ops.ScatterNd(ops.ScatterFn.ADD), (zeros, indices, updates))


def top_k(ctx: Lowering, x: Value, count: Size, axis: int, largest: bool) -> tuple[Value, Value]:
    """The best numbers along an axis, and their positions."""
    check_inside(ctx, 0, count, x.type.shape[axis])
    places = ctx.emit(ops.TopK(count, axis, largest), (x,), 1)
    if count == 0:
        none = slices.piece(ctx, x, (0,) * x.type.rank, places.type.shape)
        return none, places
    return ctx.emit(ops.GatherElements(axis), (x, places)), places


def grid_sample(ctx: Lowering, x: Value, grid: Value, op: ops.GridSample) -> Value:
    """NCHW images read at computed positions; in float32 where they are of a smaller type."""
    dtype = DType.FLOAT64 if DType.FLOAT64 in (x.type.dtype, grid.type.dtype) else DType.FLOAT32
    image = ctx.part(ops.Transpose((0, 2, 3, 1)), (_cast(ctx, x, dtype, "float"),), "nhwc")
    sampled = ctx.part(op, (image, _cast(ctx, grid, dtype, "positions")), "sampled")
    if x.type.dtype is dtype:
        return ctx.emit(ops.Transpose((0, 3, 1, 2)), (sampled,))
    return ctx.emit(ops.Cast(x.type.dtype), (ctx.part(ops.Transpose((0, 3, 1, 2)), (sampled,), "nchw"),))


def unpooled(ctx: Lowering, x: Value, positions: Value, shape: tuple[Size, ...], wanted: tuple[Size, ...]) -> Value:
    """``x`` at positions of a tensor of zeros of ``shape``, counted through all of it; then padded to ``wanted``."""
    check_amounts(ctx, shape, "a size")
    if positions.type.dtype is not DType.INT64 or positions.type.shape != x.type.shape or len(wanted) != len(shape):
        ctx.invalid(f"positions {positions.type} for {x.type}")
    result = TensorType(x.type.dtype, shape)
    flat = (x.type.elements,)
    zeros = ctx.part(ops.BroadcastTo((result.elements,)), (zero(ctx, x.type.dtype),), "zeros")
    where = ctx.part(ops.Reshape(flat), (positions,), "positions")
    updates = ctx.part(ops.Reshape(flat), (x,), "updates")
    scatter = ops.ScatterElements(0, ops.ScatterFn.SET)
    line = ctx.part(scatter, (zeros, where, updates), "line")
    if wanted == shape:
        return ctx.emit(ops.Reshape(shape), (line,))
    amounts = tuple((0, w - s) for w, s in zip(wanted, shape, strict=True))
    check_amounts(ctx, tuple(after for _, after in amounts), "a size of the result, less that of the windows,")
    return ctx.emit(ops.Pad(amounts), (ctx.part(ops.Reshape(shape), (line,), "inner"),))


def _cast(ctx: Lowering, value: Value, dtype: DType, suffix: str) -> Node:
    node = ctx.node_of(value)
    return node if value.type.dtype is dtype else ctx.part(ops.Cast(dtype), (node,), suffix)


def _one(ctx: Lowering, x: Value, picked: Value, position: Size, axis: int) -> Value:
    """Return one element along an axis."""
    if sign_is_known(position) is None:
        check_inside(ctx, 0, 1, x.type.shape[axis])
        return ctx.emit(ops.Gather(axis), (x, from_front(ctx, ctx.node_of(picked), x.type.shape[axis])))
    spans = [Span(0, extent) for extent in x.type.shape]
    spans[axis] = slices.read_element(ctx, x.type.shape[axis], position)
    return slices.sliced(ctx, x, spans, (*x.type.shape[:axis], *picked.type.shape, *x.type.shape[axis + 1 :]))


def _all_from_front(numbers: SymArray, extent: Size) -> SymArray | None:
    found: list[object] = []
    for number in numbers.ravel().tolist():
        known = sign_is_known(number)
        if known is None:
            return None
        found.append(number if known else number + extent)
    return symbolic.make(found, numbers.shape)


def _objects(array: np.ndarray[tuple[int, ...], np.dtype[np.object_]]) -> SymArray:
    return symbolic.make(array.ravel().tolist(), array.shape)
