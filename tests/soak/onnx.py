"""Hostile ONNX models: mutated bytes and structure, bombs, depth and size, and a fuzzer that follows the branches."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from fuzz import mutants, onnx_graphs, onnx_models, onnx_sizes, sizes, targets
from fuzz.bombs import LARGEST_FILE
from fuzz.onnx_bombs import BOMBS
from fuzz.onnx_growth import GROWTH
from shared_data import shared_dir
from soak import graphs
from soak.batches import ADDRESS_SPACE, run_cases
from soak.forks import forked

BYTES, STRUCTURE, OPERATIONS, REAL = 50_000, 10_000, 10_000, 400


def main(seed: int, scale: float) -> dict[str, Any]:
    """Run the checks of ONNX models with counts multiplied by ``scale``; return the figures of each."""
    return {
        "1 mutated bytes": mutated_bytes(seed, scale),
        "1 mutated bytes of real networks": mutated_networks(seed, scale),
        "2 mutated structure": mutated_structure(seed, scale),
        "2 mutated operations": mutated_operations(seed, scale),
        "3 bombs": bombs(),
        "3 growth": growth(),
        "4 fuzzed models": graphs.fuzzed("onnx", seed, scale),
        "5 depth and size": depth_and_size(),
    }


def mutated_bytes(seed: int, scale: float) -> dict[str, Any]:
    """Flips, cuts, splices and blown-up numbers."""

    pool = onnx_models.seeds() + onnx_graphs.small_seeds()

    def case(number: int) -> str:
        return targets.onnx(mutants.byte_mutant(seed, number, pool)).partition(":")[0]

    repeat = f"byte_mutant({seed}, {{}}, onnx_models.seeds() + onnx_graphs.small_seeds())"
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


def mutated_operations(seed: int, scale: float) -> dict[str, Any]:
    """Attributes, sizes, values, types, edges and operations changed, of every operation; some are compiled and run."""
    pool = onnx_graphs.all_seeds()

    def case(number: int) -> str:
        data = onnx_graphs.mutant(seed, number, pool).data
        try:
            onnx_models.handle(data)
            if number % graphs.EVERY:
                return "accepted"
            return mutants.compile_and_run(data, mutants.MODES[number // graphs.EVERY % 3]).partition(":")[0]
        except targets.REFUSALS as error:
            return type(error).__name__

    repeat = f"onnx_graphs.mutant({seed}, {{}}, onnx_graphs.all_seeds())"
    return run_cases(case, range(max(8, int(OPERATIONS * scale))), repeat)


def growth(made: Mapping[str, Callable[[], bytes]] = GROWTH) -> dict[str, Any]:
    """What asks for much ends in a second (of a large file: ten) and 100 MB more than before."""
    failures, ends = [], Counter[str]()
    worst = [0.0, 0.0]
    for name, build in made.items():
        data = build()

        def case(data: bytes = data) -> str:
            before, begin = sizes.resident(), time.process_time()
            try:
                onnx_models.handle(data)
                end = "accepted"
            except targets.REFUSALS as error:
                end = type(error).__name__
            return f"{end} {time.process_time() - begin:.3f} {(sizes.resident() - before) / 1e3:.1f}"

        done = forked(case, address_space=ADDRESS_SPACE)
        if done.kind != "ok":
            failures.append(f"growth {name}: {done.kind} {done.text}")
            continue
        end, seconds, grown = done.text.split()
        ends[end] += 1
        worst = [max(worst[0], float(seconds)), max(worst[1], float(grown))]
        if float(seconds) >= (1 if len(data) <= LARGEST_FILE else graphs.SECONDS) or float(grown) >= 100:
            failures.append(f"growth {name}: {done.text}")
    figures = {"graphs": len(made), **dict(sorted(ends.items())), "slowest_s": worst[0], "most_mb": worst[1]}
    return {"pass": not failures, **figures, "failures": failures}


def bombs() -> dict[str, Any]:
    """Every bomb of an ONNX model is refused."""
    return graphs.refused({name: build() for name, build in BOMBS.items()}, onnx_models.read_all)


def depth_and_size() -> dict[str, Any]:
    """Depth 10,000, chains of 100,000 nodes, millions of fields, names of 1 MB."""
    return graphs.bounded("fuzz.onnx_sizes", onnx_sizes.CASES)
