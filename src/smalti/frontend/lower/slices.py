"""Slices, and elements picked by number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.frontend import symbolic
from smalti.frontend.context import Lowering
from smalti.frontend.lower.checks import Size, check_inside
from smalti.frontend.symbolic import sign_is_known
from smalti.frontend.values import Value
from smalti.ir import dims, ops
from smalti.ir.dims import maximum, minimum
from smalti.ir.sizes import evaluate
from smalti.numerics import DType


@dataclass(frozen=True, slots=True)
class Span:
    """A slice along one dimension: ``size`` elements, from ``begin`` on, ``stride`` apart."""

    begin: Size
    size: Size
    stride: int = 1


def read_span(ctx: Lowering, extent: Size, begin: Size | None, end: Size | None, stride: int) -> Span:
    """Return what Python's ``[begin:end:stride]`` takes of ``extent`` elements; ``None`` goes to the edge."""
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
    return Span(first if size != 0 else 0, size, stride)


def read_element(ctx: Lowering, extent: Size, position: Size) -> Span:
    """Return one element; a negative position counts from the back."""
    found = _from_front(ctx, position, extent)
    check_inside(ctx, found, 1, extent)
    return Span(found, 1)


def sliced(ctx: Lowering, x: Value, spans: list[Span], shape: tuple[Size, ...]) -> Value:
    """A span of every dimension, then another shape: dimensions of size 1 come and go."""
    if x.sym is not None and all(isinstance(s.begin, int) and isinstance(s.size, int) for s in spans):
        return _symbolic_slice(ctx, x, spans, shape)
    node = ctx.node_of(x)
    if any(s.begin != 0 or s.size != e or s.stride != 1 for s, e in zip(spans, x.type.shape, strict=True)):
        record = ops.Slice(
            tuple(s.begin for s in spans),
            tuple(s.size for s in spans),
            tuple(1 if s.size == 1 else s.stride for s in spans),
        )
        if len(shape) == len(spans) and shape == record.size:
            return ctx.emit(record, (node,))
        node = ctx.part(record, (node,), "slice")
    elif shape == x.type.shape:
        return x
    return ctx.emit(ops.Reshape(shape), (node,))


def piece(ctx: Lowering, x: Value, begin: tuple[Size, ...], size: tuple[Size, ...]) -> Value:
    """``size`` elements from ``begin`` along each dimension; -1 takes the rest.  They must be there for every image."""
    if not len(begin) == len(size) == x.type.rank:
        ctx.invalid(f"{len(begin)} begins and {len(size)} sizes for {x.type}")
    size = tuple(e - b if s == -1 else s for e, b, s in zip(x.type.shape, begin, size, strict=True))
    for extent, first, count in zip(x.type.shape, begin, size, strict=True):
        check_inside(ctx, first, count, extent)
    return sliced(ctx, x, [Span(b, s) for b, s in zip(begin, size, strict=True)], size)


def gather(ctx: Lowering, x: Value, picked: Value, axis: int) -> Value:
    """Elements picked by numbers, none of them negative, along an axis counted from the front.

    Numbers that are not constant are data of a run; of those that are too large code takes the last element.
    """
    check_gather(ctx, x, picked)
    numbers = numbers_of(picked)
    extent = x.type.shape[axis]
    if numbers is None:
        check_inside(ctx, 0, 1, extent)
        return ctx.emit(ops.Gather(axis), (x, picked))
    if numbers.size:
        check_inside(ctx, int(numbers.min()), 1, extent)
        check_inside(ctx, int(numbers.max()), 1, extent)
    if x.sym is not None and x.sym.size // max(x.sym.shape[axis], 1) * numbers.size <= symbolic.MAX_ELEMENTS:
        found = np.take(x.sym, numbers.ravel(), axis)
        shape = (*x.sym.shape[:axis], *numbers.shape, *x.sym.shape[axis + 1 :])
        return ctx.symbolic(found.reshape(shape), x.type.dtype)
    return ctx.emit(ops.Gather(axis), (x, picked))


def check_gather(ctx: Lowering, x: Value, picked: Value) -> None:
    """Refuse indices that are no int32 or int64, and a single number as what they pick from."""
    if picked.type.dtype not in (DType.INT32, DType.INT64) or x.type.rank == 0:
        ctx.invalid(f"indices {picked.type} into {x.type}")


def nonzero(ctx: Lowering, condition: Value) -> Value:
    """Positions where a small known tensor is not zero, int64: a row for each."""
    if condition.sym is None:
        ctx.unsupported("the condition must be constant or computed from the image size")
    flags: list[bool] = []
    for element in condition.sym.ravel().tolist():
        number = element if isinstance(element, bool) else symbolic.constant_of(element)
        if number is None:
            ctx.unsupported("the condition must not depend on the image size")
        flags.append(bool(number))
    positions = np.argwhere(np.array(flags, bool).reshape(condition.sym.shape)).astype(np.int64)
    return ctx.constant(np.ascontiguousarray(positions))


def _from_front(ctx: Lowering, position: Size, extent: Size) -> Size:
    known = sign_is_known(position)
    if known is None:
        ctx.unsupported("a position that may count from the front or from the back")
    return position if known else position + extent


def _symbolic_slice(ctx: Lowering, x: Value, spans: list[Span], shape: tuple[Size, ...]) -> Value:
    indices = []
    for span in spans:
        begin, size = evaluate(span.begin, {}), evaluate(span.size, {})
        indices.append(np.arange(size) * span.stride + begin)
    picked = x.sym[np.ix_(*indices)] if indices and x.sym is not None else x.sym
    if picked is None:
        ctx.invalid("nothing to slice")
    return ctx.symbolic(picked.reshape([evaluate(s, {}) for s in shape]), x.type.dtype)


def numbers_of(value: Value) -> NDArray[np.int64] | None:
    """Return the integers of a value that is constant and holds integers, or ``None``."""
    if value.array is not None:
        return value.array.astype(np.int64) if value.array.dtype.kind in "iub" else None
    if value.sym is not None:
        numbers = value.sym.ravel().tolist()
        if all(isinstance(n, int) for n in numbers):
            return np.array(numbers, np.int64).reshape(value.sym.shape)
    return None
