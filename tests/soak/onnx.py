"""Hostile ONNX models: mutated bytes and structure, bombs, depth and size, and a fuzzer that follows the branches."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from fuzz import mutants, onnx_models, onnx_sizes, sizes, targets
from fuzz.onnx_bombs import BOMBS
from shared_data import shared_dir
from smalti.errors import GraphError
from soak import graphs
from soak.batches import run_cases
from soak.forks import forked, script

BYTES, STRUCTURE, REAL = 50_000, 10_000, 400
SECONDS, MEGABYTES = 10, 256


def main(seed: int, scale: float) -> dict[str, Any]:
    """Run the checks of ONNX models with counts multiplied by ``scale``; return the figures of each."""
    return {
        "1 mutated bytes": mutated_bytes(seed, scale),
        "1 mutated bytes of real networks": mutated_networks(seed, scale),
        "2 mutated structure": mutated_structure(seed, scale),
        "3 bombs": bombs(),
        "4 fuzzed models": graphs.fuzzed("onnx", seed, scale),
        "5 depth and size": depth_and_size(),
    }


def mutated_bytes(seed: int, scale: float) -> dict[str, Any]:
    """Flips, cuts, splices and blown-up numbers."""

    def case(number: int) -> str:
        return targets.onnx(mutants.byte_mutant(seed, number, onnx_models.seeds())).partition(":")[0]

    repeat = f"byte_mutant({seed}, {{}}, onnx_models.seeds())"
    return run_cases(case, range(max(8, int(BYTES * scale))), repeat)


def mutated_networks(seed: int, scale: float) -> dict[str, Any]:
    """The same on real networks, where they are there."""
    try:
        pool = tuple(path.read_bytes() for path in sorted((shared_dir() / "wild" / "onnx").glob("*.onnx")))
    except pytest.skip.Exception as reason:
        return {"pass": True, "skipped": str(reason)}
    if not pool:
        return {"pass": True, "skipped": "no real ONNX models on this machine"}

    def case(number: int) -> str:
        return targets.onnx(mutants.byte_mutant(seed, number, pool)).partition(":")[0]

    return run_cases(case, range(max(4, int(REAL * scale))), f"byte_mutant({seed}, {{}}, real networks)", batch=10)


def mutated_structure(seed: int, scale: float) -> dict[str, Any]:
    """Fields replaced, added, repeated, taken away, with all lengths right."""

    def case(number: int) -> str:
        return targets.onnx(onnx_models.structured_mutant(seed, number).data).partition(":")[0]

    return run_cases(case, range(max(8, int(STRUCTURE * scale))), f"onnx_models.structured_mutant({seed}, {{}})")


def bombs() -> dict[str, Any]:
    """Every bomb is refused in a second and 100 MB more than before, by its own process's account."""
    failures = []
    worst = [0.0, 0.0]
    for name, build in BOMBS.items():
        data = build()

        def case(data: bytes = data) -> str:
            before, begin = sizes.resident(), time.process_time()
            try:
                onnx_models.read_all(data)
            except GraphError:
                return f"{time.process_time() - begin:.3f} {(sizes.resident() - before) / 1e3:.1f}"
            return "taken"

        done = forked(case)
        if done.kind != "ok" or done.text == "taken":
            failures.append(f"bomb {name}: {done.kind} {done.text}")
            continue
        seconds, grown = map(float, done.text.split())
        worst = [max(worst[0], seconds), max(worst[1], grown)]
        if seconds >= 1 or grown >= 100:
            failures.append(f"bomb {name}: {done.text}")
    figures = {"bombs": len(BOMBS), "slowest_s": worst[0], "most_mb": worst[1]}
    return {"pass": not failures and len(BOMBS) >= 30, **figures, "failures": failures}


def depth_and_size() -> dict[str, Any]:
    """Depth 10,000, chains of 100,000 nodes, millions of fields, names of 1 MB; with both parsers of protobuf."""
    figures: dict[str, str] = {}
    failures = []
    code = "import sys, fuzz.onnx_sizes; fuzz.onnx_sizes.main(sys.argv[1:])"
    for backend in ("upb", "python"):
        for name in onnx_sizes.CASES:
            done = script(code, name, seconds=300, env={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": backend})
            if done.returncode:
                failures.append(f"{backend} {name}: {done.stderr[-300:]}")
                continue
            found = json.loads(done.stdout)
            figures[f"{backend} {name}"] = f"{found['seconds']} s, {found['grown_mb']} MB"
            if found["seconds"] >= SECONDS or found["grown_mb"] > 4 * found["file_mb"] + MEGABYTES:
                failures.append(f"{backend} {name}: {found}")
    return {"pass": not failures, **figures, "failures": failures}
