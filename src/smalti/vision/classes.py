"""What classes are called, and which colours they have, where people see them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smalti.errors import UsageError
from smalti.vision.palette import VOID_LABEL
from smalti.vision.voc import printable, read_list

LABELS_FILE: Final = "labels.txt"
"""What the file of class names is called beside exported models and data."""
LONGEST_LABEL: Final = 200
_COLOUR: Final = re.compile(r"(?:^|(?P<name>.*\S)\s+)#(?P<hex>[0-9a-fA-F]{6})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Classes:
    """What a file of class names says.

    Attributes:
        names: by label; ``None`` where there is no such file.
        colours: ``#rrggbb`` by label, ``None`` for a class without one of its own; ``None`` where no class has one.
    """

    names: tuple[str, ...] | None = None
    colours: tuple[str | None, ...] | None = None


def class_name(label: int, names: Sequence[str]) -> str:
    """Return the name of a class: its own, else ``void`` for 255 and ``class 3`` for 3."""
    if 0 <= label < len(names):
        return names[label]
    return "void" if label == VOID_LABEL else f"class {label}"


def class_names(count: int, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of labels 0 to ``count - 1``, as :func:`class_name` does."""
    return tuple(class_name(label, names) for label in range(count))


def read_classes(path: Path | None) -> Classes:
    """Return the classes in a text file, one a line; the first is label 0.  Blank lines do not count.

    A line is a name, which may hold spaces, or a name, spaces and a colour: ``traffic light #ff8000``.  No file gives
    neither names nor colours.

    Raises:
        UsageError: the file cannot be read, holds no name, repeats one, or one is not printable, too long, or missing
            before its colour.
    """
    if path is None:
        return Classes()
    where = printable(str(path))
    names: list[str] = []
    colours: list[str | None] = []
    for number, line in enumerate(read_list(path), 1):
        found = _COLOUR.fullmatch(line)
        name = line if found is None else found["name"]
        if name is None:
            raise UsageError(f"{where}: colour {number} has no name before it; write a line as: name #rrggbb")
        if not name.isprintable() or len(name) > LONGEST_LABEL:
            raise UsageError(
                f"{where}: name {number} must be UTF-8 text of at most {LONGEST_LABEL} printable characters, not "
                f"{printable(name[:40])!r}"
            )
        if name in names:
            raise UsageError(f"{where}: {name!r} stands there twice; every class needs its own name")
        names.append(name)
        colours.append(None if found is None else f"#{found['hex'].lower()}")
    if not names:
        raise UsageError(f"{where} holds no class name")
    return Classes(tuple(names), tuple(colours) if any(colours) else None)
