"""Where the time of one run went, step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.artifact.manifest import Manifest
from smalti.runtime.dims import Shape
from smalti.runtime.plan import ShapePlan


@dataclass(frozen=True, slots=True)
class StepProfile:
    """One step: what it is, its output shape, its multiplications and bytes moved, and how long it took.

    ``cycles`` are ticks of the CPU's constant-rate counter between this step's start and the next one's, as thread 0
    sees it; so a step's time holds the wait for items of others.
    """

    name: str
    kernel: str
    op: str
    shape: Shape
    macs: int
    bytes: int
    cycles: int
    nanoseconds: float

    @property
    def gflops(self) -> float:
        """Billions of floating-point operations (two per multiplication) per second."""
        return 2 * self.macs / self.nanoseconds if self.nanoseconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """One run.  ``nanoseconds`` is wall-clock time with waking and joining the threads; steps take most of it."""

    steps: tuple[StepProfile, ...]
    nanoseconds: int
    threads: int


def make_profile(
    manifest: Manifest, plan: ShapePlan, stamps: NDArray[np.uint64] | None, elapsed: int, threads: int
) -> Profile:
    """Return the profile of a run whose cycle counter stood at ``stamps`` and that took ``elapsed`` nanoseconds."""
    ticks = [0] * (len(manifest.steps) + 1) if stamps is None else [int(s) for s in stamps[: len(manifest.steps) + 1]]
    total = ticks[-1] - ticks[0]
    scale = elapsed / total if total > 0 else 0.0
    dims = plan.dims.tolist()
    steps = []
    for step, start, stop in zip(manifest.steps, ticks[:-1], ticks[1:], strict=True):
        cycles = max(0, stop - start)
        shape = tuple(dims[i] for i in step.shape)
        steps.append(
            StepProfile(
                step.name, step.kernel, step.op, shape, dims[step.macs], dims[step.bytes], cycles, cycles * scale
            )
        )
    return Profile(tuple(steps), elapsed, threads)
