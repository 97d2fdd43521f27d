"""Many small cases in few child processes; where one goes wrong, its batch is repeated case by case."""

from __future__ import annotations

import json
import resource
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from soak.forks import Tally, forked

BATCH = 100
CPU_SECONDS = 10
# By the clock, for a child that waits for something: far more than the processor time, however busy the machine is.
CASE_SECONDS, BATCH_SECONDS = 60, 600
ADDRESS_SPACE = 4 << 30

Case = Callable[[int], str]
"""Does case number N and returns how it ended; whatever it raises is a failure."""


class Hang(BaseException):
    """A case took more processor time than it may."""


def _hang(_number: int, _frame: FrameType | None) -> None:
    raise Hang


def run_cases(case: Case, numbers: Sequence[int], repeat: str, batch: int = BATCH) -> dict[str, Any]:
    """Run every case under limits of processor time and address space; return the figures of a check.

    ``repeat`` is the line that repeats a case, with ``{}`` for its number.
    """
    outcomes: Counter[str] = Counter()
    tally = Tally()
    slowest = 0.0
    for start in range(0, len(numbers), batch):
        part = numbers[start : start + batch]
        done = forked(lambda part=part: _all(case, part), BATCH_SECONDS, ADDRESS_SPACE)
        if done.kind == "ok":
            found = json.loads(done.text)
            outcomes.update(found["outcomes"])
            slowest = max(slowest, found["slowest"])
            continue
        for number in part:
            one = forked(lambda number=number: _all(case, [number]), CASE_SECONDS, ADDRESS_SPACE)
            tally.add(one, repeat.format(number))
            if one.kind == "ok":
                outcomes.update(json.loads(one.text)["outcomes"])
        if not tally.failures:
            tally.failures.append(f"{repeat.format(part)}: {done.kind} {done.text}, but not one by one")
    cases = {"pass": not tally.failures, "cases": len(numbers), **dict(sorted(outcomes.items()))}
    return {**cases, "slowest_s": round(slowest, 2), "failures": tally.failures[:20]}


def _all(case: Case, numbers: Sequence[int]) -> str:
    warnings.simplefilter("error")
    signal.signal(signal.SIGVTALRM, _hang)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for number in numbers:
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
        begin = time.process_time()
        outcomes[case(number)] += 1
        slowest = max(slowest, time.process_time() - begin)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return json.dumps({"outcomes": outcomes, "slowest": slowest})
