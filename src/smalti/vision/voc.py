"""Folders of pictures, single ones, the PASCAL VOC directory layout and its file lists.

A file list holds one picture a line: an id (``2007_000033``), a name with a suffix, or a path; further columns (VOC's
``-1`` / ``1``, or the mask's path) are ignored. A folder alone stands for every picture directly in it, or also for
those in its sub-folders.
"""

from __future__ import annotations

import codecs
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Final, overload

from smalti.errors import ImageError, UsageError
from smalti.vision.formats import image_format
from smalti.vision.kinds import SNIFFED_BYTES, count_words
from smalti.vision.listed import Finder
from smalti.vision.names import PICTURE_SUFFIXES, NameList, OutputNames, encode_name, strip_suffix
from smalti.vision.names import printable as printable
from smalti.vision.walk import LINK_MARK, Found, walk

MASK_SUFFIX: Final = ".png"
_MAX_LIST_BYTES: Final = 256 * 2**20

PicturePaths = Path | Sequence[Path]
"""A folder of pictures, a picture file, or several of both."""


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
    """The pictures of folders, files or a list, in little memory however many they are.

    ``links`` are the indices of symbolic links. ``roots`` are the folders that were looked through, sub-folders and all
    if ``recursive``; ``left_out`` counts the files there of each kind that is not read. An :class:`Entry` is made when
    it is asked for.
    """

    def __init__(
        self,
        folder: Path,
        names: NameList,
        links: Sequence[int] = (),
        problems: Mapping[int, str] = MappingProxyType({}),
        *,
        roots: tuple[Path, ...] = (),
        recursive: bool = False,
        left_out: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.folder = folder
        self.roots = roots
        self.recursive = recursive
        self.left_out = left_out
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


def find_pictures(
    image_dir: PicturePaths,
    file_list: Path | None = None,
    image_num: int | None = None,
    *,
    recursive: bool = False,
) -> Pictures:
    """Return the pictures of folders and files, or those that ``file_list`` names, at most the first ``image_num``.

    A folder may also be a VOC root that has JPEGImages in it; ``recursive`` looks into sub-folders, too, but not
    through links to folders, into hidden ones, or into those that hold results of a job. Names come in the list's
    order, or sorted for each path; they are relative to the folder, or to the real folder that holds all paths. A
    picture that two paths lead to counts once.

    Raises UsageError when a path or the list cannot be read or names nothing, ImageError when the only path is a file
    of a kind that is not read.
    """
    paths = [image_dir] if isinstance(image_dir, Path) else list(image_dir)
    if not paths:
        raise UsageError("there is no folder of pictures: give --image-dir a folder or a picture file")
    _check_number(image_num)
    if file_list is not None:
        if len(paths) > 1 or paths[0].is_file():
            raise UsageError("--file-list names the pictures of one folder: give --image-dir that folder alone")
        if recursive:
            raise UsageError(
                "--file-list names pictures, with their sub-folders where they lie in some, and --recursive looks for "
                "them: leave one of the two out"
            )
        folder = inner_folder(paths[0], "JPEGImages")
        return _listed(folder, file_list, image_num, PICTURE_SUFFIXES, "picture", any_suffix=True)
    if len(paths) == 1 and not paths[0].is_file():
        folder = inner_folder(paths[0], "JPEGImages")
        return _all_of(folder, image_num, PICTURE_SUFFIXES, "picture", recursive=recursive)
    if len(paths) == 1:
        _check_kind(paths[0])
        return Pictures(paths[0].parent, NameList([paths[0].name]), array("Q", [0] if paths[0].is_symlink() else []))
    return _several(paths, image_num, recursive)


def list_pictures(
    image_dir: PicturePaths,
    file_list: Path | None = None,
    image_num: int | None = None,
    *,
    recursive: bool = False,
) -> list[Entry]:
    """Return what :func:`find_pictures` finds as a list."""
    return list(find_pictures(image_dir, file_list, image_num, recursive=recursive))


def list_masks(gt_dir: Path, file_list: Path | None = None, image_num: int | None = None) -> list[Entry]:
    """Return the masks (PNG) of a folder, as :func:`list_pictures` does; a VOC root may hold SegmentationClass."""
    folder = inner_folder(gt_dir, "SegmentationClass")
    _check_number(image_num)
    if file_list is not None:
        return list(_listed(folder, file_list, image_num, (MASK_SUFFIX,), "mask", any_suffix=False))
    return list(_all_of(folder, image_num, (MASK_SUFFIX,), "mask"))


def inner_folder(folder: Path, inner: str) -> Path:
    """Return ``folder / inner`` when ``folder`` is a VOC root, else ``folder``; UsageError when it is no folder."""
    if not folder.is_dir():
        is_file = folder.name.lower().endswith(PICTURE_SUFFIXES) and not folder.exists()
        what = "picture" if is_file else "folder"
        raise UsageError(f"there is no {what} {printable(str(folder))}: give one that exists")
    return folder / inner if (folder / inner).is_dir() else folder


def read_list(file_list: Path) -> list[str]:
    """Return the lines of a file list that are not blank. Raises UsageError when it is not a readable text."""
    return [line.strip() for line in _lines(file_list)]


def _lines(file_list: Path) -> Iterator[str]:
    """Yield the lines of a file list that are not blank, with the space around them, without reading it whole."""
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
                text = line.decode("utf-8-sig" if number == 0 else "utf-8", "surrogateescape").rstrip("\r\n")
                if text.strip():
                    yield text
    except OSError as error:
        raise UsageError(f"cannot read the file list {printable(str(file_list))}: {error.strerror}") from error


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


def _check_number(image_num: int | None) -> None:
    if image_num is not None and image_num < 1:
        raise UsageError(f"the number of images must be at least 1, not {image_num}")


def _check_kind(path: Path) -> None:
    """Refuse a file that is named alone and begins like no picture that is read; what else is wrong shows later."""
    try:
        with open(path, "rb") as file:
            start = file.read(SNIFFED_BYTES)
    except OSError:
        return
    try:
        image_format(start)
    except ImageError as error:
        raise ImageError(f"{printable(str(path))}: {error}") from error


def _all_of(
    folder: Path, image_num: int | None, suffixes: tuple[str, ...], what: str, *, recursive: bool = False
) -> Pictures:
    found = walk(folder, suffixes, recursive=recursive)
    _check_found(folder, found, suffixes, what)
    names = found.names[:image_num]
    return Pictures(
        folder,
        NameList(name.rstrip(LINK_MARK) for name in names),
        _links(names),
        roots=(folder,),
        recursive=recursive,
        left_out=found.left_out,
    )


def _links(names: Iterable[bytes]) -> array[int]:
    return array("Q", (index for index, name in enumerate(names) if name.endswith(LINK_MARK)))


def _check_found(folder: Path, found: Found, suffixes: tuple[str, ...], what: str) -> None:
    """Raise UsageError for a folder without a picture, with a word about what is there instead."""
    if found.names:
        return
    text = f"there is no {what} ({', '.join(suffixes)}) in {printable(str(folder))}"
    if found.left_out:
        kinds = count_words(found.left_out)
        raise UsageError(f"{text}, but {kinds}, which are not read: convert them to PNG or JPEG")
    if found.has_folders and what == "picture":
        raise UsageError(f"{text} itself: add --recursive for its sub-folders, or give another folder")
    raise UsageError(f"{text}: give another folder")


def _several(paths: Sequence[Path], image_num: int | None, recursive: bool) -> Pictures:
    """Return the pictures of several folders and files, by their names from the real folder that holds all of them."""
    parts: list[tuple[str, list[bytes]]] = []
    roots: list[Path] = []
    left_out: Counter[str] = Counter()
    for path in paths:
        if path.is_file():
            mark = LINK_MARK if path.is_symlink() else b""
            parts.append((os.path.realpath(path.parent), [encode_name(path.name) + mark]))
            continue
        folder = Path(os.path.realpath(inner_folder(path, "JPEGImages")))
        found = walk(folder, PICTURE_SUFFIXES, recursive=recursive)
        _check_found(path, found, PICTURE_SUFFIXES, "picture")
        if folder not in roots:
            roots.append(folder)
            left_out.update(found.left_out)
        parts.append((str(folder), found.names))
    common = os.path.commonpath([folder for folder, _ in parts])
    names: dict[bytes, None] = {}
    for folder_name, found_names in parts:
        inner = os.path.relpath(folder_name, common)
        start = b"" if inner == "." else encode_name(f"{inner}/")
        for name in found_names:
            names[start + name] = None
    chosen = list(islice(names, image_num))
    return Pictures(
        Path(common),
        NameList(name.rstrip(LINK_MARK) for name in chosen),
        _links(chosen),
        roots=tuple(roots),
        recursive=recursive,
        left_out=left_out,
    )


def _listed(
    folder: Path,
    file_list: Path,
    image_num: int | None,
    suffixes: tuple[str, ...],
    what: str,
    *,
    any_suffix: bool,
) -> Pictures:
    problems: dict[int, str] = {}
    links = array("Q")
    finder = Finder(folder, file_list, suffixes, what, any_suffix=any_suffix)

    def names() -> Iterator[str]:
        for index, line in enumerate(islice(_lines(file_list), image_num)):
            found = finder.find(line)
            if found.problem is not None:
                problems[index] = found.problem
            elif found.is_link:
                links.append(index)
            yield found.name

    listed = Pictures(folder, NameList(names()), links, problems)
    if not len(listed):
        raise UsageError(
            f"the file list {printable(str(file_list))} is empty: write the name of a picture in each line"
        )
    return listed
