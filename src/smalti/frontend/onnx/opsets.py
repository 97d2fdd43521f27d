"""Which version of an operation a file means: the operator sets that it names.

A file names one version for each domain, and means by every operation what that had become by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smalti.errors import GraphError
from smalti.frontend.onnx.wire.types import text_of
from smalti.frontend.words import shorten

OLDEST, NEWEST = 6, 28
"""Versions of ONNX's own operators that are read."""
NEWEST_IR = 14
OWN_DOMAIN = "(model)"
"""The domain of what a reader makes that is no operation of the file, such as inputs.  No file can name it."""
UNVERSIONED = 1
_MAX_DOMAINS = 64


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
