"""Options that say which pictures a command works on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from smalti.cli.exit_codes import ExitCode
from smalti.cli.ui import draw, note
from smalti.jobs.stream import Failure, OnError
from smalti.jobs.table import failures_table
from smalti.vision.kinds import CONVERT, READ_KINDS, count_words

_PATHS: Final = "--image-dir"
_MORE: Final = "Repeatable."
ImageDirOption = Annotated[
    list[Path],
    typer.Option(
        _PATHS,
        "--images",
        metavar="PATH",
        help=f"Folder of pictures, VOC root with JPEGImages in it, or picture file. {_MORE}",
        show_default=False,
    ),
]
OptionalImageDirOption = Annotated[
    list[Path] | None,
    typer.Option(
        _PATHS,
        "--images",
        metavar="PATH",
        help=f"Folder of pictures, VOC root, or picture file. {_MORE}",
        show_default=False,
    ),
]
FileListOption = Annotated[
    Path | None, typer.Option("--file-list", help="Text file, one id, name or path a line; default: every picture.")
]
ImageNumOption = Annotated[int | None, typer.Option("--image-num", min=1, help="Only the first N pictures.")]
RecursiveOption = Annotated[
    bool, typer.Option("--recursive", help="Also the pictures of sub-folders; results keep the sub-folders.")
]
OnErrorOption = Annotated[OnError, typer.Option("--on-error", help="What a bad picture does to the run.")]


def show_passed_over(failures: Sequence[Failure]) -> None:
    """Draw the pictures that were passed over, if any."""
    if failures:
        draw(failures_table(failures))


def note_left_out(left_out: Mapping[str, int]) -> None:
    """Say on standard error which files of the folders are pictures of a kind that is not read."""
    if left_out:
        several = sum(left_out.values()) > 1
        how = CONVERT.replace(" it ", " them ") if several else CONVERT
        note(f"left out: {count_words(left_out)}; what is read is {READ_KINDS}: {how}")


def end_with_failures(failures: Sequence[Failure]) -> None:
    """End the command with the exit code of work that is done but for some pictures, if there are any."""
    if failures:
        raise typer.Exit(ExitCode.DONE_WITH_ERRORS)
