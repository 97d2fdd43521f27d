"""Which version of an operation a file means: the operator sets it names, and a table of what changed when.

A file names one version for each domain, and means by every operation what that had become by then.  The table is
asked by (domain, operation, version of the domain) and gives the entry of the newest change that is not newer than the
file.  An entry says for which changes it holds, so an operation that changed again is not taken for what it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from smalti.errors import CompilerError, GraphError
from smalti.frontend.onnx.types import text_of
from smalti.frontend.tensorflow.attrs import shorten

OLDEST, NEWEST = 7, 28
"""Versions of ONNX's own operators that are read."""
NEWEST_IR = 14
OWN_DOMAIN = "(model)"
"""The domain of what no operation makes: inputs of the model and of bodies."""
UNVERSIONED = 1
_MAX_DOMAINS = 64

E = TypeVar("E")


def domain_of(data: bytes) -> str:
    """Return the name of a domain; ONNX's own, which is also written ``ai.onnx``, is empty.

    Raises:
        GraphError: it is no name.
    """
    text = text_of(data, "the name of a domain")
    if "(" in text:
        raise GraphError(f"{shorten(text)} is no domain: a parenthesis stands in it")
    return "" if text == "ai.onnx" else text


def operation(domain: str, op: str) -> str:
    """Return the name of an operation for messages: with its domain, unless that is ONNX's own."""
    return f"{domain}.{op}" if domain else op


def check_ir(version: int) -> None:
    """Refuse files whose format is newer than what is known of it.

    Raises:
        GraphError: the version of the format is missing or too new.
    """
    if version < 1:
        raise GraphError("not an ONNX model: it states no version of its format (ir_version)")
    if version > NEWEST_IR:
        raise GraphError(
            f"the model is of version {version} of ONNX's format (ir_version); this Smalti knows it up to {NEWEST_IR}: "
            f"export the network with opset_version={NEWEST} or lower"
        )


def imported(messages: Any) -> dict[str, int]:
    """Return the version of each domain that a model or a function names.

    Raises:
        GraphError: a version of ONNX's own operators that is not read, or two versions of a domain.
    """
    if len(messages) > _MAX_DOMAINS:
        raise GraphError(f"the model names {len(messages)} operator sets; the limit is {_MAX_DOMAINS}")
    found: dict[str, int] = {}
    for message in messages:
        domain, version = domain_of(message.domain), int(message.version)
        if found.get(domain, version) != version:
            raise GraphError(f"the model names two versions of the operators of {shorten(domain or 'ai.onnx')}")
        found[domain] = version
    own = found.get("", NEWEST)
    if own > NEWEST:
        raise GraphError(
            f"the model uses opset {own}; this Smalti knows ONNX's operators up to opset {NEWEST}: export the network "
            f"with opset_version={NEWEST} or lower"
        )
    if own < OLDEST:
        raise GraphError(
            f"the model uses opset {own}; ONNX's operators are read from opset {OLDEST} on: export the network with "
            f"opset_version={OLDEST} or higher, or raise it with onnx.version_converter"
        )
    return found


def version_of(opsets: Mapping[str, int], domain: str) -> int:
    """Return the version in force of a domain's operators.

    Raises:
        GraphError: the file uses ONNX's own operators and names no version of them.
    """
    if domain not in opsets and not domain:
        raise GraphError("the model does not say which version of ONNX's operators it uses (opset_import)")
    # Domains of other makers are hardly ever versioned, and exporters forget to name them.
    return opsets.get(domain, UNVERSIONED)


class OpTable(Generic[E]):
    """Entries by domain, operation and the versions in which it changed."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], dict[int, E | None]] = {}

    def add(self, domain: str, op: str, since: tuple[int, ...], entry: E | None) -> None:
        """Add an entry for the changes of an operation that it holds for.

        Args:
            domain: empty for ONNX's own.
            op: the operation.
            since: the versions in which the operation changed to something that the entry understands.
            entry: ``None`` where the operation is not understood from there on, until the next change.

        Raises:
            CompilerError: there is an entry for one of these changes.
        """
        versions = self._entries.setdefault((domain, op), {})
        for version in since:
            if version in versions:
                raise CompilerError(f"two entries for {operation(domain, op)} since version {version}")
            versions[version] = entry

    def find(self, domain: str, op: str, version: int) -> E | None:
        """Return the entry for an operation of a file that uses this version of the domain, or ``None``."""
        versions = self._entries.get((domain, op), {})
        newest = max((since for since in versions if since <= version), default=None)
        return None if newest is None else versions[newest]

    def since(self, domain: str, op: str) -> tuple[int, ...]:
        """Return the changes of an operation that entries were added for."""
        return tuple(sorted(self._entries.get((domain, op), ())))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
