"""Where the pixels of a resized axis come from, in TensorFlow's float32 arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from smalti.ir.dims import Dim
from smalti.ir.ops import Resize
from smalti.kernels.kernel import StepEmitter
from smalti.kernels.walk import Index
from smalti.llvm.builder import F32, F64, I64, Fn


@dataclass(frozen=True, slots=True)
class Source:
    """A result position in the operand: ``floor``, the two neighbours and the fraction of the upper one."""

    floor: ir.Value
    lower: Index
    upper: Index
    fraction: ir.Value


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a resize: number of operand pixels and the float32 scale."""

    before: Index
    scale: ir.Value
    half_pixel_centers: bool
    align_corners: bool

    @classmethod
    def make(cls, e: StepEmitter, op: Resize, before: int | Dim, after: int | Dim) -> Axis:
        """Return the axis; the scale is computed once, with the roundings of TensorFlow."""
        fn = e.fn
        old, new = e.size(before), e.size(after)
        if isinstance(old, int) and isinstance(new, int):
            aligned = op.align_corners and new > 1
            value = np.float32(old - aligned) / np.float32(new - aligned)
            scale: ir.Value = fn.f32(float(value))
        else:
            scale = fn.b.fdiv(_float(fn, old), _float(fn, new))
            if op.align_corners:
                inner = fn.b.fdiv(_float(fn, fn.sub(old, 1)), _float(fn, fn.sub(new, 1)))
                scale = fn.b.select(fn.compare(">", new, 1), inner, scale)
        return cls(old, scale, op.half_pixel_centers, op.align_corners)

    def source(self, fn: Fn, index: Index) -> Source:
        """Return where a bilinear result position lies."""
        b = fn.b
        position = _float(fn, index)
        if self.half_pixel_centers:
            half = fn.f32(0.5)
            position = b.fsub(b.fmul(b.fadd(position, half), self.scale), half)
        else:
            position = b.fmul(position, self.scale)
        base = fn.intrinsic("llvm.floor", F32, position)
        floor = b.fptosi(base, I64)
        ceiling = b.fptosi(fn.intrinsic("llvm.ceil", F32, position), I64)
        upper = fn.minimum(ceiling, fn.sub(self.before, 1))
        lower = fn.minimum(fn.maximum(floor, 0), upper)
        return Source(floor, lower, upper, b.fsub(position, base))

    def nearest(self, fn: Fn, index: Index) -> Index:
        """Return the operand position of a nearest-neighbour result position."""
        b = fn.b
        position = _float(fn, index)
        if self.half_pixel_centers:
            position = b.fadd(position, fn.f32(0.5))
        wide = b.fpext(b.fmul(position, self.scale), F64)
        if self.align_corners:
            wide = b.fadd(wide, ir.Constant(F64, 0.5))
        floor = b.fptosi(fn.intrinsic("llvm.floor", F64, wide), I64)
        return fn.maximum(0, fn.minimum(floor, fn.sub(self.before, 1)))

    def clamp(self, fn: Fn, index: Index) -> Index:
        """Return the operand pixel nearest to ``index``."""
        return fn.maximum(0, fn.minimum(index, fn.sub(self.before, 1)))


def _float(fn: Fn, value: Index) -> ir.Value:
    return fn.f32(float(np.float32(value))) if isinstance(value, int) else fn.b.sitofp(value, F32)


def blend(fn: Fn, a: ir.Value, b: ir.Value, fraction: ir.Value) -> ir.Value:
    """Return ``a + (b - a) * fraction`` with three roundings, as TensorFlow does it (never fused)."""
    return fn.b.fadd(a, fn.b.fmul(fn.b.fsub(b, a), fraction))


TINY_GAP = 1e-36
RELATIVE_GAP = 2.0**-19
LARGEST = 1e37
"""See :func:`gap_limit`."""


def gap_limit(fn: Fn, magnitude: ir.Value) -> ir.Value:
    """Return the gap above which a class that leads at all four corners leads everywhere between, roundings included.

    With values up to M and unit roundoff u, one :func:`blend` is off by at most 5uM from the exact convex combination
    (difference 2uM, product 2uM, sum uM), two stages by 10uM, the comparison of two classes by 20uM to first order.
    The limit is 32uM = 2**-19 M, plus far more than products can lose to underflow.
    """
    return fn.b.fadd(fn.b.fmul(magnitude, fn.f32(RELATIVE_GAP)), fn.f32(TINY_GAP))


def infinity(fn: Fn, lanes: int) -> ir.Constant:
    """Return minus infinity in every lane: smaller than every number."""
    return fn.f32(-math.inf, lanes)
