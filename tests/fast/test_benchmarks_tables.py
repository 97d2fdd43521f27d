"""Benchmarks: the tables for pages, and the command that makes all of them; no engine runs."""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from benchmarks import duel, peers, routes, suite
from benchmarks.peers_table import command_of, show, to_markdown
from benchmarks.precision import Precision, precision_of_floats
from rich.console import Console

from smalti.quant.modes import QuantMode

ARGUMENTS = ["--tf-model", "my graph.pb", "--threads", "2"]


def result(engine: str, precision: str, ms: float, ratio: float | None, **more: Any) -> dict[str, Any]:
    times = None if ratio is None else {"value": ratio, "ci95": [ratio - 0.03, ratio + 0.04]}
    plain = {"is_default": False, "agree": 0.9987, "tried": {}, "detail": "", "version": "1.2", "route": "whole graph"}
    figures = {"median_ms": ms, "p90_ms": ms + 1, "rss_mb": 9.0, "load_ms": 8.0, "first_ms": 7.0}
    return {"engine": engine, "precision": precision, "times_smalti": times, **plain, **figures, **more}


def report(neighbours: float = 0.0) -> dict[str, Any]:
    return {
        "arguments": ARGUMENTS,
        "machine": {
            "date": "2026-01-31",
            "cpu": "A CPU",
            "target": "x86-64-v4+bf16",
            "cpus_used": [2, 3],
            "system": "Linux 6",
            "python": "3.11",
            "neighbours_cpus": neighbours,
        },
        "job": {
            "model": "net",
            "quant_mode": "force_float32",
            "precision": "float32",
            "threads": 2,
            "rounds": 20,
            "per_round": 4,
            "images": 8,
            "sizes": [[513, 513]],
            "calibration_pictures": None,
        },
        "results": [
            result("openvino", "float32", 110.8, 1.31),
            result("smalti", "float32", 84.8, 1.0, is_default=True),
            result("openvino-default", "bfloat16", 53.1, 0.63, is_default=True),
            result("litert", "float32", 103.7, 1.22, is_default=True, agree=None),
            {"engine": "onnxruntime", "failed": "no | such\nthing", "agree": None},
        ],
        "best_peer": "litert",
        "speedup": 1.22,
        "speedup_ci95": [1.19, 1.25],
        "default_peer": "openvino-default",
        "default_precision": "bfloat16",
        "default_speedup": 0.63,
        "default_speedup_ci95": [0.61, 0.66],
        "own_float32": None,
    }


def test_a_table_says_precision_default_interval_version_machine_date_and_command() -> None:
    page = to_markdown(report())
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        "| OpenVINO (default) 1.2 | bfloat16, its default | 53.1 | 54.1 | 0.63 (0.60 to 0.67) | 99.87 % |",
        "| Smalti 1.2 | float32, its default | 84.8 | 85.8 | 1.00 (0.97 to 1.04) | 99.87 % |",
        "| LiteRT 1.2 | float32, its default | 103.7 | 104.7 | 1.22 (1.19 to 1.26) | - |",
        "| OpenVINO 1.2 | float32 | 110.8 | 111.8 | 1.31 (1.28 to 1.35) | 99.87 % |",
        "| ONNX Runtime | not possible: no \\| such thing | | | | |",
    ]
    assert "2026-01-31, A CPU (x86-64-v4+bf16), CPUs 2, 3, Linux 6" in page
    assert "At float32 Smalti is 1.22 times as fast as the best peer, LiteRT" in page
    assert "Smalti (float32) is 0.63 times as fast as the fastest peer, OpenVINO (default) (bfloat16;" in page
    assert "```bash no-run\npython -m benchmarks.peers --tf-model 'my graph.pb' --threads 2\n```" in page
    assert "~" not in page


def test_a_crowded_machine_marks_every_time() -> None:
    page = to_markdown(report(0.9))
    assert "| ~84.8 | ~85.8 |" in page and page.count("~ too slow and noisy") == 1
    text = io.StringIO()
    show(report(0.9), Console(width=140, file=text))
    shown = text.getvalue()
    assert "~53.1" in shown and "bfloat16, its default" in shown and "not possible" in shown


@pytest.mark.parametrize(("name", "precision"), [("f32", "FLOAT32"), ("bf16", "BFLOAT16"), ("f16", "FLOAT16")])
def test_the_type_that_an_engine_took_is_its_class(name: str, precision: str) -> None:
    assert precision_of_floats(name) is Precision[precision]
    assert precision_of_floats("dynamic") is None


class _Process:
    closed = False

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("default", [Precision.FLOAT32, Precision.BFLOAT16])
def test_a_default_that_is_asked_for_anyway_has_one_row(default: Precision) -> None:
    asked = duel.Contender("openvino", _Process(), "", 1.0, {})  # type: ignore[arg-type]
    itself = duel.Contender("openvino-default", _Process(), "", 1.0, {}, default)  # type: ignore[arg-type]
    contenders = [asked, itself]
    peers._without_doubles(contenders)
    same = default is Precision.FLOAT32
    assert contenders == ([asked] if same else [asked, itself])
    assert asked.takes_default is same and itself.process.closed is same  # type: ignore[attr-defined]


def test_every_mode_has_a_row_of_openvino_as_it_comes() -> None:
    for mode in QuantMode:
        names = routes.default_engines(mode)
        assert "openvino" in names and "openvino-default" in names and "smalti" in names


def test_one_command_makes_every_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Namespace] = []

    def fake(arguments: Sequence[str]) -> int:
        seen.append(peers._parser().parse_args(arguments))
        return len(seen) % 2

    monkeypatch.setattr(peers, "main", fake)
    page = tmp_path / "docs" / "page.md"
    said = [
        "--full",
        "f/full.pb",
        "--half",
        "h/half.pb",
        "--any-size",
        "a/any.pb",
        "--image-dir",
        "voc",
        "--rounds",
        "3",
    ]
    said += ["--markdown", str(page), "--json-dir", str(tmp_path / "json")]
    assert suite.main(said) == 1 and page.read_text() == ""
    got = [(str(c.tf_model), c.quant_mode, c.threads, c.input_size) for c in seen]
    assert got == [
        ("f/full.pb", "force_float32", 2, "513"),
        ("f/full.pb", "force_float32", 1, "513"),
        ("h/half.pb", "force_float32", 2, "513"),
        ("h/half.pb", "force_float32", 1, "513"),
        ("a/any.pb", "force_float32", 2, "native"),
        ("a/any.pb", "force_float32", 1, "native"),
        ("f/full.pb", "force_bfloat16", 2, "513"),
        ("f/full.pb", "force_bfloat16", 1, "513"),
    ]
    assert all(c.markdown == page and c.rounds == 3 for c in seen) and len({c.json for c in seen}) == len(seen)
    seen.clear()
    assert suite.main([*said, "--calib-list", "train.txt", "--threads", "1"]) == 1
    assert [(c.quant_mode, c.calib_num) for c in seen if c.calib_list is not None] == [("qint8_mixed_float16", 100)]


def test_a_command_can_be_given_again() -> None:
    assert command_of(ARGUMENTS) == "python -m benchmarks.peers --tf-model 'my graph.pb' --threads 2"
