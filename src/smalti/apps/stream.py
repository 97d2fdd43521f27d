"""Run an engine over many pictures: decode and resize ahead in threads, infer in the caller's thread."""

from __future__ import annotations

import errno
import os
import time
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from smalti.errors import DataError, ImageError, InputError, ResourceError, UsageError
from smalti.target.host import usable_cpus
from smalti.vision.images import DEFAULT_MAX_PIXELS, read_image
from smalti.vision.preprocess import Resize, resize_picture, target_size
from smalti.vision.voc import Entry, printable

Progress = Callable[[int, int], None]
MAX_INPUT_SIZE: Final = 2**14
MAX_DECODERS: Final = 8
DECODED_AHEAD: Final = 4
TURN_PICTURES: Final = 8
TURN_SECONDS: Final = 0.25
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
        """How pictures are brought to the network: ``input_size`` (pixels or None) and ``resize`` (a policy's name)."""
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

    def __call__(self, image: NDArray[np.uint8], /) -> NDArray[np.int32]:
        """Return the label map int32 [H, W] of an RGB picture uint8 [H, W, 3]."""
        ...


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
    input_size: int | None

    def to_json(self) -> dict[str, Any]:
        return {"resize": self.resize.value, "input_size": self.input_size}


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


@dataclass(frozen=True, slots=True, eq=False)
class Segmented:
    """One picture that went through the engine: ``labels`` int32 [h, w] at the network's size.

    ``picture`` uint8 [H, W, 3] is the picture as decoded, ``seen`` [h, w, 3] as the network saw it. ``source`` is the
    length and modification time (ns) of its file before it was read.
    """

    entry: Entry
    labels: NDArray[np.int32]
    picture: NDArray[np.uint8]
    seen: NDArray[np.uint8]
    source: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    picture: NDArray[np.uint8]
    seen: NDArray[np.uint8]
    source: tuple[int, int] | None
    decode_seconds: float
    resize_seconds: float


def choose_preprocess(engine: Engine, resize: Resize | None = None, input_size: int | None = None) -> Preprocess:
    """Return how pictures meet this engine: what its manifest says, unless ``resize`` or ``input_size`` say otherwise.

    Raises UsageError when the policy needs an input size and neither the manifest nor the caller gives one.
    """
    said = engine.manifest.preprocess
    size = said.get("input_size") if input_size is None else input_size
    policy = resize if resize is not None else Resize(said.get("resize") or (Resize.FIT if size else Resize.NONE))
    if policy is Resize.NONE:
        return Preprocess(policy, None)
    if size is None:
        raise UsageError(f"this model has no input size to {policy.value} pictures to: use --resize none")
    if not 1 <= size <= MAX_INPUT_SIZE:
        raise UsageError(f"the input size must be 1 to {MAX_INPUT_SIZE}, not {size}")
    return Preprocess(policy, int(size))


def segment(
    engine: Engine,
    entries: Iterable[Entry],
    preprocess: Preprocess,
    clock: Clock,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    pool: ThreadPoolExecutor | None = None,
    beside: Callable[[], Sequence[Future[Any]]] | None = None,
) -> Generator[Segmented | tuple[Entry, DataError | InputError], None, None]:
    """Yield each entry's result in order: the label map, or the entry with the error of a picture that is no good.

    Where the engine leaves CPUs free, a few pictures are decoded ahead beside it. Where it uses them all (see
    :func:`takes_turns`), its threads would wait for each other whenever decoding takes a CPU from one of them; then
    decoding and inference take turns of a quarter of a second at most, each on all CPUs, and ``beside`` is called in
    each turn of decoding: what it has submitted to ``pool`` is waited for too. Without a ``pool``, of
    :func:`decoding_pool`, one is made for the time of the iteration.

    Fewer pictures are decoded ahead when they are large, so memory does not grow with the list. Errors that are not
    about one picture (memory, a bug) end the iteration.
    """
    threads = decoding_pool() if pool is None else pool
    pending: _Pending = deque()

    def prepare(entry: Entry) -> None:
        pending.append((entry, threads.submit(_prepare, entry, preprocess, max_pixels)))

    try:
        if takes_turns(engine):
            yield from _in_turns(engine, entries, clock, threads, pending, prepare, beside)
        else:
            yield from _ahead(engine, entries, clock, pending, prepare)
    finally:
        for _, future in pending:
            future.cancel()
        wait([future for _, future in pending])
        if pool is None:
            threads.shutdown()


def decoding_pool() -> ThreadPoolExecutor:
    """Return threads for the work on pictures beside inference, as many as this process may use CPUs, at most 8."""
    return ThreadPoolExecutor(max_workers=_workers(), thread_name_prefix="smalti-decode")


def _workers() -> int:
    return min(usable_cpus().count, MAX_DECODERS)


