"""Products of uint8 activations and int8 weights, summed in int32 lanes, by the instructions that a target has.

Every way is exact.  (``pmaddubsw`` is not used: its 16-bit sums saturate.)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from llvmlite import ir

from smalti.kernels.quantised.requant import named_intrinsic
from smalti.llvm.builder import I8, I16, I32, Fn, lanes_of, vector
from smalti.target.target import Target


class DotKind(Enum):
    """How a lane sums products: four of bytes, two of 16-bit pairs, or one."""

    BYTES = "vnni"
    PAIRS = "madd"
    SINGLE = "mul"


@dataclass(frozen=True, slots=True)
class Dot:
    """The dot product of a target.

    Attributes:
        kind: the instructions.
        lanes: int32 lanes of a full vector.
    """

    kind: DotKind
    lanes: int

    @classmethod
    def of(cls, target: Target) -> Dot:
        """Return the best dot product of a target."""
        lanes = target.vector_bits // 32
        if target.has("avx512vnni") or target.has("avxvnni"):
            return cls(DotKind.BYTES, lanes)
        return cls(DotKind.PAIRS if target.arch == "x86_64" else DotKind.SINGLE, lanes)

    @property
    def group(self) -> int:
        """Products that one lane sums at once."""
        return {DotKind.BYTES: 4, DotKind.PAIRS: 2, DotKind.SINGLE: 1}[self.kind]

    @property
    def weight_type(self) -> np.dtype[np.generic]:
        """Type of packed weights."""
        return np.dtype(np.int8 if self.kind is DotKind.BYTES else np.int16)

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

    def load_activations(self, fn: Fn, address: ir.Value, count: int) -> ir.Value:
        """Load ``count`` (at most ``group``) activations of a pixel, nothing behind them, into all lanes."""
        if self.kind is DotKind.SINGLE:
            wide = fn.b.zext(fn.load(I8, address), I16)
            return fn.splat(wide, self.lanes)
        element, lanes = (I8, 4) if self.kind is DotKind.BYTES else (I16, 2)
        word = fn.load(I32, address, align=1) if count == self.group else _assembled(fn, address, element, count)
        return fn.b.bitcast(fn.splat(word, self.lanes), vector(element, self.lanes * lanes))

    def accumulate(self, fn: Fn, sums: ir.Value, activations: ir.Value, weights: ir.Value) -> ir.Value:
        """Return ``sums`` plus the products, for as many lanes as the sums have."""
        lanes = lanes_of(sums)
        activations = fn.first_lanes(activations, lanes * self.group)
        if self.kind is DotKind.BYTES:
            name = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
            return named_intrinsic(fn, name, sums.type, sums, activations, weights)
        if self.kind is DotKind.PAIRS:
            name = {16: "avx512.pmaddw.d.512", 8: "avx2.pmadd.wd", 4: "sse2.pmadd.wd"}[lanes]
            return fn.b.add(sums, named_intrinsic(fn, f"llvm.x86.{name}", sums.type, activations, weights))
        product = fn.b.mul(fn.b.sext(activations, sums.type), fn.b.sext(weights, sums.type))
        return fn.b.add(sums, product)


def _assembled(fn: Fn, address: ir.Value, element: ir.IntType, count: int) -> ir.Value:
    """Return fewer elements than a word has, zeros above them."""
    word = fn.b.zext(fn.load(element, address), I32)
    for i in range(1, count):
        part = fn.b.zext(fn.load(element, fn.at(address, i * element.width // 8)), I32)
        word = fn.b.or_(word, fn.b.shl(part, ir.Constant(I32, i * element.width)))
    return word
