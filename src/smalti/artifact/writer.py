"""Writes offline model files: equal models give equal bytes, and a file appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from smalti.artifact.format import MAX_PROGRAMS, Header, SectionKind, lay_out, pack_header
from smalti.artifact.manifest import Manifest
from smalti.artifact.program import Program
from smalti.artifact.schema import manifest_json
from smalti.errors import CompilerError, OutputError, UsageError
from smalti.target.target import Target

Buffer = bytes | bytearray | memoryview
_SAME = ("symbols", "batch_size", "shape_mutable", "precision", "labels", "preprocess", "quantisation", "graph")


def write_model(path: str | os.PathLike[str], manifest: Manifest, constants: Buffer, code: Buffer) -> str:
    """Write an offline model file with one program; otherwise as :func:`write_programs`."""
    return write_programs(path, (Program(manifest, bytes(code)),), constants)


def write_programs(path: str | os.PathLike[str], programs: Sequence[Program], constants: Buffer) -> str:
    """Write an offline model file and return the SHA-256 of the whole file, in hexadecimal.

    ``constants`` are those of all programs.  The file is written under a temporary name in the same folder, flushed to
    disk and then renamed, so an existing file is replaced at once and a process that has it mapped keeps the old one.

    Raises:
        CompilerError: a manifest breaks a rule, the programs do not belong together, or a section is too large.
        OutputError: the folder is missing or not writable, or the disk is full.
    """
    chunks = list(program_chunks(programs, constants))
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
    """Yield the bytes of an offline model file with one program; otherwise as :func:`program_chunks`."""
    return program_chunks((Program(manifest, bytes(code)),), constants)


def program_chunks(programs: Sequence[Program], constants: Buffer) -> Iterator[Buffer]:
    """Yield the bytes of an offline model file in order, whichever order the programs are given in.

    Raises:
        CompilerError: as :func:`write_programs`.
    """
    programs = _in_order(programs)
    texts = [_manifest_text(program) for program in programs]
    contents: tuple[Buffer, ...] = (*texts, constants, *(program.code for program in programs))
    sections, file_bytes = lay_out(
        (
            *((SectionKind.MANIFEST, len(text), "") for text in texts),
            (SectionKind.CONSTANTS, memoryview(constants).nbytes, ""),
            *((SectionKind.CODE, len(program.code), program.manifest.target) for program in programs),
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


def _manifest_text(program: Program) -> bytes:
    offsets, size = program.manifest.code_offsets, len(program.code)
    if not all(offset < size for offset in offsets):
        raise CompilerError(f"an entry point of {offsets} is outside the code ({size} bytes)")
    return manifest_json(program.manifest)


def _in_order(programs: Sequence[Program]) -> Sequence[Program]:
    """Check that programs belong together, and sort them: what a runtime should prefer comes first."""
    if not 1 <= len(programs) <= MAX_PROGRAMS:
        raise CompilerError(f"an offline model file has 1 to {MAX_PROGRAMS} programs, not {len(programs)}")
    if len(programs) == 1:
        return programs
    first = programs[0].manifest
    for program in programs[1:]:
        what = _difference(first, program.manifest)
        if what is not None:
            raise CompilerError(f"the programs for {first.target} and {program.manifest.target} differ in their {what}")
    try:
        targets = [Target.parse(program.manifest.target) for program in programs]
    except UsageError as error:
        raise CompilerError(f"programs of one file must be for known targets: {error}") from error
    if len({target.name for target in targets}) != len(programs):
        raise CompilerError("an offline model file cannot have two programs for one target")
    return [program for _, program in sorted(zip(targets, programs, strict=True), key=lambda pair: pair[0].preference)]


def _difference(one: Manifest, other: Manifest) -> str | None:
    for name in _SAME:
        if getattr(one, name) != getattr(other, name):
            return name
    for name in ("inputs", "outputs"):
        pairs = [[(t.name, t.dtype, len(t.shape)) for t in getattr(manifest, name)] for manifest in (one, other)]
        if pairs[0] != pairs[1]:
            return name
    return None


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
