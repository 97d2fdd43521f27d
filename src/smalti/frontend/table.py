"""The table of the operations of a format that the importer understands, filled by handlers.

A format makes one table and its files of handlers fill it::

    @table.op("Relu", inputs=1, types={"T": 0})
    def relu(ctx: NodeContext[MyAttributes]) -> Handled: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Generic, TypeVar

from smalti.errors import CompilerError
from smalti.frontend.attributes import Attributes
from smalti.frontend.context import NodeContext
from smalti.frontend.raw import RawNode
from smalti.frontend.values import Result

A = TypeVar("A", bound=Attributes)
Handled = Result | tuple[Result, ...]
Handler = Callable[[NodeContext[A]], Handled]


@dataclass(frozen=True, slots=True)
class OpEntry(Generic[A]):
    """How one operation is imported.

    Attributes:
        name: the format's name of the operation.
        handler: turns a node into values.  It reads its attributes before its inputs, so that a bad attribute is
            reported even behind an unsupported node.
        inputs: least and largest number of data inputs; only those above the least may be left out.
        ignore: attributes that cannot change the result.
        types: attributes that must state the element type of an input: name to input number.
        note: limits, for the documentation.
        sees_special: the handler takes dead and unknown inputs itself.
        domain: whose operation it is; ``""`` is the format's own.
        since: the first version of that set of operations in which the operation is as the handler takes it.
    """

    name: str
    handler: Handler[A]
    inputs: tuple[int, int]
    ignore: frozenset[str] = frozenset()
    types: Mapping[str, int] = field(default_factory=dict)
    note: str = ""
    sees_special: bool = False
    domain: str = ""
    since: int = 1


class OpTable(Generic[A]):
    """All operations of one format; complete once its files of handlers are imported.

    ``newest`` is the newest known version of each set of operations, by domain: of a later one nobody knows what it
    changes, so no entry is taken for it.  A format without domains and versions leaves it out.
    """

    __slots__ = ("_entries", "_newest", "_refused")

    def __init__(self, newest: Mapping[str, int] | None = None) -> None:
        self._newest = MappingProxyType({"": 1, **(newest or {})})
        self._refused: dict[tuple[str, str], str] = {}
        self._entries: dict[tuple[str, str], tuple[OpEntry[A], ...]] = {}

    def op(
        self,
        *names: str,
        inputs: int | tuple[int, int],
        ignore: tuple[str, ...] = (),
        types: Mapping[str, int] | None = None,
        note: str = "",
        sees_special: bool = False,
        domain: str = "",
        since: int = 1,
    ) -> Callable[[Handler[A]], Handler[A]]:
        """Register a handler for operations; see :class:`OpEntry`."""
        span = (inputs, inputs) if isinstance(inputs, int) else inputs

        def register(handler: Handler[A]) -> Handler[A]:
            for name in names:
                self._add(
                    OpEntry(
                        name, handler, span, frozenset(ignore), dict(types or {}), note, sees_special, domain, since
                    )
                )
            return handler

        return register

    def refuse(self, *names: str, reason: str, domain: str = "") -> None:
        """Say why operations are known and not supported."""
        for name in names:
            if (domain, name) in self._entries or (domain, name) in self._refused:
                raise CompilerError(f"{name} is refused and has a handler, or is refused twice")
            self._refused[domain, name] = reason

    def refused(self) -> Mapping[tuple[str, str], str]:
        """Return why operations are known and not supported, by domain and name."""
        return MappingProxyType(self._refused)

    def find(self, node: RawNode) -> OpEntry[A] | None:
        """Return the entry for a node: the newest that is not newer than the node, or ``None``."""
        if node.version > self._newest.get(node.domain, 0):
            return None
        known = self._entries.get((node.domain, node.op), ())
        return next((entry for entry in known if entry.since <= node.version), None)

    def refusal(self, node: RawNode) -> str:
        """Return why :meth:`find` has no entry for a node."""
        newest = self._newest.get(node.domain)
        if newest is not None and node.version > newest:
            return f"version {node.version} of its set of operations; versions up to {newest} are known"
        if (node.domain, node.op) in self._entries:
            return f"operation not supported as it was in version {node.version} of its set of operations"
        return self._refused.get((node.domain, node.op), "operation not supported")

    def entries(self) -> tuple[OpEntry[A], ...]:
        """Return all entries, sorted by domain, name and version."""
        return tuple(e for key in sorted(self._entries) for e in reversed(self._entries[key]))

    def _add(self, entry: OpEntry[A]) -> None:
        if not 1 <= entry.since <= self._newest.get(entry.domain, 0):
            raise CompilerError(f"no version {entry.since} of the set of operations of {entry.name}")
        key = (entry.domain, entry.name)
        if key in self._refused:
            raise CompilerError(f"{entry.name} has a handler and is refused")
        known = self._entries.get(key, ())
        if any(other.since == entry.since for other in known):
            raise CompilerError(f"two handlers for {entry.name}")
        self._entries[key] = tuple(sorted((*known, entry), key=lambda e: -e.since))
