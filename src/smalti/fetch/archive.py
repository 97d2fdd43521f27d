"""Unpack a .tar or .tar.gz that a stranger may have made.

Every member of the archive is checked before the first file is written; only plain files and folders with harmless
names pass. Permissions, owners and times in the archive are ignored.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import BinaryIO, Final

from smalti.errors import ArchiveError
from smalti.fetch.disk import CHUNK, disk_errors, require_space, shown, write_all
from smalti.fetch.progress import Progress, Stage, silent
from smalti.fetch.registry import Limits

MAX_PATH: Final = 512
MAX_COMPONENT: Final = 200
MAX_DEPTH: Final = 16
_BLOCK: Final = 512
_GZIP_MAGIC: Final = b"\x1f\x8b"
_RATIO_ALLOWANCE: Final = 2**20
# Long names and extended headers are read in one piece; nothing honest is near this.
_MAX_READ: Final = 2**20
_MAX_HEADERS: Final = 64


@dataclass(frozen=True, slots=True)
class UnpackedFile:
    """A file that was written: path below the unpacked folder, length and SHA-256 in hex."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Member:
    path: str
    offset: int
    bytes: int


def unpack(
    archive: BinaryIO,
    name: str,
    folder: str,
    into: Path,
    limits: Limits,
    *,
    progress: Progress = silent,
) -> tuple[UnpackedFile, ...]:
    """Write the files below ``folder`` of an archive into the empty folder ``into``, without that prefix.

    Args:
        archive: open file on disk, read from its start.
        name: what messages call it.
        folder: path in the archive, such as ``VOCdevkit/VOC2012``.
        into: existing, empty and private; what an error leaves in it is the caller's to remove.
        limits: sizes beyond which the archive is refused.
        progress: told about bytes written.

    Raises:
        ArchiveError: the archive is damaged, cut, over a limit or holds something unsafe; nothing is written then
            unless the damage is in the data of a file.
        FetchError: the disk refuses.
    """
    scratch = into / ".unpacked.tar"
    with disk_errors(scratch):
        size = os.fstat(archive.fileno()).st_size
        archive.seek(0)
        packed = archive.read(2) == _GZIP_MAGIC
        archive.seek(0)
    if size > limits.archive_bytes:
        raise ArchiveError(f"{shown(name)} has {size} bytes; {limits.archive_bytes} are allowed")
    if not packed:
        return _unpack_tar(archive, name, folder, into, limits, progress)
    try:
        with disk_errors(scratch), open(scratch, "x+b", buffering=0) as tar:
            _inflate(archive, tar, scratch, name, size, limits)
            return _unpack_tar(tar, name, folder, into, limits, progress)
    finally:
        with disk_errors(scratch):
            scratch.unlink(missing_ok=True)


def _inflate(archive: BinaryIO, tar: BinaryIO, path: Path, name: str, size: int, limits: Limits) -> None:
    most = min(limits.unpacked_bytes, size * limits.ratio + _RATIO_ALLOWANCE)
    done = 0
    with GzipFile(fileobj=archive, mode="rb") as stream:
        while True:
            try:
                block = stream.read(CHUNK)
            except (EOFError, BadGzipFile, zlib.error) as error:
                raise ArchiveError(f"{shown(name)} is damaged or cut") from error
            if not block:
                return
            done += len(block)
            if done > most:
                raise ArchiveError(
                    f"{shown(name)} unpacks to more than the {most} bytes allowed for {size} packed ones"
                )
            with disk_errors(path, len(block)):
                write_all(tar, block)


def _unpack_tar(
    tar: BinaryIO, name: str, folder: str, into: Path, limits: Limits, progress: Progress
) -> tuple[UnpackedFile, ...]:
    wanted = _wanted(_members(tar, name, limits), folder)
    if not wanted:
        raise ArchiveError(f"{shown(name)} holds no files in {folder}")
    total = sum(member.bytes for member in wanted)
    require_space(into, total)
    done = 0
    files = []
    for member in wanted:
        target = into / member.path
        with disk_errors(target, total - done):
            target.parent.mkdir(parents=True, exist_ok=True)
            files.append(_write(tar, member, target, name))
        done += member.bytes
        progress(Stage.UNPACK, name, done, total)
    return tuple(files)


def _write(tar: BinaryIO, member: _Member, target: Path, name: str) -> UnpackedFile:
    digest = hashlib.sha256()
    left = member.bytes
    tar.seek(member.offset)
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(handle, "wb", buffering=0) as file:
        while left:
            block = tar.read(min(left, CHUNK))
            if not block:
                raise ArchiveError(f"{shown(name)} is cut inside {shown(member.path)}")
            digest.update(block)
            write_all(file, block)
            left -= len(block)
    return UnpackedFile(member.path, member.bytes, digest.hexdigest())


def _wanted(members: list[_Member], folder: str) -> list[_Member]:
    prefix = folder + "/"
    return [
        _Member(member.path[len(prefix) :], member.offset, member.bytes)
        for member in members
        if member.path.startswith(prefix)
    ]


