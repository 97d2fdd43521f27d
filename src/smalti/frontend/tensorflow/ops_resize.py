"""Resizes and the space/batch pair that spells dilated convolutions."""

from __future__ import annotations

from smalti.frontend.context import NeedsLimit, NodeContext
from smalti.frontend.limits import limit_of_difference
from smalti.frontend.symbolic import sign_is_known
from smalti.frontend.tensorflow.registry import Handled, tf_op
from smalti.ir import ops
from smalti.ir.dims import Dim, nonnegative
from smalti.ir.ops import Pads, ResizeFn
from smalti.numerics import DType

MAX_BLOCK = 1 << 16


def check_amounts(ctx: NodeContext, amounts: tuple[int | Dim, ...], what: str) -> None:
    """Refuse amounts that are negative or could be for some image.

    Raises:
        NeedsLimit: they are not negative if images are limited to the size the graph itself names.
    """
    for amount in amounts:
        if nonnegative(amount):
            continue
        limit = limit_of_difference(amount)
        if limit is not None:
            raise NeedsLimit(*limit)
        if sign_is_known(amount) is False:
            ctx.invalid(f"{what} is negative: {amount}")
        ctx.unsupported(f"{what} may be negative for some images")


@tf_op("ResizeBilinear", inputs=2, types={"T": 0})
@tf_op("ResizeNearestNeighbor", inputs=2, types={"T": 0})
def resize(ctx: NodeContext) -> Handled:
    """Resize of images; bilinear gives float32."""
    align = ctx.attrs.flag("align_corners", False)
    half = ctx.attrs.flag("half_pixel_centers", False)
    if align and half:
        ctx.invalid("align_corners and half_pixel_centers exclude each other")
    ctx.require_rank(0, 4)
    size = ctx.sizes(1, "the size")
    if len(size) != 2:
        ctx.invalid(f"the size must be two numbers, not {len(size)}")
    for extent in size:
        if sign_is_known(extent - 1) is False:
            ctx.invalid(f"the size {extent} is not positive")
    image = ctx.node(0)
    if ctx.op == "ResizeNearestNeighbor":
        return ctx.emit(ops.Resize(ResizeFn.NEAREST, (size[0], size[1]), align, half), (image,))
    image = ctx.cast(image, DType.FLOAT32, ops.Cast)
    return ctx.emit(ops.Resize(ResizeFn.BILINEAR, (size[0], size[1]), align, half), (image,))


@tf_op("SpaceToBatchND", inputs=3, types={"T": 0, "Tblock_shape": 1, "Tpaddings": 2}, note="height and width of images")
@tf_op("BatchToSpaceND", inputs=3, types={"T": 0, "Tblock_shape": 1, "Tcrops": 2}, note="height and width of images")
def space_batch_nd(ctx: NodeContext) -> Handled:
    """Blocks of pixels become images of a batch, or the other way round; paddings and crops may depend on the image."""
    block = ctx.ints(1, "the block")
    amounts = ctx.known(2, "paddings and crops")
    if amounts.shape != (len(block), 2):
        ctx.invalid(f"paddings or crops {ctx.type_of(2)} for {len(block)} block sizes")
    if ctx.type_of(0).rank != 4 or len(block) not in (1, 2):
        ctx.unsupported(f"{len(block)} block sizes for {ctx.type_of(0)}")
    values = tuple(amounts.ravel().tolist())
    if len(block) == 1:
        block, values = (block[0], 1), (*values, 0, 0)
    return _space_batch(ctx, (block[0], block[1]), values)


@tf_op("SpaceToBatch", inputs=2, types={"T": 0, "Tpaddings": 1})
@tf_op("BatchToSpace", inputs=2, types={"T": 0, "Tidx": 1})
def space_batch(ctx: NodeContext) -> Handled:
    """The older form with one block size."""
    block = ctx.attrs.integer("block_size")
    amounts = ctx.known(1, "paddings and crops")
    if amounts.shape != (2, 2):
        ctx.invalid(f"paddings or crops {ctx.type_of(1)}")
    ctx.require_rank(0, 4)
    return _space_batch(ctx, (block, block), tuple(amounts.ravel().tolist()))


def _space_batch(ctx: NodeContext, block: tuple[int, int], values: tuple[int | Dim, ...]) -> Handled:
    if not all(1 <= b <= MAX_BLOCK for b in block):
        ctx.invalid(f"block sizes {list(block)} must be positive and at most {MAX_BLOCK}")
    check_amounts(ctx, values, "a padding or crop")
    pads: Pads = (values[0], values[1], values[2], values[3])
    if ctx.op.startswith("Space"):
        return ctx.emit(ops.SpaceToBatch(block, pads), (ctx.node(0),))
    return ctx.emit(ops.BatchToSpace(block, pads), (ctx.node(0),))
