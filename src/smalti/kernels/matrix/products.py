"""What a dot product is to the matrix core, and the sums of a register tile for those that broadcast activations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

from llvmlite import ir

from smalti.kernels.matrix.shapes import Layout, Panel
from smalti.llvm.builder import F32, Fn


class Products(Protocol):
    """The sums of a register tile while its function is written: pixel after pixel, a value for each vector."""

    def begin(self, first: Sequence[ir.Value]) -> list[ir.Value]:
        """Return the first sums of all pixels, in the form that :meth:`run` takes."""
        ...

    def run(
        self, pixels: ir.Value, weights: ir.Value, length: int, slack: bool, sums: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """Add the products of ``length`` consecutive activations of every pixel.

        With ``slack`` the bytes behind them that complete a step may be read.
        """
        ...

    def end(self, sums: Sequence[ir.Value]) -> list[ir.Value]:
        """Return the sums pixel after pixel."""
        ...


class Dot(ABC):
    """A dot product, whose subclasses are frozen values: how products are summed and how weights lie.

    ``element_bytes`` are those of one activation as the products read it; ``tails`` the pixels of the tiles that
    compute what is left of a run of pixels, most first, the last 1.
    """

    __slots__ = ()
    sum_type: ClassVar[ir.Type] = F32
    tails: ClassVar[tuple[int, ...]] = (4, 1)

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """How weights lie."""

    @property
    @abstractmethod
    def element_bytes(self) -> int:
        """Bytes of one activation."""

    def products(self, fn: Fn, panel: Panel, rows: int, stride: int) -> Products:
        """Return the sums of ``rows`` pixels, ``stride`` bytes apart, by a panel."""
        return BroadcastProducts(fn, self, panel, rows, stride)

    @abstractmethod
    def load_weights(self, fn: Fn, address: ir.Value, lanes: int) -> ir.Value:
        """Load the packed weights of one vector."""

    @abstractmethod
    def load(self, fn: Fn, address: ir.Value, count: int) -> ir.Value:
        """Load ``count`` activations of a step and nothing behind them."""

    @abstractmethod
    def accumulate(self, fn: Fn, sums: ir.Value, activations: ir.Value, weights: ir.Value) -> ir.Value:
        """Return the sums plus the products of one step; all lanes take the same activations."""


class BroadcastProducts:
    """A step loads each weight vector once and takes the few activations of each pixel into all lanes."""

    def __init__(self, fn: Fn, dot: Dot, panel: Panel, rows: int, stride: int) -> None:
        self.fn, self.dot, self.lanes, self.rows, self.stride = fn, dot, panel.lanes, rows, stride
        self.word = dot.layout.group * dot.element_bytes
        self.lane_bytes = dot.layout.lane_bytes
        self.step_bytes = panel.width * self.lane_bytes

    def begin(self, first: Sequence[ir.Value]) -> list[ir.Value]:
        """Return the first sums of all pixels."""
        return list(first) * self.rows

    def end(self, sums: Sequence[ir.Value]) -> list[ir.Value]:
        """Return the sums."""
        return list(sums)

    def run(
        self, pixels: ir.Value, weights: ir.Value, length: int, slack: bool, sums: Sequence[ir.Value]
    ) -> list[ir.Value]:
        """Add the products of a run; what is left behind whole steps is loaded alone, without a byte to spare."""
        fn, group = self.fn, self.dot.layout.group
        whole = -(-length // group) if slack else length // group
        rest = 0 if slack else length % group
        done, carried = self.many(pixels, weights, whole, list(sums))
        if done < whole:

            def body(k: ir.Value, values: list[ir.Value]) -> list[ir.Value]:
                block = fn.at(weights, fn.mul(k, self.step_bytes))
                return self._step(fn.at(pixels, fn.mul(k, self.word)), block, group, values)

            carried = fn.loop_carry(done, whole, 1, carried, body)
        if rest:
            block = fn.at(weights, whole * self.step_bytes)
            carried = self._step(fn.at(pixels, whole * self.word), block, rest, carried)
        return carried

    def many(self, pixels: ir.Value, weights: ir.Value, steps: int, sums: list[ir.Value]) -> tuple[int, list[ir.Value]]:
        """Add the products of some of the first steps at once; return how many, and the sums."""
        return 0, sums

    def _step(self, pixels: ir.Value, weights: ir.Value, count: int, sums: Sequence[ir.Value]) -> list[ir.Value]:
        fn, dot = self.fn, self.dot
        held = [dot.load_weights(fn, fn.at(weights, start * self.lane_bytes), n) for start, n in self.lanes]
        updated: list[ir.Value] = []
        for row in range(self.rows):
            x = dot.load(fn, fn.at(pixels, row * self.stride), count)
            for i, w in enumerate(held):
                updated.append(dot.accumulate(fn, sums[row * len(held) + i], x, w))
        return updated
