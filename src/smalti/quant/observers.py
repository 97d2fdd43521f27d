"""Observing a network at work: a graph with taps on its float tensors, and what is kept of what they give.

Extremes and means of every channel are computed inside the engine over all values; a histogram is made outside of a
regular sample of at most :data:`SAMPLE` values an image, so the taps move few bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError, DataError
from smalti.ir import ops
from smalti.ir.dims import ceil_div, product
from smalti.ir.graph import Graph, Node
from smalti.ir.infer import make_node
from smalti.ir.sizes import evaluate, symbols_of
from smalti.numerics import DType
from smalti.quant.tail import tail_of

SAMPLE = 1 << 17
"""Most values of one tensor and image that go into its histogram."""

TYPICAL_SIZE = 513
"""Image side for which samples of a graph of any size are chosen."""

STATISTICS = (ops.ReduceFn.MIN, ops.ReduceFn.MAX, ops.ReduceFn.MEAN)
TAPS = len(STATISTICS) + 1
IMAGE_RANK = 4
BINS = 4096
"""Most cells of a histogram; there are more than half as many unless all values are the same."""

FINEST = -100
"""A histogram's cells are at least this power of two wide, so that their numbers fit float32."""

EXACT_BITS = 24
"""Numbers of cells stay below this power of two: float32 counts that far."""


def observed_nodes(graph: Graph) -> tuple[Node, ...]:
    """Return the nodes that calibration looks at: float32 tensors that are computed, but not what follows the logits.

    What follows the logits stays float32 in every mode and may be as large as the image.
    """
    tail, users = tail_of(graph), graph.users()

    def behind(node: Node) -> bool:
        return node in tail and not isinstance(node.op, ops.Conv2d)

    return tuple(
        node
        for node in graph.nodes()
        if node.type.dtype is DType.FLOAT32
        and not isinstance(node.op, ops.Constant)
        and node.type.rank > 0
        and isinstance(node.type.shape[-1], int)
        and not (behind(node) and all(behind(user) for user in users[node]))
    )


@dataclass(frozen=True, slots=True)
class Tapped:
    """A graph with taps.

    Attributes:
        graph: its outputs are low, high, mean ``[channels]`` and a sample of each observed tensor in turn, then the
            label map if there is one.
        nodes: the observed nodes.
        has_labels: whether the last output is a map of classes.
    """

    graph: Graph
    nodes: tuple[Node, ...]
    has_labels: bool


def tap(graph: Graph, nodes: Sequence[Node] | None = None) -> Tapped:
    """Return a canonical graph with taps on ``nodes`` (default: all that calibration looks at).

    Raises:
        DataError: nothing in this graph can be observed.
        CompilerError: two observed tensors have one name.
    """
    chosen = observed_nodes(graph) if nodes is None else tuple(nodes)
    if not chosen:
        raise DataError(
            "this graph computes no float32 tensor whose range could be observed: build it with --quant-mode "
            "force_float32"
        )
    names = {node.name for node in chosen}
    if len(names) != len(chosen):
        raise CompilerError("two observed tensors have the same name")
    # The taps of a node come before the next node in the order of execution, so no tensor is kept for them.
    outputs: list[Node] = []
    names_out: list[str] = []
    for number, node in enumerate(chosen):
        taps = [_channels(node, fn) for fn in STATISTICS] + [_sample(node)]
        outputs += taps
        names_out += [f"tap {number} {what}" for what in ("low", "high", "mean", "sample")]
    labels = _labels(graph)
    if labels is not None:
        outputs.append(labels)
        names_out.append("tap labels")
    made = replace(graph, outputs=tuple(outputs), output_names=tuple(names_out))
    return Tapped(made, chosen, labels is not None)


def _channels(node: Node, fn: ops.ReduceFn) -> Node:
    axes = tuple(range(node.type.rank - 1))
    if not axes:
        return make_node(ops.Reshape(node.type.shape), (node,), f"{node.name} ({fn.value})")
    return make_node(ops.Reduce(fn, axes, False), (node,), f"{node.name} ({fn.value})")


def _sample(node: Node) -> Node:
    """Return every n-th position of a tensor, with all its channels.

    The step is odd: an even one would meet the same phase of every pattern that a stride or a JPEG block leaves.
    """
    shape = node.type.shape
    middle = node.type.rank - 2
    symbols = set().union(*(symbols_of(size) for size in shape))
    elements = evaluate(product(shape), {s.name: min(TYPICAL_SIZE, s.high or TYPICAL_SIZE) for s in symbols})
    step = 1
    while middle > 0 and elements > SAMPLE * step**middle:
        step += 2
    steps = tuple(step if 0 < axis <= middle else 1 for axis in range(node.type.rank))
    size = tuple(ceil_div(s, n) for s, n in zip(shape, steps, strict=True))
    return make_node(ops.Slice((0,) * len(shape), size, steps), (node,), f"{node.name} (sample)")


def _labels(graph: Graph) -> Node | None:
    """Return a map of classes: an integer output, or the largest of a float output's channels."""
    for node in graph.outputs:
        if node.type.dtype.is_integer and node.type.rank > 1:
            return node
    for node in graph.outputs:
        channels = node.type.shape[-1] if node.type.rank == IMAGE_RANK else 1
        if node.type.dtype is DType.FLOAT32 and isinstance(channels, int) and channels > 1:
            return make_node(ops.ArgMax(IMAGE_RANK - 1, DType.INT32), (node,), f"{node.name} (labels)")
    return None


