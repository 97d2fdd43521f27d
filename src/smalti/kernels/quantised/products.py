"""The dot products of integers as the matrix core takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from llvmlite import ir

from smalti.kernels.matrix.products import BroadcastProducts, Dot, Products
from smalti.kernels.matrix.shapes import Layout, Panel
from smalti.kernels.quantised.arm import ElementTile
from smalti.kernels.quantised.dot import Dot as VectorDot
from smalti.kernels.quantised.dot import multiplied_pairs
from smalti.llvm.builder import I16, I32, Fn, lanes_of, named_intrinsic, vector
from smalti.target.target import Target


class IntegerDot(Dot):
    """What dot products of integers have in common."""

    __slots__ = ()
    sum_type: ClassVar[ir.Type] = I32
    tails: ClassVar[tuple[int, ...]] = (4, 2, 1)


@dataclass(frozen=True, slots=True)
class ByteDot(IntegerDot):
    """uint8 activations times int8 weights."""

    dot: VectorDot

    @classmethod
    def of(cls, target: Target) -> ByteDot:
        """Return the best dot product of a target."""
        return cls(VectorDot.of_matrix(target))

    @property
    def layout(self) -> Layout:
        """How weights lie."""
        return Layout(self.dot.group, self.dot.weight_type)

    @property
    def element_bytes(self) -> int:
        """Bytes of one activation."""
        return self.dot.element_bytes

    def products(self, fn: Fn, panel: Panel, rows: int, stride: int) -> Products:
        """Return the sums of a register tile."""
        if self.dot.by_element:
            return ElementTile(fn, self.dot, rows, stride, len(panel.vectors))
        return BroadcastProducts(fn, self, panel, rows, stride)

    def load_weights(self, fn: Fn, address: ir.Value, lanes: int) -> ir.Value:
        """Load the packed weights of one vector."""
        return self.dot.load_weights(fn, address, lanes)

    def load(self, fn: Fn, address: ir.Value, count: int) -> ir.Value:
        """Load the activations of a step."""
        return self.dot.load(fn, address, count)

    def accumulate(self, fn: Fn, sums: ir.Value, activations: ir.Value, weights: ir.Value) -> ir.Value:
        """Return the sums plus the products."""
        return self.dot.accumulate(fn, sums, activations, weights)


@dataclass(frozen=True, slots=True)
class WordDot(IntegerDot):
    """16-bit activations times 16-bit weights: in pairs where the target sums pairs, ``vnni`` in one instruction."""

    pairs: bool
    vnni: bool = False

    @classmethod
    def of(cls, target: Target) -> WordDot:
        """Return the best dot product of a target."""
        return cls(target.arch == "x86_64", target.has("avx512vnni") or target.has("avxvnni"))

    @property
    def layout(self) -> Layout:
        """How weights lie."""
        return Layout(2 if self.pairs else 1, np.dtype(np.int16))

    @property
    def element_bytes(self) -> int:
        """Bytes of one activation."""
        return 2

    def load_weights(self, fn: Fn, address: ir.Value, lanes: int) -> ir.Value:
        """Load the packed weights of one vector."""
        return fn.load(vector(I16, lanes * self.layout.group), address)

    def load(self, fn: Fn, address: ir.Value, count: int) -> ir.Value:
        """Load the activations of a step."""
        return fn.load(I32 if count > 1 else I16, address, align=2)

    def accumulate(self, fn: Fn, sums: ir.Value, activations: ir.Value, weights: ir.Value) -> ir.Value:
        """Return the sums plus the products."""
        lanes = lanes_of(sums)
        if not self.pairs:
            wide = fn.splat(fn.b.sext(activations, I32), lanes)
            return fn.b.add(sums, fn.b.mul(wide, fn.b.sext(weights, sums.type)))
        held = fn.b.bitcast(fn.splat(activations, lanes), weights.type)
        if self.vnni:
            return named_intrinsic(fn, f"llvm.x86.avx512.vpdpwssd.{32 * lanes}", sums.type, sums, held, weights)
        return multiplied_pairs(fn, sums, held, weights)
