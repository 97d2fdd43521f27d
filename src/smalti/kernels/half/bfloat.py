"""bfloat16 as LLVM knows it; elsewhere in generated code it is a 16-bit integer."""

from __future__ import annotations

from llvmlite import ir

from smalti.errors import CompilerError
from smalti.llvm.builder import F32, I16, Fn, lanes_of, vector

DOT_LANES = (4, 8, 16)
"""Lengths of the vectors of float32 sums that :func:`dot_pairs` takes."""


class BFloatType(ir.types.Type):  # type: ignore[misc]
    """The type ``bfloat``, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloatType)

    def __hash__(self) -> int:
        return hash(BFloatType)


BF16 = BFloatType()


def narrowed_bfloat16(fn: Fn, value: ir.Value) -> ir.Value:
    """Return float32 rounded to bfloat16 by the CPU's own instruction, as 16-bit integers."""
    lanes = lanes_of(value)
    return fn.b.bitcast(fn.b.fptrunc(value, vector(BF16, lanes)), vector(I16, lanes))


def dot_pairs(fn: Fn, sums: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
    """Return ``sums + a.low * b.low + a.high * b.high`` for 32-bit lanes that hold two bfloat16 each.

    AVX512-BF16, or the bf16 extension of Arm, where ``b`` can be part of a register.  Subnormal numbers count as zero.
    """
    lanes = lanes_of(sums)
    if lanes not in DOT_LANES:
        raise CompilerError(f"no dot product of {lanes} lanes")
    arm = fn.module.triple.startswith("aarch64")
    name = (
        f"llvm.aarch64.neon.bfdot.v{lanes}f32.v{2 * lanes}bf16" if arm else f"llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}"
    )
    pairs = vector(BF16, 2 * lanes)
    callee = fn.module.globals.get(name)
    if callee is None:
        wide = vector(F32, lanes)
        callee = ir.Function(fn.module, ir.FunctionType(wide, [wide, pairs, pairs]), name)
    return fn.b.call(callee, [sums, fn.b.bitcast(a, pairs), fn.b.bitcast(b, pairs)])
