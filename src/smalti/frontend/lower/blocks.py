"""Blocks of pixels that become channels or images of a batch, and the other way round."""

from __future__ import annotations

from smalti.frontend.context import Lowering
from smalti.frontend.lower.checks import Size, check_amounts
from smalti.frontend.lower.window import MAX_WINDOW
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.ops import Layout

MAX_BLOCK = 1 << 16


def check_block(ctx: Lowering, block: int, what: str) -> None:
    """Refuse a size of blocks that is not positive, or huge; messages call it ``what``."""
    if not 1 <= block <= MAX_WINDOW:
        ctx.invalid(f"{what} is {block}")


def space_depth(
    ctx: Lowering, x: Value, record: type[ops.SpaceToDepth] | type[ops.DepthToSpace], block: int, layout: Layout
) -> Value:
    """Blocks of ``block x block`` pixels and channels; the channels of a block are the slowest."""
    check_block(ctx, block, "the size of blocks")
    return ctx.emit(record(block, layout), (x,))


def space_batch(
    ctx: Lowering,
    x: Value,
    record: type[ops.SpaceToBatch] | type[ops.BatchToSpace],
    block: tuple[int, int],
    amounts: tuple[Size, Size, Size, Size],
) -> Value:
    """Blocks of pixels and images of a batch, NHWC; ``amounts`` are paddings or crops: top, bottom, left, right."""
    if not all(1 <= b <= MAX_BLOCK for b in block):
        ctx.invalid(f"block sizes {list(block)} must be positive and at most {MAX_BLOCK}")
    check_amounts(ctx, amounts, "a padding or crop")
    return ctx.emit(record(block, amounts), (x,))
