"""The journal of a long job: which pictures are finished, so that a stopped job can go on.

A journal is a file of JSON lines in the output folder. The first line says what the job is; each further line is one
finished picture, appended after its result files have their final names. A line that a killed process did not finish is
cut off when the job goes on; a line that cannot be read only means that its picture is done again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from smalti.errors import UsageError
from smalti.jobs.outputs import sync, sync_folder, write_error, write_file
from smalti.strict_json import Fields, JsonFault, document, flag, integer, list_of, optional, text
from smalti.vision.voc import printable
from smalti.vision.walk import JOURNAL_FILE as JOURNAL_FILE

JOURNAL_FORMAT: Final = "smalti-journal-1"
_MAX_LINE: Final = 2**16
_MAX_FORMAT_LINE: Final = 2**20

Signature = tuple[int, int]


@dataclass(frozen=True, slots=True)
class JobIdentity:
    """What decides the bytes of a job's results: a job only goes on when all of it is the same.

    ``model`` is a digest of the model file, ``target`` the CPU that the code in use was built for, ``source`` the
    folder of pictures; ``options`` are command-line options with their values, ``versions`` those of the libraries that
    decode and encode.
    """

    model: str
    target: str
    source: str
    options: Mapping[str, str]
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "options": dict(self.options), "versions": dict(self.versions)}

    def differences(self, head: Mapping[str, Any]) -> list[str]:
        """Return what another job's head says otherwise, in words."""
        found = []
        if head.get("model") != self.model:
            found.append(f"the model (was {_short(head.get('model'))}, is {_short(self.model)})")
        for field, what in (("target", "the model's CPU"), ("source", "the picture folder")):
            if head.get(field) != getattr(self, field):
                found.append(f"{what} (was {_word(head.get(field))}, is {_word(getattr(self, field))})")
        for field in ("options", "versions"):
            said = head.get(field)
            before: Mapping[str, Any] = said if isinstance(said, dict) else {}
            now: Mapping[str, str] = getattr(self, field)
            for name in dict.fromkeys((*now, *before)):
                if before.get(name) != now.get(name):
                    found.append(f"{_word(name)} (was {_word(before.get(name))}, is {_word(now.get(name))})")
        return found


@dataclass(frozen=True, slots=True)
class Record:
    """One finished picture.

    ``output`` and ``sizes`` are its result's name and the bytes of each result file; or ``reason`` says why it failed.
    ``source`` is the length and modification time (ns) that the picture had. A ``passing`` failure (the storage could
    not be read) is tried again in any case.
    """

    name: str
    output: str | None
    sizes: tuple[int, ...] = ()
    reason: str | None = None
    source: Signature | None = None
    passing: bool = False

    def to_line(self) -> bytes:
        out: dict[str, Any] = {"name": self.name, "source": self.source}
        if self.reason is None:
            out["output"] = self.output
            out["sizes"] = self.sizes
        else:
            out["failed"] = self.reason
            if self.passing:
                out["passing"] = True
        return json.dumps(out, separators=(",", ":")).encode() + b"\n"


class Journal:
    """An open journal that finished pictures are appended to. Close it, or use it as a context manager."""

    def __init__(self, path: Path, handle: int, length: int) -> None:
        self.path = path
        self._handle = handle
        self._length = length

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, records: Sequence[Record]) -> None:
        """Append lines. Raises OutputError; the journal then ends as before.

        What a killed process has appended stays. A power failure may take the last lines, whose pictures are then done
        again; bringing every line to the disk at once would not be worth its time.
        """
        data = b"".join(record.to_line() for record in records)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._handle, left) :]
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._handle, self._length)
            raise write_error(self.path, error) from error
        self._length += len(data)

    def close(self) -> None:
        """Bring the journal to the disk and close it. Raises OutputError."""
        if self._handle < 0:
            return
        try:
            sync(self._handle)
        except OSError as error:
            raise write_error(self.path, error) from error
        finally:
            os.close(self._handle)
            self._handle = -1


