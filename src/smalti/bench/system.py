"""The machine of a measurement: what it is, which CPUs may be used, and how busy, large, hot and hungry a run is.

Whatever the system does not let this process read is None, and shown as "n/a".
"""

from __future__ import annotations

import os
import platform
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from smalti.bench.stats import Summary, summarise
from smalti.errors import UsageError
from smalti.jobs.watch import Load, LoadWatch, allowed_cpus
from smalti.target.host import native_target, read_host, usable_cpus

INTERVAL_SECONDS = 0.1
_ROOT = Path("/")
_CPU_SENSORS = ("k10temp", "coretemp", "zenpower", "cpu_thermal")


@dataclass(frozen=True, slots=True)
class Device:
    """What a run is measured on.  Cache sizes are in bytes (0: unknown); ``reason`` says why these CPUs."""

    cpu: str
    arch: str
    target: str | None
    features: tuple[str, ...]
    l1d: int
    l2: int
    l3: int
    cpus_total: int
    cpus: tuple[int, ...]
    usable: int
    reason: str
    governor: str | None
    memory_bytes: int
    system: str
    python: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "cpu": self.cpu,
            "arch": self.arch,
            "target": self.target,
            "features": list(self.features),
            "caches": {"l1d": self.l1d, "l2": self.l2, "l3": self.l3},
            "cpus_total": self.cpus_total,
            "cpus": list(self.cpus),
            "usable": self.usable,
            "reason": self.reason,
            "governor": self.governor,
            "memory_bytes": self.memory_bytes,
            "system": self.system,
            "python": self.python,
        }


@dataclass(frozen=True, slots=True)
class Utilisation:
    """What a run took of the machine, sampled every 100 ms; a summary is None where nothing could be read.

    ``cpu_percent`` is CPU time of this process over the time of the CPUs it may use; ``load`` what others took of these
    CPUs over the whole run.
    """

    samples: int
    cpu_percent: Summary | None
    rss_mb: Summary | None
    power_w: Summary | None
    temperature_c: Summary | None
    load: Load

    def to_json(self) -> dict[str, Any]:
        """Return plain values; null where nothing could be read."""
        found = {
            name: None if summary is None else summary.to_json()
            for name, summary in (
                ("cpu_percent", self.cpu_percent),
                ("rss_mb", self.rss_mb),
                ("power_w", self.power_w),
                ("temperature_c", self.temperature_c),
            )
        }
        return {
            "interval_ms": 1000 * INTERVAL_SECONDS,
            "samples": self.samples,
            **found,
            **self.load.to_json(),
        }


def parse_devices(text: str | None) -> tuple[int, ...] | None:
    """Return the CPUs of ``cpu`` (None: all that are allowed) or of ``cpu:0,2-3``.

    Raises:
        UsageError: it does not parse, or names a CPU that this process may not use.
    """
    if text is None or text == "cpu":
        return None
    allowed = allowed_cpus()
    match = re.fullmatch(r"cpu:([0-9]{1,5}(?:-[0-9]{1,5})?(?:,[0-9]{1,5}(?:-[0-9]{1,5})?)*)", text, re.ASCII)
    if match is None:
        raise UsageError(f"--devices takes cpu or a list such as cpu:0,2-3, not {text[:40]!r}")
    chosen: set[int] = set()
    for part in match[1].split(","):
        first, _, last = part.partition("-")
        chosen |= set(range(int(first), int(last or first) + 1))
    if not chosen or not chosen.issubset(allowed):
        raise UsageError(f"--devices {text}: this process may use the CPUs {', '.join(map(str, allowed))}")
    return tuple(sorted(chosen))


