"""Which tensors go in and come out when the user does not say, and the types of cut tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from smalti.errors import GraphError, UnsupportedGraphError, UsageError
from smalti.frontend.context import NeedsLimit
from smalti.frontend.evaluate import Evaluation, InputRule
from smalti.frontend.given import shape_text
from smalti.frontend.tensorflow.attrs import AttrReader, shorten
from smalti.frontend.tensorflow.rawgraph import Edge, RawGraph, RawNode, topological_order
from smalti.frontend.tensorflow.tensors import TfType
from smalti.frontend.values import Value
from smalti.ir.graph import TensorType
from smalti.numerics import DType

NEVER_OUTPUTS = frozenset(("Const", "Placeholder", "NoOp", "Assert", "Switch", "Print", "RestoreV2", "SaveV2"))
_MANY_OUTPUTS = {"Split": "num_split", "SplitV": "num_split", "Unpack": "num"}
# Operations whose result type is not their attribute T.
_RESULT_TYPE = {
    "Cast": "DstT",
    "Dequantize": "dtype",
    "Placeholder": "dtype",
    "PlaceholderWithDefault": "dtype",
    "Const": "dtype",
    "ArgMax": "output_type",
}
PLACEHOLDERS = frozenset(("Placeholder",))
MAX_OUTPUTS = 64
MAX_RESTARTS = 16


def default_outputs(raw: RawGraph, bound: frozenset[Edge] = frozenset()) -> tuple[Edge, ...]:
    """Return the tensors nobody reads; those that depend on a placeholder that is not ``bound``, if any does.

    Raises:
        GraphError: there are none (because of a cycle, which it names), or more than ``MAX_OUTPUTS``.
    """
    read = bytearray(len(raw.nodes))
    for node in raw.nodes:
        for below, _ in node.inputs:
            read[below] = 1
        for below in node.controls:
            read[below] = 1
    candidates = [n for n in raw.nodes if not read[n.index] and n.op not in NEVER_OUTPUTS]
    fed = _fed_by_placeholders(raw, bound)
    chosen = [n for n in candidates if fed[n.index]] or candidates
    if not chosen:
        topological_order(raw, range(len(raw.nodes)), frozenset(), with_controls=True)  # raises where there is a cycle
        raise GraphError("the graph has no output: every tensor is read by another node; name the outputs")
    if len(chosen) > MAX_OUTPUTS:
        raise GraphError(f"{len(chosen)} tensors are read by nobody; name the outputs you want")
    return tuple((n.index, i) for n in chosen for i in range(_output_count(n)))


def _fed_by_placeholders(raw: RawGraph, bound: frozenset[Edge]) -> bytearray:
    """Return for each node whether a placeholder is among what it reads, directly or not."""
    users: list[list[int]] = [[] for _ in raw.nodes]
    for node in raw.nodes:
        for edge in node.inputs:
            if edge not in bound:
                users[edge[0]].append(node.index)
    fed = bytearray(len(raw.nodes))
    pending = [n.index for n in raw.nodes if n.op in PLACEHOLDERS and (n.index, 0) not in bound]
    for index in pending:
        fed[index] = 1
    while pending:
        for user in users[pending.pop()]:
            if not fed[user]:
                fed[user] = 1
                pending.append(user)
    return fed


def _output_count(node: RawNode) -> int:
    key = _MANY_OUTPUTS.get(node.op)
    if key is None:
        return 1
    try:
        return min(max(AttrReader(node.message.attr).integer(key, 1), 1), MAX_OUTPUTS)
    except GraphError:
        return 1


def default_inputs(raw: RawGraph, outputs: tuple[Edge, ...], bound: frozenset[Edge] = frozenset()) -> tuple[Edge, ...]:
    """Return the placeholders that the outputs need, in file order; not those before ``bound`` tensors alone."""
    roots = [edge[0] for edge in outputs if edge not in bound]
    order = topological_order(raw, roots, bound, with_controls=False)
    return tuple((i, 0) for i in sorted(order) if raw.nodes[i].op in PLACEHOLDERS and (i, 0) not in bound)


def cut_rules(raw: RawGraph, rule: InputRule, max_constant_bytes: int) -> Mapping[Edge, TensorType | None]:
    """Return the types of inputs that cut the graph at a computed tensor (placeholders are not listed).

    The type comes from importing what stands before the cut; where that cannot be imported, from the tensor's
    attributes and the given shape.

    Raises:
        UsageError: the type cannot be found; the text says to give the shape.
    """
    found: dict[Edge, TensorType | None] = {}
    for edge in rule.inputs:
        node = raw.nodes[edge[0]]
        if node.op in PLACEHOLDERS:
            if edge[1] != 0:
                raise UsageError(f"the placeholder {shorten(node.name)} has no output {edge[1]}")
            continue
        found[edge] = _cut_type(raw, edge, rule, max_constant_bytes)
    return found


def _cut_type(raw: RawGraph, edge: Edge, rule: InputRule, max_constant_bytes: int) -> TensorType:
    override = rule.overrides.get(edge)
    try:
        value = evaluate_before(raw, edge, rule, max_constant_bytes)
    except UnsupportedGraphError as error:
        if override is None:
            raise UsageError(
                f"what stands before {shorten(raw.name_of(edge))} cannot be imported; give the shape of that input, "
                f"for instance --input-shape {raw.name_of(edge)}=1x65x65x256"
            ) from error
        return TensorType(declared_dtype(raw.nodes[edge[0]]), tuple(-1 if s is None else s for s in override))
    shape = value.type.shape
    if override is not None:
        if len(override) != len(shape):
            raise UsageError(
                f"--input-shape {raw.name_of(edge)}={shape_text(override)} does not fit: the tensor is {value.type}"
            )
        shape = tuple(s if o is None else o for s, o in zip(shape, override, strict=True))
    return TensorType(value.type.dtype, tuple(s if isinstance(s, int) else -1 for s in shape))


def evaluate_before(raw: RawGraph, edge: Edge, rule: InputRule, max_constant_bytes: int) -> Value:
    """Return the value of a cut tensor in the whole graph; its size symbols are not those of the cut graph."""
    frozen = {other: item for other, item in rule.frozen.items() if other != edge}
    inputs = default_inputs(raw, (edge,), frozenset(frozen))
    limits: dict[str, int] = {}
    for _ in range(MAX_RESTARTS):
        before = replace(rule, inputs=inputs, limits=limits, frozen=frozen)
        try:
            return Evaluation(raw, before, max_constant_bytes).run((edge,), {})[0]
        except NeedsLimit as signal:
            limits[signal.symbol.name] = min(signal.high, limits.get(signal.symbol.name, signal.high))
    raise GraphError("the graph limits the image size in too many ways")


def declared_dtype(node: RawNode) -> DType:
    """Return the element type of what a node computes, by its attributes.

    Raises:
        UsageError: the IR has no such type.
    """
    kind = result_kind(node) or TfType.FLOAT
    if kind.dtype is None or kind.is_quantised:
        raise UsageError(f"{shorten(node.name)}: an input of type {kind.label} is not supported")
    return kind.dtype


def result_kind(node: RawNode) -> TfType | None:
    """Return TensorFlow's type of what a node computes, or ``None`` where no attribute says it."""
    reader = AttrReader(node.message.attr)
    key = _RESULT_TYPE.get(node.op, "T")
    return reader.kind(key) if key in reader else None


def stated_shape(node: RawNode) -> tuple[int, ...] | None:
    """Return the shape that a placeholder states (-1: open), or ``None`` where it states no rank."""
    try:
        message = AttrReader(node.message.attr).shape("shape")
    except GraphError:
        return None
    return None if message is None or message.unknown_rank else tuple(int(d.size) for d in message.dim)
