"""Which layer of one graph stands where which layer of another does: two exports of one network, layer by layer.

Names differ between formats, so layers are paired by structure: the inputs first, then every two layers of one kind
whose operands are paired.  Where several fit, as branches that read one tensor do, equal weights decide, then the
order.  After a gap the walk goes on from layers that have the same weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.ir import ops
from smalti.ir.dims import Dim
from smalti.ir.graph import Graph, Node

Array = NDArray[Any]
MOVED = (ops.Reshape, ops.Transpose)
"""Operations that only move data: where channels stand is no difference of two networks."""
SAME_WEIGHTS = 1e-3
"""Weights this close, as a share of the largest, are those of one layer: each exporter folds scales in its own way."""

_DILATION, _WINDOW_RANK, _SAME_SUM = "dilation", 4, 0.01
_Key = tuple[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class LayerPair:
    """Two layers that stand in the same place.

    Attributes:
        first, second: their nodes in the canonical graphs.
        settings: what is set otherwise, in words: ``dilation (2, 2), not (1, 1)``.
        written: what is written otherwise and means the same, as a dilation and weights with zeros between them do.
    """

    first: Node
    second: Node
    settings: tuple[str, ...]
    written: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Pairing:
    """Paired layers in the order of the first graph, and the layers of each graph that have no counterpart."""

    pairs: tuple[LayerPair, ...]
    only_first: tuple[Node, ...]
    only_second: tuple[Node, ...]


def pair_layers(first: Graph, second: Graph) -> Pairing:
    """Pair the layers of two canonical graphs."""
    walk = _Walk(first, second)
    walk.run()
    pairs = tuple(LayerPair(a, b, *what_differs(a, b)) for a, b in walk.layers())
    there, here = {pair.second for pair in pairs}, {pair.first for pair in pairs}
    return Pairing(
        pairs,
        tuple(node for node in walk.nodes[0] if node not in here),
        tuple(node for node in walk.nodes[1] if node not in there),
    )


def what_differs(a: Node, b: Node) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what two layers of one kind have set otherwise, and what is only written otherwise.

    Sizes that depend on the picture are not compared.
    """
    found: list[str] = []
    written: list[str] = []
    far = _weights_apart(a, b)
    spread = far is not None and _shapes(a) != _shapes(b)
    for name in (str(field) for field in getattr(type(a.op), "__dataclass_fields__", ())):
        ours, theirs = getattr(a.op, name), getattr(b.op, name, None)
        if ours != theirs and not _is_open(ours) and not _is_open(theirs):
            kept = written if spread and name == _DILATION else found
            kept.append(f"{name} {_text(ours)}, not {_text(theirs)}")
    if spread:
        written.append(f"weights {_shapes(a)[0]}, not {_shapes(b)[0]}: zeros stand between them")
    if far is None:
        found.append(f"weights {_text(_shapes(a))}, not {_text(_shapes(b))}")
    elif far > SAME_WEIGHTS:
        found.append(f"weights differ by {far:.2g} of the largest")
    return tuple(found), tuple(written)


