"""What the commands have in common: arguments and lines of text."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

BUSY_SHARE = 0.1


def wide_console(width: int) -> Console:
    """Return a console of at least ``width`` columns: a folded figure is worse than a long line."""
    console = Console()
    return console if console.width >= width else Console(width=width)


def is_crowded(machine: dict[str, Any]) -> bool:
    """Return whether others kept so many CPUs busy that the figures are worth nothing."""
    busy = machine["neighbours_cpus"]
    return busy is not None and bool(busy > BUSY_SHARE * len(machine["cpus_used"]))


def neighbours_text(machine: dict[str, Any]) -> str:
    """Return how busy others kept the machine meanwhile, and whether the figures are worth anything."""
    busy = machine["neighbours_cpus"]
    if busy is None:
        return "how busy other processes were is not known on this system"
    crowded = is_crowded(machine)
    return f"other processes used {busy:.2f} CPUs meanwhile" + (
        ": crowded, do not quote these figures" if crowded else ""
    )


def positive(text: str) -> int:
    """Parse a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)
