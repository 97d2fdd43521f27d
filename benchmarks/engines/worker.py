"""One engine in a process of its own: ``python -m benchmarks.engines.worker PIPE IMAGES LABELS CPUS``.

Commands come as JSON over a pipe; images and labels lie in shared memory, so that only the engine's own call from
uint8 image to int32 labels is between the two clock readings.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import mmap
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engines.spec import EngineSpec

_PR_SET_PDEATHSIG = 1


class Worker:
    """Holds the engine and answers commands."""

    def __init__(self, images: int, labels: int) -> None:
        self._image_memory = mmap.mmap(images, 0, prot=mmap.PROT_READ)
        self._label_memory = mmap.mmap(labels, 0)
        self._images: list[NDArray[np.uint8]] = []
        self._engine: Any = None
        self.commands: dict[str, Callable[[dict[str, Any]], Any]] = {
            "load": self.load,
            "run": self.run,
            "labels": self.labels,
            "memory": self.memory,
            "shapes": self.shapes,
        }

    def load(self, message: dict[str, Any]) -> dict[str, Any]:
        """Import the library, load the model, run the first image, then every image size twice."""
        for offset, height, width in message["images"]:
            flat = np.frombuffer(self._image_memory, np.uint8, height * width * 3, offset)
            self._images.append(flat.reshape(height, width, 3))
        spec = EngineSpec.from_json(message["spec"])
        start = time.perf_counter()
        module = importlib.import_module(f"benchmarks.engines.{spec.engine}_engine")
        imported = time.perf_counter()
        self._engine = module.load(spec)
        loaded = time.perf_counter()
        self._engine(self._images[0])
        first = time.perf_counter()
        sizes = {image.shape: image for image in self._images}
        for image in (*sizes.values(), *sizes.values()):
            self._engine(image)
        return {
            "version": module.version(),
            "floats": module.floats(self._engine) if hasattr(module, "floats") else "",
            "detail": module.detail(self._engine) if hasattr(module, "detail") else "",
            "import_ms": 1e3 * (imported - start),
            "load_ms": 1e3 * (loaded - imported),
            "first_ms": 1e3 * (first - loaded),
        }

    def run(self, message: dict[str, Any]) -> list[float]:
        """Label images after one that is not timed; milliseconds of each."""
        times = []
        self._engine(self._images[message["warm"]])
        for index in message["images"]:
            image = self._images[index]
            start = time.perf_counter_ns()
            self._engine(image)
            times.append((time.perf_counter_ns() - start) / 1e6)
        return times

    def labels(self, message: dict[str, Any]) -> list[int]:
        """Write the labels of an image into the shared memory; their shape."""
        labels = np.asarray(self._engine(self._images[message["image"]]))
        if labels.dtype != np.int32:
            raise TypeError(f"labels are {labels.dtype}, not int32")
        np.frombuffer(self._label_memory, np.int32, labels.size)[:] = labels.reshape(-1)
        return list(labels.shape)

    def memory(self, message: dict[str, Any]) -> dict[str, float]:
        """Return resident memory now and at its peak, in MB, without the shared images."""
        fields = {}
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if value.endswith("kB"):
                fields[key] = int(value[:-2]) / 1024
        shared = fields.get("RssShmem", 0.0)
        return {"rss_mb": fields["VmRSS"] - shared, "peak_mb": fields["VmHWM"] - shared}

    def shapes(self, message: dict[str, Any]) -> list[list[int]]:
        """Return the shapes of inner tensors for an image."""
        shapes: list[list[int]] = self._engine.shapes(self._images[message["image"]], message["tensors"])
        return shapes


def _end_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends: it may be stopped then, and would stay for ever."""
    library = ctypes.CDLL(None)
    if hasattr(library, "prctl"):
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    """Serve until the pipe closes."""
    _end_with_parent()
    channel = Connection(int(sys.argv[1]))
    cpus = [int(cpu) for cpu in sys.argv[4].split(",")]
    os.sched_setaffinity(0, cpus)
    worker = Worker(int(sys.argv[2]), int(sys.argv[3]))
    while True:
        try:
            message = json.loads(channel.recv_bytes())
        except EOFError:
            return 0
        try:
            answer = {"result": worker.commands[message["command"]](message)}
        except Exception as error:  # noqa: BLE001 - whatever a foreign library raises is this engine's result
            answer = {"error": f"{type(error).__name__}: {error}"}
        channel.send_bytes(json.dumps(answer).encode())


if __name__ == "__main__":
    sys.exit(main())
