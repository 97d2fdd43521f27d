"""All graphs of a model in one table: names resolved, local functions inlined, bodies set before their nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smalti.errors import GraphError
from smalti.frontend.onnx.attrs import Attribute, attribute_of
from smalti.frontend.onnx.opsets import NEWEST, OWN_DOMAIN, domain_of, imported, operation, version_of
from smalti.frontend.onnx.plan import Plan, PlannedNode, is_located, plan_function
from smalti.frontend.onnx.rawgraph import BODY_INPUT, INPUT, Body, Edge, OnnxNode
from smalti.frontend.onnx.tensors import Store
from smalti.frontend.onnx.types import AttrKind, ValueType, text_of
from smalti.frontend.tensorflow.attrs import shorten

MAX_DEPTH = 48
"""Functions and bodies in each other."""
MOST_EDGES = 4_000_000
"""Inputs, outputs and attributes of all nodes: functions that call functions can ask for any number."""
_LONGEST_NAME = 512
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A local function: its body, its attributes with their defaults (``None``: it has none), its operator sets."""

    plan: Plan
    attributes: Mapping[str, Attribute | None]
    opsets: Mapping[str, int]


@dataclass(slots=True)
class Functions:
    """The local functions of a model, each checked when it is called for the first time."""

    messages: Mapping[Key, Any]
    store: Store
    _made: dict[Key, Function] = field(default_factory=dict)

    def get(self, key: Key) -> Function | None:
        """Return a function, or ``None`` where the model has none of this name.

        Raises:
            GraphError: it is damaged; the text names it.
        """
        if key not in self.messages:
            return None
        found = self._made.get(key)
        if found is None:
            try:
                found = self._made[key] = self._function(self.messages[key])
            except GraphError as error:
                raise GraphError(f"the function {shorten(operation(*key[:2]))}: {error}") from error
        return found

    def _function(self, message: Any) -> Function:
        attributes: dict[str, Attribute | None] = {}
        for name in message.attribute:
            attributes[text_of(name, "the name of an attribute")] = None
        for entry in message.attribute_proto:
            name = text_of(entry.name, "the name of an attribute")
            try:
                attributes[name] = attribute_of(entry, self.store)
            except GraphError as error:
                raise GraphError(f"attribute {shorten(name)} {error}") from error
            if entry.HasField("g") or entry.graphs:
                raise GraphError(f"attribute {shorten(name)} is a graph, which is not supported for functions")
        return Function(plan_function(message, self.store), attributes, imported(message.opset_import))


def functions_of(messages: Any, store: Store) -> Functions:
    """Return the functions of a model.

    Raises:
        GraphError: a bad name, or two functions of one.
    """
    found: dict[Key, Any] = {}
    for message in messages:
        name = text_of(message.name, "the name of a function")
        key = (domain_of(message.domain), name, text_of(message.overload, "the name of a function's overload"))
        if key in found:
            raise GraphError(f"two functions are called {shorten(operation(*key[:2]))}")
        found[key] = message
    return Functions(found, store)


class FreshNames:
    """Makes names that no other tensor has."""

    __slots__ = ("_next", "_taken")

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, name: str) -> bool:
        """Note a name; ``False`` where it is taken already."""
        if name in self._taken:
            return False
        self._taken.add(name)
        return True

    def make(self, wanted: str) -> str:
        """Return ``wanted``, or where it is taken, the same with a number behind it."""
        base = shortened(wanted)
        name = base
        while not self.take(name):
            self._next[base] = self._next.get(base, 1) + 1
            name = f"{base}__{self._next[base]}"
        return name


