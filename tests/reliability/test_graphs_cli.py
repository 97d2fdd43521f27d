"""What ``smalti build`` says about graphs it does not take: all at once, as JSON too, and by which limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import small_segmenter
from fuzz.bombs import unsupported
from fuzz.mutants import deeplab_like
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import EPILOG, run


def build(folder: Path, data: bytes, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any], str]:
    """Run ``smalti build --json`` on a graph, up to the first pass; return its exit code and what it printed."""
    (folder / "graph.pb").write_bytes(data)
    code = run(["build", "--tf-model", str(folder / "graph.pb"), "--stop-at", "constants", "--json", *more])
    printed = capsys.readouterr()
    return code, json.loads(printed.out), printed.err


def test_25_reasons_stand_in_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, record, text = build(tmp_path, unsupported(), capsys)
    error = record["error"]
    assert code == error["exit_code"] == ExitCode.BAD_DATA
    assert f"{int(ExitCode.BAD_DATA)} {ExitCode.BAD_DATA.meaning}" in EPILOG
    assert error["type"] == "UnsupportedGraphError"
    assert len(error["problems"]) == 25
    assert sum(p["count"] for p in error["problems"]) == 45
    for problem in error["problems"]:
        assert problem["first_node"] in text
        assert problem["reason"] in text
        assert problem["op"] in text


@pytest.mark.parametrize(
    ("option", "enough", "too_few", "says"),
    [
        ("--max-graph-nodes", 22, 5, "more nodes than the limit, 5 (--max-graph-nodes)"),
        ("--max-graph-bytes", 100_000, 500, "the limit for a graph is 500 (--max-graph-bytes)"),
        ("--max-constant-bytes", 100_000, 900, "left of the limit (--max-constant-bytes)"),
    ],
)
def test_limits_and_their_options(
    option: str, enough: int, too_few: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, record, _ = build(tmp_path, small_segmenter.network(), capsys, option, str(enough))
    assert code == ExitCode.OK
    assert record["nodes_used"] > 10
    code, record, text = build(tmp_path, small_segmenter.network(), capsys, option, str(too_few))
    assert code == ExitCode.BAD_DATA
    assert record["error"]["type"] == "GraphError"
    assert says in text


@pytest.mark.parametrize("option", ["--max-graph-nodes", "--max-graph-bytes", "--max-constant-bytes"])
def test_a_limit_of_zero_is_a_usage_error(option: str, tmp_path: Path) -> None:
    (tmp_path / "graph.pb").write_bytes(deeplab_like())
    assert run(["build", "--tf-model", str(tmp_path / "graph.pb"), "--stop-at", "constants", option, "0"]) == 2