class _Walk:
    def __init__(self, first: Graph, second: Graph) -> None:
        self.nodes = (_layers(first), _layers(second))
        self.number: dict[Node, int] = {}
        self.partner: dict[Node, Node] = {}
        self.sizes: dict[Node, float] = {}
        self.ready: dict[_Key, list[Node]] = defaultdict(list)
        self.waiting: set[Node] = set(self.nodes[1])
        self.readers: dict[Node, list[Node]] = defaultdict(list)
        for node in self.nodes[1]:
            for operand in _operands(node):
                self.readers[operand].append(node)
        for a, b in zip(first.inputs, second.inputs, strict=False):
            self._join(a, b)

    def run(self) -> None:
        """Pair by structure, and after a gap by weights, until nothing more is found."""
        for node in self.nodes[1]:
            self._offer(node)
        while True:
            for node in self.nodes[0]:
                key = self._key(node)
                if node in self.partner or key is None:
                    continue
                found = min(self.ready[key], key=lambda other: _rank(node, other), default=None)
                if found is not None:
                    self.ready[key].remove(found)
                    self._join(node, found)
            if not self._resume():
                return

    def layers(self) -> Iterator[tuple[Node, Node]]:
        """Yield the pairs in the order of the first graph."""
        for node in self.nodes[0]:
            if node in self.partner:
                yield node, self.partner[node]

    def _join(self, a: Node, b: Node) -> None:
        self.number[a] = self.number[b] = len(self.partner)
        self.partner[a] = b
        self.waiting.discard(b)
        for reader in self.readers[b]:
            self._offer(reader)

    def _offer(self, node: Node) -> None:
        """Put a layer of the second graph among those that can be paired, once all it reads is."""
        key = self._key(node)
        if node in self.waiting and key is not None:
            self.waiting.discard(node)
            self.ready[key].append(node)

    def _key(self, node: Node) -> _Key | None:
        numbers = [self.number.get(operand) for operand in _operands(node)]
        known = [n for n in numbers if n is not None]
        if len(known) < len(numbers):
            return None
        # Sums and products take their operands in any order.
        return type(node.op).__name__, tuple(sorted(known) if isinstance(node.op, ops.Binary) else known)

    def _resume(self) -> bool:
        """Pair the first two layers with the same weights that structure did not reach."""
        left = [node for held in self.ready.values() for node in held] + [n for n in self.nodes[1] if n in self.waiting]
        for node in self.nodes[0]:
            if node in self.partner or not _weights(node):
                continue
            for other in left:
                alike = type(node.op) is type(other.op) and self._near(node, other)
                far = _weights_apart(node, other) if alike else None
                if far is not None and far <= SAME_WEIGHTS:
                    for held in self.ready.values():
                        if other in held:
                            held.remove(other)
                    self._join(node, other)
                    return True
        return False

    def _near(self, a: Node, b: Node) -> bool:
        """Whether weights could be the same, by one sum of each: most pairs need no second look."""
        for node in (a, b):
            if node not in self.sizes:
                self.sizes[node] = float(sum(np.abs(value).sum() for value in _values(node)))
        largest = max(self.sizes[a], self.sizes[b])
        return bool(abs(self.sizes[a] - self.sizes[b]) <= _SAME_SUM * largest)


def _layers(graph: Graph) -> tuple[Node, ...]:
    return tuple(n for n in graph.nodes() if not isinstance(n.op, (ops.Constant, ops.Input, *MOVED)))


def _operands(node: Node) -> tuple[Node, ...]:
    """Return what a layer reads that is computed, before it was moved."""
    return tuple(found for found in map(_unmoved, node.inputs) if not isinstance(found.op, ops.Constant))


def _unmoved(node: Node) -> Node:
    while isinstance(node.op, MOVED):
        node = node.inputs[0]
    return node


def _weights(node: Node) -> list[Node]:
    return [found for found in node.inputs if isinstance(found.op, ops.Constant) and found.op.value.size > 1]


def _weights_apart(a: Node, b: Node) -> float | None:
    """Return how far the weights of two layers are apart, as a share of the largest; ``None``: of other shapes."""
    ours, theirs = _values(a), _values(b)
    if [v.shape for v in ours] != [v.shape for v in theirs]:
        ours, theirs = _spread(a, ours), _spread(b, theirs)
    if [v.shape for v in ours] != [v.shape for v in theirs]:
        return None
    worst = 0.0
    for p, q in zip(ours, theirs, strict=True):
        largest = max(float(np.abs(p).max()), float(np.abs(q).max())) or 1.0
        worst = max(worst, float(np.abs(p - q).max()) / largest)
    return worst


def _values(node: Node) -> list[Array]:
    return [n.op.value.astype(np.float64) for n in _weights(node) if isinstance(n.op, ops.Constant)]


def _shapes(node: Node) -> list[list[int]]:
    return [list(value.shape) for value in _values(node)]


def _spread(node: Node, values: list[Array]) -> list[Array]:
    """Return the weights of a dilated window as those of a window without: with zeros between them."""
    down, right = getattr(node.op, _DILATION, (1, 1))
    if not values or values[0].ndim < _WINDOW_RANK or (down, right) == (1, 1):
        return values
    window = values[0]
    height, width = ((size - 1) * step + 1 for size, step in zip(window.shape, (down, right), strict=False))
    whole = np.zeros((height, width, *window.shape[2:]))
    whole[::down, ::right] = window
    return [whole, *values[1:]]


def _rank(node: Node, other: Node) -> tuple[bool, bool, float]:
    """Order candidates: the same result, the same settings, the nearest weights; then the order of the graph."""
    far = _weights_apart(node, other)
    return node.type != other.type, node.op != other.op, float("inf") if far is None else far


def _is_open(value: object) -> bool:
    return isinstance(value, Dim) or (isinstance(value, tuple) and any(map(_is_open, value)))


def _text(value: object) -> str:
    shown = str(getattr(value, "value", value))
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
