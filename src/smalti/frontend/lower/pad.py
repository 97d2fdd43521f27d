"""Padding with a number or with the mirrored tensor."""

from __future__ import annotations

from smalti.frontend import symbolic
from smalti.frontend.context import Lowering
from smalti.frontend.lower.checks import Size, check_amounts
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import nonnegative
from smalti.ir.ops import PadMode

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