class _Guarded:
    """A tar file as ``tarfile`` may see it: no reads large enough to fill the memory."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_READ:
            raise ArchiveError(f"{shown(self._name)} has a header of {size} bytes")
        return self._file.read(size)

    def seek(self, offset: int) -> int:
        if offset < 0:
            raise ArchiveError(f"{shown(self._name)} has a header that points before its start")
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()


def _members(tar: BinaryIO, name: str, limits: Limits) -> list[_Member]:
    """Check every member, and that the archive ends where an archive ends; return the files."""
    files: list[_Member] = []
    total = end = 0
    names = _Names(name)
    tar.seek(0, os.SEEK_END)
    length = tar.tell()
    tar.seek(0)
    for count, info in enumerate(_headers(tar, name)):
        if count >= limits.members:
            raise ArchiveError(f"{shown(name)} has more than the {limits.members} members allowed")
        path = names.add(info)
        if info.offset_data < end or info.size < 0:
            raise ArchiveError(f"{shown(name)} is damaged at {_quoted(info)}")
        if info.isdir():
            end = info.offset_data
            continue
        end = info.offset_data + -(-info.size // _BLOCK) * _BLOCK
        if info.offset_data + info.size > length:
            raise ArchiveError(f"{shown(name)} is cut inside {_quoted(info)}")
        total += info.size
        if total > limits.unpacked_bytes:
            raise ArchiveError(f"{shown(name)} unpacks to more than the {limits.unpacked_bytes} bytes allowed")
        files.append(_Member(path, info.offset_data, info.size))
    tar.seek(end)
    # tarfile takes a file that stops between two members, or goes on with garbage, for a whole one.
    if tar.read(_BLOCK) != bytes(_BLOCK):
        raise ArchiveError(f"{shown(name)} is damaged or cut: its end mark is missing")
    return files


def _headers(tar: BinaryIO, name: str) -> Iterator[tarfile.TarInfo]:
    """Yield the members. Raises ArchiveError for whatever ``tarfile`` cannot read."""
    try:
        guarded = _Guarded(tar, name)
        with tarfile.open(fileobj=guarded, mode="r:", encoding="utf-8", errors="surrogateescape") as reader:  # type: ignore[call-overload]
            yield from reader
    except (tarfile.TarError, ValueError, OverflowError, IndexError, KeyError, RecursionError, EOFError) as error:
        raise ArchiveError(f"{shown(name)} is no tar archive or is damaged") from error


class _Names:
    """The paths seen so far, so that no two members meet in one file, not even where case does not count."""

    def __init__(self, archive: str) -> None:
        self._archive = archive
        self._files: set[str] = set()
        self._folders: dict[str, str] = {}

    def add(self, info: tarfile.TarInfo) -> str:
        """Return the normalised path of a member, or raise ArchiveError."""
        if not info.isdir() and (info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.issparse()):
            raise self._refused(info, _KINDS.get(info.type, "is no plain file"))
        if len(info.pax_headers) > _MAX_HEADERS:
            raise self._refused(info, "has too many extended headers")
        parts = self._parts(info)
        path = "/".join(parts)
        for depth in range(1, len(parts)):
            self._add_folder("/".join(parts[:depth]), info)
        if info.isdir():
            if parts:
                self._add_folder(path, info)
            return path
        key = _folded(path)
        if key in self._files or key in self._folders:
            raise self._refused(info, "has the name of another member")
        self._files.add(key)
        return path

    def _parts(self, info: tarfile.TarInfo) -> list[str]:
        text = info.name
        if len(text.encode("utf-8", "surrogateescape")) > MAX_PATH:
            raise self._refused(info, f"has a path longer than {MAX_PATH} bytes")
        if text.startswith("/") or "\\" in text or text[1:2] == ":":
            raise self._refused(info, "has an absolute path or one of another system")
        if not text.isprintable():
            raise self._refused(info, "has control characters or bytes that are no UTF-8 in its path")
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise self._refused(info, "leads out of the folder")
        if not parts and not info.isdir():
            raise self._refused(info, "has no name")
        if len(parts) > MAX_DEPTH or any(len(part.encode()) > MAX_COMPONENT for part in parts):
            raise self._refused(info, "lies too deep or has a part that is too long")
        if any(part.startswith(".smalti-") or part == ".unpacked.tar" for part in parts):
            raise self._refused(info, "has a name that export keeps for itself")
        return parts

    def _add_folder(self, path: str, info: tarfile.TarInfo) -> None:
        key = _folded(path)
        if key in self._files or self._folders.setdefault(key, path) != path:
            raise self._refused(info, "has the name of another member")

    def _refused(self, info: tarfile.TarInfo, why: str) -> ArchiveError:
        return ArchiveError(f"{shown(self._archive)} is refused: {_quoted(info)} {why}")


_KINDS: Final = {
    tarfile.SYMTYPE: "is a symbolic link",
    tarfile.LNKTYPE: "is a hard link",
    tarfile.CHRTYPE: "is a device",
    tarfile.BLKTYPE: "is a device",
    tarfile.FIFOTYPE: "is a pipe",
}


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _quoted(info: tarfile.TarInfo) -> str:
    return repr(shown(info.name)[:120])
