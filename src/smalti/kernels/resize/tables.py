"""Tables of one axis of a resize: the fraction of every result position, and where the cells begin."""

from __future__ import annotations

from llvmlite import ir

from smalti.ir.dims import Dim
from smalti.kernels.kernel import StepEmitter
from smalti.kernels.resize.axis import Axis
from smalti.kernels.walk import Index
from smalti.llvm.builder import F32, I64, Fn

MARGIN = 16
"""Fractions that may be read behind the last position (a vector of a cell's pixels is not cut at its end)."""


class CellTable:
    """In scratch memory: ``fraction[count]``, then for each cell its first position and its ``floor``."""

    def __init__(self, e: StepEmitter, base: ir.Value, count: int | Dim) -> None:
        self.fractions = base
        self._starts = e.fn.at(base, e.fn.mul(e.size(_aligned(count)), 4))
        self._floors = e.fn.at(self._starts, e.fn.mul(e.fn.add(e.size(count), 1), 8))

    @staticmethod
    def bytes_for(count: int | Dim) -> int | Dim:
        """Return the bytes of a table of ``count`` positions."""
        return _aligned(count) * 4 + (count + 1) * 16

    def fill(self, fn: Fn, axis: Axis, first: Index, count: Index) -> ir.Value:
        """Fill the table for result positions ``first .. first + count - 1`` and return the number of cells."""

        def position(index: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
            cells, previous = values
            source = axis.source(fn, fn.add(first, index))
            fn.store(source.fraction, fn.at(self.fractions, fn.mul(index, 4)))
            is_new = fn.compare("!=", source.floor, previous)
            with fn.when(is_new):
                fn.store(index, fn.at(self._starts, fn.mul(cells, 8)))
                fn.store(source.floor, fn.at(self._floors, fn.mul(cells, 8)))
            return [fn.b.add(cells, fn.b.zext(is_new, I64)), source.floor]

        cells, _ = fn.loop_carry(0, count, 1, [fn.i64(0), fn.i64(-(1 << 62))], position)
        fn.store(fn.i64(count), fn.at(self._starts, fn.mul(cells, 8)))
        return cells

    def cell(self, fn: Fn, number: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Return (first position, first position behind, floor) of a cell."""
        start = fn.at(self._starts, fn.mul(number, 8))
        floor = fn.load(I64, fn.at(self._floors, fn.mul(number, 8)))
        return fn.load(I64, start), fn.load(I64, fn.at(start, 8)), floor

    def fraction(self, fn: Fn, index: Index, lanes: int = 1) -> ir.Value:
        """Return the fractions from a position on (meaningless behind the last one)."""
        type_ = F32 if lanes == 1 else ir.VectorType(F32, lanes)
        return fn.load(type_, fn.at(self.fractions, fn.mul(index, 4)))


def _aligned(count: int | Dim) -> int | Dim:
    return (count + MARGIN + 1) // 2 * 2
