"""The exit codes of the ``smalti`` command."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from smalti.errors import (
    CompilerError,
    DataError,
    FetchError,
    InputError,
    ModelFileError,
    OutputError,
    ResourceError,
    SmaltiError,
    UsageError,
)


class ExitCode(IntEnum):
    """What the exit code of the ``smalti`` command says."""

    OK = 0
    BUG = 1
    USAGE = 2
    DONE_WITH_ERRORS = 3
    BAD_DATA = 4
    MODEL_FILE = 5
    FETCH = 6
    RESOURCE = 7
    REGRESSION = 8
    ACCURACY = 9
    INTERRUPTED = 130
    BROKEN_PIPE = 141

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS: Final = {
    ExitCode.OK: "everything was done",
    ExitCode.BUG: "a bug in Smalti",
    ExitCode.USAGE: "a wrong option or argument",
    ExitCode.DONE_WITH_ERRORS: "done, but some pictures were skipped; they are listed",
    ExitCode.BAD_DATA: "a graph, picture, mask or archive is damaged, over a limit or not supported",
    ExitCode.MODEL_FILE: "an offline model file is damaged, too new, or for another CPU",
    ExitCode.FETCH: "a download failed, or the disk refused a file",
    ExitCode.RESOURCE: "no memory or threads, or another job writes to the same folder",
    ExitCode.REGRESSION: "a comparison found this model slower than allowed",
    ExitCode.ACCURACY: "a comparison found labels or accuracy further off than allowed",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C or SIGTERM)",
    ExitCode.BROKEN_PIPE: "the program that read the output ended first",
}

_CODES: Final[tuple[tuple[type[SmaltiError], ExitCode], ...]] = (
    (UsageError, ExitCode.USAGE),
    (DataError, ExitCode.BAD_DATA),
    (InputError, ExitCode.BAD_DATA),
    (ModelFileError, ExitCode.MODEL_FILE),
    (FetchError, ExitCode.FETCH),
    (OutputError, ExitCode.FETCH),
    (ResourceError, ExitCode.RESOURCE),
    (CompilerError, ExitCode.BUG),
)


def exit_code(error: SmaltiError) -> ExitCode:
    """Return the exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.BUG)