def takes_turns(engine: Engine) -> bool:
    """Whether inference leaves no CPU for decoding, so that the two take turns."""
    return engine.threads >= usable_cpus().count


_Result = Segmented | tuple[Entry, DataError | InputError]
_Pending = deque[tuple[Entry, Future[_Prepared]]]
_Prepare = Callable[[Entry], None]


def _ahead(
    engine: Engine, entries: Iterable[Entry], clock: Clock, pending: _Pending, prepare: _Prepare
) -> Generator[_Result, None, None]:
    for entry in entries:
        prepare(entry)
        while len(pending) > DECODED_AHEAD or (pending and _are_large(pending)):
            yield _finish(engine, *pending.popleft(), clock)
    while pending:
        yield _finish(engine, *pending.popleft(), clock)


def _in_turns(
    engine: Engine,
    entries: Iterable[Entry],
    clock: Clock,
    pool: ThreadPoolExecutor,
    pending: _Pending,
    prepare: _Prepare,
    beside: Callable[[], Sequence[Future[Any]]] | None,
) -> Generator[_Result, None, None]:
    coming = iter(entries)
    following = deque(islice(coming, TURN_PICTURES))
    count = TURN_PICTURES
    while following:
        while following and len(pending) < count and not _are_large(pending):
            prepare(following.popleft())
            working = [future for _, future in pending if not future.done()]
            if len(working) > _workers():
                wait(working, return_when=FIRST_COMPLETED)
        # The short work comes last, so that all CPUs end the turn at about the same time.
        others = beside() if beside is not None else ()
        wait([future for _, future in pending])
        wait(others)
        following.extend(islice(coming, max(0, TURN_PICTURES - len(following))))
        pool.submit(_read_ahead, tuple(following))
        done, seconds = len(pending), 0.0
        while pending:
            start = time.perf_counter()
            result = _finish(engine, *pending.popleft(), clock)
            seconds += time.perf_counter() - start
            yield result
        count = max(1, min(TURN_PICTURES, int(TURN_SECONDS * done / seconds)))


def _are_large(pending: _Pending) -> bool:
    """Whether no further picture should be decoded before the first one is used."""
    ready = (future for _, future in pending if future.done() and future.exception() is None)
    return sum(future.result().picture.nbytes for future in ready) > DECODED_BYTES_AHEAD


def _read_ahead(entries: Sequence[Entry]) -> None:
    """Let the system read files that are decoded next; whatever is wrong with them is found then."""
    for entry in entries:
        if entry.path is None:
            continue
        with suppress(OSError, ValueError):
            handle = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(handle)


def source_signature(entry: Entry) -> tuple[int, int] | None:
    """Return the length and modification time (ns) of a picture's file, or None when it has none."""
    if entry.folder is None:
        return None
    try:
        facts = os.stat(f"{entry.folder}/{entry.name}")
    except (OSError, ValueError):
        return None
    return facts.st_size, facts.st_mtime_ns


def _prepare(entry: Entry, preprocess: Preprocess, max_pixels: int) -> _Prepared:
    if entry.path is None:
        raise ImageError(entry.problem or "no such picture")
    start = time.perf_counter()
    source = source_signature(entry)
    try:
        picture = read_image(entry.path, max_pixels=max_pixels)
    except ImageError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _STORAGE_ERRORS:
            raise StorageError(str(error)) from error.__cause__
        raise
    except ResourceError as error:
        raise ResourceError(f"{printable(str(entry.path))}: {error}") from error
    decoded = time.perf_counter()
    height, width = target_size(picture.shape[0], picture.shape[1], preprocess.resize, preprocess.input_size)
    seen = resize_picture(picture, height, width)
    return _Prepared(picture, seen, source, decoded - start, time.perf_counter() - decoded)


def _finish(
    engine: Engine, entry: Entry, coming: Future[_Prepared], clock: Clock
) -> Segmented | tuple[Entry, DataError | InputError]:
    try:
        prepared = coming.result()
        start = time.perf_counter()
        labels = engine(prepared.seen)
    except (DataError, InputError) as error:
        return entry, error
    clock.add(Stage.DECODE, prepared.decode_seconds)
    clock.add(Stage.RESIZE, prepared.resize_seconds)
    clock.add(Stage.INFER, time.perf_counter() - start)
    return Segmented(entry, labels, prepared.picture, prepared.seen, prepared.source)


def failed(entry: Entry, problem: DataError | InputError | UsageError, on_error: OnError) -> Failure:
    """Return what to list for a picture that is no good, or raise it with its name when the run is to stop."""
    failure = Failure(printable(entry.name), str(problem))
    if on_error is OnError.STOP:
        raise type(problem)(f"{failure.name}: {failure.reason}") from problem
    return failure