def shortened(name: str) -> str:
    """Return a name that we make, without its middle where it is long."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME // 2]}...{name[-_LONGEST_NAME // 2 :]}"


@dataclass(slots=True)
class _Scope:
    """What names mean in one graph: of a function's call (nothing around it is seen), of a body, or of the model.

    ``arguments`` are the attributes of the call, ``None`` outside of functions; ``wanted`` the names that tensors must
    get because they are outputs of the call.
    """

    opsets: Mapping[str, int]
    prefix: str = ""
    outer: _Scope | None = None
    arguments: Mapping[str, Attribute] | None = None
    wanted: Mapping[str, str] = field(default_factory=dict)
    public: bool = False
    names: dict[str, Edge | None] = field(default_factory=dict)

    def find(self, name: str) -> Edge | None:
        """Return who makes a tensor, ``None`` for one that was left out.

        Raises:
            GraphError: there is no such tensor.
        """
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        raise GraphError(f"its input {shorten(name)} does not exist")


class Expansion:
    """Makes the table; use :meth:`run` once."""

    __slots__ = ("_active", "_depth", "_edges", "_fresh", "_functions", "_most", "calls", "nodes", "tensors")

    def __init__(self, functions: Functions, max_nodes: int) -> None:
        self.nodes: list[OnnxNode] = []
        self.tensors: dict[str, Edge] = {}
        self.calls = 0
        self._functions = functions
        self._most = max_nodes
        self._edges = MOST_EDGES
        self._fresh = FreshNames()
        self._active: list[Key] = []
        self._depth = 0

    def run(self, plan: Plan, opsets: Mapping[str, int]) -> None:
        """Expand the model's own graph.

        Raises:
            GraphError: a tensor that does not exist, a function that calls itself, too many nodes; the text names the
                node.
        """
        own = [*plan.constants, *(n for n, _ in plan.inputs), *(n for node in plan.nodes for n in node.outputs)]
        for name in own:
            self._fresh.take(name)
        scope = _Scope(opsets, public=True)
        for name, kind in plan.inputs:
            scope.names[name] = self._add(scope, name, OWN_DOMAIN, INPUT, 1, (), (name,), {}, kind)
        self._graph(plan, scope)

    def _graph(self, plan: Plan, scope: _Scope) -> None:
        if self._depth == MAX_DEPTH:
            raise GraphError(f"more than {MAX_DEPTH} functions and bodies of nodes stand in each other")
        self._depth += 1
        version = scope.opsets.get("", NEWEST)
        for name, value in plan.constants.items():
            key = "value" if value.kind is AttrKind.TENSOR else "sparse_value"
            made = self._name(scope, name)
            scope.names[name] = self._add(scope, made, "", "Constant", version, (), (made,), {key: value})
        for node in plan.nodes:
            label = shortened(scope.prefix + node.label)
            try:
                self._node(node, label, scope)
            except GraphError as error:
                if is_located(error):
                    raise
                raise GraphError(f"node {shorten(label)} ({node.operation}): {error}") from error
        self._depth -= 1

    def _node(self, node: PlannedNode, label: str, scope: _Scope) -> None:
        inputs = [scope.find(name) if name else None for name in node.inputs]
        while inputs and inputs[-1] is None:
            inputs.pop()
        attributes = self._attributes(node, scope)
        key = (node.domain, node.op, node.overload)
        function = self._functions.get(key)
        if function is not None:
            self._call(key, function, node, label, scope, inputs, attributes)
            return
        version = version_of(scope.opsets, node.domain)
        bodies = {name: self._body(plan, scope) for name, plan in node.bodies.items()}
        if bodies:
            held = {name: Attribute(AttrKind.GRAPH, body) for name, body in bodies.items()}
            attributes = {**attributes, **held}
        outputs = tuple(self._name(scope, name) if name else "" for name in node.outputs)
        first = self._add(scope, label, node.domain, node.op, version, tuple(inputs), outputs, attributes)
        for number, name in enumerate(node.outputs):
            if name:
                scope.names[name] = (first[0], number)

    def _attributes(self, node: PlannedNode, scope: _Scope) -> Mapping[str, Attribute]:
        if not node.references:
            return node.attributes
        if scope.arguments is None:
            name = shorten(next(iter(node.references)))
            raise GraphError(f"attribute {name} refers to an attribute of a function, but the node stands in none")
        found = dict(node.attributes)
        for name, reference in node.references.items():
            # Without a default, an attribute that the call leaves out is left out here too.
            if reference in scope.arguments:
                found[name] = scope.arguments[reference]
        return found

    def _body(self, plan: Plan, scope: _Scope) -> Body:
        inner = _Scope(scope.opsets, scope.prefix, scope, scope.arguments)
        inputs: list[Edge] = []
        for name, kind in plan.inputs:
            made = self._name(inner, name)
            edge = self._add(inner, made, OWN_DOMAIN, BODY_INPUT, 1, (), (made,), {}, kind)
            inner.names[name] = edge
            inputs.append(edge)
        self._graph(plan, inner)
        return Body(tuple(inputs), tuple(self._result(inner, name) for name, _ in plan.outputs))

    def _call(
        self,
        key: Key,
        function: Function,
        node: PlannedNode,
        label: str,
        scope: _Scope,
        inputs: list[Edge | None],
        attributes: Mapping[str, Attribute],
    ) -> None:
        plan = function.plan
        if key in self._active:
            raise GraphError(f"the function {shorten(operation(*key[:2]))} calls itself")
        if node.bodies:
            raise GraphError("a graph as an attribute of a local function is not supported")
        for what, given, taken in (("inputs", inputs, plan.inputs), ("outputs", node.outputs, plan.outputs)):
            if len(given) > len(taken):
                raise GraphError(f"it has {len(given)} {what}, but its function has {len(taken)}")
        unknown = next((name for name in attributes if name not in function.attributes), None)
        if unknown is not None:
            raise GraphError(f"attribute {shorten(unknown)} is none of its function")
        defaults = {name: value for name, value in function.attributes.items() if value is not None}
        results = [(formal, name) for (formal, _), name in zip(plan.outputs, node.outputs, strict=False) if name]
        wanted = {formal: self._name(scope, name) for formal, name in results}
        opsets = {**scope.opsets, **function.opsets}
        inner = _Scope(opsets, f"{label}/", None, {**defaults, **attributes}, wanted, scope.public)
        absent = [None] * (len(plan.inputs) - len(inputs))
        inner.names.update(zip((name for name, _ in plan.inputs), [*inputs, *absent], strict=True))
        # A call counts as a node too: functions without nodes can call each other very often.
        self.calls += 1
        self._spend(len(plan.inputs) + len(plan.outputs) + len(function.attributes))
        self._active.append(key)
        self._graph(plan, inner)
        self._active.pop()
        for formal, name in results:
            edge = self._result(inner, formal)
            if self.nodes[edge[0]].outputs[edge[1]] != wanted[formal]:
                # The function gives back an input, or one tensor twice.
                version = version_of(scope.opsets, "")
                edge = self._add(scope, label, "", "Identity", version, (edge,), (wanted[formal],), {})
            scope.names[name] = edge

    def _result(self, scope: _Scope, name: str) -> Edge:
        edge = scope.find(name)
        if edge is None:
            raise GraphError(f"the output {shorten(name)} is an input that was left out")
        return edge

    def _name(self, scope: _Scope, name: str) -> str:
        if name in scope.wanted:
            return scope.wanted[name]
        return name if scope.public and scope.arguments is None else self._fresh.make(scope.prefix + name)

    def _add(
        self,
        scope: _Scope,
        label: str,
        domain: str,
        op: str,
        version: int,
        inputs: tuple[Edge | None, ...],
        outputs: tuple[str, ...],
        attributes: Mapping[str, Attribute],
        given: ValueType | None = None,
    ) -> Edge:
        """Add a node; return its first output."""
        self._spend(len(inputs) + len(outputs) + len(attributes))
        index = len(self.nodes)
        self.nodes.append(OnnxNode(index, label, domain, op, version, inputs, outputs, attributes, given))
        if scope.public:
            self.tensors.update((name, (index, number)) for number, name in enumerate(outputs) if name)
        return index, 0

    def _spend(self, edges: int) -> None:
        self._edges -= edges
        if len(self.nodes) + self.calls > self._most - 1:
            inlined = ", with its functions inlined" if self.calls else ""
            raise GraphError(f"the graph has more nodes than the limit, {self._most} (--max-graph-nodes){inlined}")
        if self._edges < 0:
            raise GraphError(f"the graph has more than {MOST_EDGES} inputs, outputs and attributes of nodes")
