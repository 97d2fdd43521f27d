"""Layout of the offline model file: header, section table, checksums.  Little-endian throughout.

``HEADER`` and ``ENTRY`` are the one table of it; the C library's constants and the page of the file are made from them.
The sections are N manifests, one for the constants of all programs, and N of code; manifest i belongs to code i.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from smalti.artifact.abi import LINE
from smalti.errors import CompilerError, DamagedModelError, ModelVersionError, NotAModelError

MAGIC = b"\x89SMALTI\n"
FORMAT_VERSION = 1
PAGE = 4096
MAX_FILE_BYTES = 4 << 30
MAX_MANIFEST_BYTES = 16 << 20
MAX_CODE_BYTES = 256 << 20
MAX_PROGRAMS = 16

NAME_BYTES = 40
DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the header or of an entry of its table: its name, its code in ``struct``, and what it holds."""

    name: str
    code: str
    meaning: str

    @property
    def nbytes(self) -> int:
        """Bytes of the field."""
        return struct.calcsize("<" + self.code)


HEADER = (
    Field("magic", "8s", f"magic `{MAGIC.hex(' ').upper()}`"),
    Field("version", "I", f"format version, now {FORMAT_VERSION}"),
    Field("header_bytes", "I", "size of the header: 128 + 64 per section"),
    Field("file_bytes", "Q", "size of the file"),
    Field("zero", "I", "zero"),
    Field("crc", "I", "CRC-32 (zlib) of bytes 0..27"),
    Field("sections", "I", "number of sections, 2 N + 1"),
    Field("zeros", "28s", "zero"),
    Field("content_sha256", f"{DIGEST_BYTES}s", "SHA-256 of everything behind the header"),
    Field("header_sha256", f"{DIGEST_BYTES}s", "SHA-256 of the header with this field zeroed"),
)
ENTRY = (
    Field("kind", "I", "kind of the section: 1 manifest, 2 constants, 3 code"),
    Field("zero", "I", "zero"),
    Field("offset", "Q", "where the section begins in the file"),
    Field("size", "Q", "bytes of the section"),
    Field("name", f"{NAME_BYTES}s", "name: for code its target, else empty; ASCII, NUL padded"),
)


def offset_of(fields: tuple[Field, ...], name: str) -> int:
    """Return how many bytes lie before a field."""
    names = [field.name for field in fields]
    return sum(field.nbytes for field in fields[: names.index(name)])


def _struct(fields: tuple[Field, ...]) -> struct.Struct:
    return struct.Struct("<" + "".join(field.code for field in fields))


_CRC_AT, _SECTIONS_AT, _CONTENT_AT, _HEADER_AT = (
    offset_of(HEADER, name) for name in ("crc", "sections", "content_sha256", "header_sha256")
)
PREFIX_BYTES = _SECTIONS_AT
"""The bytes that no later version changes: up to the checksum of those before it."""
FIXED_BYTES = _struct(HEADER).size
_PREFIX = _struct(HEADER[: [field.name for field in HEADER].index("crc")])
_CONTENT_DIGEST = slice(_CONTENT_AT, _CONTENT_AT + DIGEST_BYTES)
_HEADER_DIGEST = slice(_HEADER_AT, _HEADER_AT + DIGEST_BYTES)
_ENTRY = _struct(ENTRY)


class SectionKind(IntEnum):
    """What a section holds.  The number is the one in the file."""

    MANIFEST = 1
    CONSTANTS = 2
    CODE = 3

    @property
    def alignment(self) -> int:
        """Alignment of the section's offset in the file, in bytes."""
        return LINE if self is SectionKind.MANIFEST else PAGE

    @property
    def limit(self) -> int:
        """Largest accepted size, in bytes."""
        if self is SectionKind.MANIFEST:
            return MAX_MANIFEST_BYTES
        return MAX_CODE_BYTES if self is SectionKind.CODE else MAX_FILE_BYTES


MAX_HEADER_BYTES = FIXED_BYTES + _ENTRY.size * (2 * MAX_PROGRAMS + 1)


