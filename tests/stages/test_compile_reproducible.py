"""The same graph gives the same file, byte for byte; building and running it stay within their memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import smalti
from deeplab_golden import FULL, graph_bytes
from smalti.building.build import BuildResult, build
from smalti.compiler import CompileOptions
from smalti.demo import dataset
from smalti.target.host import resolve_targets

MAX_COMPILER_MB = 1000
MAX_INFERENCE_MB = 250
MAX_FILE_BYTES = 9_000_000

_BUILD = """
import json, pathlib, sys
from smalti.building.build import build
from smalti.compiler import CompileOptions
from smalti.target.host import resolve_targets

options = CompileOptions(resolve_targets(sys.argv[3]), shape_mutable=True)
made = build(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), options)
status = dict(line.split(":") for line in pathlib.Path("/proc/self/status").read_text().splitlines())
peak = int(status["VmHWM"].split()[0]) // 1024  # of this program alone; getrusage counts the parent's before the exec
print(json.dumps({"sha256": made.sha256, "bytes": made.file_bytes, "peak_mb": peak}))
"""

_INFER = """
import json, pathlib, sys
import numpy as np
import smalti

with smalti.load(sys.argv[1], threads=2) as engine:
    labels = engine(np.zeros((513, 513, 3), np.uint8))
status = dict(line.split(":") for line in pathlib.Path("/proc/self/status").read_text().splitlines())
peak = int(status["VmHWM"].split()[0]) // 1024  # of this program alone; getrusage counts the parent's before the exec
print(json.dumps({"shape": labels.shape, "peak_mb": peak, "compiler": "llvmlite" in sys.modules}))
"""


def fresh(code: str, *arguments: object, folder: Path, hash_seed: str = "random") -> dict[str, object]:
    """Run Python code in a new process, in ``folder``; return the JSON it prints."""
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(smalti.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def build_twice(graph: bytes, folder: Path, target: str) -> tuple[dict[str, object], BuildResult]:
    """Build in a new process and in this one, which has another hash seed, in other folders with other file names.

    This one takes object code that a test made before where LLVM was given the very same text.
    """
    here, there = folder / "somewhere else" / target, folder / "a" / target
    for place, name in ((there, "graph0.pb"), (here, "graph1.pb")):
        place.mkdir(parents=True)
        (place / name).write_bytes(graph)
    seed = "0" if os.environ.get("PYTHONHASHSEED") != "0" else "1"
    made = fresh(_BUILD, "graph0.pb", there / "out0.smalti", target, folder=there, hash_seed=seed)
    options = CompileOptions(resolve_targets(target), shape_mutable=True)
    return made, build(here / "graph1.pb", here / "out1.smalti", options)


@pytest.mark.parametrize("target", ["native", "x86-64-v2"])
def test_the_demo_graph_builds_to_the_same_bytes(target: str, tmp_path: Path) -> None:
    first, second = build_twice(dataset.graph_bytes(), tmp_path, target)
    assert first["sha256"] == second.sha256


def test_the_real_graph_builds_to_the_same_bytes_and_stays_small(tmp_path: Path) -> None:
    first, second = build_twice(graph_bytes(FULL), tmp_path, "native")
    assert first["sha256"] == second.sha256
    assert isinstance(first["peak_mb"], int) and first["peak_mb"] <= MAX_COMPILER_MB
    assert first["bytes"] == second.file_bytes <= MAX_FILE_BYTES

    found = fresh(_INFER, tmp_path / "a" / "native" / "out0.smalti", folder=tmp_path)
    assert found["shape"] == [513, 513] and found["compiler"] is False
    assert isinstance(found["peak_mb"], int) and found["peak_mb"] <= MAX_INFERENCE_MB
