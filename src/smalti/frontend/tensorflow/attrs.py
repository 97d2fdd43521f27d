"""Typed access to the attributes of a node; what nobody reads is an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from smalti.errors import GraphError
from smalti.frontend.tensorflow.tensors import TfType, tf_type

_KINDS = ("s", "i", "f", "b", "type", "shape", "tensor", "list", "placeholder")
MAX_LIST = 4096


class AttrReader:
    """Hands out attributes by name and type, and remembers which were asked for.

    A method without ``default`` raises :class:`GraphError` when the attribute is missing; every method raises it when
    the attribute has another type.  Texts name the attribute; the importer adds the node.
    """

    __slots__ = ("_read", "_values")

    def __init__(self, entries: Sequence[Any]) -> None:
        self._values: dict[str, Any] = {}
        self._read: set[str] = set()
        for entry in entries:
            name = entry.key.decode("utf-8", "replace")
            if name in self._values:
                raise GraphError(f"attribute {shorten(name)} is given twice")
            self._values[name] = entry.value

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def integer(self, name: str, default: int | None = None) -> int:
        """Return an integer attribute."""
        value = self._get(name, "i", default is None)
        return default if value is None and default is not None else int(value)

    def number(self, name: str, default: float | None = None) -> float:
        """Return a float attribute."""
        value = self._get(name, "f", default is None)
        return default if value is None and default is not None else float(value)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """Return a bool attribute."""
        value = self._get(name, "b", default is None)
        return default if value is None and default is not None else bool(value)

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string attribute."""
        value = self._get(name, "s", default is None)
        return default if value is None and default is not None else value.decode("utf-8", "replace")

    def kind(self, name: str, default: TfType | None = None) -> TfType:
        """Return a type attribute."""
        value = self._get(name, "type", default is None)
        if value is None and default is not None:
            return default
        try:
            return tf_type(int(value))
        except GraphError as error:
            raise GraphError(f"attribute {name}: {error}") from error

    def shape(self, name: str) -> Any | None:
        """Return a shape message, or ``None`` when it is missing."""
        return self._get(name, "shape", False)

    def tensor(self, name: str) -> Any:
        """Return a tensor message."""
        return self._get(name, "tensor", True)

    def ints(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Return a list of integers."""
        value = self._get(name, "list", default is None)
        if value is None and default is not None:
            return default
        if len(value.i) > MAX_LIST:
            raise GraphError(f"attribute {name} lists {len(value.i)} numbers; the limit is {MAX_LIST}")
        if not value.i and (value.s or value.f or value.b or value.type or value.shape or value.tensor):
            raise GraphError(f"attribute {name} is not a list of integers")
        return tuple(int(i) for i in value.i)

    def unread(self, ignore: frozenset[str]) -> tuple[str, ...]:
        """Return the attributes nobody read and nobody declared ignored.

        Names that start with ``_`` are annotations of TensorFlow's own tools (``_class``, ``_output_shapes``) and never
        change a result.
        """
        return tuple(n for n in self._values if n not in self._read and n not in ignore and not n.startswith("_"))

    def _get(self, name: str, kind: str, required: bool) -> Any:
        self._read.add(name)
        value = self._values.get(name)
        if value is None:
            if required:
                raise GraphError(f"attribute {name} is missing")
            return None
        if not value.HasField(kind):
            found = next((k for k in _KINDS if value.HasField(k)), "nothing")
            raise GraphError(f"attribute {name} holds '{found}' where '{kind}' is expected")
        return getattr(value, kind)


def shorten(text: str, limit: int = 120) -> str:
    """Return a name fit for a message: quoted, escaped, at most about ``limit`` characters."""
    return repr(text) if len(text) <= limit else f"{text[: limit - 3]!r}..."
