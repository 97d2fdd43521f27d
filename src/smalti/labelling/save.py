"""Encode and write results beside inference, in order and a bounded way behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final, Generic, TypeVar

NOT_ENCODED: Final = 8
NOT_WRITTEN: Final = 16
_LOOK_AGAIN_SECONDS: Final = 0.2

Work = TypeVar("Work")
Result = TypeVar("Result")


class Saver(Generic[Work, Result]):
    """Sends work through ``encode``, in threads of ``pool``, and then in order and in groups through ``write``.

    A group holds what waits for the disk: one result on a fast disk, up to 16 on a slow one, which then waits for all
    of them at once. ``most`` bounds what is under way, for large work. An error of either function ends the saving;
    :meth:`put` and leaving the context raise it.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        encode: Callable[[Work], Result],
        write: Callable[[Sequence[Result]], None],
        *,
        most: int = NOT_WRITTEN,
    ) -> None:
        self._pool = pool
        self._encode = encode
        self._write = write
        self._to_encode = threading.Semaphore(min(most, NOT_ENCODED))
        self._to_write = threading.Semaphore(most)
        self._ending = threading.Event()
        self._queue: SimpleQueue[Future[Result] | None] = SimpleQueue()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="smalti-write")
        self._writing = self._writer.submit(self._write_all)

    def __enter__(self) -> Saver[Work, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until everything that was put is written."""
        self._ending.set()
        self._queue.put(None)
        self._writer.shutdown()
        if kind is None:
            self._writing.result()

    def put(self, work: Work) -> None:
        """Take one piece of work; waits while too much is under way. Raises what ended the saving."""
        for room in (self._to_encode, self._to_write):
            while not room.acquire(timeout=_LOOK_AGAIN_SECONDS):
                if self._writing.done():
                    break
        if self._writing.done():
            self._writing.result()
        self._queue.put(self._pool.submit(self._encode_one, work))

    def _encode_one(self, work: Work) -> Result:
        try:
            return self._encode(work)
        finally:
            self._to_encode.release()

    def _write_all(self) -> None:
        ended = False
        while not ended:
            group: list[Result] = []
            try:
                item = self._queue.get(timeout=_LOOK_AGAIN_SECONDS)
                while item is not None:
                    group.append(item.result())
                    if len(group) == NOT_WRITTEN:
                        break
                    item = self._queue.get_nowait()
                ended = item is None
            except Empty:
                # Whoever was interrupted while leaving the context has not sent the end.
                ended = self._ending.is_set() and not group
            finally:
                if group:
                    self._write(group)
                    self._to_write.release(len(group))
