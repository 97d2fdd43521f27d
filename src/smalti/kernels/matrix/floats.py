"""Dot products in float32: fused multiply-adds, and pairs of bfloat16 where the CPU multiplies those."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from llvmlite import ir

from smalti.kernels.epilogue.emit import load_wide
from smalti.kernels.half.bfloat import dot_pairs
from smalti.kernels.matrix.products import BroadcastProducts, Dot
from smalti.kernels.matrix.shapes import Layout, Panel
from smalti.llvm.builder import F32, I16, I32, Fn, lanes_of, vector
from smalti.numerics import DType
from smalti.target.target import Target


def element_lanes(target: Target) -> int:
    """Return how many float32 of a register a product can take its second factor from."""
    return 4 if target.arch == "aarch64" else 1


@dataclass(frozen=True, slots=True)
class FloatDot(Dot):
    """Products of float32; ``weights`` may be stored in 16 bits and are widened as they are loaded.

    Where products take a factor from any lane of a register, ``at_once`` elements of a pixel are loaded together.
    """

    weights: DType = DType.FLOAT32
    at_once: int = 1

    @property
    def layout(self) -> Layout:
        """How weights lie."""
        return Layout(1, self.weights.numpy)

    @property
    def element_bytes(self) -> int:
        """Bytes of one activation."""
        return 4

    def products(self, fn: Fn, panel: Panel, rows: int, stride: int) -> BroadcastProducts:
        """Return the sums of a register tile."""
        kind = BroadcastProducts if self.at_once == 1 else _LaneProducts
        return kind(fn, self, panel, rows, stride)

    def load_weights(self, fn: Fn, address: ir.Value, lanes: int) -> ir.Value:
        """Load the packed weights of one vector."""
        return load_wide(fn, self.weights, address, lanes)

    def load(self, fn: Fn, address: ir.Value, count: int) -> ir.Value:
        """Load one activation."""
        return fn.load(F32, address)

    def accumulate(self, fn: Fn, sums: ir.Value, activations: ir.Value, weights: ir.Value) -> ir.Value:
        """Return the sums plus the products."""
        return fn.fma(fn.splat(activations, lanes_of(weights)), weights, sums)


@dataclass(frozen=True, slots=True)
class PairDot(Dot):
    """Products of pairs of bfloat16, summed in float32."""

    @property
    def layout(self) -> Layout:
        """How weights lie."""
        return Layout(2, np.dtype(np.uint16))

    @property
    def element_bytes(self) -> int:
        """Bytes of one activation."""
        return 2

    def load_weights(self, fn: Fn, address: ir.Value, lanes: int) -> ir.Value:
        """Load the packed weights of one vector."""
        return fn.load(vector(I32, lanes), address)

    def load(self, fn: Fn, address: ir.Value, count: int) -> ir.Value:
        """Load a pair of activations, or the last one alone: there may be nothing behind it."""
        if count == 1:
            return fn.b.zext(fn.load(I16, address), I32)
        return fn.load(I32, address, align=2)

    def accumulate(self, fn: Fn, sums: ir.Value, activations: ir.Value, weights: ir.Value) -> ir.Value:
        """Return the sums plus the products."""
        return dot_pairs(fn, sums, weights, fn.splat(activations, lanes_of(weights)))


FloatingDot: TypeAlias = FloatDot | PairDot


class _LaneProducts(BroadcastProducts):
    """Products whose second factor is a lane of a register that holds several activations of a pixel."""

    dot: FloatDot

    def many(self, pixels: ir.Value, weights: ir.Value, steps: int, sums: list[ir.Value]) -> tuple[int, list[ir.Value]]:
        """Add the products of as many steps as whole registers hold."""
        lanes = self.dot.at_once
        stop = steps // lanes * lanes
        if not stop:
            return 0, sums
        return stop, self.fn.loop_carry(0, stop, lanes, sums, lambda k, v: self._long_step(pixels, weights, k, v))

    def _long_step(self, pixels: ir.Value, weights: ir.Value, first: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
        fn, lanes, updated = self.fn, self.dot.at_once, list(sums)
        start = fn.at(pixels, fn.mul(first, self.word))
        places = [fn.at(start, row * self.stride) for row in range(self.rows)]
        held = [fn.load(vector(F32, lanes), place) for place in places]
        for i in range(lanes):
            block = fn.at(weights, fn.mul(fn.add(first, i), self.step_bytes))
            for v, (lane, n) in enumerate(self.lanes):
                w = self.dot.load_weights(fn, fn.at(block, lane * self.lane_bytes), n)
                for row, x in enumerate(held):
                    at = row * len(self.lanes) + v
                    updated[at] = fn.fma(fn.lane(x, i, n), w, updated[at])
        return updated
