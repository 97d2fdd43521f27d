"""Figures with bounds, collected, shown and written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """A measured value with its bound; ``ok`` is ``None`` where nothing was promised."""

    group: str
    what: str
    value: str
    bound: str
    ok: bool | None


@dataclass
class Report:
    """Collects figures and shows each as it comes."""

    console: Console
    figures: list[Figure] = field(default_factory=list)

    def add(self, group: str, what: str, value: str, bound: str = "", ok: bool | None = None) -> None:
        """Add a figure."""
        self.figures.append(Figure(group, what, value, bound, ok))
        mark = {True: "ok  ", False: "MISS", None: "    "}[ok]
        self.console.print(f"{mark} {group}: {what} = {value}", highlight=False, soft_wrap=True)

    def table(self) -> Table:
        """Return all figures as a table."""
        table = Table("", "figure", "measured", "bound", "", title="Acceptance")
        for f in self.figures:
            mark = {True: "[green]ok[/]", False: "[bold red]MISS[/]", None: ""}[f.ok]
            table.add_row(f.group, f.what, f.value, f.bound, mark)
        return table

    def finish(self, path: Path) -> Sequence[Figure]:
        """Show the table, write all figures to a file, and return those that missed their bounds."""
        self.console.print(self.table())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(f) for f in self.figures], indent=1) + "\n")
        missed = [f for f in self.figures if f.ok is False]
        self.console.print(f"{len(missed)} missed of {sum(f.ok is not None for f in self.figures)} bounds")
        return missed
