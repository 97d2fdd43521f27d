"""Long jobs: stopped, killed or refused by the disk at any moment, they go on and end as an unbroken run does."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import jobs_kit as kit
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.labelling.journal import JOURNAL_FILE

PICTURES = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, good and bad pictures in in/, and in whole/ what an unbroken run makes of them."""
    folder = tmp_path_factory.mktemp("jobs")
    kit.make_model(folder)
    kit.fill(folder / "in", PICTURES)
    kit.add_bad(folder / "in", 9)
    kit.add_odd_names(folder / "in")
    done = infer(folder, folder / "whole")
    assert done.returncode == ExitCode.DONE_WITH_ERRORS, done.stderr
    return folder


def arguments(place: Path, out: Path, *more: str) -> list[str]:
    return kit.command(place / "m.smalti", place / "in", out, "--overlay", *more)


def infer(
    place: Path, out: Path, *more: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return kit.run(arguments(place, out, *more), environment=environment)


def assert_whole(place: Path, out: Path) -> None:
    assert kit.results(out) == kit.results(place / "whole")


def test_the_unbroken_run(place: Path) -> None:
    report = json.loads((place / "whole" / "smalti-report.json").read_text())
    rows = (place / "whole" / "smalti-report.csv").read_text().splitlines()
    assert (report["done"], report["failed"], report["pictures"]) == (PICTURES + 9, 9, PICTURES + 18)
    models = [hashlib.sha256(path.read_bytes()).hexdigest() for path in place.glob("*.smalti")]
    assert report["sha256"] in models and report["model"] not in models
    assert len(report["failures"]) == 9 and len(rows) == 1 + PICTURES + 18
    kinds = {failure["name"].rsplit("-")[-1].split(".")[0]: failure["reason"] for failure in report["failures"]}
    assert "empty" in kinds["empty"] and "pixels" in kinds["bomb"] and "regular" in kinds["folder"]
    assert "regular" in kinds["pipe"] and "regular" in kinds["pipelink"] and "No such file" in kinds["dangling"]
    assert {"twin.jpg.png", "twin.png.png", "twin.JPG.png"} <= {p.name for p in (place / "whole").iterdir()}
    assert len([p for p in (place / "whole").iterdir() if p.suffix == ".png"]) == PICTURES + 9


def test_kill_at_random_moments(place: Path, tmp_path: Path) -> None:
    """Killed a few times, a job redoes little, leaves no half file and ends with the bytes of an unbroken run."""
    moments = random.Random(37)
    out, whole = tmp_path / "out", kit.results(place / "whole")
    for _ in range(4):
        before = kit.journal_lines(out)
        process = kit.start(arguments(place, out))
        with process:
            kit.wait_for_results(out, min(before + moments.randrange(1, 8), PICTURES))
            process.kill()
        assert not kit.partial(out, whole)
    listed = kit.journal_lines(out)
    done = infer(place, out, "--json")
    assert done.returncode == ExitCode.DONE_WITH_ERRORS
    told = json.loads(done.stdout)
    assert told["resumed"] >= listed - 9 > 0 and told["images"] == PICTURES + 9 and told["finished"]
    assert "finished by an earlier run" in done.stderr and not kit.left_overs(out)
    assert_whole(place, out)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_job_and_keeps_what_is_finished(place: Path, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "out"
    process = kit.start(kit.slow(arguments(place, out)))
    with process:
        kit.wait_for_results(out, 2)
        start = time.monotonic()
        process.send_signal(number)
        _, shown = process.communicate(timeout=60)
    assert time.monotonic() - start < 30
    assert process.returncode == ExitCode.INTERRUPTED and "Traceback" not in shown
    assert "give the same command again" in shown and not kit.left_overs(out)
    assert not (out / "smalti-report.json").exists()
    assert not kit.partial(out, kit.results(place / "whole"))
    assert infer(place, out).returncode == ExitCode.DONE_WITH_ERRORS
    assert_whole(place, out)


def test_a_torn_line_lost_files_and_a_changed_picture_are_done_again(place: Path, tmp_path: Path) -> None:
    out, source = tmp_path / "out", tmp_path / "in"
    shutil.copytree(place / "in", source, symlinks=True, ignore=shutil.ignore_patterns("bad-*"))
    base = kit.command(place / "m.smalti", source, out)
    assert kit.run(base).returncode == ExitCode.OK
    whole = kit.results(out)
    journal = out / JOURNAL_FILE
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:-1], lines[-1][:-7]]))
    (out / "0001.png").unlink()
    (out / "0002.png").write_bytes(b"cut")
    (out / f".0123456789abcdef{kit.TEMPORARY}").write_bytes(b"left over")
    (out / "smalti-report.csv").unlink()
    again = json.loads(kit.run([*base, "--json"]).stdout)
    assert again["images"] - again["resumed"] == 3 and kit.results(out) == whole
    (source / "0003.png").write_bytes((source / "0000.png").read_bytes())
    assert json.loads(kit.run([*base, "--json"]).stdout)["resumed"] == PICTURES + 9 - 1
    assert kit.results(out)["0003.png"] == whole["0000.png"]


HOLDER = """
import sys, time
sys.path.insert(0, {source!r})
from pathlib import Path
from smalti.jobs.outputs import OutputFolder
with OutputFolder(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_second_job_and_another_job_are_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(arguments(place, out, "--image-num", "5")[3:]) == ExitCode.OK
    process = kit.start([sys.executable, "-c", HOLDER.format(source=str(kit.SOURCE)), str(out)])
    with process:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        assert run(arguments(place, out)[3:]) == ExitCode.RESOURCE
        assert f"another job is writing to {out}" in capsys.readouterr().err
        process.kill()
    before = kit.results(out)
    other = kit.make_model(tmp_path, mutable=True)
    for base, text in (
        (kit.command(other, place / "in", out, "--overlay"), "the model (was"),
        (arguments(place, out, "--output-size", "input"), "--output-size (was original, is input)"),
        (kit.command(place / "m.smalti", place / "in", out), "--overlay (was true, is false)"),
        (kit.command(place / "m.smalti", place / "whole", out, "--overlay"), "the picture folder (was"),
    ):
        assert run(base[3:]) == ExitCode.USAGE
        shown = capsys.readouterr().err
        assert text in shown and "--restart" in shown
    assert kit.results(out) == before
    assert run(arguments(place, out, "--restart")[3:]) == ExitCode.DONE_WITH_ERRORS
    assert_whole(place, out)


def test_failed_pictures_are_tried_again_when_asked(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, source = tmp_path / "out", tmp_path / "in"
    kit.fill(source, 3)
    (source / "x.jpg").symlink_to("y.txt")
    base = kit.command(place / "m.smalti", source, out)[3:]
    assert run(base) == ExitCode.DONE_WITH_ERRORS
    report = (out / "smalti-report.json").read_bytes()
    capsys.readouterr()
    assert run([*base, "--json"]) == ExitCode.DONE_WITH_ERRORS
    told = json.loads(capsys.readouterr().out)
    assert told["failed"] == 1 and told["resumed"] == 3 and not told["stages"]
    assert told["report"] == [str(out / name) for name in kit.REPORTS]
    assert (out / "smalti-report.json").read_bytes() == report
    assert run([*base, "--on-error", "stop"]) == ExitCode.BAD_DATA
    assert run([*base, "--report", str(tmp_path / "r.txt")]) == ExitCode.USAGE
    (source / "y.txt").write_bytes(kit.picture_bytes(5))
    assert run([*base, "--retry-failed", "--report", str(tmp_path / "r.csv")]) == ExitCode.OK
    assert (tmp_path / "r.csv").read_text() == (out / "smalti-report.csv").read_text()
    assert "x.jpg,done,x.png," in (tmp_path / "r.csv").read_text()


@pytest.mark.skipif(kit.compiler() is None, reason="there is no C compiler to build the faults with")
@pytest.mark.parametrize(
    ("call", "error", "nth", "times"),
    [
        ("write", errno.ENOSPC, 3, 10**6),
        ("fsync", errno.EIO, 5, 1),
        ("open", errno.EMFILE, 9, 10**6),
        ("rename", 0, 9, 1),
    ],
)
def test_faults_of_the_disk_are_survived(
    place: Path, tmp_path: Path, call: str, error: int, nth: int, times: int
) -> None:
    """The nth call that concerns the output folder fails or kills: the cause is named, and the job goes on."""
    out, faults, whole = tmp_path / "out", kit.Faults(tmp_path), kit.results(place / "whole")
    done = infer(place, out, environment=faults.environment(out, call, error, nth, times))
    assert faults.fired() > 0 and not kit.partial(out, whole)
    if error:
        assert done.returncode == ExitCode.FETCH and "Traceback" not in done.stderr
        assert os.strerror(error) in done.stderr and str(out) in done.stderr
    else:
        assert done.returncode == -signal.SIGKILL
    listed = kit.journal_lines(out)
    assert not kit.lost(out)
    assert json.loads(infer(place, out, "--json").stdout)["resumed"] >= listed - 9
    assert kit.results(out) == whole
