"""Cold start: a fresh Python process, from its start to the first result of a model."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import smalti
from smalti.bench.stats import Summary, summarise
from smalti.errors import ResourceError
from smalti.runtime.dims import Shape

_TIMEOUT_SECONDS: Final = 300.0
_SPANS: Final = ((0, 1), (1, 2), (2, 3), (3, 4), (0, 4))

# What an application that only labels pictures does.  CLOCK_MONOTONIC is one clock for all processes of a machine.
_PROGRAM: Final = """
import sys, time
begun = time.monotonic()
sys.path.insert(0, sys.argv[2])
import json
import numpy as np
import smalti
imported = time.monotonic()
job = json.loads(sys.argv[1])
engine = smalti.load(job["model"], job["threads"], target=job["target"])
loaded = time.monotonic()
dtypes = {tensor.name: tensor.dtype.numpy for tensor in engine.manifest.inputs}
engine.run({name: np.ones(shape, dtypes[name]) for name, shape in job["shapes"].items()})
done = time.monotonic()
sys.stdout.write(json.dumps([begun, imported, loaded, done]))
"""


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Milliseconds of a fresh process: interpreter, imports, load, first inference, and all of it together.

    The files were read before, so they come from the page cache.
    """

    interpreter_ms: Summary
    imports_ms: Summary
    load_ms: Summary
    first_ms: Summary
    total_ms: Summary

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "interpreter_ms": self.interpreter_ms.to_json(),
            "imports_ms": self.imports_ms.to_json(),
            "load_ms": self.load_ms.to_json(),
            "first_inference_ms": self.first_ms.to_json(),
            "total_ms": self.total_ms.to_json(),
        }


def cold_start(
    model: Path, threads: int, shapes: Mapping[str, Shape], runs: int, target: str | None = None
) -> ColdStart | None:
    """Start ``runs`` fresh processes one after another that load the model and run it once; None for no runs.

    Raises:
        ResourceError: a process cannot be started, fails or takes longer than five minutes.
    """
    measured = [_one(model, threads, shapes, target) for _ in range(runs)]
    if not measured:
        return None
    spans = [_summary([times[stop] - times[start] for times in measured]) for start, stop in _SPANS]
    interpreter, imports, load, first, total = spans
    return ColdStart(interpreter, imports, load, first, total)


def _one(model: Path, threads: int, shapes: Mapping[str, Shape], target: str | None) -> list[float]:
    """Return five moments in milliseconds: started, interpreter ready, imported, loaded, done."""
    sizes = {name: list(shape) for name, shape in shapes.items()}
    job = json.dumps({"model": str(model), "threads": threads, "target": target, "shapes": sizes})
    folder = str(Path(smalti.__file__).resolve().parents[1])
    started = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, job, folder],
            capture_output=True,
            check=True,
            timeout=_TIMEOUT_SECONDS,
        )
        moments = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ResourceError(
            f"the process for the cold start failed: {lines[-1][:200] if lines else 'no message'}"
        ) from (error)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ResourceError("the process for the cold start did not run") from error
    return [1e3 * float(moment) for moment in (started, *moments)]


def _summary(values: Sequence[float]) -> Summary:
    found = summarise(values)
    if found is None:
        raise ResourceError("no cold start was measured")
    return found
