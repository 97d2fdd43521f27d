"""Padding with a number or with the mirrored tensor."""

from __future__ import annotations

from smalti.frontend import symbolic
from smalti.frontend.context import Lowering
from smalti.frontend.lower.checks import Size, check_amounts, check_inside
from smalti.frontend.lower.slices import piece
from smalti.frontend.symbolic import sign_is_known
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import nonnegative
from smalti.ir.ops import PadMode
from smalti.numerics import DType

Amounts = tuple[tuple[Size, Size], ...]
"""(before, after) for each dimension."""


def pad(ctx: Lowering, x: Value, amounts: Amounts, number: float = 0.0) -> Value:
    """Padding with a number."""
    _check(ctx, x, amounts)
    return ctx.emit(ops.Pad(amounts, PadMode.CONSTANT, number), (x,))


def mirror(ctx: Lowering, x: Value, amounts: Amounts, mode: PadMode) -> Value:
    """Padding with the mirrored tensor, without its edge (``REFLECT``) or with it (``SYMMETRIC``)."""
    _check(ctx, x, amounts)
    margin = 1 if mode is PadMode.REFLECT else 0
    for extent, pair in zip(x.type.shape, amounts, strict=True):
        for amount in pair:
            if amount == 0 or nonnegative(extent - margin - amount):
                continue
            if isinstance(extent, int) and isinstance(amount, int):
                ctx.invalid(f"mirrors {amount} elements of {extent}")
            ctx.unsupported("may mirror more than the image has")
    return ctx.emit(ops.Pad(amounts, mode), (x,))


def pad_or_cut(ctx: Lowering, x: Value, amounts: Amounts, mode: PadMode, number: float) -> Value:
    """Padding in any mode; an amount that is negative for every image cuts, before anything is padded."""
    begin: list[Size] = []
    size: list[Size] = []
    grown: list[tuple[Size, Size]] = []
    for extent, pair in zip(x.type.shape, amounts, strict=True):
        cut = [-a if sign_is_known(a) is False else 0 for a in pair]
        begin.append(cut[0])
        size.append(extent - cut[0] - cut[1])
        grown.append((pair[0] + cut[0], pair[1] + cut[1]))
    cuts = any(s != e for s, e in zip(size, x.type.shape, strict=True))
    padded = tuple(grown)
    if all(pair == (0, 0) for pair in padded):
        return piece(ctx, x, tuple(begin), tuple(size)) if cuts else x
    if cuts:
        for extent, first, count in zip(x.type.shape, begin, size, strict=True):
            check_inside(ctx, first, count, extent)
        node = ctx.part(ops.Slice(tuple(begin), tuple(size), (1,) * x.type.rank), (x,), "cut")
        x = Value(node.type, node.name, node=node)
    if mode is PadMode.CONSTANT:
        return pad(ctx, x, padded, number)
    if mode in (PadMode.REFLECT, PadMode.SYMMETRIC):
        return mirror(ctx, x, padded, mode)
    _check(ctx, x, padded)
    for extent, pair in zip(x.type.shape, padded, strict=True):
        if pair != (0, 0):
            check_inside(ctx, 0, 1, extent)
    return ctx.emit(ops.Pad(padded, mode), (x,))


def pad_computed(ctx: Lowering, x: Value, amounts: Amounts, number: Value) -> Value:
    """Padding with one number that is data of a run, of the type of ``x``."""
    _check(ctx, x, amounts)
    whole = ctx.part(ops.Pad(amounts), (x,), "padded")
    true = ctx.node_of(ctx.symbolic(symbolic.make([True], ()), DType.BOOL))
    inside = ctx.part(ops.BroadcastTo(x.type.shape), (true,), "inside")
    place = ctx.part(ops.Pad(amounts), (inside,), "places")
    one = ctx.part(ops.Reshape(()), (number,), "number")
    return ctx.emit(ops.Select(), (place, whole, one))


def read_number(ctx: Lowering, filling: Value, x: Value) -> float:
    """Return the number of a padding value: one constant of the type of ``x``."""
    if filling.array is None and filling.sym is None:
        ctx.unsupported("a padding value that is not constant")
    if filling.type.rank != 0 or filling.type.dtype is not x.type.dtype:
        ctx.invalid(f"a padding value {filling.type} for {x.type}")
    if filling.array is not None:
        return float(filling.array.item())
    constant = None if filling.sym is None else symbolic.constant_of(filling.sym.item())
    if constant is None:
        ctx.unsupported("a padding value that depends on the image size")
    return float(constant)


def _check(ctx: Lowering, x: Value, amounts: Amounts) -> None:
    if len(amounts) != x.type.rank:
        ctx.invalid(f"{len(amounts)} pairs of paddings for {x.type}")
    check_amounts(ctx, tuple(amount for pair in amounts for amount in pair), "a padding")
