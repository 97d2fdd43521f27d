"""Put a finished folder under its final name, never over something that export did not make."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smalti.errors import UsageError
from smalti.fetch.disk import disk_errors, remove_any, shown, temporary_beside
from smalti.fetch.stamp import Stamp, first_foreign, read_stamp, write_stamp


def check_replaceable(root: Path) -> None:
    """Raise UsageError unless ``root`` is absent, empty, or a folder of an earlier export with nothing else in it."""
    if not os.path.lexists(root):
        return
    with disk_errors(root):
        if root.is_symlink() or not root.is_dir():
            raise UsageError(f"{shown(root)} is in the way: it is no folder; move it or take another place")
        if not any(root.iterdir()):
            return
    stamp = read_stamp(root)
    if stamp is None:
        raise UsageError(f"{shown(root)} is in the way and was not made by export: move it or take another folder")
    foreign = first_foreign(root, stamp)
    if foreign is not None:
        raise UsageError(f"{shown(root)} would be replaced, but {shown(foreign)} in it is not from export: move it")


@contextmanager
def fresh_folder(output_dir: Path) -> Iterator[Path]:
    """Make an empty folder for the body, and remove it afterwards when it was not installed. Raises FetchError."""
    folder = temporary_beside(output_dir / "folder")
    with disk_errors(folder):
        folder.mkdir()
    try:
        yield folder
    finally:
        with disk_errors(folder):
            remove_any(folder)


def install(folder: Path, root: Path, stamp: Stamp) -> None:
    """Write the stamp into ``folder`` and rename it to ``root``; the folder there before is removed.

    Raises UsageError as :func:`check_replaceable` does and FetchError when the disk refuses; ``root`` is then what it
    was before.
    """
    write_stamp(folder, stamp)
    check_replaceable(root)
    aside = temporary_beside(folder)
    with disk_errors(root):
        root.parent.mkdir(parents=True, exist_ok=True)
        if root.exists():
            os.rename(root, aside)
        try:
            os.rename(folder, root)
        except OSError:
            if aside.exists():
                os.rename(aside, root)
            raise
        remove_any(aside)