@dataclass(frozen=True, slots=True)
class Section:
    """A range of the file.  ``name`` is the target string of a code section and empty for the others."""

    kind: SectionKind
    offset: int
    size: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The part of the header that no format version changes."""

    version: int
    header_bytes: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """A checked header.  ``sections`` are in file order without overlap; gaps are alignment padding only.

    There are as many manifests as codes, in the same order, and every code has another name.
    """

    file_bytes: int
    header_bytes: int
    content_sha256: bytes
    sections: tuple[Section, ...]

    @property
    def constants(self) -> Section:
        """The constants of all programs."""
        return next(s for s in self.sections if s.kind is SectionKind.CONSTANTS)

    def all(self, kind: SectionKind) -> tuple[Section, ...]:
        """Return the sections of a kind in file order."""
        return tuple(s for s in self.sections if s.kind is kind)


def align_up(value: int, alignment: int) -> int:
    """Return the smallest multiple of ``alignment`` that is not below ``value``."""
    return -(-value // alignment) * alignment


def lay_out(sizes: tuple[tuple[SectionKind, int, str], ...]) -> tuple[tuple[Section, ...], int]:
    """Return the sections at their canonical offsets, and the size of the file.

    Raises:
        CompilerError: a section is over its limit or its name does not fit.
    """
    end = FIXED_BYTES + _ENTRY.size * len(sizes)
    sections = []
    for kind, size, name in sizes:
        if size > kind.limit:
            raise CompilerError(f"the {kind.name.lower()} of an offline model may have {kind.limit} bytes, not {size}")
        if not name.isascii() or len(name) > NAME_BYTES:
            raise CompilerError(f"a section name must be ASCII of at most {NAME_BYTES} characters: {name!r}")
        offset = align_up(end, kind.alignment)
        sections.append(Section(kind, offset, size, name))
        end = offset + size
    if end > MAX_FILE_BYTES:
        raise CompilerError(f"an offline model file may have {MAX_FILE_BYTES} bytes, not {end}")
    return tuple(sections), end


def pack_header(sections: tuple[Section, ...], file_bytes: int, content_sha256: bytes) -> bytes:
    """Return the header bytes, checksums filled in."""
    header_bytes = FIXED_BYTES + _ENTRY.size * len(sections)
    prefix = _PREFIX.pack(MAGIC, FORMAT_VERSION, header_bytes, file_bytes, 0)
    header = bytearray(prefix + struct.pack("<II", zlib.crc32(prefix), len(sections))).ljust(_CONTENT_AT, b"\0")
    header += content_sha256 + bytes(DIGEST_BYTES)
    for s in sections:
        header += _ENTRY.pack(s.kind, 0, s.offset, s.size, s.name.encode("ascii"))
    header[_HEADER_DIGEST] = hashlib.sha256(header).digest()
    return bytes(header)


def unpack_prefix(data: bytes, file_bytes: int) -> Prefix:
    """Check the first 32 bytes of a file that has ``file_bytes`` bytes.

    Raises:
        NotAModelError: the magic is not there.
        DamagedModelError: the file is cut, has bytes too many, or the prefix was changed.
        ModelVersionError: the format is newer than this Smalti.
    """
    if not data:
        raise NotAModelError("the file is empty, so it is not an offline model")
    if data[: len(MAGIC)] != MAGIC[: len(data)] or len(data) < 2:
        raise NotAModelError("the file is not an offline model (it does not start like one)")
    if len(data) < PREFIX_BYTES:
        raise DamagedModelError(f"the file is cut: it ends after {len(data)} bytes, inside its header")
    _, version, header_bytes, promised, zero = _PREFIX.unpack_from(data)
    (crc,) = struct.unpack_from("<I", data, _CRC_AT)
    if crc != zlib.crc32(data[:_CRC_AT]) or zero:
        raise DamagedModelError("the file is damaged: the checksum of its first bytes does not match")
    if version > FORMAT_VERSION:
        raise ModelVersionError(
            f"the file has format version {version}, this Smalti reads up to version {FORMAT_VERSION}: "
            "update Smalti, or build the model again with this one"
        )
    if version < 1:
        raise DamagedModelError("the file is damaged: there is no format version 0")
    if promised > MAX_FILE_BYTES:
        raise DamagedModelError(f"the file is damaged: its header says {promised} bytes, more than any model has")
    if file_bytes < promised:
        raise DamagedModelError(f"the file is cut: its header says {promised} bytes, but it has {file_bytes}")
    if file_bytes > promised:
        raise DamagedModelError(
            f"the file is damaged: {file_bytes - promised} bytes follow the {promised} that its header says"
        )
    if not FIXED_BYTES < header_bytes <= MAX_HEADER_BYTES or header_bytes > promised:
        raise DamagedModelError(f"the file is damaged: a header cannot have {header_bytes} bytes")
    return Prefix(version, header_bytes, promised)


def unpack_header(data: bytes, prefix: Prefix) -> Header:
    """Check the whole header, ``prefix.header_bytes`` bytes.

    Raises:
        DamagedModelError: a checksum, a section or a reserved field is wrong.
    """
    if len(data) != prefix.header_bytes:
        raise DamagedModelError("the file is cut: it became shorter while it was read")
    blank = bytearray(data)
    blank[_HEADER_DIGEST] = bytes(DIGEST_BYTES)
    if hashlib.sha256(blank).digest() != data[_HEADER_DIGEST]:
        raise DamagedModelError("the file is damaged: the checksum of its header does not match")
    (count,) = struct.unpack_from("<I", data, _SECTIONS_AT)
    if any(data[_SECTIONS_AT + 4 : _CONTENT_AT]) or FIXED_BYTES + _ENTRY.size * count != prefix.header_bytes:
        raise DamagedModelError("the file is damaged: its section table does not fit its header")
    sections = tuple(_unpack_section(data, FIXED_BYTES + _ENTRY.size * i) for i in range(count))
    _check_sequence(sections)
    end = prefix.header_bytes
    for s in sections:
        if s.offset != align_up(end, s.kind.alignment):
            raise DamagedModelError(f"the file is damaged: its {s.kind.name.lower()} overlap, leave a hole or misalign")
        if s.size > s.kind.limit or s.offset + s.size > prefix.file_bytes:
            raise DamagedModelError(f"the file is damaged: its {s.kind.name.lower()} cannot have {s.size} bytes")
        end = s.offset + s.size
    if end != prefix.file_bytes:
        raise DamagedModelError(f"the file is damaged: its sections end at {end} of {prefix.file_bytes} bytes")
    return Header(prefix.file_bytes, prefix.header_bytes, data[_CONTENT_DIGEST], sections)


def _check_sequence(sections: tuple[Section, ...]) -> None:
    count = len(sections) // 2
    kinds = (*[SectionKind.MANIFEST] * count, SectionKind.CONSTANTS, *[SectionKind.CODE] * count)
    if not 1 <= count <= MAX_PROGRAMS or tuple(s.kind for s in sections) != kinds:
        raise DamagedModelError(
            f"the file is damaged: it must hold 1 to {MAX_PROGRAMS} manifests, constants and as many codes, "
            "in this order"
        )
    if len({s.name for s in sections[-count:]}) != count:
        raise DamagedModelError("the file is damaged: it holds two programs for one target")


def _unpack_section(data: bytes, at: int) -> Section:
    kind, zero, offset, size, raw = _ENTRY.unpack_from(data, at)
    name = raw.rstrip(b"\0")
    if zero or kind not in set(SectionKind) or b"\0" in name or not name.isascii():
        raise DamagedModelError("the file is damaged: a section table entry is malformed")
    section = Section(SectionKind(kind), offset, size, name.decode("ascii"))
    if bool(name) != (section.kind is SectionKind.CODE):
        raise DamagedModelError("the file is damaged: code sections have a target name, others have none")
    return section
