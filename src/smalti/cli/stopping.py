"""Ctrl-C and SIGTERM in a long command: what is finished is kept, and the end comes within ten seconds."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from smalti.cli.exit_codes import ExitCode
from smalti.cli.ui import note

GRACE_SECONDS: Final = 8.0
SAME_SECONDS: Final = 1.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_END: Final = b"\0"


class Stop:
    """Whether a signal has asked the command to stop."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def __call__(self) -> bool:
        return self._asked.is_set()

    def ask(self) -> None:
        self._asked.set()

    def is_asked_within(self, seconds: float) -> bool:
        return self._asked.wait(seconds)


@contextmanager
def stop_between_pictures() -> Iterator[Stop]:
    """Give a function that tells whether to stop; a command that asks it after each picture ends in good order.

    A second signal, or eight seconds without an end, end the process at once: journals and results are whole at any
    moment. Signals within a second count as one: some tools send one to a process and to its group.
    """
    stop = Stop()
    with _watched(stop), _handled(stop):
        yield stop


@contextmanager
def stop_at_once(kept: str) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the command with a note on what is kept; after eight seconds in any case."""
    stop = Stop()
    try:
        with _watched(stop):
            try:
                yield
            except (RuntimeError, SystemError) as error:
                # So an interrupt comes out of the making of a class (before Python 3.12) and of some C code.
                if not stop.is_asked_within(SAME_SECONDS):
                    raise
                raise KeyboardInterrupt from error
    except KeyboardInterrupt:
        note(f"smalti: stopped; {kept}")
        raise


@contextmanager
def _handled(stop: Stop) -> Iterator[None]:
    """Keep signals from raising KeyboardInterrupt in the middle of the work; ignored ones (nohup) stay ignored."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        stop.ask()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = [(number, signal.signal(number, handler)) for number in heeded]
    try:
        yield
    finally:
        for number, old in before:
            signal.signal(number, old)


@contextmanager
def _watched(stop: Stop) -> Iterator[None]:
    """Watch for signals in a thread of its own: the main thread may be in a long call and see them late."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(read, True)
    before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(read, stop, ended), name="smalti-signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        with suppress(OSError):
            os.write(write, _END)
        watcher.join()
        os.close(write)
        os.close(read)


def _watch(read: int, stop: Stop, ended: threading.Event) -> None:
    first: float | None = None
    while not ended.is_set():
        if not any(number in _SIGNALS for number in os.read(read, 64)):
            continue
        now = time.monotonic()
        if first is None:
            first = now
            stop.ask()
            threading.Thread(target=_end_later, args=(ended,), name="smalti-deadline", daemon=True).start()
        elif now - first >= SAME_SECONDS:
            _end_now()


def _end_later(ended: threading.Event) -> None:
    if not ended.wait(GRACE_SECONDS):
        _end_now()


def _end_now() -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write("smalti: stopped at once; files that were finished are whole\n")
        sys.stderr.flush()
    os._exit(ExitCode.INTERRUPTED)
