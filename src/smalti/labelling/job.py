"""The work of ``infer``: label pictures, save the maps beside that, and keep the books."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smalti.errors import DataError, InputError, OutputError, UsageError
from smalti.jobs.outputs import File, OutputFolder
from smalti.jobs.stream import (
    Clock,
    Engine,
    OnError,
    Preprocess,
    Progress,
    Segmented,
    Stage,
    StorageError,
    failed,
    picture_pool,
    source_signature,
)
from smalti.jobs.timing import Patience, Timing, time_in_turns
from smalti.labelling.exports import ExportOptions
from smalti.labelling.journal import Journal, Record
from smalti.labelling.ledger import Ledger
from smalti.labelling.save import Saver
from smalti.segmenter.segmenter import Segmenter
from smalti.vision.images import DEFAULT_MAX_PIXELS
from smalti.vision.names import OutputNames
from smalti.vision.preprocess import Resize
from smalti.vision.voc import Entry, Pictures, printable

OVERLAY_FOLDER: Final = "overlay"
REPORT_FILES: Final = ("smalti-report.json", "smalti-report.csv")
UNREADABLE_IN_A_ROW: Final = 3
ONE_PICTURE_CALLS: Final = 5
ONE_PICTURE_SECONDS: Final = 0.5

Problem = DataError | InputError | UsageError
Labelled = Segmented[Entry] | tuple[Entry, DataError | InputError]


class OutputSize(str, Enum):
    """The size of saved label maps: that of the picture, or that at which the network saw it."""

    ORIGINAL = "original"
    INPUT = "input"


@dataclass(frozen=True, slots=True)
class InferOptions:
    """How to run: see ``smalti infer --help``. ``resize`` and ``input_size`` None = what the model's manifest says.

    ``tile``, ``overlap``, ``labels``, ``colours`` and ``output`` are those of
    :class:`smalti.segmenter.segmenter.Segmenter`; ``export`` are the annotation files to make of the label maps.
    ``time_one`` times a picture through the engine alone when all are done, which takes up to half a second.
    """

    resize: Resize | None = None
    input_size: int | None = None
    output_size: OutputSize = OutputSize.ORIGINAL
    save_img: bool = True
    overlay: bool = False
    on_error: OnError = OnError.SKIP
    max_pixels: int = DEFAULT_MAX_PIXELS
    tile: tuple[int, int] | None = None
    overlap: int | None = None
    labels: tuple[str, ...] | None = None
    output: str | None = None
    export: ExportOptions = ExportOptions()
    colours: tuple[str | None, ...] | None = None
    time_one: bool = False

    def segmenter(self, engine: Engine) -> Segmenter:
        """Return what labels pictures so. Raises UsageError where an option does not fit the model."""
        return Segmenter(
            engine,
            resize=self.resize,
            input_size=self.input_size,
            tile=self.tile,
            overlap=self.overlap,
            labels=self.labels,
            colours=self.colours,
            output=self.output,
            max_pixels=self.max_pixels,
        )

    def to_json(self, preprocess: Preprocess) -> dict[str, str]:
        """Return the command-line options that decide the bytes of the results, with their values."""
        given = {
            "--tile": None if self.tile is None else "x".join(map(str, self.tile)),
            "--overlap": self.overlap,
            "--output": self.output,
            "--labels": None if self.labels is None else ",".join(self.labels),
            "--labels (colours)": None if self.colours is None else ",".join(colour or "" for colour in self.colours),
        }
        return {
            "--resize": preprocess.resize.value,
            "--input-size": preprocess.size_text,
            "--output-size": self.output_size.value,
            "--save-img": "true" if self.save_img else "false",
            "--overlay": "true" if self.overlay else "false",
            "--max-pixels": str(self.max_pixels),
            **{option: str(value) for option, value in given.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class JobState:
    """How far a job is: pictures ``done`` and ``failed`` so far, of which ``resumed`` were so before this run."""

    total: int
    resumed: int
    done: int
    failed: int

    @property
    def left(self) -> int:
        return self.total - self.done - self.failed


Watch = Callable[[JobState], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Coloured:
    """One picture that is ready to be written, or that failed."""

    index: int
    entry: Entry
    files: tuple[File, ...]
    problem: Problem | None
    source: tuple[int, int] | None


class InferJob:
    """Labels the pictures of ``ledger`` that are still to do. ``folder`` None = nothing is saved."""

    def __init__(
        self,
        segmenter: Segmenter,
        pictures: Pictures,
        options: InferOptions,
        ledger: Ledger,
        *,
        folder: OutputFolder | None = None,
        names: OutputNames | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.clock = Clock()
        self.at_once = segmenter.sharing(ledger.left)[1]
        self._segmenter = segmenter
        self._pictures = pictures
        self._options = options
        self._ledger = ledger
        self._folder = folder
        self._names = names
        self._journal = journal
        self._resumed = ledger.done + ledger.failed
        self._told = -1
        self._unreadable = 0
        self._seen: NDArray[np.uint8] | None = None

    def run(
        self, progress: Progress | None = None, watch: Watch | None = None, stop: Callable[[], bool] | None = None
    ) -> None:
        """Work until nothing is left, or until ``stop`` says so.

        Whatever ends the work, what has been labelled is saved first. Raises DataError, InputError or UsageError for a
        bad picture with ``OnError.STOP``, OutputError when the disk refuses or the pictures' storage fails.
        """
        self._tell(progress, watch)
        indices = self._ledger.pending()
        todo: deque[int] = deque()

        def coming() -> Iterator[Entry]:
            for index in indices:
                todo.append(index)
                yield self._pictures[index]

        with picture_pool() as pool, Saver(pool, self._colour, self._write) as saver:
            results = self._segmenter.entries(coming(), self.clock, pictures=self._ledger.left, pool=pool)
            try:
                for item in results:
                    if isinstance(item, tuple) and self._options.on_error is OnError.STOP:
                        failed(item[0], item[1], OnError.STOP)
                    elif isinstance(item, Segmented):
                        self._seen = item.seen
                    saver.put((todo.popleft(), item))
                    self._tell(progress, watch)
                    if stop is not None and stop():
                        break
            finally:
                results.close()
        self._tell(progress, watch)

    def time_one(self, seconds: float) -> Timing | None:
        """Time the last picture that was labelled through the engine alone, with all its threads: a few calls.

        They take about ``seconds``, half a second at most; one call is the least. None where nothing was labelled.
        """
        if self._seen is None:
            return None
        label, _ = self._segmenter.sharing(1)
        patience = Patience(ONE_PICTURE_CALLS, 0.0, min(seconds, ONE_PICTURE_SECONDS))
        return time_in_turns([label], [self._seen], patience)[0]

    def _tell(self, progress: Progress | None, watch: Watch | None) -> None:
        """Report every further picture that is finished, in the caller's thread."""
        done, bad, total = self._ledger.done, self._ledger.failed, len(self._ledger)
        if watch is not None and done + bad != self._told:
            watch(JobState(total, self._resumed, done, bad))
        if progress is not None:
            first = self._resumed if self._told < 0 else self._told
            for count in range(first + 1, done + bad + 1):
                progress(count, total)
        self._told = done + bad

    # ---- in the encoding thread ------------------------------------------------------------------------------------

    def _colour(self, work: tuple[int, Labelled]) -> _Coloured:
        index, item = work
        if isinstance(item, tuple):
            entry, problem = item
            return _Coloured(index, entry, (), problem, source_signature(entry))
        start = time.perf_counter()
        original = self._options.output_size is OutputSize.ORIGINAL
        found = self._segmenter.label_map(item, item.entry.name, own_size=original)
        files: list[File] = []
        try:
            if self._folder is not None and self._names is not None:
                if self._options.save_img:
                    files.append((self._names[index], found.png()))
                if self._options.overlay:
                    files.append((overlay_name(self._names[index]), found.jpeg()))
        except (DataError, UsageError) as problem:
            return _Coloured(index, item.entry, (), problem, item.source)
        self.clock.add(Stage.POST, time.perf_counter() - start)
        return _Coloured(index, item.entry, tuple(files), None, item.source)

    # ---- in the writing thread -------------------------------------------------------------------------------------

    def _write(self, group: Sequence[_Coloured]) -> None:
        """Write the files of some pictures, then the journal, then the ledger; raise what ends the job after that."""
        if self._folder is None:
            self._enter(group, [item.problem for item in group])
            return
        start = time.perf_counter()
        written = self._folder.write_groups([item.files for item in group])
        finished = group[: len(written.problems)]
        problems = [item.problem or problem for item, problem in zip(finished, written.problems, strict=True)]
        if self._options.on_error is OnError.STOP and any(problems):
            finished = finished[: next(i for i, problem in enumerate(problems) if problem is not None)]
        if self._journal is not None and finished:
            self._journal.append([self._record(item, p) for item, p in zip(finished, problems, strict=False)])
        saved = [item for item, problem in zip(finished, problems, strict=False) if problem is None]
        for _ in saved:
            self.clock.add(Stage.SAVE, (time.perf_counter() - start) / len(saved))
        self._enter(group[: len(problems)], problems)
        if written.stopped is not None:
            raise written.stopped

    def _enter(self, group: Sequence[_Coloured], problems: Sequence[Problem | None]) -> None:
        for item, problem in zip(group, problems, strict=True):
            if problem is None:
                self._ledger.set_done(item.index)
                self._unreadable = 0
                continue
            found = failed(item.entry, problem, self._options.on_error)
            self._ledger.set_failed(item.index, found.reason)
            self._unreadable = self._unreadable + 1 if isinstance(problem, StorageError) else 0
            if self._unreadable >= UNREADABLE_IN_A_ROW:
                path = printable(str(item.entry.path))
                raise OutputError(
                    f"{path}: {problem}; the last {UNREADABLE_IN_A_ROW} pictures could not be read: look "
                    "after the disk, then give the command again"
                )

    def _record(self, item: _Coloured, problem: Problem | None) -> Record:
        if problem is not None:
            passing = isinstance(problem, StorageError)
            return Record(item.entry.name, None, reason=str(problem), source=item.source, passing=passing)
        name = None if self._names is None else self._names[item.index]
        return Record(item.entry.name, name, tuple(len(data) for _, data in item.files), source=item.source)


def overlay_name(name: str) -> str:
    """Return the name of the overlay picture that goes with a label map."""
    return f"{OVERLAY_FOLDER}/{name.removesuffix('.png')}.jpg"
