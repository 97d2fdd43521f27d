"""Mutated graphs: every outcome is a graph or an error of our own tree, soon, in bounded memory, and says where."""

from __future__ import annotations

import resource
import sys
from collections import Counter

import pytest

from deeplab_golden import graph_bytes
from fuzz import attempts
from fuzz.mutants import byte_mutant, compile_and_run, is_located, seeds, structured_mutant
from fuzz.targets import REFUSALS, graph
from soak.forks import Tally, forked

SECONDS_EACH = 5.0
ADDRESS_SPACE = 4 << 30


def attempt(data: bytes, label: str) -> str:
    """Import and optimise."""
    return attempts.attempt(graph, data, label, SECONDS_EACH)


def test_the_seeds_are_taken() -> None:
    assert [attempt(data, str(i)) for i, data in enumerate(seeds())].count("accepted") >= len(seeds()) - 2


@pytest.mark.parametrize("part", range(4))
def test_mutated_bytes(part: int) -> None:
    """A thousand in all, the same in every run: new ones are what ``scripts/soak`` makes, by the hour."""
    outcomes: Counter[str] = Counter()
    for number in range(part * 250, part * 250 + 250):
        outcomes[attempt(byte_mutant(1, number), f"byte_mutant(1, {number})").partition(":")[0]] += 1
    assert outcomes["GraphError"] > 25, outcomes
    assert outcomes["accepted"] > 5, outcomes


def test_mutated_bytes_of_a_real_network() -> None:
    pool = (graph_bytes("deeplabv3_mnv2_dm05_pascal_trainval"),)
    outcomes = Counter(
        attempt(byte_mutant(1, number, pool), f"byte_mutant(1, {number}, deeplab)").partition(":")[0]
        for number in range(16)
    )
    assert outcomes["GraphError"] > 3, outcomes


def test_messages_about_mutated_structure_say_where() -> None:
    blamed: list[str] = []
    refused = 0
    for number in range(600):
        mutant = structured_mutant(1, number)
        outcome = attempt(mutant.data, f"structured_mutant(1, {number})")
        if outcome != "accepted":
            refused += 1
            blamed += [] if is_located(mutant, outcome) else [f"{number} {mutant.what}: {outcome}"]
    assert 300 < refused < 590
    assert len(blamed) <= 0.05 * refused, blamed


def test_mutants_that_compile_run() -> None:
    limited = Tally()
    for number in range(36):
        mutant = structured_mutant(2, number)
        limited.add(
            forked(lambda data=mutant.data: bounded(data), 60, ADDRESS_SPACE), f"structured_mutant(2, {number})"
        )
    assert not limited.failures
    assert limited.kinds["ok"] == 36


def bounded(data: bytes) -> str:
    """Compile and run with a limit of processor time: a hang ends in a signal, however busy the machine is."""
    resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
    try:
        return compile_and_run(data)
    except REFUSALS as error:
        return f"{type(error).__name__}: {error}"


def test_an_error_that_escapes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> str:
        raise KeyError("strides")

    monkeypatch.setattr(sys.modules[__name__], "graph", broken)
    with pytest.raises(AssertionError, match="byte_mutant"):
        attempt(b"", "byte_mutant(1, 0)")
