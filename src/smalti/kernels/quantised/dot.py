"""Products of uint8 activations and int8 weights, summed in int32 lanes, by the instructions that a target has.

Every way is exact.  (``pmaddubsw`` is not used: its 16-bit sums saturate.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from llvmlite import ir

from smalti.kernels.values import number
from smalti.llvm.builder import I8, I16, I32, Fn, lanes_of, named_intrinsic, vector
from smalti.target.target import Target


class DotKind(Enum):
    """How a lane sums products: four of bytes, two of 16-bit pairs, or one; or eight of bytes of each of two rows."""

    BYTES = "vnni"
    PAIRS = "madd"
    SINGLE = "mul"
    MATRIX = "mmla"


class Bytes(Enum):
    """The instruction that sums four products of bytes."""

    VPDPBUSD = "vpdpbusd"
    USDOT = "usdot"
    SDOT = "sdot"


@dataclass(frozen=True, slots=True)
class Dot:
    """The dot product of a target.

    Attributes:
        kind: the instructions.
        lanes: int32 lanes of a full vector.
        bytes: which instruction sums products of bytes.
    """

    kind: DotKind
    lanes: int
    bytes: Bytes = Bytes.VPDPBUSD

    @classmethod
    def of(cls, target: Target) -> Dot:
        """Return the best dot product of vectors of a target."""
        lanes = target.vector_bits // 32
        if target.has("avx512vnni") or target.has("avxvnni"):
            return cls(DotKind.BYTES, lanes)
        if target.has("i8mm") or target.has("dotprod"):
            return cls(DotKind.BYTES, lanes, Bytes.USDOT if target.has("i8mm") else Bytes.SDOT)
        return cls(DotKind.PAIRS if target.arch == "x86_64" else DotKind.SINGLE, lanes)

    @classmethod
    def of_matrix(cls, target: Target) -> Dot:
        """Return the best dot product for products of matrices."""
        dot = cls.of(target)
        return replace(dot, kind=DotKind.MATRIX) if target.has("i8mm") else dot

    @property
    def group(self) -> int:
        """Products that one lane sums at once."""
        return {DotKind.MATRIX: 8, DotKind.BYTES: 4, DotKind.PAIRS: 2, DotKind.SINGLE: 1}[self.kind]

    @property
    def shift(self) -> int:
        """What is subtracted from activations before they are multiplied (see :meth:`take`)."""
        return 128 if self.bytes is Bytes.SDOT else 0

    @property
    def by_element(self) -> bool:
        """Whether the instructions take the activations of all lanes from one place of a register (Arm)."""
        return self.kind is DotKind.SINGLE or self.bytes is not Bytes.VPDPBUSD

    @property
    def weight_type(self) -> np.dtype[np.generic]:
        """Type of packed weights."""
        return np.dtype(np.int8 if self.kind in (DotKind.BYTES, DotKind.MATRIX) else np.int16)

    @property
    def lane_bytes(self) -> int:
        """Bytes of the packed weights of one lane."""
        return self.group * self.weight_type.itemsize

    @property
    def element_bytes(self) -> int:
        """Bytes of one activation: pairs read them widened to 16 bits, from a copy."""
        return 2 if self.kind is DotKind.PAIRS else 1

    @property
    def widens(self) -> bool:
        """Whether activations must be copied to 16 bits first."""
        return self.element_bytes > 1

    def load_weights(self, fn: Fn, address: ir.Value, lanes: int) -> ir.Value:
        """Load the packed weights of one vector."""
        element = I8 if self.kind is DotKind.BYTES else I16
        return fn.load(vector(element, lanes * self.group), address)

    def load(self, fn: Fn, address: ir.Value, count: int) -> ir.Value:
        """Load ``count`` (at most ``group``) activations of a pixel, nothing behind them, into all lanes."""
        element, lanes = (I8, 4) if self.kind is DotKind.BYTES else (I16, 2)
        word = fn.load(I32, address, align=1) if count == self.group else _assembled(fn, address, element, count)
        return fn.b.bitcast(fn.splat(word, self.lanes), vector(element, self.lanes * lanes))

    def take(self, fn: Fn, activations: ir.Value) -> ir.Value:
        """Return bytes as the instruction takes them: with the highest bit flipped they are signed, and less by 128."""
        return fn.b.xor(activations, number(activations.type, self.shift)) if self.shift else activations

    def accumulate(self, fn: Fn, sums: ir.Value, activations: ir.Value, weights: ir.Value) -> ir.Value:
        """Return ``sums`` plus the products, for as many lanes as the sums have."""
        lanes = lanes_of(sums)
        activations = fn.first_lanes(activations, lanes * self.group)
        if self.kind is DotKind.BYTES:
            name = {
                Bytes.VPDPBUSD: f"llvm.x86.avx512.vpdpbusd.{32 * lanes}",
                Bytes.USDOT: f"llvm.aarch64.neon.usdot.v{lanes}i32.v{4 * lanes}i8",
                Bytes.SDOT: f"llvm.aarch64.neon.sdot.v{lanes}i32.v{4 * lanes}i8",
            }[self.bytes]
            # Both are signed then, and the second operand is the one that can be part of a register.
            operands = (weights, activations) if self.bytes is Bytes.SDOT else (activations, weights)
            return named_intrinsic(fn, name, sums.type, sums, *operands)
        if self.kind is DotKind.PAIRS:
            return multiplied_pairs(fn, sums, activations, weights)
        # The intrinsic keeps LLVM from widening weights once and for all, in twice the registers.
        return fn.b.add(
            sums, named_intrinsic(fn, f"llvm.aarch64.neon.smull.v{lanes}i32", sums.type, activations, weights)
        )


def multiplied_pairs(fn: Fn, sums: ir.Value, a: ir.Value, b: ir.Value) -> ir.Value:
    """Return ``sums`` plus the products of pairs of 16-bit integers."""
    name = {16: "avx512.pmaddw.d.512", 8: "avx2.pmadd.wd", 4: "sse2.pmadd.wd"}[lanes_of(sums)]
    return fn.b.add(sums, named_intrinsic(fn, f"llvm.x86.{name}", sums.type, a, b))


def _assembled(fn: Fn, address: ir.Value, element: ir.IntType, count: int) -> ir.Value:
    """Return fewer elements than a word has, zeros above them."""
    word = fn.b.zext(fn.load(element, address), I32)
    for i in range(1, count):
        part = fn.b.zext(fn.load(element, fn.at(address, i * element.width // 8)), I32)
        word = fn.b.or_(word, fn.b.shl(part, ir.Constant(I32, i * element.width)))
    return word
