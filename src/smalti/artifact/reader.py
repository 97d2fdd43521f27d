"""Reads offline model files: everything is checked before a caller sees one byte of code."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType

from smalti.artifact.format import (
    PREFIX_BYTES,
    Header,
    Section,
    SectionKind,
    unpack_header,
    unpack_prefix,
)
from smalti.artifact.manifest import Manifest
from smalti.artifact.program import Program
from smalti.artifact.schema import parse_manifest
from smalti.errors import DamagedModelError, ModelFileError, NotAModelError, ResourceError, UsageError
from smalti.target.target import canonical_name

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A checked offline model file, still open; use it as a context manager.

    ``digest`` is the SHA-256 of its header in hexadecimal; the header holds that of everything behind it, so it tells
    files apart.  ``first`` is its first program, the most demanding one; the others are checked when they are read.
    ``constants`` is where the constants of all programs lie behind ``descriptor``.
    """

    path: str
    descriptor: int
    header: Header
    digest: str
    first: Program
    constants: Section
    _contents: _Contents = field(repr=False)

    @property
    def manifest(self) -> Manifest:
        """The manifest of the first program."""
        return self.first.manifest

    @property
    def code(self) -> bytes:
        """The code of the first program, the very bytes that were checked."""
        return self.first.code

    @property
    def targets(self) -> tuple[str, ...]:
        """The target of every program, in file order: what is preferred comes first."""
        return self._contents.targets

    def programs(self) -> Iterator[Program]:
        """Read the programs in file order.

        Raises:
            DamagedModelError: a manifest breaks a rule.
        """
        yield self.first
        for index in range(1, len(self.targets)):
            yield self.program(index)

    def find(self, target: str) -> int:
        """Return the place of a program in :attr:`targets` by its target, with extensions in any order.

        Raises:
            UsageError: there is none.
        """
        if not isinstance(target, str):
            raise UsageError(f"a target is a name such as {self.targets[0]!r}, not {target!r}")
        known = {canonical_name(name): index for index, name in enumerate(self.targets)}
        index = known.get(canonical_name(target))
        if index is None:
            raise UsageError(f"{self.path} holds no program for {target!r}, only for {', '.join(self.targets)}")
        return index

    def program(self, index: int) -> Program:
        """Read one program by its place in :attr:`targets`.

        Raises:
            DamagedModelError: its manifest breaks a rule.
        """
        try:
            return self.first if index == 0 else self._contents.program(index)
        except DamagedModelError as error:
            raise DamagedModelError(f"{self.path}: {error}") from error.__cause__

    def read_constants(self, into: memoryview) -> None:
        """Fill a writable view of ``constants.size`` bytes, and check that they still are those of the checksum.

        Raises:
            DamagedModelError: the file became shorter or was written to meanwhile.
            ModelFileError: the file cannot be read.
        """
        position, start = 0, self.constants.offset
        while position < self.constants.size:
            try:
                count = os.preadv(self.descriptor, [into[position : position + _CHUNK]], start + position)
            except OSError as error:
                raise ModelFileError(f"{self.path}: cannot read the model file: {error.strerror}") from error
            if count == 0:
                raise DamagedModelError(f"{self.path}: {_cut()}")
            position += count
        if self._contents.digest(self.header, into) != self.header.content_sha256:
            raise DamagedModelError(f"{self.path}: the file was changed while it was read")

    def __enter__(self) -> ModelFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class _Contents:
    """What was read and has the right checksum: manifests, and code by its target, in file order."""

    manifests: tuple[bytes, ...]
    targets: tuple[str, ...]
    codes: tuple[bytes, ...]

    def digest(self, header: Header, constants: memoryview) -> bytes:
        """Return the SHA-256 of everything behind the header, with these constants."""
        digest, end = hashlib.sha256(), header.header_bytes
        parts: tuple[bytes | memoryview, ...] = (*self.manifests, constants, *self.codes)
        for section, data in zip(header.sections, parts, strict=True):
            digest.update(bytes(section.offset - end))
            digest.update(data)
            end = section.offset + section.size
        return digest.digest()

    def program(self, index: int) -> Program:
        manifest, code = parse_manifest(self.manifests[index]), self.codes[index]
        if self.targets[index] != manifest.target:
            raise DamagedModelError("the file is damaged: its code is for another target than its manifest says")
        if not all(offset < len(code) for offset in manifest.code_offsets):
            raise DamagedModelError("the file is damaged: an entry point lies outside the code")
        return Program(manifest, code)


