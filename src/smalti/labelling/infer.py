"""Label every picture of a folder or a list, and save the label maps."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import cv2
import PIL

from smalti import __version__
from smalti.errors import UsageError
from smalti.jobs.outputs import OutputFolder, write_error, write_pieces
from smalti.jobs.stream import (
    Engine,
    Failure,
    OnError,
    Preprocess,
    Progress,
    StageTimes,
    source_signature,
)
from smalti.jobs.timing import Timing
from smalti.jobs.watch import UNKNOWN_LOAD, Load, LoadWatch
from smalti.labelling.exports import Exported, Exporter, ExportProgress
from smalti.labelling.guard import (
    check_export,
    check_report,
    refuse_folders_that_are_files,
    refuse_own_pictures,
    refuse_picture_folder,
)
from smalti.labelling.job import (
    REPORT_FILES,
    InferJob,
    InferOptions,
    JobState,
    OutputSize,
    Watch,
    overlay_name,
)
from smalti.labelling.journal import JobIdentity, Journal, Record, open_journal, remove_journal
from smalti.labelling.ledger import Ledger, report_csv, report_json
from smalti.segmenter.segmenter import Segmenter
from smalti.vision.images import check_max_pixels
from smalti.vision.names import OutputNames
from smalti.vision.voc import PicturePaths, Pictures, check_different, find_pictures

__all__ = ["InferOptions", "InferResult", "JobOptions", "JobState", "OutputSize", "infer"]

FAILURES_SHOWN: Final = 10_000


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How a job that can be stopped and go on is kept.

    Attributes:
        model: a digest of the model file; a job goes on only with the same.
        target: the CPU that the model's code was built for.
        restart: forget what an earlier job in the output folder has done.
        retry_failed: try the pictures again that failed before.
        report: also write the report here, as JSON or CSV by its suffix.
        watch: is told how far the job is, in the caller's thread.
        stop: is asked after each picture whether to stop there.
        exporting: is told of every label map that annotation files are made of: the kind, how many, of how many.
        sha256: the SHA-256 of the model file in hexadecimal, for the report.
    """

    model: str
    target: str = ""
    restart: bool = False
    retry_failed: bool = False
    report: Path | None = None
    watch: Watch | None = None
    stop: Callable[[], bool] | None = None
    exporting: ExportProgress | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class InferResult:
    """What was done: how many pictures have a label map, which have not and why, and where the time went.

    ``resumed`` of the ``images`` were labelled by an earlier run of the same job. ``failures`` are the first 10,000 of
    ``failed``. ``finished`` is False when the run was stopped before the end, with ``left`` pictures to do. ``seconds``
    is the wall time of this run; decoding and saving run beside inference, so the stages add up to more: ``at_once``
    pictures shared the threads. ``reports`` are the files that list every picture, ``exported`` the annotations.
    ``left_out`` are outputs of the model that were not looked at. ``one_picture`` are calls of the engine alone on one
    picture, with all threads and nothing beside them (``InferOptions.time_one``); ``load`` is what others took of the
    CPUs from the first picture to the last of these calls; ``other_kinds`` are files of the folders by the kind of
    picture that is not read.
    """

    images: int
    failures: tuple[Failure, ...]
    seconds: float
    stages: tuple[StageTimes, ...]
    threads: int
    preprocess: Preprocess
    output_dir: Path | None
    failed: int = 0
    resumed: int = 0
    left: int = 0
    reports: tuple[Path, ...] = ()
    at_once: int = 1
    exported: Exported = Exported()
    left_out: tuple[str, ...] = ()
    one_picture: Timing | None = None
    load: Load = UNKNOWN_LOAD
    other_kinds: Mapping[str, int] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether every picture was tried and every annotation file written."""
        return self.left == 0 and not self.exported.stopped

    @property
    def stream_images_per_second(self) -> float:
        """Label maps that this run made, by its seconds: reading, decoding, encoding and saving are in them."""
        return (self.images - self.resumed) / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "resumed": self.resumed,
            "failed": self.failed,
            "left": self.left,
            "finished": self.finished,
            "failures": [failure.to_json() for failure in self.failures],
            "seconds": self.seconds,
            "stream_images_per_second": self.stream_images_per_second if self.seconds > 0 else None,
            "one_picture_ms": None if self.one_picture is None else self.one_picture.median,
            "one_picture_calls": 0 if self.one_picture is None else len(self.one_picture.ms),
            "other_load": self.load.to_json(),
            "stages": [stage.to_json() for stage in self.stages],
            "threads": self.threads,
            "pictures_at_once": self.at_once,
            "preprocess": self.preprocess.to_json(),
            "output_dir": None if self.output_dir is None else str(self.output_dir),
            "report": [str(path) for path in self.reports],
            "annotations": [str(path) for path in self.exported.paths],
            "annotations_kept": self.exported.kept,
            "outputs_left_out": list(self.left_out),
            "pictures_left_out": dict(self.other_kinds),
        }


def infer(
    engine: Engine,
    image_dir: PicturePaths,
    output_dir: Path | None,
    *,
    file_list: Path | None = None,
    image_num: int | None = None,
    recursive: bool = False,
    options: InferOptions | None = None,
    progress: Progress | None = None,
    job: JobOptions | None = None,
) -> InferResult:
    """Label the pictures of ``image_dir`` (those of ``file_list``; at most ``image_num``) and save the label maps.

    ``image_dir`` is a folder, a picture file, or several of both; with ``recursive`` pictures of sub-folders are
    labelled too, and their label maps lie in sub-folders of the same names.

    ``output_dir/NAME.png`` is a palette PNG whose pixel index is the label; ``a.jpg`` and ``a.png`` in one list become
    ``a.jpg.png`` and ``a.png.png``. With ``overlay``, ``output_dir/overlay/NAME.jpg`` shows the classes on the picture.
    A file is written whole or not at all, and one job at a time writes to a folder. A picture that cannot be decoded is
    listed in the result, or raised with ``OnError.STOP``.

    ``options.export`` makes annotation files of the label maps when all pictures are done: ``annotations/coco.json``,
    ``annotations/shares.csv``, ``labelme/NAME.json``, ``geojson/NAME.geojson``. A labelme file in which a person has
    changed shapes is kept, unless the job is restarted.

    With ``job`` the output folder also gets a journal of the finished pictures and, at the end, a report; called again
    with the same arguments it goes on where an earlier call ended, however that ended. Without, everything is done
    anew, and a journal that is there is removed, since it would no longer be true.

    Raises UsageError (folders, lists, options, a job that was started differently), ImageError (only with STOP),
    OutputError (the disk refuses), ResourceError (no memory; another job writes there). ``output_dir`` may be None when
    nothing is saved.
    """
    how = options or InferOptions()
    check_max_pixels(how.max_pixels)
    segmenter = how.segmenter(engine)
    check_export(how)
    if job is not None and job.report is not None:
        check_report(job.report, () if file_list is None else (file_list,))
    pictures = find_pictures(image_dir, file_list, image_num, recursive=recursive)
    if not (how.save_img or how.overlay):
        return _Run(segmenter, pictures, how, progress, job).run(None, None)
    if output_dir is None:
        raise UsageError("an output folder is needed to save pictures: give --output-dir")
    if file_list is not None:
        check_different(pictures.names)
    names = OutputNames(pictures.names)
    refuse_own_pictures(pictures, output_dir, names, how)
    refuse_picture_folder(pictures, output_dir, how, keeps_journal=job is not None)
    refuse_folders_that_are_files(output_dir, how)
    with OutputFolder(output_dir) as folder:
        return _Run(segmenter, pictures, how, progress, job).run(folder, names)


class _Run:
    """One run of a job, from what an earlier one has left to the report."""

    def __init__(
        self,
        segmenter: Segmenter,
        pictures: Pictures,
        options: InferOptions,
        progress: Progress | None,
        job: JobOptions | None,
    ) -> None:
        self._segmenter = segmenter
        self._pictures = pictures
        self._options = options
        self._progress = progress
        self._job = job
        self._ledger = Ledger(len(pictures))

    def run(self, folder: OutputFolder | None, names: OutputNames | None) -> InferResult:
        start, others = time.perf_counter(), LoadWatch()
        journal: Journal | None = None
        if folder is not None and names is not None and self._job is not None:
            journal = self._open_journal(folder.path, names, self._job)
        elif folder is not None:
            remove_journal(folder.path)
        resumed = self._ledger.done
        if folder is not None and self._ledger.left:
            remove_reports(folder.path)
        with journal or nullcontext():
            work = InferJob(
                self._segmenter,
                self._pictures,
                self._options,
                self._ledger,
                folder=folder,
                names=names,
                journal=journal,
            )
            watch, stop = (None, None) if self._job is None else (self._job.watch, self._job.stop)
            work.run(self._progress, watch, stop)
        ended = self._ledger.left == 0
        exported = self._export(folder, names) if ended and folder is not None and names is not None else Exported()
        reports = self._write_reports(folder, names) if ended else ()
        seconds = time.perf_counter() - start
        one = work.time_one(seconds / 10) if ended and self._options.time_one else None
        return InferResult(
            self._ledger.done,
            tuple(islice(self._ledger.failures(self._pictures.names), FAILURES_SHOWN)),
            seconds,
            work.clock.result(),
            self._segmenter.engine.threads,
            self._segmenter.preprocess,
            None if folder is None else folder.path,
            self._ledger.failed,
            resumed,
            self._ledger.left,
            reports,
            work.at_once,
            exported,
            self._segmenter.network.left_out,
            one,
            others.load(),
            self._pictures.left_out,
        )

    def _export(self, folder: OutputFolder, names: OutputNames) -> Exported:
        job = self._job
        exporter = Exporter(
            folder,
            self._pictures,
            names,
            self._ledger,
            self._segmenter.names,
            overwrite=job is not None and job.restart,
            progress=None if job is None else job.exporting,
            stop=None if job is None else job.stop,
        )
        return exporter.write(self._options.export)

    def _open_journal(self, folder: Path, names: OutputNames, job: JobOptions) -> Journal:
        replay = _Replay(self._pictures, names, folder, self._options, self._ledger, job.retry_failed)
        return open_journal(folder, self._identity(job), replay, restart=job.restart)

    def _identity(self, job: JobOptions) -> JobIdentity:
        return JobIdentity(
            job.model,
            job.target,
            os.path.realpath(self._pictures.folder),
            self._options.to_json(self._segmenter.preprocess),
            {"smalti": __version__, "pillow": PIL.__version__, "opencv": cv2.__version__},
        )

    def _write_reports(self, folder: OutputFolder | None, names: OutputNames | None) -> tuple[Path, ...]:
        if self._job is None:
            return ()
        paths = [] if folder is None else [folder.path / name for name in REPORT_FILES]
        if self._job.report is not None:
            paths.append(self._job.report)
        said = self._identity(self._job).to_json()
        if self._job.sha256 is not None:
            said = {"sha256": self._job.sha256, **said}
        if self._pictures.left_out:
            said["pictures_left_out"] = dict(self._pictures.left_out)
        for path in paths:
            if path.suffix.lower() == ".json":
                write_pieces(path, report_json(self._ledger, self._pictures.names, said))
            else:
                shown = names if self._options.save_img else None
                write_pieces(path, report_csv(self._ledger, self._pictures.names, shown))
        return tuple(paths)


class _Replay:
    """Enters what a journal says into a ledger, as far as it still holds."""

    def __init__(
        self,
        pictures: Pictures,
        names: OutputNames,
        folder: Path,
        options: InferOptions,
        ledger: Ledger,
        retry_failed: bool,
    ) -> None:
        self._pictures = pictures
        self._names = names
        self._folder = str(folder)
        self._options = options
        self._ledger = ledger
        self._retry_failed = retry_failed or options.on_error is OnError.STOP
        self._next = 0

    def __call__(self, record: Record) -> None:
        index = self._index(record.name)
        if index is None:
            return
        entry = self._pictures[index]
        if record.source != source_signature(entry):
            self._ledger.forget(index)
        elif record.reason is not None:
            if record.passing or self._retry_failed:
                self._ledger.forget(index)
            else:
                self._ledger.set_failed(index, record.reason)
        elif record.output == self._names[index] and self._is_whole(record):
            self._ledger.set_done(index)
        else:
            self._ledger.forget(index)

    def _index(self, name: str) -> int | None:
        """Find a picture; the lines of a journal mostly stand in the pictures' order."""
        names = self._pictures.names
        index = self._next if self._next < len(names) and names[self._next] == name else names.find(name)
        if index is not None:
            self._next = index + 1
        return index

    def _is_whole(self, record: Record) -> bool:
        if record.output is None:
            return False
        files = [record.output] if self._options.save_img else []
        if self._options.overlay:
            files.append(overlay_name(record.output))
        if len(files) != len(record.sizes):
            return False
        try:
            return all(os.lstat(f"{self._folder}/{f}").st_size == n for f, n in zip(files, record.sizes, strict=True))
        except (OSError, ValueError):
            return False


def remove_reports(folder: Path) -> None:
    """A report that is there belongs to a finished job."""
    for name in REPORT_FILES:
        try:
            with suppress(FileNotFoundError):
                os.unlink(folder / name)
        except OSError as error:
            raise write_error(folder / name, error) from error
