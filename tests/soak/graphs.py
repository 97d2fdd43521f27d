"""Hostile graphs: mutated bytes and structure, bombs, depth and size, and a fuzzer that follows the code's branches."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeplab_golden import graph_bytes
from fuzz import mutants, sizes, targets
from fuzz.bombs import BOMBS, LEGAL_SPLATS, bomb
from graph_builder import GraphBuilder
from smalti.errors import GraphError
from smalti.frontend.tensorflow.importer import ImportOptions, import_graph
from smalti.ir import ops
from soak.batches import run_cases
from soak.forks import SOURCES, TESTS, forked, script

BYTES, STRUCTURE, REAL = 50_000, 10_000, 400
EVERY = 12
"""Of the mutants that are taken, every so many are compiled and run: that takes a hundred times as long."""
FUZZ_RUNS, FUZZ_SECONDS = 1_000_000, 1800
"""At least so many runs, or the check fails; it goes on for that long."""
SECONDS, MEGABYTES = 10, 256
"""What a large case may take: processor time, and memory beside four times its file."""


def main(seed: int, scale: float) -> dict[str, Any]:
    """Run the checks of graphs with counts multiplied by ``scale``; return the figures of each."""
    return {
        "1 mutated bytes": mutated_bytes(seed, scale),
        "1 mutated bytes of DeepLab": mutated_deeplab(seed, scale),
        "2 mutated structure": mutated_structure(seed, scale),
        "3 bombs": bombs(),
        "3 legal repeats": legal_repeats(),
        "4 fuzzed graphs": fuzzed("graphs", seed, scale),
        "4 fuzzed model files": fuzzed("models", seed, scale),
        "4 corpus": corpus(),
        "5 depth and size": depth_and_size(),
    }


def outcome_of(data: bytes, number: int) -> str:
    """Import and optimise a mutant; compile and run some of those that are taken."""
    found = targets.graph(data).partition(":")[0]
    if found != "accepted" or number % EVERY:
        return found
    try:
        return mutants.compile_and_run(data, mutants.MODES[number // EVERY % 3]).partition(":")[0]
    except targets.REFUSALS as error:
        return f"{type(error).__name__} later"


def mutated_bytes(seed: int, scale: float) -> dict[str, Any]:
    """Flips, cuts, splices and blown-up numbers."""

    def case(number: int) -> str:
        return outcome_of(mutants.byte_mutant(seed, number), number)

    return run_cases(case, range(max(8, int(BYTES * scale))), f"outcome_of(byte_mutant({seed}, {{}}), 0)")


def mutated_deeplab(seed: int, scale: float) -> dict[str, Any]:
    """The same on a real network of 8 MB, where it is there."""
    try:
        pool = (graph_bytes("deeplabv3_mnv2_pascal_train_aug"), graph_bytes("deeplabv3_mnv2_dm05_pascal_trainval"))
    except pytest.skip.Exception as reason:
        return {"pass": True, "skipped": str(reason)}

    def case(number: int) -> str:
        return targets.graph(mutants.byte_mutant(seed, number, pool)).partition(":")[0]

    return run_cases(case, range(max(4, int(REAL * scale))), f"byte_mutant({seed}, {{}}, deeplabs)", batch=10)


def mutated_structure(seed: int, scale: float) -> dict[str, Any]:
    """One field of one node replaced; the message says which node and attribute."""

    def case(number: int) -> str:
        mutant = mutants.structured_mutant(seed, number)
        text = targets.graph(mutant.data)
        if text == "accepted":
            return outcome_of(mutant.data, number)
        return "refused, located" if mutants.is_located(mutant, text) else "refused, not located"

    found = run_cases(case, range(max(8, int(STRUCTURE * scale))), f"structured_mutant({seed}, {{}})")
    located, lost = found.get("refused, located", 0), found.get("refused, not located", 0)
    share = located / max(located + lost, 1)
    return {**found, "pass": found["pass"] and share >= 0.95, "located_percent": round(100 * share, 2)}


def bombs() -> dict[str, Any]:
    """Every bomb of a TensorFlow graph is refused."""
    made = {name: bomb(build) for name, build in BOMBS.items()}
    return refused(made, lambda data: import_graph(data, ImportOptions(outputs=("y",))))


def refused(made: Mapping[str, bytes], read: Callable[[bytes], object]) -> dict[str, Any]:
    """Every bomb is refused in a second and 100 MB more than before, by its own process's account."""
    failures = []
    worst = [0.0, 0.0]
    for name, data in made.items():

        def case(data: bytes = data) -> str:
            before, begin = sizes.resident(), time.process_time()
            try:
                read(data)
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
    figures = {"bombs": len(made), "slowest_s": worst[0], "most_mb": worst[1]}
    return {"pass": not failures and len(made) >= 30, **figures, "failures": failures}


