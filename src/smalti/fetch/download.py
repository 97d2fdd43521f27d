"""Download one file: resumed where it was cut, bounded, and under its final name only when it is whole."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO, Final

from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from smalti.errors import FetchError
from smalti.fetch.disk import disk_errors, file_sha256, require_space, shown, write_all, write_small
from smalti.fetch.progress import Progress, Stage, silent
from smalti.fetch.transport import (
    Policy,
    TransientError,
    body_error,
    content_length,
    content_range,
    request,
)
from smalti.strict_json import JsonFault, document

_BLOCK: Final = 256 * 1024
_MAX_SIDECAR: Final = 16 * 1024
_MAX_VALIDATOR: Final = 1024


@dataclass(frozen=True, slots=True)
class Download:
    """A finished download: its path, SHA-256 in hex, length, and how many bytes an earlier call had left."""

    path: Path
    sha256: str
    bytes: int
    resumed_from: int


@dataclass(frozen=True, slots=True)
class _Part:
    """What is known of the file that a partial download belongs to; ``validator`` names its version."""

    address: str
    validator: str
    total: int | None


def download(
    address: str,
    target: Path,
    *,
    max_bytes: int,
    sha256: str | None = None,
    vouched: str = "the caller",
    policy: Policy | None = None,
    progress: Progress = silent,
) -> Download:
    """Fetch ``address`` into ``target``, replacing a file there.

    A cut download stays as ``target.part`` with ``target.part.json`` beside it, which names the version (ETag or
    date) of the file; the next try or the next call asks for the rest of that same version, and begins anew when the
    server has another one or cannot resume. A server that gives neither a strong ETag nor a date is never resumed.

    Args:
        address: http or https.
        target: final path; its folder exists.
        max_bytes: longest file accepted.
        sha256: expected digest in hex; a file with another one is deleted.
        vouched: who states that digest, for the message.
        policy: patience; default ``Policy()``.
        progress: told about bytes of ``target.name``.

    Raises:
        FetchError: the server refuses, the network fails for good, the file is too long, has another digest, or the
            disk is full.
    """
    job = _Job(address, target, max_bytes, policy or Policy(), progress)
    resumed = job.offset()
    job.run()
    with disk_errors(job.part), open(job.part, "rb") as file:
        found, length = file_sha256(file, target.name, progress, job.part)
        os.fsync(file.fileno())
    if sha256 is not None and found != sha256:
        job.discard()
        raise wrong_checksum(address, found, sha256, vouched, "; the download was deleted")
    with disk_errors(target):
        os.replace(job.part, target)
        job.sidecar.unlink(missing_ok=True)
    return Download(target, found, length, resumed)


def wrong_checksum(source: str, found: str, expected: str, vouched: str, done: str = "") -> FetchError:
    """Return the error of a file that is not the one expected."""
    return FetchError(f"{shown(source)} has the SHA-256 {found}, but {vouched} states {expected}{done}")


def download_small(address: str, *, max_bytes: int, policy: Policy | None = None) -> bytes | None:
    """Return the content of a small file, or None where the server has none (404). Raises FetchError."""
    rules = policy or Policy()
    for attempt in range(rules.attempts):
        try:
            return _read_small(address, max_bytes, rules)
        except TransientError as error:
            if attempt == rules.attempts - 1:
                raise FetchError(str(error)) from error
            _pause(rules, attempt, error.wait)
    raise FetchError(f"no answer from {shown(address)}")


def _read_small(address: str, max_bytes: int, policy: Policy) -> bytes | None:
    response = request(address, {}, policy)
    try:
        if response.status == 404:
            return None
        if response.status != 200:
            raise FetchError(f"{shown(address)} answered with HTTP status {response.status}")
        data = bytearray()
        for block in _blocks(response, address, policy):
            data += block
            if len(data) > max_bytes:
                raise FetchError(f"{shown(address)} is longer than the {max_bytes} bytes allowed")
        return bytes(data)
    finally:
        response.close()


class _Job:
    """The tries of one download."""

    def __init__(self, address: str, target: Path, max_bytes: int, policy: Policy, progress: Progress) -> None:
        self.address = address
        self.name = target.name
        self.part = target.with_name(target.name + ".part")
        self.sidecar = target.with_name(target.name + ".part.json")
        self.max_bytes = max_bytes
        self.policy = policy
        self.progress = progress

    def run(self) -> None:
        """Try until the part is whole, or give up."""
        failures = 0
        best = self.offset()
        while True:
            try:
                self._try()
                return
            except TransientError as error:
                offset = self.offset()
                if offset >= best + self.policy.progress_bytes:
                    failures, best = 0, offset
                failures += 1
                if failures >= self.policy.attempts:
                    kept = f"; {offset} bytes are kept and the next call resumes" if offset else ""
                    raise FetchError(f"{error}; gave up after {failures} tries{kept}") from error
                _pause(self.policy, failures - 1, error.wait)

    def offset(self) -> int:
        """Return how many bytes of a resumable part there are."""
        if self._known() is None:
            return 0
        with disk_errors(self.part):
            return self.part.stat().st_size if self.part.is_file() else 0

    def discard(self) -> None:
        """Forget the part."""
        with disk_errors(self.part):
            self.sidecar.unlink(missing_ok=True)
            self.part.unlink(missing_ok=True)

    def _try(self) -> None:
        known, offset = self._known(), self.offset()
        headers = {}
        if known is not None and offset:
            if known.total == offset:
                return
            headers = {"Range": f"bytes={offset}-", "If-Range": known.validator}
        response = request(self.address, headers, self.policy)
        try:
            if response.status == 206 and headers and known is not None:
                self._check_partial(response, known, offset)
                self._receive(response, known, offset)
            elif response.status == 200:
                self._receive(response, self._begin(response), 0)
            elif response.status == 404:
                raise FetchError(f"{shown(self.address)} does not exist (HTTP status 404)")
            else:
                self.discard()
                raise TransientError(f"{shown(self.address)} does not resume (HTTP status {response.status})")
        finally:
            response.close()

    def _begin(self, response: BaseHTTPResponse) -> _Part:
        """Forget what there was and note which version of the file now arrives."""
        self.discard()
        part = _Part(self.address, _validator(response), content_length(response))
        if part.total is not None and part.total > self.max_bytes:
            raise self._too_long(part.total)
        if part.total is not None:
            require_space(self.part.parent, part.total)
        if part.validator:
            text = json.dumps({"address": part.address, "validator": part.validator, "total": part.total})
            write_small(self.sidecar, text.encode())
        return part

    def _check_partial(self, response: BaseHTTPResponse, known: _Part, offset: int) -> None:
        """Discard the part unless the answer continues it exactly."""
        span = content_range(response)
        length = content_length(response)
        etag = response.headers.get("ETag")
        fits = (
            span is not None
            and span[0] == offset
            and span[1] == span[2] - 1
            and known.total in (None, span[2])
            and length in (None, span[2] - offset)
            and (etag is None or not known.validator.startswith('"') or etag == known.validator)
        )
        if not fits or span is None:
            self.discard()
            raise TransientError(f"{shown(self.address)} did not send the rest of the same file")
        if span[2] > self.max_bytes:
            self.discard()
            raise self._too_long(span[2])

    def _receive(self, response: BaseHTTPResponse, part: _Part, offset: int) -> None:
        span = content_range(response) if offset else None
        total = part.total if span is None else span[2]
        self.progress(Stage.DOWNLOAD, self.name, offset, total)
        with disk_errors(self.part):
            file = open(self.part, "r+b" if offset else "wb", buffering=0)
        with file:
            done = self._copy(response, file, offset, total)
        if total is not None and done != total:
            raise TransientError(f"{shown(self.address)} sent {done} of {total} bytes")

    def _copy(self, response: BaseHTTPResponse, file: BinaryIO, offset: int, total: int | None) -> int:
        done = offset
        with disk_errors(self.part):
            file.seek(offset)
        for block in _blocks(response, self.address, self.policy):
            if done + len(block) > self.max_bytes:
                self.discard()
                raise self._too_long(None)
            self._write(file, block, total)
            done += len(block)
            self.progress(Stage.DOWNLOAD, self.name, done, total)
        return done

    def _write(self, file: BinaryIO, block: bytes, total: int | None) -> None:
        try:
            write_all(file, block)
        except OSError as error:
            with disk_errors(self.part, len(block) if total is None else total - file.tell()):
                raise error

    def _too_long(self, length: int | None) -> FetchError:
        size = "" if length is None else f" with {length} bytes"
        return FetchError(f"{shown(self.address)}{size} is longer than the {self.max_bytes} bytes allowed")

    def _known(self) -> _Part | None:
        """Read the note beside the part; one that is damaged or of another address counts as none."""
        try:
            with open(self.sidecar, "rb") as file:
                found = document(file.read(_MAX_SIDECAR + 1), max_bytes=_MAX_SIDECAR)
        except (FileNotFoundError, JsonFault):
            return None
        except OSError as error:
            raise FetchError(f"cannot read {shown(self.sidecar)}: {os.strerror(error.errno or 0)}") from error
        validator, total = found.get("validator"), found.get("total")
        if found.get("address") != self.address or not isinstance(validator, str) or not validator:
            return None
        return _Part(self.address, validator, total if type(total) is int else None)


def _validator(response: BaseHTTPResponse) -> str:
    """Return what names this version of the file: a strong ETag, else the date, else nothing."""
    etag = response.headers.get("ETag", "")
    for text in (
        etag if etag.startswith('"') and etag.endswith('"') else "",
        response.headers.get("Last-Modified", ""),
    ):
        if text and text.isascii() and text.isprintable() and len(text) <= _MAX_VALIDATOR:
            return text
    return ""


class _Pace:
    """Notices a connection that drips: fewer than the least bytes in a window of time."""

    def __init__(self, policy: Policy) -> None:
        self._window = policy.read_timeout
        self._least = policy.min_rate * policy.read_timeout
        self._start = time.monotonic()
        self._bytes = 0

    def stalled(self, count: int) -> bool:
        self._bytes += count
        now = time.monotonic()
        if now - self._start < self._window:
            return False
        slow = self._bytes < self._least
        self._start, self._bytes = now, 0
        return slow


def _blocks(response: BaseHTTPResponse, address: str, policy: Policy) -> Iterator[bytes]:
    """Yield the body as it arrives. Raises TransientError when it breaks off, stalls or ends early."""
    pace = _Pace(policy)
    while True:
        try:
            # read1 returns what one receive gave; read would wait for a full block of a dripping connection.
            block = response.read1(_BLOCK, decode_content=False)
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            raise body_error(address, error) from error
        if not block:
            return
        yield block
        if pace.stalled(len(block)):
            raise TransientError(f"{shown(address)} sends less than {policy.min_rate:g} bytes a second")


def _pause(policy: Policy, failures: int, asked: float) -> None:
    time.sleep(min(policy.max_wait, max(asked, policy.backoff * 2.0**failures)))
