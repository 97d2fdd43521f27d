"""How long work tells whoever watches how far it is."""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class Stage(str, Enum):
    """What an export is doing."""

    WAIT = "waiting for another export"
    DOWNLOAD = "downloading"
    VERIFY = "verifying"
    UNPACK = "unpacking"
    GENERATE = "generating"


class Progress(Protocol):
    """Called from the working thread, often: ``done`` of ``total`` bytes (None: not known) of file ``name``.

    A stage may start again at a smaller ``done`` when a download has to begin anew. An exception raised here ends the
    export the way Ctrl-C does.
    """

    def __call__(self, stage: Stage, name: str, done: int, total: int | None) -> None: ...


def silent(stage: Stage, name: str, done: int, total: int | None) -> None:
    """Tell nobody."""
