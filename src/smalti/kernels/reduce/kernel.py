"""Reductions over any axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from smalti.ir import ops
from smalti.ir.dims import Dim, product
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, ReduceFn
from smalti.kernels.elementwise.functions import binary_value, cast_value
from smalti.kernels.elementwise.kernel import computes
from smalti.kernels.kernel import FunctionEmitter, Kernel, KernelPlan, ReadsAll, StepEmitter
from smalti.kernels.nodes import attributes
from smalti.kernels.reduce.loops import HOW, blocked, nested, reduce_run
from smalti.kernels.takes import Takes, takes
from smalti.kernels.values import is_float_type, load_value, number, register_type, store_value
from smalti.kernels.walk import Index, c_strides, collapse, decompose, dot, in_vectors, rows_per_item
from smalti.llvm.builder import F64, I64, PTR, Fn, lanes_of
from smalti.numerics import DType
from smalti.target.target import Target

VECTORS = 4
"""Vectors of neighbouring elements that are reduced at once where the innermost dimension stays."""


@dataclass(frozen=True, slots=True)
class ReducedDims:
    """Collapsed dimensions: sizes and strides of those that stay and of those that are reduced."""

    kept: tuple[int | Dim, ...]
    kept_strides: tuple[int | Dim, ...]
    reduced: tuple[int | Dim, ...]
    reduced_strides: tuple[int | Dim, ...]
    last_kept: bool


def reduced_dims(node: Node, axes: tuple[int, ...]) -> ReducedDims:
    """Return the loops over the operand of a reduction."""
    shape = node.x.type.shape
    kept_shape = tuple(1 if i in axes else s for i, s in enumerate(shape))
    marks = tuple(0 if i in axes else s for i, s in enumerate(c_strides(kept_shape)))
    walk = collapse(shape, (c_strides(shape), marks))
    rows = list(zip(walk.sizes, walk.strides[0], walk.strides[1], strict=True))
    kept, reduced = [r for r in rows if r[2] != 0], [r for r in rows if r[2] == 0]
    return ReducedDims(
        tuple(r[0] for r in kept),
        tuple(r[1] for r in kept),
        tuple(r[0] for r in reduced),
        tuple(r[1] for r in reduced),
        rows[-1][2] != 0,
    )


@dataclass(frozen=True, slots=True)
class ReduceKernel(ReadsAll):
    """Sum, mean, maximum, minimum and product; work is split over results only, so sums have one order."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.Reduce, "axes", "keep_dims", fn=frozenset(HOW)),)
    name: str = "reduce"

    def accepts(self, node: Node, target: Target) -> bool:
        """Whether the node is a reduction of numbers."""
        return isinstance(node.op, ops.Reduce) and computes(node.type.dtype)

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        op = attributes(node, ops.Reduce)
        dims = reduced_dims(node, op.axes)
        if dims.last_kept:
            self._columns(e, node, op, dims)
        else:
            self._rows(e, node, op, dims)

    def _columns(self, e: StepEmitter, node: Node, op: ops.Reduce, dims: ReducedDims) -> None:
        """The innermost dimension stays: an item is a block of its elements."""
        fn, dtype = e.fn, node.type.dtype
        lanes = VECTORS * e.target.vector_bits // 8 // max(dtype.itemsize, 4)
        inner = e.size(dims.kept[-1])
        outer = [e.size(s) for s in dims.kept[:-1]]
        outer_strides = [e.size(s) for s in dims.kept_strides[:-1]]
        reduced, strides = [e.size(s) for s in dims.reduced], [e.size(s) for s in dims.reduced_strides]
        count = e.size(product(dims.reduced))
        source, result = e.operand(0), e.result()
        blocks = fn.ceil_div(inner, lanes)
        with e.parallel(fn.mul(e.size(product(dims.kept[:-1])), blocks)) as item:
            row, first = fn.div(item, blocks), fn.mul(fn.mod(item, blocks), lanes)
            offset = dot(fn, decompose(fn, row, outer), outer_strides) if outer else 0
            base = fn.at(source, fn.mul(fn.add(offset, first), dtype.itemsize))
            target = fn.at(result, fn.mul(fn.add(fn.mul(row, inner), first), dtype.itemsize))

            def piece(index: Index, width: int) -> None:
                at = fn.at(base, fn.mul(index, dtype.itemsize))
                if len(reduced) == 1:
                    function = e.function(reduce_columns, Columns(op.fn, dtype, width), COLUMNS_ARGS)
                    place = fn.at(target, fn.mul(index, dtype.itemsize))
                    fn.call(function, at, place, fn.i64(reduced[0]), fn.i64(fn.mul(strides[0], dtype.itemsize)))
                    return
                total = nested(
                    fn,
                    HOW[op.fn],
                    dtype,
                    width,
                    reduced,
                    strides,
                    0,
                    lambda o: load_value(fn, dtype, fn.at(at, fn.mul(o, dtype.itemsize)), width),
                )
                _finish(fn, op.fn, dtype, total, count, fn.at(target, fn.mul(index, dtype.itemsize)))

            _block(fn, inner, first, lanes, piece)

    def _rows(self, e: StepEmitter, node: Node, op: ops.Reduce, dims: ReducedDims) -> None:
        """The innermost dimension is reduced: an item is a group of results."""
        fn, dtype = e.fn, node.type.dtype
        lanes = e.target.vector_bits // 8 // max(dtype.itemsize, 4)
        reduced, strides = [e.size(s) for s in dims.reduced], [e.size(s) for s in dims.reduced_strides]
        kept, kept_strides = [e.size(s) for s in dims.kept], [e.size(s) for s in dims.kept_strides]
        count = e.size(product(dims.reduced))
        rows = e.size(product(dims.kept))
        source, result = e.operand(0), e.result()
        per_item = rows_per_item(fn, count, dtype.itemsize)
        with e.parallel(fn.div(fn.add(rows, fn.sub(per_item, 1)), per_item)) as item:
            start = fn.mul(item, per_item)
            with fn.loop(start, fn.minimum(fn.add(start, per_item), rows)) as row:
                offset = dot(fn, decompose(fn, row, kept), kept_strides) if kept else 0

                def run(o: Index) -> ir.Value:
                    at = fn.at(source, fn.mul(o, dtype.itemsize))
                    return reduce_run(fn, HOW[op.fn], dtype, at, reduced[-1], lanes)

                total = nested(fn, HOW[op.fn], dtype, 1, reduced[:-1], strides[:-1], offset, run)
                _finish(fn, op.fn, dtype, total, count, fn.at(result, fn.mul(row, dtype.itemsize)))


