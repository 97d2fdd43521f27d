"""Time an engine's calls with nothing else at work in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from smalti.jobs.pictures import seen_pictures
from smalti.jobs.stream import Engine, choose_preprocess
from smalti.vision.voc import Entry

TIMED_PICTURES: Final = 4
TIMED_CALLS: Final = 20
TIMED_SECONDS: Final = 3.0


def time_calls(engine: Engine, entries: Sequence[Entry]) -> list[float]:
    """Return the milliseconds of calls on the first few pictures in turns: 20 of them, or as many as fit in 3 seconds.

    Each picture was labelled once before. Raises ImageError for a picture that is no good.
    """
    seen = [picture for _, picture in seen_pictures(entries[:TIMED_PICTURES], choose_preprocess(engine))]
    for picture in seen:
        engine(picture)
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < TIMED_CALLS and (time.perf_counter() - begin < TIMED_SECONDS or not times):
        for picture in seen:
            start = time.perf_counter()
            engine(picture)
            times.append(1e3 * (time.perf_counter() - start))
    return times
