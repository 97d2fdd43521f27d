"""Graphs of great depth and size, with both parsers that protobuf has: taken or refused soon and in bounded memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fuzz import sizes
from smalti.compiling.source import read_graph
from smalti.errors import GraphError, UsageError
from smalti.frontend.budget import LARGEST_GRAPH_BYTES, GraphLimits
from smalti.frontend.tensorflow.graphdef import has_more_nodes, parse_graph_def
from smalti.frontend.tensorflow.importer import ImportOptions, import_graph
from soak.forks import script

SHORT = ("nested", "nested_lists", "long_name", "long_input", "many")
SECONDS, MEGABYTES = 60.0, 256.0
"""Ten times what the slowest case takes alone: what is quadratic takes an hour, and a busy machine is no fault."""
EXPECTED = {
    "nested": "has 34445 bytes; the limit is 4096",
    "nested_lists": "takes 1 inputs, not 0",
    "chain": "imported 100001 nodes",
    "many": "more nodes than the limit, 250000",
    "long_name": "has 1048576 bytes; the limit is 4096",
    "long_input": "does not exist",
}


def measured(backend: str, *names: str) -> list[dict[str, Any]]:
    """Run cases in a process of their own, whose parser is the given one."""
    code = "import sys, fuzz.sizes; fuzz.sizes.main(sys.argv[1:])"
    done = script(code, *names, env={"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": backend})
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("backend", "names"), [("upb", SHORT), ("python", SHORT), ("upb", ("chain",))], ids=str)
def test_depth_and_size(backend: str, names: tuple[str, ...]) -> None:
    for name, found in zip(names, measured(backend, *names), strict=True):
        assert found["backend"] == backend
        assert EXPECTED[name] in found["outcome"]
        assert found["seconds"] < SECONDS
        assert found["grown_mb"] <= 4 * found["file_mb"] + MEGABYTES


def test_a_file_of_more_than_2_gb_is_refused_unread(tmp_path: Path) -> None:
    for size in (LARGEST_GRAPH_BYTES + 1, 3 << 40):
        with pytest.raises(GraphError, match="the limit for a graph"):
            read_graph(sizes.sparse(tmp_path, size))


def test_the_limit_of_nodes_is_exact() -> None:
    data = sizes.image() + b"".join(sizes.relu(b"n%d" % (i + 1), b"n%d" % i) for i in range(9))
    assert len(import_graph(data, ImportOptions(limits=GraphLimits(max_nodes=10))).graph.nodes()) == 10
    with pytest.raises(GraphError, match="more nodes than the limit, 9"):
        import_graph(data, ImportOptions(limits=GraphLimits(max_nodes=9)))


@pytest.mark.parametrize(
    "other", [b"\x18\x85\x01", b"\x21" + bytes(8), b"\x2d" + bytes(4), b"\x13\x14", b"\x22\x01\x00"]
)
def test_other_fields_do_not_hide_nodes(other: bytes) -> None:
    data = other + sizes.relu(b"n", b"m") * 100
    assert has_more_nodes(data, 20)
    assert len(parse_graph_def(data, GraphLimits(max_nodes=100)).node) == 100
    with pytest.raises(GraphError, match="more nodes"):
        parse_graph_def(data, GraphLimits(max_nodes=20))


def test_the_limits_of_bytes_are_exact() -> None:
    data = sizes.image() + sizes.relu(b"n1", b"n0")
    assert parse_graph_def(data, GraphLimits(max_bytes=len(data)))
    with pytest.raises(GraphError, match=f"has {len(data)} bytes; the limit is {len(data) - 1}"):
        parse_graph_def(data, GraphLimits(max_bytes=len(data) - 1))


@pytest.mark.parametrize(
    "limits", [{"max_bytes": 0}, {"max_bytes": 1 << 31}, {"max_nodes": 0}, {"max_constant_bytes": 0}]
)
def test_impossible_limits(limits: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="limit"):
        GraphLimits(**limits)
