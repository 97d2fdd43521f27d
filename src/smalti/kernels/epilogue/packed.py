"""Vectors in *pack order*, and how they narrow to bytes.

The instructions that narrow vectors work in pieces of 128 bits.  So int32 sums come in groups of 1, 2 or 4 vectors of
which lane ``4 * s + i`` of vector ``q`` (of ``n``) holds channel ``4 * n * s + 4 * q + i``.  Narrowing then gives bytes
in the order of channels with no further shuffle.  Constants (weights, multipliers, biases, addends) are brought into
that order when they are packed; bytes that are widened by interleaving with zeros come in it anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from smalti.kernels.epilogue.steps import Requantise, Residual
from smalti.kernels.values import number
from smalti.llvm.builder import F32, I8, I16, I32, Fn, lanes_of, named_intrinsic, vector
from smalti.numerics import DType

PIECE = 4


def pack_order(groups: Sequence[int], lanes: int) -> NDArray[np.int64]:
    """Return the channel that each lane of consecutive groups of vectors holds."""
    orders: list[NDArray[np.int64]] = []
    first = 0
    for count in groups:
        held = np.arange(count * lanes)
        if count > 1:
            # Axes: piece of 128 bits, vector, lane of the piece; memory wants the vector first.
            held = held.reshape(lanes // PIECE, count, PIECE).transpose(1, 0, 2).reshape(-1)
        orders.append(first + held)
        first += count * lanes
    return np.concatenate(orders)


def in_pack_order(values: NDArray[np.generic], groups: Sequence[int], lanes: int) -> NDArray[np.generic]:
    """Return ``[..., channels]`` values with channels as the groups hold them, zeros where there is no channel."""
    order = pack_order(groups, lanes)
    padded = np.zeros((*values.shape[:-1], order.size), values.dtype)
    padded[..., : values.shape[-1]] = values
    return padded[..., order]


def by_channel(fn: Fn, group: Sequence[ir.Value]) -> list[ir.Value]:
    """Return the vectors of a group with lanes in the order of channels."""
    if len(group) == 1 or lanes_of(group[0]) == PIECE:
        return list(group)
    lanes = lanes_of(group[0])
    whole = list(group)
    while len(whole) > 1:
        whole = [_joined(fn, a, c) for a, c in zip(whole[::2], whole[1::2], strict=True)]
    place = np.argsort(pack_order((len(group),), lanes))
    undefined = ir.Constant(whole[0].type, ir.Undefined)
    masks = [ir.Constant(vector(I32, lanes), place[q * lanes : (q + 1) * lanes].tolist()) for q in range(len(group))]
    return [fn.b.shuffle_vector(whole[0], undefined, mask) for mask in masks]


def load_bytes(fn: Fn, step: Residual, address: ir.Value, count: int, lanes: int, channels: int) -> list[ir.Value]:
    """Load the bytes of a residual as float32 in pack order, zeros where there is no channel."""
    b = fn.b
    raw = fn.load(vector(I8, channels), address)
    if channels == 1:
        raw = b.insert_element(ir.Constant(vector(I8, 2), None), raw, ir.Constant(I32, 0))
    held = lanes_of(raw)
    zeros = ir.Constant(raw.type, None)
    order = pack_order((count,), lanes)
    ints = vector(I32, lanes)
    result: list[ir.Value] = []
    for q in range(count):
        picked = [int(c) if c < held else held for c in order[q * lanes : (q + 1) * lanes]]
        mask = [k for c in picked for k in (c, held, held, held)]
        wide = b.bitcast(b.shuffle_vector(raw, zeros, ir.Constant(vector(I32, 4 * lanes), mask)), ints)
        if step.zero_point:
            wide = b.sub(wide, number(ints, step.zero_point))
        real = b.sitofp(wide, vector(F32, lanes))
        result.append(real if step.scale is None else b.fmul(real, fn.f32(step.scale, lanes)))
    return result


def to_bytes(fn: Fn, x86: bool, step: Requantise, values: Sequence[ir.Value]) -> ir.Value:
    """Return one vector of bytes, in the order of channels, from float32 in pack order."""
    if not x86:
        return _arm_bytes(fn, step, values)
    if not step.bounded:
        limits = float(step.low - step.zero_point), float(step.high - step.zero_point)
        values = [fn.clamp_high(fn.clamp_low(v, limits[0]), limits[1]) for v in values]
    whole = [_nearest(fn, v) for v in values]
    if len(whole) == 1:
        return _narrow(fn, fn.b.add(whole[0], number(whole[0].type, step.zero_point)), step)
    halves = [_pack(fn, a, b) for a, b in zip(whole[::2], whole[1::2], strict=True)]
    if step.zero_point:
        halves = [fn.intrinsic("llvm.sadd.sat", h.type, h, number(h.type, step.zero_point)) for h in halves]
    return _narrow(fn, halves[0], step) if len(halves) == 1 else _limited(fn, step, _pack(fn, *halves))


def _arm_bytes(fn: Fn, step: Requantise, values: Sequence[ir.Value]) -> ir.Value:
    """As :func:`to_bytes`: every narrowing saturates, and so does the conversion to integers."""
    short = vector(I16, PIECE)
    words = []
    for value in values:
        if not step.bounded:
            # What is not a number becomes the lowest.
            low = fn.f32(float(step.low - step.zero_point), PIECE)
            value = named_intrinsic(fn, "llvm.aarch64.neon.fmaxnm.v4f32", value.type, value, low)
        whole = named_intrinsic(fn, "llvm.aarch64.neon.fcvtns.v4i32.v4f32", vector(I32, PIECE), value)
        words.append(named_intrinsic(fn, "llvm.aarch64.neon.sqxtn.v4i16", short, whole))
    if len(words) == 1:
        words = words * 2
    bytes_ = []
    for half in (_joined(fn, a, b) for a, b in zip(words[::2], words[1::2], strict=True)):
        if step.zero_point:
            half = fn.intrinsic("llvm.sadd.sat", half.type, half, number(half.type, step.zero_point))
        bytes_.append(named_intrinsic(fn, "llvm.aarch64.neon.sqxtun.v8i8", vector(I8, 2 * PIECE), half))
    result = bytes_[0] if len(bytes_) == 1 else _joined(fn, *bytes_)
    return fn.first_lanes(_limited(fn, step, result), PIECE * len(values))


def _limited(fn: Fn, step: Requantise, value: ir.Value) -> ir.Value:
    """Return bytes within the bounds."""
    if step.low > 0:
        value = fn.intrinsic("llvm.umax", value.type, value, number(value.type, step.low))
    if step.high < DType.UINT8.limits[1]:
        value = fn.intrinsic("llvm.umin", value.type, value, number(value.type, step.high))
    return value


def _nearest(fn: Fn, value: ir.Value) -> ir.Value:
    """Return int32, halves to even (the processor's default mode); what does not fit becomes the lowest."""
    lanes = lanes_of(value)
    ints = vector(I32, lanes)
    if lanes == 16:
        extra = (number(ints, 0), number(I16, 0xFFFF), number(I32, 4))
        return named_intrinsic(fn, "llvm.x86.avx512.mask.cvtps2dq.512", ints, value, *extra)
    name = {8: "llvm.x86.avx.cvt.ps2dq.256", 4: "llvm.x86.sse2.cvtps2dq"}[lanes]
    return named_intrinsic(fn, name, ints, value)


def _pack(fn: Fn, a: ir.Value, b: ir.Value) -> ir.Value:
    """Narrow two vectors with saturation, in pieces of 128 bits: int32 to int16, or int16 to uint8."""
    words = a.type.element == I32
    bits = lanes_of(a) * a.type.element.width
    element, operation = (I16, "packssdw") if words else (I8, "packuswb")
    family = {512: "avx512", 256: "avx2", 128: "sse2"}[bits]
    suffix = {512: ".512", 256: "", 128: ".128"}[bits]
    name = f"llvm.x86.{family}.{operation}{suffix}"
    return named_intrinsic(fn, name, vector(element, 2 * lanes_of(a)), a, b)


def _narrow(fn: Fn, value: ir.Value, step: Requantise) -> ir.Value:
    limited = fn.intrinsic("llvm.smax", value.type, value, number(value.type, step.low))
    limited = fn.intrinsic("llvm.smin", value.type, limited, number(value.type, step.high))
    return fn.b.trunc(limited, vector(I8, lanes_of(value)))


def _joined(fn: Fn, a: ir.Value, b: ir.Value) -> ir.Value:
    count = 2 * lanes_of(a)
    return fn.b.shuffle_vector(a, b, ir.Constant(vector(I32, count), list(range(count))))
