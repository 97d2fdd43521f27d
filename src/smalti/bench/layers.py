"""Where the time goes step by step, and how near each step is to what the machine can do, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from smalti.bench.limits import Precision, has_weights
from smalti.bench.peak import Arithmetic, Peaks
from smalti.runtime.dims import Shape
from smalti.runtime.profile import Profile

_BEYOND = 1.1
_BEYOND_COPY = 4.0  # what lies in a nearer cache than a copy of that size, or is only read


class Bound(Enum):
    """What a step cannot be faster than."""

    COMPUTE = "compute"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Layer:
    """One step: what it is, and the median of its milliseconds over the profiled runs.

    ``number`` is its place in the run, from 1. ``bytes`` are what the plan says it reads and writes at least.
    ``compute_ms`` and ``memory_ms`` are how long its multiply-adds take at the rate of its arithmetic and its bytes at
    that of a copy, None where that is not known.
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
    precision: Precision = Precision()
    compute_ms: float | None = None
    memory_ms: float | None = None

    @property
    def has_weights(self) -> bool:
        """Whether the step is a convolution or a product of matrices."""
        return has_weights(self.op)

    @property
    def limit_ms(self) -> float | None:
        """The least time of the step: of its multiply-adds or of its bytes, whichever is longer."""
        if self.has_weights and self.compute_ms is None:
            return None
        return max((ms for ms in (self.compute_ms, self.memory_ms) if ms is not None), default=None)

    @property
    def bound(self) -> Bound | None:
        """Which of both is longer."""
        if self.limit_ms is None:
            return None
        return Bound.COMPUTE if self.limit_ms == self.compute_ms else Bound.MEMORY

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
    """The steps of one shape group in running order, in a model of precision ``mode``, and the machine's limits."""

    group: str
    runs: int
    threads: int
    total_ms: float
    peaks: Peaks
    layers: tuple[Layer, ...]
    last: Profile
    last_begin_ns: int
    mode: str = "force_float32"
    words: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-adds of one run."""
        return sum(layer.macs for layer in self.layers)

    @property
    def limit_ms(self) -> float | None:
        """What all steps would take at their limits; None where one of a convolution is not known."""
        limits = [layer.limit_ms for layer in self.layers]
        if any(ms is None for ms, layer in zip(limits, self.layers, strict=True) if layer.has_weights):
            return None
        return sum(ms for ms in limits if ms is not None)

    def is_timed(self, layer: Layer) -> bool:
        """Return whether a step's time can be right.

        The profile is taken by thread 0.  Where threads have to share a CPU, another thread may do a whole step while
        thread 0 still waits for the step before; the step then seems faster than the machine can be, and the one
        before it slower.
        """
        compute, memory = layer.compute_ms or 0.0, layer.memory_ms or 0.0
        return compute <= _BEYOND * layer.ms and memory <= _BEYOND_COPY * layer.ms

    @property
    def untimed(self) -> int:
        """How many steps seem faster than the machine can be."""
        return sum(not self.is_timed(layer) for layer in self.layers)

    def percent_of_limit(self, layer: Layer) -> float | None:
        """Return how near a step is to its limit; None where one of its times is not known or cannot be right."""
        return _percent(layer.limit_ms, layer.ms) if self.is_timed(layer) else None

    @property
    def whole_percent(self) -> float | None:
        """How near all steps together are to their limits."""
        return _percent(self.limit_ms, self.total_ms)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the steps sorted by time."""
        return {
            "group": self.group,
            "runs": self.runs,
            "threads": self.threads,
            "precision": self.mode,
            "total_ms": self.total_ms,
            "limit_ms": self.limit_ms,
            "percent_of_limit": self.whole_percent,
            "limit_gflops": self.peaks.rates.get(Arithmetic.FLOAT32),
            "limits": self.peaks.to_json(),
            "macs": self.macs,
            "untimed_steps": self.untimed,
            "words": list(self.words),
            "layers": [self._layer_json(layer) for layer in by_time(self.layers)],
        }

    def _layer_json(self, layer: Layer) -> dict[str, Any]:
        timed, precision = self.is_timed(layer), layer.precision
        return {
            "number": layer.number,
            "name": layer.name,
            "op": layer.op,
            "kernel": layer.kernel,
            "activations": precision.activations or None,
            "weights": precision.weights or None,
            "arithmetic": None if precision.arithmetic is None else precision.arithmetic.value,
            "reason": None if precision.reason is None else precision.reason.value,
            "shape": list(layer.shape),
            "ms": layer.ms,
            "percent": 100 * layer.share,
            "macs": layer.macs,
            "gflops": layer.gflops if timed else None,
            "limit_ms": layer.limit_ms,
            "bound": None if layer.bound is None else layer.bound.value,
            "percent_of_limit": self.percent_of_limit(layer),
            "bytes": layer.bytes,
            "gigabytes_per_s": layer.gigabytes if timed else None,
        }


def _percent(limit_ms: float | None, ms: float) -> float | None:
    return 100 * limit_ms / ms if limit_ms is not None and ms > 0 else None


def by_time(layers: Sequence[Layer]) -> list[Layer]:
    """Return the steps, the longest first."""
    return sorted(layers, key=lambda layer: (-layer.ms, layer.number))
