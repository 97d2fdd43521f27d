"""``smalti export`` on the command line; downloads and archives are tested where they are made."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.cli.ui import fetch_bar
from smalti.fetch.progress import Stage
from smalti.fetch.registry import MODELS

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_demo_is_exported_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", "--dataset", "demo", "--output-dir", str(tmp_path), "--json"]
    assert run(arguments) == ExitCode.OK
    first = json.loads(capsys.readouterr().out)
    assert Path(first["val_list"]).is_file() and not first["was_cached"]
    assert run(arguments) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["was_cached"]
    assert run(arguments[:-1]) == ExitCode.OK
    shown = capsys.readouterr()
    assert "was there already" in shown.out and shown.err == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], ExitCode.USAGE),
        (["--model", "resnet"], ExitCode.USAGE),
        (["--model", "demo", "--sha256", "abc"], ExitCode.USAGE),
        (["--model", MODELS[0].name, "--mirror", "nowhere"], ExitCode.USAGE),
        (["--model", MODELS[0].name, "--mirror", "empty"], ExitCode.FETCH),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_exported(
    arguments: list[str],
    code: ExitCode,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert run(["export", *arguments, "--output-dir", "out"]) == code
    assert capsys.readouterr().err.startswith("smalti: ")
    assert not (tmp_path / "out" / MODELS[0].name).exists()


def test_the_registry_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "--list", "--json"]) == ExitCode.OK
    known = json.loads(capsys.readouterr().out)["known"]
    assert {"kind": "model", "name": "demo", "address": "comes with this package"}.items() <= known[2].items()
    assert run(["export", "--list"]) == ExitCode.OK
    assert MODELS[0].name in capsys.readouterr().out


def test_bars_take_any_order_of_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("sys.stderr", screen)
    with fetch_bar() as move:
        move(Stage.DOWNLOAD, "a[b].tar", 5, None)
        move(Stage.DOWNLOAD, "a[b].tar", 2, 10)
        move(Stage.UNPACK, "a[b].tar", 10, 10)
    drawn = ESCAPES.sub("", screen.getvalue())
    assert "downloading a[b].tar" in drawn and "2/10 bytes" in drawn
    assert "unpacking a[b].tar" in drawn and "10/10 bytes" in drawn
