"""What the code of a model and whoever calls it agree on: words of memory, counters, patience.

The one table of it.  The code generator and the Python runtime use these names; ``runtime-c/src/abi.h`` and the tables
of docs/offline-model-file.md are made from them (``scripts/docs``), and a test compares both.
"""

from __future__ import annotations

from enum import IntEnum

LINE = 64
"""Bytes of a cache line: alignment of the workspace and of its buffers, distance of counters and semaphores."""

SPINS, SPINS_IN_A_CROWD = 2000, 20
"""How often a waiting thread looks before it lets others run: with a CPU for each thread, and with fewer CPUs.

Giving way at all is the difference between 28 and 4 ms for 8 threads on one CPU (docs/performance.md).
"""

COUNTER_STEPS, COUNTER_STRIDE, COUNTER_DONE = 32, 16, 24
"""Places of 32-bit counters: items taken of step 0, distance of two steps, items done of step 0.  What is done of a
step lies with what was taken of the step before, which nobody needs any more."""


class _Word(IntEnum):
    """The number of a 64-bit word, and what it holds."""

    meaning: str

    def __new__(cls, number: int, meaning: str) -> _Word:
        word = int.__new__(cls, number)
        word._value_ = number
        word.meaning = meaning
        return word


class Ctx(_Word):
    """The words of ``ctx``, which the entry function gets."""

    CONSTANTS = 0, "constants, 64-byte aligned"
    WORKSPACE = 1, "workspace, 64-byte aligned"
    DIMS = 2, "`int64_t[]`: the values of `dims`"
    OFFSETS = 3, "`int64_t[]`: byte offset of every arena buffer in the workspace, multiples of 64"
    TENSORS = 4, "`void *[]`: graph inputs, then graph outputs, aligned to their element type"
    COUNTERS = (
        5,
        f"`int32_t[{COUNTER_STEPS} + {COUNTER_STRIDE} * steps]`, zeroed before each run, 64-byte aligned: items taken "
        f"of step k at {COUNTER_STEPS} + {COUNTER_STRIDE} k, items done at {COUNTER_DONE} + {COUNTER_STRIDE} k",
    )
    YIELD = 6, "`int (*)(void)`: called while a thread waits long for items of others; `sched_yield`"
    PROFILE = (
        7,
        "`uint64_t[2 * steps + 2]` or null: thread 0 writes a cycle count at the start of every step and at the end of "
        "the last",
    )
    SPINS = (
        8,
        f"how often a waiting thread looks before it calls word 6: {SPINS} where every thread has a CPU, "
        f"{SPINS_IN_A_CROWD} where there are more threads than CPUs",
    )


class TeamWord(_Word):
    """The words of ``team``, which ``drive`` and ``serve`` get."""

    CONTEXT = 0, "`ctx`"
    THREADS = 1, "number of threads of this run; helpers 1 to threads - 1 must exist"
    WAIT = 2, "`sem_wait`"
    POST = 3, "`sem_post`"
    SEMAPHORES = (
        4,
        "array of `sem_t`, 64 bytes apart, indexed by thread, each initialised to 0; bytes 56 to 63 of each place are "
        "used by the code and start as 0",
    )
    YIELD = 5, "`sched_yield`"
    GET = 6, "`fegetenv`"
    SET = 7, "`fesetenv`"
    STOP = 8, "0; non-zero tells a helper to return the next time its semaphore is posted"
    FAILED = 24, "used by the code"


MAX_WORKSPACE_BYTES = 1 << 46
"""More than any machine has: sizes beyond it are refused before their sums are made."""

CTX_WORDS = len(Ctx)
TEAM_WORDS = 32
HELPER_STATE = LINE - 8
"""Offset, in the place of a helper's semaphore, of the word that says whether it sleeps, is invited or works."""


def counters(steps: int) -> int:
    """Return how many 32-bit counters the code of so many steps needs."""
    return COUNTER_STEPS + COUNTER_STRIDE * steps


def taken(step: int) -> int:
    """Return the place of the counter of items taken of a step."""
    return COUNTER_STEPS + COUNTER_STRIDE * step


def done(step: int) -> int:
    """Return the place of the counter of items done of a step."""
    return COUNTER_DONE + COUNTER_STRIDE * step


def stamps(steps: int) -> int:
    """Return how many 64-bit words the profile of so many steps has."""
    return 2 * steps + 2
