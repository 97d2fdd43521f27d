"""Options of labelling that say what is cut, named and exported."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from smalti.cli.ui import progress_bar
from smalti.errors import UsageError
from smalti.jobs.stream import Progress
from smalti.labelling.exports import ExportKind, ExportProgress
from smalti.vision.voc import printable

LabelsOption = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="Text file of classes, one a line: name, or name #rrggbb. Default: those in the model file, else numbers.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output", help="The output to take where several of a model could be the label map.", show_default=False
    ),
]
TileOption = Annotated[
    str | None,
    typer.Option(
        "--tile",
        help="Label pictures at their own resolution in pieces of at most N or HxW pixels.",
        metavar="N|HxW",
        show_default=False,
    ),
]
OverlapOption = Annotated[
    int | None,
    typer.Option(
        "--overlap",
        min=0,
        help="Pixels that neighbouring tiles share; default: an eighth of the smaller side.",
        show_default=False,
    ),
]
ExportOption = Annotated[
    str | None,
    typer.Option(
        "--export",
        help="Also write annotations, with commas: " + ", ".join(kind.value for kind in ExportKind) + ".",
        metavar="KINDS",
        show_default=False,
    ),
]
MinAreaOption = Annotated[
    float, typer.Option("--min-area", min=0, help="Leave regions of fewer pixels out of the annotations.")
]
ToleranceOption = Annotated[
    float, typer.Option("--tolerance", min=0, help="Simplify polygons by at most that many pixels.")
]


def parse_tile(text: str | None) -> tuple[int, int] | None:
    """Return (height, width) of ``513`` or ``384x512``.

    Raises:
        UsageError: it is neither.
    """
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,6})(?:x([0-9]{1,6}))?", text.strip())
    if found is None:
        raise UsageError(
            f"--tile is one number of pixels or HEIGHTxWIDTH, such as 513 or 384x512, not {printable(text)}"
        )
    return int(found[1]), int(found[2] or found[1])


def parse_kinds(text: str | None) -> tuple[ExportKind, ...]:
    """Return the kinds of a list with commas.

    Raises:
        UsageError: there is no such kind.
    """
    known = {kind.value: kind for kind in ExportKind}
    words = [] if text is None else [word.strip() for word in text.split(",")]
    for word in words:
        if word not in known:
            raise UsageError(f"--export takes {', '.join(known)} with commas between them, not {printable(word)!r}")
    return tuple(known[word] for word in words)


@contextmanager
def export_bar() -> Iterator[ExportProgress]:
    """Give a function that moves a bar for each kind of annotations, as :func:`smalti.cli.ui.progress_bar` does."""
    with ExitStack() as bars:
        shown: dict[ExportKind, Progress] = {}

        def move(kind: ExportKind, done: int, total: int) -> None:
            if kind not in shown:
                bars.close()
                shown[kind] = bars.enter_context(progress_bar(f"export {kind.value}"))
            shown[kind](done, total)

        yield move