COLUMNS_ARGS = (PTR, PTR, I64, I64)
"""Elements, results, how many rows of elements, bytes from one row to the next."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What tells functions that reduce columns apart: a network that is calibrated has three of every tensor."""

    fn: ReduceFn
    dtype: DType
    width: int


def reduce_columns(e: FunctionEmitter, own: Columns) -> None:
    """Build the function that reduces ``width`` neighbouring columns (arguments: ``COLUMNS_ARGS``)."""
    fn, dtype = e.fn, own.dtype
    source, result, count, step = fn.args
    total = blocked(
        fn,
        HOW[own.fn],
        dtype,
        own.width,
        count,
        lambda k: load_value(fn, dtype, fn.at(source, fn.mul(k, step)), own.width),
    )
    _finish(fn, own.fn, dtype, total, count, result)
    fn.finish()


def _block(fn: Fn, inner: Index, first: Index, lanes: int, piece: Callable[[Index, int], None]) -> None:
    """Run ``piece`` over the block that begins at ``first``: each width is a whole reduction, so none without use."""
    if not isinstance(inner, int):
        in_vectors(fn, 0, fn.minimum(lanes, fn.sub(inner, first)), lanes, piece)
        return
    whole, rest = divmod(inner, lanes)
    if whole and rest:
        is_whole = fn.compare("<=", fn.add(first, lanes), inner)
        fn.choose(is_whole, lambda: piece(0, lanes), lambda: in_vectors(fn, 0, rest, lanes, piece))
    else:
        in_vectors(fn, 0, rest or lanes, lanes, piece)


def _finish(fn: Fn, how: ReduceFn, dtype: DType, total: ir.Value, count: Index, target: ir.Value) -> None:
    lanes = lanes_of(total)
    if how is ReduceFn.MEAN:
        total = divide_by_count(fn, dtype, total, count)
    store_value(fn, dtype, total, target, lanes)


def divide_by_count(fn: Fn, dtype: DType, total: ir.Value, count: Index) -> ir.Value:
    """Return ``total / count``, truncated for integers."""
    lanes = lanes_of(total)
    scalar = register_type(dtype, 1)
    number_of = fn.i64(count)
    if is_float_type(total.type):
        divisor = fn.splat(fn.b.sitofp(number_of, scalar), lanes)
        return fn.b.fdiv(total, divisor)
    narrow = number_of if scalar in (I64, F64) else fn.b.trunc(number_of, scalar)
    return binary_value(fn, BinaryFn.DIV, total, fn.splat(narrow, lanes), dtype)


@dataclass(frozen=True, slots=True)
class CumSumKernel(ReadsAll):
    """Running sums: an item is a block of neighbours, whose sums lie in registers; floats are summed in float64."""

    takes: ClassVar[tuple[Takes, ...]] = (takes(ops.CumSum, "axis", "exclusive", "reverse"),)
    name: str = "cumsum"

    def emit(self, e: StepEmitter, node: Node, plan: KernelPlan) -> None:
        """Write the step."""
        fn, op, dtype, shape = e.fn, attributes(node, ops.CumSum), node.type.dtype, node.type.shape
        wide = DType.FLOAT64 if dtype.is_float else dtype
        length, inner = e.size(shape[op.axis]), e.size(product(shape[op.axis + 1 :]))
        lanes = VECTORS * e.target.vector_bits // 8 // max(wide.itemsize, 4)
        source, result = e.operand(0), e.result()
        blocks = fn.ceil_div(inner, lanes)
        with e.parallel(fn.mul(e.size(product(shape[: op.axis])), blocks)) as item:
            first = fn.mul(fn.mod(item, blocks), lanes)
            base = fn.add(fn.mul(fn.div(item, blocks), fn.mul(length, inner)), first)

            def piece(index: Index, width: int) -> None:
                def term(k: ir.Value, totals: list[ir.Value]) -> list[ir.Value]:
                    row = fn.sub(fn.sub(length, 1), k) if op.reverse else k
                    at = fn.mul(fn.add(base, index, fn.mul(row, inner)), dtype.itemsize)
                    value = cast_value(fn, load_value(fn, dtype, fn.at(source, at), width), dtype, wide)
                    total = binary_value(fn, BinaryFn.ADD, totals[0], value, wide)
                    kept = cast_value(fn, totals[0] if op.exclusive else total, wide, dtype)
                    store_value(fn, dtype, kept, fn.at(result, at), width)
                    return [total]

                fn.loop_carry(0, length, 1, [number(register_type(wide, width), 0)], term)

            in_vectors(fn, 0, fn.minimum(lanes, fn.sub(inner, first)), lanes, piece)


KERNELS: tuple[Kernel, ...] = (ReduceKernel(), CumSumKernel())
