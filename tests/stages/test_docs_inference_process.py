"""A process that labels pictures: no compiler in it, and little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from smalti.apps import CompileOptions, build, resolve_targets
from smalti.demo.dataset import GRAPH_PATH, write_voc_layout

PEAK_BYTES = 250_000_000
CODE = """
import json, sys
from smalti.cli.main import run
code = run(sys.argv[1:])
# Not getrusage: its peak includes what this process was before exec, a copy of the test runner.
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
sys.stderr.write("\\n" + json.dumps({"code": code, "modules": sorted(sys.modules), "peak": peak}))
"""


def test_infer_needs_neither_the_compiler_nor_much_memory(tmp_path: Path) -> None:
    model = tmp_path / "m.smalti"
    build(GRAPH_PATH, model, CompileOptions(targets=resolve_targets("native")))
    write_voc_layout(tmp_path / "voc", 3)
    arguments = [
        "infer",
        "--model",
        str(model),
        "--image-dir",
        str(tmp_path / "voc"),
        "--output-dir",
        str(tmp_path / "o"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments, "--overlay"], capture_output=True, text=True, timeout=60, check=True
    )
    seen = json.loads(done.stderr.splitlines()[-1])
    assert seen["code"] == 0 and len(list((tmp_path / "o").glob("*.png"))) == 3
    assert not {"llvmlite", "google.protobuf", "urllib3", "smalti.compiler"} & set(seen["modules"])
    assert seen["peak"] <= PEAK_BYTES
