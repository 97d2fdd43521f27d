"""Which tensors go in and come out when the user does not say, and the types of cut tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from smalti.errors import GraphError, UnsupportedGraphError, UsageError
from smalti.frontend.format import RawGraph
from smalti.frontend.given import shape_text
from smalti.frontend.importing.evaluate import Evaluation, InputRule
from smalti.frontend.raw import Edge, RawNode, Role, topological_order
from smalti.frontend.signals import NeedsLimit, NeedsSteps
from smalti.frontend.values import Value
from smalti.frontend.words import shorten
from smalti.ir.graph import TensorType
from smalti.numerics import DType

MAX_OUTPUTS = 64
MAX_RESTARTS = 16


def default_outputs(raw: RawGraph[Any], bound: frozenset[Edge] = frozenset()) -> tuple[Edge, ...]:
    """Return the results that the file names, else the tensors nobody reads.

    Of these, those that depend on an input that is not ``bound``, if any does.

    Raises:
        GraphError: there are none (because of a cycle, which it names), or more than ``MAX_OUTPUTS``.
    """
    if raw.outputs:
        return raw.outputs
    candidates = unread_nodes(raw, with_controls=True)
    fed = _fed_by_inputs(raw, bound)
    chosen = [n for n in candidates if fed[n.index]] or candidates
    if not chosen:
        # Raises where there is a cycle.
        topological_order(raw.nodes, range(len(raw.nodes)), frozenset(), with_controls=True)
        raise GraphError("the graph has no output: every tensor is read by another node; name the outputs")
    if len(chosen) > MAX_OUTPUTS:
        raise GraphError(f"{len(chosen)} tensors are read by nobody; name the outputs you want")
    return tuple((n.index, i) for n in chosen for i in range(min(max(raw.output_count(n), 1), MAX_OUTPUTS)))


def unread_nodes(raw: RawGraph[Any], with_controls: bool) -> list[RawNode]:
    """Return the nodes that nobody reads and that may be results; ``with_controls``: being waited for is being read."""
    read = bytearray(len(raw.nodes))
    for node in raw.nodes:
        for below, _ in node.operands:
            read[below] = 1
        for below in node.controls if with_controls else ():
            read[below] = 1
    return [n for n in raw.nodes if not read[n.index] and n.role not in (Role.INPUT, Role.SILENT)]


def _fed_by_inputs(raw: RawGraph[Any], bound: frozenset[Edge]) -> bytearray:
    """Return for each node whether an input is among what it reads, directly or not."""
    users: list[list[int]] = [[] for _ in raw.nodes]
    for node in raw.nodes:
        for edge in node.operands:
            if edge not in bound:
                users[edge[0]].append(node.index)
    fed = bytearray(len(raw.nodes))
    pending = [n.index for n in raw.nodes if n.role is Role.INPUT and (n.index, 0) not in bound]
    for index in pending:
        fed[index] = 1
    while pending:
        for user in users[pending.pop()]:
            if not fed[user]:
                fed[user] = 1
                pending.append(user)
    return fed


def default_inputs(
    raw: RawGraph[Any], outputs: tuple[Edge, ...], bound: frozenset[Edge] = frozenset()
) -> tuple[Edge, ...]:
    """Return the inputs that the outputs need, in file order; not those before ``bound`` tensors alone."""
    roots = [edge[0] for edge in outputs if edge not in bound]
    order = topological_order(raw.nodes, roots, bound, with_controls=False)
    return tuple((i, 0) for i in sorted(order) if raw.nodes[i].role is Role.INPUT and (i, 0) not in bound)


def cut_rules(raw: RawGraph[Any], rule: InputRule, max_constant_bytes: int) -> Mapping[Edge, TensorType | None]:
    """Return the types of inputs that cut the graph at a computed tensor (the inputs of the file are not listed).

    The type comes from importing what stands before the cut; where that cannot be imported, from the tensor's
    attributes and the given shape.

    Raises:
        UsageError: the type cannot be found; the text says to give the shape.
    """
    found: dict[Edge, TensorType | None] = {}
    for edge in rule.inputs:
        node = raw.nodes[edge[0]]
        if node.role is Role.INPUT:
            if edge[1] != 0:
                raise UsageError(f"the placeholder {shorten(node.name)} has no output {edge[1]}")
            continue
        found[edge] = _cut_type(raw, edge, rule, max_constant_bytes)
    return found


def _cut_type(raw: RawGraph[Any], edge: Edge, rule: InputRule, max_constant_bytes: int) -> TensorType:
    override = rule.overrides.get(edge)
    try:
        value = evaluate_before(raw, edge, rule, max_constant_bytes)
    except UnsupportedGraphError as error:
        if override is None:
            raise UsageError(
                f"what stands before {shorten(raw.name_of(edge))} cannot be imported; give the shape of that input, "
                f"for instance --input-shape {raw.name_of(edge)}=1x65x65x256"
            ) from error
        return TensorType(declared_dtype(raw, edge), tuple(-1 if s is None else s for s in override))
    shape = value.type.shape
    if override is not None:
        if len(override) != len(shape):
            raise UsageError(
                f"--input-shape {raw.name_of(edge)}={shape_text(override)} does not fit: the tensor is {value.type}"
            )
        shape = tuple(s if o is None else o for s, o in zip(shape, override, strict=True))
    return TensorType(value.type.dtype, tuple(s if isinstance(s, int) else -1 for s in shape))


def evaluate_before(raw: RawGraph[Any], edge: Edge, rule: InputRule, max_constant_bytes: int) -> Value:
    """Return the value of a cut tensor in the whole graph; its size symbols are not those of the cut graph."""
    frozen = {other: item for other, item in rule.frozen.items() if other != edge}
    inputs = default_inputs(raw, (edge,), frozenset(frozen))
    before = replace(rule, inputs=inputs, limits={}, steps={}, frozen=frozen)
    for _ in range(MAX_RESTARTS):
        try:
            return Evaluation(raw, before, max_constant_bytes).run((edge,), {})[0]
        except (NeedsLimit, NeedsSteps) as signal:
            before = refined(before, signal)
    raise GraphError("the graph limits the image size in too many ways")


def refined(rule: InputRule, signal: NeedsLimit | NeedsSteps) -> InputRule:
    """Return the rule with the sizes that a walk over the graph asked for; the next walk begins with them."""
    if isinstance(signal, NeedsSteps):
        return replace(rule, steps={**rule.steps, **signal.multiples})
    name = signal.symbol.name
    return replace(rule, limits={**rule.limits, name: min(signal.high, rule.limits.get(name, signal.high))})


def declared_dtype(raw: RawGraph[Any], edge: Edge) -> DType:
    """Return the element type of a tensor as the file states it; float32 where it does not.

    Raises:
        UsageError: the IR has no such type.
    """
    kind = raw.stated_kind(edge)
    if kind is None:
        return DType.FLOAT32
    if kind.dtype is None or kind.is_quantised:
        raise UsageError(f"{shorten(raw.nodes[edge[0]].name)}: an input of type {kind.label} is not supported")
    return kind.dtype
