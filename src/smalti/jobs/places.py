"""Files that a command writes after its work: what is wrong with their places is said before it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from smalti.errors import OutputError, UsageError
from smalti.jobs.outputs import write_error
from smalti.vision.voc import printable


def check_places(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None] = ()) -> None:
    """Check the files that a command is going to write, by the option that names each.

    A file is written beside its place and then renamed, which takes the place of whatever is there.

    Raises:
        UsageError: a place is a folder, a device or a pipe, lies under a file, is that of one of ``inputs`` or of
            another output.
        OutputError: its folder cannot be written to.
    """
    read = [path for path in inputs if path is not None]
    taken: dict[str, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        try:
            _check(option, path, read)
        except OSError as error:
            raise write_error(path, error) from error
        other = taken.setdefault(os.path.realpath(path), option)
        if other != option:
            raise UsageError(
                f"{other} and {option} are the same file: {printable(str(path))}; choose another for one of them"
            )


def _check(option: str, path: Path, read: Iterable[Path]) -> None:
    shown = printable(str(path))
    if path.is_dir():
        raise UsageError(f"{option} {shown} is a folder: give it a file's name")
    folder = os.path.realpath(path.parent)
    if folder == "/dev" or f"{folder}/".startswith("/proc/") or (path.exists() and not path.is_file()):
        raise UsageError(f"{option} {shown} is no plain file, and such a place is not written to: choose another file")
    if path.exists() and any(other.exists() and path.samefile(other) for other in read):
        raise UsageError(f"{option} would be written over {shown}, which the job reads: choose another file")
    above = Path(folder)
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise UsageError(f"cannot write {shown}: {printable(str(above))} is not a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {shown}: the folder {printable(str(above))} cannot be written to")