@contextmanager
def on_cpus(cpus: Sequence[int] | None) -> Iterator[None]:
    """Keep this thread, and the threads it starts meanwhile, on some CPUs; None leaves everything as it is.

    Raises:
        UsageError: this system has no CPU affinity.
    """
    if cpus is None:
        yield
        return
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("this system cannot keep a process on some CPUs; leave --devices away")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def read_device(root: Path = _ROOT) -> Device:
    """Return what this machine is, with the CPUs that the calling thread may use now."""
    host = read_host(root)
    usable = usable_cpus(root)
    try:
        target = native_target(host).name
    except UsageError:
        target = None
    return Device(
        cpu=host.model,
        arch=host.arch,
        target=target,
        features=tuple(sorted(host.features)),
        l1d=host.caches.l1d,
        l2=host.caches.l2,
        l3=host.caches.l3,
        cpus_total=os.cpu_count() or 1,
        cpus=allowed_cpus(),
        usable=usable.count,
        reason=usable.reason,
        governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


class Sampler:
    """Reads process CPU time, memory, power and temperature every 100 ms while its ``with`` block runs."""

    def __init__(self, root: Path = _ROOT, interval: float = INTERVAL_SECONDS) -> None:
        self._root = root
        self._interval = interval
        self._cpus = allowed_cpus()
        self._energy = _energy_counters(root)
        self._sensors = _temperature_files(root)
        self._cpu: list[float] = []
        self._rss: list[float] = []
        self._power: list[float] = []
        self._heat: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="smalti-bench-sampler", daemon=True)
        self._others = LoadWatch(root)
        self._load = Load()
        self._begin = self._now()

    def __enter__(self) -> Sampler:
        self._begin = self._now()
        self._others = LoadWatch(self._root)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._load = self._others.load()

    def result(self) -> Utilisation:
        """Return what was seen; call it after the ``with`` block."""
        return Utilisation(
            len(self._rss),
            summarise(self._cpu),
            summarise(self._rss),
            summarise(self._power),
            summarise(self._heat),
            self._load,
        )

    def _watch(self) -> None:
        last = self._begin
        while not self._stop.wait(self._interval):
            last = self._sample(last)
        if not self._rss:
            self._sample(last)

    def _sample(self, last: _Moment) -> _Moment:
        now = self._now()
        seconds = now.wall - last.wall
        if seconds > 0:
            self._cpu.append(100 * (now.process - last.process) / seconds / len(self._cpus))
            spent = _energy_between(last.energy, now.energy, self._energy)
            if spent is not None:
                self._power.append(spent / seconds)
        rss = _rss_mb(self._root)
        if rss is not None:
            self._rss.append(rss)
        heat = _hottest(self._sensors)
        if heat is not None:
            self._heat.append(heat)
        return now

    def _now(self) -> _Moment:
        energy = tuple(_number(counter.path) for counter in self._energy)
        return _Moment(time.perf_counter(), time.process_time(), energy)


@dataclass(frozen=True, slots=True)
class _Counter:
    """A RAPL energy counter in microjoules, which starts again from 0 after ``limit``."""

    path: Path
    limit: float


@dataclass(frozen=True, slots=True)
class _Moment:
    """Clocks at one moment, in seconds, and energy counters in microjoules."""

    wall: float
    process: float
    energy: tuple[float | None, ...]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> float | None:
    text = _text(path)
    return float(text) if text is not None and re.fullmatch(r"-?[0-9]{1,19}", text) else None


def _rss_mb(root: Path) -> float | None:
    fields = (_text(root / "proc/self/statm") or "").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 if len(fields) > 1 and fields[1].isdigit() else None


def _energy_counters(root: Path) -> tuple[_Counter, ...]:
    """Return the counters of whole CPU packages (not of their parts, which would count twice)."""
    counters = []
    for folder in sorted((root / "sys/class/powercap").glob("*-rapl:*")):
        limit = _number(folder / "max_energy_range_uj")
        package = (_text(folder / "name") or "").startswith("package")
        if package and limit is not None and _number(folder / "energy_uj") is not None:
            counters.append(_Counter(folder / "energy_uj", limit))
    return tuple(counters)


def _energy_between(
    before: Sequence[float | None], after: Sequence[float | None], counters: Sequence[_Counter]
) -> float | None:
    """Return the joules between two readings; None where there are no counters or one cannot be read any more."""
    total = 0.0
    for first, last, counter in zip(before, after, counters, strict=True):
        if first is None or last is None:
            return None
        total += last - first if last >= first else last - first + counter.limit
    return total / 1e6 if counters else None


def _temperature_files(root: Path) -> tuple[Path, ...]:
    """Return the files of CPU sensors in millidegrees; other sensors (disks, batteries) say nothing about a run."""
    found: list[Path] = []
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if _text(folder / "name") in _CPU_SENSORS:
            found += sorted(folder.glob("temp*_input"))
    for folder in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        kind = (_text(folder / "type") or "").lower()
        if "cpu" in kind or "pkg" in kind or "soc" in kind:
            found.append(folder / "temp")
    return tuple(path for path in found if _number(path) is not None)


def _hottest(files: Sequence[Path]) -> float | None:
    values = [value for value in map(_number, files) if value is not None]
    return max(values) / 1000 if values else None
