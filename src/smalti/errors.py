"""The exceptions Smalti raises.

::

    SmaltiError
    |-- UsageError            a wrong option or argument; the message says what to give instead
    |-- DataError             untrusted data is not acceptable
    |   |-- GraphError        a graph is damaged, inconsistent or over a limit
    |   |   `-- UnsupportedGraphError   lists every unsupported node of the graph at once
    |   |-- ImageError        a picture cannot be decoded or is over a limit
    |   |-- VideoError        a video cannot be decoded or is over a limit
    |   `-- ArchiveError      an archive is damaged or holds something unsafe
    |-- FetchError            a download failed (network, checksum, disk)
    |-- ModelFileError        an offline model file cannot be used
    |   |-- NotAModelError    the file is something else
    |   |-- DamagedModelError the file is cut or its checksum does not match
    |   |-- ModelVersionError the file was written by a newer Smalti
    |   `-- TargetError       this CPU lacks a feature that the file's code needs
    |-- OutputError           a result cannot be written (disk full, no permission)
    |-- InputError            an array given to an engine has the wrong shape or dtype
    |-- ResourceError         memory, threads or an executable mapping were refused by the system
    `-- CompilerError         a bug in Smalti: a pass, plan or kernel broke its own rules
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn


class SmaltiError(Exception):
    """Base of every error that Smalti raises on purpose.

    ``next_step`` is what to do about an error of this kind, where the message itself does not say it: the command line
    prints it below a message that names no option.
    """

    next_step: ClassVar[str] = ""


class UsageError(SmaltiError):
    """A wrong option or argument."""


class DataError(SmaltiError):
    """Untrusted data is not acceptable: a file, a picture, an archive or a graph."""


class GraphError(DataError):
    """A graph is damaged, inconsistent or over a limit."""

    next_step = "export or freeze the network again, from the framework it was trained in"


@dataclass(frozen=True, slots=True)
class UnsupportedNode:
    """One reason why a graph cannot be compiled: ``count`` nodes of ``op``, the first named ``first_node``."""

    op: str
    count: int
    first_node: str
    reason: str


class UnsupportedGraphError(GraphError):
    """Lists every unsupported node of a graph at once.

    Args:
        problems: one entry for each operation and reason.
        advice: a sentence below the list.
    """

    next_step = "--outputs can end the graph before these nodes, --inputs can begin it behind them"

    def __init__(self, problems: tuple[UnsupportedNode, ...], advice: str | None = None) -> None:
        self.problems = problems
        width = max((len(p.op) for p in problems), default=2)
        total = sum(p.count for p in problems)
        rows = [f"  {p.op:<{width}}  x{p.count:<4} {p.first_node}: {p.reason}" for p in problems]
        after = [] if advice is None else [f"  {advice}"]
        super().__init__("\n".join([f"{total} nodes of this graph are not supported:", *rows, *after]))


class ImageError(DataError):
    """A picture cannot be decoded, or is over a limit; jobs list it and go on."""


class VideoError(DataError):
    """A video cannot be decoded, or is over a limit; the frames before the place are kept."""

    next_step = (
        "see whether a player shows it; what a player shows, `ffmpeg -i OLD -c:v libx264 NEW.mp4` makes readable"
    )


class ArchiveError(DataError):
    """An archive is damaged or holds something unsafe."""

    next_step = "fetch the archive again, or give one from another place with --mirror"


class FetchError(SmaltiError):
    """A download failed: network, checksum, disk."""

    next_step = "give the command again when the cause is gone: what has arrived whole is kept"


class ModelFileError(SmaltiError):
    """An offline model file cannot be used."""


class NotAModelError(ModelFileError):
    """The file is not an offline model file."""

    next_step = "give a file that `smalti build` has written"


class DamagedModelError(ModelFileError):
    """The file is cut, or a checksum does not match."""

    next_step = "copy the file again from where it came, or build it again"


class ModelVersionError(ModelFileError):
    """The file was written in a newer format."""


class TargetError(ModelFileError):
    """This CPU lacks a feature that the file's code needs."""


class InputError(SmaltiError):
    """An array or a picture does not fit: the wrong shape, dtype or kind; nothing was run."""


class OutputError(SmaltiError):
    """A result cannot be written: the disk is full, or permission is missing."""


class ResourceError(SmaltiError):
    """Memory, threads or an executable mapping were refused by the system."""


class CompilerError(SmaltiError):
    """A bug in Smalti: a pass, plan or kernel broke its own rules. Please report it."""


def never(value: NoReturn) -> NoReturn:
    """End a choice among all members of an enum: the type checker proves that nothing comes here.

    Raises:
        CompilerError: something did (a member was added that the choice does not know).
    """
    raise CompilerError(f"{value!r} is not known here")
