"""Helper threads that sleep, work and join inside the model's own code, without the interpreter's lock.

One foreign call runs the model with all its threads, so no signal handler can come in between, and helpers need not
wait for other Python threads to release the interpreter.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError, ResourceError
from smalti.knobs import MAX_THREADS
from smalti.runtime.memory import Region

_LINE = 64
_WORDS = 32
_CONTEXT, _THREADS, _WAIT, _POST, _SEMAPHORES, _YIELD, _GET, _SET, _STOP = range(9)

_DRIVE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
_SERVE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64)
_libc = ctypes.CDLL(None)
_sem_init, _sem_post = _libc.sem_init, _libc.sem_post
_sem_init.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint]
_sem_post.argtypes = [ctypes.c_void_p]


def function_address(function: object) -> int:
    """Return the address of a function of a C library."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


class NativeTeam:
    """The helper threads of one running request.  Not for concurrent use; grows on demand, never shrinks.

    ``drive`` and ``serve`` are addresses inside ``code``; ``environment`` are fegetenv and fesetenv.  Must not be used
    in a child process after a fork: make a new one there.
    """

    is_busy = False

    def __init__(self, drive: int, serve: int, code: Region, environment: tuple[object, object]) -> None:
        raw = np.zeros(_WORDS * 8 + _LINE * (MAX_THREADS + 2), dtype=np.uint8)
        skew = -int(raw.ctypes.data) % _LINE
        self._words: NDArray[np.uint64] = raw[skew : skew + _WORDS * 8].view(np.uint64)
        self._address = int(raw.ctypes.data) + skew
        self._semaphores = self._address + _WORDS * 8
        functions = (_libc.sem_wait, _libc.sem_post, None, _libc.sched_yield, *environment)
        for word, function in enumerate(functions, _WAIT):
            self._words[word] = self._semaphores if function is None else function_address(function)
        self._drive = _DRIVE(drive)
        self._serve = _SERVE(serve)
        self._code = code
        self._threads: list[threading.Thread] = []
        self._stop = weakref.finalize(self, _stop, self._words, self._semaphores, self._threads)
        self._stop.atexit = False

    def run(self, context: int, count: int, keep: object) -> None:
        """Run the model with ``count`` threads and return when all have finished.

        Raises:
            ResourceError: the system refuses a thread; nothing was run.
            CompilerError: the code reports a failure.
        """
        self._grow(count - 1)
        self._words[_CONTEXT] = context
        self._words[_THREADS] = count
        status = self._drive(self._address)
        if status:
            raise CompilerError(f"the model's code reports failure {status}")

    def close(self) -> None:
        """Let the helper threads end and wait until they have: the code may be unmapped afterwards."""
        self._stop()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _grow(self, count: int) -> None:
        while len(self._threads) < count:
            number = len(self._threads) + 1
            _sem_init(self._semaphores + _LINE * number, 0, 0)
            thread = threading.Thread(
                target=_help,
                args=(self._serve, self._address, number, (self._words, self._code)),
                name=f"smalti-{number}",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError as error:
                raise ResourceError(f"cannot start {count + 1} threads ({number} run): ask for fewer") from error
            self._threads.append(thread)


def _help(serve: Callable[[int, int], int], team: int, number: int, keep: object) -> None:
    serve(team, number)  # until told to stop; `keep` holds the team's memory and the code it executes


def _stop(words: NDArray[np.uint64], semaphores: int, threads: list[threading.Thread]) -> None:
    words[_STOP] = 1
    for number in range(1, len(threads) + 1):
        _sem_post(semaphores + _LINE * number)
