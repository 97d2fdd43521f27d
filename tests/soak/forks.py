"""One case in one child process: whatever it does to itself, the count goes on and knows whom to blame."""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smalti.errors import SmaltiError

SOURCES = Path(__file__).resolve().parents[2] / "src"
TESTS = SOURCES.parent / "tests"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended: ``ok``, ``refused`` (an error of ours), ``foreign`` (another exception), a signal, a hang."""

    kind: str
    text: str = ""


def forked(case: Callable[[], object], seconds: float = 10, address_space: int | None = None) -> Outcome:
    """Run a case in a fork with a time limit and, if asked, a limit of address space in bytes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(case, writing, address_space)
    os.close(writing)
    data = bytearray()
    stop = time.monotonic() + seconds
    hang = False
    with open(reading, "rb", buffering=0) as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], max(0.0, stop - time.monotonic()))
            if not ready:
                hang = True
                os.kill(child, signal.SIGKILL)
                break
            piece = pipe.read(65536)
            if not piece:
                break
            data += piece
    _, status = os.waitpid(child, 0)
    if hang:
        return Outcome("hang", f"over {seconds} s")
    if os.WIFSIGNALED(status):
        return Outcome("signal", signal.Signals(os.WTERMSIG(status)).name)
    found = json.loads(data.decode()) if data else {"kind": "foreign", "text": f"status {status}"}
    return Outcome(found["kind"], found["text"])


def _child(case: Callable[[], object], writing: int, address_space: int | None) -> None:
    """Run the case and report through the pipe; never returns."""
    try:
        if address_space is not None:
            resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
        found = {"kind": "ok", "text": str(case() or "")[:500]}
    except SmaltiError as error:
        found = {"kind": "refused", "text": f"{type(error).__name__}: {error}"[:500]}
    except BaseException as error:  # noqa: BLE001 - whatever escaped is what the case is about
        found = {"kind": "foreign", "text": f"{type(error).__name__}: {error} {traceback.format_exc()[-400:]}"}
    os.write(writing, json.dumps(found).encode()[:60000])
    os._exit(0)


@dataclass(slots=True)
class Tally:
    """Counts outcomes and keeps a line to repeat each that is wrong."""

    wrong: tuple[str, ...] = ("foreign", "signal", "hang")
    kinds: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome, repeat: str) -> None:
        self.kinds[outcome.kind] += 1
        if outcome.kind in self.wrong:
            self.failures.append(f"{repeat}: {outcome.kind} {outcome.text}")
            sys.stderr.write(f"FAILED {self.failures[-1]}\n")

    def result(self, **figures: Any) -> dict[str, Any]:
        """Return what a check reports."""
        counts = {"cases": sum(self.kinds.values()), **dict(sorted(self.kinds.items()))}
        return {"pass": not self.failures, **counts, **figures, "failures": self.failures[:20]}


def has(program: str) -> bool:
    """Whether a program is installed."""
    return shutil.which(program) is not None


def script(code: str, *arguments: object, seconds: float = 120, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code in a new process that finds the package and the tests' helpers."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCES), str(TESTS)]), **more.pop("env", {})}
    before: Iterable[str] = more.pop("before", ())
    return subprocess.run(
        [*before, sys.executable, "-c", code, *map(str, arguments)],
        env=environment,
        timeout=seconds,
        capture_output=True,
        text=True,
        check=False,
        **more,
    )
