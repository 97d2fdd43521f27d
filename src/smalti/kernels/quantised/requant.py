"""From int32 sums to results: the float32 steps of :mod:`smalti.numerics`, each rounded once, then bytes or floats.

Sums come in groups of 1, 2 or 4 vectors whose lanes are in *pack order*: the instructions that narrow vectors work in
pieces of 128 bits, so lane ``4 * s + i`` of vector ``q`` (of ``n``) holds channel ``4 * n * s + 4 * q + i``.  Narrowing
then gives bytes in the order of channels with no further shuffle.  Constants (weights, multipliers, biases, addends)
are brought into that order when they are packed; bytes that are widened by interleaving with zeros come in it anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.ops import Activation
from smalti.kernels.values import number, store_value
from smalti.llvm.builder import F32, I8, I16, I32, Fn, lanes_of, named_intrinsic, vector
from smalti.numerics import DType
from smalti.target.target import Target

QuantisedConvolution = ops.QuantisedConv2d | ops.QuantisedDepthwiseConv2d
RESULT_TYPES = (DType.UINT8, DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16)
_PIECE = 4
_SAFE_STEPS = float(1 << 30)


@dataclass(frozen=True, slots=True)
class RequantSpec:
    """What happens to a sum: ``t = f32(sum) * multiplier [+ addend] [+ (residual - zero point) * scale]``.

    ``dtype`` uint8 gives ``clip(rint(t) + zero_point, low, high)``, a float type ``activation(t)``.  ``bounded`` says
    that ``t`` surely fits int32, so that it needs no clamp before the conversion.
    """

    dtype: DType
    zero_point: int = 0
    low: int = 0
    high: int = 255
    activation: Activation = Activation.NONE
    addend: bool = False
    residual: bool = False
    residual_zero_point: int = 0
    residual_scale: float = 0.0
    bounded: bool = False

    @classmethod
    def of(cls, op: QuantisedConvolution, bounded: bool) -> RequantSpec:
        """Return the specification of an operation; see :func:`steps_fit` for ``bounded``."""
        residual = isinstance(op, ops.QuantisedConv2d) and op.residual
        return cls(
            op.dtype,
            op.result_zero_point,
            op.low,
            op.high,
            op.activation,
            op.addend,
            residual,
            op.residual_zero_point if isinstance(op, ops.QuantisedConv2d) and residual else 0,
            float(np.float32(op.residual_scale)) if isinstance(op, ops.QuantisedConv2d) and residual else 0.0,
            bounded,
        )

    @property
    def key(self) -> str:
        """Text that names the specification in function keys."""
        if self.dtype is DType.UINT8:
            kind = f"u8z{self.zero_point}l{self.low}h{self.high}"
        else:
            kind = f"{self.dtype.value}_{self.activation.value}"
        residual = f"_r{self.residual_zero_point}x{self.residual_scale.hex()}" if self.residual else ""
        return f"{kind}{'_a' if self.addend else ''}{residual}{'' if self.bounded else '_wide'}"

    @property
    def itemsize(self) -> int:
        """Bytes of one result."""
        return self.dtype.itemsize

    def groups(self, vectors: int) -> tuple[int, ...]:
        """Return how to split so many vectors into groups that narrow well."""
        if self.dtype is not DType.UINT8:
            return (1,) * vectors
        return (4,) * (vectors // 4) + (2,) * (vectors % 4 // 2) + (1,) * (vectors % 2)


def steps_fit(
    weights: NDArray[np.int8],
    multiplier: NDArray[np.float32],
    bias: NDArray[np.int32] | None = None,
    addend: NDArray[np.float32] | None = None,
    residual_scale: float = 0.0,
) -> bool:
    """Return whether ``t`` of any uint8 input surely fits int32 (an addend computed at run time never does).

    ``weights`` are ``[..., channels]``; a zero point only makes products smaller.
    """
    sums = np.abs(weights.astype(np.float64)).reshape(-1, weights.shape[-1]).sum(axis=0) * 255.0
    if bias is not None:
        sums = sums + np.abs(bias.astype(np.float64))
    steps = sums * np.abs(multiplier.astype(np.float64)) + 255.0 * abs(residual_scale)
    if addend is not None:
        steps = steps + np.abs(addend.astype(np.float64))
    return bool((steps < _SAFE_STEPS).all())


def pack_order(groups: Sequence[int], lanes: int) -> NDArray[np.int64]:
    """Return the channel that each lane of consecutive groups of vectors holds."""
    orders: list[NDArray[np.int64]] = []
    first = 0
    for count in groups:
        # Axes: piece of 128 bits, vector, lane of the piece; memory wants the vector first.
        channels = np.arange(count * lanes).reshape(lanes // _PIECE, count, _PIECE)
        orders.append(first + channels.transpose(1, 0, 2).reshape(-1))
        first += count * lanes
    return np.concatenate(orders)


def in_pack_order(values: NDArray[np.generic], groups: Sequence[int], lanes: int) -> NDArray[np.generic]:
    """Return ``[..., channels]`` values with channels as the groups hold them, zeros where there is no channel."""
    order = pack_order(groups, lanes)
    padded = np.zeros((*values.shape[:-1], order.size), values.dtype)
    padded[..., : values.shape[-1]] = values
    return padded[..., order]


class Requantiser:
    """Emits the way from sums to stored results."""

    def __init__(self, fn: Fn, target: Target, spec: RequantSpec) -> None:
        self.fn, self.target, self.spec = fn, target, spec
        self.x86 = target.arch == "x86_64"

    def store(
        self,
        sums: Sequence[ir.Value],
        multipliers: Sequence[ir.Value],
        address: ir.Value,
        channels: int,
        addends: Sequence[ir.Value] | None = None,
        residual: ir.Value | None = None,
    ) -> None:
        """Store the results of one group of 1, 2 or 4 vectors.

        Args:
            sums: int32 vectors in pack order.
            multipliers: float32 vectors in pack order.
            address: of the first result.
            channels: how many results to store, at most all lanes.
            addends: float32 vectors in pack order, if the specification has an addend.
            residual: address of the first residual byte, if the specification has a residual.
        """
        steps = [self.fn.b.fmul(self.fn.b.sitofp(s, m.type), m) for s, m in zip(sums, multipliers, strict=True)]
        if self.spec.addend:
            if addends is None:
                raise CompilerError("requantisation with an addend needs its vectors")
            steps = [self.fn.b.fadd(t, a) for t, a in zip(steps, addends, strict=True)]
        if self.spec.residual:
            if residual is None:
                raise CompilerError("requantisation with a residual needs its address")
            others = self._residual(residual, len(steps), lanes_of(steps[0]), channels)
            steps = [self.fn.b.fadd(t, o) for t, o in zip(steps, others, strict=True)]
        if self.spec.dtype is not DType.UINT8:
            self._store_floats(steps, address, channels)
            return
        self.fn.store(self.fn.first_lanes(self.to_bytes(steps), channels), address)

    def to_bytes(self, steps: Sequence[ir.Value]) -> ir.Value:
        """Return one vector of bytes, in the order of channels, from float32 steps in pack order."""
        if not self.x86:
            return self._arm_bytes(steps)
        spec = self.spec
        if not spec.bounded:
            steps = [self._clamped(t) for t in steps]
        whole = [self._nearest(t) for t in steps]
        if len(whole) == 1:
            return self._narrow(self.fn.b.add(whole[0], number(whole[0].type, spec.zero_point)), spec.low, spec.high)
        halves = [self._pack(a, b) for a, b in zip(whole[::2], whole[1::2], strict=True)]
        if spec.zero_point:
            halves = [self.fn.intrinsic("llvm.sadd.sat", h.type, h, number(h.type, spec.zero_point)) for h in halves]
        if len(halves) == 1:
            return self._narrow(halves[0], spec.low, spec.high)
        return self._limited(self._pack(*halves))

    def _residual(self, address: ir.Value, count: int, lanes: int, channels: int) -> list[ir.Value]:
        fn, b = self.fn, self.fn.b
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
            if self.spec.residual_zero_point:
                wide = b.sub(wide, number(ints, self.spec.residual_zero_point))
            real = b.sitofp(wide, vector(F32, lanes))
            result.append(b.fmul(real, fn.f32(self.spec.residual_scale, lanes)))
        return result

    def _store_floats(self, steps: Sequence[ir.Value], address: ir.Value, channels: int) -> None:
        lanes = lanes_of(steps[0])
        for q, step in enumerate(_by_channel(self.fn, steps)):
            count = min(lanes, channels - q * lanes)
            if count <= 0:
                return
            value = self.fn.first_lanes(self._activate(step), count)
            place = self.fn.at(address, q * lanes * self.spec.itemsize)
            if self.spec.dtype is DType.BFLOAT16:
                self.fn.store(bfloat16_bits(self.fn, value), place)
            else:
                store_value(self.fn, self.spec.dtype, value, place, count)

    def _activate(self, value: ir.Value) -> ir.Value:
        if self.spec.activation is Activation.NONE:
            return value
        value = self.fn.clamp_low(value, 0.0)
        return self.fn.clamp_high(value, 6.0) if self.spec.activation is Activation.RELU6 else value

    def _clamped(self, step: ir.Value) -> ir.Value:
        spec = self.spec
        return self.fn.clamp_high(
            self.fn.clamp_low(step, float(spec.low - spec.zero_point)), float(spec.high - spec.zero_point)
        )

    def _arm_bytes(self, steps: Sequence[ir.Value]) -> ir.Value:
        """As :meth:`to_bytes`: every narrowing saturates, and so does the conversion to integers."""
        fn, spec, short = self.fn, self.spec, vector(I16, _PIECE)
        words = []
        for step in steps:
            if not spec.bounded:
                # What is not a number becomes the lowest.
                low = fn.f32(float(spec.low - spec.zero_point), _PIECE)
                step = named_intrinsic(fn, "llvm.aarch64.neon.fmaxnm.v4f32", step.type, step, low)
            whole = named_intrinsic(fn, "llvm.aarch64.neon.fcvtns.v4i32.v4f32", vector(I32, _PIECE), step)
            words.append(named_intrinsic(fn, "llvm.aarch64.neon.sqxtn.v4i16", short, whole))
        if len(words) == 1:
            words = words * 2
        bytes_ = []
        for half in (_joined(fn, a, b) for a, b in zip(words[::2], words[1::2], strict=True)):
            if spec.zero_point:
                half = fn.intrinsic("llvm.sadd.sat", half.type, half, number(half.type, spec.zero_point))
            bytes_.append(named_intrinsic(fn, "llvm.aarch64.neon.sqxtun.v8i8", vector(I8, 2 * _PIECE), half))
        result = bytes_[0] if len(bytes_) == 1 else _joined(fn, *bytes_)
        return fn.first_lanes(self._limited(result), _PIECE * len(steps))

    def _limited(self, value: ir.Value) -> ir.Value:
        """Return bytes within the bounds."""
        if self.spec.low > 0:
            value = self.fn.intrinsic("llvm.umax", value.type, value, number(value.type, self.spec.low))
        if self.spec.high < DType.UINT8.limits[1]:
            value = self.fn.intrinsic("llvm.umin", value.type, value, number(value.type, self.spec.high))
        return value

    def _nearest(self, step: ir.Value) -> ir.Value:
        """Return int32, halves to even (the processor's default mode); what does not fit becomes the lowest."""
        lanes = lanes_of(step)
        ints = vector(I32, lanes)
        if lanes == 16:
            extra = (number(ints, 0), number(I16, 0xFFFF), number(I32, 4))
            return named_intrinsic(self.fn, "llvm.x86.avx512.mask.cvtps2dq.512", ints, step, *extra)
        name = {8: "llvm.x86.avx.cvt.ps2dq.256", 4: "llvm.x86.sse2.cvtps2dq"}[lanes]
        return named_intrinsic(self.fn, name, ints, step)

    def _pack(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Narrow two vectors with saturation, in pieces of 128 bits: int32 to int16, or int16 to uint8."""
        words = a.type.element == I32
        bits = lanes_of(a) * a.type.element.width
        element, operation = (I16, "packssdw") if words else (I8, "packuswb")
        family = {512: "avx512", 256: "avx2", 128: "sse2"}[bits]
        suffix = {512: ".512", 256: "", 128: ".128"}[bits]
        name = f"llvm.x86.{family}.{operation}{suffix}"
        return named_intrinsic(self.fn, name, vector(element, 2 * lanes_of(a)), a, b)

    def _narrow(self, value: ir.Value, low: int, high: int) -> ir.Value:
        limited = self.fn.intrinsic("llvm.smax", value.type, value, number(value.type, low))
        limited = self.fn.intrinsic("llvm.smin", value.type, limited, number(value.type, high))
        return self.fn.b.trunc(limited, vector(I8, lanes_of(value)))


def bfloat16_bits(fn: Fn, value: ir.Value) -> ir.Value:
    """Return float32 rounded to bfloat16 (nearest, ties to even; NaN stays NaN), as 16-bit integers."""
    b, ints = fn.b, vector(I32, lanes_of(value))
    bits = b.bitcast(value, ints)
    odd = b.and_(b.lshr(bits, number(ints, 16)), number(ints, 1))
    rounded = b.add(bits, b.add(odd, number(ints, 0x7FFF)))
    missing = b.fcmp_unordered("uno", value, value)
    rounded = b.select(missing, number(ints, 0x7FC00000), rounded)
    return b.trunc(b.lshr(rounded, number(ints, 16)), vector(I16, lanes_of(value)))


def _by_channel(fn: Fn, group: Sequence[ir.Value]) -> list[ir.Value]:
    """Return the vectors of a group with lanes in the order of channels."""
    if len(group) == 1 or lanes_of(group[0]) == _PIECE:
        return list(group)
    lanes = lanes_of(group[0])
    whole = list(group)
    while len(whole) > 1:
        whole = [_joined(fn, a, c) for a, c in zip(whole[::2], whole[1::2], strict=True)]
    place = np.argsort(pack_order((len(group),), lanes))
    undefined = ir.Constant(whole[0].type, ir.Undefined)
    masks = [ir.Constant(vector(I32, lanes), place[q * lanes : (q + 1) * lanes].tolist()) for q in range(len(group))]
    return [fn.b.shuffle_vector(whole[0], undefined, mask) for mask in masks]


def _joined(fn: Fn, a: ir.Value, b: ir.Value) -> ir.Value:
    count = 2 * lanes_of(a)
    return fn.b.shuffle_vector(a, b, ir.Constant(vector(I32, count), list(range(count))))
