"""FakeQuant: values rounded to the steps of an integer range, and still real numbers.

TensorFlow moves the range until zero is one of the steps, and computes in float32; what is done here are its steps in
its order, so that the result has its bits.  Its three operations do not divide in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.frontend.lower.fill import kept
from smalti.frontend.lower.steps import Steps
from smalti.frontend.tensorflow.registry import Context, Handled, tf_op
from smalti.frontend.values import Value
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.numerics import DType

F32 = np.float32
FloatArray = NDArray[np.float32]
_BITS = range(2, 17)


@dataclass(frozen=True, slots=True)
class Range:
    """The steps of ranges, one for each channel or one for all.

    Attributes:
        low: the lowest value, moved so that zero is a step.
        high: the highest, moved likewise.
        size: the distance of two steps.
        inverse: how many steps one takes, as TensorFlow computes it.
        zero: the number of the step that is zero.
    """

    low: FloatArray
    high: FloatArray
    size: FloatArray
    inverse: FloatArray
    zero: FloatArray


def steps_of(low: FloatArray, high: FloatArray, bits: int, narrow: bool) -> Range:
    """Return the steps of ranges of ``bits`` bits; ``narrow`` leaves the lowest integer out."""
    first, last = F32(1 if narrow else 0), F32((1 << bits) - 1)
    with np.errstate(all="ignore"):
        size = ((high - low) / (last - first)).astype(F32)
        from_low = (first - low / size).astype(F32)
        nearest = np.copysign(np.floor(np.abs(from_low) + F32(0.5)), from_low).astype(F32)
        zero = np.clip(nearest, first, last).astype(F32)
        lowest, highest = ((first - zero) * size).astype(F32), ((last - zero) * size).astype(F32)
        inverse = ((last - first) / (high - low)).astype(F32)
        return Range(lowest, highest, size, inverse, np.floor(-lowest * inverse + F32(0.5)).astype(F32))


@tf_op("FakeQuantWithMinMaxArgs", inputs=1)
def fake_quant_of_numbers(ctx: Context) -> Handled:
    """Rounding to the steps of a range that stands in the attributes."""
    low, high = (np.array(ctx.attrs.number(key, default), F32) for key, default in (("min", -6.0), ("max", 6.0)))
    return _rounded(ctx, ctx.value(0), low, high, divides=False)


@tf_op("FakeQuantWithMinMaxVars", inputs=3, note="constant ranges")
@tf_op("FakeQuantWithMinMaxVarsPerChannel", inputs=3, note="constant ranges")
def fake_quant(ctx: Context) -> Handled:
    """Rounding to the steps of a range, or of a range for each channel (the last dimension)."""
    x, low, high = ctx.value(0), _range(ctx, 1), _range(ctx, 2)
    by_channel = ctx.op == "FakeQuantWithMinMaxVarsPerChannel"
    wanted = x.type.shape[-1:] if by_channel else ()
    if low.shape != wanted or high.shape != wanted or (by_channel and x.type.rank == 0):
        ctx.invalid(f"ranges {ctx.type_of(1)} and {ctx.type_of(2)} for {x.type}")
    return _rounded(ctx, x, low, high, divides=not by_channel)


def _range(ctx: Context, i: int) -> FloatArray:
    value = ctx.value(i)
    if value.array is None or value.type.dtype is not DType.FLOAT32:
        ctx.unsupported("a range that is not a constant of float32")
    return value.array.astype(F32)


def _rounded(ctx: Context, x: Value, low: FloatArray, high: FloatArray, *, divides: bool) -> Value:
    bits, narrow = ctx.attrs.integer("num_bits", 8), ctx.attrs.flag("narrow_range", False)
    if x.type.dtype is not DType.FLOAT32:
        ctx.unsupported(f"element type {x.type.dtype.value}")
    if bits not in _BITS:
        ctx.invalid(f"attribute num_bits is {bits}")
    empty = (low == 0) & (high == 0)
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (empty | (low < high)).all()):
        ctx.invalid("min and max are not a range")
    # A range of zero alone gives zeros: a step of 0 behind any finite range does so.
    found = steps_of(np.where(empty, F32(-1), low), np.where(empty, F32(1), high), bits, narrow)
    s = Steps(ctx, DType.FLOAT32)

    def numbers(array: FloatArray, suffix: str) -> Node:
        return ctx.node_of(kept(ctx, array, suffix))

    low_node = numbers(found.low, "low")
    inside = s.binary(BinaryFn.MINIMUM, s.take(x), numbers(found.high, "high"))
    above = s.binary(BinaryFn.SUB, s.binary(BinaryFn.MAXIMUM, inside, low_node), low_node)
    if divides:
        number = s.binary(BinaryFn.DIV, above, numbers(found.size, "step"))
    else:
        number = s.mul(above, numbers(found.inverse, "inverse"))
    nearest = s.unary(UnaryFn.FLOOR, s.add(s.binary(BinaryFn.SUB, number, numbers(found.zero, "zero")), 0.5))
    return s.result(s.mul(nearest, numbers(np.where(empty, F32(0), found.size).astype(F32), "size")))
