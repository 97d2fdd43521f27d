"""ONNX models from strangers: mutants, bombs, depth and size.  Each is read or refused, soon, in bounded memory."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fuzz import attempts, onnx_models, onnx_sizes, seeds, targets
from fuzz.bombs import LARGEST_FILE
from fuzz.mutants import byte_mutant
from fuzz.onnx_bombs import BOMBS, small_bombs
from fuzz.onnx_models import read_all, structured_mutant
from shared_data import shared_dir
from smalti.errors import GraphError
from smalti.frontend.onnx.reader import read_model
from soak import graphs
from soak import onnx as checks
from soak.forks import script

SECONDS_EACH = 5.0
SHORT = ("nested_graphs", "nested_types", "nested_unknown", "nested_groups", "many", "many_empty", "long_name", "tower")
LONG = ("many_ints", "many_dims", "long_list", "long_documentation", "unknown_fields")
EXPECTED = {
    "nested_graphs": "more than 16 graphs stand in each other",
    "nested_types": "read 2 nodes",
    "nested_unknown": "read 2 nodes",
    "nested_groups": "do not parse as protobuf",
    "chain": "read 100001 nodes",
    "many": "more nodes than the limit, 250000",
    "many_empty": "more tensors than the limit of nodes, 250000",
    "many_ints": "has more fields for its size than a model that an exporter wrote",
    "many_dims": "has more fields for its size than a model that an exporter wrote",
    "long_list": "read 3 nodes and 128000000 bytes",
    "long_name": "has 1048576 bytes; the limit is 4096",
    "long_documentation": "read 2 nodes",
    "unknown_fields": "has more fields for its size than a model that an exporter wrote",
    "tower": "more than 48 functions and bodies",
}


def attempt(data: bytes, label: str) -> str:
    """Read everything."""
    return attempts.attempt(targets.onnx, data, label, SECONDS_EACH).partition(":")[0]


def test_the_seeds_are_taken() -> None:
    found = [attempt(data, str(i)) for i, data in enumerate(onnx_models.seeds())]
    assert found == ["accepted"] * 4 + ["GraphError"], "the last has values in a second file"


@pytest.mark.parametrize("part", range(4))
def test_mutated_bytes(part: int) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(part * 500, part * 500 + 500):
        label = f"byte_mutant(1, {number}, onnx_models.seeds())"
        outcomes[attempt(byte_mutant(1, number, onnx_models.seeds()), label)] += 1
    assert outcomes["GraphError"] > 50, outcomes
    assert outcomes["accepted"] > 10, outcomes


@pytest.mark.parametrize("part", range(3))
def test_mutated_structure(part: int) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(part * 400, part * 400 + 400):
        mutant = structured_mutant(1, number)
        outcomes[attempt(mutant.data, f"structured_mutant(1, {number}): {mutant.what}")] += 1
    assert outcomes["GraphError"] > 100, outcomes
    assert outcomes["accepted"] > 50, outcomes


def test_mutated_bytes_of_a_real_network() -> None:
    path = shared_dir() / "wild" / "onnx" / "yunet_120x160.onnx"
    if not path.is_file():
        pytest.skip("yunet_120x160.onnx is not on this machine")
    pool = (path.read_bytes(),)
    outcomes = Counter(
        attempt(byte_mutant(1, number, pool), f"byte_mutant(1, {number}, yunet)") for number in range(24)
    )
    assert outcomes["GraphError"] > 3, outcomes


def test_a_mutant_is_the_same_every_time_and_changes_something() -> None:
    made = [structured_mutant(3, number) for number in range(60)]
    assert made == [structured_mutant(3, number) for number in range(60)]
    pool = onnx_models.seeds()
    assert sum(mutant.data != pool[number % len(pool)] for number, mutant in enumerate(made)) > 50


def test_attributes_taken_for_what_they_are_not_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_models.AttrReader, "_holds", lambda self, value, kind: True)
    with pytest.raises((AssertionError, AttributeError)):
        read_all(onnx_models.network())


# -- bombs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_refused(name: str) -> None:
    text = attempts.refusal(read_all, BOMBS[name](), 8.0)
    assert len(text) < 1000
    assert re.search(r"'|node number|ONNX|opset|graphs stand in each other", text), text


def test_there_are_enough_bombs_and_they_are_small() -> None:
    found = small_bombs(LARGEST_FILE)
    assert len(BOMBS) >= 90
    assert len(found) >= len(BOMBS) - 3, "only depth and functions that grow need more"


def test_the_corpus_is_what_its_rules_make() -> None:
    kept = {str(p.relative_to(targets.CORPUS / "onnx")) for p in (targets.CORPUS / "onnx").glob("*/*")}
    made = seeds.onnx()
    assert kept >= set(made)
    assert [n for n, data in made.items() if (targets.CORPUS / "onnx" / n).read_bytes() != data] == []


# -- depth and size ---------------------------------------------------------------------------------------------------


def measured(backend: str, name: str) -> dict[str, Any]:
    """Run a case in a process of its own, whose parser is the given one."""
    code = "import sys, fuzz.onnx_sizes; fuzz.onnx_sizes.main(sys.argv[1:])"
    done = script(code, name, env={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": backend})
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("backend", "name"), [*(("upb", n) for n in (*SHORT, *LONG, "chain")), *(("python", n) for n in SHORT)]
)
def test_depth_and_size(backend: str, name: str) -> None:
    found = measured(backend, name)
    assert found["backend"] == backend
    assert EXPECTED[name] in found["outcome"]
    assert found["seconds"] < 6 * graphs.SECONDS, "six times what the long checks allow: the machine may be busy"
    assert found["grown_mb"] <= 4 * found["file_mb"] + graphs.MEGABYTES


def test_a_file_of_more_than_2_gb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with path.open("wb") as file:
        file.truncate(3 << 40)
    begin = time.process_time()
    with pytest.raises(GraphError, match="the limit for a graph"):
        read_model(path)
    assert time.process_time() - begin < 1


def test_a_few_cases_of_each_long_check_pass() -> None:
    assert set(onnx_sizes.CASES) >= set(EXPECTED)
    for found in (checks.mutated_bytes(5, 0.001), checks.mutated_structure(5, 0.004)):
        assert found["pass"], found
        assert found["cases"] >= 40
