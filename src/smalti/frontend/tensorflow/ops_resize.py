"""Resizes and the space/batch pair that spells dilated convolutions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from smalti.frontend.lower import blocks, resized
from smalti.frontend.lower import resize as lower
from smalti.frontend.tensorflow.bicubic import bicubic_weights
from smalti.frontend.tensorflow.registry import Context, Handled, tf_op
from smalti.ir import ops
from smalti.ir.ops import ResizeFn


@tf_op("ResizeBilinear", inputs=2, types={"T": 0})
@tf_op("ResizeNearestNeighbor", inputs=2, types={"T": 0})
def resize(ctx: Context) -> Handled:
    """Resize of images; bilinear gives float32."""
    align = ctx.attrs.flag("align_corners", False)
    half = ctx.attrs.flag("half_pixel_centers", False)
    if align and half:
        ctx.invalid("align_corners and half_pixel_centers exclude each other")
    x = ctx.value(0)
    ctx.require_rank(x, 4)
    fn = ResizeFn.BILINEAR if ctx.op == "ResizeBilinear" else ResizeFn.NEAREST
    return lower.resize(ctx, x, fn, ctx.sizes(1, "the size"), align, half)


@tf_op("ResizeBicubic", inputs=2, types={"T": 0}, note="constant sizes")
def resize_bicubic(ctx: Context) -> Handled:
    """Resize of images by cubic kernels; gives float32."""
    align = ctx.attrs.flag("align_corners", False)
    half = ctx.attrs.flag("half_pixel_centers", False)
    if align and half:
        ctx.invalid("align_corners and half_pixel_centers exclude each other")
    x, goal = ctx.value(0), ctx.sizes(1, "the size")
    ctx.require_rank(x, 4)
    if len(goal) != 2:
        ctx.invalid(f"the size must be two numbers, not {len(goal)}")
    matrices: dict[int, NDArray[np.float32]] = {}
    for axis, after in enumerate(goal, 1):
        before = x.type.shape[axis]
        if not (isinstance(before, int) and isinstance(after, int)):
            ctx.unsupported("a size that depends on the image: build it with --input-shape")
        if before < 1 or after < 1:
            ctx.invalid(f"{before} elements become {after}")
        if 4 * before * after > min(ctx.host.constant_budget()):
            ctx.unsupported(f"weights of {before} elements that become {after}")
        matrices[axis] = bicubic_weights(before, after, align, half)
    return resized.weighed_by(ctx, x, matrices)


@tf_op("SpaceToBatchND", inputs=3, types={"T": 0, "Tblock_shape": 1, "Tpaddings": 2}, note="height and width of images")
@tf_op("BatchToSpaceND", inputs=3, types={"T": 0, "Tblock_shape": 1, "Tcrops": 2}, note="height and width of images")
def space_batch_nd(ctx: Context) -> Handled:
    """Blocks of pixels become images of a batch, or the other way round; paddings and crops may depend on the image."""
    block = ctx.ints(1, "the block")
    amounts = ctx.known(2, "paddings and crops")
    if amounts.shape != (len(block), 2):
        ctx.invalid(f"paddings or crops {ctx.type_of(2)} for {len(block)} block sizes")
    x = ctx.value(0)
    if x.type.rank != 4 or len(block) not in (1, 2):
        ctx.unsupported(f"{len(block)} block sizes for {x.type}")
    (top, bottom), (left, right) = amounts.tolist() if len(block) == 2 else (*amounts.tolist(), [0, 0])
    height, width = block if len(block) == 2 else (block[0], 1)
    record = ops.SpaceToBatch if ctx.op == "SpaceToBatchND" else ops.BatchToSpace
    return blocks.space_batch(ctx, x, record, (height, width), (top, bottom, left, right))


@tf_op("SpaceToBatch", inputs=2, types={"T": 0, "Tpaddings": 1})
@tf_op("BatchToSpace", inputs=2, types={"T": 0, "Tidx": 1})
def space_batch(ctx: Context) -> Handled:
    """The older form with one block size."""
    block = ctx.attrs.integer("block_size")
    amounts = ctx.known(1, "paddings and crops")
    if amounts.shape != (2, 2):
        ctx.invalid(f"paddings or crops {ctx.type_of(1)}")
    x = ctx.value(0)
    ctx.require_rank(x, 4)
    (top, bottom), (left, right) = amounts.tolist()
    record = ops.SpaceToBatch if ctx.op == "SpaceToBatch" else ops.BatchToSpace
    return blocks.space_batch(ctx, x, record, (block, block), (top, bottom, left, right))
