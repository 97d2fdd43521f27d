"""Recognise a video file by its bytes, and see whether its end is missing, before a decoder looks at it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from smalti.errors import ResourceError, VideoError
from smalti.vision.images import OUT_OF_RESOURCES
from smalti.vision.voc import printable

_HEAD_BYTES: Final = 1024
_TS_PACKET: Final = 188
_FIRST_BOXES: Final = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"})
# HEIC, AVIF and raw photos are in the same container.
_PICTURE_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"crx "})
_MOST_BOXES: Final = 100_000
_STARTS: Final = {
    b"\x1aE\xdf\xa3": "matroska",
    b"\0\0\x01\xba": "mpeg",
    b"FLV\x01": "flv",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"OggS": "ogg",
}
_SEGMENT_ID: Final = b"\x18\x53\x80\x67"


@dataclass(frozen=True, slots=True)
class VideoFile:
    """What the bytes of a video file say without being decoded.

    Attributes:
        kind: the container: ``mp4`` (also MOV and 3GP), ``avi``, ``matroska`` (also WebM), ``mpegts``, ``mpeg``,
            ``flv``, ``asf`` (also WMV) or ``ogg``.
        missing: bytes that the container counts and the file does not have; 0 where it says nothing of that.
    """

    kind: str
    missing: int


def is_video(path: Path) -> bool:
    """Return whether a path is a file that begins as a video does. False for what cannot be read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return False
    try:
        return stat.S_ISREG(os.fstat(handle).st_mode) and video_kind(os.read(handle, _HEAD_BYTES)) is not None
    except OSError:
        return False
    finally:
        os.close(handle)


def open_video(path: Path) -> BinaryIO:
    """Open a video file, which never waits for a pipe. Raises VideoError, or ResourceError when the system is out."""
    shown = printable(str(path))
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        kind = ResourceError if error.errno in OUT_OF_RESOURCES else VideoError
        raise kind(f"{shown}: cannot read: {os.strerror(error.errno or 0)}") from error
    except ValueError as error:
        raise VideoError(f"{shown}: cannot read: the name holds a zero byte") from error
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise VideoError(f"{shown}: not a regular file; save a stream to a file first, and give pictures with --image-dir")


def look_at(file: BinaryIO, path: Path) -> VideoFile:
    """Return what an open video file is. Raises VideoError for another file, and for an MP4 without its index."""
    shown = printable(str(path))
    try:
        head = file.read(_HEAD_BYTES)
        kind = video_kind(head)
        length = os.fstat(file.fileno()).st_size
        if kind is None:
            raise VideoError(
                f"{shown}: {'the file is empty' if not length else 'not a video file'}; MP4, MOV, AVI, Matroska, "
                "WebM, MPEG, FLV, WMV and Ogg are read, and pictures are given with --image-dir"
            )
        if kind == "mp4":
            end, has_index = _walk_boxes(file, length)
            if not has_index:
                raise VideoError(
                    f"{shown}: the index (moov) is missing: the recording was not ended, or the copy is cut"
                )
        else:
            end = _avi_end(head) if kind == "avi" else _matroska_end(head) if kind == "matroska" else 0
    except OSError as error:
        raise VideoError(f"{shown}: cannot read: {os.strerror(error.errno or 0)}") from error
    return VideoFile(kind, max(0, end - length))


def video_kind(head: bytes) -> str | None:
    """Return the container of a file that begins with these bytes (1024, or all there are), None for no video."""
    for start, kind in _STARTS.items():
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[4:8] in _FIRST_BOXES and not (head[4:8] == b"ftyp" and head[8:12] in _PICTURE_BRANDS):
        return "mp4"
    for first in (0, 4):  # Blu-ray's packets begin with a time of 4 bytes
        places = range(first, len(head), _TS_PACKET + first)
        if len(head) >= 3 * (_TS_PACKET + first) and all(head[place] == 0x47 for place in places):
            return "mpegts"
    return None


def _walk_boxes(file: BinaryIO, length: int) -> tuple[int, bool]:
    """Return where the last box of an MP4 says that it ends, and whether there is an index."""
    place, has_index = 0, False
    for _ in range(_MOST_BOXES):
        file.seek(place)
        head = file.read(16)
        if len(head) < 8:
            return place, has_index
        size, name = int.from_bytes(head[:4], "big"), head[4:8]
        has_index = has_index or name in (b"moov", b"moof")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8:  # 0: up to the end of the file; less: damaged, which the decoder judges
            return length, has_index
        place += size
        if place >= length:
            return place, has_index
    return length, has_index


def _avi_end(head: bytes) -> int:
    return int.from_bytes(head[4:8], "little") + 8


def _matroska_end(head: bytes) -> int:
    """Return where the segment of a Matroska file ends, 0 where that is not said."""
    start = head.find(_SEGMENT_ID) + len(_SEGMENT_ID)
    if start < len(_SEGMENT_ID) or start >= len(head) or not head[start]:
        return 0
    width = 9 - head[start].bit_length()
    size = int.from_bytes(head[start : start + width], "big") & ((1 << (7 * width)) - 1)
    return 0 if size == (1 << (7 * width)) - 1 else start + width + size
