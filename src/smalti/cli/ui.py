"""What all commands share: option types, tables, progress bars and JSON.

Results go to standard output (as tables, or with ``--json`` as one JSON object and nothing else); progress, notes and
errors go to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, TextIO

import typer
from rich import box
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from smalti.cli.exit_codes import ExitCode
from smalti.cli.fitting import NARROW_GAP, fit, flow
from smalti.cli.heartbeat import Count, Told, heartbeat
from smalti.errors import OutputError
from smalti.fetch.progress import Progress as FetchCallback
from smalti.fetch.progress import Stage
from smalti.jobs.stream import Progress as ProgressCallback
from smalti.jobs.table import Table
from smalti.vision.voc import printable

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads of one inference; default: the CPUs this process may use."),
]


class Toggle(str, Enum):
    """A yes-or-no option that takes a value."""

    TRUE = "true"
    FALSE = "false"

    def __bool__(self) -> bool:
        return self is Toggle.TRUE


def help_text(*paragraphs: str, examples: Sequence[str] = ()) -> str:
    """Return the help of a command: paragraphs, which the terminal wraps, then examples kept line by line."""
    lines = "".join(f"\n  {example}" for example in examples)
    return "\n\n".join([*paragraphs, *([f"\b\nExamples:{lines}"] if examples else [])])


def draw(table: Table) -> None:
    """Print a table to standard output, as wide as the terminal at most unless one word or number is wider."""
    console = ResultConsole(highlight=False)
    fitted = fit(table, console.width)
    drawn = RichTable(
        box=box.SIMPLE_HEAD,
        show_header=any(table.columns),
        show_footer=bool(table.footer),
        pad_edge=False,
        padding=(0, 1, 0, fitted.gap - NARROW_GAP),
    )
    for column in fitted.columns:
        justify: JustifyMethod = "left" if column.is_left else "right"
        width = column.width
        drawn.add_column(
            Text(column.heading), Text(column.foot), justify=justify, no_wrap=True, min_width=width, max_width=width
        )
    for row in zip(*(column.cells for column in fitted.columns), strict=True):
        drawn.add_row(*map(Text, row))
    console.width = max(console.width, fitted.width)
    with printing():
        for line in fitted.above:
            console.print(Text(line, "table.title"), soft_wrap=True)
        console.print(drawn)
        for line in fitted.below:
            console.print(Text(f" {line}" if len(line) < console.width else line), soft_wrap=True)
        if fitted.below:
            console.print()


def say(text: str) -> None:
    """Print a sentence of the result to standard output; in a terminal no word of it is broken.

    Raises OutputError when that takes no more, SystemExit when nobody reads it any more.
    """
    say_whole(_flowing(text, sys.stdout))


def say_whole(text: str) -> None:
    """Print text that programs read or that people copy, line by line as it is; raises what :func:`say` does."""
    with printing():
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def note(text: str) -> None:
    """Print a line for people to standard error; the work goes on where nobody can be told."""
    try:
        sys.stderr.write(_flowing(text, sys.stderr) + "\n")
        sys.stderr.flush()
    except OSError:
        _write_nowhere(sys.stderr)


def _flowing(text: str, stream: TextIO) -> str:
    """Return text for a stream: as it is, but for terminals with breaks between words."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # No terminal; a stream without a file is the second.
        return text
    return flow(text, columns) if columns else text


def print_json(value: Any) -> None:
    """Print one JSON object to standard output, as :func:`say_whole` does."""
    say_whole(json.dumps(value, indent=2, allow_nan=False))


def output_is_whole() -> bool:
    """Return whether standard output took all that was written to it, by whomever."""
    try:
        sys.stdout.flush()
    except OSError:
        _write_nowhere(sys.stdout)
        return False
    return True


def _write_nowhere(stream: TextIO) -> None:
    """Let a stream that refused take everything: what it still holds would fail once more at the end of the process."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


class ResultConsole(Console):
    """Standard output, to be written to inside :func:`printing`."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


@contextmanager
def printing() -> Iterator[None]:
    """End the command with its own exit code when standard output takes no more."""
    try:
        yield
    except OSError as error:
        _write_nowhere(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise SystemExit(ExitCode.BROKEN_PIPE) from error
        raise OutputError(f"cannot write the result to standard output: {error.strerror}") from error


@contextmanager
def progress_bar(what: str, unit: str = "pictures", told: Told | None = None) -> Iterator[ProgressCallback]:
    """Give a function ``(done, total)`` that moves a bar on standard error; where that is no terminal, lines tell.

    ``told`` is what the same work says in words: the later of the two speaks.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        with _counting(Count(what, unit), told) as progress:
            yield progress
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def move(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield move


@contextmanager
def _counting(count: Count, told: Told | None) -> Iterator[ProgressCallback]:
    def move(done: int, total: int) -> None:
        count.move(done, total)
        if told is not None:
            told.pause()

    def line() -> str | None:
        quiet = count.total is None or (told is not None and told.what is not None)
        return None if quiet else count.line()

    with heartbeat(line, note):
        yield move


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a job is that goes on where an earlier run ended.

    ``earlier`` is what to say at its beginning of that run; ``words`` stand beside the bar, ``more`` behind a line.
    """

    done: int
    total: int | None
    resumed: int
    words: str
    earlier: str
    more: str = ""


@contextmanager
def job_progress(what: str, unit: str) -> Iterator[Callable[[Moved], None]]:
    """Give a function that moves a bar with words on standard error; where that is no terminal, lines tell."""
    console = Console(stderr=True)
    begun = False

    def begin(moved: Moved) -> bool:
        nonlocal begun
        is_first, begun = not begun, True
        if is_first and moved.resumed:
            note(moved.earlier)
        return is_first

    if not console.is_terminal:
        count = Count(what, unit)

        def tell(moved: Moved) -> None:
            begin(moved)
            count.move(moved.done, moved.total, moved.resumed)
            count.more = moved.more

        with heartbeat(lambda: count.line() if begun else None, note):
            yield tell
        return
    columns = (
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: list[TaskID] = []

        def move(moved: Moved) -> None:
            if begin(moved):
                tasks.append(bar.add_task(what, total=moved.total, completed=moved.done, words=moved.words))
            bar.update(tasks[0], completed=moved.done, total=moved.total, words=moved.words)

        yield move


@contextmanager
def fetch_bar() -> Iterator[FetchCallback]:
    """Give a function that moves one bar of bytes for each stage of a fetch; where there is no terminal, lines tell."""
    console = Console(stderr=True)
    if not console.is_terminal:
        with _fetching() as progress:
            yield progress
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[tuple[Stage, str], TaskID] = {}

        def move(stage: Stage, name: str, done: int, total: int | None) -> None:
            key = stage, name
            if key not in tasks:
                tasks[key] = bars.add_task(escape(f"{stage.value} {name}"), total=total)
            bars.update(tasks[key], completed=done, total=total)

        yield move


@contextmanager
def _fetching() -> Iterator[FetchCallback]:
    counts: dict[tuple[Stage, str], Count] = {}
    latest: list[Count] = []

    def move(stage: Stage, name: str, done: int, total: int | None) -> None:
        key = stage, name
        if key not in counts:
            counts[key] = Count(f"{stage.value} {printable(name)}", "MB", 1e6)
        counts[key].move(done, total)
        latest[:] = [counts[key]]

    with heartbeat(lambda: latest[0].line() if latest else None, note):
        yield move
