"""The pictures of a folder, with those of its sub-folders or without, and what is left out there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smalti.errors import UsageError
from smalti.vision.kinds import kind_by_name
from smalti.vision.names import encode_name, printable

JOURNAL_FILE: Final = "smalti-journal.jsonl"
"""A sub-folder that holds a file of this name holds the results of a job."""
LINK_MARK: Final = b"\0"
"""Stands behind the name of a symbolic link. No file name holds a zero byte and it sorts before all others, so that the
mark keeps the order."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is in a folder: encoded names relative to it, in order; ``left_out`` files by the kind that is not read.

    ``has_folders`` tells that there are sub-folders that were not looked into because nobody asked for it.
    """

    names: list[bytes]
    left_out: Mapping[str, int]
    has_folders: bool


def walk(folder: Path, suffixes: tuple[str, ...], *, recursive: bool = False) -> Found:
    """Return the files of a folder that end like pictures, sorted by name.

    Links to folders, hidden sub-folders and those that hold the results of an earlier job are not looked into.
    Raises UsageError when a folder cannot be read.
    """
    names: list[bytes] = []
    left_out: Counter[str] = Counter()
    has_folders = False
    todo = [""]
    while todo:
        inner = todo.pop()
        path = f"{folder}/{inner}" if inner else str(folder)
        try:
            with os.scandir(path) as items:
                if recursive:
                    items_here: Iterable[os.DirEntry[str]] = list(items)
                    if inner and any(item.name == JOURNAL_FILE for item in items_here):
                        continue
                else:
                    items_here = items
                for item in items_here:
                    is_picture = item.name[-5:].lower().endswith(suffixes)
                    if not is_picture or recursive:
                        is_folder = item.is_dir(follow_symlinks=False)
                        has_folders |= is_folder and not recursive
                        if is_folder:
                            if recursive and not item.name.startswith("."):
                                todo.append(f"{inner}{item.name}/")
                            continue
                    if is_picture:
                        name = encode_name(inner + item.name)
                        names.append(name + LINK_MARK if item.is_symlink() else name)
                    elif (kind := kind_by_name(item.name)) is not None:
                        left_out[kind] += 1
        except OSError as error:
            raise UsageError(
                f"cannot read the folder {printable(path.rstrip('/'))}: {error.strerror}; give one that may be read"
            ) from error
    names.sort()
    return Found(names, left_out, has_folders)