def open_model(path: str | os.PathLike[str], sha256: str | None = None) -> ModelFile:
    """Open and check an offline model file: magic, version, checksums, section table, first manifest.

    ``sha256`` is the expected SHA-256 of the whole file in hexadecimal, as ``sha256sum`` prints it.  Whether this CPU
    can run the code is a separate question: :func:`smalti.artifact.program.choose_program`.

    Raises:
        NotAModelError: the file is something else (another format, a folder, a pipe, empty).
        DamagedModelError: it is cut, changed, or breaks a rule of the format; or its SHA-256 is not the expected one.
        ModelVersionError: it was written in a newer format.
        ModelFileError: the file cannot be opened or read.
        ResourceError: there is no memory to read it.
        UsageError: ``sha256`` is not 64 hexadecimal digits, or ``path`` is not a path.
    """
    if sha256 is not None and not (isinstance(sha256, str) and re.fullmatch(r"[0-9a-fA-F]{64}", sha256)):
        raise UsageError("sha256 must be 64 hexadecimal digits")
    try:
        name = os.fsdecode(path)
    except TypeError as error:
        raise UsageError(f"the model file must be given as a path, not as {type(path).__name__}") from error
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        kind = NotAModelError if error.errno in (errno.ENXIO, errno.ENODEV) else ModelFileError
        advice = ": give one that `smalti build` has written" if error.errno == errno.ENOENT else ""
        raise kind(f"{name}: cannot open the model file: {error.strerror}{advice}") from error
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
    except MemoryError as error:
        os.close(descriptor)
        raise ResourceError(f"{name}: there is no memory to read the model file") from error
    except BaseException:
        os.close(descriptor)
        raise


def model_sha256(path: str, digest: str) -> str:
    """Return the SHA-256 of a model file in hexadecimal, as ``sha256sum`` prints it.

    ``digest`` is that of the file when it was loaded (see :class:`ModelFile`); another file in its place is refused.

    Raises:
        DamagedModelError: the file is another one now.
        ModelFileError: it cannot be read.
    """
    whole = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            prefix = file.read(PREFIX_BYTES)
            header = prefix + file.read(
                max(0, unpack_prefix(prefix, os.fstat(file.fileno()).st_size).header_bytes - len(prefix))
            )
            if hashlib.sha256(header).hexdigest() != digest:
                raise DamagedModelError(f"{path}: the file was replaced after it was loaded")
            whole.update(header)
            while piece := file.read(_CHUNK):
                whole.update(piece)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot read the model file: {error.strerror}") from error
    return whole.hexdigest()


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
    digest = hashlib.sha256(header_bytes).hexdigest()
    return ModelFile(name, descriptor, header, digest, contents.program(0), header.constants, contents)


def _read_contents(descriptor: int, header: Header, also: Callable[[bytes], None] | None) -> _Contents:
    """Read everything behind the header once, check its SHA-256, and return what is not constants."""
    digest = hashlib.sha256()
    contents: dict[SectionKind, list[bytes]] = {kind: [] for kind in SectionKind}
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
        contents[section.kind].append(bytes(kept))
        end = section.offset + section.size
    if digest.digest() != header.content_sha256:
        raise DamagedModelError("the file is damaged: the checksum of its contents does not match")
    targets = tuple(section.name for section in header.all(SectionKind.CODE))
    return _Contents(tuple(contents[SectionKind.MANIFEST]), targets, tuple(contents[SectionKind.CODE]))


def _pieces(end: int, section: Section) -> list[tuple[int, int, bool]]:
    pieces = [(end, section.offset - end, True)] if section.offset > end else []
    stop = section.offset + section.size
    return pieces + [(at, min(_CHUNK, stop - at), False) for at in range(section.offset, stop, _CHUNK)]


def _cut() -> DamagedModelError:
    return DamagedModelError("the file is cut: it became shorter while it was read")
