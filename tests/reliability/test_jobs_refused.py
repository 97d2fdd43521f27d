"""What a job says before its work, instead of after it or with a result lost; and threads that the system refuses."""

from __future__ import annotations

import codecs
import os
import threading
from pathlib import Path

import pytest

import jobs_kit as kit
from smalti.cli.exit_codes import ExitCode

FEW_THREADS = """
import threading
def start(*a, real={real}, left=[{count}], **k):
    if left[0] == 0:
        raise RuntimeError("can't start new thread")
    left[0] -= 1
    return real(*a, **k)
{real} = start
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.make_model(tmp_path_factory.mktemp("model"), "m.json")


def refused(model: Path, place: Path, *more: str) -> str:
    """Run a job that must refuse to begin and return what it said."""
    done = kit.run(kit.command(model, place / "in", place / "out", *more))
    assert done.returncode == ExitCode.USAGE, done.stderr
    assert not list((place / "out").glob("*.png")) and done.stderr.count("\n") == 2, done.stderr
    return done.stderr.splitlines()[-1]


def test_a_report_is_not_written_over_what_the_job_reads(model: Path, tmp_path: Path) -> None:
    names = kit.fill(tmp_path / "in", 2)
    listed = tmp_path / "list.csv"
    listed.write_text("".join(f"{name}\n" for name in names))
    (tmp_path / "link.csv").symlink_to("list.csv")
    before = model.read_bytes()
    for report in (listed, tmp_path / "link.csv"):
        said = refused(model, tmp_path, "--file-list", str(listed), "--report", str(report))
        assert "which the job reads" in said
    done = kit.run(kit.command(model, tmp_path / "in", tmp_path / "out", "--report", str(model)))
    assert done.returncode == ExitCode.USAGE and "which the job reads" in done.stderr
    assert model.read_bytes() == before and listed.read_text().split() == names


def test_folders_and_files_in_each_others_place(model: Path, tmp_path: Path) -> None:
    kit.fill(tmp_path / "in", 2)
    (tmp_path / "r.json").mkdir()
    done = kit.run(kit.command(model, tmp_path / "in", tmp_path / "out", "--report", str(tmp_path / "r.json")))
    assert done.returncode == ExitCode.USAGE and "r.json is a folder" in done.stderr
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "overlay").write_text("")
    assert "overlay is not a folder" in refused(model, tmp_path, "--overlay")
    (tmp_path / "out" / "smalti-report.csv").mkdir()
    assert "smalti-report.csv is a folder" in refused(model, tmp_path)


def test_lists_with_whole_paths_and_of_other_encodings(model: Path, tmp_path: Path) -> None:
    names = kit.fill(tmp_path / "in", 2)
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{tmp_path / 'in' / name}\n" for name in names))
    arguments = kit.command(model, Path(os.path.relpath(tmp_path / "in")), tmp_path / "out", "--file-list", str(listed))
    done = kit.run(arguments)
    assert done.returncode == 0 and len(list((tmp_path / "out").glob("*.png"))) == 2, done.stderr
    for mark, code in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        listed.write_bytes(mark + "".join(f"{name}\n" for name in names).encode(code))
        done = kit.run(arguments)
        assert done.returncode == ExitCode.USAGE and "is UTF-16: save it as UTF-8" in done.stderr


def test_the_system_has_no_thread_left(model: Path, tmp_path: Path) -> None:
    """Whichever thread it is that does not start: a message, and the next run does the rest."""
    kit.fill(tmp_path / "in", 12)
    real = next(f"threading.{n}" for n in ("_start_joinable_thread", "_start_new_thread") if hasattr(threading, n))
    ended = []
    with kit.Server(tmp_path) as server:
        assert server.run(kit.command(model, tmp_path / "in", tmp_path / "whole")).returncode == 0
        for count in range(6):
            again = kit.command(model, tmp_path / "in", tmp_path / f"few{count}")
            few = [*again[:2], FEW_THREADS.format(real=real, count=count) + again[2], *again[3:]]
            done = kit.run(few, timeout=60)
            ended.append(done.returncode)
            assert done.returncode in (ExitCode.OK, ExitCode.RESOURCE), done.stderr
            assert done.returncode == 0 or "the system refuses another thread" in done.stderr
            assert server.run(again).returncode == 0
            assert kit.results(tmp_path / f"few{count}") == kit.results(tmp_path / "whole")
    assert ended[0] == ExitCode.RESOURCE and ended[-1] == ExitCode.OK
