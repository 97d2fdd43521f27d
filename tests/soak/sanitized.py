"""Every kernel in a C program of its own under clang's sanitizers, and under valgrind as models have it."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kernels.guard_cases import MAKERS, Case, make_case
from kernels.guard_runs import compare
from kernels.native import (
    Sanitizer,
    build_plain,
    build_sanitized,
    clang,
    module_of,
    native_target,
    run_program,
    widest_target,
)
from quantised_graphs import graph_of_quantised_operations, picture
from smalti.ir import reference
from smalti.ir.graph import Graph
from smalti.kernels.registry import FUSED, KERNELS
from smalti.plan.planner import plan_graph
from smalti.plan.schedule import Plan

CASES = 4
"""Cases of each kernel at scale 1; half of them run with three sizes."""
VALGRIND = ("valgrind", "-q", "--error-exitcode=9", "--leak-check=full")


def check(seed: int, scale: float) -> dict[str, Any]:
    """Run the op matrix and a graph of several steps; return the figures."""
    valgrind = bool(shutil.which("valgrind") and shutil.which("cc"))
    if clang() is None and not valgrind:
        return {"pass": True, "skipped": "neither clang (19 or later) nor valgrind is installed"}
    begin = time.monotonic()
    counts: dict[str, int] = {}
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, case) in enumerate(_cases(seed, max(1, int(CASES * scale)))):
            own = Path(folder) / str(number)
            own.mkdir()
            for line in _watch(case, own, valgrind, counts):
                failures.append(f"make_case{name}: {line}")
                sys.stderr.write(f"FAILED {failures[-1]}\n")
            shutil.rmtree(own)
        failures += _several_steps(Path(folder), valgrind, counts)
    return {
        "pass": not failures,
        "kernels": len(MAKERS),
        **counts,
        "clang": clang() or "none",
        "failures": failures[:20],
        "seconds": round(time.monotonic() - begin),
    }


def _cases(seed: int, count: int) -> Iterator[tuple[tuple[str, int, int], Case]]:
    """Yield cases, half of them for the instructions that valgrind knows, half for the best that this CPU has."""
    for kernel in sorted(MAKERS):
        for i in range(count):
            key = (kernel, seed + i, 1 + 2 * (i % 2))
            yield key, make_case(*key, widest_target() if clang() and i % 4 >= 2 else native_target())


def _watch(case: Case, folder: Path, valgrind: bool, counts: dict[str, int]) -> list[str]:
    """Run a case under everything there is; return a line for each report."""
    plan = plan_graph(case.graph, case.target, case.kernels, None, case.fused)
    valgrind &= case.target == native_target()
    name = case.target.name
    counts[name] = counts.get(name, 0) + 1
    found = []
    for name, ran, want in _runs(plan, case.graph, case.runs, folder, valgrind, counts):
        if ran.report:
            found.append(f"{name}: {' '.join(ran.report.split())[:600]}")
            continue
        try:
            compare(case, ran.outputs[0], want["y"])
        except AssertionError as error:
            found.append(f"{name}: {error}")
    return found


def _runs(
    plan: Plan, graph: Graph, inputs: Any, folder: Path, valgrind: bool, counts: dict[str, int]
) -> list[tuple[str, Any, Mapping[str, Any]]]:
    text = module_of(plan)
    wanted = [reference.run(graph, values) for values in inputs]
    programs = [(s.name.lower(), build_sanitized(text, plan.target, s, folder), ()) for s in Sanitizer if clang()]
    if valgrind:
        programs.append(("memcheck", build_plain(text, plan.target, folder), VALGRIND))
    results = []
    for name, program, before in programs:
        for values, want in zip(inputs, wanted, strict=True):
            for threads in (1, 3) if name != "memcheck" else (2,):
                counts[name] = counts.get(name, 0) + 1
                results.append((name, run_program(program, plan, text, values, threads, before), want))
    return results


def _several_steps(folder: Path, valgrind: bool, counts: dict[str, int]) -> list[str]:
    graph = graph_of_quantised_operations()
    plan = plan_graph(graph, native_target(), KERNELS, None, FUSED)
    own = folder / "steps"
    own.mkdir()
    inputs = [picture(6, 7), picture(33, 20), picture(64, 64)]
    runs = _runs(plan, graph, inputs, own, valgrind, counts)
    return [f"graph_of_quantised_operations: {name}: {ran.report[:600]}" for name, ran, _ in runs if ran.report]
