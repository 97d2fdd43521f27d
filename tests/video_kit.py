"""What tests of videos share: small videos of the demo's pictures, damaged ones, and decoders that go wrong."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from smalti.demo.generator import demo_image

HEIGHT, WIDTH = 48, 64
CODECS = {"mp4": "mp4v", "mov": "mp4v", "mkv": "mp4v", "ts": "mp4v", "avi": "MJPG", "webm": "VP80", "flv": "FLV1"}
KINDS = {"mkv": "matroska", "webm": "matroska", "ts": "mpegts", "mov": "mp4"}


@cache
def _picture(index: int) -> NDArray[np.uint8]:
    return demo_image(index)[0]


def frame(index: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Return frame ``index`` of every video here, RGB: one of four pictures of the demo, moved to the side."""
    picture = np.roll(_picture(index % 4), 3 * index, axis=1)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def write_video(path: Path, frames: int, height: int = HEIGHT, width: int = WIDTH, rate: float = 25.0) -> Path:
    """Write a video whose container and codec are those of its suffix."""
    code = cv2.VideoWriter.fourcc(*CODECS[path.suffix[1:]])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, rate, (width, height))
    assert writer.isOpened(), path
    for index in range(frames):
        writer.write(cv2.cvtColor(frame(index, height, width), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def boxes(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield the first byte, the length and the name of each box of an MP4 at its top."""
    place = 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        yield place, size, data[place + 4 : place + 8]
        place += size


def index_first(data: bytes) -> bytes:
    """Return an MP4 with its index before its pictures, as for the web."""
    parts = {name: data[place : place + size] for place, size, name in boxes(data)}
    moov = bytearray(parts[b"moov"])
    table = moov.index(b"stco") + 8
    count = int.from_bytes(moov[table : table + 4], "big")
    for at in range(table + 4, table + 4 + 4 * count, 4):
        moov[at : at + 4] = (int.from_bytes(moov[at : at + 4], "big") + len(moov)).to_bytes(4, "big")
    return parts[b"ftyp"] + moov + parts[b"free"] + parts[b"mdat"]


def turned(data: bytes, degrees: int) -> bytes:
    """Return an MP4 that says of its pictures that they are to be turned clockwise, as phones do."""
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    matrix = struct.pack(">9i", cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30)
    return data[:at] + matrix + data[at + 36 :]


def other_size(data: bytes, height: int, width: int) -> bytes:
    """Return an AVI of JPEGs that says another size of its pictures, and the pictures of themselves."""
    found = bytearray(data)
    at = data.index(b"strf") + 8
    found[at + 4 : at + 12] = struct.pack("<ii", width, height)
    frame_header = b"\xff\xc0\x00\x11\x08"
    at = data.find(frame_header)
    while at >= 0:
        found[at + 5 : at + 9] = struct.pack(">HH", height, width)
        at = data.find(frame_header, at + 1)
    return bytes(found)


_OWN = """
import json, os, signal, sys, time
sys.path[:] = json.loads(sys.argv[1])
from smalti.vision.video import decoder as own
def send(kind, number=0, height=48, width=64, rate=25.0, said=30.0):
    os.write(1, own.MESSAGE.pack(kind, number, height, width, rate, said))
frame = bytes(48 * 64 * 3)
"""
_AFTER = """
real = own.Decoder._say
def say(self, kind, number=0, *rest):
    if kind == own.FRAME and number == {number}:
        {action}
    real(self, kind, number, *rest)
own.Decoder._say = say
own.main()
"""


def decoder(code: str) -> tuple[str, ...]:
    """Return a decoder that runs ``code``, which can ``send`` messages and write a ``frame``."""
    return (sys.executable, "-c", _OWN + code)


def decoder_that(action: str, number: int) -> tuple[str, ...]:
    """Return the usual decoder, which does something else before it gives frame ``number``."""
    return decoder(_AFTER.format(action=action, number=number))


CRASH = "os.kill(os.getpid(), signal.SIGSEGV)"
HANG = "time.sleep(600)"
