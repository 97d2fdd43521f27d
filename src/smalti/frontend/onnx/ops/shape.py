"""Shapes as tensors, and the same elements with another shape or order."""

from __future__ import annotations

from math import prod

import numpy as np

from smalti.frontend.budget import MAX_RANK
from smalti.frontend.lower import join
from smalti.frontend.lower import shape as shapes
from smalti.frontend.lower.checks import Size
from smalti.frontend.onnx.axes import read_axes
from smalti.frontend.onnx.nodes import OnnxNode
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.table import Handled
from smalti.frontend.values import Value
from smalti.ir.dims import ceil_div, product
from smalti.ir.graph import TensorType
from smalti.numerics import DType

_SHARE = 8
"""A constant is transposed at once where that takes no more than this part of what constants may still take."""


@onnx_op("Shape", inputs=1, since=(1, 13, 15, 19, 21, 23, 24, 25))
def shape(ctx: Context) -> Handled:
    """The sizes from dimension ``start`` to before ``end``."""
    start, end = ctx.attrs.integer("start", 0), ctx.attrs.integer("end", 1 << 16)
    x = ctx.value(0)
    return ctx.symbolic(shapes.sizes_of(x)[start:end], DType.INT64)


@onnx_op("Size", inputs=1, since=(1, 13, 19, 21, 23, 24, 25))
def size(ctx: Context) -> Handled:
    """The number of elements."""
    return shapes.elements_of(ctx, ctx.value(0), DType.INT64)


@onnx_op("Reshape", inputs=2, since=(5, 13, 14, 19, 21, 23, 24, 25), note="a shape known at build")
def reshape(ctx: Context) -> Handled:
    """The same elements with another shape; 0 keeps a size, one may be -1."""
    keeps = not ctx.attrs.flag("allowzero", False)
    x, sizes = ctx.value(0), ctx.sizes(1, "the shape")
    if keeps and any(s == 0 for s in sizes[x.type.rank :]):
        ctx.invalid(f"the shape {[str(s) for s in sizes]} keeps a size that {x.type} does not have")
    if keeps:
        sizes = tuple(x.type.shape[i] if s == 0 else s for i, s in enumerate(sizes))
    return _reshaped(ctx, x, shapes.resolved(ctx, x, sizes))


@onnx_op("Flatten", inputs=1, since=(1, 9, 11, 13, 21, 23, 24, 25))
def flatten(ctx: Context) -> Handled:
    """Two dimensions: those before the axis, and those from it on."""
    axis = ctx.attrs.integer("axis", 1)
    x = ctx.value(0)
    if not -x.type.rank <= axis <= x.type.rank:
        ctx.invalid(f"axis {axis} is outside a tensor of {x.type.rank} dimensions")
    place = axis + x.type.rank if axis < 0 else axis
    return _reshaped(ctx, x, (product(x.type.shape[:place]), product(x.type.shape[place:])))


@onnx_op("Squeeze", inputs=(1, 2), since=(1, 11, 13, 21, 23, 24, 25), note="constant axes")
def squeeze(ctx: Context) -> Handled:
    """Takes out dimensions of size 1; all of them where no axes are given."""
    axes = read_axes(ctx, 1)
    if axes == ():
        return ctx.inputs[0]
    x = ctx.value(0)
    return _reshaped(ctx, x, shapes.squeezed(ctx, x, axes or ()))


@onnx_op("Unsqueeze", inputs=(1, 2), since=(1, 11, 13, 21, 23, 24, 25), note="constant axes")
def unsqueeze(ctx: Context) -> Handled:
    """Puts in dimensions of size 1, at these places of the result."""
    axes, x = read_axes(ctx, 1), ctx.value(0)
    if axes is None:
        ctx.invalid("the axes are left out")
    rank = x.type.rank + len(axes)
    if rank > MAX_RANK:
        ctx.unsupported(f"a tensor of {rank} dimensions; the limit is {MAX_RANK}")
    places = [ctx.check_axis(a, rank) for a in axes]
    if len(set(places)) != len(places):
        ctx.invalid(f"the axes {list(axes)} repeat")
    old = iter(x.type.shape)
    return _reshaped(ctx, x, tuple(1 if i in places else next(old) for i in range(rank)))


