"""A plan made by hand becomes an offline model file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from smalti import __version__
from smalti.artifact.manifest import TeamEntries
from smalti.artifact.writer import write_model
from smalti.codegen.assemble import build_manifest, constants_section
from smalti.codegen.module import build_module
from smalti.llvm.backend import emit_object, llvm_version
from smalti.llvm.link import link
from smalti.llvm.team import DRIVE, SERVE, with_team
from smalti.plan.schedule import Plan


def write_plan(path: Path, plan: Plan, name: str) -> None:
    """Generate the code of a plan and write it as an offline model file.

    Raises:
        CompilerError: a kernel broke its contract.
    """
    module = build_module(plan)
    blob = link(emit_object(with_team(module.text), plan.target))
    about = {
        "precision": "force_float32",
        "batch_size": None,
        "shape_mutable": False,
        "labels": None,
        "producer": {"smalti": __version__, "llvm": llvm_version()},
        "graph": {"name": name, "sha256": hashlib.sha256(str(plan).encode()).hexdigest(), "bytes": 0},
        "preprocess": {"input_size": None, "resize": "none"},
        "report": {},
        "team": TeamEntries(blob.entries[DRIVE], blob.entries[SERVE]),
    }
    manifest = build_manifest(plan, module, blob.entries[module.entry], about)
    write_model(path, manifest, constants_section(plan, module), blob.code)
