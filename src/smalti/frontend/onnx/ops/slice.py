"""Slices with begins, ends and steps."""

from __future__ import annotations

from smalti.frontend.budget import MAX_DIM
from smalti.frontend.lower import slices
from smalti.frontend.lower.checks import Size, check_axes
from smalti.frontend.lower.slices import Span
from smalti.frontend.onnx.axes import read_axes
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.table import Handled


@onnx_op("Slice", inputs=1, since=(1,))
@onnx_op("Slice", inputs=(3, 5), since=(10, 11, 13), note="begins and ends known at build, constant axes and steps")
def slice_(ctx: Context) -> Handled:
    """Python's ``x[begin:end:step]`` along some axes."""
    begin: tuple[Size, ...]
    end: tuple[Size, ...]
    if len(ctx.inputs) == 1:
        begin, end = ctx.attrs.ints("starts"), ctx.attrs.ints("ends")
        stated, step = read_axes(ctx, 3), None
    else:
        begin, end = ctx.sizes(1, "the begins"), ctx.sizes(2, "the ends")
        stated = read_axes(ctx, 3)
        step = ctx.ints(4, "the steps") if ctx.has(4) else None
    x = ctx.value(0)
    axes = tuple(range(len(begin))) if stated is None else stated
    steps = (1,) * len(begin) if step is None else step
    if not len(begin) == len(end) == len(axes) == len(steps):
        ctx.invalid(f"{len(begin)} begins, {len(end)} ends, {len(axes)} axes and {len(steps)} steps")
    if 0 in steps:
        ctx.invalid("a step is zero")
    check_axes(ctx, axes, x.type.rank)
    spans = [Span(0, extent) for extent in x.type.shape]
    for first, last, axis, stride in zip(begin, end, axes, steps, strict=True):
        spans[axis] = slices.read_span(ctx, x.type.shape[axis], _bound(first, stride), _bound(last, -stride), stride)
    return slices.sliced(ctx, x, spans, tuple(span.size for span in spans))


def _bound(position: Size, towards: int) -> Size | None:
    """Return a position, or ``None`` where it lies behind the edge from which (or to which) the slice goes.

    Exporters write the largest or smallest number of a type for "to the edge".
    """
    if isinstance(position, int) and (position <= -MAX_DIM if towards > 0 else position >= MAX_DIM):
        return None
    return position
