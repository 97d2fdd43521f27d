"""The timed loop: requests from several callers in turns over shape groups, until the stop rule is met."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.bench.inputs import Arrays, Source, is_image_model
from smalti.bench.stats import StopRule
from smalti.runtime.engine import Engine

Array = NDArray[Any]
_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One request of one caller: when it began (nanoseconds of the clock) and the milliseconds of its parts."""

    group: int
    caller: int
    start_ns: int
    pre_ms: float
    compute_ms: float
    post_ms: float

    @property
    def total_ms(self) -> float:
        """Milliseconds from raw input to result."""
        return self.pre_ms + self.compute_ms + self.post_ms


@dataclass(frozen=True, slots=True, eq=False)
class LoopResult:
    """All requests in the order of their start, and the wall time of all of them together."""

    records: tuple[Record, ...]
    wall_seconds: float
    begin_ns: int

    def of_group(self, group: int) -> tuple[Record, ...]:
        """Return the requests of one shape group."""
        return tuple(record for record in self.records if record.group == group)


def caller_of(engine: Engine) -> Callable[[Arrays], Sequence[Array]]:
    """Return what runs the network on prepared inputs and gives its outputs in the manifest's order.

    A model of pictures is called as an application calls it, which also takes any batch.
    """
    if is_image_model(engine.manifest):
        name = engine.manifest.inputs[0].name
        return lambda arrays: (engine(arrays[name]),)
    return lambda arrays: tuple(engine.run(arrays).values())


def timed_request(
    run: Callable[[Arrays], Sequence[Array]], source: Source, group: int, caller: int, index: int
) -> Record:
    """Make one request and return its times.

    Raises:
        InputError, ResourceError: as the engine.
    """
    start = time.perf_counter_ns()
    arrays = source.prepare(index)
    prepared = time.perf_counter_ns()
    outputs = run(arrays)
    computed = time.perf_counter_ns()
    source.finish(index, outputs)
    done = time.perf_counter_ns()
    return Record(
        group,
        caller,
        start,
        (prepared - start) / _NS_PER_MS,
        (computed - prepared) / _NS_PER_MS,
        (done - computed) / _NS_PER_MS,
    )


def run_loop(engine: Engine, sources: Sequence[Source], rule: StopRule, concurrency: int) -> LoopResult:
    """Run requests until the rule is met: round by round over all groups, from ``concurrency`` callers at a time.

    Every group gets equally many requests.  A caller that fails ends the run.

    Raises:
        InputError, ResourceError: as the engine.
    """
    tickets = _Tickets(len(sources), rule)
    run = caller_of(engine)

    def work(caller: int) -> list[Record]:
        mine: list[Record] = []
        try:
            while (ticket := tickets.take()) is not None:
                index, group = divmod(ticket, len(sources))
                mine.append(timed_request(run, sources[group], group, caller, index))
        finally:
            tickets.stop()
        return mine

    begin = tickets.begin()
    if concurrency == 1:
        parts = [work(0)]
    else:
        with ThreadPoolExecutor(concurrency, thread_name_prefix="smalti-bench") as pool:
            try:
                parts = [coming.result() for coming in [pool.submit(work, i) for i in range(concurrency)]]
            finally:
                tickets.stop()
    wall = (time.perf_counter_ns() - begin) / 1e9
    merged = sorted((record for part in parts for record in part), key=lambda record: record.start_ns)
    return LoopResult(tuple(merged), wall, begin)


def milliseconds(records: Sequence[Record], part: Callable[[Record], float]) -> NDArray[np.float64]:
    """Return one part of the latencies as an array."""
    return np.fromiter((part(record) for record in records), np.float64, len(records))


class _Tickets:
    """Numbers the requests; ends at the end of a round, so that all groups have the same number."""

    def __init__(self, groups: int, rule: StopRule) -> None:
        self._groups = groups
        self._rule = rule
        self._next = 0
        self._begin = 0
        self._stopped = False
        self._lock = threading.Lock()

    def begin(self) -> int:
        self._begin = time.perf_counter_ns()
        return self._begin

    def stop(self) -> None:
        self._stopped = True

    def take(self) -> int | None:
        with self._lock:
            at_round = self._next % self._groups == 0
            seconds = (time.perf_counter_ns() - self._begin) / 1e9
            if self._stopped or (at_round and self._rule.is_met(self._next, seconds)):
                self._stopped = True
                return None
            self._next += 1
            return self._next - 1
