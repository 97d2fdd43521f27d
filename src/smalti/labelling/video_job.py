"""The work on a video: label its frames, save the maps and the overlay beside that, and keep the books."""

from __future__ import annotations

import os
import secrets
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smalti.errors import ImageError, VideoError
from smalti.jobs.outputs import OutputFolder, sync, sync_folder, write_error
from smalti.jobs.stream import Clock, Segmented, Stage, picture_pool
from smalti.labelling.job import InferOptions
from smalti.labelling.journal import Journal, Record, Signature
from smalti.labelling.save import NOT_WRITTEN, Saver
from smalti.segmenter.label_map import LabelMap
from smalti.segmenter.segmenter import Segmenter
from smalti.vision.images import read_mask
from smalti.vision.overlay import lay_legend
from smalti.vision.video.frames import Frame, FrameChoice, VideoFacts, VideoReader
from smalti.vision.video.writer import USUAL_RATE, VIDEO_SUFFIX, VideoWriter
from smalti.vision.voc import printable

END: Final = "end"
_TEMPORARY: Final = f".smalti-tmp{VIDEO_SUFFIX}"
_UNDER_WAY_BYTES: Final = 256 * 2**20
_SLOWEST: Final = 1.0
_DIGITS: Final = 8
_LARGEST_FILE: Final = 2**62
Work = Frame | Segmented[Frame]


def frame_name(number: int) -> str:
    """Return the name of a frame: its number in the video, from 0, in eight digits."""
    return f"{number:0{_DIGITS}}"


@dataclass(frozen=True, slots=True)
class VideoState:
    """How far a job is: ``done`` frames, ``resumed`` of them by an earlier run, of about ``total``.

    ``total`` is what the file says of itself: None where it says nothing or where that was not true.
    """

    done: int
    resumed: int
    total: int | None


VideoWatch = Callable[[VideoState], None]


class Books:
    """What a journal says of the frames of a video: which are done, and whether that was the end."""

    def __init__(self, choice: FrameChoice, source: Signature | None) -> None:
        self._choice = choice
        self._source = source
        self._sizes = array("q")
        self._end: Record | None = None

    def __call__(self, record: Record) -> None:
        """Enter a line of the journal."""
        if record.source != self._source or not record.sizes or not 0 <= record.sizes[0] <= _LARGEST_FILE:
            return
        if record.name == END:
            self._end = record
            return
        index = len(self._sizes)
        if record.name == frame_name(self._choice.number(index)):
            self._sizes.append(record.sizes[0])
        elif len(record.name) == _DIGITS and record.name.isdecimal():
            known = (int(record.name) - self._choice.start) // self._choice.every
            if 0 <= known < index and record.name == frame_name(self._choice.number(known)):
                self._sizes[known] = record.sizes[0]

    def done(self, folder: Path) -> int:
        """Return how many frames from the first on still have the label map that was written."""
        for index, size in enumerate(self._sizes):
            if not _has_size(folder / f"{frame_name(self._choice.number(index))}.png", size):
                return index
        return len(self._sizes)

    def is_over(self, done: int, overlay: Path | None) -> bool:
        """Whether those are all frames, and the overlay video is as it was written."""
        end = self._end
        if end is None or end.sizes[0] != done:
            return False
        return overlay is None or (len(end.sizes) > 1 and _has_size(overlay, end.sizes[1]))


def end_record(done: int, overlay: Path | None, source: Signature | None) -> Record:
    """Return the line that ends a journal. Raises OutputError when the overlay video has gone."""
    try:
        sizes = (done,) if overlay is None else (done, os.lstat(overlay).st_size)
    except OSError as error:
        raise write_error(Path(str(overlay)), error) from error
    return Record(END, "" if overlay is None else overlay.name, sizes, source=source)


def _has_size(path: Path, size: int) -> bool:
    try:
        return os.lstat(path).st_size == size
    except (OSError, ValueError):
        return False


