"""The functions of a GraphDef's library: the nodes of each are put in the place of every call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.message import DecodeError

from smalti.errors import GraphError
from smalti.frontend.budget import GraphLimits
from smalti.frontend.fresh import FreshNames, shortened
from smalti.frontend.raw import Edge, RawNode, Role
from smalti.frontend.tensorflow.graphdef import FunctionDef, FunctionHead, NodeDef, has_more_nodes
from smalti.frontend.words import shorten

CALLS = frozenset(("PartitionedCall", "StatefulPartitionedCall"))
"""Operations whose attribute ``f`` names a function; an operation may have the name of a function itself, too."""
MAX_DEPTH = 48
"""Functions in each other."""
MAX_INPUTS = 65536
MOST_EDGES = 4_000_000
"""Inputs of all nodes of all calls."""
_NODE_TAG = 26
_OUTPUTS = {
    **dict.fromkeys(
        ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
        ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3"),
    ),
    "MaxPoolWithArgmax": ("output", "argmax"),
    "Merge": ("output", "value_index"),
    "Switch": ("output_false", "output_true"),
    "TopK": ("values", "indices"),
    "TopKV2": ("values", "indices"),
}
"""The results of operations that have more than one (not counting lists): in functions, edges name them."""


@dataclass(slots=True)
class Library:
    """The functions of a graph by name, each parsed when it is called for the first time."""

    stored: Mapping[str, bytes]
    max_nodes: int
    _parsed: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """Return a function.

        Raises:
            GraphError: there is none of this name, or it is damaged or too large; the text names it.
        """
        found = self._parsed.get(name)
        if found is not None:
            return found
        if name not in self.stored:
            raise GraphError(
                f"it calls the function {shorten(name)}, which the graph does not hold: freeze the model again, with "
                "its functions"
            )
        data = self.stored[name]
        if has_more_nodes(data, self.max_nodes, _NODE_TAG):
            raise GraphError(f"the function {shorten(name)} has more nodes than the limit, {self.max_nodes}")
        self._parsed[name] = found = _parse(FunctionDef, data, f"the function {shorten(name)}")
        return found


def library_of(message: Any, limits: GraphLimits) -> Library:
    """Return the functions of a GraphDef.

    Raises:
        GraphError: the library is damaged, or two functions have one name.
    """
    stored: dict[str, bytes] = {}
    for data in message.library.function:
        name = _text(_parse(FunctionHead, data, "a function of the library").signature.name, "the name of a function")
        if name in stored:
            raise GraphError(f"two functions are called {shorten(name)}")
        stored[name] = data
    return Library(stored, limits.max_nodes)


class Inliner:
    """Puts the nodes of functions behind those of the graph; use :meth:`run` once."""

    __slots__ = ("_active", "_edges", "_fresh", "_library", "_nodes", "_roles")

    def __init__(self, library: Library, nodes: list[RawNode], roles: Mapping[str, Role]) -> None:
        self._library = library
        self._nodes = nodes
        self._roles = roles
        self._fresh = FreshNames()
        self._active: list[str] = []
        self._edges = MOST_EDGES

    def run(self) -> list[RawNode]:
        """Return all nodes: a call has the results of its function as inputs.

        Raises:
            GraphError: a function that is not there, calls itself, or does not fit its call; too many nodes.
        """
        for node in self._nodes:
            self._fresh.take(node.name)
        for node in self._nodes[:]:
            self._expand(node.index)
        return self._nodes

    def _expand(self, index: int) -> None:
        """Put a function in the place of a node, if that calls one."""
        node = self._nodes[index]
        if not is_call(node.op, self._library):
            return
        try:
            results = self._call(node)
        except GraphError as error:
            text = str(error)
            raise GraphError(text if text.startswith("node ") else f"node {shorten(node.name)}: {text}") from error
        label = node.op if node.op in CALLS else "PartitionedCall"
        controls = (*node.controls, *results[1])
        self._nodes[index] = RawNode(index, node.name, label, results[0], controls, NodeDef(), node.role)

    def _call(self, node: RawNode) -> tuple[tuple[Edge, ...], tuple[int, ...]]:
        """Add the nodes of the function that a node calls; return its results, and the nodes of its arguments."""
        name = function_name(node)
        function = self._library.get(name)
        if name in self._active:
            raise GraphError(f"the function {shorten(name)} calls itself, which is not supported")
        if len(self._active) == MAX_DEPTH:
            raise GraphError(f"more than {MAX_DEPTH} functions call each other")
        signature = function.signature
        for arg in (*signature.input_arg, *signature.output_arg):
            if arg.number_attr or arg.type_list_attr:
                raise GraphError(
                    f"the function {shorten(name)} takes or gives a list of tensors, which is not supported"
                )
        if len(signature.input_arg) != len(node.inputs):
            raise GraphError(
                f"{len(node.inputs)} inputs for the function {shorten(name)} of {len(signature.input_arg)}"
            )
        self._active.append(name)
        scope = _Scope(shorten(name))
        for arg, edge in zip(signature.input_arg, node.inputs, strict=True):
            label = _text(arg.name, "the name of an argument")
            index = self._add(node.name, label, "Identity", NodeDef())
            self._set(index, (edge,), node.controls)
            scope.arguments[label] = index
        arguments = tuple(scope.arguments.values())
        bodies = [(self._add(node.name, *_named(m), m), m) for m in function.node_def]
        for index, message in bodies:
            label = _text(message.name, "the name of a node")
            if label in scope.nodes or label in scope.arguments:
                raise GraphError(f"two nodes of the function {scope.name} are called {shorten(label)}")
            scope.nodes[label] = (index, _named(message)[1])
        for index, message in bodies:
            self._connect(index, message, scope)
        for index, _ in bodies:
            self._expand(index)
        self._active.pop()
        returned = {_text(entry.key, "the name of a result"): entry.value for entry in function.ret}
        results: list[Edge] = []
        for arg in signature.output_arg:
            label = _text(arg.name, "the name of a result")
            if label not in returned:
                raise GraphError(f"the function {scope.name} does not say what its result {shorten(label)} is")
            results.append(scope.edge(_text(returned[label], "a result")))
        return tuple(results), arguments

    def _connect(self, index: int, message: Any, scope: _Scope) -> None:
        inputs: list[Edge] = []
        controls: list[int] = []
        if len(message.input) > MAX_INPUTS:
            raise GraphError(f"a node of {scope.name} has {len(message.input)} inputs; the limit is {MAX_INPUTS}")
        for raw in message.input:
            text = _text(raw, "the name of an input")
            if text.startswith("^"):
                controls.append(scope.edge(text[1:])[0])
            else:
                inputs.append(scope.edge(text))
        self._edges -= len(message.input)
        if self._edges < 0:
            raise GraphError(f"the functions of the graph have more than {MOST_EDGES} inputs of nodes")
        self._set(index, tuple(inputs), tuple(controls))

    def _add(self, prefix: str, label: str, op: str, message: Any) -> int:
        """Add a node without inputs; return its number."""
        index = len(self._nodes)
        if index >= self._library.max_nodes:
            raise GraphError(
                f"the graph has more nodes than the limit, {self._library.max_nodes} (--max-graph-nodes), with its "
                "functions inlined"
            )
        name = self._fresh.make(shortened(f"{prefix}/{label}"))
        # What nobody reads in a function is no result of the graph.
        role = self._roles.get(op, Role.SILENT)
        if role is Role.INPUT:
            raise GraphError(f"a function has the placeholder {shorten(label)}, which nothing feeds")
        self._nodes.append(RawNode(index, name, op, (), (), message, role))
        return index

    def _set(self, index: int, inputs: tuple[Edge | None, ...], controls: tuple[int, ...]) -> None:
        self._nodes[index] = replace(self._nodes[index], inputs=inputs, controls=controls)


@dataclass(slots=True)
class _Scope:
    """What names mean in one call of a function."""

    name: str
    arguments: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, tuple[int, str]] = field(default_factory=dict)

    def edge(self, text: str) -> Edge:
        """Return what ``argument``, ``node:result`` or ``node:result:number`` names.

        Raises:
            GraphError: there is no such tensor.
        """
        label, _, rest = text.partition(":")
        if label in self.arguments:
            if rest not in ("", "0"):
                raise GraphError(f"the function {self.name} reads {shorten(text)}, which does not exist")
            return self.arguments[label], 0
        if label not in self.nodes:
            raise GraphError(f"the function {self.name} reads {shorten(text)}, which does not exist")
        index, op = self.nodes[label]
        result, _, number = rest.partition(":")
        if number and not (number.isdecimal() and number.isascii() and len(number) <= 5):
            raise GraphError(f"the function {self.name} reads {shorten(text)}, which does not exist")
        place = int(number) if number else 0
        if op not in _OUTPUTS or not rest:
            return index, place
        if result not in _OUTPUTS[op] or place != 0:
            raise GraphError(f"the function {self.name} reads {shorten(text)}, which {op} does not have")
        return index, _OUTPUTS[op].index(result)


def is_call(op: str, library: Library) -> bool:
    """Whether a node calls a function."""
    return op in CALLS or op in library.stored


def function_name(node: RawNode) -> str:
    """Return the name of the function that a node calls.

    Raises:
        GraphError: it names none.
    """
    if node.op not in CALLS:
        return node.op
    for entry in node.message.attr:
        if entry.key == b"f" and entry.value.HasField("func"):
            return _text(entry.value.func.name, "the name of a function")
    raise GraphError("attribute f, the function that it calls, is missing")


def _named(message: Any) -> tuple[str, str]:
    label, op = _text(message.name, "the name of a node"), _text(message.op, "the operation of a node")
    if ":" in label or label.startswith("^"):
        raise GraphError(f"a node of a function has the forbidden name {shorten(label)}")
    return label, op


def _text(data: bytes, what: str) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GraphError(f"{what} is not UTF-8") from error
    if not text or len(text) > 4096 or not text.isprintable():
        raise GraphError(f"{what} is empty, too long or cannot be printed")
    return text


def _parse(kind: Any, data: bytes, what: str) -> Any:
    message = kind()
    try:
        message.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        raise GraphError(f"{what} does not parse as protobuf: the graph is damaged") from error
    return message
