"""The rewriter: equations between nodes, applied until none holds any more.

A :class:`Rule` says that a node equals another one.  Because every rule keeps the value and the type of the node it
replaces, all equations that hold in one sweep over the graph may be applied together; sweeps are repeated until a whole
sweep changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from smalti.errors import CompilerError, SmaltiError
from smalti.ir.graph import Graph, Node
from smalti.ir.ops import Op

REWRITES_PER_NODE = 40


class Context:
    """What a rule may ask about the graph that its node stands in."""

    __slots__ = ("_outputs", "_position", "_users")

    def __init__(self, graph: Graph) -> None:
        self._users = graph.users()
        self._outputs = frozenset(graph.outputs)
        self._position = {node: i for i, node in enumerate(self._users)}

    def users(self, node: Node) -> tuple[Node, ...]:
        """Return the nodes that read ``node``, once per use; a graph output is not among them."""
        return self._users.get(node, ())

    def is_output(self, node: Node) -> bool:
        """Whether ``node`` is a result of the graph."""
        return node in self._outputs

    def single_use(self, node: Node) -> bool:
        """Whether ``node`` is read exactly once and is not itself a result."""
        return len(self.users(node)) == 1 and not self.is_output(node)

    def position(self, node: Node) -> int:
        """Return the place of ``node`` in the execution order."""
        return self._position[node]


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
        CompilerError: a rule changes a type, fails, reads its own result, or the rules do not come to an end.
    """
    by_root: dict[type[Op], list[Rule]] = {}
    for rule in rules:
        for root in rule.roots:
            by_root.setdefault(root, []).append(rule)
    hits: dict[str, int] = {}
    sweeps = 0
    budget = limit if limit is not None else REWRITES_PER_NODE * (len(graph.nodes()) + 16)
    while True:
        sweeps += 1
        left = None if stop_after is None else stop_after - sum(hits.values())
        replaced = _sweep(graph, by_root, hits, left)
        if not replaced:
            return graph, RewriteStats(hits, sweeps)
        graph = _substitute(graph, replaced)
        if sum(hits.values()) > budget:
            counts = ", ".join(f"{name!r} x{count}" for name, count in sorted(hits.items()))
            raise CompilerError(f"rewriting does not end after {sum(hits.values())} rewrites: {counts}")


def _sweep(
    graph: Graph, by_root: Mapping[type[Op], Sequence[Rule]], hits: dict[str, int], left: int | None
) -> dict[Node, Node]:
    context = Context(graph)
    replaced: dict[Node, Node] = {}
    for node in graph.nodes():
        if left is not None and len(replaced) >= left:
            break
        for rule in by_root.get(type(node.op), ()):
            result = _apply(rule, node, context)
            if result is not None:
                replaced[node] = result
                hits[rule.name] = hits.get(rule.name, 0) + 1
                break
    return replaced


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


def _substitute(graph: Graph, replaced: Mapping[Node, Node]) -> Graph:
    new: dict[Node, Node] = {}
    for root in (*graph.inputs, *graph.outputs):
        open_nodes: set[Node] = set()
        stack = [root]
        while stack:
            node = stack[-1]
            if node in new:
                stack.pop()
                continue
            needs = (replaced[node],) if node in replaced else node.inputs
            missing = [n for n in needs if n not in new]
            if missing:
                if node in open_nodes:
                    raise CompilerError(f"a rewrite made {node} depend on itself")
                open_nodes.add(node)
                stack.extend(reversed(missing))
                continue
            stack.pop()
            new[node] = new[needs[0]] if node in replaced else with_inputs(node, tuple(new[n] for n in needs))
    return replace(graph, inputs=tuple(new[n] for n in graph.inputs), outputs=tuple(new[n] for n in graph.outputs))


def with_inputs(node: Node, inputs: tuple[Node, ...]) -> Node:
    """Return ``node`` reading other operands of the same types; the node itself if they are the same ones."""
    if all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
        return node
    return replace(node, inputs=inputs)
