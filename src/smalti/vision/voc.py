"""Folders of pictures, the PASCAL VOC directory layout and its file lists.

A file list holds one picture a line: an id (``2007_000033``), a name with a suffix, or a relative path; a second column
(VOC's ``-1`` / ``1``, or the mask's path) is ignored. A folder alone stands for every picture directly in it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from smalti.errors import UsageError

PICTURE_SUFFIXES: Final = (".jpg", ".jpeg", ".png")
MASK_SUFFIX: Final = ".png"
_PARTS: Final = ("JPEGImages", "SegmentationClass")
_MAX_LIST_BYTES: Final = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture to work on.

    ``name`` identifies it: its path relative to ``folder``, with the suffix when one is known. ``folder`` is None and
    ``problem`` says why when the list names something that is not there.
    """

    name: str
    folder: Path | None
    problem: str | None = None

    @property
    def path(self) -> Path | None:
        """Where the file is, or None."""
        return None if self.folder is None else self.folder / self.name

    @property
    def stem(self) -> str:
        """The name without the suffix of a picture."""
        return strip_suffix(self.name)


def strip_suffix(name: str) -> str:
    """Return ``name`` without .jpg, .jpeg or .png."""
    for suffix in PICTURE_SUFFIXES:
        if name.lower().endswith(suffix) and len(PurePosixPath(name).name) > len(suffix):
            return name[: -len(suffix)]
    return name


def list_pictures(image_dir: Path, file_list: Path | None = None, image_num: int | None = None) -> list[Entry]:
    """Return the pictures of a folder, or those that ``file_list`` names, at most the first ``image_num``.

    ``image_dir`` may also be a VOC root that has JPEGImages in it. Names come in the list's order, or sorted.
    Raises UsageError when the folder or the list cannot be read or names nothing.
    """
    folder = inner_folder(image_dir, "JPEGImages")
    return _entries(folder, file_list, image_num, PICTURE_SUFFIXES, "picture")


def list_masks(gt_dir: Path, file_list: Path | None = None, image_num: int | None = None) -> list[Entry]:
    """Return the masks (PNG) of a folder, as :func:`list_pictures` does; a VOC root may hold SegmentationClass."""
    folder = inner_folder(gt_dir, "SegmentationClass")
    return _entries(folder, file_list, image_num, (MASK_SUFFIX,), "mask")


def inner_folder(folder: Path, inner: str) -> Path:
    """Return ``folder / inner`` when ``folder`` is a VOC root, else ``folder``; UsageError when it is no folder."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {printable(str(folder))}")
    return folder / inner if (folder / inner).is_dir() else folder


def read_list(file_list: Path) -> list[str]:
    """Return the lines of a file list that are not blank. Raises UsageError when it is not a readable text."""
    try:
        if not file_list.is_file():
            raise UsageError(f"there is no file list {printable(str(file_list))}")
        if file_list.stat().st_size > _MAX_LIST_BYTES:
            raise UsageError(f"the file list {printable(str(file_list))} is too large")
        text = file_list.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise UsageError(f"cannot read the file list {printable(str(file_list))}: {error.strerror}") from error
    return [line.strip() for line in text.split("\n") if line.strip()]


def printable(text: str) -> str:
    """Return ``text`` in one line that any terminal can show: control and undecodable characters are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def output_names(entries: Iterable[Entry], suffix: str = ".png") -> list[str]:
    """Return an output name for each entry, all different: the stem plus ``suffix``.

    Entries that would share a name (``a.jpg`` and ``a.png``) keep their full names: ``a.jpg.png``, ``a.png.png``.
    Raises UsageError when the same entry stands twice in the list.
    """
    names = [entry.name for entry in entries]
    twice = _first_repeated(names)
    if twice is not None:
        raise UsageError(f"the list names {printable(twice)} twice")
    short = [strip_suffix(name) for name in names]
    full: set[int] = set()
    while True:
        chosen = [(name if i in full else short[i]) + suffix for i, name in enumerate(names)]
        shared = _shared(chosen) - full
        if not shared:
            return chosen
        full |= shared


def _first_repeated(names: list[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _shared(names: list[str]) -> set[int]:
    counts = Counter(names)
    return {index for index, name in enumerate(names) if counts[name] > 1}


def _entries(
    folder: Path, file_list: Path | None, image_num: int | None, suffixes: tuple[str, ...], what: str
) -> list[Entry]:
    if image_num is not None and image_num < 1:
        raise UsageError(f"the number of images must be at least 1, not {image_num}")
    if file_list is None:
        found = [Entry(name, folder) for name in _names(folder, suffixes)]
        if not found:
            raise UsageError(f"there is no {what} ({', '.join(suffixes)}) in {printable(str(folder))}")
        return found[:image_num]
    lines = read_list(file_list)
    if not lines:
        raise UsageError(f"the file list {printable(str(file_list))} is empty")
    return [_resolve(folder, line, suffixes, what) for line in lines[:image_num]]


def _names(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    try:
        with os.scandir(folder) as items:
            return sorted(item.name for item in items if item.name.lower().endswith(suffixes))
    except OSError as error:
        raise UsageError(f"cannot read the folder {printable(str(folder))}: {error.strerror}") from error


def _resolve(folder: Path, line: str, suffixes: tuple[str, ...], what: str) -> Entry:
    """Find the file of one line: the whole line first (names may hold spaces), then its first column."""
    problem = f"no such {what}"
    for name in dict.fromkeys((line, line.split()[0])):
        inside = _inside(folder, name)
        if inside is None:
            problem = "the line leads out of the folder"
            continue
        found = _with_suffix(folder, inside, suffixes)
        if found is not None:
            return Entry(found, folder)
    return Entry(line.split()[0] if "\0" not in line else line, None, problem)


def _inside(folder: Path, name: str) -> str | None:
    """Return ``name`` relative to ``folder``, or None when it leads elsewhere."""
    path = PurePosixPath(name)
    if path.is_absolute():
        if not path.is_relative_to(folder):
            return None
        path = path.relative_to(folder)
    if ".." in path.parts or not path.parts or "\0" in name:
        return None
    return str(path)


def _with_suffix(folder: Path, name: str, suffixes: tuple[str, ...]) -> str | None:
    names = [name]
    first, _, rest = name.partition("/")
    if rest and first in _PARTS:
        names.append(rest)
    candidates = [form + suffix for form in names for suffix in ("", *suffixes)]
    candidates.extend(strip_suffix(form) + suffix for form in names for suffix in suffixes)
    for candidate in candidates:
        if candidate.lower().endswith(suffixes) and os.path.lexists(f"{folder}/{candidate}"):
            return candidate
    return None
