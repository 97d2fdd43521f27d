"""Shapes, and operations that move elements without computing: reshape, transpose, pack, concat, pad, tile."""

from __future__ import annotations

import math

import numpy as np

from smalti.frontend import symbolic
from smalti.frontend.context import NodeContext, Unsupported
from smalti.frontend.symbolic import SymArray
from smalti.frontend.tensorflow.ops_resize import check_amounts
from smalti.frontend.tensorflow.registry import Handled, tf_op
from smalti.frontend.tensorflow.tensors import MAX_RANK, TfType
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.dims import Dim, divide_exact, nonnegative, product
from smalti.ir.graph import Node
from smalti.ir.ops import PadMode
from smalti.numerics import DType

_INDEX_TYPES = (TfType.INT32, TfType.INT64)


def read_index_type(ctx: NodeContext) -> DType:
    """Return the integer type that ``out_type`` states."""
    kind = ctx.attrs.kind("out_type", TfType.INT32)
    if kind not in _INDEX_TYPES:
        ctx.unsupported(f"out_type {kind.label}")
    return DType.INT32 if kind is TfType.INT32 else DType.INT64


@tf_op("Shape", inputs=1, ignore=("T",))
def shape(ctx: NodeContext) -> Handled:
    """The shape as a vector."""
    dtype = read_index_type(ctx)
    sizes = ctx.type_of(0).shape
    return ctx.symbolic(symbolic.make(sizes, (len(sizes),)), dtype)


@tf_op("ShapeN", inputs=(1, 4096), ignore=("T",))
def shape_n(ctx: NodeContext) -> Handled:
    """The shapes of several tensors."""
    dtype = read_index_type(ctx)
    if ctx.attrs.integer("N", len(ctx.inputs)) != len(ctx.inputs):
        ctx.invalid(f"attribute N does not match {len(ctx.inputs)} inputs")
    shapes = [v.type.shape for v in ctx.values()]
    return tuple(ctx.symbolic(symbolic.make(s, (len(s),)), dtype, i) for i, s in enumerate(shapes))


@tf_op("Rank", inputs=1, ignore=("T",))
def rank(ctx: NodeContext) -> Handled:
    """The number of dimensions."""
    return ctx.symbolic(symbolic.make([ctx.type_of(0).rank], ()), DType.INT32)


@tf_op("Size", inputs=1, ignore=("T",))
def size(ctx: NodeContext) -> Handled:
    """The number of elements."""
    dtype = read_index_type(ctx)
    return ctx.symbolic(symbolic.make([symbolic.checked(ctx.type_of(0).elements, dtype)], ()), dtype)


def reshaped(ctx: NodeContext, sizes: tuple[int | Dim, ...]) -> Value:
    """Return input 0 with another shape."""
    if len(sizes) > MAX_RANK:
        ctx.unsupported(f"a tensor of {len(sizes)} dimensions; the limit is {MAX_RANK}")
    known = ctx.try_reshaped(sizes)
    return known if known is not None else ctx.emit(ops.Reshape(sizes), (ctx.node(0),))


@tf_op("Reshape", inputs=2, types={"T": 0, "Tshape": 1})
def reshape(ctx: NodeContext) -> Handled:
    """The same elements with another shape; one size may be -1."""
    sizes = ctx.sizes(1, "the shape")
    open_axes = [i for i, s in enumerate(sizes) if s == -1]
    if len(open_axes) > 1:
        ctx.invalid("more than one size of the shape is -1")
    others = product(s for s in sizes if s != -1)
    if any(isinstance(s, int) and s < -1 for s in sizes):
        ctx.invalid(f"the shape {list(sizes)} has a negative size")
    if open_axes:
        rest = divide_exact(ctx.type_of(0).elements, others) if others != 0 else None
        if rest is None:
            ctx.invalid(f"{ctx.type_of(0)} does not divide into {[str(s) for s in sizes]}")
        sizes = tuple(rest if s == -1 else s for s in sizes)
    return reshaped(ctx, sizes)


@tf_op("ExpandDims", inputs=2, types={"T": 0, "Tdim": 1}, note="constant axis")
def expand_dims(ctx: NodeContext) -> Handled:
    """Puts in a dimension of size 1."""
    old = ctx.type_of(0).shape
    axis = ctx.axis(1, len(old) + 1)
    return reshaped(ctx, (*old[:axis], 1, *old[axis:]))


