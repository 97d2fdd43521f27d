"""Positions that are data of a run: read, counted from the front, kept inside."""

from __future__ import annotations

from llvmlite import ir

from smalti.kernels.walk import Index
from smalti.llvm.builder import I64, Fn, scalar_type
from smalti.numerics import DType


def load_position(fn: Fn, dtype: DType, table: ir.Value, number: Index, extent: Index) -> ir.Value:
    """Return position ``number`` of a table of indices; a negative one counts from the back.

    It may lie outside of the ``extent`` elements.
    """
    index = fn.load(scalar_type(dtype), fn.at(table, fn.mul(number, dtype.itemsize)))
    if index.type != I64:
        index = fn.b.sext(index, I64)
    return fn.b.select(fn.compare("<", index, 0), fn.i64(fn.add(index, extent)), index)


def nearest(fn: Fn, position: Index, extent: Index) -> Index:
    """Return the position inside that is nearest to one; there must be an element."""
    return fn.maximum(0, fn.minimum(position, fn.sub(extent, 1)))


def is_inside(fn: Fn, position: Index, extent: Index) -> ir.Value:
    """Whether a position is one of an element."""
    return fn.b.and_(fn.compare(">=", position, 0), fn.compare("<", position, extent))