def open_journal(
    folder: Path, identity: JobIdentity, replay: Callable[[Record], None], *, restart: bool = False
) -> Journal:
    """Open the journal of a locked output folder; every picture that it lists goes to ``replay``, in order.

    Without a journal, or with ``restart``, a new one is begun. Raises UsageError when the folder holds a journal of
    another job, or another file of that name, and OutputError when the disk refuses.
    """
    path = folder / JOURNAL_FILE
    try:
        length = _replay(path, identity, replay, restart)
        if length is None:
            head = json.dumps({"format": JOURNAL_FORMAT, **identity.to_json()}, separators=(",", ":")).encode() + b"\n"
            write_file(path, head)
            length = len(head)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.ftruncate(handle, length)
        except BaseException:
            os.close(handle)
            raise
    except OSError as error:
        raise write_error(path, error) from error
    return Journal(path, handle, length)


def remove_journal(folder: Path) -> None:
    """Remove a folder's journal, before results are written there that it does not list. Raises OutputError."""
    path = folder / JOURNAL_FILE
    try:
        if _is_ours(path):
            os.unlink(path)
            sync_folder(folder)
    except OSError as error:
        raise write_error(path, error) from error


def _is_ours(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return _head(file.readline(_MAX_FORMAT_LINE)) is not None
    except FileNotFoundError:
        return False


def _replay(path: Path, identity: JobIdentity, replay: Callable[[Record], None], restart: bool) -> int | None:
    """Give every line of a journal to ``replay``; return its length up to the last whole line, None for no journal."""
    try:
        file = open(path, "rb", opener=_no_links)
    except FileNotFoundError:
        return None
    shown = printable(str(path))
    with file:
        first = file.readline(_MAX_FORMAT_LINE)
        head = _head(first)
        if head is None:
            raise UsageError(
                f"{shown} is not a journal that this Smalti can read: remove it or choose another --output-dir"
            )
        if restart:
            return None
        differing = identity.differences(head)
        if differing:
            raise UsageError(
                f"{printable(str(path.parent))} holds a job that was started differently: {'; '.join(differing)}. "
                "Go on as it was started, use another --output-dir, or start afresh with --restart"
            )
        length = len(first)
        for line in _whole_lines(file):
            length += len(line)
            record = _record(line)
            if record is not None:
                replay(record)
    return length


def _no_links(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _whole_lines(file: Iterator[bytes]) -> Iterator[bytes]:
    for line in file:
        if line.endswith(b"\n"):
            yield line


def _head(line: bytes) -> dict[str, Any] | None:
    head = _parse(line) if line.endswith(b"\n") else None
    return head if head is not None and head.get("format") == JOURNAL_FORMAT else None


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        return document(line, max_bytes=_MAX_FORMAT_LINE)
    except JsonFault:
        return None


def _record(line: bytes) -> Record | None:
    """Return what a line says, or None when it is not a line of a journal."""
    try:
        take = Fields(document(line, max_bytes=_MAX_LINE))
        name, source = take("name", text), take.get("source", optional(_signature), None)
        reason = take.get("failed", _reason, None)
        if reason is not None:
            record = Record(name, None, reason=reason, source=source, passing=take.get("passing", flag, False))
        else:
            record = Record(name, take("output", text), take("sizes", list_of(integer)), source=source)
        take.finish()
    except JsonFault:
        return None
    return record


def _signature(value: Any, where: str) -> Signature:
    numbers = list_of(integer)(value, where)
    if len(numbers) != len(("length", "time")):
        raise JsonFault(f"{where} must be a length and a time")
    return numbers[0], numbers[1]


def _reason(value: Any, where: str) -> str:
    reason = text(value, where)
    if any("\ud800" <= char <= "\udfff" for char in reason):
        raise JsonFault(f"{where} must be text that can be written")
    return reason


def _short(value: Any) -> str:
    return _word(value[:12]) if isinstance(value, str) else _word(value)


def _word(value: Any) -> str:
    return "nothing" if value is None else printable(str(value))
