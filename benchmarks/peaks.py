"""What this machine can do: multiply-adds per second, and bytes per second from each level of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.native import Crew, compile_loops
from smalti.target.host import read_host
from smalti.target.target import Target

_GRAIN = 4096
_DEFAULT_CACHES = (32 << 10, 512 << 10, 8 << 20)


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """GB/s of one level of memory, over all threads."""

    level: str
    bytes_each: int
    read: float
    write: float


@dataclass(frozen=True, slots=True)
class Peaks:
    """Limits with a number of threads: GFLOP/s (two per multiply-add) by vector width, and bandwidths."""

    threads: int
    gflops: dict[int, float]
    memory: tuple[Bandwidth, ...]

    @property
    def best_gflops(self) -> float:
        """The highest arithmetic rate of all vector widths."""
        return max(self.gflops.values())

    def bandwidth(self, level: str) -> Bandwidth:
        """Return the figures of a level: L1, L2, L3 or DRAM."""
        return next(b for b in self.memory if b.level == level)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "best_gflops": self.best_gflops}


def measure_peaks(target: Target, cpus: Sequence[int], seconds: float = 0.04, trials: int = 7) -> Peaks:
    """Measure with one thread on each of the CPUs; the best of the trials counts, for a limit is a limit."""
    widths = [bits for bits in (128, 256, 512) if bits <= target.vector_bits]
    loops = {bits: compile_loops(target, bits) for bits in widths}
    sizes = level_bytes(len(cpus))
    crew = Crew(cpus, max(sizes.values()))
    try:
        gflops = {
            bits: 2e-9 * loop.fmas_per_pass * crew.rate(loop.fma, 0, seconds, trials) for bits, loop in loops.items()
        }
        widest = loops[widths[-1]]
        memory = tuple(
            Bandwidth(
                level,
                size,
                1e-9 * size * crew.rate(widest.read, size, seconds, trials),
                1e-9 * size * crew.rate(widest.write, size, seconds, trials),
            )
            for level, size in sizes.items()
        )
    finally:
        crew.close()
        for loop in loops.values():
            loop.code.close()
    return Peaks(len(cpus), gflops, memory)


def level_bytes(threads: int) -> dict[str, int]:
    """Return how many bytes each thread goes over so that they stay in a level of memory, but not in the one below.

    L1 and L2 belong to one core, L3 is shared.
    """
    caches = read_host().caches
    l1, l2, l3 = (
        seen or usual for seen, usual in zip((caches.l1d, caches.l2, caches.l3), _DEFAULT_CACHES, strict=True)
    )
    sizes = {
        "L1": l1 // 2,
        "L2": l2 // 2,
        "L3": max(2 * l2, l3 // 4 // threads),
        "DRAM": max(4 * l3, 64 << 20) // threads,
    }
    return {level: max(_GRAIN, size // _GRAIN * _GRAIN) for level, size in sizes.items()}
