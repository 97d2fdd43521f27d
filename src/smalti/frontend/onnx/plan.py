"""One graph of a file by itself: names checked, single assignment, nodes in an order to compute in.

Main graphs, bodies and local functions are alike here.  What they call and what stands around them comes later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smalti.errors import GraphError
from smalti.frontend.onnx.attrs import Attribute, attribute_of
from smalti.frontend.onnx.opsets import domain_of, operation
from smalti.frontend.onnx.wire.tensors import OnnxTensor, SparseTensor, Store
from smalti.frontend.onnx.wire.types import AttrKind, ValueType, text_of, value_type
from smalti.frontend.raw import operands_first
from smalti.frontend.words import shorten

MAX_INPUTS = 65536


@dataclass(frozen=True, slots=True, eq=False)
class PlannedNode:
    """A node as it stands in its graph: tensors by name.

    ``references`` are attributes whose value is an attribute of the call of the function around: name to name.
    """

    label: str
    domain: str
    op: str
    overload: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    references: Mapping[str, str]
    bodies: Mapping[str, Plan]

    @property
    def operation(self) -> str:
        """The operation for messages."""
        return operation(self.domain, self.op)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A graph.

    Attributes:
        inputs: names and types; without those that have an initialiser.
        constants: the initialisers: name to value.
        nodes: each after all that it reads.
        outputs: names and, where they are of use, types.
        free: names that it reads and does not make: those of the graphs around it.
    """

    inputs: tuple[tuple[str, ValueType], ...]
    constants: Mapping[str, Attribute]
    nodes: tuple[PlannedNode, ...]
    outputs: tuple[tuple[str, ValueType | None], ...]
    free: frozenset[str]


def plan_graph(message: Any, store: Store, main: bool = False) -> Plan:
    """Check a ``Graph`` message.

    Args:
        message: the graph.
        store: where the values of its tensors are.
        main: whether types of inputs count, as they do in the model's own graph.

    Raises:
        GraphError: a bad name, a tensor that is made twice, nodes that depend on themselves, a bad attribute.
    """
    constants: dict[str, Attribute] = {}
    for tensor in message.initializer:
        _add(constants, tensor.name, Attribute(AttrKind.TENSOR, OnnxTensor(tensor, store)))
    for tensor in message.sparse_initializer:
        _add(constants, tensor.values.name, Attribute(AttrKind.SPARSE_TENSOR, SparseTensor(tensor, store)))
    inputs: dict[str, ValueType] = {}
    for number, value in enumerate(message.input):
        name = _tensor_name(value.name, f"the name of input number {number}")
        if name in inputs:
            raise GraphError(f"two inputs are called {shorten(name)}")
        # An initialiser may be listed as an input too, and in old files must be: it is a constant all the same.
        inputs[name] = ValueType() if name in constants or not main else _typed(value, name)
    outputs: dict[str, ValueType | None] = {}
    for number, value in enumerate(message.output):
        name = _tensor_name(value.name, f"the name of output number {number}")
        if name in outputs and main:
            raise GraphError(f"two outputs are called {shorten(name)}")
        outputs[name] = _hint(value) if main else None
    planned = tuple(_planned(number, node, store) for number, node in enumerate(message.node))
    given = [*constants, *(name for name in inputs if name not in constants)]
    nodes, free = _ordered(planned, given, outputs)
    names = [text_of(value.name, "the name of an output") for value in message.output]
    return Plan(
        tuple((name, kind) for name, kind in inputs.items() if name not in constants),
        constants,
        nodes,
        tuple((name, outputs[name]) for name in names),
        free,
    )


def plan_function(message: Any, store: Store) -> Plan:
    """Check the body of a ``Function`` message; it sees nothing of what stands around it.

    Raises:
        GraphError: as :func:`plan_graph`.
    """
    inputs = tuple(_tensor_name(name, "the name of an input") for name in message.input)
    outputs = tuple(_tensor_name(name, "the name of an output") for name in message.output)
    for what, names in (("inputs", inputs), ("outputs", outputs)):
        if len(set(names)) != len(names):
            raise GraphError(f"two {what} have one name")
    planned = tuple(_planned(number, node, store) for number, node in enumerate(message.node))
    nodes, free = _ordered(planned, inputs, outputs)
    if free:
        raise GraphError(f"the tensor {shorten(min(free))} does not exist in it")
    return Plan(tuple((n, ValueType()) for n in inputs), {}, nodes, tuple((n, None) for n in outputs), free)


