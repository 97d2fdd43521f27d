"""Run a command as a user does, in a terminal or with its output in a pipe, and keep what it showed."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from walks.screen import Screen

ROWS = 50
ENDLESS = 1 << 30


class Place(str, Enum):
    """Where the output of a command goes."""

    TERMINAL = "terminal"
    PIPE = "pipe"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command showed where lines have ``columns`` characters.

    ``lines`` are as a terminal of that width shows them, ``wrapped`` those that were too long for it; what goes into
    a pipe has no width, and is there as it was written.
    """

    command: str
    lines: tuple[str, ...]
    code: int
    columns: int
    wrapped: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines)


def answer(
    command: str, words: Sequence[str], folder: Path, environment: Mapping[str, str], place: Place, columns: int
) -> Answer:
    """Run ``words`` in ``folder``; ``command`` is what stands for them in the transcript."""
    screen = Screen(columns if place is Place.TERMINAL else ENDLESS)
    known = {k: v for k, v in environment.items() if k not in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR")}
    begin = time.monotonic()
    if place is Place.TERMINAL:
        code = _in_terminal(words, folder, {**known, "TERM": "xterm-256color"}, screen)
    else:
        done = subprocess.run(
            words,
            cwd=folder,
            env={**known, "COLUMNS": str(columns)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        code = done.returncode
        screen.write(done.stdout.replace(b"\n", b"\r\n"))
    seconds = time.monotonic() - begin
    return Answer(command, tuple(screen.lines()), code, columns, tuple(screen.wrapped), seconds)


def _in_terminal(words: Sequence[str], folder: Path, environment: Mapping[str, str], screen: Screen) -> int:
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, screen.columns, 0, 0))
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
    finally:
        os.close(theirs)
    try:
        while data := _read(ours):
            screen.write(data)
        return process.wait()
    finally:
        os.close(ours)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _read(terminal: int) -> bytes:
    """Return the next bytes, none when the last process has closed the terminal, which Linux tells by EIO."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""
