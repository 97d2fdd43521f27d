"""What classes are called where people read them."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.vision.palette import VOID_LABEL


def class_name(label: int, names: Sequence[str]) -> str:
    """Return the name of a class: its own, else ``void`` for 255 and ``class 3`` for 3."""
    if 0 <= label < len(names):
        return names[label]
    return "void" if label == VOID_LABEL else f"class {label}"
