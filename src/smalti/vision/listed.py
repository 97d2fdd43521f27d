"""Find the file that a line of a file list names.

People write names with a suffix and without, paths from the folder, from the place of the command or of the list, and
absolute ones; behind a name other columns may follow. Whatever the line says, the file has to lie in the folder.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from smalti.vision.names import strip_suffix

_PARTS: Final = ("JPEGImages", "SegmentationClass")
_MOST_COLUMNS: Final = 8
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EIO})
_OUT: Final = "the line leads out of the folder"


@dataclass(frozen=True, slots=True)
class Listed:
    """What a line names: its file relative to the folder, or why there is none; ``is_link``: it is a symbolic link."""

    name: str
    problem: str | None = None
    is_link: bool = False


class Finder:
    """Finds the files of lines in ``folder``; ``what`` they are is for messages.

    With ``any_suffix`` a file that is there counts whatever its name ends with: its bytes will tell.
    """

    def __init__(
        self, folder: Path, file_list: Path, suffixes: tuple[str, ...], what: str, *, any_suffix: bool
    ) -> None:
        self._folder = str(folder)
        self._real = os.path.realpath(folder)
        self._bases = dict.fromkeys((os.path.abspath(folder), self._real))
        # The folder itself comes first; a path may also start where the command or the list is.
        self._starts = dict.fromkeys((_here(), os.path.abspath(file_list.parent)))
        self._suffixes = suffixes
        self._what = what
        self._any_suffix = any_suffix
        self._parents: dict[str, str | None] = {}

    def find(self, line: str) -> Listed:
        """Return the file of one line: the whole line first (names may hold spaces), then its first columns."""
        problem = f"no such {self._what}"
        for text in _columns(line):
            leads_out = False
            for name in self._inside(text):
                if name is None:
                    leads_out = True
                    continue
                found = self._with_suffix(name)
                if isinstance(found, Listed):
                    return found
                problem = found or problem
            if leads_out:
                problem = _OUT
        first = line.split()[0] if line.split() else line
        return Listed(first if "\0" not in line else line, problem)

    def _inside(self, text: str) -> Iterator[str | None]:
        """Yield what a text may mean as paths relative to the folder; None for a file that lies elsewhere."""
        if "\0" in text:
            yield None
            return
        path = PurePosixPath(text)
        if not path.is_absolute():
            if ".." not in path.parts:
                if path.parts:
                    yield str(path)
            else:
                yield self._relative(f"{self._real}/{text}")
            for start in self._starts:
                placed = self._relative(f"{start}/{text}")
                if placed not in (None, str(path)) or (placed is None and os.path.lexists(f"{start}/{text}")):
                    yield placed
            return
        placed = self._relative(text)
        if placed is None and not os.path.lexists(text) and text.startswith(tuple(f"/{part}/" for part in _PARTS)):
            # Lists of some data sets begin their paths at the data set.
            placed = text[1:]
        yield placed

    def _relative(self, path: str) -> str | None:
        """Return an absolute path relative to the folder, be it by way of links, or None when it lies elsewhere."""
        plain = os.path.normpath(path) if ".." not in PurePosixPath(path).parts else path
        for base in self._bases:
            if plain.startswith(f"{base.rstrip('/')}/") and ".." not in PurePosixPath(plain).parts:
                return plain[len(base.rstrip("/")) + 1 :]
        parent, _, name = path.rstrip("/").rpartition("/")
        if name in ("", ".", ".."):
            return None
        if parent not in self._parents:
            self._parents[parent] = self._placed(parent or "/")
        inner = self._parents[parent]
        return None if inner is None else f"{inner}{name}"

    def _placed(self, parent: str) -> str | None:
        real = os.path.realpath(parent)
        if real == self._real:
            return ""
        return f"{real[len(self._real.rstrip('/')) + 1 :]}/" if real.startswith(f"{self._real.rstrip('/')}/") else None

    def _with_suffix(self, name: str) -> Listed | str | None:
        """Return the file that is there, else what keeps it from being seen, else None."""
        names = [name]
        first, _, rest = name.partition("/")
        if rest and first in _PARTS:
            names.append(rest)
        problem: str | None = None
        for candidate, is_sure in self._candidates(names):
            try:
                mode = os.lstat(f"{self._folder}/{candidate}").st_mode
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno in _REFUSED:
                    problem = f"cannot read: {error.strerror}"
                continue
            if is_sure or not stat.S_ISDIR(mode):
                return Listed(candidate, None, stat.S_ISLNK(mode))
            problem = "a folder, not a picture"
        return problem

    def _candidates(self, names: list[str]) -> Iterator[tuple[str, bool]]:
        """Yield names that a file may have; whether one of them is taken whatever stands there."""
        ends = [*self._suffixes, *(suffix.upper() for suffix in self._suffixes)]
        for form in names:
            if form.lower().endswith(self._suffixes):
                yield form, True
            for suffix in ends:
                yield form + suffix, True
        for form in names:
            stem = strip_suffix(form)
            if stem != form:
                for suffix in ends:
                    yield stem + suffix, True
        if self._any_suffix:
            for form in names:
                yield form, False


def _here() -> str:
    """Return the folder of the command; where that is gone, one in which nothing lies."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/dev/null"


def _columns(line: str) -> Iterator[str]:
    """Yield a line, without the space around it, and without its last columns, one after another."""
    seen = dict.fromkeys((line, line.strip()))
    text = line.strip()
    for _ in range(_MOST_COLUMNS):
        text = text.rsplit(None, 1)[0] if text else text
        seen[text] = None
    if line.split():
        seen[line.split()[0]] = None
    yield from (text for text in seen if text)
