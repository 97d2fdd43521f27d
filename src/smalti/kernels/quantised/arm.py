"""Register tiles of integer matrix kernels on Arm CPUs.

* Every CPU multiplies 16-bit integers, four at a time; activations are widened as they are loaded.
* ``dotprod`` multiplies signed bytes only, so activations are read with their highest bit flipped, which makes them
  ``x - 128``; what that takes from a sum is known beforehand and goes into the bias (:attr:`Dot.shift`).
* ``i8mm`` multiplies unsigned by signed bytes: four in each lane, or 2 x 8 by 8 x 2 matrices, whose results stay in
  that form (two pixels by two channels) until the sums are complete.

All take the factor that lanes share from a part of a register, so 8 or 16 activations of a pixel are loaded at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from smalti.kernels.quantised.dot import Dot, DotKind
from smalti.llvm.builder import I8, I16, I32, I64, Fn, named_intrinsic, vector

BYTES = vector(I8, 16)
LANES = 4
_WORDS, _PAIRS = vector(I32, LANES), vector(I64, 2)


@dataclass(frozen=True, slots=True)
class ElementTile:
    """Sums of ``rows`` pixels, ``stride`` bytes apart, by ``vectors`` vectors of four channels."""

    fn: Fn
    dot: Dot
    rows: int
    stride: int
    vectors: int

    def begin(self, biases: Sequence[ir.Value]) -> list[ir.Value]:
        """Return the first sums, in the form that :meth:`run` takes."""
        if self.dot.kind is not DotKind.MATRIX:
            return list(biases) * self.rows
        halves = [half for bias in biases for half in self._halves(bias)]
        return halves * self._pairs

    def end(self, sums: Sequence[ir.Value]) -> list[ir.Value]:
        """Return the sums pixel after pixel, each ``vectors`` vectors."""
        if self.dot.kind is not DotKind.MATRIX:
            return list(sums)
        result: list[ir.Value] = []
        for row in range(self.rows):
            base = row // 2 * 2 * self.vectors
            for v in range(self.vectors):
                result.append(self._picked(sums[base + 2 * v], sums[base + 2 * v + 1], row % 2))
        return result

    def run(
        self, pixels: ir.Value, weights: ir.Value, length: int, slack: bool, sums: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """Add the products of ``length`` consecutive activations of every pixel.

        With ``slack`` the bytes behind them that complete a group may be read.
        """
        fn, group = self.fn, self.dot.group
        whole = -(-length // group) * group if slack else length // group * group
        lane_bytes = self.dot.lane_bytes * LANES * self.vectors // group
        long = self._long
        loops, done = whole // long, whole // long * long
        carried = list(sums)
        if loops:

            def body(k: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
                start = fn.at(pixels, fn.mul(k, long))
                return self._step(start, fn.at(weights, fn.mul(k, long * lane_bytes)), long, values)

            carried = fn.loop_carry(0, loops, 1, carried, body)
        for count in (8, 4):
            if whole - done >= count:
                carried = self._step(fn.at(pixels, done), fn.at(weights, done * lane_bytes), count, carried)
                done += count
        if length > done:
            carried = self._step(fn.at(pixels, done), fn.at(weights, done * lane_bytes), length - done, carried)
        return carried

    @property
    def _long(self) -> int:
        """Activations that are loaded at once."""
        return 8 if self.dot.kind is DotKind.SINGLE else 16

    @property
    def _pairs(self) -> int:
        return -(-self.rows // 2)

    def _step(self, pixels: ir.Value, weights: ir.Value, count: int, sums: Sequence[ir.Value]) -> list[ir.Value]:
        """Add the products of ``count`` activations, at most 16."""
        held = [self._activations(self.fn.at(pixels, row * self.stride), count) for row in range(self.rows)]
        if self.dot.kind is DotKind.MATRIX:
            return self._matrix_step(held, weights, -(-count // self.dot.group), sums)
        updated, fn = list(sums), self.fn
        for g in range(-(-count // self.dot.group)):
            spread = [self._spread(x, g) for x in held]
            for v in range(self.vectors):
                place = fn.at(weights, (g * self.vectors + v) * LANES * self.dot.lane_bytes)
                w = self.dot.load_weights(fn, place, LANES)
                for row, x in enumerate(spread):
                    at = row * self.vectors + v
                    updated[at] = self.dot.accumulate(fn, updated[at], x, w)
        return updated

    def _matrix_step(
        self, held: Sequence[ir.Value], weights: ir.Value, groups: int, sums: Sequence[ir.Value]
    ) -> list[ir.Value]:
        fn, updated = self.fn, list(sums)
        for g in range(groups):
            pairs = [self._picked(held[i], held[min(i + 1, self.rows - 1)], g) for i in range(0, self.rows, 2)]
            for v in range(2 * self.vectors):
                w = fn.load(BYTES, fn.at(weights, (g * 2 * self.vectors + v) * 2 * self.dot.lane_bytes))
                for pair, x in enumerate(pairs):
                    at = pair * 2 * self.vectors + v
                    name = "llvm.aarch64.neon.usmmla.v4i32.v16i8"
                    updated[at] = named_intrinsic(fn, name, _WORDS, updated[at], x, w)
        return updated

    def _activations(self, address: ir.Value, count: int) -> ir.Value:
        """Load ``count`` bytes and nothing behind them into a vector, as the dot product takes them."""
        value = self._loaded(address, count)
        if self.dot.kind is DotKind.SINGLE:
            return self.fn.b.zext(self.fn.first_lanes(value, 8), vector(I16, 8))
        return self.dot.take(self.fn, value)

    def _loaded(self, address: ir.Value, count: int) -> ir.Value:
        fn = self.fn
        if count == 16:
            value = fn.load(BYTES, address)
        elif count in (8, 4):
            element = I64 if count == 8 else I32
            value = self._first(fn.load(element, address, align=1), element)
        else:
            value = ir.Constant(BYTES, None)
            for i in range(count):
                value = fn.b.insert_element(value, fn.load(I8, fn.at(address, i)), ir.Constant(I32, i))
        return value

    def _first(self, word: ir.Value, element: ir.Type) -> ir.Value:
        kind = vector(element, 128 // element.width)
        return self.fn.b.bitcast(self.fn.b.insert_element(ir.Constant(kind, None), word, ir.Constant(I32, 0)), BYTES)

    def _spread(self, value: ir.Value, group: int) -> ir.Value:
        """Return the activations of a group in every lane."""
        b = self.fn.b
        if self.dot.kind is DotKind.SINGLE:
            return self.fn.lane(value, group, LANES)
        return b.bitcast(self.fn.lane(b.bitcast(value, _WORDS), group, LANES), BYTES)

    def _picked(self, a: ir.Value, b: ir.Value, half: int) -> ir.Value:
        """Return one half of each of two vectors, in the type they have."""
        build = self.fn.b
        mask = ir.Constant(vector(I32, 2), [half, 2 + half])
        both = build.shuffle_vector(build.bitcast(a, _PAIRS), build.bitcast(b, _PAIRS), mask)
        return build.bitcast(both, a.type)

    def _halves(self, value: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return each half of a vector of four twice."""
        return self._picked(value, value, 0), self._picked(value, value, 1)
