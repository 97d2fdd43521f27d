"""Tensors made of few numbers: broadcasts, repeats, ranges, constants of a shape, masks."""

from __future__ import annotations

import numpy as np

from smalti.frontend import symbolic
from smalti.frontend.lower import fill as filling
from smalti.frontend.lower import grids
from smalti.frontend.lower.checks import check_amounts
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.onnx.wire.types import OnnxType
from smalti.frontend.table import Handled
from smalti.ir.shapes import broadcast
from smalti.numerics import DType


@onnx_op("Expand", inputs=2, since=(8, 13), note="a shape known at build")
def expand(ctx: Context) -> Handled:
    """Broadcasting to a shape that may itself be broadcast."""
    x, sizes = ctx.value(0), ctx.sizes(1, "the shape")
    check_amounts(ctx, sizes, "a size")
    return filling.broadcast(ctx, x, broadcast(x.type.shape, sizes))


@onnx_op("Tile", inputs=2, since=(6, 13), note="repeats known at build")
def tile(ctx: Context) -> Handled:
    """Repeats a tensor along each dimension."""
    return filling.tile(ctx, ctx.value(0), ctx.sizes(1, "the repeats"))


@onnx_op("ConstantOfShape", inputs=1, since=(9, 20, 21, 23, 24, 25), note="a shape known at build")
def constant_of_shape(ctx: Context) -> Handled:
    """A tensor of one number."""
    held = ctx.attrs.tensor("value") if "value" in ctx.attrs else None
    sizes = ctx.sizes(0, "the shape")
    check_amounts(ctx, sizes, "a size")
    kind = OnnxType.FLOAT if held is None else held.kind
    try:
        number = np.zeros(1, np.float32) if held is None else held.decode(ctx.host.constant_budget()[0])
    except ValueError as error:
        ctx.unsupported(f"attribute value: {error}")
    if number.size != 1:
        ctx.invalid(f"attribute value holds {number.size} numbers, not one")
    if kind.dtype is None:
        ctx.unsupported(f"constants of type {kind.label}")
    return filling.filled(ctx, number.reshape(()), kind.dtype, sizes)


@onnx_op("Range", inputs=3, since=(11, 27), note="bounds known at build; fractions only as constants")
def range_(ctx: Context) -> Handled:
    """``start, start + delta, ...`` before ``limit``."""
    start, limit, delta = (ctx.known(i, what) for i, what in enumerate(("start", "limit", "delta")))
    dtype = ctx.type_of(0).dtype
    for i, found in enumerate((start, limit, delta)):
        if found.size != 1 or ctx.type_of(i).dtype is not dtype:
            ctx.invalid(f"input {i} must be one number of {dtype.value}, not {ctx.type_of(i)}")
    return grids.numbers(ctx, start.item(0), limit.item(0), delta.item(0), dtype)


@onnx_op("OneHot", inputs=3, since=(9, 11, 28), note="constant depth")
def one_hot(ctx: Context) -> Handled:
    """One number where a position along a new axis is the index, another everywhere else."""
    axis = ctx.attrs.integer("axis", -1)
    picked, choices = ctx.value(0), ctx.value(2)
    found = symbolic.constants(ctx.known(1, "the depth"))
    if found is None or len(found) != 1 or found[0].denominator != 1 or choices.type.shape != (2,):
        ctx.unsupported(f"a depth {ctx.type_of(1)} with the numbers {choices.type}")
    return grids.one_hot(ctx, picked, int(found[0]), choices, ctx.check_axis(axis, picked.type.rank + 1))


@onnx_op("EyeLike", inputs=1, since=(9, 22))
def eye_like(ctx: Context) -> Handled:
    """Ones on a diagonal of a matrix as large as the input."""
    offset = ctx.attrs.integer("k", 0)
    kind = ctx.attrs.kind("dtype") if "dtype" in ctx.attrs else None
    x = ctx.value(0)
    ctx.require_rank(x, 2)
    dtype = x.type.dtype if kind is None else kind.dtype
    if dtype is None:
        ctx.unsupported("an attribute dtype that this compiler does not have")
    return grids.eye(ctx, (x.type.shape[0], x.type.shape[1]), offset, dtype)


@onnx_op("Trilu", inputs=(1, 2), since=(14,))
def trilu(ctx: Context) -> Handled:
    """The matrix above or below a diagonal; zeros elsewhere."""
    upper = ctx.attrs.flag("upper", True)
    x = ctx.value(0)
    offset = ctx.value(1) if ctx.has(1) else None
    if x.type.rank < 2:
        ctx.invalid(f"no matrix: {x.type}")
    if offset is not None and (offset.type.dtype is not DType.INT64 or offset.type.elements != 1):
        ctx.invalid(f"the diagonal must be one number, not {offset.type}")
    return grids.triangle(ctx, x, offset, upper)
