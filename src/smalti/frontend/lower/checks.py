"""Sizes and positions that must hold for every image: not negative, inside the tensor."""

from __future__ import annotations

from smalti.frontend.context import Lowering
from smalti.frontend.limits import limit_of_difference
from smalti.frontend.signals import NeedsLimit
from smalti.frontend.symbolic import sign_is_known
from smalti.ir.dims import Dim, nonnegative

Size = int | Dim


def check_amounts(ctx: Lowering, amounts: tuple[Size, ...], what: str) -> None:
    """Refuse amounts that are negative or could be for some image.

    Raises:
        NeedsLimit: they are not negative if images are limited to the size the graph itself names.
    """
    for amount in amounts:
        if _is_in_doubt(amount):
            if sign_is_known(amount) is False:
                ctx.invalid(f"{what} is negative: {amount}")
            ctx.unsupported(f"{what} may be negative for some images")


def check_inside(ctx: Lowering, begin: Size, size: Size, extent: Size) -> None:
    """Refuse a piece that leaves the tensor, or may for some images.

    Raises:
        NeedsLimit: it stays inside if images are limited to the size the graph itself names.
    """
    for slack in (begin, size, extent - begin - size):
        if _is_in_doubt(slack):
            if sign_is_known(slack) is False:
                ctx.invalid(f"takes {size} elements from {begin} on of {extent}")
            ctx.unsupported("may take elements outside the tensor for some images")


def _is_in_doubt(amount: Size) -> bool:
    """Whether an amount is negative for some image, or may be; raises NeedsLimit where the graph's own limit helps."""
    if nonnegative(amount):
        return False
    limit = limit_of_difference(amount)
    if limit is not None:
        raise NeedsLimit(*limit)
    return True


def check_axes(ctx: Lowering, axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Return axes counted from the front and sorted; none may come twice."""
    found = [ctx.check_axis(axis, rank) for axis in axes]
    if len(set(found)) != len(found):
        ctx.invalid(f"the axes {found} repeat")
    return tuple(sorted(found))
