"""Typed access to the attributes of a node; what nobody reads is an error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from smalti.errors import GraphError
from smalti.frontend.kinds import ElementKind
from smalti.frontend.words import shorten

MAX_LIST = 4096


class Attributes(ABC):
    """Hands out attributes by name and type, and remembers which were asked for.

    A format says in a subclass how its messages hold a value.  A method without ``default`` raises
    :class:`GraphError` when the attribute is missing; every method raises it when the attribute has another type.
    Texts name the attribute; the importer adds the node.
    """

    __slots__ = ("_read", "_values")

    KINDS: ClassVar[tuple[str, ...]] = ("s", "i", "f", "b", "type", "list")
    """What an attribute may hold: a text, an integer, a number, a flag, an element type, a list of integers, ..."""

    def __init__(self, entries: Iterable[tuple[str, Any]]) -> None:
        self._values: dict[str, Any] = {}
        self._read: set[str] = set()
        for name, value in entries:
            if name in self._values:
                raise GraphError(f"attribute {shorten(name)} is given twice")
            self._values[name] = value

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
        """Return a string attribute; bytes that are not UTF-8 are replaced."""
        value = self._get(name, "s", default is None)
        return default if value is None and default is not None else bytes(value).decode("utf-8", "replace")

    def ints(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Return a list of at most ``MAX_LIST`` integers."""
        value = self._get(name, "list", default is None)
        if value is None and default is not None:
            return default
        found = self._ints(value)
        if found is not None and len(found) > MAX_LIST:
            raise GraphError(f"attribute {name} lists {len(found)} numbers; the limit is {MAX_LIST}")
        if found is None:
            raise GraphError(f"attribute {name} is not a list of integers")
        return tuple(int(i) for i in found)

    @abstractmethod
    def kind(self, name: str) -> ElementKind:
        """Return a type attribute."""

    def unread(self, ignore: frozenset[str]) -> tuple[str, ...]:
        """Return the attributes nobody read and nobody declared ignored, nor the format's tools add to any node."""
        return tuple(n for n in self._values if n not in self._read and n not in ignore and not self._is_annotation(n))

    @abstractmethod
    def _holds(self, value: Any, kind: str) -> bool:
        """Whether a stored value is of a kind of ``KINDS``."""

    @abstractmethod
    def _content(self, value: Any, kind: str) -> Any:
        """Return what a stored value holds: a number, a flag, ``bytes`` of a text, or a message of the format."""

    @abstractmethod
    def _ints(self, content: Any) -> Any | None:
        """Return the integers of the content of a list, with a length, or ``None`` when it lists other things."""

    def _is_annotation(self, name: str) -> bool:
        """Whether tools of the format add an attribute of this name to any node, which never changes a result."""
        return False

    def _get(self, name: str, kind: str, required: bool) -> Any:
        self._read.add(name)
        value = self._values.get(name)
        if value is None:
            if required:
                raise GraphError(f"attribute {name} is missing")
            return None
        if not self._holds(value, kind):
            found = next((k for k in self.KINDS if self._holds(value, k)), "nothing")
            raise GraphError(f"attribute {name} holds '{found}' where '{kind}' is expected")
        return self._content(value, kind)
