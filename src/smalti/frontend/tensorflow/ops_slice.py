"""Slices, splits and gathers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smalti.frontend import symbolic
from smalti.frontend.context import NeedsLimit, NodeContext
from smalti.frontend.limits import limit_of_difference
from smalti.frontend.symbolic import sign_is_known
from smalti.frontend.tensorflow.ops_shape import MAX_PARTS, part_slice
from smalti.frontend.tensorflow.registry import Handled, tf_op
from smalti.frontend.values import Value
from smalti.ir import dims, ops
from smalti.ir.dims import Dim, maximum, minimum, nonnegative
from smalti.numerics import DType

Size = int | Dim


@dataclass(frozen=True, slots=True)
class _Axis:
    """A slice along one dimension of the input; ``shrink`` drops the dimension."""

    begin: Size
    size: Size
    stride: int
    shrink: bool = False


@tf_op("StridedSlice", inputs=4, types={"T": 0, "Index": 1}, note="all masks, negative strides, constant strides")
def strided_slice(ctx: NodeContext) -> Handled:
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
    axes, shape = _read_slices(ctx, x, masks, begin, end, stride)
    if x.sym is not None and all(isinstance(a.begin, int) and isinstance(a.size, int) for a in axes):
        return _symbolic_slice(ctx, x, axes, shape)
    node = ctx.node(0)
    if any(a.begin != 0 or a.size != s or a.stride != 1 for a, s in zip(axes, x.type.shape, strict=True)):
        record = ops.Slice(
            tuple(a.begin for a in axes),
            tuple(a.size for a in axes),
            tuple(1 if a.size == 1 else a.stride for a in axes),
        )
        if len(shape) == len(axes) and shape == record.size:
            return ctx.emit(record, (node,))
        node = ctx.part(record, (node,), "slice")
    elif shape == x.type.shape:
        return x
    return ctx.emit(ops.Reshape(shape), (node,))


def _read_slices(
    ctx: NodeContext,
    x: Value,
    masks: dict[str, int],
    begin: tuple[Size, ...],
    end: tuple[Size, ...],
    stride: tuple[int, ...],
) -> tuple[list[_Axis], tuple[Size, ...]]:
    """Return the slice of every input dimension and the result's shape."""
    entries = len(begin)
    ellipsis = masks["ellipsis"].bit_length() - 1 if masks["ellipsis"] else entries
    consumed = sum(1 for i in range(entries) if i != ellipsis and not masks["new_axis"] >> i & 1)
    whole = x.type.rank - consumed
    if whole < 0:
        ctx.invalid(f"{consumed} slices for {x.type}")
    axes: list[_Axis] = []
    shape: list[Size] = []
    for i in range(entries + (ellipsis >= entries)):
        if i == min(ellipsis, entries):
            for _ in range(whole):
                extent = x.type.shape[len(axes)]
                axes.append(_Axis(0, extent, 1))
                shape.append(extent)
        elif masks["new_axis"] >> i & 1:
            shape.append(1)
        else:
            extent = x.type.shape[len(axes)]
            if masks["shrink_axis"] >> i & 1:
                axis = _one_element(ctx, extent, begin[i], stride[i])
            else:
                first = None if masks["begin"] >> i & 1 else begin[i]
                last = None if masks["end"] >> i & 1 else end[i]
                axis = _span(ctx, extent, first, last, stride[i])
                shape.append(axis.size)
            axes.append(axis)
    return axes, tuple(shape)


def _from_front(ctx: NodeContext, position: Size, extent: Size) -> Size:
    known = sign_is_known(position)
    if known is None:
        ctx.unsupported("a position that may count from the front or from the back")
    return position if known else position + extent


def _one_element(ctx: NodeContext, extent: Size, begin: Size, stride: int) -> _Axis:
    if stride <= 0:
        ctx.invalid("takes one element with a negative stride")
    position = _from_front(ctx, begin, extent)
    check_inside(ctx, position, 1, extent)
    return _Axis(position, 1, 1, shrink=True)


