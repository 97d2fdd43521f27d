"""Ctrl-C and SIGTERM in long commands: the end comes in time, says what is kept, and has its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import jobs_kit as kit
from small_segmenter import SIDE
from smalti.cli import stopping
from smalti.cli.exit_codes import ExitCode
from smalti.vision.headers import ImageFormat

PICTURES = 400


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and its graph, and pictures in in/ that serve as their own masks: most are hard links of one file."""
    folder = tmp_path_factory.mktemp("stop")
    kit.make_model(folder)
    for name in ("in", "gt"):
        (folder / name).mkdir()
    grey = kit.picture_bytes(0, ImageFormat.PNG, 600, 800)
    (folder / "in" / "0.png").write_bytes(grey)
    mask = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55")
    mask += bytes.fromhex("0000000a49444154789c636000000002000148afa4710000000049454e44ae426082")
    (folder / "gt" / "0.png").write_bytes(mask)
    for number in range(1, PICTURES):
        os.link(folder / "in" / "0.png", folder / "in" / f"{number}.png")
        os.link(folder / "gt" / "0.png", folder / "gt" / f"{number}.png")
    return folder


def stopped(arguments: list[str], number: signal.Signals, ready: Path | None = None) -> tuple[int, str, float]:
    """Start a command, send a signal when it is at work, and return its exit code, its words and the seconds."""
    process = kit.start([sys.executable, "-c", kit.MAIN, *arguments])
    with process:
        assert process.stderr is not None
        if ready is None:
            assert "threads" in process.stderr.readline()
        else:
            end = time.monotonic() + 60
            while not ready.exists() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
        start = time.monotonic()
        process.send_signal(number)
        try:
            _, shown = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, shown, time.monotonic() - start


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_eval_stops(place: Path, number: signal.Signals) -> None:
    size = ["--resize", "stretch", "--input-size", str(SIDE)]
    folders = ["--image-dir", str(place / "in"), "--gt-dir", str(place / "gt")]
    code, shown, seconds = stopped(["eval", "--model", str(place / "m.smalti"), *folders, *size], number)
    assert code == ExitCode.INTERRUPTED and seconds < 30 and "Traceback" not in shown, shown
    assert "nothing is kept" in shown and shown.splitlines()[-1] == "smalti: interrupted"


def test_accuracy_stops_and_keeps_its_rows(place: Path, tmp_path: Path) -> None:
    folders = ["--image-dir", str(place / "in"), "--gt-dir", str(place / "gt"), "--output-dir", str(tmp_path / "out")]
    arguments = ["accuracy", "--model", str(place / "graph.pb"), *folders, "--modes", "f32", "--shape-mutable", "false"]
    ready = tmp_path / "out" / "graph-force_float32-static.smalti"
    code, shown, seconds = stopped(arguments, signal.SIGTERM, ready)
    assert code == ExitCode.INTERRUPTED and seconds < 30 and "Traceback" not in shown, shown
    assert f"finished rows are kept in {tmp_path / 'out'}" in shown and not kit.left_overs(tmp_path / "out")


DISGUISED = """
import signal, sys
sys.path.insert(0, {source!r})
from smalti.cli import main, stopping
class Name:
    def __set_name__(self, owner, name):
        signal.raise_signal({number})
signal.signal(signal.SIGTERM, main._interrupt)
try:
    with stopping.stop_at_once("all is kept"):
        class Late:
            name = Name()
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(("number", "code"), [("signal.SIGTERM", ExitCode.INTERRUPTED), ("99", ExitCode.BUG)])
def test_an_interrupt_that_comes_out_as_another_error_is_one(number: str, code: int) -> None:
    """Python 3.11 wraps what is raised while a class is made, as it is by a late import; a mistake stays one."""
    program = DISGUISED.format(source=str(kit.SOURCE), number=number)
    done = kit.run([sys.executable, "-c", program])
    assert done.returncode == code, done.stderr
    assert ("smalti: stopped; all is kept" in done.stderr) == (code == ExitCode.INTERRUPTED)


STUCK = """
import ctypes, sys
sys.path.insert(0, {source!r})
from smalti.cli import stopping
stopping.GRACE_SECONDS, stopping.SAME_SECONDS = {grace}, 0.2
with stopping.stop_between_pictures() as stop:
    print("ready", flush=True)
    mutex = ctypes.create_string_buffer(64)
    lock = ctypes.CDLL(None).pthread_mutex_lock
    lock(mutex)
    lock(mutex)
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_a_long_call_does_not_hold_up_the_end(signals: int) -> None:
    """One signal and the time is up, or a second signal: the process ends in the middle of a call into C."""
    code = STUCK.format(source=str(kit.SOURCE), grace=0.5 if signals == 1 else 60)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        start = time.monotonic()
        for _ in range(signals):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.4)
        try:
            _, shown = process.communicate(timeout=40)
        finally:
            process.kill()
    assert process.returncode == ExitCode.INTERRUPTED and time.monotonic() - start < 30
    assert shown == "smalti: stopped at once; files that were finished are whole\n"


def test_signals_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stopping.stop_between_pictures() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        end = time.monotonic() + 10
        while not stop() and time.monotonic() < end:
            time.sleep(0.01)
        assert stop()
    with pytest.raises(KeyboardInterrupt), stopping.stop_at_once("nothing"):
        raise KeyboardInterrupt
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping.stop_between_pictures() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            assert not stop() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
