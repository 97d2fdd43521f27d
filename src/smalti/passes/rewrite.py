"""The rewriter: equations between nodes, applied until none holds any more.

A :class:`Rule` says that a node equals another one.  A sweep visits the nodes in execution order and rebuilds the graph
as it goes, so a rule sees operands that are rewritten already; sweeps are repeated until a whole one changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from smalti.errors import CompilerError, GraphError, SmaltiError
from smalti.ir.graph import Graph, Node
from smalti.ir.ops import Op

REWRITES_PER_NODE = 40
MAX_VISITS = 4_000_000
"""Nodes looked at before a graph counts as too complicated (some ten seconds)."""


class Context:
    """What a rule may ask about the graph that its node stands in.

    The answers are those of the graph before the sweep, for the nodes that have taken the places of its nodes.  Where
    the sweep has changed who reads a node, :meth:`single_use` says no; the next sweep knows better.
    """

    __slots__ = ("_changed", "_origin", "_outputs", "_position", "_users")

    def __init__(self, graph: Graph) -> None:
        self._users = graph.users()
        self._outputs = set(graph.outputs)
        self._position = {node: i for i, node in enumerate(self._users)}
        self._origin: dict[Node, Node | None] = {}
        self._changed: set[Node] = set()

    def users(self, node: Node) -> tuple[Node, ...]:
        """Return the nodes that read ``node``, once per use; a graph output is not among them."""
        origin = self._origin.get(node, node)
        return () if origin is None else self._users.get(origin, ())

    def is_output(self, node: Node) -> bool:
        """Whether ``node`` is a result of the graph."""
        return node in self._outputs

    def single_use(self, node: Node) -> bool:
        """Whether ``node`` is read exactly once and is not itself a result."""
        return len(self.users(node)) == 1 and node not in self._changed and not self.is_output(node)

    def position(self, node: Node) -> int:
        """Return the place of an operand of the node at hand in the execution order."""
        origin = self._origin.get(node, node)
        if origin is None or origin not in self._position:
            raise CompilerError(f"the place of {node} is not known")
        return self._position[origin]

    def _enter(self, node: Node, origin: Node) -> None:
        """Note that ``node`` has taken the place of ``origin`` of the graph before the sweep."""
        self._origin.setdefault(node, origin)
        if origin in self._outputs:
            self._outputs.add(node)

    def _replace(self, old: Node, new: Node) -> None:
        """Note that ``new`` takes the place of ``old``, which a rule was applied to."""
        if old in self._outputs:
            self._outputs.add(new)
        if new in self._origin:
            self._changed.add(new)
            return
        self._origin[new] = self._origin[old]
        stack = [new]
        while stack:
            for operand in stack.pop().inputs:
                if operand in self._origin:
                    self._changed.add(operand)
                else:
                    self._origin[operand] = None
                    stack.append(operand)


Function = Callable[[Node, Context], Node | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """An equation: ``function`` returns what equals a node whose operation is one of ``roots``, or ``None``.

    ``name`` is the equation in words or symbols.  The replacement must have the type of the node and may read only what
    is computed before it.
    """

    name: str
    roots: tuple[type[Op], ...]
    function: Function


@dataclass(frozen=True, slots=True)
class RewriteStats:
    """How often each rule fired (rules that never did are left out), and in how many sweeps."""

    hits: Mapping[str, int] = field(default_factory=dict)
    sweeps: int = 0

    @property
    def total(self) -> int:
        """All rewrites together."""
        return sum(self.hits.values())


def rewrite(
    graph: Graph, rules: Sequence[Rule], *, stop_after: int | None = None, limit: int | None = None
) -> tuple[Graph, RewriteStats]:
    """Apply ``rules`` until none fires.

    Args:
        graph: a graph of any level.
        rules: tried in this order on each node; the first that fires wins.
        stop_after: end after this many rewrites, to find the one that breaks something.
        limit: number of rewrites after which the rules count as endless (default: 40 for each node of the graph).

    Raises:
        CompilerError: a rule changes a type, fails, or the rules do not come to an end.
        GraphError: the graph is so large and deep that its rewriting would take too long.
    """
    by_root: dict[type[Op], list[Rule]] = {}
    for rule in rules:
        for root in rule.roots:
            by_root.setdefault(root, []).append(rule)
    budget = REWRITES_PER_NODE * (len(graph.nodes()) + 16) if limit is None else limit
    run = _Run(by_root, budget, stop_after)
    while True:
        before = run.total
        graph = run.sweep(graph)
        if run.total == before or run.total == stop_after:
            return graph, RewriteStats(run.hits, run.sweeps)


class _Run:
    """The counters of one call of :func:`rewrite`."""

    __slots__ = ("_budget", "_by_root", "_stop_after", "_visits", "hits", "sweeps", "total")

    def __init__(self, by_root: Mapping[type[Op], Sequence[Rule]], budget: int, stop_after: int | None) -> None:
        self._by_root = by_root
        self._budget = budget
        self._stop_after = stop_after
        self._visits = 0
        self.hits: dict[str, int] = {}
        self.sweeps = 0
        self.total = 0

    def sweep(self, graph: Graph) -> Graph:
        """Return the graph after one visit to each node; the same graph if no rule fired."""
        self.sweeps += 1
        context, before = Context(graph), self.total
        order = graph.nodes()
        self._visits += len(order)
        if self._visits > MAX_VISITS:
            raise GraphError(f"optimising a graph of {len(order)} nodes takes too long ({self._counts()})")
        new: dict[Node, Node] = {}
        for node in order:
            current = with_inputs(node, tuple(new[operand] for operand in node.inputs))
            context._enter(current, node)
            while (result := self._fire(current, context)) is not None:
                context._replace(current, result)
                current = result
            new[node] = current
        if self.total == before:
            return graph
        return replace(graph, inputs=tuple(new[n] for n in graph.inputs), outputs=tuple(new[n] for n in graph.outputs))

    def _fire(self, node: Node, context: Context) -> Node | None:
        if self.total == self._stop_after:
            return None
        for rule in self._by_root.get(type(node.op), ()):
            result = _apply(rule, node, context)
            if result is not None:
                self.hits[rule.name] = self.hits.get(rule.name, 0) + 1
                self.total += 1
                if self.total > self._budget:
                    raise CompilerError(f"rewriting does not end after {self.total} rewrites: {self._counts()}")
                return result
        return None

    def _counts(self) -> str:
        return ", ".join(f"{name!r} x{count}" for name, count in sorted(self.hits.items()))


def _apply(rule: Rule, node: Node, context: Context) -> Node | None:
    try:
        result = rule.function(node, context)
    except SmaltiError as error:
        raise CompilerError(f"rule {rule.name!r} failed on {node}: {error}") from error
    if result is None:
        return None
    if result is node:
        raise CompilerError(f"rule {rule.name!r} replaced {node} by itself")
    if result.type != node.type:
        raise CompilerError(f"rule {rule.name!r} replaced {node} by {result}, which has another type")
    return result


def with_inputs(node: Node, inputs: tuple[Node, ...]) -> Node:
    """Return ``node`` reading other operands of the same types; the node itself if they are the same ones."""
    if all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
        return node
    return replace(node, inputs=inputs)
