"""Where the time goes step by step, over several profiled runs, and against the machine's limits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from smalti.artifact.manifest import Manifest
from smalti.bench.inputs import Arrays, Source, takes_batch
from smalti.bench.layers import Layer, LayerTable
from smalti.bench.limits import precisions
from smalti.bench.peak import Peaks, measure_peaks
from smalti.bench.words import explain
from smalti.errors import UsageError
from smalti.runtime.engine import Engine
from smalti.runtime.profile import Profile
from smalti.target.host import native_target
from smalti.target.target import Target

RUNS = 20
SECONDS = 2.0


def measure_layers(engine: Engine, sources: Sequence[Source], usable: int) -> tuple[LayerTable, ...]:
    """Profile every shape group: up to 20 runs or 2 seconds each, on inputs in turns, one image at a time.

    The limits are measured before and after, and the larger count: other load can only make them smaller. ``usable``
    is the number of CPUs; more threads than that do not raise the limits.

    Raises:
        InputError, ResourceError: as the engine.
    """
    workers = min(engine.threads, usable)
    before = measure_peaks(workers)
    found = [_profiles(engine, source) for source in sources]
    peaks = before.best(measure_peaks(workers))
    tables = []
    for source, (profiles, begin) in zip(sources, found, strict=True):
        table = _table(source.group.name, profiles, peaks, begin, engine.manifest)
        tables.append(replace(table, words=explain(table, engine.manifest, _host())))
    return tuple(tables)


def _host() -> Target | None:
    try:
        return native_target()
    except UsageError:
        return None


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


def _table(group: str, profiles: Sequence[Profile], peaks: Peaks, begin: int, manifest: Manifest) -> LayerTable:
    times = np.array([[step.nanoseconds for step in profile.steps] for profile in profiles]) / 1e6
    medians = np.median(times, axis=0)
    total = float(medians.sum())
    steps = zip(profiles[0].steps, medians, precisions(manifest), strict=True)
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
            precision,
            peaks.compute_ms(precision.arithmetic, step.macs),
            peaks.memory_ms(step.bytes),
        )
        for number, (step, ms, precision) in enumerate(steps, start=1)
    )
    mode = manifest.precision
    return LayerTable(group, len(profiles), profiles[0].threads, total, peaks, layers, profiles[-1], begin, mode)
