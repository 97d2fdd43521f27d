"""The parent's side of the worker processes."""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engines.spec import EngineSpec
from benchmarks.images import Picture

_ROOT = Path(__file__).resolve().parents[1]
_PAGE = 4096
# OpenBLAS finishes labels behind some engines; its threads spin after a call and would slow the engine's next one.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
_LOG_TAIL = 600


@dataclass(frozen=True, slots=True)
class Ends:
    """Tensors between which a graph is converted; ``before`` is the one that is computed from ``output``, if cut."""

    input: str
    output: str
    before: str | None


class EngineFailure(Exception):
    """An engine cannot do the job; the message is the reason."""


class SharedImages:
    """Pictures in memory that every worker maps, and a place for one label map."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.places: list[tuple[int, int, int]] = []
        end = 0
        for picture in pictures:
            self.places.append((end, *picture.size))
            end += -(-picture.pixels.size // _PAGE) * _PAGE
        self.images = _shared_file("images", end)
        memory = mmap.mmap(self.images, end)
        for picture, (offset, _, _) in zip(pictures, self.places, strict=True):
            memory[offset : offset + picture.pixels.size] = picture.pixels.tobytes()
        memory.close()
        largest = max(p.size[0] * p.size[1] for p in pictures)
        self.labels = _shared_file("labels", 4 * largest)
        self._label_memory = mmap.mmap(self.labels, 4 * largest)

    def read_labels(self, shape: Sequence[int]) -> NDArray[np.int32]:
        """Return a copy of the label map that a worker wrote."""
        count = int(np.prod(shape))
        return np.frombuffer(self._label_memory, np.int32, count).reshape(tuple(shape)).copy()

    def close(self) -> None:
        """Give the memory back."""
        os.close(self.images)
        os.close(self.labels)


class EngineProcess:
    """A worker process with one loaded engine."""

    def __init__(self, spec: EngineSpec, shared: SharedImages, cpus: Sequence[int]) -> None:
        self.spec = spec
        self._shared = shared
        self._log = tempfile.TemporaryFile()
        ours, theirs = Pipe()
        self._channel: Connection = ours
        handles = (theirs.fileno(), shared.images, shared.labels)
        environment = _environment({"OMP_NUM_THREADS": str(spec.threads)})
        command = [sys.executable, "-m", "benchmarks.engines.worker", *map(str, handles), ",".join(map(str, cpus))]
        self._process = subprocess.Popen(
            command, pass_fds=handles, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL, env=environment
        )
        theirs.close()
        self.pid = self._process.pid
        self.facts: dict[str, Any] = {}

    def load(self, timeout: float) -> None:
        """Load the engine.

        Raises:
            EngineFailure: it cannot be loaded, or not run.
        """
        message = {"spec": self.spec.to_json(), "images": self._shared.places}
        self.facts = self.ask("load", timeout, **message)

    def pause(self) -> None:
        """Stop the process: an idle engine's threads may spin, and would slow the engine whose turn it is."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process go on."""
        self._process.send_signal(signal.SIGCONT)

    def run(self, warm: int, images: Sequence[int], timeout: float = 600) -> list[float]:
        """Return the milliseconds for each of the images.

        Raises:
            EngineFailure: a run failed.
        """
        times: list[float] = self.ask("run", timeout, warm=warm, images=list(images))
        return times

    def labels(self, image: int) -> NDArray[np.int32]:
        """Return the labels of an image.

        Raises:
            EngineFailure: the run failed.
        """
        return self._shared.read_labels(self.ask("labels", 600, image=image))

    def ask(self, command: str, timeout: float, **message: Any) -> Any:
        """Send a command and return the answer.

        Raises:
            EngineFailure: the engine raised an error, ended, or took longer than ``timeout`` seconds.
        """
        try:
            self._channel.send_bytes(json.dumps({"command": command, **message}).encode())
            if not self._channel.poll(timeout):
                raise EngineFailure(f"no answer to {command} within {timeout:.0f} s")
            answer = json.loads(self._channel.recv_bytes())
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            code = self._process.wait(10)
            raise EngineFailure(f"the process ended with code {code}: {self._tail()}") from error
        if "error" in answer:
            raise EngineFailure(one_line(answer["error"]))
        return answer["result"]

    def close(self) -> None:
        """End the process."""
        self.resume()
        self._channel.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tail(self) -> str:
        self._log.seek(0)
        return one_line(self._log.read()[-_LOG_TAIL:].decode(errors="replace"))


def convert(graph: Path, result: Path, ends: Ends, size: tuple[int, int] | None, timeout: float) -> None:
    """Convert a graph in a process of its own; a result that is already there is kept.

    Raises:
        EngineFailure: the converter refuses the graph.
    """
    more = ["--input", ends.input, "--output", ends.output, "--before", ends.before or ""]
    if size is not None:
        more += ["--size", f"{size[0]}x{size[1]}"]
    _make("convert", graph, result, more, timeout)


def quantise(
    source: Path, result: Path, ends: Ends, size: tuple[int, int] | None, pictures: Path, timeout: float
) -> None:
    """Quantise a graph or a converted model in a process of its own; a result that is already there is kept.

    Raises:
        EngineFailure: the quantiser refuses the model.
    """
    more = ["--pictures", str(pictures), "--input", ends.input, "--output", ends.output]
    if size is not None:
        more += ["--size", f"{size[0]}x{size[1]}"]
    _make("quantise", source, result, more, timeout)


def _make(module: str, source: Path, result: Path, more: Sequence[str], timeout: float) -> None:
    if result.is_file():
        return
    result.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=result.parent) as folder:
        made = Path(folder) / result.name
        command = [sys.executable, "-m", f"benchmarks.engines.{module}", str(source), str(made), *more]
        environment = _environment({})
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=timeout, env=environment, stdin=subprocess.DEVNULL, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise EngineFailure(f"the conversion took longer than {timeout:.0f} s") from error
        if done.returncode or not made.is_file():
            raise EngineFailure(f"conversion failed: {_reason(done.stderr.decode(errors='replace'))}")
        for file in sorted(Path(folder).iterdir()):
            # The file that says "done" comes last: an .xml has its weights beside it.
            if file != made:
                file.replace(result.parent / file.name)
        made.replace(result)


def one_line(text: str, limit: int = 300) -> str:
    """Return the text on one line, cut to ``limit`` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _environment(more: dict[str, str]) -> dict[str, str]:
    """Return the environment of a child: it finds this package whatever the current folder is."""
    path = os.pathsep.join(p for p in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if p)
    return {**os.environ, **_ENVIRONMENT, **more, "PYTHONPATH": path}


def _reason(log: str) -> str:
    """Return the line of a converter's log that tells why."""
    lines = [line for line in log.splitlines() if line.strip()]
    compiler = [line for line in lines if ": error: " in line]
    if compiler:
        return one_line(compiler[0].partition(": error: ")[2])
    raised = [line for line in lines if "Error" in line or "Exception" in line]
    return one_line(raised[-1] if raised else " ".join(lines[-3:]))


def _shared_file(name: str, size: int) -> int:
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create(name)
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.ftruncate(handle, size)
    return handle