@tf_op("Squeeze", inputs=1, types={"T": 0})
def squeeze(ctx: NodeContext) -> Handled:
    """Takes out dimensions of size 1."""
    key = "axis" if "axis" in ctx.attrs else "squeeze_dims"
    listed = ctx.attrs.ints(key, ())
    old = ctx.type_of(0).shape
    axes = {ctx.check_axis(a, len(old)) for a in listed} or {i for i, s in enumerate(old) if s == 1}
    if any(old[a] != 1 for a in axes):
        ctx.invalid(f"axes {sorted(axes)} of {ctx.type_of(0)} are not all of size 1")
    return reshaped(ctx, tuple(s for i, s in enumerate(old) if i not in axes))


@tf_op("Transpose", inputs=2, types={"T": 0, "Tperm": 1}, note="constant permutation")
def transpose(ctx: NodeContext) -> Handled:
    """Permutation of the dimensions."""
    x = ctx.value(0)
    perm = ctx.ints(1, "the permutation")
    if sorted(p % x.type.rank if x.type.rank else p for p in perm) != list(range(x.type.rank)):
        ctx.invalid(f"{list(perm)} does not permute {x.type}")
    perm = tuple(p % x.type.rank for p in perm)
    if x.sym is not None:
        return ctx.symbolic(np.transpose(x.sym, perm), x.type.dtype)
    return ctx.emit(ops.Transpose(perm), (ctx.node(0),))


def _all_symbolic(values: list[Value]) -> list[SymArray] | None:
    found = [v.sym for v in values if v.sym is not None]
    small = len(found) == len(values) and sum(f.size for f in found) <= symbolic.MAX_ELEMENTS
    return found if small else None


@tf_op("Pack", inputs=(1, 4096), types={"T": 0})
def pack(ctx: NodeContext) -> Handled:
    """Stacks tensors along a new axis."""
    axis = ctx.attrs.integer("axis", 0)
    if ctx.attrs.integer("N", len(ctx.inputs)) != len(ctx.inputs):
        ctx.invalid(f"attribute N does not match {len(ctx.inputs)} inputs")
    values = ctx.values()
    first = values[0].type
    if any(v.type != first for v in values):
        ctx.invalid(f"the inputs have different types: {', '.join(sorted({str(v.type) for v in values})[:4])}")
    axis = ctx.check_axis(axis, first.rank + 1)
    known = _all_symbolic(values)
    if known is not None:
        return ctx.symbolic(np.stack(known, axis), first.dtype)
    sizes = (*first.shape[:axis], 1, *first.shape[axis:])
    rows = [ctx.part(ops.Reshape(sizes), (ctx.node_of(v),), f"row_{i}") for i, v in enumerate(values)]
    return ctx.emit(ops.Concat(axis), rows)


@tf_op("ConcatV2", "Concat", inputs=(2, 4096), types={}, ignore=("T", "Tidx"), note="constant axis")
def concat(ctx: NodeContext) -> Handled:
    """Concatenation along a constant axis."""
    count = len(ctx.inputs) - 1
    if ctx.attrs.integer("N", count) != count:
        ctx.invalid(f"attribute N does not match {count} inputs")
    first = 0 if ctx.op == "ConcatV2" else 1
    values = [ctx.value(first + i) for i in range(count)]
    type_ = values[0].type
    axis = ctx.axis(count if first == 0 else 0, type_.rank)
    for v in values:
        same = v.type.rank == type_.rank and all(
            i == axis or s == r for i, (s, r) in enumerate(zip(v.type.shape, type_.shape, strict=True))
        )
        if not same or v.type.dtype is not type_.dtype:
            ctx.invalid(f"{type_} and {v.type} do not fit along axis {axis}")
    known = _all_symbolic(values)
    if known is not None:
        return ctx.symbolic(np.concatenate(known, axis), type_.dtype)
    return values[0] if count == 1 else ctx.emit(ops.Concat(axis), [ctx.node_of(v) for v in values])


@tf_op("Fill", inputs=2, types={"index_type": 0, "T": 1})
def fill(ctx: NodeContext) -> Handled:
    """A tensor of one value."""
    sizes = ctx.sizes(0, "the shape")
    check_amounts(ctx, sizes, "a size")
    if ctx.type_of(1).rank != 0:
        ctx.invalid(f"the value must be a single number, not {ctx.type_of(1)}")
    return _broadcast(ctx, ctx.value(1), sizes)


