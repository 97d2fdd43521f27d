"""One hostile input: how it ends, how soon, and in how much memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import pytest

from smalti.errors import GraphError

MOST_MEMORY = 100 << 20


def attempt(case: Callable[[bytes], str], data: bytes, label: str, seconds: float) -> str:
    """Return how a case ends; anything but our own errors goes up, with the line that repeats it."""
    begin = time.process_time()
    try:
        outcome = case(data)
    except Exception as error:
        raise AssertionError(label) from error
    assert time.process_time() - begin < seconds, label
    return outcome


def refusal(read: Callable[[bytes], object], data: bytes, seconds: float) -> str:
    """Return the words with which a graph is refused, soon and without much memory."""
    tracemalloc.start()
    begin = time.process_time()
    try:
        with pytest.raises(GraphError) as caught:
            read(data)
        elapsed, (_, peak) = time.process_time() - begin, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert elapsed < seconds
    assert peak < MOST_MEMORY
    return str(caught.value)
