"""All graphs of a model in one table: names resolved, local functions inlined, branches and bodies set before nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smalti.errors import GraphError
from smalti.frontend.fresh import FreshNames, shortened
from smalti.frontend.onnx.attrs import Attribute
from smalti.frontend.onnx.functions import Function, Functions, Key
from smalti.frontend.onnx.nodes import BODY_INPUT, IF, IF_FALSE, IF_TRUE, INPUT, Body, OnnxNode
from smalti.frontend.onnx.opsets import NEWEST, OWN_DOMAIN, UNVERSIONED, operation, version_of
from smalti.frontend.onnx.plan import Plan, PlannedNode, is_located
from smalti.frontend.onnx.wire.types import AttrKind, ValueType
from smalti.frontend.raw import Edge, Role
from smalti.frontend.words import shorten

MAX_DEPTH = 48
"""Functions and bodies in each other."""
MOST_EDGES = 4_000_000
"""Inputs, outputs and attributes of all nodes: functions that call functions can ask for any number."""
_BRANCHES = ("then_branch", "else_branch")


@dataclass(slots=True)
class _Scope:
    """What names mean in one graph: of a function's call (nothing around it is seen), of a body, or of the model.

    ``arguments`` are the attributes of the call, ``None`` outside of functions; ``wanted`` the names that tensors must
    get because they are outputs of the call; ``controls`` the beginning of the branch that all this stands in.
    """

    opsets: Mapping[str, int]
    prefix: str = ""
    outer: _Scope | None = None
    arguments: Mapping[str, Attribute] | None = None
    wanted: Mapping[str, str] = field(default_factory=dict)
    public: bool = False
    controls: tuple[int, ...] = ()
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

    __slots__ = ("_active", "_depth", "_edges", "_fresh", "_functions", "_labels", "_most", "calls", "nodes", "tensors")

    def __init__(self, functions: Functions, max_nodes: int) -> None:
        self.nodes: list[OnnxNode] = []
        self.tensors: dict[str, Edge] = {}
        self.calls = 0
        self._functions = functions
        self._most = max_nodes
        self._edges = MOST_EDGES
        self._fresh = FreshNames()
        self._labels = FreshNames()
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
            scope.names[name] = self._add(scope, name, INPUT, (), (name,), {}, OWN_DOMAIN, kind)
        self._graph(plan, scope)

    def _graph(self, plan: Plan, scope: _Scope) -> None:
        if self._depth == MAX_DEPTH:
            raise GraphError(f"more than {MAX_DEPTH} functions and bodies of nodes stand in each other")
        self._depth += 1
        for name, value in plan.constants.items():
            key = "value" if value.kind is AttrKind.TENSOR else "sparse_value"
            made = self._name(scope, name)
            scope.names[name] = self._add(scope, made, "Constant", (), (made,), {key: value})
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
        version_of(scope.opsets, node.domain)
        outputs = tuple(self._name(scope, name) if name else "" for name in node.outputs)
        if (node.domain, node.op) == ("", IF):
            first = self._if(node, label, scope, inputs, outputs, attributes)
        else:
            bodies = {name: self._body(plan, scope) for name, plan in node.bodies.items()}
            if bodies:
                held = {name: Attribute(AttrKind.GRAPH, body) for name, body in bodies.items()}
                attributes = {**attributes, **held}
            first = self._add(scope, label, node.op, tuple(inputs), outputs, attributes, node.domain)
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

    def _if(
        self,
        node: PlannedNode,
        label: str,
        scope: _Scope,
        inputs: list[Edge | None],
        outputs: tuple[str, ...],
        attributes: Mapping[str, Attribute],
    ) -> Edge:
        """Add both branches, each waiting for its own beginning, and the node that takes the results of one."""
        if len(inputs) != 1 or inputs[0] is None:
            raise GraphError(f"it takes one input, not {len(inputs)}")
        results: list[Edge] = []
        for attribute, op in zip(_BRANCHES, (IF_TRUE, IF_FALSE), strict=True):
            plan = node.bodies.get(attribute)
            if plan is None or plan.inputs:
                raise GraphError(f"attribute {attribute} is missing" if plan is None else f"its {attribute} has inputs")
            if len(plan.outputs) != len(outputs):
                raise GraphError(f"its {attribute} has {len(plan.outputs)} outputs; the node has {len(outputs)}")
            begin, _ = self._add(scope, f"{label}/{attribute}", op, tuple(inputs), (), {}, OWN_DOMAIN)
            inner = _Scope(scope.opsets, scope.prefix, scope, scope.arguments, controls=(begin,))
            self._graph(plan, inner)
            for name, _ in plan.outputs:
                edge = self._result(inner, name)
                if edge[0] < begin:
                    # A tensor from outside of the branch: as a result of it, it has to be dead where that is.
                    made = self._fresh.make(f"{label}/{name}")
                    edge = self._add(inner, f"{label}/{attribute}", "Identity", (edge,), (made,), {})
                results.append(edge)
        others = {name: plan for name, plan in node.bodies.items() if name not in _BRANCHES}
        if others:
            raise GraphError(f"attribute {shorten(min(others))} is a graph that an If does not have")
        return self._add(scope, label, IF, tuple(results), outputs, attributes, OWN_DOMAIN)

    def _body(self, plan: Plan, scope: _Scope) -> Body:
        inner = _Scope(scope.opsets, scope.prefix, scope, scope.arguments, controls=scope.controls)
        inputs: list[Edge] = []
        for name, kind in plan.inputs:
            made = self._name(inner, name)
            edge = self._add(inner, made, BODY_INPUT, (), (made,), {}, OWN_DOMAIN, kind)
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
        arguments = {**defaults, **attributes}
        inner = _Scope(opsets, f"{label}/", None, arguments, wanted, scope.public, scope.controls)
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
                edge = self._add(scope, label, "Identity", (edge,), (wanted[formal],), {})
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
        op: str,
        inputs: tuple[Edge | None, ...],
        outputs: tuple[str, ...],
        attributes: Mapping[str, Attribute],
        domain: str = "",
        given: ValueType | None = None,
    ) -> Edge:
        """Add a node; return its first output."""
        self._spend(len(inputs) + len(outputs) + len(attributes))
        index = len(self.nodes)
        name = self._labels.make(label)
        # A domain that the file does not name: UNVERSIONED, or where we add nodes of ONNX's own, the newest.
        version = scope.opsets.get(domain, UNVERSIONED if domain else NEWEST)
        role = (
            Role.INPUT if (domain, op) == (OWN_DOMAIN, INPUT) else Role.SILENT if op == "Constant" else Role.OPERATION
        )
        self.nodes.append(
            OnnxNode(index, name, op, inputs, scope.controls, attributes, role, domain, version, outputs, given)
        )
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
