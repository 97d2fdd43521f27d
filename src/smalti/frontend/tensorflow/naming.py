"""Finds the tensors that a user names; where there is none, says which there are."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable

from smalti.errors import GraphError, UsageError
from smalti.frontend.tensorflow.attrs import shorten
from smalti.frontend.tensorflow.rawgraph import Edge, RawGraph, RawNode, split_tensor_name
from smalti.frontend.tensorflow.selection import NEVER_OUTPUTS, PLACEHOLDERS, result_kind, stated_shape
from smalti.frontend.tensorflow.tensors import TfType

SHOWN = 6
MAX_INPUTS_SHOWN = 32
_NEAREST = 3
# The search for similar names looks at so many names, of so many characters each: the file is not trusted.
_MOST_COMPARED = 4000
_NAME_COMPARED = 200
_ALIKE = 0.6


def find_tensor(raw: RawGraph, name: str, option: str) -> Edge:
    """Return the tensor that ``option`` names.

    Raises:
        UsageError: it is no tensor's name, or the graph has no such node; the text has the nearest names and the
            graph's own inputs and outputs.
    """
    if split_tensor_name(name) is None:
        raise UsageError(
            f"{option}: {shorten(name)} is not the name of a tensor; names look like 'SemanticPredictions:0'"
        )
    found = raw.tensor(name)
    if found is not None:
        return found
    near = nearest(raw, name)
    alike = f"; the nearest names are {', '.join(near)}" if near else ""
    raise UsageError(
        f"{option}: the graph has no node for the tensor {shorten(name)}{alike}; {inputs_text(raw, SHOWN)}; "
        f"{_outputs_text(raw)}"
    )


def nearest(raw: RawGraph, name: str) -> list[str]:
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


def inputs_text(raw: RawGraph, most: int = MAX_INPUTS_SHOWN) -> str:
    """Return the inputs of the graph with their types, in words."""
    found = [describe(node) for node in raw.nodes if node.op in PLACEHOLDERS or node.op == "PlaceholderWithDefault"]
    return f"the inputs of the graph are {_list(found, most)}" if found else "the graph has no inputs"


def input_advice(raw: RawGraph) -> str:
    """Return what to do about inputs that cannot be imported as they are: the options, and all inputs."""
    flags = [n.name for n in raw.nodes if n.op in PLACEHOLDERS and _kind(n) is TfType.BOOL]
    example = f"--bind {flags[0]}=false" if flags and len(flags[0]) <= _NAME_COMPARED else "--bind NAME=VALUE"
    return f"{inputs_text(raw)}; --input-shape NAME=1x720x1280x3 gives one its shape, {example} makes one a constant"


def describe(node: RawNode) -> str:
    """Return the name and the type of an input: ``is_training bool[]``, ``x float32[1, ?, ?, 3]``."""
    kind = _kind(node)
    label = "unknown" if kind is None else kind.label if kind.dtype is None else kind.dtype.value
    shape = stated_shape(node)
    sizes = "of unknown rank" if shape is None else f"[{', '.join('?' if s == -1 else str(s) for s in shape)}]"
    name = node.name if len(node.name) <= _NAME_COMPARED else shorten(node.name)
    return f"{name} {label}{'' if shape is not None else ' '}{sizes}"


def _kind(node: RawNode) -> TfType | None:
    try:
        return result_kind(node)
    except GraphError:
        return None


def _outputs_text(raw: RawGraph) -> str:
    read = bytearray(len(raw.nodes))
    for node in raw.nodes:
        for below, _ in node.inputs:
            read[below] = 1
    found = [n for n in raw.nodes if not read[n.index] and n.op not in NEVER_OUTPUTS]
    return (
        f"its outputs are {_list([_output(n) for n in found], SHOWN)}" if found else "every tensor is read by another"
    )


def _output(node: RawNode) -> str:
    kind = _kind(node)
    name = node.name if len(node.name) <= _NAME_COMPARED else shorten(node.name)
    return name if kind is None or kind.dtype is None else f"{name} {kind.dtype.value}"


def _list(found: Iterable[str], most: int) -> str:
    items = list(found)
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
