"""Fake quantisation: what training for integers rounds floats to, kept as arithmetic of floats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.frontend.lower.fill import filled_like, kept
from smalti.frontend.lower.steps import Steps
from smalti.frontend.tensorflow.registry import Context, Handled, tf_op
from smalti.frontend.values import Value
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, UnaryFn
from smalti.numerics import DType

F32 = np.float32
FloatArray = NDArray[np.float32]
_NOTE = "constant range; computed in float32"
_HALF = F32(0.5)


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers that are left, one entry a range: ``scale`` times whole numbers from ``low`` to ``high``.

    ``inverse`` is not ``1 / scale`` but computed from the range, as TensorFlow does; ``zero`` is the whole number that
    stands for 0, and ``empty`` says which ranges are from 0 to 0.
    """

    low: FloatArray
    high: FloatArray
    scale: FloatArray
    inverse: FloatArray
    zero: FloatArray
    empty: NDArray[np.bool_]


def grid_of(low: FloatArray, high: FloatArray, bits: int, narrow: bool) -> Grid:
    """Return the numbers of ranges, moved so that 0 is among them; each step is rounded to float32.

    Args:
        low: lower ends.
        high: upper ends, above the lower ones or both 0.
        bits: of a whole number, from 2 to 16.
        narrow: the whole numbers begin at 1, not at 0.
    """
    first, last = F32(1 if narrow else 0), F32((1 << bits) - 1)
    empty = (low == 0) & (high == 0)
    end = np.where(empty, F32(1), high).astype(F32)
    with np.errstate(over="ignore"):
        scale = (end - low) / (last - first)
        inverse = (last - first) / (end - low)
        place = np.clip(first - low / scale, first, last).astype(np.float64)
        # The place is not negative: half away from zero is half up, exact in float64.
        place = np.floor(place + 0.5).astype(F32)
        bottom, top = (first - place) * scale, (last - place) * scale
        zero = np.floor(-bottom * inverse + _HALF)
    return Grid(bottom, top, scale, inverse, zero, empty)


@tf_op("FakeQuantWithMinMaxArgs", inputs=1, note="computed in float32")
@tf_op("FakeQuantWithMinMaxVars", inputs=3, note=_NOTE)
@tf_op("FakeQuantWithMinMaxVarsPerChannel", inputs=3, note=_NOTE)
def fake_quant(ctx: Context) -> Handled:
    """Floats rounded to a grid of numbers and cut to its ends, to the bit as TensorFlow's kernels round them."""
    bits, narrow = ctx.attrs.integer("num_bits", 8), ctx.attrs.flag("narrow_range", False)
    if not 2 <= bits <= 16:
        ctx.invalid(f"attribute num_bits is {bits}; TensorFlow takes 2 to 16")
    if ctx.op == "FakeQuantWithMinMaxArgs":
        low, high = (np.full((), ctx.attrs.number(n, d), F32) for n, d in (("min", -6.0), ("max", 6.0)))
        x = ctx.value(0)
    else:
        x = ctx.value(0)
        low, high = _range(ctx, x, 1), _range(ctx, x, 2)
    if x.type.dtype is not DType.FLOAT32:
        ctx.unsupported(f"element type {x.type.dtype.value}")
    finite = bool(np.isfinite(low).all() and np.isfinite(high).all())
    if not (finite and ((low < high) | ((low == 0) & (high == 0))).all()):
        ctx.invalid("min and max are not a range")
    return _rounded(ctx, x, grid_of(low, high, bits, narrow))


def _range(ctx: Context, x: Value, i: int) -> FloatArray:
    """Return the ends of the ranges: one, or one for each channel, which is the last dimension."""
    value = ctx.value(i)
    if value.array is None or value.type.dtype is not DType.FLOAT32:
        ctx.unsupported("a range that is not constant: freeze the graph after training")
    per_channel = ctx.op == "FakeQuantWithMinMaxVarsPerChannel"
    wanted = x.type.shape[-1:] if per_channel else ()
    if value.type.shape != wanted or (per_channel and not wanted):
        ctx.invalid(f"a range {value.type} for {x.type}")
    return value.array.astype(F32)


def _rounded(ctx: Context, x: Value, grid: Grid) -> Value:
    """Return ``floor((cut - low) * inverse - zero + 1/2) * scale``; of one range computed, TensorFlow divides."""
    if bool(grid.empty.all()):
        return filled_like(ctx, 0, x.type)
    s = Steps(ctx, DType.FLOAT32)
    y = s.binary(BinaryFn.MINIMUM, s.take(x), _numbers(ctx, grid.high, "high"))
    y = s.binary(BinaryFn.MAXIMUM, y, _numbers(ctx, grid.low, "low"))
    if bool((grid.low != 0).any()):
        y = s.binary(BinaryFn.SUB, y, _numbers(ctx, grid.low, "from"))
    if ctx.op == "FakeQuantWithMinMaxVars":
        y = s.binary(BinaryFn.DIV, y, _numbers(ctx, grid.scale, "step"))
    else:
        y = s.mul(y, _numbers(ctx, grid.inverse, "steps"))
    if bool((grid.zero != 0).any()):
        y = s.binary(BinaryFn.SUB, y, _numbers(ctx, grid.zero, "zero"))
    y = s.unary(UnaryFn.FLOOR, s.add(y, 0.5))
    return s.result(s.mul(y, _numbers(ctx, np.where(grid.empty, F32(0), grid.scale).astype(F32), "scale")))


def _numbers(ctx: Context, array: FloatArray, suffix: str) -> Node:
    return ctx.node_of(kept(ctx, np.array(array, F32), suffix))
