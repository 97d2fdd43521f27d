"""Generated code in a C program of its own, for valgrind and for the sanitizers of clang."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from kernels.guard_draw import SMALL
from kernels.harness import dim_values, workspace
from smalti.codegen import module as codegen
from smalti.codegen.module import ModuleText, build_module
from smalti.ir import reference
from smalti.ir.sizes import evaluate
from smalti.llvm.backend import emit_object
from smalti.plan.schedule import Plan
from smalti.target.host import arch, missing_features, resolve_target
from smalti.target.target import Target, levels_of

Array = NDArray[Any]
DRIVER = Path(__file__).parent / "driver.c"
GAP = 256
"""Bytes of no constant between any two."""
SECONDS = 120
_ELEMENTS = {"half": 2, "float": 4, "double": 8}
_VECTOR_ACCESS = re.compile(
    r"^ *(?:(?P<load>\S+ = load)|store) <(?P<count>\d+) x (?P<kind>\w+)>[^\n]*?, ptr (?P<address>[^,\n]+), align \d+$",
    re.M,
)


class Sanitizer(Enum):
    """What watches the code; the value is the name of LLVM's function attribute."""

    ADDRESS = "sanitize_address"
    MEMORY = "sanitize_memory"
    THREAD = "sanitize_thread"

    @property
    def flag(self) -> str:
        """clang's option."""
        return f"-fsanitize={self.value.partition('_')[2]}"


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended: ``report`` is empty if nothing was found."""

    report: str
    outputs: tuple[Array, ...] = ()


def clang() -> str | None:
    """Return a clang that reads the text of LLVM's newer versions."""
    names = [f"clang-{version}" for version in range(30, 18, -1)]
    return next((name for name in names if shutil.which(name)), None)


def native_target() -> Target:
    """Return the best target that valgrind knows, which is none with AVX-512, for small caches."""
    levels = [t for t in levels_of(arch()) if not missing_features(t.features) and t.vector_bits < 512]
    return replace(levels[-1], caches=SMALL)


def widest_target() -> Target:
    """Return the best target of this CPU, for small caches; valgrind may not know its instructions."""
    return replace(resolve_target("native"), caches=SMALL)


def module_of(plan: Plan) -> ModuleText:
    """Generate the module of a plan with bytes of no constant between its constants."""
    offsets, end = [], 0
    for value in plan.constants:
        offsets.append(end)
        end += -(-value.nbytes // 64) * 64 + GAP
    with mock.patch.object(codegen, "_constant_offsets", lambda _: (tuple(offsets), end)):
        return build_module(plan)


def build_plain(text: ModuleText, target: Target, folder: Path) -> Path:
    """Link the code as models have it with the driver; needs a C compiler."""
    (folder / "code.o").write_bytes(emit_object(text.text, target))
    program = folder / "plain"
    _compile(["cc", "-O1", "-g", str(DRIVER), str(folder / "code.o"), "-pthread", "-o", str(program)])
    return program


def build_sanitized(
    text: ModuleText, target: Target, sanitizer: Sanitizer, folder: Path, rounds: int = 0, team: str = ""
) -> Path:
    """Compile the module with instructions that watch every access, and link it with a watched driver.

    With ``rounds`` the driver runs so often in threads that stay, by means of the functions in ``team``.
    """
    whole = text.text + re.sub(r"( \w+) \{$", rf"\1 {sanitizer.value} {{", team, flags=re.M)
    watched = whole.replace('"no-builtins"', f'"no-builtins" {sanitizer.value}')
    if sanitizer is Sanitizer.THREAD:
        watched = _with_ranges(watched)
    source, program = folder / f"{sanitizer.value}.ll", folder / sanitizer.value
    source.write_text(watched)
    flags = [f for name in target.features for f in ("-Xclang", "-target-feature", "-Xclang", f"+{name}")]
    compiler = clang() or "clang"
    driver = folder.parent / f"driver-{sanitizer.value}-{rounds}.o"
    if not driver.exists():
        _compile([compiler, sanitizer.flag, "-O1", "-g", f"-DROUNDS={rounds}", "-c", str(DRIVER), "-o", str(driver)])
    common = [compiler, sanitizer.flag, "-O1", "-Wno-override-module"]
    _compile([*common, *flags, "-c", str(source), "-o", f"{source}.o"])
    _compile([*common, f"{source}.o", str(driver), "-pthread", "-o", str(program)])
    return program


def _with_ranges(text: str) -> str:
    """Report vector loads and stores to the thread sanitizer, which itself sees none of more than 16 bytes."""

    def report(found: re.Match[str]) -> str:
        count, kind, address = int(found["count"]), found["kind"], found["address"]
        size = count * _ELEMENTS.get(kind, int(kind[1:]) // 8 if kind[0] == "i" else 0)
        access = "read" if found["load"] else "write"
        return f"  call void @__tsan_{access}_range(ptr {address}, i64 {size})\n{found[0]}"

    declared = "".join(f"declare void @__tsan_{access}_range(ptr, i64)\n" for access in ("read", "write"))
    return _VECTOR_ACCESS.sub(report, text) + declared


def _compile(command: Sequence[str]) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ran.stderr[-2000:]}")


def write_job(path: Path, plan: Plan, text: ModuleText, values: Mapping[str, Array], threads: int) -> None:
    """Write what the driver needs for one run."""
    env = reference.bind_sizes(plan.graph, values)
    dims = dim_values(text, env) or [0]
    arena = workspace(plan, env, threads)
    inputs = [np.ascontiguousarray(values[n.name]) for n in plan.graph.inputs]
    results = [evaluate(n.type.nbytes, env) for n in plan.graph.outputs]
    constants = [np.ascontiguousarray(c) for c in plan.constants]
    places = [n for c, at in zip(constants, text.constant_offsets, strict=True) for n in (at, c.nbytes)]
    head = [len(dims), len(arena), len(inputs), len(results), len(constants), text.constant_bytes, threads]
    words = [*head, *dims, *arena, *(i.nbytes for i in inputs), *results, *places, text.counters]
    raw = (a.reshape(-1).view(np.uint8).tobytes() for a in (*constants, *inputs))
    path.write_bytes(struct.pack(f"<{len(words)}q", *words) + b"".join(raw))


def run_program(
    program: Path,
    plan: Plan,
    text: ModuleText,
    values: Mapping[str, Array],
    threads: int = 1,
    before: Sequence[str] = (),
) -> Ran:
    """Run a program on inputs; ``before`` is put in front of the command (valgrind)."""
    job, out = program.with_suffix(".job"), program.with_suffix(".out")
    write_job(job, plan, text, values, threads)
    ran = subprocess.run(
        [*before, str(program), str(job), str(out)], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if ran.returncode or "WARNING: " in ran.stderr or "ERROR: " in ran.stderr:
        return Ran(f"ended with {ran.returncode}: {ran.stderr[-6000:]}")
    env = reference.bind_sizes(plan.graph, values)
    outputs, at, raw = [], 0, out.read_bytes()
    for node in plan.graph.outputs:
        size = evaluate(node.type.nbytes, env)
        shape = tuple(evaluate(s, env) for s in node.type.shape)
        outputs.append(np.frombuffer(raw[at : at + size], node.type.dtype.numpy).reshape(shape))
        at += size
    return Ran("", tuple(outputs))