class OverlayFile:
    """The overlay video of a job: begun under a temporary name, and whole when it gets its own.

    Raises as :class:`smalti.vision.video.writer.VideoWriter`.
    """

    def __init__(self, folder: Path, name: str, facts: VideoFacts, every: int) -> None:
        self.path = folder / name
        self._temporary = folder / f".{secrets.token_hex(8)}{_TEMPORARY}"
        for left in folder.glob(f".*{_TEMPORARY}"):
            left.unlink(missing_ok=True)
        rate = max(_SLOWEST, (facts.rate or USUAL_RATE) / every)
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            place = f"/proc/self/fd/{self._folder}/{self._temporary.name}"
            self._writer = VideoWriter(place, facts.height, facts.width, rate, shown=printable(str(self.path)))
        except BaseException:
            os.close(self._folder)
            raise

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return self._writer.frames

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Write a frame, RGB uint8 [H, W, 3]."""
        self._writer.add(picture)

    def publish(self) -> None:
        """End the video and give it its name, if it has a frame. Raises OutputError, and leaves nothing then."""
        try:
            self._writer.close()
            if self.frames:
                handle = os.open(self._temporary, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    sync(handle)
                finally:
                    os.close(handle)
                os.replace(self._temporary, self.path)
                sync_folder(self.path.parent)
        except OSError as error:
            raise write_error(self.path, error) from error
        finally:
            os.close(self._folder)
            with suppress(OSError):
                self._temporary.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """One frame that is ready to be written; ``png`` None where its label map is there already, or not wanted."""

    number: int
    png: bytes | None
    picture: NDArray[np.uint8] | None


class VideoWork:
    """Labels the frames of a video. The first ``done`` have label maps in ``folder``, which are drawn again at most.

    ``source`` is the length and modification time (ns) of the video's file. ``folder`` None = nothing is saved.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        choice: FrameChoice,
        options: InferOptions,
        *,
        folder: OutputFolder | None = None,
        journal: Journal | None = None,
        overlay: OverlayFile | None = None,
        done: int = 0,
        source: Signature | None = None,
    ) -> None:
        self.clock = Clock()
        self.done = done
        self._resumed = done
        self._segmenter = segmenter
        self._choice = choice
        self._options = options
        self._folder = folder
        self._journal = journal
        self._overlay = overlay
        self._source = source

    def run(self, reader: VideoReader, watch: VideoWatch | None, stop: Callable[[], bool] | None) -> bool:
        """Work to the end, or until ``stop`` says so; return whether the end was reached.

        Whatever ends the work, what has been labelled is saved first. Raises VideoError where the decoder fails,
        InputError for frames that do not fit the model, OutputError when the disk refuses.
        """
        again = self.done if self._overlay is not None else 0
        total = None if reader.facts.frames is None else self._choice.count(reader.facts.frames)
        frames = iter(reader)

        def tell() -> None:
            if watch is not None:
                watch(VideoState(self.done, self._resumed, None if total is None or total < self.done else total))

        def goes_on() -> bool:
            tell()
            return stop is None or not stop()

        most = max(2, min(NOT_WRITTEN, _UNDER_WAY_BYTES // (6 * reader.facts.height * reader.facts.width)))
        tell()
        with picture_pool() as pool, Saver(pool, self._draw, self._write, most=most) as saver:
            for frame in islice(frames, again):
                saver.put(frame)
                if not goes_on():
                    return False
            results = self._segmenter.frames(frames, self.clock, pool=pool)
            try:
                for item in results:
                    if isinstance(item, tuple):
                        raise type(item[1])(f"frame {item[0].number}: {item[1]}")
                    saver.put(item)
                    if not goes_on():
                        return False
            finally:
                results.close()
        tell()
        return True

    # ---- in the encoding threads -----------------------------------------------------------------------------------

    def _draw(self, item: Work) -> _Drawn:
        if not isinstance(item, Segmented):
            return _Drawn(item.number, None, overlay_frame(self._saved(item)))
        start = time.perf_counter()
        found = self._segmenter.label_map(item)
        png = found.png() if self._folder is not None and self._options.save_img else None
        drawn = None if self._overlay is None else overlay_frame(found)
        self.clock.add(Stage.POST, time.perf_counter() - start)
        return _Drawn(item.entry.number, png, drawn)

    def _saved(self, frame: Frame) -> LabelMap:
        if self._folder is None:
            raise VideoError("frames are drawn again from a folder of label maps alone")
        path = self._folder.path / f"{frame_name(frame.number)}.png"
        try:
            labels = read_mask(path)
        except ImageError as error:
            raise ImageError(f"{printable(str(path))}: {error}; --restart writes it anew") from error
        return LabelMap(labels, frame.picture, self._segmenter.names, self._segmenter.palette)

    # ---- in the writing thread -------------------------------------------------------------------------------------

    def _write(self, group: Sequence[_Drawn]) -> None:
        """Write the label maps of some frames, then the journal; the overlay has them in the same order."""
        start = time.perf_counter()
        new = [(f"{frame_name(item.number)}.png", item.png) for item in group if item.png is not None]
        if new and self._folder is not None:
            written = self._folder.write_groups([[file] for file in new])
            finished = new[: len(written.problems)]
            if self._journal is not None:
                self._journal.append([self._record(name, len(data)) for name, data in finished])
            for problem in (*written.problems, written.stopped):
                if problem is not None:
                    raise problem
        for item in group:
            if self._overlay is not None and item.picture is not None:
                self._overlay.add(item.picture)
            self.done = max(self.done, (item.number - self._choice.start) // self._choice.every + 1)
        if self._folder is not None:
            for _ in group:
                self.clock.add(Stage.SAVE, (time.perf_counter() - start) / len(group))

    def _record(self, name: str, size: int) -> Record:
        return Record(name.removesuffix(".png"), name, (size,), source=self._source)


def overlay_frame(found: LabelMap) -> NDArray[np.uint8]:
    """Return a frame with its classes and their legend over it, of the frame's size, RGB uint8 [H, W, 3]."""
    return lay_legend(found.overlay(), found.labels, found.names, palette=found.palette)
