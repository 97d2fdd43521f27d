"""The walk over the nodes: runs handlers, collects what is not supported, makes IR nodes on demand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smalti.errors import GraphError, UnsupportedGraphError, UnsupportedNode, UsageError
from smalti.frontend.attributes import Attributes
from smalti.frontend.budget import MAX_DIM, MAX_RANK
from smalti.frontend.context import NodeContext
from smalti.frontend.format import RawGraph
from smalti.frontend.given import shape_text
from smalti.frontend.importing.opensizes import OpenSizes
from smalti.frontend.importing.steps import steps_that_fit
from smalti.frontend.kinds import ElementKind
from smalti.frontend.raw import Edge, RawNode, Role, StatedSize, is_open, known_sizes, topological_order
from smalti.frontend.signals import NeedsSteps, UnknownInput, Unsupported
from smalti.frontend.symbolic import NotSymbolic
from smalti.frontend.table import OpEntry
from smalti.frontend.values import Result, Special, Value, make_value_node
from smalti.frontend.words import shorten
from smalti.ir.graph import Node, TensorType
from smalti.ir.infer import make_node
from smalti.ir.ops import Input
from smalti.numerics import DType

Results = tuple[Result, ...] | Special
MAX_GENERATED_BYTES = 1 << 26
MAX_SYMBOLIC_WORK = 1_000_000
_MAX_TEXT = 600


@dataclass(frozen=True, slots=True)
class InputRule:
    """Which tensors are inputs, with which shapes.

    ``limits`` are the largest sizes by symbol, ``steps`` what they must be multiples of.  Open heights and widths are
    rounded up to a multiple of ``multiple``.  ``frozen`` are constants that stand for tensors, whatever computes those.
    """

    inputs: tuple[Edge, ...]
    overrides: Mapping[Edge, tuple[int | None, ...]]
    batch_size: int
    limits: Mapping[str, int]
    frozen: Mapping[Edge, Value] = field(default_factory=dict)
    multiple: int = 1
    steps: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Problem:
    op: str
    reason: str
    first_node: str
    count: int = 0


@dataclass(slots=True)
class Evaluation:
    """One walk over a graph; use :meth:`run` once, then read the results."""

    raw: RawGraph[Any]
    rule: InputRule
    max_constant_bytes: int
    asserts: dict[str, bool | None] = field(default_factory=dict)
    used: tuple[int, ...] = ()
    _results: dict[int, Results] = field(default_factory=dict)
    _given: dict[Edge, Value] = field(default_factory=dict)
    _nodes: dict[Value, Node] = field(default_factory=dict)
    _inputs: dict[Edge, Node] = field(default_factory=dict)
    _read: set[Edge] = field(default_factory=set)
    _problems: dict[tuple[str, str], _Problem] = field(default_factory=dict)
    _spent: int = 0
    _generated: int = 0
    _work: int = 0
    _open: OpenSizes = field(init=False)

    def __post_init__(self) -> None:
        self._open = OpenSizes(self.rule.batch_size, self.rule.limits, self.rule.multiple, self.rule.steps)
        for edge, override in self.rule.overrides.items():
            stated = self.raw.stated_shape(edge) if self.raw.nodes[edge[0]].role is Role.INPUT else None
            if stated is not None and _fits(stated, override):
                self._open.fix(stated, override)

    def run(self, outputs: tuple[Edge, ...], given: Mapping[Edge, TensorType | None]) -> tuple[Value, ...]:
        """Evaluate everything the outputs need.

        Args:
            outputs: the wanted tensors.
            given: types of inputs that stand in for computed tensors; a size -1 is open.

        Raises:
            GraphError: the graph is wrong.
            UnsupportedGraphError: lists all nodes that cannot be compiled.
        """
        for edge, type_ in given.items():
            if type_ is not None:
                sizes = tuple(s if isinstance(s, int) else -1 for s in type_.shape)
                self._given[edge] = self._make_input(edge, type_.dtype, sizes)
        self._given.update(self.rule.frozen)
        leaves = frozenset(self._given)
        roots = [e[0] for e in outputs if e not in leaves]
        order = topological_order(self.raw.nodes, roots, leaves, with_controls=False)
        needed = frozenset(order)
        self.used = tuple(sorted(needed))
        if any(self.raw.nodes[i].controls for i in order):
            order = topological_order(self.raw.nodes, roots, leaves, with_controls=True)
        for index in order:
            node = self.raw.nodes[index]
            self._results[index] = self._evaluate(node, index in needed)
        self._check_asserts()
        if self._problems:
            rows = [UnsupportedNode(p.op, p.count, p.first_node, p.reason) for p in self._problems.values()]
            raise UnsupportedGraphError(tuple(sorted(rows, key=lambda r: (-r.count, r.op, r.reason))))
        found = tuple(self._output(edge) for edge in outputs)
        for edge in self.rule.inputs:
            if edge not in self._inputs or (edge in self._given and edge not in self._read):
                raise UsageError(
                    f"the outputs do not depend on the input {shorten(self.raw.name_of(edge))}: leave it out "
                    "of --inputs"
                )
        return found

    def was_read(self, edge: Edge) -> bool:
        """Return whether a given tensor is among what the outputs need."""
        return edge in self._read

    def input_nodes(self) -> tuple[Node, ...]:
        """Return the inputs in the order asked for."""
        return tuple(self._inputs[e] for e in self.rule.inputs)

    # -- what handlers may ask (context.Host) ------------------------------------------------------------------------

    def node_of(self, value: Value) -> Node:
        """Return the IR node of a value, made once."""
        if value.node is not None:
            return value.node
        found = self._nodes.get(value)
        if found is None:
            found = self._nodes[value] = make_value_node(value)
        return found

    def name_of(self, node: RawNode, output: int) -> str:
        """Return the format's name of a result."""
        return self.raw.name_of((node.index, output))

    def constant_budget(self) -> tuple[int, int]:
        """Return how many bytes of constants are still allowed, in all and not standing in the file."""
        return self.max_constant_bytes - self._spent, MAX_GENERATED_BYTES - self._generated

    def spend(self, nbytes: int, generated: int = 0) -> None:
        """Count bytes of constants; ``generated`` of them do not stand in the file."""
        self._spent += nbytes
        self._generated += generated
        if self._spent > self.max_constant_bytes:
            limit = f"{self.max_constant_bytes} (--max-constant-bytes)"
            raise GraphError(f"the constants up to this node take {self._spent} bytes; the limit is {limit}")
        if self._generated > MAX_GENERATED_BYTES:
            limit = f"the limit is {MAX_GENERATED_BYTES}"
            raise GraphError(f"constants that do not stand in the file take {self._generated} bytes; {limit}")

    def allow(self, work: int) -> bool:
        """Count symbolic arithmetic; ``False`` when an import has done more than any real graph needs."""
        self._work += work
        return self._work <= MAX_SYMBOLIC_WORK

    def placeholder(
        self, node: RawNode, kind: ElementKind, shape: tuple[StatedSize, ...] | None, what: str = "an input"
    ) -> Value:
        """Return the value of a graph input; messages about its type begin with ``what``."""
        edge = (node.index, 0)
        if edge not in self.rule.inputs:
            raise Unsupported("a placeholder that is not among the chosen inputs")
        if kind.dtype is None or kind.is_quantised:
            raise Unsupported(f"{what} of type {kind.label}")
        override = self.rule.overrides.get(edge)
        if override is not None:
            if shape is not None and not _fits(shape, override):
                raise UsageError(
                    f"--input-shape {self.raw.name_of(edge)}={shape_text(override)} does not fit the graph, where it "
                    f"is {shape_text(known_sizes(shape))}"
                )
            own: tuple[StatedSize, ...] = (-1,) * len(override) if shape is None else shape
            shape = tuple(s if o is None else o for s, o in zip(own, override, strict=True))
        if shape is None:
            raise Unsupported("an input of unknown rank: give its shape with --input-shape")
        return self._make_input(edge, kind.dtype, shape)

    def note_assert(self, name: str, outcome: bool | None) -> None:
        """Record an assertion."""
        self.asserts[name] = outcome

    # -- the walk ----------------------------------------------------------------------------------------------------

    def _evaluate(self, node: RawNode, needed: bool) -> Results:
        """Return the results of a node; ``needed=False``: it only orders other nodes, so it may fail."""
        try:
            inputs = tuple(self._fetch(edge) for edge in node.inputs)
        except GraphError as error:
            raise _located(error, node) from error
        entry = self.raw.table.find(node)
        if any(self._results.get(c) is Special.DEAD for c in node.controls):
            return Special.DEAD
        if (entry is None or not entry.sees_special) and Special.DEAD in inputs:
            return Special.DEAD
        if entry is None:
            return self._problem(node, self.raw.table.refusal(node), needed)
        try:
            return self._handle(entry, node, inputs)
        except Unsupported as signal:
            return self._problem(node, str(signal), needed)
        except NotSymbolic:
            return self._problem(node, "a small tensor over the limits of the arithmetic of sizes", needed)
        except GraphError as error:
            if not needed:
                return Special.UNKNOWN
            steps = steps_that_fit(inputs)
            if steps:
                raise NeedsSteps(steps) from error
            raise _located(error, node) from error

    def _handle(self, entry: OpEntry[Any], node: RawNode, inputs: tuple[Result, ...]) -> Results:
        low, high = entry.inputs
        if not low <= len(inputs) <= high:
            wanted = str(low) if low == high else f"{low} to {high}"
            raise GraphError(f"{node.label} takes {wanted} inputs, not {len(inputs)}")
        if Special.OMITTED in inputs[:low]:
            raise GraphError(f"{node.label} needs its input {inputs.index(Special.OMITTED)}, which is left out")
        attrs = self.raw.attributes(node)
        _check_types(entry, attrs, inputs)
        ctx = NodeContext(self, node, attrs, inputs)
        handled: Results
        try:
            found = entry.handler(ctx)
            handled = found if isinstance(found, (tuple, Special)) else (found,)
        except UnknownInput:
            handled = Special.UNKNOWN
        unread = attrs.unread(entry.ignore)
        if unread:
            raise Unsupported(f"attribute {shorten(unread[0])} is not understood")
        return handled

    def _fetch(self, edge: Edge | None) -> Result:
        if edge is None:
            return Special.OMITTED
        given = self._given.get(edge)
        if given is not None:
            self._read.add(edge)
            return given
        results = self._results.get(edge[0], Special.UNKNOWN)
        if isinstance(results, Special):
            return results
        if edge[1] >= len(results):
            raise GraphError(f"the tensor {shorten(self.raw.name_of(edge))} does not exist")
        return results[edge[1]]

    def _output(self, edge: Edge) -> Value:
        result = self._fetch(edge)
        name = shorten(self.raw.name_of(edge))
        if result is Special.DEAD:
            raise GraphError(f"the output {name} is never computed: its branch is not taken")
        if isinstance(result, Special):
            node = self.raw.nodes[edge[0]]
            reason = f"output {edge[1]} as a result of the graph"
            raise UnsupportedGraphError((UnsupportedNode(node.label, 1, node.name, reason),))
        if result.quantised is not None:
            raise GraphError(f"the output {name} is a {result.quantised.label} tensor")
        return result

    def _problem(self, node: RawNode, reason: str, needed: bool) -> Special:
        if needed:
            problem = self._problems.setdefault((node.label, reason), _Problem(node.label, reason, node.name))
            problem.count += 1
        return Special.UNKNOWN

    def _check_asserts(self) -> None:
        for name, outcome in self.asserts.items():
            if outcome is False:
                raise GraphError(f"node {shorten(name)}: the graph's own assertion fails for every image")

    # -- inputs ------------------------------------------------------------------------------------------------------

    def _make_input(self, edge: Edge, dtype: DType, shape: tuple[StatedSize, ...]) -> Value:
        name = self.raw.name_of(edge)
        if len(shape) > MAX_RANK:
            raise GraphError(
                f"the shape of the input {shorten(name)} has {len(shape)} dimensions; the limit is {MAX_RANK}"
            )
        for size in shape:
            if isinstance(size, int) and (size < -1 or size == 0 or size > MAX_DIM):
                raise GraphError(f"the input {shorten(name)} has the impossible shape {list(shape)}")
        type_ = TensorType(dtype, self._open.sizes(shape, self.rule.inputs.index(edge)))
        node = make_node(Input(), (), name, type_)
        self._inputs[edge] = node
        return Value(type_, name, node=node)


def _fits(shape: tuple[StatedSize, ...], override: tuple[int | None, ...]) -> bool:
    return len(shape) == len(override) and all(
        is_open(s) or o is None or s == o for s, o in zip(shape, override, strict=True)
    )


def _check_types(entry: OpEntry[Any], attrs: Attributes, inputs: tuple[Result, ...]) -> None:
    for name, number in entry.types.items():
        if name not in attrs:
            continue
        stated = attrs.kind(name)
        source = inputs[number] if number < len(inputs) else None
        if not isinstance(source, Value):
            continue
        actual = source.type.dtype
        if stated.dtype is not actual or stated.is_quantised != (source.quantised is not None):
            raise GraphError(f"attribute {name} is {stated.label}, but input {number} is {source.type}")


def _located(error: GraphError, node: RawNode) -> GraphError:
    prefix = f"node {shorten(node.name)} ({node.label}): "
    text = str(error)
    # Type rules of the IR name the tensor already; one name is enough.
    _, colon, rest = text.partition("': ")
    if text.startswith("node '") and colon:
        text = rest
    return GraphError(prefix + (text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."))
