"""Reductions of strided elements: accumulators in registers, float sums in short blocks so that errors stay small."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from llvmlite import ir

from smalti.ir.ops import ReduceFn
from smalti.kernels.values import combine_values, is_signed, lane_sum, load_value, number, register_type
from smalti.kernels.walk import Index
from smalti.llvm.builder import Fn
from smalti.numerics import DType

BLOCK = 64
"""Terms that one accumulator takes before it is added to the total: the error grows with n / 64 + 64, not with n."""

HOW = {
    ReduceFn.SUM: "sum",
    ReduceFn.MEAN: "sum",
    ReduceFn.MAX: "max",
    ReduceFn.MIN: "min",
    ReduceFn.PROD: "prod",
}


def identity(how: str, dtype: DType, lanes: int) -> ir.Constant:
    """Return the value that changes nothing."""
    type_ = register_type(dtype, lanes)
    if how in ("sum", "prod"):
        return number(type_, int(how == "prod"))
    if dtype.is_float:
        return number(type_, -np.inf if how == "max" else np.inf)
    info = np.iinfo(dtype.value)
    return number(type_, int(info.min if how == "max" else info.max))


def blocked(
    fn: Fn, how: str, dtype: DType, lanes: int, count: Index, term: Callable[[ir.Value], ir.Value], block: int = BLOCK
) -> ir.Value:
    """Return the reduction of ``term(0), ..., term(count - 1)``, each of ``lanes`` lanes, in a fixed order."""
    start = identity(how, dtype, lanes)
    signed = is_signed(dtype)

    def add(index: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        return [combine_values(fn, how, values[0], term(index), signed)]

    if how in ("max", "min") or not dtype.is_float or (isinstance(count, int) and count <= block):
        return fn.loop_carry(0, count, 1, [start], add)[0]

    def add_block(first: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
        (part,) = fn.loop_carry(first, fn.minimum(fn.add(first, block), count), 1, [start], add)
        return [combine_values(fn, how, values[0], part, signed)]

    return fn.loop_carry(0, count, block, [start], add_block)[0]


def nested(
    fn: Fn,
    how: str,
    dtype: DType,
    lanes: int,
    sizes: Sequence[Index],
    strides: Sequence[Index],
    offset: Index,
    term: Callable[[Index], ir.Value],
) -> ir.Value:
    """Return the reduction of ``term(offset + indices . strides)`` over a nest of dimensions."""
    if not sizes:
        return term(offset)

    def inner(index: ir.Value) -> ir.Value:
        return nested(fn, how, dtype, lanes, sizes[1:], strides[1:], fn.add(offset, fn.mul(index, strides[0])), term)

    return blocked(fn, how, dtype, lanes, sizes[0], inner)


def reduce_run(fn: Fn, how: str, dtype: DType, source: ir.Value, length: Index, lanes: int) -> ir.Value:
    """Return the reduction of consecutive elements as a scalar."""
    itemsize = dtype.itemsize
    vectors = fn.div(length, lanes)
    whole = fn.mul(vectors, lanes)
    total: ir.Value | None = None
    if lanes > 1 and vectors != 0:
        step = lanes * itemsize
        wide = blocked(
            fn, how, dtype, lanes, vectors, lambda i: load_value(fn, dtype, fn.at(source, fn.mul(i, step)), lanes)
        )
        total = lane_sum(fn, wide, how, is_signed(dtype))
    else:
        whole = 0
    if total is not None and isinstance(length, int) and whole == length:
        return total
    rest = fn.at(source, fn.mul(whole, itemsize))
    tail = blocked(
        fn,
        how,
        dtype,
        1,
        fn.sub(length, whole),
        lambda i: load_value(fn, dtype, fn.at(rest, fn.mul(i, itemsize)), 1),
    )
    return tail if total is None else combine_values(fn, how, total, tail, is_signed(dtype))
