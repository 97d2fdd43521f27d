"""Finds the tensors that a user names; where there is none, says which there are."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable
from typing import Any

from smalti.errors import GraphError, UsageError
from smalti.frontend.format import RawGraph
from smalti.frontend.importing.selection import unread_nodes
from smalti.frontend.kinds import ElementKind
from smalti.frontend.raw import Edge, RawNode, Role
from smalti.frontend.words import shorten
from smalti.numerics import DType

SHOWN = 6
MAX_INPUTS_SHOWN = 32
_NEAREST = 3
# The search for similar names looks at so many names, of so many characters each: the file is not trusted.
_MOST_COMPARED = 4000
_NAME_COMPARED = 200
_ALIKE = 0.6


def find_tensor(raw: RawGraph[Any], name: str, option: str) -> Edge:
    """Return the tensor that ``option`` names.

    Raises:
        UsageError: it is no tensor's name, or the graph has no such node; the text has the nearest names and the
            graph's own inputs and outputs.
    """
    rule = raw.name_rule(name)
    if rule is not None:
        raise UsageError(f"{option}: {shorten(name)} is not the name of a tensor; {rule}")
    found = raw.tensor(name)
    if found is not None:
        return found
    near = nearest(raw, name)
    alike = f"; the nearest names are {', '.join(near)}" if near else ""
    raise UsageError(
        f"{option}: the graph has no node for the tensor {shorten(name)}{alike}; {inputs_text(raw, SHOWN)}; "
        f"{_outputs_text(raw)}"
    )


def nearest(raw: RawGraph[Any], name: str) -> list[str]:
    """Return the names of at most three nodes that look most like ``name``."""
    wanted = name.partition(":")[0][:_NAME_COMPARED]
    low, last = wanted.lower(), wanted.lower().rpartition("/")[2]
    same = heapq.nsmallest(
        _NEAREST,
        (n.name for n in raw.nodes if low and (low in n.name.lower() or n.name.lower().rpartition("/")[2] == last)),
        key=lambda other: (abs(len(other) - len(wanted)), other),
    )
    closest = heapq.nsmallest(
        _MOST_COMPARED,
        (n.name for n in raw.nodes if len(n.name) <= _NAME_COMPARED),
        key=lambda other: abs(len(other) - len(wanted)),
    )
    alike = difflib.get_close_matches(wanted, closest, _NEAREST, _ALIKE)
    return [shorten(found) for found in dict.fromkeys([*alike, *same])][:_NEAREST]


def inputs_text(raw: RawGraph[Any], most: int = MAX_INPUTS_SHOWN) -> str:
    """Return the inputs of the graph with their types, in words."""
    found = [describe(raw, node) for node in raw.nodes if node.role in (Role.INPUT, Role.DEFAULT)]
    return f"the inputs of the graph are {_list(found, most)}" if found else "the graph has no inputs"


def input_advice(raw: RawGraph[Any]) -> str:
    """Return what to do about inputs that cannot be imported as they are: the options, and all inputs."""
    flags = [n.name for n in raw.nodes if n.role is Role.INPUT and _is_flag(raw, n)]
    example = f"--bind {flags[0]}=false" if flags and len(flags[0]) <= _NAME_COMPARED else "--bind NAME=VALUE"
    return f"{inputs_text(raw)}; --input-shape NAME=1x720x1280x3 gives one its shape, {example} makes one a constant"


def describe(raw: RawGraph[Any], node: RawNode) -> str:
    """Return the name and the type of an input: ``is_training bool[]``, ``x float32[1, ?, ?, 3]``."""
    kind = _kind(raw, node)
    label = "unknown" if kind is None else kind.label if kind.dtype is None else kind.dtype.value
    shape = raw.stated_shape((node.index, 0))
    sizes = "of unknown rank" if shape is None else f"[{', '.join('?' if s == -1 else str(s) for s in shape)}]"
    name = node.name if len(node.name) <= _NAME_COMPARED else shorten(node.name)
    return f"{name} {label}{'' if shape is not None else ' '}{sizes}"


def _kind(raw: RawGraph[Any], node: RawNode) -> ElementKind | None:
    try:
        return raw.stated_kind((node.index, 0))
    except GraphError:
        return None


def _is_flag(raw: RawGraph[Any], node: RawNode) -> bool:
    kind = _kind(raw, node)
    return kind is not None and kind.dtype is DType.BOOL


def _outputs_text(raw: RawGraph[Any]) -> str:
    found = unread_nodes(raw, with_controls=False)
    return (
        f"its outputs are {_list([_output(raw, n) for n in found], SHOWN)}"
        if found
        else "every tensor is read by another"
    )


def _output(raw: RawGraph[Any], node: RawNode) -> str:
    kind = _kind(raw, node)
    name = node.name if len(node.name) <= _NAME_COMPARED else shorten(node.name)
    return name if kind is None or kind.dtype is None else f"{name} {kind.dtype.value}"


def _list(found: Iterable[str], most: int) -> str:
    items = list(found)
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
