"""Choosing each engine's fastest route, and the interleaved measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.engines.spec import EngineSpec, Upsampling
from benchmarks.images import Picture
from benchmarks.machine import NeighbourWatch
from benchmarks.precision import Precision, labels_are_right, precision_of_floats
from benchmarks.routes import Job, Route, routes, upsampling_of
from benchmarks.stats import median
from benchmarks.workers import EngineFailure, EngineProcess, SharedImages, one_line
from smalti.errors import SmaltiError

LOAD_SECONDS = 600.0
TRIAL_ROUNDS = 5

Labels = NDArray[np.int32]
Say = Callable[[str], None]


@dataclass(slots=True)
class Contender:
    """An engine in the race: its process, route and timings (milliseconds, one list per round).

    ``takes_default``: what it is asked for is also what it would take by itself.
    """

    name: str
    process: EngineProcess
    route: str
    agree: float
    tried: dict[str, str]
    precision: Precision = Precision.FLOAT32
    rounds: list[list[float]] = field(default_factory=list)
    failure: str | None = None
    takes_default: bool = False

    @property
    def samples(self) -> list[float]:
        """All timings."""
        return [t for times in self.rounds for t in times]

    @property
    def right(self) -> bool:
        """Whether its labels are right for its precision."""
        return labels_are_right(self.agree, self.precision)


@dataclass(frozen=True, slots=True)
class Setting:
    """What does not change during a measurement."""

    pictures: tuple[Picture, ...]
    shared: SharedImages
    cpus: tuple[int, ...]
    say: Say


class Reference:
    """TensorFlow's labels of every picture, and the shapes of tensors inside its graph."""

    def __init__(self, job: Job, setting: Setting) -> None:
        spec = EngineSpec(
            "tensorflow", "session", str(job.graph), job.threads, job.cuts.input, job.cuts.output, job.sizes
        )
        with EngineProcess(spec, setting.shared, setting.cpus) as process:
            process.load(LOAD_SECONDS)
            self.labels = [process.labels(i) for i in range(len(setting.pictures))]
            self.upsampling = self._upsampling(job, setting, process)

    def agreement(self, process: EngineProcess) -> float:
        """Return the share of all pixels with the same label; raises EngineFailure where the sizes differ."""
        same, total = 0, 0
        for index, expected in enumerate(self.labels):
            got = process.labels(index)
            if got.shape != expected.shape:
                raise EngineFailure(f"labels are {got.shape}, TensorFlow's are {expected.shape}")
            same += int(np.count_nonzero(got == expected))
            total += expected.size
        return same / total

    def _upsampling(self, job: Job, setting: Setting, process: EngineProcess) -> tuple[Upsampling, ...]:
        if job.cuts.logits is None:
            return ()
        tensors = [job.cuts.logits, *(s.tensor for s in job.cuts.stages)]
        found = []
        sizes = [p.size for p in setting.pictures]
        for size in job.sizes:
            shapes = process.ask("shapes", LOAD_SECONDS, image=sizes.index(size), tensors=tensors)
            found.append(upsampling_of(job.cuts, size, shapes))
        return tuple(found)


def enter(name: str, job: Job, setting: Setting, reference: Reference | None) -> Contender:
    """Try every route of an engine and keep the fastest one that labels as TensorFlow does.

    Raises:
        EngineFailure: no route works; the message says why for each.
    """
    tried: dict[str, str] = {}
    running: list[Contender] = []
    try:
        for route in routes(name, job):
            try:
                running.append(_start(name, route, job, setting, reference))
            except (EngineFailure, SmaltiError, OSError) as error:
                tried[route.words] = one_line(str(error))
                setting.say(f"{name}: {route.words}: {tried[route.words]}")
        if not running:
            raise EngineFailure("; ".join(f"{words}: {why}" for words, why in tried.items()))
        best = _fastest(running, setting, tried)
    except BaseException:
        for contender in running:
            contender.process.close()
        raise
    for contender in running:
        if contender is not best:
            contender.process.close()
    best.tried = tried
    return best


def _start(name: str, route: Route, job: Job, setting: Setting, reference: Reference | None) -> Contender:
    setting.say(f"{name}: preparing {route.words}")
    process = EngineProcess(route.make(), setting.shared, setting.cpus)
    try:
        process.load(LOAD_SECONDS)
        agree = float("nan") if reference is None else reference.agreement(process)
    except BaseException:
        process.close()
        raise
    precision = route.precision
    if route.engine_chooses:
        precision = precision_of_floats(process.facts["floats"]) or precision
    return Contender(name, process, route.words, agree, {}, precision)


def _fastest(running: Sequence[Contender], setting: Setting, tried: dict[str, str]) -> Contender:
    """Return the fastest contender with right labels (or the one that labels best, if none is right)."""
    right = [c for c in running if c.right]
    if not right:
        right = [max(running, key=lambda c: c.agree)]
    times: dict[int, list[float]] = {id(c): [] for c in right}
    for contender in running:
        contender.process.pause()
    for number in range(TRIAL_ROUNDS if len(right) > 1 else 0):
        for contender in right:
            times[id(contender)] += _turn(contender, number % len(setting.pictures), _images(setting, number, 3))
    for contender in running:
        mine = times.get(id(contender))
        words = f"{median(mine):.1f} ms in the trial" if mine else "the only route that works"
        tried[contender.route] = words if mine is None or contender in right else "wrong labels"
    for contender in running:
        if contender not in right:
            tried[contender.route] = f"only {100 * contender.agree:.2f} % of the labels are TensorFlow's"
    return min(right, key=lambda c: median(times[id(c)]) if times[id(c)] else 0.0)


def race(contenders: Sequence[Contender], setting: Setting, rounds: int, per_round: int) -> float | None:
    """Run the rounds: in each, every engine labels the same ``per_round`` pictures; the order of engines rotates.

    An engine that fails is taken out of the race.  Returns the CPUs that other processes of
    the machine kept busy meanwhile, ``None`` if the system does not tell.
    """
    watch = NeighbourWatch([c.process.pid for c in contenders])
    for contender in contenders:
        contender.process.pause()
    for number in range(rounds):
        running = [c for c in contenders if c.failure is None]
        shift = number % max(1, len(running))
        images = _images(setting, number * per_round, per_round)
        warm = (images[0] - 1) % len(setting.pictures)
        for contender in (*running[shift:], *running[:shift]):
            try:
                contender.rounds.append(_turn(contender, warm, images))
            except EngineFailure as error:
                contender.failure = f"round {number + 1}: {error}"
        setting.say(f"round {number + 1} of {rounds}")
    busy = watch.finish()
    for contender in contenders:
        contender.process.resume()
    return busy


def _turn(contender: Contender, warm: int, images: Sequence[int]) -> list[float]:
    """Let one process go on for its turn, and stop it again."""
    contender.process.resume()
    try:
        return contender.process.run(warm, images)
    finally:
        contender.process.pause()


def _images(setting: Setting, first: int, count: int) -> list[int]:
    return [(first + i) % len(setting.pictures) for i in range(count)]


def with_reference(job: Job, reference: Reference | None) -> Job:
    """Return the job with what the reference tells about the graph's tail."""
    return job if reference is None else replace(job, upsampling=reference.upsampling)
