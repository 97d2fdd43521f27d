"""Commands do not write over what they read, nor over what is no plain file, and say so before the work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.errors import OutputError, UsageError
from smalti.jobs.places import check_places

READ = "which the job reads"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("g.pb", "m.smalti", "r.json", "list.txt", "base.json"):
        (tmp_path / name).write_text(f"{name}, which nobody else has")
    (tmp_path / "link").symlink_to("g.pb")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


BUILD = ["build", "--tf-model", "g.pb", "--output-model-path"]
PICTURES = ["--quant-mode", "q8_f16", "--image-dir", "folder", "--file-list", "list.txt"]
BENCH = ["bench", "--model", "m.smalti"]
COMPARE = ["compare", "--tf-model", "g.pb", "--model", "m.smalti", "--image-dir", "folder", "--csv"]
SENSITIVITY = ["sensitivity", "--tf-model", "g.pb", "--image-dir", "folder"]
ACCURACY = ["accuracy", "--model", "g.pb", "--image-dir", "folder", "--gt-dir", "folder"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*BUILD, "g.pb"], READ),
        ([*BUILD, "link"], READ),
        ([*BUILD, "r.json", "--ranges", "r.json"], READ),
        ([*BUILD, "q.smalti", *PICTURES, "--save-ranges", "g.pb"], READ),
        ([*BUILD, "q.smalti", *PICTURES, "--save-ranges", "list.txt"], READ),
        ([*BUILD, "q.smalti", *PICTURES, "--save-ranges", "folder/../q.smalti"], "are the same file"),
        ([*BUILD, "pipe"], "no plain file"),
        ([*BUILD, "/dev/null"], "no plain file"),
        ([*BUILD, "/dev/stdout"], "no plain file"),
        ([*BUILD, "folder"], "is a folder"),
        ([*BUILD, "g.pb/m.smalti"], "g.pb is not a folder"),
        ([*BUILD, "x" * 300], "File name too long"),
        ([*BENCH, "--save", "m.smalti"], READ),
        ([*BENCH, "--csv", "same", "--plot", "same"], "are the same file"),
        ([*BENCH, "--compare", "base.json", "--csv", "base.json"], READ),
        ([*BENCH, "--trace", "folder"], "is a folder"),
        ([*COMPARE, "g.pb"], READ),
        ([*COMPARE, "base.json", "--reference", "base.json"], READ),
        ([*SENSITIVITY, "--state", "g.pb"], READ),
        ([*SENSITIVITY, "--csv", "/dev/stdout"], "no plain file"),
        ([*ACCURACY, "--html", "g.pb"], READ),
        ([*ACCURACY, "--csv", "base.json", "--baseline", "base.json"], READ),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_a_place_that_is_refused(
    arguments: list[str], said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(place)
    assert run(arguments) == ExitCode.USAGE
    assert said in capsys.readouterr().err and contents(place) == before


def test_the_table_of_an_accuracy_job_is_not_overwritten(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "folder" / "accuracy.json").write_text("rows of hours")
    assert run([*ACCURACY, "--html", "folder/accuracy.json", "--output-dir", "folder"]) == ExitCode.USAGE
    assert READ in capsys.readouterr().err


def test_places_that_are_taken(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def free(path: str) -> None:
        check_places({"--csv": Path(path)}, (Path("g.pb"), Path("none")))

    for path in ("new", "base.json", "new/folders/file", "folder/new"):
        free(path)
    assert not (place / "new").exists()
    check_places({"--csv": None, "--html": None}, (None,))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="cannot be written to"):
        free("folder/new")
    with pytest.raises(UsageError, match="no plain file"):
        free("/proc/self/fd/1")


def contents(place: Path) -> dict[str, str | None]:
    return {str(path): path.read_text() if path.is_file() else None for path in sorted(place.rglob("*"))}
