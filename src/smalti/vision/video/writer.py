"""Write frames to a video file."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from smalti.errors import OutputError, UsageError

VIDEO_SUFFIX: Final = ".mp4"
MOST_SIDE: Final = 8190
USUAL_RATE: Final = 25.0
_CODEC: Final = "mp4v"


class VideoWriter:
    """Writes RGB frames of one size as MPEG-4 video in an MP4 file, which every build of OpenCV can.

    ``place`` ends in ``.mp4`` and is ASCII; ``shown`` is what messages call it. An odd side loses its last line: the
    codec takes even ones only.

    Raises:
        UsageError: the frames are too large for the codec, or too small.
        OutputError: the file cannot be made.
    """

    def __init__(self, place: str, height: int, width: int, rate: float, *, shown: str = "the overlay video") -> None:
        self._place = place
        self._shown = shown
        self.size = height & -2, width & -2
        self.frames = 0
        if not all(2 <= side <= MOST_SIDE for side in self.size):
            raise UsageError(
                f"an overlay video has sides of 2 to {MOST_SIDE} pixels, and these frames are {width} x {height}: "
                "leave --overlay out, and draw on the label maps"
            )
        code = cv2.VideoWriter.fourcc(*_CODEC)
        self._writer = cv2.VideoWriter(place, cv2.CAP_FFMPEG, code, rate, (self.size[1], self.size[0]))
        if not self._writer.isOpened():
            raise OutputError(f"{shown} cannot be begun: look whether its folder can be written to")

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Write a frame, RGB uint8 [H, W, 3]."""
        height, width = self.size
        self._writer.write(cv2.cvtColor(picture[:height, :width], cv2.COLOR_RGB2BGR))
        self.frames += 1

    def close(self) -> None:
        """End the file.

        Raises:
            OutputError: it does not hold all frames; the encoder itself does not tell of a full disk.
        """
        self._writer.release()
        written = cv2.VideoCapture(self._place, cv2.CAP_FFMPEG)
        try:
            whole = written.isOpened() and int(written.get(cv2.CAP_PROP_FRAME_COUNT)) == self.frames
        finally:
            written.release()
        if self.frames and not whole:
            raise OutputError(f"{self._shown} could not be written whole: look whether the disk is full")
