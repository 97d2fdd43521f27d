"""Every environment variable that Smalti reads, each declared once."""

from __future__ import annotations

import os
from dataclasses import dataclass

from smalti.errors import UsageError


@dataclass(frozen=True, slots=True)
class Knob:
    """A whole-number or on/off setting taken from the environment.

    ``low`` and ``high`` bound the accepted values; an on/off knob is 0 or 1.  ``affects_output`` says whether the
    value can change the bytes of an offline model file or of a result.
    """

    name: str
    default: int | None
    low: int
    high: int
    doc: str
    affects_output: bool = False

    def get(self) -> int | None:
        """Return the value of this knob, or its default where the variable is unset or empty.

        Raises:
            UsageError: the variable holds something else than a whole number within the bounds.
        """
        text = os.environ.get(self.name, "").strip()
        if not text:
            return self.default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and self.low <= int(text) <= self.high):
            raise UsageError(f"{self.name} must be a whole number from {self.low} to {self.high}, not {text[:40]!r}")
        return int(text)


MAX_THREADS = 1024

THREADS = Knob(
    "SMALTI_THREADS", None, 1, MAX_THREADS, "Threads an engine uses when load() is not told; default: all usable CPUs."
)
HUGE_PAGES = Knob("SMALTI_HUGE_PAGES", 1, 0, 1, "Ask the system for huge pages for workspaces of 2 MiB and more.")
COPY_CONSTANTS = Knob(
    "SMALTI_COPY_CONSTANTS",
    0,
    0,
    1,
    "Copy a model's constants into private memory instead of sharing the mapped file between processes.",
)

ALL: tuple[Knob, ...] = (THREADS, HUGE_PAGES, COPY_CONSTANTS)
