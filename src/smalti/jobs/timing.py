"""Time an engine's calls with nothing else at work in this process, and with a watch on other load."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smalti.jobs.pictures import seen_pictures
from smalti.jobs.stream import Engine, choose_preprocess
from smalti.jobs.watch import Load, LoadWatch
from smalti.vision.voc import Entry

TIMED_PICTURES: Final = 4

Label = Callable[[NDArray[np.uint8]], NDArray[np.integer[Any]]]


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of single calls, in order, and what others took of the CPUs meanwhile."""

    ms: tuple[float, ...]
    load: Load

    @property
    def median(self) -> float:
        """Median milliseconds of a call."""
        return float(np.median(self.ms))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to time each of the labellers: ``calls`` of them, and ``at_least`` seconds, but not over ``at_most``.

    A quarter of a second is what the watch on other load needs to see more than ticks.
    """

    calls: int = 20
    at_least: float = 0.25
    at_most: float = 3.0

    def is_over(self, calls: int, seconds: float) -> bool:
        """Return whether a labeller that made so many calls in this time was timed enough; one call is the least."""
        return calls > 0 and (seconds >= self.at_most or (calls >= self.calls and seconds >= self.at_least))


def time_calls(engine: Engine, entries: Sequence[Entry], patience: Patience = Patience()) -> Timing:
    """Time calls on the first few pictures in turns: 20 of them, or as many as fit in 3 seconds.

    Each picture was labelled once before. Raises ImageError for a picture that is no good.
    """
    return time_in_turns([engine], timed_pictures(engine, entries), patience)[0]


def timed_pictures(engine: Engine, entries: Sequence[Entry]) -> list[NDArray[np.uint8]]:
    """Return the first few pictures of a list as the network sees them. Raises ImageError as :func:`time_calls`."""
    return [picture for _, picture in seen_pictures(entries[:TIMED_PICTURES], choose_preprocess(engine))]


def time_in_turns(
    labellers: Sequence[Label], pictures: Sequence[NDArray[np.uint8]], patience: Patience = Patience()
) -> list[Timing]:
    """Time several labellers on the same pictures, call by call in turns; the order moves on by one each time.

    What disturbs one disturbs all of them: their calls of the same number belong together. Each has labelled each
    picture once before.
    """
    for picture in pictures:
        for label in labellers:
            label(picture)
    times: list[list[float]] = [[] for _ in labellers]
    count = len(labellers)
    watch, begin, calls = LoadWatch(), time.perf_counter(), 0
    while not patience.is_over(calls, (time.perf_counter() - begin) / count):
        picture = pictures[calls % len(pictures)]
        for place in range(count):
            index = (place + calls) % count
            start = time.perf_counter()
            labellers[index](picture)
            times[index].append(1e3 * (time.perf_counter() - start))
        calls += 1
    load = watch.load()
    return [Timing(tuple(values), load) for values in times]
