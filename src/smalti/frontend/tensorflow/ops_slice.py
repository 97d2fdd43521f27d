"""Slices, splits and gathers."""

from __future__ import annotations

from smalti.frontend.lower import join, picking, slices
from smalti.frontend.lower.checks import Size
from smalti.frontend.lower.join import MAX_PARTS
from smalti.frontend.lower.slices import Span
from smalti.frontend.tensorflow.registry import Context, Handled, tf_op
from smalti.frontend.values import Value
from smalti.ir import ops


@tf_op("StridedSlice", inputs=4, types={"T": 0, "Index": 1}, note="all masks, negative strides, constant strides")
def strided_slice(ctx: Context) -> Handled:
    """Python's ``x[begin:end:stride]`` with TensorFlow's masks."""
    masks = {
        key: ctx.attrs.integer(f"{key}_mask", 0) for key in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    x = ctx.value(0)
    begin, end = ctx.sizes(1, "the begin"), ctx.sizes(2, "the end")
    stride = ctx.ints(3, "the strides")
    if not len(begin) == len(end) == len(stride):
        ctx.invalid(f"{len(begin)} begins, {len(end)} ends and {len(stride)} strides")
    if 0 in stride:
        ctx.invalid("a stride is zero")
    if masks["ellipsis"] & (masks["ellipsis"] - 1):
        ctx.invalid("more than one ellipsis")
    return slices.sliced(ctx, x, *_read_slices(ctx, x, masks, begin, end, stride))


def _read_slices(
    ctx: Context,
    x: Value,
    masks: dict[str, int],
    begin: tuple[Size, ...],
    end: tuple[Size, ...],
    stride: tuple[int, ...],
) -> tuple[list[Span], tuple[Size, ...]]:
    """Return the slice of every input dimension and the result's shape."""
    entries = len(begin)
    ellipsis = masks["ellipsis"].bit_length() - 1 if masks["ellipsis"] else entries
    consumed = sum(1 for i in range(entries) if i != ellipsis and not masks["new_axis"] >> i & 1)
    whole = x.type.rank - consumed
    if whole < 0:
        ctx.invalid(f"{consumed} slices for {x.type}")
    spans: list[Span] = []
    shape: list[Size] = []
    for i in range(entries + (ellipsis >= entries)):
        if i == min(ellipsis, entries):
            for _ in range(whole):
                extent = x.type.shape[len(spans)]
                spans.append(Span(0, extent))
                shape.append(extent)
        elif masks["new_axis"] >> i & 1:
            shape.append(1)
        else:
            extent = x.type.shape[len(spans)]
            if masks["shrink_axis"] >> i & 1:
                if stride[i] <= 0:
                    ctx.invalid("takes one element with a negative stride")
                span = slices.read_element(ctx, extent, begin[i])
            else:
                first = None if masks["begin"] >> i & 1 else begin[i]
                last = None if masks["end"] >> i & 1 else end[i]
                span = slices.read_span(ctx, extent, first, last, stride[i])
                shape.append(span.size)
            spans.append(span)
    return spans, tuple(shape)


@tf_op("Slice", inputs=3, types={"T": 0, "Index": 1})
def slice_(ctx: Context) -> Handled:
    """``size`` elements from ``begin`` along each dimension; -1 takes the rest."""
    return slices.piece(ctx, ctx.value(0), ctx.sizes(1, "the begin"), ctx.sizes(2, "the size"))


@tf_op("Split", inputs=2, types={"T": 1}, note="constant axis")
def split(ctx: Context) -> Handled:
    """Equal parts along an axis."""
    count = ctx.attrs.integer("num_split")
    x = ctx.value(1)
    return join.split_evenly(ctx, x, ctx.axis(0, x.type.rank), count, "attribute num_split")


@tf_op("SplitV", inputs=3, types={"T": 0, "Tlen": 1}, note="constant axis and sizes")
def split_v(ctx: Context) -> Handled:
    """Parts of given sizes along an axis."""
    count = ctx.attrs.integer("num_split")
    x = ctx.value(0)
    axis = ctx.axis(2, x.type.rank)
    sizes = ctx.sizes(1, "the sizes")
    if len(sizes) != count or count > MAX_PARTS:
        ctx.invalid(f"{len(sizes)} sizes for {count} parts (at most {MAX_PARTS})")
    return join.split(ctx, x, axis, sizes)


@tf_op("GatherV2", inputs=3, types={"Tparams": 0, "Tindices": 1, "Taxis": 2}, note="batch_dims=0, constant axis")
@tf_op("Gather", inputs=2, ignore=("validate_indices",), types={"Tparams": 0, "Tindices": 1})
def gather(ctx: Context) -> Handled:
    """Elements picked by number along an axis; of a computed number outside, code takes the nearest element."""
    if ctx.op == "GatherV2" and ctx.attrs.integer("batch_dims", 0) != 0:
        ctx.unsupported(f"batch_dims={ctx.attrs.integer('batch_dims')}")
    x, picked = ctx.value(0), ctx.value(1)
    slices.check_gather(ctx, x, picked)
    return slices.gather(ctx, x, picked, ctx.axis(2, x.type.rank) if ctx.op == "GatherV2" else 0)


@tf_op("GatherNd", inputs=2, ignore=("bad_indices_policy",), types={"Tparams": 0, "Tindices": 1})
def gather_nd(ctx: Context) -> Handled:
    """Pieces at positions of many dimensions; a position outside takes the nearest."""
    return picking.folded(ctx, ops.GatherNd(), ctx.values())


@tf_op("ScatterNd", inputs=3, ignore=("bad_indices_policy",), types={"Tindices": 0, "T": 1})
def scatter_nd(ctx: Context) -> Handled:
    """Pieces added to zeros at positions of many dimensions; one outside changes nothing."""
    indices, updates = ctx.value(0), ctx.value(1)
    return picking.scattered(ctx, indices, updates, ctx.sizes(2, "the shape"))


@tf_op("Where", inputs=1, types={"T": 0}, note="of a constant or symbolic condition")
def where(ctx: Context) -> Handled:
    """Positions where a small tensor is not zero."""
    return slices.nonzero(ctx, ctx.value(0))