@tf_op("BroadcastTo", inputs=2, types={"T": 0, "Tidx": 1})
def broadcast_to(ctx: NodeContext) -> Handled:
    """Numpy broadcasting to a shape."""
    sizes = ctx.sizes(1, "the shape")
    check_amounts(ctx, sizes, "a size")
    return _broadcast(ctx, ctx.value(0), sizes)


def _broadcast(ctx: NodeContext, value: Value, sizes: tuple[int | Dim, ...]) -> Value:
    constant = [s for s in sizes if isinstance(s, int)]
    if len(sizes) > MAX_RANK:
        ctx.unsupported(f"a tensor of {len(sizes)} dimensions; the limit is {MAX_RANK}")
    small = len(constant) == len(sizes) and math.prod(constant) <= symbolic.MAX_ELEMENTS
    if value.sym is not None and small and not value.type.dtype.is_float:
        try:
            return ctx.symbolic(np.broadcast_to(value.sym, constant), value.type.dtype)
        except ValueError:
            ctx.invalid(f"{value.type} does not broadcast to {constant}")
    return ctx.emit(ops.BroadcastTo(sizes), (ctx.node_of(value),))


@tf_op("ZerosLike", "OnesLike", inputs=1, types={"T": 0})
def constant_like(ctx: NodeContext) -> Handled:
    """Zeros or ones of the input's shape."""
    type_ = ctx.type_of(0)
    number = symbolic.make([ctx.op == "OnesLike" if type_.dtype is DType.BOOL else int(ctx.op == "OnesLike")], ())
    return _broadcast(ctx, ctx.symbolic(number, type_.dtype), type_.shape)


