"""Decode a video in a process of its own: whatever a hostile file does to the decoder, it does to this process alone.

The process reads an open file and writes messages to another: what the video is, then the frames that were asked for,
then the end or what was wrong. It holds at most the frame that it writes and the one that it reads. It ends when the
process that started it does. It is run as a program, so that it loads no more of the package than this file.
"""

from __future__ import annotations

import os
import resource
import struct
import sys
import threading
import time
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

MESSAGE: Final = struct.Struct("<4sQIIdd")
"""A message: its kind, a frame number, height, width, frames a second, frames that the file says it has."""
OPENED: Final = b"open"
FRAME: Final = b"fram"
AT_WORK: Final = b"work"
END: Final = b"end."
NOT_OPENED: Final = b"not "
TOO_LARGE: Final = b"larg"
OTHER_SIZE: Final = b"size"
NO_MEMORY: Final = b"mem "

_STILL_HERE_SECONDS: Final = 1.0
_BASE_BYTES: Final = 2**30
# Codecs keep 16 frames for reference, and one for each of their threads, of up to 3 bytes a pixel.
_BYTES_OF_A_PIXEL: Final = 48


class _Ended(Exception):
    """There is nothing more to do."""


class Decoder:
    """Writes the frames ``start``, ``start + every``, ... of an open file to another open file."""

    def __init__(self, source: int, target: int, start: int, every: int, max_frames: int, max_pixels: int) -> None:
        self._source = source
        self._target = target
        self._start = start
        self._every = every
        self._max_frames = max_frames
        self._max_pixels = max_pixels
        self._number = 0

    def run(self) -> None:
        """Decode until the end, or until something is wrong, which is said."""
        try:
            self._decode()
        except _Ended:
            return
        except (MemoryError, cv2.error):
            self._say(NO_MEMORY, self._number)

    def _decode(self) -> None:
        capture = cv2.VideoCapture(f"/proc/self/fd/{self._source}", cv2.CAP_FFMPEG)
        height, width = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        if not capture.isOpened() or height <= 0 or width <= 0:
            self._say(NOT_OPENED)
            return
        self._check(height, width)
        there = capture.grab()
        if there:
            rate, said = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
            self._say(OPENED, 0, height, width, rate, said)
        given, told = 0, time.monotonic()
        size: tuple[int, ...] | None = None
        while there:
            if self._number >= self._start and (self._number - self._start) % self._every == 0:
                got, pixels = capture.retrieve()
                if not got:
                    break
                frame = _rgb(np.asarray(pixels, np.uint8))
                self._check(*frame.shape[:2])
                if size is not None and frame.shape != size:
                    self._say(OTHER_SIZE, self._number, *frame.shape[:2])
                    return
                size = frame.shape
                self._say(FRAME, self._number, *frame.shape[:2])
                self._write(frame.data.cast("B"))
                given, told = given + 1, time.monotonic()
            elif time.monotonic() - told > _STILL_HERE_SECONDS:
                self._say(AT_WORK, self._number)
                told = time.monotonic()
            self._number += 1
            there = given < self._max_frames and capture.grab()
        self._say(END, self._number)

    def _check(self, height: int, width: int) -> None:
        if height * width > self._max_pixels:
            self._say(TOO_LARGE, self._number, height, width)
            raise _Ended

    def _say(
        self, kind: bytes, number: int = 0, height: int = 0, width: int = 0, rate: float = 0.0, said: float = 0.0
    ) -> None:
        self._write(memoryview(MESSAGE.pack(kind, number, height, width, rate, said)))

    def _write(self, data: memoryview) -> None:
        try:
            while data:
                data = data[os.write(self._target, data) :]
        except BrokenPipeError:
            raise _Ended from None


def _rgb(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    form = cv2.COLOR_GRAY2RGB if frame.ndim == 2 else cv2.COLOR_BGR2RGB
    return np.ascontiguousarray(cv2.cvtColor(frame, form), dtype=np.uint8)


def _limit(max_pixels: int) -> None:
    """Keep this process from taking all memory, writing files and leaving a core."""
    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    most = taken + _BASE_BYTES + _BYTES_OF_A_PIXEL * max_pixels
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with_the_parent() -> None:
    """The parent never writes here: reading ends when it has gone."""
    os.read(0, 1)
    os._exit(0)


def main() -> None:
    """Decode as the numbers on the command line say: see :class:`Decoder`."""
    source, start, every, max_frames, max_pixels = map(int, sys.argv[-5:])
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _limit(max_pixels)
    cv2.setNumThreads(1)
    Decoder(source, 1, start, every, max_frames, max_pixels).run()
    os._exit(0)


if __name__ == "__main__":
    main()
