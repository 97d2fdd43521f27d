"""Write result files: whole or not at all, by one job at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Final

from smalti.errors import OutputError, ResourceError, UsageError
from smalti.vision.voc import printable

_TEMPORARY_SUFFIX: Final = ".smalti-tmp"
_NO_LOCKS_HERE: Final = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK})


class OutputFolder:
    """A folder that one job writes to.

    As a context manager it makes the folder, locks it (the lock ends with the process, even a killed one) and removes
    temporary files that a killed job left. Entering raises ResourceError when another job holds the lock, UsageError
    when the path is no folder, OutputError when the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1
        self._made: set[Path] = set()

    def __enter__(self) -> OutputFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileExistsError, NotADirectoryError) as error:
            raise UsageError(f"{printable(str(self.path))} is not a folder") from error
        except OSError as error:
            raise _write_error(self.path, error) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                self._close()
                raise ResourceError(f"another job is writing to {printable(str(self.path))}") from error
        self._remove_left_overs()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def write(self, name: str, data: bytes) -> Path:
        """Write one file under its final name, or nothing; ``name`` is relative and may lie in a sub-folder.

        Raises UsageError for a name that the file system refuses and OutputError when the disk does.
        """
        path = self.path / name
        folder = path.parent
        try:
            if folder not in self._made:
                folder.mkdir(parents=True, exist_ok=True)
                self._made.add(folder)
            _write_whole(path, data)
        except OSError as error:
            raise _write_error(path, error) from error
        return path

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _remove_left_overs(self) -> None:
        try:
            for folder, _, names in os.walk(self.path):
                for name in names:
                    if name.endswith(_TEMPORARY_SUFFIX):
                        os.unlink(os.path.join(folder, name))
        except OSError as error:
            raise _write_error(self.path, error) from error


def write_file(path: Path, data: bytes) -> None:
    """Write one file whole or not at all. Raises UsageError or OutputError as :meth:`OutputFolder.write` does."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, data)
    except OSError as error:
        raise _write_error(path, error) from error


def _write_whole(path: Path, data: bytes) -> None:
    temporary = path.parent / f".{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_error(path: Path, error: OSError) -> OutputError | UsageError:
    reason = os.strerror(error.errno) if error.errno else "output error"
    text = f"cannot write {printable(str(path))}: {reason}"
    if error.errno in (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR):
        return UsageError(text)
    return OutputError(text)
