"""Durations on the command line: a number and a unit."""

from __future__ import annotations

import math
import re
from typing import Final

from smalti.errors import UsageError

_SECONDS: Final = {"ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)", re.ASCII)


def parse_duration(text: str, option: str) -> float:
    """Return the seconds of ``4s``, ``500ms``, ``2m`` or ``1h``; a bare number is seconds.

    Raises:
        UsageError: the text is none of these.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None or found[2] not in _SECONDS:
        raise UsageError(f"{option} takes a time such as 4s, 500ms or 2m (a bare number is seconds), not {text!r}")
    seconds = float(found[1]) * _SECONDS[found[2]]
    if not math.isfinite(seconds):
        raise UsageError(f"{option} {text} is longer than any run: give one day at most")
    return seconds
