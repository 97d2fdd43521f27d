"""Frames of a video file, in order, from a decoder in a process of its own.

The bytes of the file are not trusted. They are recognised first; the decoder may read this one file in this one
container and nothing else (no playlists, no network), takes a bounded amount of memory, and is ended when it does not
answer. What it says is not trusted either.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smalti.errors import ResourceError, UsageError, VideoError
from smalti.vision.images import DEFAULT_MAX_PIXELS, check_max_pixels
from smalti.vision.video import decoder as said
from smalti.vision.video.files import VideoFile, look_at, open_video
from smalti.vision.voc import printable

MOST_FRAMES: Final = 10**8
"""No video has more frames: their numbers have eight digits."""
PATIENCE_SECONDS: Final = 60.0
_END_SECONDS: Final = 5.0
_PIPE_BYTES: Final = 2**20
_F_SETPIPE_SZ: Final = 1031
_FASTEST: Final = 1000.0
_DEMUXERS: Final = {"mp4": "mov"}
DECODER: Final = (
    sys.executable,
    "-I",
    "-c",
    "import json, runpy, sys; sys.path[:] = json.loads(sys.argv[1])\n"
    f"runpy.run_path({said.__file__!r}, run_name='__main__')",
)


@dataclass(frozen=True, slots=True)
class FrameChoice:
    """Which frames of a video to take: ``start``, ``start + every``, ..., at most ``max_frames`` of them.

    Frames are counted from 0.

    Raises:
        UsageError: a number is out of range.
    """

    start: int = 0
    every: int = 1
    max_frames: int | None = None

    def __post_init__(self) -> None:
        for option, value, least in (("--start", self.start, 0), ("--every", self.every, 1)):
            if not least <= value < MOST_FRAMES:
                raise UsageError(f"{option} is a number of frames from {least} to {MOST_FRAMES - 1}, not {value}")
        if self.max_frames is not None and not 1 <= self.max_frames <= MOST_FRAMES:
            raise UsageError(f"--max-frames is a number of frames from 1 to {MOST_FRAMES}, not {self.max_frames}")

    def number(self, index: int) -> int:
        """Return the number in the video of a frame that is taken."""
        return self.start + index * self.every

    def count(self, frames: int) -> int:
        """Return how many are taken of so many frames."""
        found = max(0, -(-(frames - self.start) // self.every))
        return found if self.max_frames is None else min(found, self.max_frames)


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a video file says about itself, which need not be true.

    Attributes:
        width, height: pixels of a frame, turned upright.
        rate: frames a second, None where it does not say one that can be.
        frames: how many frames it says it has, None where it does not say.
        kind: the container, see :class:`smalti.vision.video.files.VideoFile`.
        missing: bytes that the container counts and the file does not have: it is cut.
    """

    width: int
    height: int
    rate: float | None
    frames: int | None
    kind: str
    missing: int


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A frame: its ``number`` in the video from 0, and its picture uint8 [H, W, 3], RGB, turned upright."""

    number: int
    picture: NDArray[np.uint8]


class VideoReader:
    """Reads the frames of a video file, in order. Close it, or use it as a context manager.

    ``patience`` are the seconds after which a decoder that says nothing is ended. ``decoder`` is the command that
    decodes, where not the usual one.

    Attributes:
        facts: what the file says about itself.
        passed: how many frames the decoder has gone through at its end; None before.

    Raises:
        VideoError: no video, none that can be decoded, or frames of more than ``max_pixels`` pixels.
        UsageError: ``max_pixels`` is out of range.
        ResourceError: the system refuses the process.
    """

    def __init__(
        self,
        path: Path,
        choice: FrameChoice = FrameChoice(),
        *,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        patience: float = PATIENCE_SECONDS,
        decoder: Sequence[str] | None = None,
    ) -> None:
        check_max_pixels(max_pixels)
        self._shown = printable(str(path))
        self._max_pixels = max_pixels
        self._patience = patience
        self._next = choice.start
        self._every = choice.every
        self._last: int | None = None
        self.passed: int | None = None
        with open_video(path) as file:
            found = look_at(file, path)
            limit = MOST_FRAMES if choice.max_frames is None else choice.max_frames
            numbers = (file.fileno(), choice.start, choice.every, limit, max_pixels)
            self._process = _start(decoder or DECODER, numbers, found.kind, self._shown)
        try:
            self.facts: VideoFacts = self._read_facts(found)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the decoder. Idempotent."""
        process = self._process
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames that are left.

        Raises VideoError where the decoder ends before the video does, does not answer, or says what cannot be.
        """
        while (frame := self._read_frame()) is not None:
            yield frame

    def _read_facts(self, found: VideoFile) -> VideoFacts:
        kind, _, height, width, rate, frames = self._message()
        if kind != said.OPENED:
            raise self._problem(kind, 0, height, width)
        if not 0 < height * width <= self._max_pixels:
            raise self._nonsense()
        known_rate = rate if math.isfinite(rate) and 0 < rate <= _FASTEST else None
        known = int(frames) if math.isfinite(frames) and 0 < frames < MOST_FRAMES else None
        return VideoFacts(width, height, known_rate, known, found.kind, found.missing)

    def _read_frame(self) -> Frame | None:
        if self.passed is not None:
            return None
        kind, number, height, width, _, _ = self._message()
        while kind == said.AT_WORK:
            kind, number, height, width, _, _ = self._message()
        if kind == said.END:
            self.passed = number
            return None
        if kind != said.FRAME:
            raise self._problem(kind, number, height, width)
        if number != self._next or not 0 < height * width <= self._max_pixels:
            raise self._nonsense()
        picture = np.empty((height, width, 3), np.uint8)
        self._fill(picture.data.cast("B"))
        self._last, self._next = number, number + self._every
        return Frame(number, picture)

    def _message(self) -> tuple[bytes, int, int, int, float, float]:
        data = bytearray(said.MESSAGE.size)
        self._fill(memoryview(data))
        kind, number, height, width, rate, frames = said.MESSAGE.unpack(data)
        return kind, number, height, width, rate, frames

    def _fill(self, room: memoryview) -> None:
        """Read as many bytes as there is room for."""
        handle = self._process.stdout
        if handle is None:
            raise self._nonsense()
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        while room:
            if not poll.poll(1000 * self._patience):
                raise VideoError(
                    f"{self._shown}: the decoder did not answer for {self._patience:g} s{self._where()}, and was ended"
                )
            count = os.readv(handle.fileno(), [room])
            if not count:
                raise self._crash()
            room = room[count:]

    def _problem(self, kind: bytes, number: int, height: int, width: int) -> VideoError | ResourceError:
        at = f"{self._shown}: "
        if kind == said.END:
            return VideoError(f"{at}not one frame could be decoded: the file is damaged, or has no pictures in it")
        if kind == said.NOT_OPENED:
            return VideoError(f"{at}the video cannot be decoded: it is damaged, or of a codec that OpenCV lacks")
        if kind == said.TOO_LARGE:
            return VideoError(
                f"{at}frames of {width} x {height} pixels are more than the limit of {self._max_pixels} (--max-pixels)"
            )
        if kind == said.OTHER_SIZE:
            return VideoError(
                f"{at}frame {number} has {width} x {height} pixels, which those before it have not: cut the video there"
            )
        if kind == said.NO_MEMORY:
            return VideoError(f"{at}the decoder wants more memory than a video of --max-pixels may take{self._where()}")
        return self._nonsense()

    def _nonsense(self) -> VideoError:
        return VideoError(f"{self._shown}: the decoder went wrong{self._where()}: the file is damaged")

    def _crash(self) -> VideoError:
        """Say how the decoder ended."""
        end = time.monotonic() + _END_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        code = self._process.returncode
        how = "stopped answering" if code is None else f"ended with code {code}"
        if code is not None and code < 0:
            how = f"crashed ({signal.Signals(-code).name})"
        return VideoError(f"{self._shown}: the decoder {how}{self._where()}: the file is damaged")

    def _where(self) -> str:
        return " before the first frame" if self._last is None else f" after frame {self._last}"


def _start(decoder: Sequence[str], numbers: Sequence[int], kind: str, shown: str) -> subprocess.Popen[bytes]:
    options = f"protocol_whitelist;file|format_whitelist;{_DEMUXERS.get(kind, kind)}"
    quiet = {"OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_LOGLEVEL": "-8", "MALLOC_ARENA_MAX": "2"}
    paths = json.dumps([path or os.getcwd() for path in sys.path])
    try:
        process = subprocess.Popen(
            [*decoder, paths, *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(numbers[0],),
            env={**os.environ, **quiet, "OPENCV_FFMPEG_CAPTURE_OPTIONS": options},
            start_new_session=True,
        )
    except OSError as error:
        raise ResourceError(f"{shown}: no process to decode in: {os.strerror(error.errno or 0)}") from error
    if process.stdout is not None:
        _widen(process.stdout.fileno())
    return process


def _widen(pipe: int) -> None:
    """Let a pipe hold more than 16 pages, where the system allows: fewer turns for a frame."""
    with suppress(OSError):
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)
