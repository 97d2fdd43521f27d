"""ONNX graphs whose operations lie or ask for much: handlers and passes end soon, with an error of ours."""

from __future__ import annotations

import time
import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pytest

import onnx_wire as w
from fuzz import attempts, mutants, onnx_graphs, targets
from fuzz.onnx_growth import ACCEPTED, GROWTH, SMALL
from fuzz.onnx_models import handle
from smalti.compiler import CompileOptions, compile_graph
from smalti.errors import SmaltiError
from smalti.ir import ops
from smalti.ir.reference import run
from smalti.target.host import resolve_targets
from soak import onnx as checks

SECONDS_EACH, EACH = 3.0, 80
PLACES = ("node '", "the input '", "the output '", "opset", "are not supported", "--bind", "outputs")
NATIVE = CompileOptions(resolve_targets("native"))


def outcome(data: bytes) -> str:
    try:
        handle(data)
    except targets.REFUSALS as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


# -- what asks for much -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GROWTH)
def test_growth_ends_soon_in_little_memory(name: str) -> None:
    data = GROWTH[name]()
    tracemalloc.start()
    begin = time.process_time()
    try:
        found = outcome(data)
        elapsed, (_, peak) = time.process_time() - begin, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (found == "accepted") == (name in ACCEPTED), found
    assert elapsed < (SECONDS_EACH if len(data) < 100_000 else 3 * SECONDS_EACH)
    assert peak < attempts.MOST_MEMORY
    assert len(found) < 1000
    assert found == "accepted" or "node '" in found or "graph has more nodes" in found or "not supported" in found


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_what_is_accepted_compiles(name: str) -> None:
    model = compile_graph(GROWTH[name](), NATIVE)
    assert len(model.constants) < 1 << 22, "what can be computed when it runs is not in the file"


@pytest.mark.parametrize("name", SMALL)
def test_what_is_accepted_is_what_onnx_says(name: str) -> None:
    onnx_kit = pytest.importorskip("onnx_kit", reason="the onnx package is not installed")
    data = GROWTH[name]()
    graph = handle(data)
    x = np.linspace(-1, 1, int(np.prod(graph.inputs[0].type.shape)), dtype=np.float32)
    fed = {"x": x.reshape(graph.inputs[0].type.shape)}
    (want,) = onnx_kit.wanted(data, fed)
    assert np.array_equal(run(graph, fed)["y"], want)


def test_there_is_growth_of_every_kind() -> None:
    assert len(GROWTH) >= 70
    assert set(SMALL) < ACCEPTED < set(GROWTH)
    assert len({name.partition(" ")[0] for name in GROWTH}) > 40


# -- what lies ---------------------------------------------------------------------------------------------------------


def test_the_seeds_are_taken_and_have_operations_of_every_family() -> None:
    kinds: set[type[Any]] = set()
    for number, data in enumerate(onnx_graphs.small_seeds()):
        assert outcome(data) == "accepted", number
        kinds |= {type(node.op) for node in handle(data).nodes()}
    assert len(onnx_graphs.operations()) > 55
    families = (ops.Conv2d, ops.Pool, ops.Resize, ops.Pad, ops.Slice, ops.MatMul, ops.Reduce, ops.Concat, ops.ArgMax)
    assert kinds >= set(families)


@pytest.mark.parametrize("part", range(4))
def test_mutated_operations(part: int) -> None:
    outcomes: Counter[str] = Counter()
    located = 0
    for number in range(part * EACH, part * EACH + EACH):
        mutant = onnx_graphs.mutant(1, number, onnx_graphs.small_seeds())
        label = f"onnx_graphs.mutant(1, {number}, onnx_graphs.small_seeds()): {mutant.what}"
        found = attempts.attempt(outcome, mutant.data, label, SECONDS_EACH)
        outcomes[found.partition(":")[0]] += 1
        located += any(word in found for word in PLACES)
    assert outcomes["accepted"] > EACH // 20, outcomes
    assert outcomes["GraphError"] > EACH // 4, outcomes
    assert outcomes["UnsupportedGraphError"] > 2, outcomes
    assert located == EACH - outcomes["accepted"], "each says which node, input or version it is about"


@pytest.mark.parametrize("op", ["Gather", "GatherND", "GatherElements", "ScatterND", "ScatterElements"])
@pytest.mark.parametrize("value", [1.0, np.nan, np.inf, 1e30])
def test_positions_that_are_no_integers(op: str, value: float) -> None:
    """Found by mutants: numpy warned of a cast before the type was refused."""
    positions = np.full((1, 1, 1, 1), value, np.float32)
    held = {"i": positions, **({"u": positions} if op.startswith("Scatter") else {})}
    found = outcome(onnx_graphs.graph(w.node(op, ["x", *held], ["y"], "n"), sizes=(1, 4, 6, 8), **held))
    assert found.startswith("GraphError: node 'n'"), found


def test_mutants_that_are_taken_compile_and_run() -> None:
    ran = 0
    for number in range(2000, 2060):
        data = onnx_graphs.mutant(1, number, onnx_graphs.small_seeds()).data
        if number % 3 == 0 and outcome(data) == "accepted":
            try:
                ran += mutants.compile_and_run(data).startswith("ran")
            except targets.REFUSALS as error:
                assert isinstance(error, SmaltiError)
    assert ran > 1


def test_a_mutant_is_the_same_every_time_and_changes_something() -> None:
    pool = onnx_graphs.small_seeds()
    made = [onnx_graphs.mutant(3, number, pool) for number in range(60)]
    assert made == [onnx_graphs.mutant(3, number, pool) for number in range(60)]
    assert sum(mutant.data != pool[number % len(pool)] for number, mutant in enumerate(made)) > 50


def test_a_few_cases_of_the_long_check_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graphs, "all_seeds", onnx_graphs.small_seeds)
    found = checks.mutated_operations(5, 0.004)
    assert found["pass"], found
    assert found["cases"] == 40
    assert checks.growth({name: GROWTH[name] for name in ("tile 2^62 times", "range of NaN")})["pass"]
