"""Helper threads that sleep, work and join inside the model's own code, without the interpreter's lock.

One foreign call runs the model with all its threads, so no signal handler can come in between, and helpers need not
wait for other Python threads to release the interpreter.
"""

from __future__ import annotations

import _thread
import ctypes
import ctypes.util
import weakref
from collections.abc import Callable
from importlib.machinery import BuiltinImporter
from importlib.util import module_from_spec
from types import BuiltinFunctionType, ModuleType

import numpy as np
from numpy.typing import NDArray

from smalti.artifact.abi import LINE, TEAM_WORDS, TeamWord
from smalti.artifact.manifest import TeamEntries
from smalti.errors import CompilerError, ResourceError
from smalti.knobs import MAX_THREADS
from smalti.runtime.memory import Region

_CONTEXT, _THREADS = int(TeamWord.CONTEXT), int(TeamWord.THREADS)

_DRIVE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)
_SERVE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64)
_libc = ctypes.CDLL(None)
_sem_init, _sem_post = _libc.sem_init, _libc.sem_post
_sem_init.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint]
_sem_post.argtypes = [ctypes.c_void_p]


def _real_threads() -> ModuleType:
    """Return the module ``_thread`` as Python brings it, whatever was put in place of its functions.

    gevent's and eventlet's start no thread: a helper that sleeps in the model's code would stop the whole process.
    """
    spec = BuiltinImporter.find_spec("_thread")
    if isinstance(_thread.start_new_thread, BuiltinFunctionType) or spec is None:
        return _thread
    module = module_from_spec(spec)
    BuiltinImporter.exec_module(module)
    return module


_threads = _real_threads()
_start, _allocate_lock = _threads.start_new_thread, _threads.allocate_lock


def function_address(function: object) -> int:
    """Return the address of a function of a C library."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]


def _floating_point_functions() -> tuple[object, object]:
    """Return the C library's fegetenv and fesetenv."""
    library = _libc if hasattr(_libc, "fegetenv") else ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
    return library.fegetenv, library.fesetenv


_FUNCTIONS = {
    word: function_address(function)
    for word, function in zip(
        (TeamWord.WAIT, TeamWord.POST, TeamWord.YIELD, TeamWord.GET, TeamWord.SET),
        (_libc.sem_wait, _sem_post, _libc.sched_yield, *_floating_point_functions()),
        strict=True,
    )
}


class Team:
    """The helper threads of one running request.  Not for concurrent use; grows on demand, never shrinks.

    ``entries`` lie in ``code``, which stays mapped as long as a helper may run.  Must not be used in a child process
    after a fork: make a new one there.
    """

    def __init__(self, entries: TeamEntries, code: Region) -> None:
        raw = np.zeros(TEAM_WORDS * 8 + LINE * (MAX_THREADS + 2), dtype=np.uint8)
        skew = -int(raw.ctypes.data) % LINE
        self._words: NDArray[np.uint64] = raw[skew : skew + TEAM_WORDS * 8].view(np.uint64)
        self._address = int(raw.ctypes.data) + skew
        self._semaphores = self._address + TEAM_WORDS * 8
        self._words[TeamWord.SEMAPHORES] = self._semaphores
        for word, address in _FUNCTIONS.items():
            self._words[word] = address
        self._drive = _DRIVE(code.address + entries.drive)
        self._serve = _SERVE(code.address + entries.serve)
        self._code = code
        self._helpers: list[int] = []
        self._ended: list[_thread.LockType] = []
        self._stop = weakref.finalize(self, _stop, self._words, self._semaphores, self._helpers)
        self._stop.atexit = False

    def run(self, context: int, count: int) -> None:
        """Run the model with ``count`` threads and return when all have finished.

        An exception raised by a signal handler meanwhile (Ctrl-C) is passed on only after every thread is done.

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
        for lock in self._ended[: len(self._helpers)]:
            with lock:
                continue

    def _grow(self, count: int) -> None:
        while len(self._helpers) < count:
            number = len(self._helpers) + 1
            if len(self._ended) < number:
                lock = _allocate_lock()
                lock.acquire()
                self._ended.append(lock)
            _sem_init(self._semaphores + LINE * number, 0, 0)
            keep = (self._words, self._code)
            arguments = (self._serve, self._address, number, self._ended[number - 1], keep)
            try:
                # Starts and notes a thread in one go: Python raises a signal handler's exception between bytecodes, and
                # a thread that runs but is not in the list would be started a second time with the same semaphore.
                self._helpers.extend(map(_start, (_help,), (arguments,)))
            except RuntimeError as error:
                raise ResourceError(f"cannot start {count + 1} threads ({number} run): ask for fewer") from error


def _help(
    serve: Callable[[int, int], int], team: int, number: int, ended: _thread.LockType, keep: tuple[object, object]
) -> None:
    serve(team, number)  # until told to stop; `keep` holds the team's memory and the code it executes
    ended.release()


def _stop(words: NDArray[np.uint64], semaphores: int, helpers: list[int]) -> None:
    words[TeamWord.STOP] = 1
    for number in range(1, len(helpers) + 1):
        _sem_post(semaphores + LINE * number)
