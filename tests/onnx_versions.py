"""Compares the versions that handlers of ONNX's operations declare with ONNX's own definitions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from smalti.frontend.onnx.opsets import NEWEST
from smalti.frontend.table import OpEntry


def undeclared(entries: Iterable[OpEntry[Any]], schemas: Iterable[Any]) -> list[str]:
    """Return what is wrong with the versions of entries.

    A change of an operation that no entry names would be taken for what stood there before; a version in which nothing
    changed is a slip.

    Args:
        entries: of the table.
        schemas: all definitions with their history, as the onnx package has them.
    """
    changes: dict[str, set[int]] = {}
    for schema in schemas:
        if not schema.domain and schema.since_version <= NEWEST:
            changes.setdefault(schema.name, set()).add(schema.since_version)
    declared: dict[str, set[int]] = {}
    for entry in entries:
        if not entry.domain:
            declared.setdefault(entry.name, set()).add(entry.since)
    wrong = []
    for name, versions in sorted(declared.items()):
        known = changes.get(name, set())
        wrong += [f"{name} did not change in version {v}" for v in sorted(versions - known)]
        missing = sorted(v for v in known - versions if v > min(versions))
        wrong += [f"{name} changed in version {v}, which no handler names" for v in missing]
    return wrong
