"""Write result files: whole or not at all, by one job at a time.

A file is written under a temporary name in its own folder, brought to the disk (fsync), and then renamed; the folder is
brought to the disk after that. Neither a killed process nor a power failure leaves half a file under a final name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final

from smalti.errors import OutputError, ResourceError, UsageError
from smalti.vision.voc import printable

_TEMPORARY_SUFFIX: Final = ".smalti-tmp"
_NO_LOCKS_HERE: Final = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK})
_NO_SYNC_HERE: Final = frozenset({errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
_ABOUT_THE_NAME: Final = frozenset({errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST})

File = tuple[str, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """What became of groups of files: for each group in order None, or why its names cannot be written.

    ``stopped`` is the error that ended the writing; the groups behind those in ``problems`` were then not written.
    """

    problems: tuple[UsageError | None, ...]
    stopped: OutputError | None


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
            raise UsageError(f"{printable(str(self.path))} is not a folder: choose another --output-dir") from error
        except OSError as error:
            raise write_error(self.path, error) from error
        try:
            if not _lock(self._handle):
                raise ResourceError(
                    f"another job is writing to {printable(str(self.path))}: wait for its end, or choose "
                    "another --output-dir"
                )
            _remove_left_overs(self.path)
        except OSError as error:
            self._close()
            raise write_error(self.path, error) from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def write(self, name: str, data: bytes) -> Path:
        """Write one file under its final name, or nothing; ``name`` is relative and may lie in a sub-folder.

        Raises UsageError for a name that the file system refuses and OutputError when the disk does.
        """
        written = self.write_groups([[(name, data)]])
        problem = written.stopped or written.problems[0]
        if problem is not None:
            raise problem
        return self.path / name

    def write_groups(self, groups: Sequence[Sequence[File]]) -> Written:
        """Write groups of files; a group counts as written when all its files have their final names.

        All of them are handed to the disk before it is waited for, which costs little more than for one file.
        """
        staged: list[list[_Staged] | UsageError] = []
        problems: list[UsageError | None] = []
        stopped: OutputError | None = None
        try:
            try:
                for files in groups:
                    staged.append(self._stage(files))
            except _Refused as refused:
                stopped = refused.error
            _start_writing(staged)
            for ready in staged:
                problem = ready if isinstance(ready, UsageError) else _publish(ready)
                if isinstance(problem, OutputError):
                    stopped = problem
                    break
                problems.append(problem)
        finally:
            for ready in staged[len(problems) :]:
                if not isinstance(ready, UsageError):
                    _drop(ready)
        try:
            for folder in {file.path.parent for ready in staged if not isinstance(ready, UsageError) for file in ready}:
                sync_folder(folder)
        except OSError as error:
            return Written((), OutputError(str(write_error(folder, error))))
        return Written(tuple(problems), stopped)

    def _stage(self, files: Sequence[File]) -> list[_Staged] | UsageError:
        done: list[_Staged] = []
        for name, data in files:
            path = self.path / name
            try:
                if path.parent not in self._made:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self._made.add(path.parent)
                done.append(_stage_file(path, data))
            except OSError as error:
                _drop(done)
                problem = write_error(path, error)
                if isinstance(problem, UsageError):
                    return problem
                raise _Refused(problem) from error
        return done

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def write_file(path: Path, data: bytes) -> None:
    """Write one file whole or not at all. Raises UsageError or OutputError as :meth:`OutputFolder.write` does."""
    write_pieces(path, [data])


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, otherwise as :func:`write_file`; undecodable bytes of names in it are escaped."""
    write_file(path, text.encode("utf-8", "backslashreplace"))


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """Write one file whole or not at all from pieces that need not be in memory at the same time.

    Raises UsageError or OutputError as :meth:`OutputFolder.write` does.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, handle = _open_temporary(path)
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(pieces)
                file.flush()
                sync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise write_error(path, error) from error


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the file system can. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(handle)
    finally:
        os.close(handle)


def write_error(path: Path, error: OSError) -> OutputError | UsageError:
    """Return the error that says which file cannot be written, and why."""
    reason = os.strerror(error.errno) if error.errno else "output error"
    text = f"cannot write {printable(str(path))}: {reason}"
    return UsageError(text) if error.errno in _ABOUT_THE_NAME else OutputError(text)


class _Refused(Exception):
    def __init__(self, error: OutputError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True, eq=False)
class _Staged:
    """A file that is written under a temporary name and still open."""

    temporary: Path
    file: FileIO
    path: Path


def _open_temporary(path: Path) -> tuple[Path, int]:
    temporary = path.parent / f".{secrets.token_hex(8)}{_TEMPORARY_SUFFIX}"
    return temporary, os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _stage_file(path: Path, data: bytes) -> _Staged:
    temporary, handle = _open_temporary(path)
    staged = _Staged(temporary, FileIO(handle, "wb"), path)
    try:
        left = memoryview(data)
        while left:
            left = left[staged.file.write(left) or 0 :]
    except BaseException:
        _drop([staged])
        raise
    return staged


def _start_writing(groups: Sequence[list[_Staged] | UsageError]) -> None:
    """Let the disk begin with all files: pages that are not yet written are not dropped but written by this advice."""
    for ready in groups:
        if not isinstance(ready, UsageError):
            for file in ready:
                with suppress(OSError):
                    os.posix_fadvise(file.file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _publish(files: Sequence[_Staged]) -> UsageError | OutputError | None:
    """Bring staged files to the disk and give them their names; what cannot be published is removed."""
    for index, file in enumerate(files):
        try:
            sync(file.file.fileno())
            os.replace(file.temporary, file.path)
            file.file.close()
        except OSError as error:
            _drop(files[index:])
            return write_error(file.path, error)
    return None


def _drop(files: Iterable[_Staged]) -> None:
    """Remove what was not published; a file that has its name is only closed."""
    for file in files:
        with suppress(OSError):
            file.file.close()
        with suppress(OSError):
            os.unlink(file.temporary)


def sync(handle: int) -> None:
    """Bring an open file or folder to the disk, where the file system can. Raises OSError."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC_HERE:
            raise


def _lock(handle: int) -> bool:
    """Lock an open folder for this process; True also where the file system knows no locks. Raises OSError."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise
    return True


def _remove_left_overs(root: Path) -> None:
    """Remove the temporary files of a killed job; a folder inside in which another job is at work is left alone."""
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            if folder != root and _is_locked(folder):
                continue
            with os.scandir(folder) as items:
                for item in items:
                    if item.is_dir(follow_symlinks=False):
                        folders.append(Path(item.path))
                    elif item.name.startswith(".") and item.name.endswith(_TEMPORARY_SUFFIX):
                        os.unlink(item.path)
        except (FileNotFoundError, PermissionError) as error:
            if folder == root:
                raise write_error(folder, error) from error
        except OSError as error:
            raise write_error(folder, error) from error


def _is_locked(folder: Path) -> bool:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return not _lock(handle)
    finally:
        os.close(handle)