def _span(ctx: NodeContext, extent: Size, begin: Size | None, end: Size | None, stride: int) -> _Axis:
    low: Size = 0 if stride > 0 else -1
    high: Size = extent if stride > 0 else extent - 1

    def clamp(position: Size | None, default: Size) -> Size:
        if position is None:
            return default
        return minimum(maximum(_from_front(ctx, position, extent), low), high)

    first = clamp(begin, low if stride > 0 else high)
    last = clamp(end, high if stride > 0 else low)
    distance = last - first if stride > 0 else first - last
    size = maximum(dims.ceil_div(distance, abs(stride)), 0)
    return _Axis(first if size != 0 else 0, size, stride)


def _symbolic_slice(ctx: NodeContext, x: Value, axes: list[_Axis], shape: tuple[Size, ...]) -> Value:
    indices = []
    for a in axes:
        begin, size = dims.evaluate(a.begin, {}), dims.evaluate(a.size, {})
        indices.append(np.arange(size) * a.stride + begin)
    picked = x.sym[np.ix_(*indices)] if indices and x.sym is not None else x.sym
    if picked is None:
        ctx.invalid("nothing to slice")
    return ctx.symbolic(picked.reshape([dims.evaluate(s, {}) for s in shape]), x.type.dtype)


def check_inside(ctx: NodeContext, begin: Size, size: Size, extent: Size) -> None:
    """Refuse a piece that leaves the tensor, or may for some images.

    Raises:
        NeedsLimit: it stays inside if images are limited to the size the graph itself names.
    """
    for slack in (begin, size, extent - begin - size):
        if nonnegative(slack):
            continue
        limit = limit_of_difference(slack)
        if limit is not None:
            raise NeedsLimit(*limit)
        if sign_is_known(slack) is False:
            ctx.invalid(f"takes {size} elements from {begin} on of {extent}")
        ctx.unsupported("may take elements outside the tensor for some images")


@tf_op("Slice", inputs=3, types={"T": 0, "Index": 1})
def slice_(ctx: NodeContext) -> Handled:
    """``size`` elements from ``begin`` along each dimension; -1 takes the rest."""
    x = ctx.value(0)
    begin, size = ctx.sizes(1, "the begin"), ctx.sizes(2, "the size")
    if not len(begin) == len(size) == x.type.rank:
        ctx.invalid(f"{len(begin)} begins and {len(size)} sizes for {x.type}")
    size = tuple(e - b if s == -1 else s for e, b, s in zip(x.type.shape, begin, size, strict=True))
    for extent, first, count in zip(x.type.shape, begin, size, strict=True):
        check_inside(ctx, first, count, extent)
    axes = [_Axis(b, s, 1) for b, s in zip(begin, size, strict=True)]
    if x.sym is not None and all(isinstance(a.begin, int) and isinstance(a.size, int) for a in axes):
        return _symbolic_slice(ctx, x, axes, size)
    if all(b == 0 for b in begin) and size == x.type.shape:
        return x
    return ctx.emit(ops.Slice(begin, size, (1,) * len(size)), (ctx.node(0),))


@tf_op("Split", inputs=2, types={"T": 1}, note="constant axis")
def split(ctx: NodeContext) -> Handled:
    """Equal parts along an axis."""
    count = ctx.attrs.integer("num_split")
    axis = ctx.axis(0, ctx.type_of(1).rank)
    extent = ctx.type_of(1).shape[axis]
    if not 1 <= count <= MAX_PARTS:
        ctx.invalid(f"attribute num_split is {count}; at most {MAX_PARTS} parts")
    part = dims.divide_exact(extent, count)
    if part is None:
        ctx.invalid(f"{ctx.type_of(1)} does not split into {count} equal parts")
    return _parts(ctx, ctx.value(1), axis, [part] * count)