@tf_op("Range", inputs=3, types={"Tidx": 0}, note="constant bounds, at most 65,536 numbers")
def range_(ctx: NodeContext) -> Handled:
    """``start, start + delta, ...`` below ``limit``."""
    type_ = ctx.type_of(0)
    bounds: list[int] = []
    for i, what in enumerate(("start", "limit", "delta")):
        if ctx.type_of(i).rank != 0 or ctx.type_of(i).dtype is not type_.dtype:
            ctx.invalid(f"{what} must be one number, not {ctx.type_of(i)}")
        number = symbolic.constant_of(ctx.known(i, what).item())
        if number is None:
            ctx.unsupported(f"{what} must not depend on the image size")
        if number.denominator != 1:
            ctx.unsupported("a range of fractions")
        bounds.append(int(number))
    start, limit, delta = bounds
    if delta == 0:
        ctx.invalid("delta is zero")
    numbers = range(start, limit, delta)
    count = max(0, -((start - limit) // delta)) if (limit - start) * delta > 0 else 0
    if count > 1 << 16:
        ctx.unsupported(f"a range of {count} numbers")
    return ctx.constant(np.fromiter(numbers, type_.dtype.numpy, count))


@tf_op("Tile", inputs=2, types={"T": 0, "Tmultiples": 1})
def tile(ctx: NodeContext) -> Handled:
    """Repeats a tensor along each dimension."""
    x = ctx.value(0)
    multiples = ctx.sizes(1, "the multiples")
    if len(multiples) != x.type.rank:
        ctx.invalid(f"{len(multiples)} multiples for {x.type}")
    check_amounts(ctx, multiples, "a multiple")
    if all(m == 1 for m in multiples):
        return x
    split: list[int | Dim] = []
    repeated: list[int | Dim] = []
    for extent, times in zip(x.type.shape, multiples, strict=True):
        if times != 1 and extent != 1:
            split.append(1)
            repeated.append(times)
        split.append(extent)
        repeated.append(extent if extent != 1 else times)
    if len(split) > MAX_RANK:
        ctx.unsupported("repeats so many dimensions at once")
    rows = ctx.part(ops.Reshape(tuple(split)), (ctx.node(0),), "split")
    result = ctx.part(ops.BroadcastTo(tuple(repeated)), (rows,), "repeated")
    sizes = tuple(s * m for s, m in zip(x.type.shape, multiples, strict=True))
    return ctx.emit(ops.Reshape(sizes), (result,))


def read_amounts(ctx: NodeContext) -> tuple[tuple[int | Dim, int | Dim], ...]:
    """Return the (before, after) paddings that input 1 gives for each dimension."""
    known = ctx.known(1, "the paddings")
    if known.shape != (ctx.type_of(0).rank, 2) or not ctx.type_of(1).dtype.is_integer:
        ctx.invalid(f"paddings {ctx.type_of(1)} for {ctx.type_of(0)}")
    check_amounts(ctx, tuple(known.ravel().tolist()), "a padding")
    return tuple((before, after) for before, after in known.tolist())


@tf_op("Pad", inputs=2, types={"T": 0, "Tpaddings": 1})
@tf_op("PadV2", inputs=3, types={"T": 0, "Tpaddings": 1}, note="constant value")
def pad(ctx: NodeContext) -> Handled:
    """Padding with a constant."""
    amounts = read_amounts(ctx)
    number = 0.0
    if ctx.op == "PadV2":
        filling = ctx.value(2)
        if filling.array is None and filling.sym is None:
            ctx.unsupported("a padding value that is not constant")
        if filling.type.rank != 0 or filling.type.dtype is not ctx.type_of(0).dtype:
            ctx.invalid(f"a padding value {filling.type} for {ctx.type_of(0)}")
        number = _number(filling)
    return ctx.emit(ops.Pad(amounts, PadMode.CONSTANT, number), (ctx.node(0),))


def _number(value: Value) -> float:
    if value.array is not None:
        return float(value.array.item())
    constant = None if value.sym is None else symbolic.constant_of(value.sym.item())
    if constant is None:
        raise Unsupported("a padding value that depends on the image size")
    return float(constant)


@tf_op("MirrorPad", inputs=2, types={"T": 0, "Tpaddings": 1})
def mirror_pad(ctx: NodeContext) -> Handled:
    """Padding with the mirrored image."""
    mode = ctx.attrs.text("mode")
    if mode not in ("REFLECT", "SYMMETRIC"):
        ctx.unsupported(f"mode {mode[:20]}")
    amounts = read_amounts(ctx)
    margin = 1 if mode == "REFLECT" else 0
    for extent, pair in zip(ctx.type_of(0).shape, amounts, strict=True):
        for amount in pair:
            if amount == 0 or nonnegative(extent - margin - amount):
                continue
            if isinstance(extent, int) and isinstance(amount, int):
                ctx.invalid(f"mirrors {amount} elements of {extent}")
            ctx.unsupported("may mirror more than the image has")
    return ctx.emit(ops.Pad(amounts, PadMode(mode.lower())), (ctx.node(0),))


@tf_op("Unpack", inputs=1, types={"T": 0})
def unpack(ctx: NodeContext) -> Handled:
    """Takes a tensor apart along an axis."""
    axis, count = ctx.attrs.integer("axis", 0), ctx.attrs.integer("num")
    x = ctx.value(0)
    axis = ctx.check_axis(axis, x.type.rank)
    if x.type.shape[axis] != count:
        ctx.invalid(f"attribute num is {count} for axis {axis} of {x.type}")
    if x.sym is not None:
        return tuple(ctx.symbolic(symbolic.take(x.sym, i, axis), x.type.dtype, i) for i in range(count))
    sizes = (*x.type.shape[:axis], *x.type.shape[axis + 1 :])
    if count > MAX_PARTS:
        ctx.unsupported(f"{count} parts; the limit is {MAX_PARTS}")
    rows = [_part(ctx, ctx.node(0), axis, i, 1, f"row_{i}") for i in range(count)]
    return tuple(ctx.emit(ops.Reshape(sizes), (row,), i) for i, row in enumerate(rows))


MAX_PARTS = 4096


def part_slice(node: Node, axis: int, begin: int | Dim, extent: int | Dim) -> ops.Slice:
    """Return the slice of ``extent`` elements from ``begin`` along one axis."""
    sizes = node.type.shape
    begins: tuple[int | Dim, ...] = tuple(begin if a == axis else 0 for a in range(len(sizes)))
    kept = tuple(extent if a == axis else s for a, s in enumerate(sizes))
    return ops.Slice(begins, kept, (1,) * len(sizes))


def _part(ctx: NodeContext, node: Node, axis: int, begin: int, extent: int, suffix: str) -> Node:
    return ctx.part(part_slice(node, axis, begin, extent), (node,), suffix)