def legal_repeats() -> dict[str, Any]:
    """Constants that repeat a value have the elements TensorFlow gives them."""
    failures = []
    for number, (kind, shape, fields, expected) in enumerate(LEGAL_SPLATS):
        node = import_graph(
            GraphBuilder().raw_const("c", kind, shape, **fields).bytes(), ImportOptions(outputs=("c",))
        ).graph.outputs[0]
        node = node.inputs[0] if isinstance(node.op, ops.Cast) else node
        want = np.full(2, 1.5, np.float32) if expected is None else expected
        if not isinstance(node.op, ops.Constant) or not np.array_equal(node.op.value, want):
            failures.append(f"LEGAL_SPLATS[{number}]")
    return {"pass": not failures, "accepted": len(LEGAL_SPLATS) - len(failures), "failures": failures}


def fuzzed(name: str, seed: int, scale: float, least: int = FUZZ_RUNS) -> dict[str, Any]:
    """Let atheris look for new branches from the corpus on."""
    if importlib.util.find_spec("atheris") is None:
        return {"pass": True, "skipped": "atheris is not installed"}
    runs, seconds = int(least * scale), max(10, int(FUZZ_SECONDS * scale))
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        arguments: Sequence[str] = ("fuzz.guided", name, str(seconds), folder, str(seed))
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env={"PYTHONPATH": f"{SOURCES}:{TESTS}:{':'.join(sys.path[1:])}", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=2 * seconds + 300,
            check=False,
        )
        crashes = [p for p in Path(folder).glob("*-*") if p.name.startswith(("crash", "timeout", "oom", "slow"))]
        kept = [f"{p.name}: {p.read_bytes()[:200]!r}" for p in crashes]
        inputs = sum(1 for _ in Path(folder).iterdir()) - len(crashes)
    executed = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    count = int(executed[1]) if executed else 0
    failures = kept + ([] if done.returncode == 0 else [done.stderr[-600:]])
    figures = {"executions": count, "new_inputs": inputs, "seconds": round(time.monotonic() - begin)}
    return {"pass": not failures and count >= runs, **figures, "failures": failures}


def corpus() -> dict[str, Any]:
    """Every small hostile file that is kept."""
    count, wrong = targets.replay()
    return {"pass": not wrong, "files": count, "failures": wrong}


def depth_and_size() -> dict[str, Any]:
    """Depth 10,000, chains of 100,000 nodes, a million nodes, names of 1 MB."""
    return bounded("fuzz.sizes", sizes.CASES)


def bounded(module: str, names: Iterable[str]) -> dict[str, Any]:
    """Large cases end in ten seconds, and in four times their file and 256 MB; with both parsers of protobuf."""
    figures: dict[str, str] = {}
    failures = []
    code = f"import sys, {module}; {module}.main(sys.argv[1:])"
    for backend in ("upb", "python"):
        for name in names:
            done = script(code, name, seconds=300, env={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": backend})
            if done.returncode:
                failures.append(f"{backend} {name}: {done.stderr[-300:]}")
                continue
            found = json.loads(done.stdout)
            figures[f"{backend} {name}"] = f"{found['seconds']} s, {found['grown_mb']} MB"
            if found["seconds"] >= SECONDS or found["grown_mb"] > 4 * found["file_mb"] + MEGABYTES:
                failures.append(f"{backend} {name}: {found}")
    return {"pass": not failures, **figures, "failures": failures}
