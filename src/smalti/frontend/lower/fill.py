"""Tensors made of few numbers: broadcasts, repeats, ranges."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from smalti.frontend import symbolic
from smalti.frontend.budget import MAX_RANK
from smalti.frontend.context import Lowering
from smalti.frontend.lower.checks import Size, check_amounts
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.graph import TensorType
from smalti.numerics import DType

MAX_RANGE = 1 << 16
_SHARE = 8
"""A tensor of one number is a constant where it takes no more than this part of what constants may still take."""


def broadcast(ctx: Lowering, value: Value, sizes: tuple[Size, ...]) -> Value:
    """Numpy broadcasting to a shape."""
    check_amounts(ctx, sizes, "a size")
    return _broadcast(ctx, value, sizes)


def filled_like(ctx: Lowering, number: int, type_: TensorType) -> Value:
    """A tensor of a type that holds one number everywhere; 0 and 1 are false and true."""
    element = bool(number) if type_.dtype is DType.BOOL else number
    return _broadcast(ctx, ctx.symbolic(symbolic.make([element], ()), type_.dtype), type_.shape)


def filled(ctx: Lowering, number: NDArray[np.generic], dtype: DType, sizes: tuple[Size, ...]) -> Value:
    """A tensor of ``dtype`` that holds one number everywhere; small ones are constants."""
    one = kept(ctx, number, "number", dtype)
    found = _broadcast(ctx, one, sizes)
    known = [s for s in sizes if isinstance(s, int)]
    elements = math.prod(known)
    budget = min(ctx.host.constant_budget())
    if found.sym is not None or len(known) != len(sizes) or elements * dtype.itemsize > budget // _SHARE:
        return found
    return ctx.constant(np.full(known, number), dtype=dtype)


def kept(ctx: Lowering, array: NDArray[np.generic], suffix: str, dtype: DType | None = None) -> Value:
    """A constant that a builder needs for itself."""
    ctx.host.spend(array.nbytes, array.nbytes)
    array = np.ascontiguousarray(array).reshape(array.shape)
    array.flags.writeable = False
    dtype = DType.from_numpy(array.dtype) if dtype is None else dtype
    sym = symbolic.from_array(array, dtype)
    return Value(TensorType(dtype, tuple(array.shape)), f"{ctx.raw.name}/{suffix}", array=array, sym=sym)


def read_bound(ctx: Lowering, bound: Value, dtype: DType, what: str) -> int:
    """Return a bound of a range: one known whole number of a type."""
    if bound.type.rank != 0 or bound.type.dtype is not dtype:
        ctx.invalid(f"{what} must be one number, not {bound.type}")
    if bound.sym is None:
        ctx.unsupported(f"{what} must be constant or computed from the image size")
    number = symbolic.constant_of(bound.sym.item())
    if number is None:
        ctx.unsupported(f"{what} must not depend on the image size")
    if number.denominator != 1:
        ctx.unsupported("a range of fractions")
    return int(number)


def arange(ctx: Lowering, start: int, limit: int, delta: int, dtype: DType) -> Value:
    """``start, start + delta, ...`` before ``limit``."""
    if delta == 0:
        ctx.invalid("delta is zero")
    numbers = range(start, limit, delta)
    count = max(0, -((start - limit) // delta)) if (limit - start) * delta > 0 else 0
    if count > MAX_RANGE:
        ctx.unsupported(f"a range of {count} numbers")
    return ctx.constant(np.fromiter(numbers, dtype.numpy, count))


def tile(ctx: Lowering, x: Value, multiples: tuple[Size, ...]) -> Value:
    """Repeat a tensor along each dimension."""
    if len(multiples) != x.type.rank:
        ctx.invalid(f"{len(multiples)} multiples for {x.type}")
    check_amounts(ctx, multiples, "a multiple")
    if all(m == 1 for m in multiples):
        return x
    known = [m for m in multiples if isinstance(m, int)]
    if x.sym is not None and len(known) == len(multiples) and math.prod(known) * x.sym.size <= symbolic.MAX_ELEMENTS:
        return ctx.symbolic(np.tile(x.sym, known), x.type.dtype)
    split: list[Size] = []
    repeated: list[Size] = []
    for extent, times in zip(x.type.shape, multiples, strict=True):
        if times != 1 and extent != 1:
            split.append(1)
            repeated.append(times)
        split.append(extent)
        repeated.append(extent if extent != 1 else times)
    if len(split) > MAX_RANK:
        ctx.unsupported("repeats so many dimensions at once")
    rows = ctx.part(ops.Reshape(tuple(split)), (x,), "split")
    result = ctx.part(ops.BroadcastTo(tuple(repeated)), (rows,), "repeated")
    sizes = tuple(s * m for s, m in zip(x.type.shape, multiples, strict=True))
    return ctx.emit(ops.Reshape(sizes), (result,))


def _broadcast(ctx: Lowering, value: Value, sizes: tuple[Size, ...]) -> Value:
    constant = [s for s in sizes if isinstance(s, int)]
    if len(sizes) > MAX_RANK:
        ctx.unsupported(f"a tensor of {len(sizes)} dimensions; the limit is {MAX_RANK}")
    small = len(constant) == len(sizes) and math.prod(constant) <= symbolic.MAX_ELEMENTS
    if value.sym is not None and small and not value.type.dtype.is_float:
        try:
            return ctx.symbolic(np.broadcast_to(value.sym, constant), value.type.dtype)
        except ValueError:
            ctx.invalid(f"{value.type} does not broadcast to {constant}")
    return ctx.emit(ops.BroadcastTo(sizes), (value,))
