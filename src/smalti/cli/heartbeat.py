"""How far long work is where no bar can be drawn: a line on standard error every ten seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

EVERY: Final = 10.0
Clock = Callable[[], float]
Line = Callable[[], str | None]
Wait = Callable[[float], bool]
"""Waits for so many seconds; True when the work ended before."""


@contextmanager
def heartbeat(line: Line, tell: Callable[[str], None]) -> Iterator[None]:
    """Tell what ``line`` returns every ten seconds while the block runs, from a thread that ends with it."""
    over = threading.Event()
    thread = threading.Thread(target=beat, args=(line, tell, over.wait), name="smalti-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def beat(line: Line, tell: Callable[[str], None], wait: Wait) -> None:
    """Tell lines until the work is over; None is nothing to tell."""
    while not wait(EVERY):
        said = line()
        if said is not None:
            tell(said)


@dataclass(slots=True)
class Told:
    """What work says that it does, and for how long; ``pause`` lets something else speak until the next word.

    ``shows`` is called with every word: what a terminal does with it.
    """

    what: str | None = None
    since: float = 0.0
    clock: Clock = field(default=time.monotonic, repr=False)
    shows: Callable[[str], None] | None = field(default=None, repr=False)

    def __call__(self, what: str) -> None:
        self.what, self.since = what, self.clock()
        if self.shows is not None:
            self.shows(what)

    def pause(self) -> None:
        """Have nothing to say until the next call."""
        self.what = None

    def line(self) -> str | None:
        """Return what is being done, and for how long."""
        what, since = self.what, self.since
        return None if what is None else f"{what}, for {duration_text(self.clock() - since)}"


@dataclass(slots=True)
class Count:
    """How much of counted work is done; a smaller number than before begins a new count.

    ``scale`` is how many make one ``unit``: 1 for pictures, 1e6 for megabytes.
    """

    what: str
    unit: str
    scale: float = 1.0
    clock: Clock = field(default=time.monotonic, repr=False)
    begin: float = 0.0
    first: int = 0
    done: int = 0
    total: int | None = None
    more: str = ""

    def __post_init__(self) -> None:
        self.begin = self.clock()

    def move(self, done: int, total: int | None, first: int = 0) -> None:
        """Say that ``done`` of ``total`` are finished, ``first`` of them before this work began."""
        if done < self.done:
            self.begin = self.clock()
        self.first, self.done, self.total = first, done, total

    def line(self) -> str:
        """Return how much is done, how fast, and when it will be over."""
        seconds, done, total = self.clock() - self.begin, self.done, self.total
        made = done - self.first
        of = "" if total is None else f" of {self._amount(total)}"
        if done == 0 and total is None:
            return f"{self.what}: begun {duration_text(seconds)} ago"
        parts = [f"{self._amount(done)}{of} {self.unit}"]
        if made > 0 and seconds > 0:
            parts.append(self._rate(made / seconds))
            if total is not None and total > done:
                parts.append(f"{duration_text((total - done) * seconds / made)} left")
        return f"{self.what}: {', '.join(parts)}{self.more}"

    def _amount(self, count: int) -> str:
        return f"{count:,}" if self.scale == 1 else f"{count / self.scale:,.1f}"

    def _rate(self, a_second: float) -> str:
        if self.scale != 1:
            return f"{a_second / self.scale:,.1f} {self.unit} a second"
        if a_second < 1:
            return f"{duration_text(1 / a_second)} each"
        return f"{a_second:,.0f} a second" if a_second >= 10 else f"{a_second:.1f} a second"


def duration_text(seconds: float) -> str:
    """Return a time in words that are as exact as one needs while waiting."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
