"""What must not wait for ever: signal handlers that use the engine that runs below them, threads that are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_kit import reverse_parts

_TESTS = Path(__file__).resolve().parents[1]
_ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_TESTS), str(_TESTS.parent / "src")])}
_SCRIPT = """
import signal, sys, numpy as np, smalti
from smalti.runtime import context
what, concurrency = sys.argv[2], int(sys.argv[3])
engine = smalti.load(sys.argv[1], threads=2, concurrency=concurrency)
x = np.ones((1, 2000), np.float32)
said = []
def handler(*ignored):
    try:
        said.append(str(engine.close() if what == "close" else (engine.run({"x": x})["y:0"] == 2.5).all()))
    except smalti.errors.UsageError as error:
        said.append(str(error)[:37])
signal.signal(signal.SIGUSR1, handler)
run = context.Context.run
def interrupted(self, plan, addresses, profile=False):
    context.Context.run = run
    signal.raise_signal(signal.SIGUSR1)
    return run(self, plan, addresses, profile)
context.Context.run = interrupted
print((engine.run({"x": x})["y:0"] == 2.5).all())
print(said[0])
print((engine.run({"x": x})["y:0"] == 2.5).all())
engine.close()
"""


@pytest.mark.parametrize(
    ("what", "concurrency", "said"),
    [
        ("close", 1, "a signal handler cannot close an engi"),
        ("close", 2, "a signal handler cannot close an engi"),
        ("run", 1, "a signal handler cannot run an engine"),
        ("run", 2, "True"),
    ],
)
def test_a_signal_handler_never_waits_for_its_own_thread(
    tmp_path: Path, what: str, concurrency: int, said: str
) -> None:
    file = reverse_parts().write(tmp_path / "reverse.smalti")
    command = [sys.executable, "-c", _SCRIPT, str(file), what, str(concurrency)]
    done = subprocess.run(command, env=_ENV, timeout=30, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (0, ["True", said, "True"]), done.stderr


def test_a_second_handler_while_the_engine_is_closed_does_not_wait(tmp_path: Path) -> None:
    """`close` waits for another thread's call, and a handler closes once more: the first close goes on."""
    script = """
import signal, sys, threading, numpy as np, smalti
from smalti.runtime import context
engine = smalti.load(sys.argv[1], threads=1, concurrency=1)
x = np.ones((1, 2000), np.float32)
begun, go_on, run = threading.Event(), threading.Event(), context.Context.run
def slow(self, plan, addresses, profile=False):
    begun.set()
    go_on.wait()
    return run(self, plan, addresses, profile)
context.Context.run = slow
caller = threading.Thread(target=engine.run, args=({"x": x},))
caller.start()
begun.wait()
def handler(*ignored):
    go_on.set()
    try:
        engine.close()
    except smalti.errors.UsageError:
        print("refused")
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.2)
engine.close()
caller.join()
print("closed")
"""
    file = reverse_parts().write(tmp_path / "reverse.smalti")
    command = [sys.executable, "-c", script, str(file)]
    done = subprocess.run(command, env=_ENV, timeout=30, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "refused\nclosed\n"), done.stderr


def test_helpers_are_threads_where_a_library_replaces_them(tmp_path: Path) -> None:
    """gevent and eventlet put a function in place of Python's that starts no thread."""
    script = (
        "import _thread\n"
        "def run_now(function, arguments, keywords={}): function(*arguments, **keywords)\n"
        "_thread.start_new_thread = run_now\n"
        "import sys, numpy as np, smalti\n"
        "e = smalti.load(sys.argv[1], threads=3)\n"
        "print((e.run({'x': np.ones((1, 2000), np.float32)})['y:0'] == 2.5).all())\n"
        "e.close()\n"
        "print('closed')\n"
    )
    file = reverse_parts().write(tmp_path / "reverse.smalti")
    command = [sys.executable, "-c", script, str(file)]
    done = subprocess.run(command, env=_ENV, timeout=20, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "True\nclosed\n"), done.stderr
