"""Runs a model's entry function once per thread: the caller is thread 0, sleeping helpers are the others.

Measured wake-up primitives are discussed in docs/offline-model-file.md; a raw lock per helper, used as a binary
semaphore, is the fastest that Python has.  An idle helper sleeps in the kernel and costs nothing.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from operator import methodcaller
from typing import Any

from smalti.errors import CompilerError, ResourceError

Entry = Callable[[int, int, int], int]

_ENTRY_TYPE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_call: Callable[[Callable[[], Any]], Any] = methodcaller("__call__")


def floating_point_functions() -> tuple[Any, Any]:
    """Return the C library's fegetenv and fesetenv."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "fegetenv"):
        library = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
    save, restore = library.fegetenv, library.fesetenv
    save.argtypes = restore.argtypes = [ctypes.c_void_p]
    return save, restore


_fegetenv, _fesetenv = floating_point_functions()
_DEFAULT_ENVIRONMENT = ctypes.c_void_p(-1).value  # FE_DFL_ENV of glibc and musl: round to nearest, subnormals kept


def entry_at(address: int) -> Entry:
    """Return the entry function at an address as a callable ``(ctx, tid, nthreads) -> status`` that drops the GIL."""
    return _ENTRY_TYPE(address)


class _Helper:
    """What a helper thread and its team share.  Both locks start taken and are used as binary semaphores."""

    __slots__ = ("context", "count", "done", "keep", "start", "status", "stop", "tid")

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self.start = threading.Lock()
        self.done = threading.Lock()
        self.start.acquire()
        self.done.acquire()
        self.context = 0
        self.count = 0
        self.status = 0
        self.keep: object = None
        self.stop = False


class Team:
    """The helper threads of one running request.  Not for concurrent use; grows on demand, never shrinks.

    Must not be used in a child process after a fork: make a new one there.
    """

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._helpers: list[_Helper] = []
        self._environment = ctypes.create_string_buffer(256)
        self._last: tuple[Sequence[object], Sequence[object]] = ((), ())
        self._stop = weakref.finalize(self, _stop, self._helpers)
        self._stop.atexit = False

    @property
    def is_busy(self) -> bool:
        """Whether the last run was abandoned half-way (by a second signal in the wrong microsecond): never reuse it."""
        tasks, results = self._last
        return len(results) < len(tasks)

    def run(self, context: int, count: int, keep: object) -> None:
        """Call the entry with ``count`` threads and return when all have finished; nobody frees ``keep`` meanwhile.

        An exception raised by a signal handler meanwhile (Ctrl-C) is passed on only after every thread is done.

        Raises:
            ResourceError: the system refuses a thread; nothing was run.
            CompilerError: the code reports a failure.
        """
        self._grow(count - 1)
        helpers = self._helpers[: count - 1]
        for helper in helpers:
            helper.context, helper.count, helper.keep = context, count, keep
        environment = ctypes.addressof(self._environment)
        tasks: list[Callable[[], Any]] = [helper.start.release for helper in helpers]
        tasks.append(partial(_fegetenv, environment))
        tasks.append(partial(_fesetenv, _DEFAULT_ENVIRONMENT))
        tasks.append(partial(self._entry, context, 0, count))
        tasks.append(partial(_fesetenv, environment))
        tasks.extend(helper.done.acquire for helper in helpers)
        results: list[Any] = []
        self._last = (tasks, results)
        _run_all(tasks, results)
        status = results[len(helpers) + 2] or max((helper.status for helper in helpers), default=0)
        if status:
            raise CompilerError(f"the model's code reports failure {status}")

    def close(self) -> None:
        """Let the helper threads end."""
        self._stop()

    def _grow(self, count: int) -> None:
        while len(self._helpers) < count:
            helper = _Helper(len(self._helpers) + 1)
            thread = threading.Thread(
                target=_serve, args=(helper, self._entry), name=f"smalti-{helper.tid}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:
                started = len(self._helpers) + 1
                raise ResourceError(f"cannot start {count + 1} threads ({started} run): ask for fewer") from error
            self._helpers.append(helper)


def _run_all(tasks: Sequence[Callable[[], Any]], results: list[Any]) -> None:
    """Append the result of every task to ``results``, whatever signal handlers raise in between.

    The loop runs in C: Python looks at signals only between bytecodes, so one that raises stops it either before a
    task or inside a lock's ``acquire`` (which then has not happened), and ``results`` always tells how far it came.
    Without this, Ctrl-C between waking the helpers and joining them would leave them waiting at a barrier for ever.
    """
    try:
        results.extend(map(_call, tasks[len(results) :]))
    finally:
        if len(results) < len(tasks):
            _run_all(tasks, results)


def _serve(helper: _Helper, entry: Entry) -> None:
    _fesetenv(_DEFAULT_ENVIRONMENT)
    while True:
        helper.start.acquire()
        if helper.stop:
            return
        helper.status = entry(helper.context, helper.tid, helper.count)
        helper.keep = None
        helper.done.release()


def _stop(helpers: Sequence[_Helper]) -> None:
    for helper in helpers:
        helper.stop = True
        if helper.start.locked():  # not so for a copy, in a child process, of a helper that was just being woken
            helper.start.release()
