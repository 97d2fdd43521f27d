"""Copying and filling runs of elements of any type, moved as integers of their size."""

from __future__ import annotations

from llvmlite import ir

from smalti.ir.dims import Dim
from smalti.kernels.values import raw_type
from smalti.kernels.walk import Index, in_vectors
from smalti.llvm.builder import Fn
from smalti.target.target import Target


def run_lanes(target: Target, itemsize: int) -> int:
    """Return how many elements of ``itemsize`` bytes one vector moves."""
    return target.vector_bits // 8 // itemsize


def copy_run(fn: Fn, target: Target, itemsize: int, source: ir.Value, result: ir.Value, length: Index) -> None:
    """Copy ``length`` consecutive elements."""

    def piece(index: Index, width: int) -> None:
        offset = fn.mul(index, itemsize)
        fn.store(fn.load(raw_type(itemsize, width), fn.at(source, offset)), fn.at(result, offset))

    in_vectors(fn, 0, length, run_lanes(target, itemsize), piece)


def fill_run(fn: Fn, target: Target, itemsize: int, value: ir.Value, result: ir.Value, length: Index) -> None:
    """Write ``length`` times the same element (an integer of ``itemsize`` bytes)."""

    def piece(index: Index, width: int) -> None:
        fn.store(fn.splat(value, width), fn.at(result, fn.mul(index, itemsize)))

    in_vectors(fn, 0, length, run_lanes(target, itemsize), piece)


def strided_run(
    fn: Fn,
    target: Target,
    itemsize: int,
    source: ir.Value,
    stride: int | Dim,
    step: Index,
    result: ir.Value,
    length: Index,
) -> None:
    """Copy ``length`` elements that lie ``step`` elements apart (``stride`` is the same as a size) to a dense run."""
    if stride == 1:
        copy_run(fn, target, itemsize, source, result, length)
    elif stride == 0:
        fill_run(fn, target, itemsize, fn.load(raw_type(itemsize), source), result, length)
    else:
        bytes_apart = fn.mul(step, itemsize)
        with fn.loop(0, length) as i:
            value = fn.load(raw_type(itemsize), fn.at(source, fn.mul(i, bytes_apart)))
            fn.store(value, fn.at(result, fn.mul(i, itemsize)))
