"""Saving beside inference: in order, bounded, nothing finished lost; and what a failing storage does to a job."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import jobs_kit as kit
from smalti.errors import ImageError, OutputError, ResourceError, UsageError
from smalti.jobs import stream
from smalti.jobs.outputs import OutputFolder
from smalti.jobs.stream import OnError, Preprocess, share_threads
from smalti.labelling.infer import InferOptions, JobOptions, JobState, infer
from smalti.labelling.save import NOT_WRITTEN, Saver
from smalti.vision import images
from smalti.vision.names import NameList
from smalti.vision.preprocess import Resize
from soak.forks import forked

JOB = JobOptions("model")
NOBODY = 65534


@dataclass
class FakeManifest:
    preprocess: dict[str, Any] = field(default_factory=lambda: {"input_size": 16, "resize": "stretch"})
    labels: tuple[str, ...] | None = None


class FakeEngine:
    """Labels bright pixels 1, one picture after the other or several at the same time."""

    def __init__(self, at_once: int = 1) -> None:
        self.threads = self.concurrency = at_once
        self.manifest = FakeManifest()
        self.calls = 0
        self.ahead = 0 if at_once == 1 else stream.MAX_WORKERS + stream.DECODED_AHEAD
        self._lock = threading.Lock()

    def __call__(self, image: NDArray[np.uint8], /, *, threads: int | None = None) -> NDArray[np.int32]:
        with self._lock:
            self.calls += 1
        return (image[..., 0] > 127).astype(np.int32)


@pytest.fixture(params=[1, 3], ids=["one at a time", "several at once"])
def engine(request: pytest.FixtureRequest) -> FakeEngine:
    return FakeEngine(request.param)


def test_results_are_written_in_order_and_in_bounded_groups() -> None:
    groups: list[list[int]] = []
    slow = threading.Event()

    def encode(work: int) -> int:
        time.sleep(0.002 * (work % 3))
        return work

    def write(group: Sequence[int]) -> None:
        slow.wait(0.02)
        groups.append(list(group))

    with ThreadPoolExecutor(4) as pool, Saver(pool, encode, write) as saver:
        for number in range(60):
            saver.put(number)
            assert number - sum(map(len, groups)) <= 2 * NOT_WRITTEN
    assert sum(groups, []) == list(range(60))
    assert 1 < max(map(len, groups)) <= NOT_WRITTEN


@pytest.mark.parametrize("where", ["encode", "write"])
def test_an_error_of_saving_reaches_the_caller_and_keeps_what_came_before(where: str) -> None:
    kept: list[int] = []

    def fail(work: int) -> int:
        if where == "encode" and work == 5:
            raise OutputError("no")
        return work

    def write(group: Sequence[int]) -> None:
        for work in group:
            if where == "write" and work == 5:
                raise OutputError("no")
            kept.append(work)

    with pytest.raises(OutputError, match="no"):
        with ThreadPoolExecutor(1) as pool, Saver(pool, fail, write) as saver:
            for number in range(500):
                saver.put(number)
    assert kept == [0, 1, 2, 3, 4]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("smalti-write")]


@pytest.mark.parametrize(("threads", "concurrency", "pictures", "wanted"), [
    (1, 8, 99, (None, 1)), (2, 8, 99, (1, 2)), (2, 8, 1, (None, 1)), (8, 8, 3, (3, 2)), (8, 1, 99, (None, 1)),
    (11, 8, 99, (2, 5)), (16, 8, 99, (2, 8)), (64, 99, 99, (8, 8)), (2, 8, 0, (None, 1)),
])  # fmt: skip
def test_threads_are_shared_between_pictures(
    threads: int, concurrency: int, pictures: int, wanted: tuple[int | None, int]
) -> None:
    engine = FakeEngine()
    engine.threads, engine.concurrency = threads, concurrency
    label, at_once = share_threads(engine, Preprocess(Resize.FIT, 16), pictures)
    assert (label.keywords["threads"] if isinstance(label, partial) else None, at_once) == wanted
    assert share_threads(engine, Preprocess(Resize.NONE, None), pictures) == (engine, 1)


def test_both_ways_give_the_same_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = kit.fill(tmp_path / "in", 21)
    bad = kit.add_bad(tmp_path / "in", 9)
    for at_once in (1, 3):
        for large in (False, True):
            monkeypatch.setattr(stream, "DECODED_BYTES_AHEAD", 1 if large else 2**28)
            out = tmp_path / f"{at_once}{large}"
            states: list[JobState] = []
            job = JobOptions("model", watch=states.append)
            result = infer(FakeEngine(at_once), tmp_path / "in", out, options=InferOptions(overlay=True), job=job)
            assert result.images == len(names) and {failure.name for failure in result.failures} == set(bad)
            assert kit.results(out) == kit.results(tmp_path / "1False")
            assert states[0] == JobState(30, 0, 0, 0) and states[-1] == JobState(30, 0, 21, 9)
            counts = [state.left for state in states]
            assert counts == sorted(counts, reverse=True)


def test_a_stop_keeps_what_is_finished(engine: FakeEngine, tmp_path: Path) -> None:
    kit.fill(tmp_path / "in", 30)
    stopped = infer(engine, tmp_path / "in", tmp_path / "out", job=JobOptions("model", stop=lambda: engine.calls >= 9))
    assert not stopped.finished and 9 - engine.ahead <= stopped.images <= 9 and not stopped.reports
    assert stopped.left == 30 - stopped.images
    rest = infer(engine, tmp_path / "in", tmp_path / "out", job=JOB)
    assert rest.finished and rest.resumed == stopped.images and 0 <= engine.calls - 30 <= engine.ahead
    infer(engine, tmp_path / "in", tmp_path / "whole", job=JOB)
    assert kit.results(tmp_path / "out") == kit.results(tmp_path / "whole")


def test_an_interrupt_keeps_what_is_finished(engine: FakeEngine, tmp_path: Path) -> None:
    kit.fill(tmp_path / "in", 12)

    def interrupt() -> bool:
        if engine.calls >= 7:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        infer(engine, tmp_path / "in", tmp_path / "out", job=JobOptions("model", stop=interrupt))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("smalti-")]
    rest = infer(engine, tmp_path / "in", tmp_path / "out", job=JOB)
    assert 7 - engine.ahead <= rest.resumed <= 7 and rest.images == 12 and 0 <= engine.calls - 12 <= engine.ahead


def test_without_a_job_everything_is_done_anew_and_no_journal_is_left(engine: FakeEngine, tmp_path: Path) -> None:
    kit.fill(tmp_path / "in", 3)
    infer(engine, tmp_path / "in", tmp_path / "out", job=JOB)
    infer(engine, tmp_path / "in", tmp_path / "out")
    assert engine.calls == 6 and kit.journal_lines(tmp_path / "out") == 0
    assert not (tmp_path / "out" / kit.JOURNAL).exists()
    assert infer(engine, tmp_path / "in", tmp_path / "out", job=JOB).resumed == 0


def test_stop_at_a_bad_picture_after_saving_those_before(engine: FakeEngine, tmp_path: Path) -> None:
    kit.fill(tmp_path / "in", 20)
    (tmp_path / "in" / "0005.jpg").write_bytes(b"bad")
    with pytest.raises(ImageError, match=r"0005\.jpg: not a JPEG, PNG"):
        infer(engine, tmp_path / "in", tmp_path / "out", options=InferOptions(on_error=OnError.STOP), job=JOB)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [f"000{i}.png" for i in range(5)]


def break_reads(monkeypatch: pytest.MonkeyPatch, names: set[str], code: int = errno.EIO) -> None:
    real = images.read_file

    def read_file(path: Path, **limits: int) -> bytes:
        if path.name in names:
            try:
                raise OSError(code, os.strerror(code))
            except OSError as error:
                raise images._read_error(error) from error
        return real(path, **limits)

    monkeypatch.setattr(images, "read_file", read_file)


def test_a_picture_that_the_storage_refuses_is_tried_again_next_time(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = kit.fill(tmp_path / "in", 9)
    break_reads(monkeypatch, {names[2], names[3], names[7]})
    first = infer(engine, tmp_path / "in", tmp_path / "out", job=JOB)
    assert first.images == 6 and [failure.name for failure in first.failures] == [names[2], names[3], names[7]]
    assert all(failure.reason == "cannot read: Input/output error" for failure in first.failures)
    monkeypatch.undo()
    second = infer(engine, tmp_path / "in", tmp_path / "out", job=JOB)
    assert second.images == 9 and not second.failures and second.resumed == 6


def test_a_picture_that_may_not_be_read_is_listed(engine: FakeEngine) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        names = kit.fill(place / "in", 5)
        (place / "in" / names[2]).chmod(0)
        (place / "in" / "9.png").write_bytes(b"bad")
        (place / "out").mkdir()
        (place / "out").chmod(0o777)

        def job() -> str:
            with pytest.raises(ImageError):  # Brings every module in before the right to read them is gone.
                infer(engine, place / "in", place / "first", options=InferOptions(on_error=OnError.STOP), job=JOB)
            if os.geteuid() == 0:
                os.setuid(NOBODY)
            result = infer(engine, place / "in", place / "out", job=JOB)
            return f"{result.images} done; {result.failures[0].name}: {result.failures[0].reason}"

        done = forked(job, seconds=30)
    assert (done.kind, done.text) == ("ok", f"4 done; {names[2]}: cannot read: Permission denied")


def test_a_fork_of_a_process_where_opencv_has_threads(engine: FakeEngine, tmp_path: Path) -> None:
    kit.fill(tmp_path / "in", 5)
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        cv2.cvtColor(np.zeros((3000, 3000, 3), np.uint8), cv2.COLOR_BGR2RGB)
        done = forked(lambda: infer(engine, tmp_path / "in", tmp_path / "out", job=JOB).images, seconds=30)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)
    assert (done.kind, done.text) == ("ok", "5")


def test_a_storage_that_is_gone_stops_the_job(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = kit.fill(tmp_path / "in", 40)
    break_reads(monkeypatch, set(names[4:]), errno.ESTALE)
    with pytest.raises(OutputError, match=r"in/0006\.png: cannot read: Stale file handle; the last 3 pictures"):
        infer(engine, tmp_path / "in", tmp_path / "out", job=JOB)
    monkeypatch.undo()
    rest = infer(engine, tmp_path / "in", tmp_path / "out", job=JOB)
    assert rest.resumed == 4 and rest.images == 40 and not rest.failures


def test_no_handles_left_names_the_picture(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = kit.fill(tmp_path / "in", 6)
    break_reads(monkeypatch, {names[4]}, errno.EMFILE)
    with pytest.raises(ResourceError, match=rf"{names[4]}: cannot open a picture: Too many open files"):
        infer(engine, tmp_path / "in", tmp_path / "out", job=JOB)
    monkeypatch.undo()
    rest = infer(engine, tmp_path / "in", tmp_path / "out", job=JOB)
    assert rest.resumed == 4 and rest.images == 6


def test_groups_of_files_are_whole_or_said_not_to_be(tmp_path: Path) -> None:
    (tmp_path / "b.png").mkdir()
    groups = [[("a.png", b"1"), ("x/a.jpg", b"2")], [("b.png", b"3")], [("n" * 300, b"4")], [("c.png", b"5")]]
    with OutputFolder(tmp_path) as folder:
        written = folder.write_groups(groups)
        assert [problem is None for problem in written.problems] == [True, False, False, True]
        assert "directory" in str(written.problems[1]) and "too long" in str(written.problems[2]).lower()
        assert written.stopped is None and (tmp_path / "x" / "a.jpg").read_bytes() == b"2"
        with pytest.raises(UsageError, match="Is a directory"):
            folder.write("b.png", b"")
        assert not kit.left_overs(tmp_path)
        os.rmdir(tmp_path / "b.png")
        (tmp_path / "f").write_bytes(b"")
        assert isinstance(folder.write_groups([[("f/a.png", b"1")]]).problems[0], UsageError)


def test_a_job_inside_a_folder_keeps_its_temporary_files(tmp_path: Path) -> None:
    left, used = (tmp_path / name / f".0{kit.TEMPORARY}" for name in ("left", "used"))
    for path in (left, used):
        path.parent.mkdir()
        path.write_bytes(b"")
    mine = tmp_path / "left" / f"mine{kit.TEMPORARY}"
    mine.write_bytes(b"")
    with OutputFolder(tmp_path / "used") as inner:
        used.write_bytes(b"")
        with OutputFolder(tmp_path):
            assert used.exists() and mine.exists() and not left.exists()
        assert inner.path.is_dir()


@pytest.mark.parametrize("overlay", [False, True])
def test_pictures_are_never_written_over(overlay: bool, tmp_path: Path) -> None:
    options = InferOptions(overlay=overlay)
    kit.fill(tmp_path / "out" / "overlay", 2)
    (tmp_path / "in").symlink_to("out/overlay")
    before = kit.results(tmp_path / "out" / "overlay")
    if overlay:
        with pytest.raises(UsageError, match="0001.jpg is one of the pictures"):
            infer(FakeEngine(), tmp_path / "in", tmp_path / "out", options=options)
    else:
        infer(FakeEngine(), tmp_path / "in", tmp_path / "out", options=options)
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "sub").symlink_to(tmp_path / "out" / "overlay")
    (tmp_path / "list.txt").write_text("sub/0000.png\n")
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "sub").symlink_to(tmp_path / "out" / "overlay")
    with pytest.raises(UsageError, match="one of the pictures"):
        infer(FakeEngine(), tmp_path / "top", tmp_path / "back", file_list=tmp_path / "list.txt", options=options)
    assert kit.results(tmp_path / "out" / "overlay") == before


def test_many_names_need_little_memory() -> None:
    """A hundred thousand names of forty letters in little more than their letters."""
    names = NameList(f"{number:036}.jpg" for number in range(100_000))
    held = len(names._blob) + names._ends.itemsize * len(names._ends)
    assert held < 100_000 * 50 and names.find(f"{77_777:036}.jpg") == 77_777
