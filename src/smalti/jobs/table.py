"""Tables of results: plain text cells, which the command line draws and a report writes as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from smalti.jobs.stream import Failure, StageTimes
from smalti.jobs.watch import UNKNOWN_LOAD, Load, legend, marked


@dataclass(frozen=True, slots=True)
class Fit:
    """How a table becomes narrow; what is in none of these keeps its words and numbers whole.

    ``names`` are columns of layers and files: what most of them begin with is said once, and the middle of long ones
    may go. ``prose`` are columns of sentences, which may go on in a next line. ``leave`` are the columns that the table
    can do without, least important first.
    """

    names: tuple[int, ...] = ()
    prose: tuple[int, ...] = ()
    leave: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table. Columns in ``left`` hold words, the others numbers; ``footer`` is a last row set apart.

    ``legend`` is a line below it that tells what a sign in the cells means.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    footer: tuple[str, ...] = ()
    left: tuple[int, ...] = (0,)
    fit: Fit = Fit()
    legend: str = ""

    def to_markdown(self) -> str:
        """Return the table in GitHub's Markdown; the title stands above it, the legend below."""
        head = _markdown_row(self.columns)
        rule = _markdown_row(["---" if i in self.left else "---:" for i in range(len(self.columns))])
        body = [_markdown_row(row) for row in self.rows]
        foot = [_markdown_row([f"**{cell}**" if cell else "" for cell in self.footer])] if self.footer else []
        said = ["", self.legend] if self.legend else []
        return "\n".join([f"**{self.title}**", "", head, rule, *body, *foot, *said, ""])


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def percent(value: float) -> str:
    """Return a share as per cent with two digits, or a dash for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def stages_table(
    stages: Sequence[StageTimes],
    threads: int,
    at_once: int = 1,
    load: Load = UNKNOWN_LOAD,
    unit: str = "pictures",
) -> Table:
    """Return the milliseconds of each stage of the work on one picture, of which ``at_once`` were under way."""
    rows = tuple(
        (
            stage.stage.value,
            *(marked(f"{ms:.2f}", load) for ms in (stage.mean, stage.median, stage.p95, stage.total / 1e3)),
        )
        for stage in stages
    )
    title = f"time of each stage, {threads} thread{'s' if threads != 1 else ''}"
    title += f" for {at_once} {unit} at a time" if at_once > 1 else ""
    columns = ("stage", "mean ms", "median ms", "p95 ms", "total s")
    return Table(title, columns, rows, fit=Fit(leave=(1, 4)), legend=legend([load]))


def failures_table(failures: Sequence[Failure], limit: int = 20) -> Table:
    """Return the first ``limit`` pictures that were skipped, and why; the footer counts the others."""
    rows = tuple((failure.name, failure.reason) for failure in failures[:limit])
    more = len(failures) - limit
    footer = (f"and {more} more", "") if more > 0 else ()
    return Table(
        f"{len(failures)} skipped", ("name", "reason"), rows, footer, left=(0, 1), fit=Fit(names=(0,), prose=(1,))
    )
