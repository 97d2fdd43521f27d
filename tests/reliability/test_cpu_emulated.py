"""Older CPUs, emulated: a file for several targets runs the program that fits, and what does not fit is an error.

An illegal instruction would end the emulated process with a signal; the exit code of every process is checked.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smalti
from small_segmenter import network
from smalti.building.build import build
from smalti.building.calibrate import calibrate_model
from smalti.cli.exit_codes import ExitCode
from smalti.compiler import CompileOptions
from smalti.demo.dataset import GRAPH_PATH
from smalti.demo.generator import TRAIN_FIRST, demo_image
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.target.host import arch, resolve_targets
from tolerance import Tol, assert_close

QEMU = shutil.which("qemu-x86_64")
pytestmark = [
    pytest.mark.skipif(QEMU is None, reason="qemu-x86_64 (Debian: qemu-user) is not installed"),
    pytest.mark.skipif(arch() != "x86_64", reason="emulates x86-64 CPUs for this x86-64 Python"),
]

INT8 = QuantMode.QINT8_MIXED_FLOAT32
OLD, NEW = "x86-64-v2,x86-64-v3", "x86-64-v4,x86-64-v4+vnni"
TAKEN = {"Nehalem": "x86-64-v2", "SandyBridge": "x86-64-v2", "Haswell": "x86-64-v3"}
NEEDS = {"Nehalem": "sse4.2", "SandyBridge": "avx", "Haswell": "avx2"}
SAME_LABELS = 0.999
"""Share of pixels with the label of another level's code in float32, where sums are added up in another order."""
TIMEOUT = 300

PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
import smalti
from smalti.cli.exit_codes import exit_code
from smalti.errors import SmaltiError
from smalti.target.host import read_host

folder, cpu = Path(sys.argv[1]), sys.argv[2]
image = np.load(folder / "image.npy")
said = {"features": sorted(read_host().features)}
for path in sorted(folder.glob("*.smalti")):
    try:
        with smalti.load(path, threads=2) as engine:
            np.save(folder / f"{path.stem}-{cpu}.npy", engine(image))
            said[path.stem] = engine.target
    except SmaltiError as error:
        said[path.stem] = [type(error).__name__, int(exit_code(error)), str(error)]
json.dump(said, sys.stdout)
"""


def test_older_cpus_run_what_fits_and_name_what_they_miss(tmp_path: Path) -> None:
    """One test, not one for each CPU: the models are built once."""
    _build(tmp_path)
    with ThreadPoolExecutor(len(TAKEN)) as pool:
        said = dict(
            zip(TAKEN, pool.map(lambda cpu: _emulated(cpu, "-c", PROGRAM, str(tmp_path), cpu), TAKEN), strict=True)
        )
    lacking = [cpu for cpu in TAKEN if NEEDS[cpu] not in said[cpu]["features"]]
    for cpu in TAKEN.keys() - set(lacking):
        _check(cpu, said[cpu], tmp_path)
    if lacking:
        pytest.skip(f"this qemu-x86_64 lacks features of {', '.join(lacking)}")


def _build(folder: Path) -> None:
    """Write a picture and model files: ``int8`` for most levels, ``float`` for the older, ``new`` for the newest."""
    pictures = [demo_image(TRAIN_FIRST + i)[0] for i in range(2)]
    np.save(folder / "image.npy", demo_image(0)[0])
    options = CompileOptions(resolve_targets(f"{OLD},x86-64-v4+vnni"), QuantOptions(INT8))
    build(GRAPH_PATH, folder / "int8.smalti", options, record=calibrate_model(GRAPH_PATH, options, pictures))
    build(GRAPH_PATH, folder / "float.smalti", CompileOptions(resolve_targets(OLD)))
    (folder / "small.pb").write_bytes(network())
    build(folder / "small.pb", folder / "new.smalti", CompileOptions(resolve_targets(NEW)))


def _check(cpu: str, said: dict[str, Any], folder: Path) -> None:
    assert said["int8"] == said["float"] == TAKEN[cpu], cpu
    image = np.load(folder / "image.npy")
    with smalti.load(folder / "int8.smalti") as engine:
        assert_close(np.load(folder / f"int8-{cpu}.npy"), engine(image), Tol.EXACT, cpu)
    with smalti.load(folder / "float.smalti") as engine:
        labels = engine(image)
    assert len(np.unique(labels)) > 2
    assert np.mean(np.load(folder / f"float-{cpu}.npy") == labels) >= SAME_LABELS, cpu
    kind, code, message = said["new"]
    assert (kind, code) == ("TargetError", ExitCode.MODEL_FILE)
    vnni, plain = re.findall(r"x86-64-v4(?:\+vnni)? lacks ([a-z0-9, ]+)", message)
    assert {"avx512f", "avx512bw", "avx512vnni"} <= set(vnni.split(", "))
    assert set(vnni.split(", ")) - set(plain.split(", ")) == {"avx512vnni"}
    assert ("avx2" in plain.split(", ")) == (TAKEN[cpu] == "x86-64-v2")
    assert "--target native" in message


def _emulated(cpu: str, *arguments: str) -> Any:
    """Run Python on an emulated CPU and return the JSON that it prints; a signal or an error fails the test."""
    command = [str(QEMU), "-cpu", cpu, sys.executable, *arguments]
    source = str(Path(smalti.__file__).parents[1])
    done = subprocess.run(
        command, env={"PYTHONPATH": source}, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)