class Histogram:
    """Counts of values in cells ``[i * width, (i + 1) * width)``, where ``width`` is a power of two.

    When a value does not fit, cells are merged in pairs, so one pass is enough, and neither the order of the values
    nor how they come in parts changes the result.
    """

    def __init__(self) -> None:
        self._exponent: int | None = None
        self._zeros = 0
        self.first = 0
        self.counts: NDArray[np.int64] = np.zeros(0, np.int64)

    @property
    def width(self) -> float:
        """Width of a cell."""
        return 0.0 if self._exponent is None else math.ldexp(1.0, self._exponent)

    @property
    def starts(self) -> NDArray[np.float64]:
        """Where each cell begins."""
        return np.arange(self.first, self.first + self.counts.size, dtype=np.float64) * self.width

    @property
    def total(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    def add(self, values: NDArray[np.float32], low: float, high: float) -> None:
        """Count values, which all lie in ``[low, high]``."""
        if self._exponent is None and low == 0.0 == high:
            self._zeros += values.size
            return
        if self._zeros:
            low, high = min(low, 0.0), max(high, 0.0)
        self._reach(low, high)
        scaled = values.ravel() * np.float32(math.ldexp(1.0, -(self._exponent or 0)))
        if low < 0.0:
            np.floor(scaled, out=scaled)
        cells = scaled.astype(np.int64)
        cells -= self.first
        self.counts += np.bincount(cells, minlength=self.counts.size)
        self.counts[-self.first if self._zeros else 0] += self._zeros
        self._zeros = 0

    def _reach(self, low: float, high: float) -> None:
        """Widen and merge until both ends lie in a cell, and there are at most :data:`BINS` of them."""
        exponent = max(FINEST, math.frexp(max(-low, high, 0.0))[1] - EXACT_BITS)
        shift = 0
        begin, end = (math.floor(math.ldexp(v, -exponent)) for v in (low, high))
        if self._exponent is not None:
            finer = max(exponent, self._exponent)
            kept = finer - self._exponent
            begin, end = begin >> (finer - exponent), end >> (finer - exponent)
            begin, end = min(begin, self.first >> kept), max(end, (self.first + self.counts.size - 1) >> kept)
            exponent = finer
        while (end >> shift) - (begin >> shift) >= BINS:
            shift += 1
        self._rebin(exponent + shift, begin >> shift, (end >> shift) + 1)

    def _rebin(self, exponent: int, begin: int, end: int) -> None:
        if (exponent, begin, end) == (self._exponent, self.first, self.first + self.counts.size):
            return
        counts = np.zeros(end - begin, np.int64)
        if self._exponent is not None:
            where = ((np.arange(self.counts.size) + self.first) >> (exponent - self._exponent)) - begin
            np.add.at(counts, where, self.counts)
        self._exponent, self.first, self.counts = exponent, begin, counts


class TensorObserver:
    """What is kept of one tensor over all images."""

    def __init__(self, name: str, channels: int) -> None:
        self.name = name
        self.channel_low = np.full(channels, np.inf, np.float32)
        self.channel_high = np.full(channels, -np.inf, np.float32)
        self._sum = np.zeros(channels)
        self._images = 0
        self.histogram = Histogram()
        self.image_lows: list[float] = []
        self.image_highs: list[float] = []

    @property
    def low(self) -> float:
        """Lowest value seen."""
        return float(self.channel_low.min())

    @property
    def high(self) -> float:
        """Highest value seen."""
        return float(self.channel_high.max())

    @property
    def channel_mean(self) -> NDArray[np.float64]:
        """Mean of each channel over the images, each image counting the same."""
        return self._sum / max(self._images, 1)

    def add(
        self,
        low: NDArray[np.float32],
        high: NDArray[np.float32],
        mean: NDArray[np.float32],
        sample: NDArray[np.float32],
    ) -> None:
        """Take in one image.

        Raises:
            DataError: a value is infinite or not a number.
        """
        if not (np.isfinite(low).all() and np.isfinite(high).all() and np.isfinite(mean).all()):
            raise DataError(f"the network computes values of {self.name} that are infinite or not a number")
        np.minimum(self.channel_low, low, out=self.channel_low)
        np.maximum(self.channel_high, high, out=self.channel_high)
        self._sum += mean
        self._images += 1
        lowest, highest = float(low.min()), float(high.max())
        self.histogram.add(sample, lowest, highest)
        self.image_lows.append(lowest)
        self.image_highs.append(highest)


class Observer:
    """Takes in what a tapped graph gives for one image after another."""

    def __init__(self, tapped: Tapped) -> None:
        self._tapped = tapped
        self.tensors = [TensorObserver(node.name, _last(node)) for node in tapped.nodes]
        self.classes: set[int] = set()
        self.images = 0

    @property
    def has_labels(self) -> bool:
        """Whether classes are known."""
        return self._tapped.has_labels

    def add(self, outputs: Sequence[NDArray[Any]]) -> None:
        """Take in the outputs of one image, in the order of the tapped graph.

        Raises:
            DataError: a value is infinite or not a number.
        """
        for number, tensor in enumerate(self.tensors):
            low, high, mean, sample = outputs[TAPS * number : TAPS * (number + 1)]
            tensor.add(low, high, mean, sample)
        if self.has_labels:
            self.classes |= {int(label) for label in np.unique(outputs[-1])}
        self.images += 1


def _last(node: Node) -> int:
    return evaluate(node.type.shape[-1], {})
