"""The element types of a format, as far as all formats speak of them alike."""

from __future__ import annotations

from typing import Protocol

from smalti.numerics import DType


class ElementKind(Protocol):
    """One element type of a format; it may have some that the IR has not."""

    @property
    def dtype(self) -> DType | None:
        """Our element type, or ``None`` when the IR has none for it."""

    @property
    def is_quantised(self) -> bool:
        """Whether numbers of this type mean nothing without a range that stands elsewhere."""

    @property
    def ranged_by(self) -> str:
        """The operation that gives numbers of a quantised type their range, for messages."""

    @property
    def label(self) -> str:
        """The name for messages."""
