"""A look at protobuf bytes without parsing them: hops from field to field and reads only their headers.

The bytes may be anything, and as many as a disk holds: every look is bounded.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

MAX_FIELDS = 256
VARINT, I64, BYTES, I32 = 0, 1, 2, 5
_SIZES = {I64: 8, I32: 4}
_HEADER = 20
_VARINT_BYTES = 10
_MAX_NUMBER = 2**29


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes that are read in pieces: ``read(offset, count)`` gives at most ``count``, fewer at the end."""

    size: int
    read: Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Field:
    """A field: its number and wire type, the value of a varint, and where the payload of the others is."""

    number: int
    wire: int
    value: int
    start: int
    end: int


def source_of_bytes(data: bytes) -> Source:
    """Return bytes in memory as a source."""
    return Source(len(data), lambda offset, count: data[offset : offset + count])


def source_of_file(descriptor: int) -> Source:
    """Return an open regular file as a source."""
    return Source(os.fstat(descriptor).st_size, lambda offset, count: os.pread(descriptor, count, offset))


def fields(source: Source, start: int = 0, end: int | None = None, most: int = MAX_FIELDS) -> tuple[Field, ...]:
    """Return the first fields of a message; none where the bytes up to there are no message."""
    at, end = start, source.size if end is None else end
    found: list[Field] = []
    while at < end and len(found) < most:
        header = source.read(at, min(_HEADER, end - at))
        tag, used = _varint(header, 0)
        number, wire = tag >> 3, tag & 7
        if not used or not 0 < number < _MAX_NUMBER or wire not in (VARINT, BYTES, I64, I32):
            return ()
        value, length = 0, _SIZES.get(wire, 0)
        if wire in (VARINT, BYTES):
            value, used = _varint(header, used)
            if not used:
                return ()
            length = value if wire == BYTES else 0
        if at + used + length > end:
            return ()
        found.append(Field(number, wire, value, at + used, at + used + length))
        at += used + length
    return tuple(found)


def text_of(source: Source, field: Field, limit: int) -> str | None:
    """Return the text of a field, or ``None`` where it is no printable text of 1 to ``limit`` bytes."""
    if field.wire != BYTES or not 0 < field.end - field.start <= limit:
        return None
    try:
        text = source.read(field.start, field.end - field.start).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number and the position behind it; position 0 where there is none."""
    value = 0
    for shift, byte in enumerate(data[at : at + _VARINT_BYTES]):
        value |= (byte & 127) << 7 * shift
        if byte < 128:
            return value, at + shift + 1
    return 0, 0
