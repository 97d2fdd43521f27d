"""The long checks themselves: they see what goes wrong, name the case, and the runner says so in its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

from soak import __main__ as runner
from soak import batches, graphs, pictures

ROOT = Path(__file__).resolve().parents[2]


def planted(number: int) -> str:
    """Go wrong in five ways."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 14:
        raise KeyError("strides")
    if number == 25:
        while True:
            pass
    if number == 36:
        warnings.warn("numpy is not pleased", RuntimeWarning, stacklevel=1)
    if number == 47:
        bytearray(1 << 40)
    return "fine"


def test_every_planted_failure_is_seen_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "CPU_SECONDS", 0.5)
    found = batches.run_cases(planted, range(60), "planted({})", batch=10)
    assert not found["pass"]
    assert found["fine"] == 55
    for number, text in ((3, "SIGKILL"), (14, "KeyError"), (25, "Hang"), (36, "RuntimeWarning"), (47, "MemoryError")):
        assert any(f.startswith(f"planted({number}):") and text in f for f in found["failures"]), (number, found)


def test_a_few_cases_of_each_suite_pass() -> None:
    for found in (graphs.mutated_bytes(5, 0.001), graphs.mutated_structure(5, 0.004), pictures.cut(5, 0.01)):
        assert found["pass"], found
        assert found["cases"] >= 40


def test_the_runner_finds_suites_and_fails_when_a_check_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {"graphs", "pictures", "engine", "files"} <= set(runner.suites())
    assert not {"forks", "batches"} & set(runner.suites())

    def main(seed: int, scale: float) -> dict[str, Any]:
        return {"good": {"pass": True, "cases": seed}, "bad": {"pass": scale < 1, "failures": ["repeat(7)"]}}

    monkeypatch.setitem(sys.modules, "soak.graphs", types.SimpleNamespace(main=main))
    path = tmp_path / "figures.json"
    for scale, code in ((0.5, 0), (1.0, 1)):
        monkeypatch.setattr(sys, "argv", ["soak", "graphs", "--seed", "7", "--scale", str(scale), "--json", str(path)])
        assert runner.main() == code
        printed = capsys.readouterr().out
        assert "soak graphs --seed 7" in printed
        assert ("failed: graphs: bad" in printed) == bool(code)
    record = json.loads(path.read_text())
    assert record["seed"] == 7
    assert record["suites"]["graphs"]["checks"]["good"] == {"pass": True, "cases": 7}


def test_the_script_names_its_suites() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "soak", "--help"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "graphs" in done.stdout
