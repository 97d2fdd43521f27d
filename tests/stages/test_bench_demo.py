"""``smalti bench`` on the demo network: every option once, short, without looking at how long anything took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalti.bench.bench import BenchOptions, bench
from smalti.building.build import build
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.compiler import CompileOptions
from smalti.demo.dataset import graph_bytes
from smalti.demo.generator import demo_image
from smalti.target.host import resolve_targets
from smalti.vision.images import encode_picture
from tolerance import Tol, assert_close

QUICK = ["--duration", "0", "--warmup", "0", "--iterations", "8"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    (folder / "graph.pb").write_bytes(graph_bytes())
    return build(folder / "graph.pb", folder / "demo.smalti", CompileOptions(resolve_targets("native"))).path


def assert_sum(values: list[float], total: float) -> None:
    assert_close(np.array(sum(values)), np.array(total), Tol.FLOAT(reduction=len(values)))


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


def test_everything_at_once(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "--model", str(model), *QUICK, "--threads", "2", "--cold-starts", "1", "--profile", "--e2e"]
    files = [tmp_path / name for name in ("r.json", "t.csv", "p.svg", "trace.json")]
    for option, path in zip(("--save", "--csv", "--plot", "--trace"), files, strict=True):
        arguments += [option, str(path)]
    assert run([*arguments, "--input-dims", "1x97x65x3,1x60x80x3", "--json"]) == ExitCode.OK
    record = shown(capsys)
    assert json.loads(files[0].read_text()) == record
    assert [table["group"] for table in record["profile"]] == ["1x97x65x3", "1x60x80x3"]
    for table in record["profile"]:
        steps = table["layers"]
        assert [step["ms"] for step in steps] == sorted((step["ms"] for step in steps), reverse=True)
        assert sorted(step["number"] for step in steps) == list(range(1, len(steps) + 1))
        assert_sum([step["percent"] for step in steps], 100.0)
        assert table["macs"] == sum(step["macs"] for step in steps) > 1_000_000
        assert all(step["kernel"] and step["op"] and step["bytes"] > 0 for step in steps)
        assert all((step["arithmetic"] == "float32") == (step["macs"] > 0) for step in steps)
        assert table["precision"] == "force_float32" and table["limits"]["copy"]
        assert "compute in float32" in table["words"][0]
    parts = record["e2e"]["parts"]
    assert list(parts) == ["decode", "resize", "infer", "colour", "save"] and record["e2e"]["generated"] is True
    assert_sum([part["percent"] for part in parts.values()], 100.0)
    cold = record["performance"]["cold_start"]
    spans = [cold[f"{part}_ms"]["median"] for part in ("interpreter", "imports", "load", "first_inference")]
    assert 0 < max(spans) < cold["total_ms"]["median"]
    # They are differences of a clock that counts from the start of the machine, here taken as up to 100 days.
    assert_close(np.array(sum(spans)), np.array(cold["total_ms"]["median"]), Tol.FLOAT(4, scale=100 * 86400e3))
    assert len((tmp_path / "t.layers.csv").read_text().splitlines()) == 1 + sum(
        len(table["layers"]) for table in record["profile"]
    )
    names = {event["name"] for event in json.loads(files[3].read_text())["traceEvents"]}
    assert {"compute", record["profile"][0]["layers"][0]["name"]} <= names
    assert files[2].read_text().startswith("<svg")


def test_tables_in_a_narrow_terminal(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["bench", "--model", str(model), *QUICK, "--threads", "1", "--cold-starts", "0", "--profile", "--e2e"]
    assert run([*arguments, "--input-dims", "1x60x80x3"]) == ExitCode.OK
    brief = capsys.readouterr().out
    assert brief.split()[:2] == ["model", model.name] and "Profile of" in brief and "End to end" in brief
    assert not any(title in brief for title in ("Parameter Information", "Device Information", "Load\n"))
    assert run([*arguments, "--input-dims", "1x60x80x3", "--details"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert out.split()[:2] == ["model", model.name]
    places = [out.index(title) for title in ("Parameter Information", "Load", "Device Information", "Profile of")]
    assert places == sorted(places)
    assert out.splitlines()[-1].startswith("PASSED: ")


def test_pictures_at_their_own_sizes_from_several_callers(model: Path, tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"{index}.jpg").write_bytes(encode_picture(demo_image(index)[0]))
    options = BenchOptions(
        model,
        threads=1,
        concurrency=3,
        iterations=12,
        duration_ms=0,
        warmup_ms=0,
        image_dir=tmp_path,
        end_to_end=True,
        cold_starts=0,
    )
    report = bench(options)
    assert report.iterations == 12 and {record.caller for record in report.result.records} <= {0, 1, 2}
    assert report.groups[0].shapes is None
    assert report.end_to_end is not None and not report.end_to_end.generated and report.end_to_end.images == 12


def test_a_batch_of_pictures_on_one_cpu(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "--model", str(model), *QUICK, "--batch", "3", "--input-dims", "1x60x80x3", "--json"]
    assert run([*arguments, "--cold-starts", "0", "--threads", "1", "--profile"]) == ExitCode.OK
    record = shown(capsys)
    assert record["model"]["tensors"][0]["shape"] == [3, 60, 80, 3]
    assert record["model"]["tensors"][1]["shape"] == [3, 60, 80]
    assert record["performance"]["groups"][0]["name"] == "3x60x80x3"


def test_the_same_model_is_neither_faster_nor_slower_by_much(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "--model", str(model), *QUICK, "--threads", "1", "--cold-starts", "0", "--json"]
    arguments += ["--input-dims", "1x60x80x3", "--max-regression", "1000"]
    assert run([*arguments, "--against", str(model)]) == ExitCode.OK
    (group,) = shown(capsys)["comparison"]["groups"]
    assert group["count"] == group["other_count"] == 8
    low, high = group["ratio"]["ci95"]
    assert low <= group["ratio"]["value"] <= high
