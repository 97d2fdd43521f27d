"""Reads offline model files: everything is checked before a caller sees one byte of code."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from smalti.artifact.format import (
    PREFIX_BYTES,
    Header,
    Section,
    SectionKind,
    unpack_header,
    unpack_prefix,
)
from smalti.artifact.manifest import Manifest, parse_manifest
from smalti.errors import DamagedModelError, ModelFileError, NotAModelError, TargetError, UsageError
from smalti.target.host import Host, missing_features, read_host
from smalti.target.target import Target

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A checked offline model file, still open; use it as a context manager.

    ``code`` are the very bytes that were checked.  ``constants`` is where the constants lie behind ``descriptor``.
    """

    path: str
    descriptor: int
    header: Header
    manifest: Manifest
    code: bytes
    constants: Section

    def read_constants(self, into: memoryview) -> None:
        """Fill a writable view of ``constants.size`` bytes.

        Raises:
            DamagedModelError: the file became shorter meanwhile.
        """
        position = 0
        while position < self.constants.size:
            count = os.preadv(self.descriptor, [into[position : position + _CHUNK]], self.constants.offset + position)
            if count == 0:
                raise _cut()
            position += count

    def __enter__(self) -> ModelFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)


def open_model(path: str | os.PathLike[str], sha256: str | None = None) -> ModelFile:
    """Open and check an offline model file: magic, version, checksums, section table, manifest.

    ``sha256`` is the expected SHA-256 of the whole file in hexadecimal, as ``sha256sum`` prints it.  Whether this CPU
    can run the code is a separate question: :func:`check_target`.

    Raises:
        NotAModelError: the file is something else (another format, a folder, a pipe, empty).
        DamagedModelError: it is cut, changed, or breaks a rule of the format; or its SHA-256 is not the expected one.
        ModelVersionError: it was written in a newer format.
        ModelFileError: the file cannot be opened or read.
        UsageError: ``sha256`` is not 64 hexadecimal digits.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UsageError("sha256 must be 64 hexadecimal digits")
    name = os.fsdecode(path)
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        kind = NotAModelError if error.errno in (errno.ENXIO, errno.ENODEV) else ModelFileError
        raise kind(f"{name}: cannot open the model file: {error.strerror}") from error
    except ValueError as error:
        raise ModelFileError("the path of the model file holds a NUL character") from error
    try:
        return _check_open(descriptor, name, sha256)
    except ModelFileError as error:
        os.close(descriptor)
        raise type(error)(f"{name}: {error}") from error.__cause__
    except OSError as error:
        os.close(descriptor)
        raise ModelFileError(f"{name}: cannot read the model file: {error.strerror}") from error
    except BaseException:
        os.close(descriptor)
        raise


def check_target(manifest: Manifest, host: Host | None = None) -> None:
    """Check that a CPU (default: this one) has every feature the code needs.

    Raises:
        TargetError: it has not; the message names what is missing and how to build a model that fits.
    """
    host = host or read_host()
    try:
        target = Target.parse(manifest.target)
    except UsageError as error:
        raise TargetError(f"the model was built for {manifest.target!r}, which this Smalti does not know") from error
    if target.arch != host.arch:
        raise TargetError(
            f"the model was built for {target.arch} CPUs ({target}), this machine is {host.arch}: "
            "build it again here with --target native"
        )
    missing = missing_features({*target.features, *manifest.features}, host)
    if missing:
        raise TargetError(
            f"the model was built for {target}, but this CPU ({host.model}) lacks {', '.join(missing)}: "
            "build it again with --target native on this machine, or --target generic for any machine"
        )


def _check_open(descriptor: int, name: str, sha256: str | None) -> ModelFile:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise NotAModelError(f"this is {what}, so it is not an offline model")
    whole = hashlib.sha256()
    prefix = unpack_prefix(os.pread(descriptor, PREFIX_BYTES, 0), status.st_size)
    header_bytes = os.pread(descriptor, prefix.header_bytes, 0)
    whole.update(header_bytes)
    header = unpack_header(header_bytes, prefix)
    contents = _read_contents(descriptor, header, whole.update if sha256 is not None else None)
    if sha256 is not None and whole.hexdigest() != sha256.lower():
        raise DamagedModelError(f"the file has SHA-256 {whole.hexdigest()}, expected {sha256.lower()}")
    manifest = parse_manifest(contents[SectionKind.MANIFEST])
    code = contents[SectionKind.CODE]
    if header.section(SectionKind.CODE).name != manifest.target:
        raise DamagedModelError("the file is damaged: its code is for another target than its manifest says")
    if not all(offset < len(code) for offset in manifest.code_offsets):
        raise DamagedModelError("the file is damaged: an entry point lies outside the code")
    return ModelFile(name, descriptor, header, manifest, code, header.section(SectionKind.CONSTANTS))


def _read_contents(descriptor: int, header: Header, also: Callable[[bytes], None] | None) -> dict[SectionKind, bytes]:
    """Read everything behind the header once, check its SHA-256, and return the sections other than the constants."""
    digest = hashlib.sha256()
    contents: dict[SectionKind, bytes] = {}
    end = header.header_bytes
    for section in header.sections:
        pieces = _pieces(end, section)
        kept = bytearray()
        for offset, size, is_padding in pieces:
            data = os.pread(descriptor, size, offset)
            if len(data) != size:
                raise _cut()
            if is_padding and any(data):
                raise DamagedModelError("the file is damaged: there are bytes between its sections")
            digest.update(data)
            if also is not None:
                also(data)
            if section.kind is not SectionKind.CONSTANTS and not is_padding:
                kept += data
        contents[section.kind] = bytes(kept)
        end = section.offset + section.size
    if digest.digest() != header.content_sha256:
        raise DamagedModelError("the file is damaged: the checksum of its contents does not match")
    return contents


def _pieces(end: int, section: Section) -> list[tuple[int, int, bool]]:
    pieces = [(end, section.offset - end, True)] if section.offset > end else []
    stop = section.offset + section.size
    return pieces + [(at, min(_CHUNK, stop - at), False) for at in range(section.offset, stop, _CHUNK)]


def _cut() -> DamagedModelError:
    return DamagedModelError("the file is cut: it became shorter while it was read")
