"""The documentation page of supported operations, generated from the table the importer works by."""

from __future__ import annotations

from smalti.frontend.handlers import OPS
from smalti.frontend.registry import OpEntry

_HEAD = """# TensorFlow operations the importer understands

Generated from the table the importer works by (`smalti.frontend.supported.supported_ops_markdown()`); a test compares
this page with the code and says how to write it again.

Every attribute of a node is read or listed here as ignored; any other attribute is an error that names it. Attributes
whose name starts with `_` are annotations of TensorFlow's tools and are ignored everywhere. Attributes that state
element types are checked against the inputs. Control inputs only order nodes and are not kept. One error lists all
nodes of a graph that are not supported.

| operation | inputs | what it is | limits | ignored attributes |
|---|---|---|---|---|
"""


def supported_ops_markdown() -> str:
    """Return the page as Markdown."""
    return _HEAD + "".join(f"{_row(OPS[name])}\n" for name in sorted(OPS))


def _row(entry: OpEntry) -> str:
    low, high = entry.inputs
    span = str(low) if low == high else f"{low}..{high}"
    doc = (entry.handler.__doc__ or "").strip().splitlines()[0].rstrip(".")
    ignored = ", ".join(f"`{name}`" for name in sorted(entry.ignore))
    return f"| `{entry.name}` | {span} | {doc} | {entry.note} | {ignored} |"
