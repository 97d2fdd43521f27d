"""Run an engine over many pictures: decode and resize ahead in threads, infer one or several at the same time."""

from __future__ import annotations

import errno
import os
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from smalti.errors import DataError, ImageError, InputError, ResourceError, UsageError
from smalti.runtime.engine import Engine as LoadedEngine
from smalti.target.host import usable_cpus
from smalti.vision.images import DEFAULT_MAX_PIXELS, read_image
from smalti.vision.preprocess import InputSize, Resize, resize_picture, target_size
from smalti.vision.voc import Entry, printable

Progress = Callable[[int, int], None]
MAX_INPUT_SIZE: Final = 2**14
MAX_WORKERS: Final = 8
DECODED_AHEAD: Final = 4
MAX_AT_ONCE: Final = 8
DECODED_BYTES_AHEAD: Final = 256 * 2**20
_STORAGE_ERRORS: Final = frozenset(
    {
        errno.EIO,
        errno.ENXIO,
        errno.ESTALE,
        errno.ENODEV,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EREMOTEIO,
    }
)


class StorageError(ImageError):
    """A picture could not be read because its storage failed; the picture itself may be good."""


class Manifest(Protocol):
    """What the applications need of an offline model's manifest."""

    @property
    def preprocess(self) -> Mapping[str, Any]:
        """How pictures are brought to the network: ``resize`` (a policy's name) and ``input_size``: pixels, [height,
        width] or None."""
        ...

    @property
    def labels(self) -> Sequence[str] | None:
        """The class names, if the file has them."""
        ...


class Engine(Protocol):
    """What the applications need of an engine; :class:`smalti.Engine` has it."""

    @property
    def manifest(self) -> Manifest:
        """What the offline model file says about itself."""
        ...

    @property
    def threads(self) -> int:
        """How many threads one call uses."""
        ...

    @property
    def concurrency(self) -> int:
        """How many calls may run at the same time."""
        ...

    def __call__(self, image: NDArray[np.uint8], /, *, threads: int | None = None) -> NDArray[np.int32]:
        """Return the label map int32 [H, W] of an RGB picture uint8 [H, W, 3]; ``threads`` for this call alone."""
        ...


Label = Callable[[NDArray[np.uint8]], NDArray[np.integer]]
"""Returns the label map [H, W] of an RGB picture uint8 [H, W, 3]."""


class OnError(str, Enum):
    """What to do with a picture that cannot be used."""

    SKIP = "skip"
    STOP = "stop"


class Stage(str, Enum):
    """The parts of the work on one picture that are timed."""

    DECODE = "decode"
    RESIZE = "resize"
    INFER = "infer"
    POST = "post"
    SAVE = "save"


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How pictures are brought to the network: the policy and the input size it needs."""

    resize: Resize
    input_size: InputSize

    @property
    def size_text(self) -> str:
        """The input size in words: ``513``, ``720x1280``, ``None``."""
        size = self.input_size
        return f"{size[0]}x{size[1]}" if isinstance(size, tuple) else str(size)

    def to_json(self) -> dict[str, Any]:
        size = list(self.input_size) if isinstance(self.input_size, tuple) else self.input_size
        return {"resize": self.resize.value, "input_size": size}


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture that could not be used, and why."""

    name: str
    reason: str

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Milliseconds of one stage over all pictures."""

    stage: Stage
    count: int
    mean: float
    median: float
    p95: float
    total: float

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage.value,
            "count": self.count,
            "mean_ms": self.mean,
            "median_ms": self.median,
            "p95_ms": self.p95,
            "total_ms": self.total,
        }


class Clock:
    """Collects the seconds of each stage."""

    def __init__(self) -> None:
        self._seconds = {stage: array("d") for stage in Stage}

    def add(self, stage: Stage, seconds: float) -> None:
        self._seconds[stage].append(seconds)

    def result(self) -> tuple[StageTimes, ...]:
        """Return the stages that were timed at all, in their order."""
        return tuple(_stage_times(stage, values) for stage, values in self._seconds.items() if values)


def _stage_times(stage: Stage, seconds: array[float]) -> StageTimes:
    ms = np.frombuffer(seconds, dtype=np.float64) * 1e3
    median, p95 = (float(v) for v in np.percentile(ms, (50, 95)))
    return StageTimes(stage, ms.size, float(ms.mean()), median, p95, float(ms.sum()))


Source = TypeVar("Source")


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A picture uint8 [H, W, 3]; ``source`` is the length and modification time (ns) of its file before it was read."""

    picture: NDArray[np.uint8]
    source: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Segmented(Generic[Source]):
    """One picture that went through the engine: ``labels`` integers [h, w] at the network's size.

    ``entry`` is what it was read from, ``picture`` uint8 [H, W, 3] the picture as decoded, ``seen`` [h, w, 3] as the
    network saw it. ``source`` is that of :class:`Decoded`.
    """

    entry: Source
    labels: NDArray[np.integer]
    picture: NDArray[np.uint8]
    seen: NDArray[np.uint8]
    source: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared(Generic[Source]):
    entry: Source
    picture: NDArray[np.uint8]
    seen: NDArray[np.uint8]
    source: tuple[int, int] | None
    decode_seconds: float
    resize_seconds: float


