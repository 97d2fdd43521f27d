"""Folders of pictures, the PASCAL VOC directory layout and its file lists.

A file list holds one picture a line: an id (``2007_000033``), a name with a suffix, or a relative path; a second column
(VOC's ``-1`` / ``1``, or the mask's path) is ignored. A folder alone stands for every picture directly in it.
"""

from __future__ import annotations

import codecs
import os
import stat
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final, overload

from smalti.errors import UsageError
from smalti.vision.names import PICTURE_SUFFIXES, NameList, OutputNames, encode_name, strip_suffix

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


class Pictures(Sequence[Entry]):
    """The pictures of a folder or a list, in little memory however many they are.

    ``links`` are the indices of symbolic links. An :class:`Entry` is made when it is asked for.
    """

    def __init__(
        self,
        folder: Path,
        names: NameList,
        links: Sequence[int] = (),
        problems: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        self.folder = folder
        self.names = names
        self.links = links
        self._problems = problems

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        name = self.names[index]
        problem = self._problems.get(index + len(self) if index < 0 else index)
        return Entry(name, self.folder) if problem is None else Entry(name, None, problem)


def find_pictures(image_dir: Path, file_list: Path | None = None, image_num: int | None = None) -> Pictures:
    """Return the pictures of a folder, or those that ``file_list`` names, at most the first ``image_num``.

    ``image_dir`` may also be a VOC root that has JPEGImages in it. Names come in the list's order, or sorted.
    Raises UsageError when the folder or the list cannot be read or names nothing.
    """
    folder = inner_folder(image_dir, "JPEGImages")
    return _find(folder, file_list, image_num, PICTURE_SUFFIXES, "picture")


def list_pictures(image_dir: Path, file_list: Path | None = None, image_num: int | None = None) -> list[Entry]:
    """Return what :func:`find_pictures` finds as a list."""
    return list(find_pictures(image_dir, file_list, image_num))


def list_masks(gt_dir: Path, file_list: Path | None = None, image_num: int | None = None) -> list[Entry]:
    """Return the masks (PNG) of a folder, as :func:`list_pictures` does; a VOC root may hold SegmentationClass."""
    folder = inner_folder(gt_dir, "SegmentationClass")
    return list(_find(folder, file_list, image_num, (MASK_SUFFIX,), "mask"))


def inner_folder(folder: Path, inner: str) -> Path:
    """Return ``folder / inner`` when ``folder`` is a VOC root, else ``folder``; UsageError when it is no folder."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {printable(str(folder))}: give one that exists")
    return folder / inner if (folder / inner).is_dir() else folder


def read_list(file_list: Path) -> list[str]:
    """Return the lines of a file list that are not blank. Raises UsageError when it is not a readable text."""
    return list(_lines(file_list))


def _lines(file_list: Path) -> Iterator[str]:
    """Yield the lines of a file list that are not blank, without reading it whole."""
    try:
        if not file_list.is_file():
            raise UsageError(
                f"there is no file list {printable(str(file_list))}: give a text file with a name in each line"
            )
        if file_list.stat().st_size > _MAX_LIST_BYTES:
            raise UsageError(f"the file list {printable(str(file_list))} is too large: cut it into several")
        with open(file_list, "rb") as lines:
            for number, line in enumerate(lines):
                if number == 0 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise UsageError(f"the file list {printable(str(file_list))} is UTF-16: save it as UTF-8")
                text = line.decode("utf-8-sig" if number == 0 else "utf-8", "surrogateescape").strip()
                if text:
                    yield text
    except OSError as error:
        raise UsageError(f"cannot read the file list {printable(str(file_list))}: {error.strerror}") from error


def printable(text: str) -> str:
    """Return ``text`` in one line that any terminal can show: control and undecodable characters are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def output_names(entries: Iterable[Entry], suffix: str = ".png") -> list[str]:
    """Return an output name for each entry, all different: the stem plus ``suffix``.

    Entries that would share a name (``a.jpg`` and ``a.png``) keep their full names: ``a.jpg.png``, ``a.png.png``.
    Raises UsageError when the same entry stands twice in the list.
    """
    names = NameList(entry.name for entry in entries)
    check_different(names)
    return list(OutputNames(names, suffix))


def check_different(names: NameList) -> None:
    """Raise UsageError when a name stands twice in a list."""
    twice = names.repeated()
    if twice is not None:
        raise UsageError(f"the list names {printable(names[twice])} twice: leave one of the lines out")


def _find(
    folder: Path, file_list: Path | None, image_num: int | None, suffixes: tuple[str, ...], what: str
) -> Pictures:
    if image_num is not None and image_num < 1:
        raise UsageError(f"the number of images must be at least 1, not {image_num}")
    if file_list is None:
        found = _scan(folder, image_num, suffixes)
        if not len(found):
            raise UsageError(
                f"there is no {what} ({', '.join(suffixes)}) in {printable(str(folder))}: give another folder"
            )
        return found
    listed = _read(folder, file_list, image_num, suffixes, what)
    if not len(listed):
        raise UsageError(
            f"the file list {printable(str(file_list))} is empty: write the name of a picture in each line"
        )
    return listed


def _scan(folder: Path, image_num: int | None, suffixes: tuple[str, ...]) -> Pictures:
    # No file name holds a zero byte and it sorts before all others, so that a mark behind one keeps the order.
    mark = b"\0"
    try:
        with os.scandir(folder) as items:
            found = sorted(
                encode_name(item.name) + mark if item.is_symlink() else encode_name(item.name)
                for item in items
                if item.name[-5:].lower().endswith(suffixes)
            )
    except OSError as error:
        raise UsageError(f"cannot read the folder {printable(str(folder))}: {error.strerror}") from error
    if image_num is not None:
        del found[image_num:]
    links = array("Q", (index for index, name in enumerate(found) if name.endswith(mark)))
    return Pictures(folder, NameList(name.rstrip(mark) for name in found), links)


def _read(folder: Path, file_list: Path, image_num: int | None, suffixes: tuple[str, ...], what: str) -> Pictures:
    problems: dict[int, str] = {}
    links = array("Q")

    def names() -> Iterator[str]:
        for index, line in enumerate(islice(_lines(file_list), image_num)):
            name, problem, is_link = _resolve(folder, line, suffixes, what)
            if problem is not None:
                problems[index] = problem
            elif is_link:
                links.append(index)
            yield name

    return Pictures(folder, NameList(names()), links, problems)


def _resolve(folder: Path, line: str, suffixes: tuple[str, ...], what: str) -> tuple[str, str | None, bool]:
    """Find the file of one line: the whole line first (names may hold spaces), then its first column.

    Returns the name, what is wrong with it (or None), and whether it is a symbolic link.
    """
    problem = f"no such {what}"
    for name in dict.fromkeys((line, line.split()[0])):
        inside = _inside(folder, name)
        if inside is None:
            problem = "the line leads out of the folder"
            continue
        found = _with_suffix(folder, inside, suffixes)
        if found is not None:
            return found[0], None, found[1]
    return (line.split()[0] if "\0" not in line else line), problem, False


def _inside(folder: Path, name: str) -> str | None:
    """Return ``name`` relative to ``folder``, or None when it leads elsewhere."""
    path = PurePosixPath(name)
    if path.is_absolute():
        base = next((base for base in (folder, os.path.abspath(folder)) if path.is_relative_to(base)), None)
        if base is None:
            return None
        path = path.relative_to(base)
    if ".." in path.parts or not path.parts or "\0" in name:
        return None
    return str(path)


def _with_suffix(folder: Path, name: str, suffixes: tuple[str, ...]) -> tuple[str, bool] | None:
    """Return the name of the file that is there and whether it is a symbolic link, or None."""
    names = [name]
    first, _, rest = name.partition("/")
    if rest and first in _PARTS:
        names.append(rest)
    candidates = [form + suffix for form in names for suffix in ("", *suffixes)]
    candidates.extend(strip_suffix(form) + suffix for form in names for suffix in suffixes)
    for candidate in candidates:
        if candidate.lower().endswith(suffixes):
            try:
                mode = os.lstat(f"{folder}/{candidate}").st_mode
            except (OSError, ValueError):
                continue
            return candidate, stat.S_ISLNK(mode)
    return None
