"""Values that stand in a second file: beside the model, under a plain name, and nowhere else.

A model of a stranger could name any file of the machine it is built on, and a copy of that file would then stand in
what is built.  So the name may not lead anywhere, links of both kinds, devices and pipes are refused before they are
opened, and every read is checked against the file's real size.  Pages are copied and never mapped: a file that somebody
cuts meanwhile is an error, and no signal.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smalti.errors import GraphError
from smalti.frontend.words import shorten

_MAX_FILE_NAME = 255
_MAX_DIGITS = 20
# What ONNX defines. A digest says nothing about who wrote a file, and "basepath" is not read: the folder is known.
_KEYS = frozenset(("location", "offset", "length", "checksum", "basepath"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where values stand: a file's plain name, the first byte, and how many bytes (``None``: not stated)."""

    name: str
    offset: int
    length: int | None


def place_of(entries: Mapping[str, str]) -> Place:
    """Return the place that ``external_data`` states.

    Raises:
        GraphError: no name, a name that is more than the plain name of a file, or a number that is none.
    """
    unknown = sorted(entries.keys() - _KEYS)
    if unknown:
        raise GraphError(f"its external data has the unknown entry {shorten(unknown[0])}")
    name = entries.get("location", "")
    plain = name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name) and name.isprintable()
    if not plain or len(name.encode()) > _MAX_FILE_NAME:
        raise GraphError(
            f"its values are in the file {shorten(name)}, which is not the plain name of a file: external data must "
            "stand in the model's own folder; move it there and save the model so"
        )
    length = _number(entries, "length") if "length" in entries else None
    return Place(name, _number(entries, "offset"), length)


def _number(entries: Mapping[str, str], key: str) -> int:
    text = entries.get(key, "0")
    if not (text.isascii() and text.isdecimal()) or len(text) > _MAX_DIGITS:
        raise GraphError(f"the {key} of its external data is {shorten(text)}, which is no number of bytes")
    return int(text)


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of a model, from which second files are read."""

    path: Path

    def read(self, place: Place, nbytes: int) -> bytes:
        """Return exactly ``nbytes`` bytes of a file of this folder.

        Raises:
            GraphError: there is no such file, it is a link or no regular file, it is too short, or it changed while it
                was read.
        """
        if place.length is not None and place.length != nbytes:
            raise GraphError(f"its external data has {place.length} bytes where {nbytes} are needed")
        try:
            return self._read(place, nbytes)
        except OSError as error:
            text = f"its file {shorten(place.name)} cannot be read: {error.strerror}{_beside(error)}"
            raise GraphError(text) from error

    def _read(self, place: Place, nbytes: int) -> bytes:
        # As bytes: the name of a file is what the model says, whatever the locale.
        name = place.name.encode()
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _check_kind(os.stat(name, dir_fd=folder, follow_symlinks=False), place.name)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=folder)
        finally:
            os.close(folder)
        try:
            before = os.fstat(descriptor)
            # Once more: it may be another file than the one that was looked at.
            _check_kind(before, place.name)
            if place.offset + nbytes > before.st_size:
                raise GraphError(
                    f"its values end at byte {place.offset + nbytes} of the file {shorten(place.name)}, which has "
                    f"{before.st_size}: the copy of that file was cut, or it belongs to another model"
                )
            return _exactly(descriptor, place, nbytes)
        finally:
            os.close(descriptor)


def _beside(error: OSError) -> str:
    missing = isinstance(error, FileNotFoundError)
    return "; the files of a model's values must stand beside it" if missing else ""


def _check_kind(status: os.stat_result, name: str) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise GraphError(f"its file {shorten(name)} is a link, and links are not followed: put the file itself there")
    if not stat.S_ISREG(status.st_mode):
        raise GraphError(f"its file {shorten(name)} is no ordinary file")
    if status.st_nlink != 1:
        raise GraphError(
            f"its file {shorten(name)} has {status.st_nlink} names (hard links), so it may be anybody's: put a copy of "
            "it there"
        )


def _exactly(descriptor: int, place: Place, nbytes: int) -> bytes:
    """Read ``nbytes``; one call may give fewer, and a file that was cut gives none."""
    pieces: list[bytes] = []
    at, end = place.offset, place.offset + nbytes
    while at < end:
        piece = os.pread(descriptor, end - at, at)
        if not piece:
            raise GraphError(f"its file {shorten(place.name)} was cut while it was read")
        pieces.append(piece)
        at += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
