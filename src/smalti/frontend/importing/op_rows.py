"""What the importer understands of a format, as rows of a table for its page."""

from __future__ import annotations

from typing import Any

from smalti.frontend.table import OpEntry, OpTable


def op_rows(table: OpTable[Any]) -> str:
    """Return a Markdown row for each operation: its name, inputs, what it is, limits, ignored attributes."""
    return "".join(f"{_row(entry)}\n" for entry in table.entries())


def _row(entry: OpEntry[Any]) -> str:
    low, high = entry.inputs
    span = str(low) if low == high else f"{low}..{high}"
    doc = (entry.handler.__doc__ or "").strip().splitlines()[0].rstrip(".")
    ignored = ", ".join(f"`{name}`" for name in sorted(entry.ignore))
    return f"| `{entry.name}` | {span} | {doc} | {entry.note} | {ignored} |"
