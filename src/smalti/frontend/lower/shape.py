"""Shapes as tensors, and the same elements with another shape or order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from smalti.frontend import symbolic
from smalti.frontend.budget import MAX_RANK
from smalti.frontend.context import Lowering
from smalti.frontend.lower.checks import Size
from smalti.frontend.symbolic import SymArray
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import divide_exact, product
from smalti.numerics import DType


def shape_of(ctx: Lowering, x: Value, dtype: DType, output: int = 0) -> Value:
    """The shape as a vector of ``dtype``."""
    return ctx.symbolic(sizes_of(x), dtype, output)


def sizes_of(x: Value) -> SymArray:
    """Return the shape as a vector."""
    return symbolic.make(x.type.shape, (x.type.rank,))


def rank_of(ctx: Lowering, x: Value) -> Value:
    """The number of dimensions, int32."""
    return ctx.symbolic(symbolic.make([x.type.rank], ()), DType.INT32)


def elements_of(ctx: Lowering, x: Value, dtype: DType) -> Value:
    """The number of elements."""
    return ctx.symbolic(symbolic.make([symbolic.checked(x.type.elements, dtype)], ()), dtype)


def reshaped(ctx: Lowering, x: Value, sizes: tuple[Size, ...]) -> Value:
    """The same elements with another shape, all of whose sizes are given."""
    if len(sizes) > MAX_RANK:
        ctx.unsupported(f"a tensor of {len(sizes)} dimensions; the limit is {MAX_RANK}")
    known = ctx.try_reshaped(x, sizes)
    return known if known is not None else ctx.emit(ops.Reshape(sizes), (x,))


def check_sizes(ctx: Lowering, sizes: tuple[Size, ...]) -> None:
    """Refuse a shape with more than one -1, or with another negative size."""
    if sum(1 for s in sizes if s == -1) > 1:
        ctx.invalid("more than one size of the shape is -1")
    if any(isinstance(s, int) and s < -1 for s in sizes):
        ctx.invalid(f"the shape {list(sizes)} has a negative size")


def reshape(ctx: Lowering, x: Value, sizes: tuple[Size, ...]) -> Value:
    """The same elements with another shape; one size may be -1."""
    return reshaped(ctx, x, resolved(ctx, x, sizes))


def resolved(ctx: Lowering, x: Value, sizes: tuple[Size, ...]) -> tuple[Size, ...]:
    """Return a shape for the elements of ``x`` with the number that -1, which may come once, stands for."""
    check_sizes(ctx, sizes)
    if -1 not in sizes:
        return sizes
    others = product(s for s in sizes if s != -1)
    rest = divide_exact(x.type.elements, others) if others != 0 else None
    if rest is None:
        ctx.invalid(f"{x.type} does not divide into {[str(s) for s in sizes]}")
    return tuple(rest if s == -1 else s for s in sizes)


def expand(ctx: Lowering, x: Value, axis: int) -> Value:
    """Put in a dimension of size 1 before ``axis``; -1 is behind the last."""
    old = x.type.shape
    place = ctx.check_axis(axis, len(old) + 1)
    return reshaped(ctx, x, (*old[:place], 1, *old[place:]))


def squeeze(ctx: Lowering, x: Value, axes: Iterable[int]) -> Value:
    """Take out dimensions of size 1; all of them where ``axes`` is empty."""
    return reshaped(ctx, x, squeezed(ctx, x, axes))


def squeezed(ctx: Lowering, x: Value, axes: Iterable[int]) -> tuple[Size, ...]:
    """Return the shape without some dimensions, which must be of size 1."""
    old = x.type.shape
    chosen = {ctx.check_axis(a, len(old)) for a in axes} or {i for i, s in enumerate(old) if s == 1}
    if any(old[a] != 1 for a in chosen):
        ctx.invalid(f"axes {sorted(chosen)} of {x.type} are not all of size 1")
    return tuple(s for i, s in enumerate(old) if i not in chosen)


def transpose(ctx: Lowering, x: Value, permutation: tuple[int, ...]) -> Value:
    """Permutation of the dimensions."""
    rank = x.type.rank
    perm = tuple(p % rank if rank else p for p in permutation)
    if sorted(perm) != list(range(rank)):
        ctx.invalid(f"{list(permutation)} does not permute {x.type}")
    if x.sym is not None:
        return ctx.symbolic(np.transpose(x.sym, perm), x.type.dtype)
    return ctx.emit(ops.Transpose(perm), (x,))