@onnx_op("Transpose", inputs=1, since=(1, 13, 21, 23, 24, 25))
def transpose(ctx: Context) -> Handled:
    """Permutation of the dimensions; without one they are reversed."""
    perm = ctx.attrs.ints("perm") if "perm" in ctx.attrs else None
    x = ctx.value(0)
    if perm is None:
        perm = tuple(reversed(range(x.type.rank)))
    if any(not 0 <= p < x.type.rank for p in perm):
        ctx.invalid(f"{list(perm)} does not permute {x.type}")
    return _transposed(ctx, x, perm)


@onnx_op("Concat", inputs=(1, 4096), since=(4, 11, 13))
def concat(ctx: Context) -> Handled:
    """Concatenation along an axis."""
    axis = ctx.attrs.integer("axis")
    values = ctx.values()
    return join.concat(ctx, values, ctx.check_axis(axis, values[0].type.rank))


@onnx_op("Split", inputs=(1, 2), since=(2, 11, 13, 18), note="sizes known at build")
def split(ctx: Context) -> Handled:
    """Parts along an axis: of given sizes, or equal ones, of which the last may be smaller."""
    axis = ctx.attrs.integer("axis", 0)
    stated: tuple[Size, ...] | None = ctx.attrs.ints("split") if "split" in ctx.attrs else None
    asked = ctx.attrs.integer("num_outputs") if "num_outputs" in ctx.attrs else None
    x = ctx.value(0)
    axis = ctx.check_axis(axis, x.type.rank)
    count = len(ctx.raw.outputs) if isinstance(ctx.raw, OnnxNode) else 0
    if ctx.has(1):
        stated = ctx.sizes(1, "the sizes of the parts")
    if stated is not None:
        if len(stated) != count:
            ctx.invalid(f"{len(stated)} sizes for {count} results")
        return join.split(ctx, x, axis, _checked(ctx, stated))
    if asked is None:
        return join.split_evenly(ctx, x, axis, count, "the number of results")
    if asked != count:
        ctx.invalid(f"attribute num_outputs is {asked} for {count} results")
    part = ceil_div(x.type.shape[axis], count)
    return join.split(ctx, x, axis, [part] * (count - 1) + [x.type.shape[axis] - part * (count - 1)])


def _reshaped(ctx: Context, x: Value, sizes: tuple[Size, ...]) -> Value:
    """The same elements with another shape; of a constant the same memory, so that weights stay constants."""
    known = tuple(s for s in sizes if isinstance(s, int))
    if x.array is None or x.sym is not None or len(known) != len(sizes) or prod(known) != x.array.size:
        return shapes.reshaped(ctx, x, sizes)
    ctx.check_shape(TensorType(x.type.dtype, sizes))
    return Value(TensorType(x.type.dtype, known), ctx.host.name_of(ctx.raw, 0), array=x.array.reshape(known))


def _transposed(ctx: Context, x: Value, perm: tuple[int, ...]) -> Value:
    """Permuted dimensions; a constant that takes little of what constants may still take stays one."""
    if x.array is None or x.sym is not None or x.array.nbytes > min(ctx.host.constant_budget()) // _SHARE:
        return shapes.transpose(ctx, x, perm)
    if sorted(perm) != list(range(x.type.rank)):
        ctx.invalid(f"{list(perm)} does not permute {x.type}")
    return ctx.constant(np.ascontiguousarray(np.transpose(x.array, perm)), dtype=x.type.dtype)


def _checked(ctx: Context, sizes: tuple[Size, ...]) -> tuple[Size, ...]:
    if any(isinstance(s, int) and s < 0 for s in sizes):
        ctx.invalid(f"a part of a negative size: {[str(s) for s in sizes]}")
    return sizes
