"""Runs code for aarch64 on another machine: many compiled steps in one emulated process.

The tests that use it are skipped, with the reason, where ``qemu-aarch64`` or the cross compiler is missing.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.guard import Side
from smalti.artifact.manifest import DimInstr, DimOp
from smalti.codegen.module import ModuleText, build_module
from smalti.ir import reference
from smalti.ir.graph import Graph
from smalti.ir.sizes import evaluate
from smalti.kernels.kernel import FusedKernel, Kernel, KernelPlan
from smalti.llvm.backend import emit_object
from smalti.llvm.link import Blob, link
from smalti.plan.planner import plan_graph
from smalti.plan.schedule import Plan
from smalti.runtime import dims as runtime_dims
from smalti.target.target import Target

EMULATOR = "qemu-aarch64"
COMPILER = "aarch64-linux-gnu-gcc"
SOURCE = Path(__file__).with_name("native") / "arm_runner.c"
LIBRARY = Path(__file__).parents[1] / "runtime-c"
EVERY_FEATURE = "max"
SECONDS = 120
_ALIGN = 64

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Case:
    """A compiled graph and what it is run on."""

    plan: Plan
    text: ModuleText
    blob: Blob
    inputs: Mapping[str, Array]
    threads: int = 1
    side: Side = Side.RIGHT


def require_emulator() -> None:
    """Skip the test that asked where code for aarch64 cannot be built and run."""
    for program in (EMULATOR, COMPILER):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on this machine")
    _runner()


@lru_cache(maxsize=1)
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="smalti-arm-")


@lru_cache(maxsize=1)
def _runner() -> Path:
    return cross_compile([SOURCE], Path(_folder().name) / "arm_runner")


def cross_compile(sources: Sequence[Path], program: Path, *options: str) -> Path:
    """Build a static program for aarch64; skips the test where the cross compiler has no C library."""
    probe = Path(_folder().name) / "probe.c"
    probe.write_text('#include <stdio.h>\nint main(void) { return puts("") < 0; }\n', encoding="ascii")
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-static", "-pthread"]
    if subprocess.run([COMPILER, *flags, str(probe), "-o", str(program)], capture_output=True, timeout=60).returncode:
        pytest.skip(f"{COMPILER} has no C library to link with")
    command = [COMPILER, *flags, "-Werror", *options, *map(str, sources), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return program


def emulate(command: Sequence[str], cpu: str = EVERY_FEATURE) -> subprocess.CompletedProcess[str]:
    """Run a static program for aarch64 on an emulated CPU."""
    return subprocess.run([EMULATOR, "-cpu", cpu, *command], capture_output=True, text=True, timeout=SECONDS)


@lru_cache(maxsize=1)
def native_runner() -> Path:
    """Return ``smalti-run`` with the C library, built for aarch64."""
    sources = [*sorted((LIBRARY / "src").glob("*.c")), LIBRARY / "tools" / "smalti_run.c"]
    program = Path(_folder().name) / "smalti-run"
    return cross_compile(sources, program, f"-I{LIBRARY / 'include'}", f"-I{LIBRARY / 'src'}", "-DSMALTI_STATIC")


def run_file(
    path: Path, image: Array, like: Sequence[Array], cpu: str = EVERY_FEATURE, threads: int = 1
) -> list[Array]:
    """Run a model file with the C library; ``like`` has the shapes and types of the outputs.

    Raises:
        AssertionError: the program failed; the message is what it said.
    """
    with tempfile.TemporaryDirectory(dir=_folder().name) as folder:
        given, made = Path(folder) / "image", [Path(folder) / f"output{i}" for i in range(len(like))]
        given.write_bytes(np.ascontiguousarray(image).tobytes())
        command = [str(native_runner()), str(path), str(given), "--shape", "x".join(map(str, image.shape))]
        command += ["--threads", str(threads), *(word for to in made for word in ("--output", str(to)))]
        done = emulate(command, cpu)
        assert done.returncode == 0, done.stderr
        return [np.fromfile(p, value.dtype).reshape(value.shape) for p, value in zip(made, like, strict=True)]


def compile_case(
    graph: Graph,
    target: Target,
    kernels: Sequence[Kernel],
    inputs: Mapping[str, Array],
    threads: int = 1,
    side: Side = Side.RIGHT,
    fused: Sequence[FusedKernel] = (),
    forced: Mapping[str, KernelPlan] | None = None,
) -> Case:
    """Compile a graph for aarch64."""
    plan = plan_graph(graph, target, kernels, forced, fused)
    text = build_module(plan)
    return Case(plan, text, link(emit_object(text.text, target)), inputs, threads, side)


def run_cases(cases: Sequence[Case], cpu: str = EVERY_FEATURE) -> list[list[Array]]:
    """Run all cases in one process and return the outputs of each.

    Raises:
        AssertionError: the process died, or code wrote beside a buffer.
    """
    require_emulator()
    with tempfile.TemporaryDirectory(dir=_folder().name) as folder:
        given, made = Path(folder) / "cases", Path(folder) / "results"
        given.write_bytes(struct.pack("<Q", len(cases)) + b"".join(map(_packed, cases)))
        done = emulate([str(_runner()), str(given), str(made)], cpu)
        assert done.returncode == 0, done.stderr
        data, at, results = made.read_bytes(), 0, []
        for number, case in enumerate(cases):
            status = int.from_bytes(data[at : at + 8], "little")
            assert status == 0, f"case {number}: " + ("a kernel wrote beside a buffer" if status & 1 else "failed")
            at += 8
            outputs = []
            for shape, dtype in _outputs(case):
                size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
                outputs.append(np.frombuffer(data, np.uint8, size, at).view(dtype).reshape(shape))
                at += -(-size // 8) * 8
            results.append(outputs)
    return results


def _sizes(case: Case) -> dict[str, int]:
    return dict(reference.bind_sizes(case.plan.graph, case.inputs))


def _outputs(case: Case) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
    env = _sizes(case)
    return [(tuple(evaluate(s, env) for s in n.type.shape), n.type.dtype.numpy) for n in case.plan.graph.outputs]


def _packed(case: Case) -> bytes:
    env, plan, text = _sizes(case), case.plan, case.text
    constants = bytearray(text.constant_bytes)
    for value, offset in zip(plan.constants, text.constant_offsets, strict=True):
        raw = np.ascontiguousarray(value).tobytes()
        constants[offset : offset + len(raw)] = raw
    offsets, end = [], 0
    for buffer in plan.arena:
        offsets.append(end)
        end += -(-evaluate(buffer.size, env) // _ALIGN) * _ALIGN * (case.threads if buffer.per_thread else 1)
    inputs = [np.ascontiguousarray(case.inputs[n.name]).tobytes() for n in plan.graph.inputs]
    outputs = [int(np.prod(shape, dtype=np.int64)) * dtype.itemsize for shape, dtype in _outputs(case)]
    program = [DimInstr(DimOp(name), *args) for name, *args in text.dims.program]
    dims = runtime_dims.evaluate(program, [env[s.name] for s in text.dims.symbols])
    entry = case.blob.entries[text.entry]
    head = [len(case.blob.code), entry, len(constants), end, len(dims), len(offsets), len(inputs), len(outputs)]
    words = [*head, text.counters, case.threads, int(case.side is Side.RIGHT)]
    words += [*dims, *offsets, *map(len, inputs), *outputs]
    payload = (case.blob.code, bytes(constants), *inputs)
    return struct.pack(f"<{len(words)}q", *words) + b"".join(p + bytes(-len(p) % 8) for p in payload)
