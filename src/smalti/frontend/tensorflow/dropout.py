"""Dropout that an export left active: found by what it computes, and taken out.

Versions of TensorFlow write it in different ways: ``x / keep * floor(keep + u)``, ``x * scale * cast(u >= rate)``,
``select(u >= rate, x * scale, 0)``, with random numbers ``u``.  What they share is a mask that follows from ``u`` and
single numbers alone, is 0 or 1, and is 1 as often as the scale makes up for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.errors import GraphError
from smalti.frontend.raw import Edge, RawNode, Role
from smalti.frontend.tensorflow.attrs import AttrReader
from smalti.frontend.tensorflow.graphdef import NodeDef
from smalti.frontend.tensorflow.tensors import decode_tensor

RANDOM = frozenset(("RandomUniform", "StatelessRandomUniform", "StatelessRandomUniformV2"))
DOMAIN = "dropout"
"""The domain that the random numbers of a dropout get, so that the list of unsupported nodes says what they are."""
_GRID: NDArray[np.float64] = (np.arange(1000) + 0.5) / 1000
_PROBES = (0.3, 0.7)
"""What single numbers that are open are taken to be: a dropout stays one for every rate."""
_TOLERANCE = 0.002
"""How far the share of a grid of numbers and the scale may be apart."""
_MOST_STEPS = 64
_MOST_BYTES = 64
Numbers = NDArray[np.float64]
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "AddV2": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "RealDiv": np.divide,
    "Div": np.divide,
    "Reciprocal": np.reciprocal,
    "Inv": np.reciprocal,
    "Floor": np.floor,
    "GreaterEqual": np.greater_equal,
    "Greater": np.greater,
    "LessEqual": np.less_equal,
    "Less": np.less,
    "Cast": np.positive,
    "Identity": np.positive,
    "StopGradient": np.positive,
}


@dataclass(frozen=True, slots=True)
class Dropout:
    """A dropout: the node of its result, the tensor that it drops elements of, its sources of random numbers."""

    node: int
    data: Edge
    random: frozenset[int]


def find_dropouts(nodes: Sequence[RawNode]) -> tuple[Dropout, ...]:
    """Return the dropouts among the nodes of a graph, in its order."""
    if not any(node.op in RANDOM for node in nodes):
        return ()
    found = (_dropout_of(nodes, node) for node in nodes if node.op in ("Mul", "SelectV2", "Select"))
    return tuple(dropout for dropout in found if dropout is not None)


def without(nodes: Sequence[RawNode], dropouts: Sequence[Dropout]) -> list[RawNode]:
    """Return nodes of which the dropouts give what they are given, without scale.

    Nobody reads the masks and scaled tensors any more, but that makes them no results of the graph.
    """
    result = list(nodes)
    for dropout in dropouts:
        old = result[dropout.node]
        for index in {edge[0] for edge in old.operands} - {dropout.data[0]}:
            if result[index].role is Role.OPERATION:
                result[index] = replace(result[index], role=Role.SILENT)
        result[dropout.node] = replace(old, op="Identity", inputs=(dropout.data,), message=NodeDef())
    return result


def named(nodes: Sequence[RawNode], dropouts: Sequence[Dropout]) -> list[RawNode]:
    """Return nodes of which the random numbers of dropouts are said to be that."""
    result = list(nodes)
    for index in sorted(frozenset[int]().union(*(dropout.random for dropout in dropouts))):
        result[index] = replace(result[index], domain=DOMAIN)
    return result


def _dropout_of(nodes: Sequence[RawNode], node: RawNode) -> Dropout | None:
    operands = node.inputs
    if node.op == "Mul":
        choices = [(operands[0], operands[1]), (operands[1], operands[0])] if len(operands) == 2 else []
    else:
        choices = [(operands[0], operands[1])] if len(operands) == 3 and _is_zero(nodes, operands[2]) else []
    for mask, scaled in choices:
        if mask is None or scaled is None:
            continue
        random = _sources(nodes, mask)
        data = _unscaled(nodes, mask, scaled) if random else None
        if data is not None:
            return Dropout(node.index, data, random)
    return None


def _sources(nodes: Sequence[RawNode], mask: Edge) -> frozenset[int]:
    """Return the random numbers that a mask is computed from; none where it is not 0 or 1 for each."""
    walk = _Walk(nodes, _PROBES[0])
    values = walk.numbers(mask)
    if values is None or values.shape != _GRID.shape or not np.isin(values, (0.0, 1.0)).all():
        return frozenset()
    return frozenset(walk.random)


def _unscaled(nodes: Sequence[RawNode], mask: Edge, scaled: Edge) -> Edge | None:
    """Return the tensor before the scale that makes up for the mask, whatever the open numbers are."""
    above = nodes[scaled[0]]
    if above.op not in ("Mul", "RealDiv", "Div") or len(above.operands) != 2 or len(above.inputs) != 2:
        return None
    pairs = [(above.operands[0], above.operands[1])]
    if above.op == "Mul":
        pairs.append((above.operands[1], above.operands[0]))
    for data, factor in pairs:
        if all(_makes_up(nodes, mask, factor, above.op != "Mul", probe) for probe in _PROBES):
            return data
    return None


def _makes_up(nodes: Sequence[RawNode], mask: Edge, factor: Edge, divides: bool, probe: float) -> bool:
    kept, scale = _Walk(nodes, probe).numbers(mask), _Walk(nodes, probe).numbers(factor)
    if kept is None or scale is None or scale.shape != () or not scale > 0:
        return False
    wanted = float(scale) if divides else 1.0 / float(scale)
    return abs(float(kept.mean()) - wanted) <= _TOLERANCE


def _is_zero(nodes: Sequence[RawNode], edge: Edge | None) -> bool:
    values = None if edge is None else _Walk(nodes, _PROBES[0]).numbers(edge)
    return values is not None and bool((values == 0).all())


@dataclass(slots=True)
class _Walk:
    """Computes what follows from single numbers and random ones; an open number is ``probe``."""

    nodes: Sequence[RawNode]
    probe: float
    random: set[int] = field(default_factory=set)
    _known: dict[int, Numbers | None] = field(default_factory=dict)

    def numbers(self, edge: Edge) -> Numbers | None:
        """Return a single number, or one for each of the grid; ``None`` for anything else."""
        index, output = edge
        if output != 0:
            return None
        if index not in self._known:
            if len(self._known) >= _MOST_STEPS:
                return None
            # Until it is known, what depends on itself is nothing.
            self._known[index] = None
            self._known[index] = self._computed(self.nodes[index])
        return self._known[index]

    def _computed(self, node: RawNode) -> Numbers | None:
        if node.op in RANDOM:
            self.random.add(node.index)
            return _GRID
        if node.op == "Const":
            return _constant(node)
        if node.role in (Role.INPUT, Role.DEFAULT):
            return np.array(self.probe)
        function = _FUNCTIONS.get(node.op)
        if function is None or not node.operands:
            return None
        values = [self.numbers(edge) for edge in node.operands]
        known = [value for value in values if value is not None]
        if len(known) != len(values) or len(known) != (function.nin if isinstance(function, np.ufunc) else 0):
            return None
        with np.errstate(all="ignore"):
            return np.asarray(function(*known), np.float64)


def _constant(node: RawNode) -> Numbers | None:
    try:
        _, array, _ = decode_tensor(AttrReader(node.message.attr).tensor("value"), _MOST_BYTES, _MOST_BYTES)
    except (GraphError, ValueError):
        return None
    return np.asarray(array.reshape(()), np.float64) if array.size == 1 else None


REASON: Mapping[str, str] = {
    DOMAIN: "random numbers of a dropout that the export left active: --drop-dropout takes it out, or export the "
    "network for inference",
    "": "random numbers, which are other ones in every run: end the graph before it (--outputs)",
}
"""Why random numbers are refused, by domain."""
