"""Writes offline model files: equal models give equal bytes, and a file appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from smalti.artifact.format import Header, SectionKind, lay_out, pack_header
from smalti.artifact.manifest import Manifest
from smalti.errors import CompilerError, OutputError

Buffer = bytes | bytearray | memoryview


def write_model(path: str | os.PathLike[str], manifest: Manifest, constants: Buffer, code: Buffer) -> str:
    """Write an offline model file and return the SHA-256 of the whole file, in hexadecimal.

    ``constants`` and ``code`` are the bytes of their sections.  The file is written under a temporary name in the same
    folder, flushed to disk and then renamed, so an existing file is replaced at once and a process that has it mapped
    keeps the old one.

    Raises:
        CompilerError: the manifest breaks a rule, or a section is too large.
        OutputError: the folder is missing or not writable, or the disk is full.
    """
    chunks = list(model_chunks(manifest, constants, code))
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    target = Path(path)
    temporary = target.parent / f".{target.name[:200]}.{secrets.token_hex(6)}.tmp"
    try:
        _write(temporary, chunks)
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return digest.hexdigest()


def model_chunks(manifest: Manifest, constants: Buffer, code: Buffer) -> Iterator[Buffer]:
    """Yield the bytes of an offline model file in order.

    Raises:
        CompilerError: the manifest breaks a rule, or a section is too large.
    """
    if not all(offset < len(code) for offset in manifest.code_offsets):
        raise CompilerError(f"an entry point of {manifest.code_offsets} is outside the code ({len(code)} bytes)")
    text = manifest.to_json()
    contents: tuple[Buffer, ...] = (text, constants, code)
    sections, file_bytes = lay_out(
        (
            (SectionKind.MANIFEST, len(text), ""),
            (SectionKind.CONSTANTS, memoryview(constants).nbytes, ""),
            (SectionKind.CODE, memoryview(code).nbytes, manifest.target),
        )
    )
    header_bytes = len(pack_header(sections, file_bytes, bytes(32)))
    header = Header(file_bytes, header_bytes, b"", sections)
    body = list(_body(header, contents))
    digest = hashlib.sha256()
    for chunk in body:
        digest.update(chunk)
    yield pack_header(sections, file_bytes, digest.digest())
    yield from body


def _body(header: Header, contents: tuple[Buffer, ...]) -> Iterator[Buffer]:
    end = header.header_bytes
    for section, content in zip(header.sections, contents, strict=True):
        yield bytes(section.offset - end)
        yield content
        end = section.offset + section.size


def _write(path: Path, chunks: list[Buffer]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with open(descriptor, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network file systems cannot flush a folder; the file itself is on disk
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
