"""Typed access to the attributes of a node; what nobody reads is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smalti.errors import GraphError
from smalti.frontend.onnx.tensors import OnnxTensor, SparseTensor, Store
from smalti.frontend.onnx.types import AttrKind, OnnxType, ValueType, onnx_type, value_type
from smalti.frontend.tensorflow.attrs import shorten

MAX_LIST = 4096
_KINDS = {kind.number: kind for kind in AttrKind}


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
    there = [kind for kind in AttrKind if _is_there(message, kind)]
    if message.type:
        stated = _KINDS.get(message.type)
        if stated is None:
            raise GraphError(f"is of kind {message.type}, which ONNX does not have")
    elif len(there) == 1:
        stated = there[0]
    else:
        raise GraphError("does not say of what kind it is")
    for kind in there:
        if kind is not stated:
            raise GraphError(f"says that it is {stated.noun}, but holds {kind.noun}")
    if stated in (AttrKind.TENSOR, AttrKind.SPARSE_TENSOR, AttrKind.GRAPH, AttrKind.TYPE_PROTO) and not there:
        raise GraphError(f"holds no {stated.label}")
    if stated is AttrKind.TENSOR:
        return Attribute(stated, OnnxTensor(message.t, store))
    if stated is AttrKind.SPARSE_TENSOR:
        return Attribute(stated, SparseTensor(message.sparse_tensor, store))
    return Attribute(stated, message)


def _is_there(message: Any, kind: AttrKind) -> bool:
    if kind.name.endswith("S"):
        return len(getattr(message, kind.field)) > 0
    return bool(message.HasField(kind.field))


class AttrReader:
    """Hands out attributes by name and kind, and remembers which were asked for.

    A method without ``default`` raises :class:`GraphError` when the attribute is missing; every method raises it when
    the attribute is of another kind.  Texts name the attribute; the importer adds the node.
    """

    __slots__ = ("_read", "_values")

    def __init__(self, attributes: Mapping[str, Attribute]) -> None:
        self._values = attributes
        self._read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def integer(self, name: str, default: int | None = None) -> int:
        """Return an integer."""
        held = self._get(name, AttrKind.INT, default is None)
        return default if held is None and default is not None else int(held.i)

    def number(self, name: str, default: float | None = None) -> float:
        """Return a float32, as a float."""
        held = self._get(name, AttrKind.FLOAT, default is None)
        return default if held is None and default is not None else float(held.f)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """Return an integer that must be 0 or 1, as ONNX writes truth."""
        value = self.integer(name, None if default is None else int(default))
        if value not in (0, 1):
            raise GraphError(f"attribute {name} is {value} where 0 or 1 is expected")
        return bool(value)

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text."""
        held = self._get(name, AttrKind.STRING, default is None)
        return default if held is None and default is not None else held.s.decode("utf-8", "replace")

    def element(self, name: str, default: OnnxType | None = None) -> OnnxType:
        """Return an integer that is the number of an element type (``to`` of a cast)."""
        held = self._get(name, AttrKind.INT, default is None)
        if held is None and default is not None:
            return default
        try:
            return onnx_type(int(held.i))
        except GraphError as error:
            raise GraphError(f"attribute {name}: {error}") from error

    def ints(self, name: str, default: tuple[int, ...] | None = None, most: int = MAX_LIST) -> tuple[int, ...]:
        """Return a list of integers."""
        held = self._get(name, AttrKind.INTS, default is None)
        if held is None and default is not None:
            return default
        return tuple(int(i) for i in _short(name, held.ints, most))

    def numbers(self, name: str, default: tuple[float, ...] | None = None, most: int = MAX_LIST) -> tuple[float, ...]:
        """Return a list of float32, as floats."""
        held = self._get(name, AttrKind.FLOATS, default is None)
        if held is None and default is not None:
            return default
        return tuple(float(f) for f in _short(name, held.floats, most))

    def texts(self, name: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """Return a list of texts."""
        held = self._get(name, AttrKind.STRINGS, default is None)
        if held is None and default is not None:
            return default
        return tuple(s.decode("utf-8", "replace") for s in _short(name, held.strings, MAX_LIST))

    def tensor(self, name: str) -> OnnxTensor:
        """Return a tensor, not decoded yet."""
        found: OnnxTensor = self._get(name, AttrKind.TENSOR, True)
        return found

    def sparse(self, name: str) -> SparseTensor:
        """Return a sparse tensor, not decoded yet."""
        found: SparseTensor = self._get(name, AttrKind.SPARSE_TENSOR, True)
        return found

    def body(self, name: str) -> Any:
        """Return a graph, as the :class:`~smalti.frontend.onnx.rawgraph.Body` that stands in the table of nodes."""
        return self._get(name, AttrKind.GRAPH, True)

    def value_type(self, name: str) -> ValueType:
        """Return the type of a value."""
        try:
            return value_type(self._get(name, AttrKind.TYPE_PROTO, True).tp)
        except GraphError as error:
            raise GraphError(f"attribute {name}: {error}") from error

    def unread(self, ignore: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Return the attributes nobody read and nobody declared ignored."""
        return tuple(n for n in self._values if n not in self._read and n not in ignore)

    def _get(self, name: str, kind: AttrKind, required: bool) -> Any:
        self._read.add(name)
        found = self._values.get(name)
        if found is None:
            if required:
                raise GraphError(f"attribute {name} is missing")
            return None
        if found.kind is not kind:
            raise GraphError(f"attribute {name} is {found.kind.noun} where {kind.noun} is expected")
        return found.held


def _short(name: str, values: Any, most: int) -> Any:
    if len(values) > most:
        raise GraphError(f"attribute {shorten(name)} lists {len(values)} values; the limit is {most}")
    return values
