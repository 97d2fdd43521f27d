"""Where the time goes step by step, over several profiled runs, and against the machine's limit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smalti.apps.bench_inputs import Arrays, Source, takes_batch
from smalti.apps.bench_peak import fma_limit
from smalti.runtime.dims import Shape
from smalti.runtime.engine import Engine
from smalti.runtime.profile import Profile

RUNS = 20
SECONDS = 2.0
_BEYOND = 1.1


@dataclass(frozen=True, slots=True)
class Layer:
    """One step: what it is, and the median of its milliseconds over the profiled runs.

    ``number`` is its place in the run, from 1. ``bytes`` are what the plan says it reads and writes at least.
    """

    number: int
    name: str
    op: str
    kernel: str
    shape: Shape
    ms: float
    share: float
    macs: int
    bytes: int

    @property
    def gflops(self) -> float | None:
        """Billions of floating-point operations (two for a multiply-add) a second; None without multiplications."""
        return 2 * self.macs / self.ms / 1e6 if self.macs and self.ms > 0 else None

    @property
    def gigabytes(self) -> float | None:
        """Billions of bytes read and written a second; None for a step too short for the clock."""
        return self.bytes / self.ms / 1e6 if self.ms > 0 else None


@dataclass(frozen=True, slots=True)
class LayerTable:
    """The steps of one shape group in running order; ``limit`` in GFLOP/s is None where it could not be measured."""

    group: str
    runs: int
    threads: int
    total_ms: float
    limit: float | None
    layers: tuple[Layer, ...]
    last: Profile
    last_begin_ns: int

    @property
    def macs(self) -> int:
        """Multiply-adds of one run."""
        return sum(layer.macs for layer in self.layers)

    def is_timed(self, layer: Layer) -> bool:
        """Return whether a step's time can be right.

        The profile is taken by thread 0.  Where threads have to share a CPU, another thread may do a whole step while
        thread 0 still waits at the barrier before; the step then seems faster than the machine can be, and the one
        before it slower.
        """
        return layer.gflops is None or self.limit is None or layer.gflops <= _BEYOND * self.limit

    @property
    def untimed(self) -> int:
        """How many steps seem faster than the machine can be."""
        return sum(not self.is_timed(layer) for layer in self.layers)

    def share_of_limit(self, gflops: float | None) -> float | None:
        """Return a rate as percent of the limit."""
        return None if gflops is None or not self.limit else 100 * gflops / self.limit

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the steps sorted by time."""
        return {
            "group": self.group,
            "runs": self.runs,
            "threads": self.threads,
            "total_ms": self.total_ms,
            "limit_gflops": self.limit,
            "macs": self.macs,
            "untimed_steps": self.untimed,
            "layers": [self._layer_json(layer) for layer in by_time(self.layers)],
        }

    def _layer_json(self, layer: Layer) -> dict[str, Any]:
        timed = self.is_timed(layer)
        return {
            "number": layer.number,
            "name": layer.name,
            "op": layer.op,
            "kernel": layer.kernel,
            "shape": list(layer.shape),
            "ms": layer.ms,
            "percent": 100 * layer.share,
            "macs": layer.macs,
            "gflops": layer.gflops if timed else None,
            "percent_of_limit": self.share_of_limit(layer.gflops) if timed else None,
            "bytes": layer.bytes,
            "gigabytes_per_s": layer.gigabytes if timed else None,
        }


def by_time(layers: Sequence[Layer]) -> list[Layer]:
    """Return the steps, the longest first."""
    return sorted(layers, key=lambda layer: (-layer.ms, layer.number))


def measure_layers(engine: Engine, sources: Sequence[Source], usable: int) -> tuple[LayerTable, ...]:
    """Profile every shape group: up to 20 runs or 2 seconds each, on inputs in turns, one image at a time.

    The limit is measured before and after, and the larger counts: other load can only make it smaller. ``usable`` is
    the number of CPUs; more threads than that do not raise the limit.

    Raises:
        InputError, ResourceError: as the engine.
    """
    workers = min(engine.threads, usable)
    before = fma_limit(workers)
    found = [_profiles(engine, source) for source in sources]
    after = fma_limit(workers)
    limit = max((value for value in (before, after) if value is not None), default=None)
    return tuple(
        _table(source.group.name, profiles, limit, begin)
        for source, (profiles, begin) in zip(sources, found, strict=True)
    )


def _profiles(engine: Engine, source: Source) -> tuple[list[Profile], int]:
    """Return the profiles of one shape, that of the source's first request, and when the last one began."""
    shapes = source.shapes_of(0)
    profiles: list[Profile] = []
    begin, index = time.perf_counter(), 0
    run_begin = time.perf_counter_ns()
    while len(profiles) < RUNS and (not profiles or time.perf_counter() - begin < SECONDS):
        if source.shapes_of(index) == shapes:
            arrays = _one_part(engine, source.prepare(index))
            run_begin = time.perf_counter_ns()
            profiles.append(engine.profile(arrays))
        index += 1
    return profiles, run_begin


def _one_part(engine: Engine, arrays: Arrays) -> Arrays:
    """Return the first image of a batch, or the whole batch where the model has a fixed one."""
    manifest = engine.manifest
    if manifest.batch_size not in (None, 1) or not takes_batch(manifest):
        return arrays
    return {name: array[:1] for name, array in arrays.items()}


def _table(group: str, profiles: Sequence[Profile], limit: float | None, begin: int) -> LayerTable:
    times = np.array([[step.nanoseconds for step in profile.steps] for profile in profiles]) / 1e6
    medians = np.median(times, axis=0)
    total = float(medians.sum())
    layers = tuple(
        Layer(
            number,
            step.name,
            step.op,
            step.kernel,
            step.shape,
            float(ms),
            float(ms) / total if total > 0 else 0.0,
            step.macs,
            step.bytes,
        )
        for number, (step, ms) in enumerate(zip(profiles[0].steps, medians, strict=True), start=1)
    )
    return LayerTable(group, len(profiles), profiles[0].threads, total, limit, layers, profiles[-1], begin)