def choose_preprocess(engine: Engine, resize: Resize | None = None, input_size: int | None = None) -> Preprocess:
    """Return how pictures meet this engine: what its manifest says, unless ``resize`` or ``input_size`` say otherwise.

    Raises UsageError when the policy needs an input size and neither the manifest nor the caller gives one, or the
    model takes one height and width alone and pictures are to be fitted.
    """
    said = engine.manifest.preprocess
    only = _only_size(engine) if resize is None and input_size is None else None
    if only is not None:
        return Preprocess(Resize.STRETCH, only)
    size = said.get("input_size") if input_size is None else input_size
    policy = resize if resize is not None else Resize(said.get("resize") or (Resize.FIT if size else Resize.NONE))
    if policy is Resize.NONE:
        return Preprocess(policy, None)
    if size is None:
        raise UsageError(
            f"this model has no size to {policy.value} pictures to: use --resize none, or build with --input-shape"
        )
    sides = (size,) if isinstance(size, int) else tuple(size)
    if not all(1 <= side <= MAX_INPUT_SIZE for side in sides):
        raise UsageError(f"the input size must be 1 to {MAX_INPUT_SIZE}, not {size}")
    chosen: InputSize = int(size) if isinstance(size, int) else (int(sides[0]), int(sides[1]))
    if isinstance(chosen, tuple):
        target_size(1, 1, policy, chosen)  # raises where pictures are to be fitted
    return Preprocess(policy, chosen)


