"""Go a walk in an empty folder, and write down what was seen."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from walks.pages import Step
from walks.shell import Answer, Place, answer
from walks.tours import Walk

SERVES_WITHIN = 60.0
PORT = "8000"
"""What the page says; a walk takes a free one."""
ADDRESS = f"http://127.0.0.1:{PORT}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a walk showed: the answers of steps that had to be done, and of those that had to be refused."""

    done: tuple[Answer, ...]
    refused: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """How a walk is gone: with which variables of the environment, where its output goes, how wide that is."""

    environment: Mapping[str, str]
    place: Place
    columns: int

    @property
    def name(self) -> str:
        """The end of a transcript's name."""
        return f"{self.place.value}-{self.columns}"


def go(walk: Walk, folder: Path, way: Way) -> Seen:
    """Go a walk in a folder, which is made where there is none; programs are those of the way's PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    done = [_take(step, folder, way) for step in walk.steps]
    if walk.program:
        with serving(walk.program, folder, way) as address:
            asked = [Step(step.language, step.text.replace(ADDRESS, address)) for step in walk.asked]
            done += [_take(step, folder, way) for step in asked]
    return Seen(tuple(done), tuple(_take(step, folder, way) for step in walk.refused))


def transcript(about: str, seen: Seen, way: Way) -> str:
    """Return the text of a walk: commands, what was shown, exit codes, seconds."""
    answers = (*seen.done, *seen.refused)
    seconds = sum(given.seconds for given in answers)
    head = f"{about}: {way.place.value}, {way.columns} columns, {seconds:.1f} s\n{'=' * way.columns}\n"
    return head + "".join(f"\n$ {a.command}\n{a.text}\n[exit {a.code}, {a.seconds:.1f} s]\n" for a in answers)


def _take(step: Step, folder: Path, way: Way) -> Answer:
    if step.language == "python":
        number = len(list(folder.glob("block*.py")))
        program = folder / f"block{number}.py"
        program.write_text(step.text, encoding="utf-8")
        words = ["python", program.name]
        return answer(f"python {program.name}", _found(words, way), folder, way.environment, way.place, way.columns)
    return answer(step.text, ["bash", "-c", step.text], folder, way.environment, way.place, way.columns)


def _found(words: list[str], way: Way) -> list[str]:
    """Return the words with a program of the way's PATH: the system looks in that of this process."""
    for place in way.environment["PATH"].split(os.pathsep):
        if os.access(Path(place, words[0]), os.X_OK):
            return [str(Path(place, words[0])), *words[1:]]
    return words


def _free_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


@contextmanager
def serving(text: str, folder: Path, way: Way) -> Iterator[str]:
    """Run a program that serves until the block ends, at a free port; give its address when it answers there.

    Raises:
        TimeoutError: it does not.
    """
    port = _free_port()
    program = folder / "service.py"
    program.write_text(text.replace(PORT, port), encoding="utf-8")
    log = folder / "service.log"
    with log.open("wb") as told:
        words = _found(["python", program.name], way)
        process = subprocess.Popen(words, cwd=folder, env=way.environment, stdout=told, stderr=told)
    try:
        end = time.monotonic() + SERVES_WITHIN
        while not _answers(int(port)):
            if process.poll() is not None or time.monotonic() > end:
                raise TimeoutError(f"{program.name} does not answer: {log.read_text(encoding='utf-8')}")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0
