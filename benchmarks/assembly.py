"""A plan made by hand becomes an offline model file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from smalti import __version__
from smalti.artifact.writer import write_model
from smalti.codegen.assemble import generate
from smalti.llvm.backend import llvm_version
from smalti.plan.schedule import Plan


def write_plan(path: Path, plan: Plan, name: str) -> None:
    """Generate the code of a plan and write it as an offline model file.

    Raises:
        CompilerError: a kernel broke its contract.
    """
    about = {
        "precision": "force_float32",
        "batch_size": None,
        "shape_mutable": False,
        "labels": None,
        "producer": {"smalti": __version__, "llvm": llvm_version()},
        "graph": {"name": name, "sha256": hashlib.sha256(str(plan).encode()).hexdigest(), "bytes": 0},
        "preprocess": {"input_size": None, "resize": "none"},
        "report": {},
    }
    made = generate(plan, about)
    write_model(path, made.manifest, made.constants, made.code)
