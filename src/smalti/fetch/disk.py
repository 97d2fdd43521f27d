"""Files that are whole or absent, errors that name the path, and one writer per folder."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from smalti.errors import FetchError, ResourceError, UsageError
from smalti.fetch.progress import Progress, Stage

TEMPORARY_SUFFIX: Final = ".smalti-tmp"
CHUNK: Final = 2**20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_LOCKS_HERE: Final = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK})
_LOCK_POLL: Final = 0.1


def shown(text: object) -> str:
    """Return ``text`` in one line that any terminal can show."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


@contextmanager
def disk_errors(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn an OSError of the body into a FetchError that names ``path`` and, for a full disk, the bytes needed."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise no_space(path, needed, os.strerror(error.errno or 0)) from error
        reason = os.strerror(error.errno) if error.errno else "input/output error"
        raise FetchError(f"cannot use {shown(path)}: {reason}") from error


def no_space(path: Path, needed: int | None, reason: str = "No space left on device") -> FetchError:
    """Return the error of a full disk."""
    amount = "more space is needed" if needed is None else f"{needed} more bytes are needed"
    return FetchError(f"the disk is full ({reason}): {amount} to write {shown(path)}")


def open_plain(path: Path) -> BinaryIO:
    """Open a file to be read. Raises OSError, and FetchError for a pipe, a device or a folder, which may never end."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FetchError(f"{shown(path)} is no plain file: move it or take another folder")
    return open(handle, "rb")


def require_space(path: Path, needed: int) -> None:
    """Raise FetchError when the file system of the folder ``path`` has fewer than ``needed`` bytes free."""
    with disk_errors(path):
        free = shutil.disk_usage(path).free
    if free < needed:
        raise no_space(path, needed - free)


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write all of ``data`` to an unbuffered file, which may take it in parts."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def write_small(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises FetchError."""
    temporary = temporary_beside(path)
    with disk_errors(path, len(data)):
        try:
            with open(temporary, "xb", buffering=0) as file:
                write_all(file, data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """Return an unused name in the folder of ``path`` that the next export would clear away."""
    return path.parent / f".{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"


def file_sha256(file: BinaryIO, name: str, progress: Progress, path: Path) -> tuple[str, int]:
    """Return the SHA-256 in hex and the length of an open file, read from its start. Raises FetchError."""
    digest = hashlib.sha256()
    done = 0
    with disk_errors(path):
        total = os.fstat(file.fileno()).st_size
        file.seek(0)
    while True:
        with disk_errors(path):
            block = file.read(CHUNK)
        if not block:
            return digest.hexdigest(), done
        digest.update(block)
        done += len(block)
        progress(Stage.VERIFY, name, done, total)


@contextmanager
def locked_folder(folder: Path, progress: Progress, patience: float) -> Iterator[None]:
    """Make ``folder`` and hold its lock during the body; first remove what a killed export left there.

    The lock ends with the process, even a killed one. Waits ``patience`` seconds for another export.

    Raises:
        UsageError: the path is no folder.
        ResourceError: another export still holds the lock.
        FetchError: the disk refuses.
    """
    with disk_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{shown(folder)} is not a folder: choose another place to write to")
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(handle, folder, progress, patience)
        _clear_left_overs(folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path, progress: Progress, patience: float) -> None:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno in _NO_LOCKS_HERE:
                return
            raise FetchError(f"cannot lock {shown(folder)}: {os.strerror(error.errno or 0)}") from error
        if time.monotonic() >= end:
            raise ResourceError(
                f"another export is writing to {shown(folder)}: wait for its end or take another folder"
            )
        progress(Stage.WAIT, folder.name, 0, None)
        time.sleep(_LOCK_POLL)


def _clear_left_overs(folder: Path) -> None:
    with disk_errors(folder):
        for item in list(os.scandir(folder)):
            if item.name.startswith(".") and item.name.endswith(TEMPORARY_SUFFIX):
                remove_any(Path(item.path))


def remove_any(path: Path) -> None:
    """Remove a file or a folder with all in it, following no link; nothing happens when it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