def _add(constants: dict[str, Attribute], name: bytes, value: Attribute) -> None:
    text = _tensor_name(name, f"the name of initialiser number {len(constants)}")
    if text in constants:
        raise GraphError(f"two initialisers are called {shorten(text)}")
    constants[text] = value


def _tensor_name(data: bytes, what: str) -> str:
    if not data:
        raise GraphError(f"{what} is empty")
    return text_of(data, what)


def _typed(value: Any, name: str) -> ValueType:
    try:
        return value_type(value.type)
    except GraphError as error:
        raise GraphError(f"the input {shorten(name)}: {error}") from error


def _hint(value: Any) -> ValueType | None:
    """Return what a file says of an output, or nothing where that makes no sense: it is only a hint."""
    try:
        return value_type(value.type)
    except GraphError:
        return None


def _planned(number: int, message: Any, store: Store) -> PlannedNode:
    try:
        name = text_of(message.name, "its name")
        outputs = tuple(text_of(n, "the name of an output") for n in message.output)
    except GraphError as error:
        raise GraphError(f"node number {number}: {error}") from error
    label = name or next((n for n in outputs if n), f"number {number}")
    try:
        return _checked(label, message, outputs, store)
    except GraphError as error:
        if is_located(error):
            raise
        raise GraphError(f"node {shorten(label)}: {error}") from error


def is_located(error: GraphError) -> bool:
    """Whether an error names a node already, which stands further in."""
    return str(error).startswith("node ")


def _checked(label: str, message: Any, outputs: tuple[str, ...], store: Store) -> PlannedNode:
    for what, names in (("inputs", message.input), ("outputs", message.output)):
        if len(names) > MAX_INPUTS:
            raise GraphError(f"it has {len(names)} {what}; the limit is {MAX_INPUTS}")
    op = text_of(message.op_type, "the name of its operation")
    if not op:
        raise GraphError("it has no operation")
    domain = domain_of(message.domain)
    attributes: dict[str, Attribute] = {}
    references: dict[str, str] = {}
    bodies: dict[str, Plan] = {}
    for attribute in message.attribute:
        name = text_of(attribute.name, "the name of an attribute")
        if name in attributes or name in references or name in bodies:
            raise GraphError(f"attribute {shorten(name)} is given twice")
        reference = text_of(attribute.ref_attr_name, "the name of an attribute")
        if reference:
            references[name] = reference
            continue
        try:
            found = attribute_of(attribute, store)
        except GraphError as error:
            raise GraphError(f"attribute {shorten(name)} {error}") from error
        if found.kind is AttrKind.GRAPHS:
            raise GraphError(f"attribute {shorten(name)} is a list of graphs, which no operation of ONNX has")
        if found.kind is AttrKind.GRAPH:
            bodies[name] = plan_graph(attribute.g, store)
        else:
            attributes[name] = found
    inputs = tuple(text_of(n, "the name of an input") for n in message.input)
    overload = text_of(message.overload, "the name of its overload")
    return PlannedNode(label, domain, op, overload, inputs, outputs, attributes, references, bodies)


def _ordered(
    nodes: Sequence[PlannedNode], given: Iterable[str], outputs: Iterable[str]
) -> tuple[tuple[PlannedNode, ...], frozenset[str]]:
    """Return nodes in an order to compute in (their own, if that is one), and the names they do not make."""
    makers: dict[str, int] = dict.fromkeys(given, -1)
    for index, node in enumerate(nodes):
        for name in node.outputs:
            if name in makers:
                raise GraphError(f"node {shorten(node.label)}: the tensor {shorten(name)} is made twice")
            if name:
                makers[name] = index
    below: list[list[int]] = []
    free: set[str] = {name for name in outputs if name not in makers}
    for node in nodes:
        names = [*node.inputs, *(name for body in node.bodies.values() for name in body.free)]
        free.update(name for name in names if name and name not in makers)
        below.append([makers[name] for name in names if makers.get(name, -1) >= 0])
    order = operands_first(
        len(nodes), range(len(nodes)), lambda index: iter(below[index]), lambda index: nodes[index].label
    )
    return tuple(nodes[index] for index in order), frozenset(free)
