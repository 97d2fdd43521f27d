"""The note in an exported folder that says what it is, so that a second export can tell that nothing is to do."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smalti.errors import FetchError
from smalti.fetch.archive import UnpackedFile
from smalti.fetch.disk import CHUNK, disk_errors, shown, write_small
from smalti.strict_json import Fields, JsonFault, JsonObject, document, integer, list_of, text

STAMP_NAME: Final = ".smalti-export.json"
CHECKSUMS_NAME: Final = ".smalti-checksums.json"
_FORMAT: Final = 1
_MAX_BYTES: Final = 256 * 2**20
_HEX: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


def is_sha256(value: object) -> bool:
    """Whether ``value`` is a SHA-256 in lower-case hex."""
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class StampedFile:
    """A file of an exported folder: path, length, time of last change in ns, and SHA-256 in hex."""

    path: str
    bytes: int
    modified_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """What an exported folder was made from.

    Attributes:
        name: the model or data set.
        source: address or path of the archive.
        sha256: digest of the archive.
        archive_bytes: its length.
        trust: what vouched for the digest.
        files: everything that was written.
    """

    name: str
    source: str
    sha256: str
    archive_bytes: int
    trust: str
    files: tuple[StampedFile, ...]


def write_stamp(folder: Path, stamp: Stamp) -> None:
    """Write the note into ``folder``. Raises FetchError."""
    content = {
        "format": _FORMAT,
        "name": stamp.name,
        "source": stamp.source,
        "sha256": stamp.sha256,
        "archive_bytes": stamp.archive_bytes,
        "trust": stamp.trust,
        "files": [[file.path, file.bytes, file.modified_ns, file.sha256] for file in stamp.files],
    }
    write_small(folder / STAMP_NAME, json.dumps(content).encode())


def read_stamp(folder: Path) -> Stamp | None:
    """Return the note in ``folder``; None when there is none, or none that can be read. Raises FetchError."""
    found = _load(folder / STAMP_NAME)
    try:
        return None if found is None else _stamp(found)
    except JsonFault:
        return None


def _stamp(value: JsonObject) -> Stamp:
    take = Fields(value)
    if take("format", integer) != _FORMAT:
        raise JsonFault("has an unknown format")
    stamp = Stamp(
        take("name", text),
        take("source", text),
        take("sha256", text),
        take("archive_bytes", integer),
        take("trust", text),
        take("files", list_of(_stamped_file)),
    )
    take.finish()
    return stamp


def stamped(folder: Path, files: tuple[UnpackedFile, ...]) -> tuple[StampedFile, ...]:
    """Add the times of last change to files just written below ``folder``. Raises FetchError."""
    with disk_errors(folder):
        return tuple(
            StampedFile(file.path, file.bytes, os.stat(folder / file.path).st_mtime_ns, file.sha256) for file in files
        )


def first_change(folder: Path, stamp: Stamp) -> str | None:
    """Return the path of the first file that is missing or has changed since export, or None.

    Length and time of last change decide; where only the time differs (the folder was copied) the content does.
    """
    for file in stamp.files:
        path = folder / file.path
        try:
            status = os.stat(path, follow_symlinks=False)
            same = status.st_size == file.bytes
            if same and status.st_mtime_ns != file.modified_ns:
                same = _digest(path) == file.sha256
        except OSError:
            same = False
        if not same:
            return file.path
    return None


def first_foreign(folder: Path, stamp: Stamp) -> str | None:
    """Return a file or link below ``folder`` that export did not put there, or None. Raises FetchError."""
    known = {file.path for file in stamp.files} | {STAMP_NAME}
    with disk_errors(folder):
        for parent, folders, names in os.walk(folder):
            links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
            for name in sorted(names + links):
                path = os.path.relpath(os.path.join(parent, name), folder)
                if path not in known:
                    return path
    return None


def read_checksums(folder: Path) -> dict[str, str]:
    """Return the digests recorded on first use, by source.

    Raises FetchError when the file is damaged: going on would silently trust anew.
    """
    path = folder / CHECKSUMS_NAME
    with disk_errors(path):
        if not path.exists():
            return {}
    found = _load(path)
    if found is None or not all(is_sha256(value) for value in found.values()):
        raise FetchError(f"{shown(path)} is damaged; remove it to forget the checksums recorded there")
    return found


def record_checksum(folder: Path, source: str, sha256: str) -> None:
    """Record the digest of ``source``. Raises FetchError."""
    known = read_checksums(folder)
    if known.get(source) != sha256:
        content = json.dumps({**known, source: sha256}, indent=1, sort_keys=True)
        write_small(folder / CHECKSUMS_NAME, content.encode())


def _stamped_file(row: object, where: str) -> StampedFile:
    if not isinstance(row, list) or len(row) != len(("path", "bytes", "time", "sha256")) or not is_sha256(row[3]):
        raise JsonFault(f"needs a path, bytes, a time and a SHA-256 at {where}")
    return StampedFile(text(row[0], where), integer(row[1], where), integer(row[2], where), row[3])


def _load(path: Path) -> JsonObject | None:
    try:
        with open(path, "rb") as file:
            return document(file.read(_MAX_BYTES + 1), max_bytes=_MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError, JsonFault):
        return None
    except OSError as error:
        raise FetchError(f"cannot read {shown(path)}: {os.strerror(error.errno or 0)}") from error


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()
