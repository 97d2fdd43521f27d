"""Blocks of pixels that become channels, and the other way round."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from smalti.frontend.lower.blocks import MAX_BLOCK, check_block, space_depth
from smalti.frontend.lower.checks import Size
from smalti.frontend.lower.fill import kept
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.table import Handled
from smalti.ir import ops
from smalti.ir.ops import Layout


@onnx_op("SpaceToDepth", inputs=1, since=(1, 13, 28))
def space_to_depth(ctx: Context) -> Handled:
    """Blocks of pixels become channels; the pixels of a block are the slowest (DCR) or the fastest (CRD) of them."""
    block, mode = _read(ctx)
    x = ctx.value(0)
    if mode == "DCR" or block == 1:
        return space_depth(ctx, x, ops.SpaceToDepth, block, Layout.NCHW)
    ctx.require_rank(x, 4)
    blocks = ctx.part(ops.SpaceToDepth(block, Layout.NCHW), (x,), "slowest")
    order = _channels(ctx, blocks.type.shape[1]).reshape(block * block, -1).T.ravel()
    return ctx.emit(ops.Gather(1), (blocks, kept(ctx, order, "order")))


@onnx_op("DepthToSpace", inputs=1, since=(1, 11, 13, 28))
def depth_to_space(ctx: Context) -> Handled:
    """Channels become blocks of pixels; the pixels of a block are the slowest (DCR) or the fastest (CRD) of them."""
    block, mode = _read(ctx)
    x = ctx.value(0)
    if mode == "DCR" or block == 1:
        return space_depth(ctx, x, ops.DepthToSpace, block, Layout.NCHW)
    ctx.require_rank(x, 4)
    order = _channels(ctx, x.type.shape[1], block * block).reshape(-1, block * block).T.ravel()
    slowest = ctx.part(ops.Gather(1), (x, kept(ctx, order, "order")), "slowest")
    return ctx.emit(ops.DepthToSpace(block, Layout.NCHW), (slowest,))


def _read(ctx: Context) -> tuple[int, str]:
    block, mode = ctx.attrs.integer("blocksize"), ctx.attrs.text("mode", "DCR")
    check_block(ctx, block, "attribute blocksize")
    if mode not in ("DCR", "CRD"):
        ctx.unsupported(f"mode {mode[:20]}")
    return block, mode


def _channels(ctx: Context, count: Size, multiple: int = 1) -> NDArray[np.int32]:
    """Return the numbers of channels, which must be a known multiple."""
    if not isinstance(count, int):
        ctx.unsupported("a number of channels that depends on the image size")
    if count % multiple or count > MAX_BLOCK:
        ctx.invalid(f"{count} channels are no multiple of {multiple}, or more than {MAX_BLOCK}")
    return np.arange(count, dtype=np.int32)
