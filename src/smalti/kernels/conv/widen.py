"""Copies of runs of elements as float32, for kernels that compute in float32 what is stored in 16 bits."""

from __future__ import annotations

from llvmlite import ir

from smalti.kernels.conv.epilogue import load_wide
from smalti.kernels.kernel import StepEmitter
from smalti.llvm.builder import I64, PTR, Fn
from smalti.numerics import DType

UNROLLED = 4


def widen_run(e: StepEmitter, dtype: DType, offset: float = 0.0) -> ir.Function:
    """Return ``widen(target, source, count)``: elements as float32, less ``offset``."""
    lanes = e.target.vector_bits // 32

    def build(fn: Fn) -> None:
        target, source, count = fn.args

        def piece(index: ir.Value, vectors: int, width: int) -> None:
            places = [fn.add(index, i * width) for i in range(vectors)]
            values = [load_wide(fn, dtype, fn.at(source, fn.mul(p, dtype.itemsize)), width, offset) for p in places]
            for place, value in zip(places, values, strict=True):
                fn.store(value, fn.at(target, fn.mul(place, 4)))

        done: int | ir.Value = 0
        for vectors, width in ((UNROLLED, lanes), (1, lanes), (1, 1)):
            step = vectors * width
            stop = fn.add(done, fn.mul(fn.div(fn.sub(count, done), step), step))
            with fn.loop(done, stop, step) as index:
                piece(index, vectors, width)
            done = stop
        fn.finish()

    return e.function(f"widen_{dtype.value}_{offset!r}", (PTR, PTR, I64), build)
