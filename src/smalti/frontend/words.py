"""Words for messages about graphs of strangers."""

from __future__ import annotations


def shorten(text: str, limit: int = 120) -> str:
    """Return a name fit for a message: quoted, escaped, at most about ``limit`` characters."""
    return repr(text) if len(text) <= limit else f"{text[: limit - 3]!r}..."
