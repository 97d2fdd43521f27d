"""Tensors put together and taken apart along one axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smalti.frontend import symbolic
from smalti.frontend.context import Lowering
from smalti.frontend.lower.checks import Size, check_inside
from smalti.frontend.symbolic import SymArray
from smalti.frontend.values import Value
from smalti.ir import dims, ops
from smalti.ir.graph import TensorType
from smalti.ir.sizes import evaluate

MAX_PARTS = 4096


def concat(ctx: Lowering, values: Sequence[Value], axis: int) -> Value:
    """Concatenation of at least one tensor; only the sizes along ``axis``, counted from the front, may differ."""
    type_ = values[0].type
    for v in values:
        same = v.type.rank == type_.rank and all(
            i == axis or s == r for i, (s, r) in enumerate(zip(v.type.shape, type_.shape, strict=True))
        )
        if not same or v.type.dtype is not type_.dtype:
            ctx.invalid(f"{type_} and {v.type} do not fit along axis {axis}")
    known = _all_symbolic(values)
    if known is not None:
        return ctx.symbolic(np.concatenate(known, axis), type_.dtype)
    return values[0] if len(values) == 1 else ctx.emit(ops.Concat(axis), values)


def stack(ctx: Lowering, values: Sequence[Value], axis: int) -> Value:
    """Tensors of one type along a new axis."""
    first = values[0].type
    if any(v.type != first for v in values):
        ctx.invalid(f"the inputs have different types: {', '.join(sorted({str(v.type) for v in values})[:4])}")
    axis = ctx.check_axis(axis, first.rank + 1)
    known = _all_symbolic(values)
    if known is not None:
        return ctx.symbolic(np.stack(known, axis), first.dtype)
    sizes = (*first.shape[:axis], 1, *first.shape[axis:])
    rows = [ctx.part(ops.Reshape(sizes), (v,), f"row_{i}") for i, v in enumerate(values)]
    return ctx.emit(ops.Concat(axis), rows)


def unstack(ctx: Lowering, x: Value, axis: int, count: int, what: str) -> tuple[Value, ...]:
    """The ``count`` tensors along an axis, which falls away; messages call the count ``what``."""
    axis = ctx.check_axis(axis, x.type.rank)
    if x.type.shape[axis] != count:
        ctx.invalid(f"{what} is {count} for axis {axis} of {x.type}")
    if x.sym is not None:
        return tuple(ctx.symbolic(symbolic.take(x.sym, i, axis), x.type.dtype, i) for i in range(count))
    sizes = (*x.type.shape[:axis], *x.type.shape[axis + 1 :])
    if count > MAX_PARTS:
        ctx.unsupported(f"{count} parts; the limit is {MAX_PARTS}")
    rows = [ctx.part(_part_slice(x.type, axis, i, 1), (x,), f"row_{i}") for i in range(count)]
    return tuple(ctx.emit(ops.Reshape(sizes), (row,), i) for i, row in enumerate(rows))


def split_evenly(ctx: Lowering, x: Value, axis: int, count: int, what: str) -> tuple[Value, ...]:
    """Equal parts along an axis, counted from the front; messages call their number ``what``."""
    if not 1 <= count <= MAX_PARTS:
        ctx.invalid(f"{what} is {count}; at most {MAX_PARTS} parts")
    part = dims.divide_exact(x.type.shape[axis], count)
    if part is None:
        ctx.invalid(f"{x.type} does not split into {count} equal parts")
    return _parts(ctx, x, axis, [part] * count)


def split(ctx: Lowering, x: Value, axis: int, sizes: Sequence[Size]) -> tuple[Value, ...]:
    """Parts of given sizes along an axis, counted from the front; one size may be -1."""
    if len(sizes) > MAX_PARTS:
        ctx.invalid(f"{len(sizes)} parts (at most {MAX_PARTS})")
    if list(sizes).count(-1) > 1:
        ctx.invalid("more than one size is -1")
    rest = x.type.shape[axis] - sum((s for s in sizes if s != -1), 0)
    extents = [rest if s == -1 else s for s in sizes]
    if sum(extents, 0) != x.type.shape[axis]:
        ctx.invalid(f"the sizes do not add up to axis {axis} of {x.type}")
    for extent in extents:
        check_inside(ctx, 0, extent, x.type.shape[axis])
    return _parts(ctx, x, axis, extents)


def _parts(ctx: Lowering, x: Value, axis: int, sizes: list[Size]) -> tuple[Value, ...]:
    results: list[Value] = []
    begin: Size = 0
    for output, extent in enumerate(sizes):
        if x.sym is not None:
            first, count = evaluate(begin, {}), evaluate(extent, {})
            picked = np.take(x.sym, np.arange(first, first + count), axis)
            results.append(ctx.symbolic(picked, x.type.dtype, output))
        else:
            results.append(ctx.emit(_part_slice(x.type, axis, begin, extent), (x,), output))
        begin = begin + extent
    return tuple(results)


def _part_slice(type_: TensorType, axis: int, begin: Size, extent: Size) -> ops.Slice:
    """Return the slice of ``extent`` elements from ``begin`` along one axis."""
    rank = type_.rank
    begins: tuple[Size, ...] = tuple(begin if a == axis else 0 for a in range(rank))
    kept = tuple(extent if a == axis else s for a, s in enumerate(type_.shape))
    return ops.Slice(begins, kept, (1,) * rank)


def _all_symbolic(values: Sequence[Value]) -> list[SymArray] | None:
    found = [v.sym for v in values if v.sym is not None]
    small = len(found) == len(values) and sum(f.size for f in found) <= symbolic.MAX_ELEMENTS
    return found if small else None
