"""The machine of a measurement: what it is, which CPUs are used, and how busy others kept it meanwhile."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalti.errors import UsageError
from smalti.target.host import native_target, read_host, usable_cpus

_TICK = os.sysconf("SC_CLK_TCK")
_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal of /proc/stat


def choose_cpus(threads: int, wanted: str | None = None) -> tuple[int, ...]:
    """Return the CPUs to measure on: those of ``wanted`` (``0,2-3``), else the last ``threads`` that are allowed.

    The last ones because the first usually serves the machine's interrupts.

    Raises:
        UsageError: the list does not parse, or names CPUs that this process may not use.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if wanted is None:
        return tuple(allowed[-threads:])
    chosen: set[int] = set()
    for part in wanted.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"--cpus takes a list such as 0,2-3, not {wanted!r}")
        chosen |= set(range(int(first), int(last or first) + 1))
    if not chosen or not chosen.issubset(allowed):
        raise UsageError(f"--cpus {wanted}: this process may use {', '.join(map(str, allowed))}")
    return tuple(sorted(chosen))


def describe(cpus: Iterable[int]) -> dict[str, Any]:
    """Return plain values that tell what the machine is."""
    host = read_host()
    return {
        "cpu": host.model,
        "arch": host.arch,
        "target": native_target(host).name,
        "caches": {"l1d": host.caches.l1d, "l2": host.caches.l2, "l3": host.caches.l3},
        "cpus_total": os.cpu_count(),
        "cpus_used": list(cpus),
        "usable": usable_cpus().reason,
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": list(os.getloadavg()),
    }


@dataclass(frozen=True, slots=True)
class _Sample:
    wall: float
    busy: float
    own: float


class NeighbourWatch:
    """Measures how many CPUs other processes used between its creation and :meth:`finish`.

    ``processes`` are the ids of the processes that belong to the measurement besides this one.
    """

    def __init__(self, processes: Iterable[int]) -> None:
        self._processes = (os.getpid(), *processes)
        self._start = self._sample()

    def finish(self) -> float | None:
        """Return the CPUs that others used on average, e.g. 0.5; ``None`` where the system does not tell."""
        stop = self._sample()
        if self._start is None or stop is None or stop.wall <= self._start.wall:
            return None
        foreign = (stop.busy - self._start.busy) - (stop.own - self._start.own)
        return max(0.0, foreign / (stop.wall - self._start.wall))

    def _sample(self) -> _Sample | None:
        try:
            fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
        except OSError:
            return None
        own = sum(_cpu_seconds(process) for process in self._processes)
        return _Sample(time.monotonic(), sum(int(fields[i]) for i in _BUSY_FIELDS) / _TICK, own)


def _cpu_seconds(process: int) -> float:
    """Return user and system time of a process with all its threads (0 for one that has ended)."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK
