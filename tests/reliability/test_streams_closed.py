"""Commands whose standard input, output or error is closed, full or no longer read; and whose folder is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import jobs_kit as kit
from smalti.cli.exit_codes import ExitCode

NO_ROOM = "cannot write the result to standard output: No space left on device"
BRIEFLY = "--iterations 2 --duration 1ms --warmup 0 --cold-starts 0".split()
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.make_model(tmp_path_factory.mktemp("model"))


def in_shell(arguments: Sequence[str], redirected: str, folder: Path | None = None) -> tuple[int, str]:
    """Run a command with its streams redirected as said; return its exit code and what came on standard error."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$@" {redirected}', "sh", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        cwd=folder,
        check=False,
    )
    return done.returncode, done.stderr


def smalti(*arguments: str) -> list[str]:
    return [sys.executable, "-c", kit.MAIN, *arguments]


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_job_with_closed_streams_is_the_same(model: Path, tmp_path: Path, closed: str) -> None:
    kit.fill(tmp_path / "in", 4)
    assert in_shell(kit.command(model, tmp_path / "in", tmp_path / "open"), "")[0] == 0
    assert in_shell(kit.command(model, tmp_path / "in", tmp_path / "closed"), closed)[0] == 0
    assert kit.results(tmp_path / "closed") == kit.results(tmp_path / "open")


@needs_full
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_result_that_cannot_be_shown(model: Path, tmp_path: Path, form: list[str]) -> None:
    kit.fill(tmp_path / "in", 4)
    arguments = [*kit.command(model, tmp_path / "in", tmp_path / "out"), *form]
    code, said = in_shell(arguments, ">/dev/full")
    assert (code, said.splitlines()[-1]) == (ExitCode.FETCH, f"smalti: {NO_ROOM}")
    assert len(list((tmp_path / "out").glob("*.png"))) == 4
    code, said = in_shell(smalti("--version"), ">/dev/full")
    assert (code, said) == (ExitCode.FETCH, f"smalti: {NO_ROOM}\n")
    assert in_shell(smalti("--help"), ">/dev/full")[0] == ExitCode.FETCH


@needs_full
def test_a_job_goes_on_where_its_notes_cannot_be_written(model: Path, tmp_path: Path) -> None:
    kit.fill(tmp_path / "in", 4)
    (tmp_path / "in" / "bad.png").write_bytes(b"bad")
    code, _ = in_shell(kit.command(model, tmp_path / "in", tmp_path / "out"), "2>/dev/full")
    assert code == ExitCode.DONE_WITH_ERRORS and len(list((tmp_path / "out").glob("*.png"))) == 4


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_reader_that_ended_first(model: Path, form: list[str]) -> None:
    arguments = smalti("inspect", str(model), *form)
    code, said = in_shell(["/bin/sh", "-c", '{ "$@"; echo "code $?" >&2; } | true', "sh", *arguments], "")
    assert (code, said) == (0, f"code {ExitCode.BROKEN_PIPE:d}\n")


@pytest.mark.parametrize("command", [["infer", "--help"], ["bench", "--model", "MODEL", *BRIEFLY]], ids=lambda c: c[0])
def test_help_and_tables_whose_reader_ended_first(model: Path, command: list[str]) -> None:
    arguments = smalti(*(str(model) if word == "MODEL" else word for word in command))
    code, said = in_shell(["/bin/sh", "-c", '{ sleep 1; "$@"; echo "code $?" >&2; } | true', "sh", *arguments], "")
    assert code == 0 and said.endswith(f"code {ExitCode.BROKEN_PIPE:d}\n") and "Traceback" not in said, said


@needs_full
@pytest.mark.parametrize("redirected", [">/dev/full", "| true"])
def test_a_report_is_kept_where_its_table_cannot_be_shown(model: Path, tmp_path: Path, redirected: str) -> None:
    arguments = smalti("bench", "--model", str(model), *BRIEFLY, "--save", str(tmp_path / "r.json"))
    _, said = in_shell(arguments, redirected)
    assert json.loads((tmp_path / "r.json").read_text())["performance"], said
    assert NO_ROOM in said or redirected == "| true"


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:surrogateescape", "latin-1:strict"])
def test_names_that_the_terminal_cannot_show(
    model: Path, tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / os.fsdecode(b"m\xff.smalti")
    odd.write_bytes(model.read_bytes())
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    reports = ["--plot", str(tmp_path / "r.svg"), "--csv", str(tmp_path / "r.csv")]
    for command in (["inspect", str(odd)], ["bench", "--model", str(odd), *BRIEFLY, *reports]):
        done = subprocess.run(smalti(*command), capture_output=True, timeout=120, check=False)
        assert done.returncode == ExitCode.OK, done.stderr
        assert rb"\udcff" in done.stdout
    assert r"m\udcff.smalti" in (tmp_path / "r.svg").read_text(encoding="utf-8")


def test_the_folder_of_the_command_is_gone(model: Path, tmp_path: Path) -> None:
    kit.fill(tmp_path / "in", 2)
    (tmp_path / "here").mkdir()
    arguments = kit.command(model, tmp_path / "in", Path("out"))
    arguments[2] = "import os\nos.rmdir(os.getcwd())\n" + kit.MAIN
    code, said = in_shell(arguments, "", tmp_path / "here")
    assert code == ExitCode.FETCH and "the folder in which the command was started is gone" in said, said


def test_results_among_the_pictures_of_a_folder(model: Path, tmp_path: Path) -> None:
    """Label maps beside the pictures are pictures to the next run: a stopped job would not go on but begin another."""
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(kit.picture_bytes(number))
    (tmp_path / "link").symlink_to("in")
    for out in ("in", "link"):
        done = kit.run(kit.command(model, tmp_path / "in", tmp_path / out))
        assert done.returncode == ExitCode.USAGE and "would take the results for pictures" in done.stderr
    (tmp_path / "in" / "overlay").mkdir()
    kit.fill(tmp_path / "in" / "overlay", 1)
    done = kit.run(kit.command(model, tmp_path / "in" / "overlay", tmp_path / "in", "--overlay"))
    assert done.returncode == ExitCode.USAGE and "would take the results for pictures" in done.stderr
    (tmp_path / "list").write_text("1.jpg\n2.jpg\n")
    done = kit.run(kit.command(model, tmp_path / "in", tmp_path / "in", "--file-list", str(tmp_path / "list")))
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "in").glob("*.png")} == {"1.png", "2.png"}
