"""What ``smalti inspect`` tells about model files, also those of other CPUs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from artifact_kit import Parts, label_manifest, reverse_manifest
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.delivery.inspect import facts_table, inspect, layers_table, parse_size
from smalti.errors import InputError, ModelFileError, UsageError
from smalti.target.host import arch
from smalti.target.target import Target


def written(path: Path, **changes: object) -> Path:
    manifest = replace(label_manifest(), **changes)  # type: ignore[arg-type]
    return Parts(manifest, bytes(64), bytes(64)).write(path)


def test_sizes_work_and_memory_at_a_size(tmp_path: Path) -> None:
    path = written(tmp_path / "m.smalti", labels=("dark", "bright"))
    seen = inspect(path)
    assert seen.sizes == {"H": 600, "W": 600} and seen.file_bytes == path.stat().st_size
    assert inspect(path, "375x500").inputs[0].at_size == (1, 375, 500, 3)
    assert inspect(path, "20").outputs[0].at_size == (1, 20, 20)
    small = inspect(path, "20x30")
    assert small.layers[0].shape == (1, 20, 30) and small.layers[0].macs == 600 == small.macs
    assert small.section_bytes["constants"] == 64 and small.section_bytes["code"] == 64
    record = json.loads(json.dumps(small.to_json(), allow_nan=False))
    assert record["inputs"][0]["shape"] == "[1, H, W, 3], H from 1 to 600, W from 1 to 600" and record["labels"] == [
        "dark",
        "bright",
    ]
    assert record["runs_here"] is True
    assert len(layers_table(small).rows) == 1
    assert ("runs here", "yes") in facts_table(small).rows


def test_workspace_is_known_before_running(tmp_path: Path) -> None:
    path = Parts(reverse_manifest(), bytes(64), bytes(64)).write(tmp_path / "m")
    assert inspect(path, "16").workspace_bytes == 64
    assert inspect(path).workspace_bytes == 400_000
    with pytest.raises(InputError, match="at most 100000"):
        inspect(path, "100001")


def test_workspace_grows_with_threads_where_buffers_are_per_thread(tmp_path: Path) -> None:
    manifest = reverse_manifest()
    buffer = replace(manifest.arena[0], per_thread=True)
    path = Parts(replace(manifest, arena=(buffer,)), bytes(64), bytes(64)).write(tmp_path / "m")
    assert [inspect(path, "16", threads).workspace_bytes for threads in (1, 2, 5)] == [64, 128, 320]
    with pytest.raises(UsageError, match="threads must be"):
        inspect(path, "16", 0)


@pytest.mark.parametrize("name", ["aarch64", "x86-64-v4+bf16"])
def test_a_model_of_another_machine_can_be_inspected(name: str, tmp_path: Path) -> None:
    target = Target.parse(name)
    seen = inspect(written(tmp_path / "there", target=target.name, features=target.features))
    assert seen.manifest.target == name and seen.manifest.features == target.features
    foreign = target.arch != arch()
    assert seen.obstacle is not None if foreign else True
    assert foreign or seen.obstacle is None or "lacks" in seen.obstacle


@pytest.mark.parametrize("text", ["", "0", "x5", "5x", "5x5x5", "-3", "1e3", "٣", "9999999"])
def test_what_is_no_size(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a size is written"):
        parse_size(text)


def test_bad_files_and_sizes_end_with_their_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "m.smalti")
    assert run(["inspect", str(path)]) == ExitCode.OK
    assert "[1, H, W, 3], H from 1 to 600, W from 1 to 600" in capsys.readouterr().out
    assert run(["inspect", str(path), "--layers", "--json", "--size", "20x30"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["macs"] == 600
    assert run(["inspect", str(path), "--size", "wide"]) == ExitCode.USAGE
    assert run(["inspect", str(path), "--size", "601"]) == ExitCode.BAD_DATA
    assert run(["inspect", str(tmp_path / "missing")]) == ExitCode.MODEL_FILE
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-1])
    assert run(["inspect", str(tmp_path / "cut"), "--json"]) == ExitCode.MODEL_FILE
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["type"] == "DamagedModelError"
    with pytest.raises(ModelFileError):
        inspect(tmp_path)
