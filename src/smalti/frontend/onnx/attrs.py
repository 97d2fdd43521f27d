"""The attributes of a node: what the shared reader needs to know of them, and ONNX's own kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smalti.errors import GraphError
from smalti.frontend.attributes import Attributes
from smalti.frontend.onnx.wire.tensors import OnnxTensor, SparseTensor, Store
from smalti.frontend.onnx.wire.types import AttrKind, OnnxType, ValueType, onnx_type, value_type
from smalti.frontend.words import shorten

MAX_VALUES = 1 << 20
"""Elements of a constant that stands in an attribute as a list."""
_BY_NUMBER = {kind.number: kind for kind in AttrKind}
_BY_FIELD = {kind.field: kind for kind in AttrKind}
_ALONE = frozenset((AttrKind.TENSOR, AttrKind.SPARSE_TENSOR, AttrKind.GRAPH, AttrKind.TYPE_PROTO))
_HELD = {
    "i": AttrKind.INT,
    "f": AttrKind.FLOAT,
    "s": AttrKind.STRING,
    "list": AttrKind.INTS,
    "floats": AttrKind.FLOATS,
    "strings": AttrKind.STRINGS,
    "type": AttrKind.TYPE_PROTO,
    "tensor": AttrKind.TENSOR,
    "sparse tensor": AttrKind.SPARSE_TENSOR,
    "graph": AttrKind.GRAPH,
    "tensors": AttrKind.TENSORS,
    "sparse tensors": AttrKind.SPARSE_TENSORS,
    "types": AttrKind.TYPE_PROTOS,
}


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """An attribute: its kind, and what it holds.

    ``held`` is the message for numbers, texts, types and lists; an :class:`OnnxTensor` or :class:`SparseTensor` for
    those; the :class:`~smalti.frontend.onnx.rawgraph.Body` of a graph once it stands in the table of nodes.
    """

    kind: AttrKind
    held: Any


def attribute_of(message: Any, store: Store) -> Attribute:
    """Return an attribute of a file; files of the first version of ONNX do not state the kind, but hold one thing.

    Raises:
        GraphError: it says it is of one kind and holds another, holds two things or none, or is of no known kind.
    """
    there = [_BY_FIELD[field.name] for field, _ in message.ListFields() if field.name in _BY_FIELD]
    if message.type:
        stated = _BY_NUMBER.get(message.type)
        if stated is None:
            raise GraphError(f"is of kind {message.type}, which ONNX does not have")
    elif len(there) == 1:
        stated = there[0]
    else:
        raise GraphError("does not say of what kind it is")
    for kind in there:
        if kind is not stated:
            raise GraphError(f"says that it is {stated.noun}, but holds {kind.noun}")
    if stated in _ALONE and not there:
        raise GraphError(f"holds no {stated.label}")
    if stated is AttrKind.TENSOR:
        return Attribute(stated, OnnxTensor(message.t, store))
    if stated is AttrKind.SPARSE_TENSOR:
        return Attribute(stated, SparseTensor(message.sparse_tensor, store))
    return Attribute(stated, message)


class AttrReader(Attributes):
    """Reads the attributes of a node."""

    __slots__ = ()

    KINDS = tuple(_HELD)

    def __init__(self, attributes: Mapping[str, Attribute]) -> None:
        super().__init__(attributes.items())

    def flag(self, name: str, default: bool | None = None) -> bool:
        """Return an integer that must be 0 or 1, as ONNX writes truth."""
        value = self.integer(name, None if default is None else int(default))
        if value not in (0, 1):
            raise GraphError(f"attribute {name} is {value} where 0 or 1 is expected")
        return bool(value)

    def kind(self, name: str, default: OnnxType | None = None) -> OnnxType:
        """Return an integer that is the number of an element type (``to`` of a cast)."""
        value = self._get(name, "i", default is None)
        if value is None and default is not None:
            return default
        try:
            return onnx_type(int(value))
        except GraphError as error:
            raise GraphError(f"attribute {name}: {error}") from error

    def numbers(self, name: str, default: tuple[float, ...] | None = None) -> tuple[float, ...]:
        """Return a list of float32, as floats."""
        value = self._get(name, "floats", default is None)
        return default if value is None and default is not None else tuple(float(f) for f in _short(name, value))

    def texts(self, name: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Return a list of texts; bytes that are not UTF-8 are replaced."""
        value = self._get(name, "strings", default is None)
        if value is None and default is not None:
            return default
        return tuple(bytes(s).decode("utf-8", "replace") for s in _short(name, value))

    def many_ints(self, name: str) -> tuple[int, ...]:
        """Return a list of integers that is a constant, and may be longer than lists of settings are."""
        return tuple(int(i) for i in _short(name, self._get(name, "list", True).ints))

    def tensor(self, name: str) -> OnnxTensor:
        """Return a tensor, not decoded yet."""
        found: OnnxTensor = self._get(name, "tensor", True)
        return found

    def sparse(self, name: str) -> SparseTensor:
        """Return a sparse tensor, not decoded yet."""
        found: SparseTensor = self._get(name, "sparse tensor", True)
        return found

    def body(self, name: str) -> Any:
        """Return a graph, as the :class:`~smalti.frontend.onnx.rawgraph.Body` that stands in the table of nodes."""
        return self._get(name, "graph", True)

    def value_type(self, name: str) -> ValueType:
        """Return the type of a value."""
        try:
            return value_type(self._get(name, "type", True))
        except GraphError as error:
            raise GraphError(f"attribute {name}: {error}") from error

    def _holds(self, value: Attribute, kind: str) -> bool:
        return value.kind is _HELD.get(kind)

    def _content(self, value: Attribute, kind: str) -> Any:
        held = value.held
        if kind in ("i", "f", "s", "floats", "strings"):
            return getattr(held, kind)
        return held.tp if kind == "type" else held

    def _ints(self, content: Any) -> Any | None:
        return content.ints


def _short(name: str, values: Any) -> Any:
    if len(values) > MAX_VALUES:
        raise GraphError(f"attribute {shorten(name)} lists {len(values)} values; the limit is {MAX_VALUES}")
    return values
