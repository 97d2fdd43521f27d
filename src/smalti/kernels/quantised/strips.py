"""Strips of channels: how depthwise kernels cut channels into vectors, and how their weights are packed.

A dot product sums a few products in one lane, but neighbouring bytes of a tensor are different channels.  So the bytes
of a channel from several rows of a column of the window are brought together by interleaving, which puts channels in
pack order (see :mod:`smalti.kernels.epilogue.packed`), and such a column serves every result whose window holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from smalti.kernels.epilogue.packed import in_pack_order
from smalti.kernels.quantised.dot import Dot, DotKind
from smalti.llvm.builder import I8, I16, I32, Fn, lanes_of, vector
from smalti.target.target import Target

PIECE_BITS = 128
WHOLE_ONLY = 16


@dataclass(frozen=True, slots=True)
class Strip:
    """``channels`` computed together in ``vectors`` vectors of ``lanes`` (the last lanes may hold none)."""

    channels: int
    lanes: int
    vectors: int

    @property
    def width(self) -> int:
        """Channels including the ones that only pad."""
        return self.lanes * self.vectors


@dataclass(frozen=True, slots=True)
class Strips:
    """``count`` equal strips, one after another."""

    strip: Strip
    count: int


def cut(target: Target, channels: int) -> tuple[Strips, ...]:
    """Return the strips that cover so many channels, widest first."""
    result: list[Strips] = []
    for lanes, vectors in _forms(target):
        width = lanes * vectors
        if channels >= width:
            result.append(Strips(Strip(width, lanes, vectors), channels // width))
            channels %= width
        # Odd numbers of bytes are loaded in several parts; that pays for narrow strips only.
        if width <= WHOLE_ONLY and (channels > width // 2 or width == _NARROWEST) and channels:
            return (*result, Strips(Strip(channels, lanes, vectors), 1))
    return tuple(result)


_NARROWEST = 4


def _forms(target: Target) -> list[tuple[int, int]]:
    """Return lanes and vectors of the strips a target has, widest first; the last is four channels wide."""
    dot = Dot.of(target)
    # Pairs take twice the registers for a column that groups of four bytes do.
    most = 4 if dot.kind is DotKind.BYTES else 2
    wide = [(lanes, most) for lanes in (16, 8, 4) if lanes <= dot.lanes]
    return [*wide, *((4, n) for n in (2, 1) if n < most)]


def strip_dot(target: Target, strip: Strip) -> Dot:
    """Return the dot product in vectors of a strip."""
    return replace(Dot.of(target), lanes=strip.lanes)


@dataclass(frozen=True, slots=True)
class Filters:
    """Layout of packed filters: ``[strip][column of the window][group of rows][vector][lane][row of the group]``."""

    kh: int
    kw: int
    addend: bool

    def groups(self, dot: Dot) -> int:
        """Return the groups of rows of a column."""
        return -(-self.kh // dot.group)

    def vector_bytes(self, dot: Dot) -> int:
        """Return the bytes of one packed vector of weights."""
        return dot.lanes * dot.lane_bytes

    def weight_bytes(self, target: Target, strips: Sequence[Strips]) -> int:
        """Return the bytes of the packed weights of some strips."""
        total = 0
        for s in strips:
            dot = strip_dot(target, s.strip)
            total += s.count * self.kw * self.groups(dot) * s.strip.vectors * self.vector_bytes(dot)
        return total

    def parameter_bytes(self, strips: Sequence[Strips]) -> int:
        """Return the bytes of the packed biases, multipliers and addends of some strips."""
        return sum(s.count * s.strip.width for s in strips) * (12 if self.addend else 8)


def pack_filters(
    weights: NDArray[np.int8],
    parameters: Sequence[NDArray[np.generic]],
    target: Target,
    strips: Sequence[Strips],
) -> tuple[NDArray[np.generic], NDArray[np.int32]]:
    """Return packed weights and packed parameters.

    Args:
        weights: int8 ``[kh, kw, channels]``.
        parameters: 32-bit values of each channel: biases, multipliers, and addends if there are any.
        target: the target.
        strips: the strips, which cover all channels.
    """
    kh, kw, channels = weights.shape
    dot = Dot.of(target)
    groups = -(-kh // dot.group)
    rows = np.zeros((groups * dot.group, kw, channels), dot.weight_type)
    rows[:kh] = weights
    grouped = rows.reshape(groups, dot.group, kw, channels)
    packed: list[NDArray[np.generic]] = []
    values: list[NDArray[np.int32]] = []
    first = 0
    for run in strips:
        strip = run.strip
        for _ in range(run.count):
            here = slice(first, first + strip.channels)
            ordered = in_pack_order(grouped[..., here], (strip.vectors,), strip.lanes)
            packed.append(ordered.transpose(2, 0, 3, 1).reshape(-1))
            for value in parameters:
                piece = in_pack_order(value[here], (strip.vectors,), strip.lanes)
                values.append(np.ascontiguousarray(piece).view(np.int32))
            first += strip.channels
    return np.concatenate(packed), np.concatenate(values)


def interleave(fn: Fn, dot: Dot, strip: Strip, rows: Sequence[ir.Value]) -> list[ir.Value]:
    """Return what the dot product takes from a group of rows, one value for each vector of the strip.

    ``rows`` are the bytes of the strip's channels, at most ``dot.group`` of them (missing ones are zeros).
    """
    if dot.kind is DotKind.SINGLE:
        wide = fn.b.zext(_widened(fn, rows[0], strip.width), vector(I16, strip.width))
        return [_part(fn, wide, q * strip.lanes, strip.lanes) for q in range(strip.vectors)]
    bits = 8 if dot.kind is DotKind.BYTES else 16
    element, pieces = ir.IntType(bits), strip.lanes * 32 // PIECE_BITS
    full = vector(element, pieces * PIECE_BITS // bits)
    zeros = ir.Constant(full, None)
    if dot.kind is DotKind.BYTES:
        a, b, c, d = (*(dot.take(fn, _widened(fn, r, full.count)) for r in rows), *(zeros,) * (4 - len(rows)))
        halves = (False, True)[: -(-strip.vectors // 2)]
        words = [(_unpack(fn, a, b, h, 1), _unpack(fn, c, d, h, 1)) for h in halves]
        pairs = [_unpack(fn, p, q, h, 2) for p, q in words for h in (False, True)]
        return pairs[: strip.vectors]
    spread = [fn.b.zext(_widened(fn, r, strip.width), vector(I16, strip.width)) for r in rows]
    a, b = (*(_widened(fn, r, full.count) for r in spread), *(zeros,) * (2 - len(rows)))
    return [_unpack(fn, a, b, h, 1) for h in (False, True)[: strip.vectors]]


def _unpack(fn: Fn, a: ir.Value, b: ir.Value, high: bool, unit: int) -> ir.Value:
    """Interleave units of elements of the lower or higher halves of each piece of 128 bits."""
    count = lanes_of(a)
    piece = PIECE_BITS // a.type.element.width
    mask: list[int] = []
    for start in range(0, count, piece):
        for i in range(piece // 2 if high else 0, piece if high else piece // 2, unit):
            mask += [start + i + k for k in range(unit)] + [count + start + i + k for k in range(unit)]
    return fn.b.shuffle_vector(a, b, ir.Constant(vector(I32, count), mask))


def _widened(fn: Fn, value: ir.Value, lanes: int) -> ir.Value:
    """Return a vector with more lanes, whatever in the new ones (zeros)."""
    held = lanes_of(value)
    if held == lanes:
        return value
    if held == 1:
        kind = value.type
        return fn.b.insert_element(ir.Constant(vector(kind, lanes), None), value, ir.Constant(I32, 0))
    mask = [i if i < held else held for i in range(lanes)]
    return fn.b.shuffle_vector(value, ir.Constant(value.type, None), ir.Constant(vector(I32, lanes), mask))


def _part(fn: Fn, value: ir.Value, first: int, lanes: int) -> ir.Value:
    if lanes == lanes_of(value):
        return value
    mask = ir.Constant(vector(I32, lanes), list(range(first, first + lanes)))
    return fn.b.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)


def load_row(fn: Fn, strip: Strip, address: ir.Value) -> ir.Value:
    """Load the strip's bytes of one pixel."""
    return fn.load(vector(I8, strip.channels), address)