@tf_op("SplitV", inputs=3, types={"T": 0, "Tlen": 1}, note="constant axis and sizes")
def split_v(ctx: NodeContext) -> Handled:
    """Parts of given sizes along an axis."""
    count = ctx.attrs.integer("num_split")
    x = ctx.value(0)
    axis = ctx.axis(2, x.type.rank)
    sizes = list(ctx.sizes(1, "the sizes"))
    if len(sizes) != count or count > MAX_PARTS:
        ctx.invalid(f"{len(sizes)} sizes for {count} parts (at most {MAX_PARTS})")
    if sizes.count(-1) > 1:
        ctx.invalid("more than one size is -1")
    rest = x.type.shape[axis] - sum((s for s in sizes if s != -1), 0)
    sizes = [rest if s == -1 else s for s in sizes]
    if sum(sizes, 0) != x.type.shape[axis]:
        ctx.invalid(f"the sizes do not add up to axis {axis} of {x.type}")
    for extent in sizes:
        check_inside(ctx, 0, extent, x.type.shape[axis])
    return _parts(ctx, x, axis, sizes)


def _parts(ctx: NodeContext, x: Value, axis: int, sizes: list[Size]) -> tuple[Value, ...]:
    results: list[Value] = []
    begin: Size = 0
    for output, extent in enumerate(sizes):
        if x.sym is not None:
            first, count = dims.evaluate(begin, {}), dims.evaluate(extent, {})
            picked = np.take(x.sym, np.arange(first, first + count), axis)
            results.append(ctx.symbolic(picked, x.type.dtype, output))
        else:
            node = ctx.node_of(x)
            results.append(ctx.emit(part_slice(node, axis, begin, extent), (node,), output))
        begin = begin + extent
    return tuple(results)


@tf_op("GatherV2", inputs=3, types={"Tparams": 0, "Tindices": 1, "Taxis": 2}, note="batch_dims=0, constant axis")
@tf_op("Gather", inputs=2, ignore=("validate_indices",), types={"Tparams": 0, "Tindices": 1})
def gather(ctx: NodeContext) -> Handled:
    """Elements picked by number along an axis; the numbers must be constant."""
    if ctx.op == "GatherV2" and ctx.attrs.integer("batch_dims", 0) != 0:
        ctx.unsupported(f"batch_dims={ctx.attrs.integer('batch_dims')}")
    x, picked = ctx.value(0), ctx.value(1)
    if picked.type.dtype not in (DType.INT32, DType.INT64) or x.type.rank == 0:
        ctx.invalid(f"indices {picked.type} into {x.type}")
    axis = ctx.axis(2, x.type.rank) if ctx.op == "GatherV2" else 0
    numbers = _gather_indices(ctx, picked)
    extent = x.type.shape[axis]
    if numbers.size:
        check_inside(ctx, int(numbers.min()), 1, extent)
        check_inside(ctx, int(numbers.max()), 1, extent)
    if x.sym is not None and x.sym.size // max(x.sym.shape[axis], 1) * numbers.size <= symbolic.MAX_ELEMENTS:
        found = np.take(x.sym, numbers.ravel(), axis)
        shape = (*x.sym.shape[:axis], *numbers.shape, *x.sym.shape[axis + 1 :])
        return ctx.symbolic(found.reshape(shape), x.type.dtype)
    return ctx.emit(ops.Gather(axis), (ctx.node(0), ctx.node(1)))


def _gather_indices(ctx: NodeContext, value: Value) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    if value.array is not None:
        return value.array.astype(np.int64)
    if value.sym is not None:
        numbers = value.sym.ravel().tolist()
        if all(isinstance(n, int) for n in numbers):
            return np.array(numbers, np.int64).reshape(value.sym.shape)
    ctx.unsupported("indices must be constant")


@tf_op("Where", inputs=1, types={"T": 0}, note="of a constant or symbolic condition")
def where(ctx: NodeContext) -> Handled:
    """Positions where a small tensor is not zero."""
    known = ctx.known(0, "the condition")
    flags: list[bool] = []
    for element in known.ravel().tolist():
        number = element if isinstance(element, bool) else symbolic.constant_of(element)
        if number is None:
            ctx.unsupported("the condition must not depend on the image size")
        flags.append(bool(number))
    positions = np.argwhere(np.array(flags, bool).reshape(known.shape)).astype(np.int64)
    return ctx.constant(np.ascontiguousarray(positions))
