"""A watch on other load while something is timed: what others took of the CPUs, and the mark of times it spoils."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from smalti.strict_json import Fields, flag, number, optional

NOISY_MARK: Final = "~"
MOST_OTHERS: Final = 10.0
MOST_STEAL: Final = 2.0
_ROOT = Path("/")
_BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal of /proc/stat
_STEAL_FIELD = 7


@dataclass(frozen=True, slots=True)
class Load:
    """What others took of the CPUs that this process may use, while it timed something.

    Attributes:
        others_percent: other processes, in percent of these CPUs; ``None`` where the system does not tell.
        steal_percent: the hypervisor.
        is_noisy: more than 10 % or 2 %, beyond what the system's ticks may be off: times are too slow and noisy.
    """

    others_percent: float | None = None
    steal_percent: float | None = None
    is_noisy: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain values; null where nothing could be read."""
        return {
            "others_percent": self.others_percent,
            "steal_percent": self.steal_percent,
            "noisy": self.is_noisy,
        }


UNKNOWN_LOAD: Final = Load()


def read_load(value: Any, where: str) -> Load:
    """Return what :meth:`Load.to_json` wrote.

    Raises:
        JsonFault: it is something else.
    """
    take = Fields(value, where)
    percent = optional(number)
    return Load(take("others_percent", percent), take("steal_percent", percent), take("noisy", flag))


class LoadWatch:
    """Sees what others take of the CPUs that the calling thread may use, from its making on."""

    def __init__(self, root: Path = _ROOT) -> None:
        self._root = root
        self._cpus = allowed_cpus()
        self._begin = self._now()

    def load(self) -> Load:
        """Return what others took since the watch was made."""
        begin, end = self._begin, self._now()
        room = (end.wall - begin.wall) * len(self._cpus)
        if room <= 0 or begin.busy is None or end.busy is None or begin.steal is None or end.steal is None:
            return UNKNOWN_LOAD
        steal = end.steal - begin.steal
        others = end.busy - begin.busy - steal - (end.process - begin.process)
        others_percent, steal_percent = (100 * max(0.0, seconds) / room for seconds in (others, steal))
        # Each CPU's counters move by whole ticks, which is much of a short time.
        slack = 100 * len(self._cpus) / os.sysconf("SC_CLK_TCK") / room
        is_noisy = others_percent > MOST_OTHERS + slack or steal_percent > MOST_STEAL + slack
        return Load(others_percent, steal_percent, is_noisy)

    def _now(self) -> _Moment:
        busy, steal = _busy_and_steal(self._root, self._cpus)
        return _Moment(time.perf_counter(), time.process_time(), busy, steal)


@dataclass(frozen=True, slots=True)
class _Moment:
    """Clocks at one moment, in seconds."""

    wall: float
    process: float
    busy: float | None
    steal: float | None


def marked(text: str, *loads: Load) -> str:
    """Return a time as it is shown: with the mark in front where others disturbed it."""
    return f"{NOISY_MARK}{text}" if any(load.is_noisy for load in loads) else text


def legend(loads: Iterable[Load]) -> str:
    """Return the line that tells what the mark means, or nothing where no time has it."""
    noisy = [load for load in loads if load.is_noisy]
    if not noisy:
        return ""
    return f"{NOISY_MARK} too slow and noisy: {load_words(noisy)} meanwhile"


def load_words(loads: Sequence[Load]) -> str:
    """Return in words what others took, at most."""
    others, steal = (
        max((value for load in loads if (value := getattr(load, name)) is not None), default=0.0)
        for name in ("others_percent", "steal_percent")
    )
    said = [
        f"{who} took {'up to ' if len(loads) > 1 else ''}{value:.0f} % of the CPUs"
        for who, value, most in (("other processes", others, MOST_OTHERS), ("the hypervisor", steal, MOST_STEAL))
        if value > most
    ]
    return " and ".join(said)


def allowed_cpus() -> tuple[int, ...]:
    """Return the CPUs that the calling thread may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _busy_and_steal(root: Path, cpus: Sequence[int]) -> tuple[float | None, float | None]:
    """Return the seconds that these CPUs were busy, steal included, and the seconds of steal."""
    try:
        text = (root / "proc/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None, None
    wanted = {f"cpu{cpu}" for cpu in cpus}
    busy = steal = 0.0
    found = False
    for line in text.splitlines():
        name, *fields = line.split() or [""]
        if name in wanted and len(fields) > _STEAL_FIELD and all(field.isdigit() for field in fields):
            busy += sum(int(fields[i]) for i in _BUSY_FIELDS)
            steal += int(fields[_STEAL_FIELD])
            found = True
    tick = os.sysconf("SC_CLK_TCK")
    return (busy / tick, steal / tick) if found else (None, None)