def _only_size(engine: Engine) -> InputSize:
    """Return the (height, width) of a loaded model that takes no other and does not say how pictures come to it.

    A graph that states one size itself does not ask for a policy when it is built.
    """
    if not isinstance(engine, LoadedEngine) or engine.manifest.preprocess.get("resize", "none") != "none":
        return None
    spec = engine.inputs[0]
    sides = spec.shape[1:3] if len(engine.inputs) == 1 and spec.layout == "NHWC" else ()
    height, width = sides if len(sides) == 2 else (None, None)
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def share_threads(engine: Engine, preprocess: Preprocess, pictures: int) -> tuple[Label, int]:
    """Return how to label one of that many pictures, and how many of them at the same time.

    Several pictures at the same time, each with its share of the engine's threads, take less time than one after the
    other with all of them: no thread waits for another one, and decoding needs no turn of its own. Pictures that keep
    their own size, which may be large, are labelled one after the other: each at the same time needs a workspace.
    """
    most = 1 if preprocess.resize is Resize.NONE else min(engine.concurrency, MAX_AT_ONCE, max(1, pictures))
    each = -(-engine.threads // most)
    at_once = engine.threads // each
    return (engine, 1) if at_once == 1 else (partial(engine, threads=each), at_once)


def segment(
    label: Label,
    entries: Iterable[Entry],
    preprocess: Preprocess,
    clock: Clock,
    *,
    at_once: int = 1,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    pool: ThreadPoolExecutor | None = None,
) -> Generator[Segmented[Entry] | tuple[Entry, DataError | InputError], None, None]:
    """Yield each entry's result in order, as :func:`segment_all` does; the pictures are those of the entries' files."""
    read = partial(read_entry, max_pixels=max_pixels)
    return segment_all(label, entries, read, preprocess, clock, at_once=at_once, pool=pool)


def segment_all(
    label: Label,
    sources: Iterable[Source],
    read: Callable[[Source], Decoded],
    preprocess: Preprocess,
    clock: Clock,
    *,
    at_once: int = 1,
    pool: ThreadPoolExecutor | None = None,
) -> Generator[Segmented[Source] | tuple[Source, DataError | InputError], None, None]:
    """Yield each source's result in order: the label map, or the source with the error of a picture that is no good.

    Pictures are read ahead in the threads of ``pool``, of :func:`picture_pool`; without one, it is made for the time of
    the iteration. One at a time is labelled in the caller's thread and in order; if it is to be several ``at_once``,
    they are labelled where they were decoded (see :func:`share_threads`).

    Fewer pictures are decoded ahead when they are large, so memory does not grow with the list. Errors that are not
    about one picture (memory, a bug) end the iteration.
    """
    threads = picture_pool() if pool is None else pool
    prepare: Callable[[Source], _Prepared[Source]] = partial(_prepare, read=read, preprocess=preprocess)
    finish = partial(_label, label=label, clock=clock, slots=threading.Semaphore(at_once))
    pending: deque[tuple[Source, Future[Any]]] = deque()

    def both(source: Source) -> Segmented[Source]:
        return finish(prepare(source))

    def result(entry: Source, coming: Future[Any]) -> Segmented[Source] | tuple[Source, DataError | InputError]:
        try:
            return coming.result() if at_once > 1 else finish(coming.result())
        except (DataError, InputError) as error:
            return entry, error

    window = _workers() + DECODED_AHEAD
    try:
        for source in sources:
            coming = threads.submit(both, source) if at_once > 1 else threads.submit(prepare, source)
            pending.append((source, coming))
            while len(pending) > window or (pending and _are_large(pending)):
                yield result(*pending.popleft())
        while pending:
            yield result(*pending.popleft())
    finally:
        for _, future in pending:
            future.cancel()
        wait([future for _, future in pending])
        if pool is None:
            threads.shutdown()


def picture_pool() -> ThreadPoolExecutor:
    """Return threads for the work on pictures, as many as this process may use CPUs, at most 8."""
    return ThreadPoolExecutor(max_workers=_workers(), thread_name_prefix="smalti-picture")


def _workers() -> int:
    return min(usable_cpus().count, MAX_WORKERS)


def _are_large(pending: Iterable[tuple[Source, Future[Any]]]) -> bool:
    """Whether no further picture should be decoded before the first one is used."""
    ready = (future for _, future in pending if future.done() and future.exception() is None)
    held: int = sum(future.result().picture.nbytes for future in ready)
    return held > DECODED_BYTES_AHEAD


def source_signature(entry: Entry) -> tuple[int, int] | None:
    """Return the length and modification time (ns) of a picture's file, or None when it has none."""
    if entry.folder is None:
        return None
    try:
        facts = os.stat(f"{entry.folder}/{entry.name}")
    except (OSError, ValueError):
        return None
    return facts.st_size, facts.st_mtime_ns


def read_entry(entry: Entry, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Decoded:
    """Read the picture of an entry.

    Raises ImageError for a picture that is no good, StorageError where its storage failed, ResourceError when the
    system is out of memory or files.
    """
    if entry.path is None:
        raise ImageError(entry.problem or "no such picture")
    source = source_signature(entry)
    try:
        return Decoded(read_image(entry.path, max_pixels=max_pixels), source)
    except ImageError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _STORAGE_ERRORS:
            raise StorageError(str(error)) from error.__cause__
        raise
    except ResourceError as error:
        raise ResourceError(f"{printable(str(entry.path))}: {error}") from error


def _prepare(entry: Source, read: Callable[[Source], Decoded], preprocess: Preprocess) -> _Prepared[Source]:
    start = time.perf_counter()
    found = read(entry)
    decoded = time.perf_counter()
    picture = found.picture
    height, width = target_size(picture.shape[0], picture.shape[1], preprocess.resize, preprocess.input_size)
    seen = resize_picture(picture, height, width)
    return _Prepared(entry, picture, seen, found.source, decoded - start, time.perf_counter() - decoded)


def _label(prepared: _Prepared[Source], label: Label, clock: Clock, slots: threading.Semaphore) -> Segmented[Source]:
    with slots:
        start = time.perf_counter()
        labels = label(prepared.seen)
        seconds = time.perf_counter() - start
    clock.add(Stage.DECODE, prepared.decode_seconds)
    clock.add(Stage.RESIZE, prepared.resize_seconds)
    clock.add(Stage.INFER, seconds)
    return Segmented(prepared.entry, labels, prepared.picture, prepared.seen, prepared.source)


def failed(entry: Entry, problem: DataError | InputError | UsageError, on_error: OnError) -> Failure:
    """Return what to list for a picture that is no good, or raise it with its name when the run is to stop."""
    failure = Failure(printable(entry.name), str(problem))
    if on_error is OnError.STOP:
        raise type(problem)(f"{failure.name}: {failure.reason}") from problem
    return failure
