"""Label the frames of a video: numbered label maps, an overlay video, or both."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, overload

import cv2
import PIL

from smalti import __version__
from smalti.errors import UsageError, VideoError
from smalti.jobs.outputs import OutputFolder, write_pieces
from smalti.jobs.places import check_places
from smalti.jobs.stream import MAX_AT_ONCE, Engine, OnError, Preprocess, Stage, StageTimes
from smalti.labelling.guard import check_report, refuse_folders_that_are_files
from smalti.labelling.infer import remove_reports
from smalti.labelling.job import REPORT_FILES, InferOptions, OutputSize
from smalti.labelling.journal import JobIdentity, open_journal, remove_journal
from smalti.labelling.ledger import Ledger, report_csv, report_json
from smalti.labelling.video_job import (
    Books,
    OverlayFile,
    VideoState,
    VideoWatch,
    VideoWork,
    end_record,
    frame_name,
)
from smalti.segmenter.segmenter import Segmenter
from smalti.vision.images import check_max_pixels
from smalti.vision.video.frames import FrameChoice, VideoFacts, VideoReader
from smalti.vision.voc import printable

__all__ = ["FrameChoice", "VideoJob", "VideoResult", "VideoState", "label_video"]

_LONGEST_STEM: Final = 200
_FRAMES_UNCOUNTED: Final = 2


@dataclass(frozen=True, slots=True)
class VideoJob:
    """How a job on a video that can be stopped and go on is kept.

    Attributes:
        model: a digest of the model file; a job goes on only with the same.
        target: the CPU that the model's code was built for.
        restart: forget what an earlier job in the output folder has done.
        report: also write the report here, as JSON or CSV by its suffix.
        watch: is told how far the job is, in the caller's thread.
        stop: is asked after each frame whether to stop there.
        sha256: the SHA-256 of the model file in hexadecimal, for the report.
    """

    model: str
    target: str = ""
    restart: bool = False
    report: Path | None = None
    watch: VideoWatch | None = None
    stop: Callable[[], bool] | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class VideoResult:
    """What was done: how many frames have labels, and where the time went.

    ``resumed`` of the ``frames`` were labelled by an earlier run of the same job. ``finished`` is False when the run
    was stopped before the end. ``facts`` is what the file says of itself; ``passed`` are the frames that the decoder
    found in it up to the last one that was wanted, None where this run did not look. ``problem`` says what is wrong
    with a file of which everything that is there was labelled; with ``fewer`` it had clearly fewer frames than it says.
    ``overlay`` is the overlay video, with ``overlay_frames``. ``seconds`` is the wall time of this run; decoding runs
    in a process of its own and is not among the stages. ``left_out`` are outputs of the model that were not looked at.
    """

    frames: int
    resumed: int
    finished: bool
    facts: VideoFacts
    passed: int | None
    problem: str | None
    seconds: float
    stages: tuple[StageTimes, ...]
    threads: int
    at_once: int
    preprocess: Preprocess
    output_dir: Path | None
    overlay: Path | None = None
    overlay_frames: int = 0
    fewer: bool = False
    reports: tuple[Path, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def frames_per_second(self) -> float:
        """Frames that this run labelled, by its seconds."""
        return (self.frames - self.resumed) / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "resumed": self.resumed,
            "finished": self.finished,
            "video": video_json(self.facts),
            "frames_found": self.passed,
            "fewer_frames_than_said": self.fewer,
            "problem": self.problem,
            "seconds": self.seconds,
            "frames_per_second": self.frames_per_second if self.seconds > 0 else None,
            "stages": [stage.to_json() for stage in self.stages],
            "threads": self.threads,
            "frames_at_once": self.at_once,
            "preprocess": self.preprocess.to_json(),
            "output_dir": None if self.output_dir is None else str(self.output_dir),
            "overlay": None if self.overlay is None else str(self.overlay),
            "overlay_frames": self.overlay_frames,
            "report": [str(path) for path in self.reports],
            "outputs_left_out": list(self.left_out),
        }


def label_video(
    engine: Engine,
    video: Path,
    output_dir: Path | None,
    *,
    choice: FrameChoice | None = None,
    options: InferOptions | None = None,
    job: VideoJob | None = None,
) -> VideoResult:
    """Label the frames of a video that ``choice`` names, in order, and save what comes of it.

    ``output_dir/00000012.png`` is the label map of frame 12, counted from 0: a palette PNG whose pixel index is the
    label. With ``options.overlay``, ``output_dir/NAME.overlay.mp4`` shows the classes on the frames, with a legend over
    the lowest rows, at the size of the video (an odd side loses a line) and its frame rate over ``choice.every``.
    Frames are turned upright as players do. The memory does not grow with the number of frames.

    With ``job`` the output folder also gets a journal of the label maps and, at the end, a report; called again with
    the same arguments it goes on where an earlier call ended. A video cannot be gone on with: the overlay is then
    written again, from the label maps that are there. However a call ends, files are whole, and an overlay video has
    the frames up to there.

    Raises UsageError (folders, options that belong to pictures, a job that was started differently), VideoError (no
    video, one that cannot be decoded, a decoder that crashes or hangs; what was labelled is kept), InputError (the
    frames do not fit the model), OutputError (the disk refuses), ResourceError (no memory or process; another job
    writes there). ``output_dir`` may be None when nothing is saved.
    """
    how, which = options or InferOptions(), choice or FrameChoice()
    check_max_pixels(how.max_pixels)
    _check_options(how)
    segmenter = how.segmenter(engine)
    if job is not None and job.report is not None:
        check_report(job.report, (video,))
    saved = how.save_img or how.overlay
    if saved and output_dir is None:
        raise UsageError("an output folder is needed to save label maps or an overlay: give --output-dir")
    if saved and output_dir is not None:
        _refuse_own_video(video, output_dir, how)
        refuse_folders_that_are_files(output_dir, replace(how, overlay=False))
    run = _Run(segmenter, video, which, how, job)
    with VideoReader(video, which, max_pixels=how.max_pixels) as reader:
        if how.on_error is OnError.STOP and (problem := _problem(reader.facts)) is not None:
            raise VideoError(f"{printable(str(video))}: {problem}")
        if not saved or output_dir is None:
            return run.run(None, reader)
        with OutputFolder(output_dir) as folder:
            return run.run(folder, reader)


class _Run:
    """One run of a job, from what an earlier one has left to the report."""

    def __init__(
        self, segmenter: Segmenter, video: Path, choice: FrameChoice, options: InferOptions, job: VideoJob | None
    ) -> None:
        self._segmenter = segmenter
        self._video = video
        self._choice = choice
        self._options = options
        self._job = job
        self._source = _signature(video)

    def run(self, folder: OutputFolder | None, reader: VideoReader) -> VideoResult:
        start = time.perf_counter()
        facts = reader.facts
        books = Books(self._choice, self._source)
        journal = None
        if folder is not None and self._job is not None:
            journal = open_journal(folder.path, self._identity(self._job), books, restart=self._job.restart)
        elif folder is not None:
            remove_journal(folder.path)
        place = folder.path / overlay_name(self._video) if folder is not None and self._options.overlay else None
        with journal or nullcontext():
            resumed = books.done(folder.path) if folder is not None and self._options.save_img else 0
            finished = self._options.save_img and books.is_over(resumed, place)
            overlay = None
            if folder is not None and not finished:
                remove_reports(folder.path)
                if place is not None:
                    overlay = OverlayFile(folder.path, place.name, facts, self._choice.every)
            work = VideoWork(
                self._segmenter,
                self._choice,
                self._options,
                folder=folder,
                journal=journal,
                overlay=overlay,
                done=resumed,
                source=self._source,
            )
            drawn = resumed if finished and place is not None else 0
            passed = None
            if not finished:
                finished, passed = self._label(work, reader, overlay)
                drawn = 0 if overlay is None else overlay.frames
                if finished and journal is not None:
                    journal.append([end_record(work.done, place, self._source)])
        return VideoResult(
            work.done,
            resumed,
            finished,
            facts,
            passed,
            _problem(facts),
            time.perf_counter() - start,
            tuple(stage for stage in work.clock.result() if stage.stage is not Stage.DECODE),
            self._segmenter.engine.threads,
            self._segmenter.sharing(MAX_AT_ONCE)[1],
            self._segmenter.preprocess,
            None if folder is None else folder.path,
            place if drawn else None,
            drawn,
            self._has_fewer(facts, work.done, passed),
            self._write_reports(folder, work.done, facts) if finished else (),
            self._segmenter.network.left_out,
        )

    def _label(self, work: VideoWork, reader: VideoReader, overlay: OverlayFile | None) -> tuple[bool, int | None]:
        """Return whether the end was reached, and how many frames the decoder has gone through there."""
        watch, stop = (None, None) if self._job is None else (self._job.watch, self._job.stop)
        try:
            if overlay is not None or not work.done:
                finished = work.run(reader, watch, stop)
                passed = reader.passed
            else:
                finished, passed = self._go_on(work, reader, watch, stop)
        finally:
            if overlay is not None:
                overlay.publish()
        if finished and work.done == 0 and passed is not None:
            raise UsageError(
                f"{printable(str(self._video))} has {passed} frames: --start {self._choice.start} is behind its end"
            )
        return finished, passed

    def _has_fewer(self, facts: VideoFacts, done: int, passed: int | None) -> bool:
        """Whether the video ended before its file says; many count a frame or two that nobody can decode."""
        if passed is None or facts.frames is None or done == self._choice.max_frames:
            return False
        return facts.frames - passed > max(_FRAMES_UNCOUNTED, facts.frames // 50)

    def _go_on(
        self, work: VideoWork, reader: VideoReader, watch: VideoWatch | None, stop: Callable[[], bool] | None
    ) -> tuple[bool, int | None]:
        """Label what is left, by a reader that begins there."""
        reader.close()
        rest = _rest(self._choice, work.done)
        if rest is None:
            return True, None
        with VideoReader(self._video, rest, max_pixels=self._options.max_pixels) as left:
            return work.run(left, watch, stop), left.passed

    def _identity(self, job: VideoJob) -> JobIdentity:
        real = os.path.realpath(self._video)
        most = self._choice.max_frames
        options = {
            "--video": os.path.basename(real),
            **self._options.to_json(self._segmenter.preprocess),
            "--start": str(self._choice.start),
            "--every": str(self._choice.every),
            "--max-frames": "all" if most is None else str(most),
        }
        versions = {"smalti": __version__, "pillow": PIL.__version__, "opencv": cv2.__version__}
        return JobIdentity(job.model, job.target, os.path.dirname(real), options, versions)

    def _write_reports(self, folder: OutputFolder | None, done: int, facts: VideoFacts) -> tuple[Path, ...]:
        if self._job is None:
            return ()
        paths = [] if folder is None else [folder.path / name for name in REPORT_FILES]
        if self._job.report is not None:
            paths.append(self._job.report)
        digest = {} if self._job.sha256 is None else {"sha256": self._job.sha256}
        said = {**digest, **self._identity(self._job).to_json(), "video": video_json(facts), "problem": _problem(facts)}
        ledger = Ledger(done)
        for index in range(done):
            ledger.set_done(index)
        names, maps = _Names(self._choice, done), _Names(self._choice, done, ".png")
        for path in paths:
            if path.suffix.lower() == ".json":
                write_pieces(path, report_json(ledger, names, said))
            else:
                write_pieces(path, report_csv(ledger, names, maps if self._options.save_img else None))
        return tuple(paths)


class _Names(Sequence[str]):
    """The names of the frames that were labelled, none of which is kept."""

    def __init__(self, choice: FrameChoice, count: int, suffix: str = "") -> None:
        self._choice = choice
        self._count = count
        self._suffix = suffix

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        if not 0 <= index < self._count:
            raise IndexError(index)
        return f"{frame_name(self._choice.number(index))}{self._suffix}"


def overlay_name(video: Path) -> str:
    """Return the name of the overlay video that goes with a video."""
    stem = os.fsdecode(os.fsencode(video.stem)[:_LONGEST_STEM])
    return f"{stem}.overlay.mp4"


def video_json(facts: VideoFacts) -> dict[str, Any]:
    """Return what a video file says of itself as plain values."""
    return {
        "kind": facts.kind,
        "width": facts.width,
        "height": facts.height,
        "frames_a_second": facts.rate,
        "frames": facts.frames,
        "bytes_missing": facts.missing,
    }


def _rest(choice: FrameChoice, done: int) -> FrameChoice | None:
    """Return what is left of a choice when the first ones are done, None when that is nothing."""
    left = None if choice.max_frames is None else choice.max_frames - done
    return None if left == 0 else FrameChoice(choice.number(done), choice.every, left)


def _problem(facts: VideoFacts) -> str | None:
    if not facts.missing:
        return None
    return f"the file is cut: {facts.missing} bytes are missing at its end; copy it again for the frames in them"


def _check_options(options: InferOptions) -> None:
    """Raise UsageError for options that belong to pictures."""
    if options.export.kinds:
        raise UsageError("annotations are of pictures: leave --export out, or save the frames as pictures first")
    if options.output_size is not OutputSize.ORIGINAL:
        raise UsageError("label maps of a video have its size: leave --output-size at original")


def _refuse_own_video(video: Path, output_dir: Path, options: InferOptions) -> None:
    if options.overlay:
        check_places({"--overlay": output_dir / overlay_name(video)}, (video,))
    real = Path(os.path.realpath(video))
    if options.save_img and real.suffix == ".png" and real.parent == Path(os.path.realpath(output_dir)):
        raise UsageError(f"{printable(str(video))} could be written over: choose another --output-dir")


def _signature(video: Path) -> tuple[int, int] | None:
    try:
        facts = os.stat(video)
    except (OSError, ValueError):
        return None
    return facts.st_size, facts.st_mtime_ns
