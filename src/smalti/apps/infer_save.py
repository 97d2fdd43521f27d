"""Encode and write results beside inference: one thread encodes, one writes; both are a bounded way ahead at most."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Final, Generic, TypeVar

NOT_ENCODED: Final = 3
NOT_WRITTEN: Final = 16
_LOOK_AGAIN_SECONDS: Final = 0.2

Work = TypeVar("Work")
Result = TypeVar("Result")


class Saver(Generic[Work, Result]):
    """Sends each piece of work through ``encode`` and, in order and in groups, through ``write``.

    A group holds what waits for the disk: one result on a fast disk, up to 16 on a slow one, which then waits for all
    of them at once. An error of either function ends the saving; :meth:`put` and leaving the context raise it.
    """

    def __init__(self, encode: Callable[[Work], Result], write: Callable[[Sequence[Result]], None]) -> None:
        self._encode = encode
        self._write = write
        self._room = threading.Semaphore(NOT_ENCODED)
        self._ending = threading.Event()
        self._queue: Queue[Future[Result] | None] = Queue(NOT_WRITTEN)
        self._encoder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="smalti-encode")
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="smalti-write")
        self._writing = self._writer.submit(self._write_all)

    def __enter__(self) -> Saver[Work, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until everything that was put is written."""
        self._ending.set()
        with suppress(Full):
            self._queue.put_nowait(None)
        self._writer.shutdown()
        self._encoder.shutdown(cancel_futures=True)
        if kind is None:
            self._writing.result()

    def put(self, work: Work) -> None:
        """Take one piece of work; waits while too much is under way. Raises what ended the saving."""
        while not self._room.acquire(timeout=_LOOK_AGAIN_SECONDS):
            if self._writing.done():
                break
        if self._writing.done():
            self._writing.result()
        self._hand_over(self._encoder.submit(self._encode_one, work))

    def _hand_over(self, item: Future[Result]) -> None:
        while not self._writing.done():
            try:
                self._queue.put(item, timeout=_LOOK_AGAIN_SECONDS)
            except Full:
                continue
            return

    def _encode_one(self, work: Work) -> Result:
        try:
            return self._encode(work)
        finally:
            self._room.release()

    def _write_all(self) -> None:
        while True:
            item: Future[Result] | None
            try:
                item = self._queue.get(timeout=_LOOK_AGAIN_SECONDS)
            except Empty:
                item = None
            if item is None and self._ending.is_set():
                return
            group: list[Result] = []
            try:
                while item is not None:
                    group.append(item.result())
                    item = self._queue.get_nowait() if len(group) < NOT_WRITTEN else None
            except Empty:
                pass
            finally:
                if group:
                    self._write(group)
