"""Journals: what is written is read back, what is torn or foreign is not, and another job is told apart."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from smalti.errors import OutputError, UsageError
from smalti.labelling.journal import JOURNAL_FILE, JobIdentity, Journal, Record, open_journal, remove_journal

JOB = JobIdentity("a" * 64, "x86-64", "/photos", {"--resize": "fit", "--overlay": "false"}, {"smalti": "1"})
RECORDS = [
    Record("a.jpg", "a.png", (12, 7), source=(3, 1_700_000_000_000_000_001)),
    Record("new\nline.png", "new\nline.png", (1,)),
    Record("\udcff\udcfe.jpg", None, reason="the file is empty", source=(0, 5)),
    Record("far.jpg", None, reason="cannot read: Input/output error", passing=True),
]


def replayed(folder: Path, job: JobIdentity = JOB, **options: bool) -> tuple[list[Record], Journal]:
    found: list[Record] = []
    return found, open_journal(folder, job, found.append, **options)


def written(folder: Path) -> Path:
    found, journal = replayed(folder)
    with journal:
        assert not found
        journal.append(RECORDS[:1])
        journal.append(RECORDS[1:])
    return folder / JOURNAL_FILE


def test_what_is_appended_is_replayed(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert path.read_bytes().isascii() and len(path.read_bytes().splitlines()) == 5
    found, journal = replayed(tmp_path)
    journal.close()
    journal.close()
    assert found == RECORDS


def test_every_cut_of_a_journal_loses_lines_at_its_end_only(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = path.read_bytes()
    head = data.index(b"\n") + 1
    for length in range(head, len(data)):
        path.write_bytes(data[:length])
        found, journal = replayed(tmp_path)
        with journal:
            whole = data[:length].count(b"\n") - 1
            assert found == RECORDS[:whole]
            journal.append(RECORDS[:1])
        found, journal = replayed(tmp_path)
        journal.close()
        assert found == [*RECORDS[:whole], RECORDS[0]]
    for length in range(1, head):
        path.write_bytes(data[:length])
        with pytest.raises(UsageError, match="not a journal"):
            replayed(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        b"\0" * 100,
        b"{}",
        b"[1]",
        b'{"name": 1}',
        b'{"name": "x"}',
        b'{"name": "x", "output": "x.png", "sizes": [1.5]}',
        b'{"name": "x", "output": 3, "sizes": [1]}',
        b'{"name": "x", "failed": []}',
        rb'{"name": "x", "failed": "half \ud800"}',
        b"[" * 50_000,
        b'{"name": "x", "failed": "' + b"y" * 70_000 + b'"}',
    ],
    ids=lambda line: line[:24].decode(),
)
def test_a_line_that_cannot_be_read_is_passed_over(line: bytes, tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], line + b"\n", *lines[2:]]))
    found, journal = replayed(tmp_path)
    journal.close()
    assert found == RECORDS


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (replace(JOB, model="b" * 64), "the model (was aaaaaaaaaaaa, is bbbbbbbbbbbb)"),
        (replace(JOB, target="x86-64-v4"), "the model's CPU (was x86-64, is x86-64-v4)"),
        (replace(JOB, source="/a\nb"), "the picture folder (was /photos, is /a\\nb)"),
        (replace(JOB, options={"--resize": "none", "--overlay": "false"}), "--resize (was fit, is none)"),
        (replace(JOB, options={"--resize": "fit"}), "--overlay (was false, is nothing)"),
        (replace(JOB, versions={"smalti": "2"}), "smalti (was 1, is 2)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_job_is_refused_with_what_differs(other: JobIdentity, text: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    with pytest.raises(UsageError) as refused:
        replayed(tmp_path, other)
    assert text in str(refused.value) and "--restart" in str(refused.value) and path.read_bytes() == before
    found, journal = replayed(tmp_path, other, restart=True)
    journal.close()
    assert not found and json.loads(path.read_bytes())["model"] == other.model


def test_files_of_others_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / JOURNAL_FILE
    for content in (b"", b"my own notes\n", b'{"format": "smalti-journal-2"}\n'):
        path.write_bytes(content)
        for restart in (False, True):
            with pytest.raises(UsageError, match="not a journal that this Smalti can read"):
                replayed(tmp_path, restart=restart)
        remove_journal(tmp_path)
        assert path.read_bytes() == content
    path.unlink()
    path.symlink_to("elsewhere")
    (tmp_path / "elsewhere").write_bytes(b"precious")
    with pytest.raises(OutputError, match="cannot write"):
        replayed(tmp_path)
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_a_refused_line_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    _, journal = replayed(tmp_path)
    real, calls = os.write, []

    def write(handle: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(28, os.strerror(28))
        return real(handle, data[:9])

    with journal:
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(OutputError, match=f"cannot write .*{JOURNAL_FILE}: No space left"):
            journal.append(RECORDS)
        monkeypatch.undo()
        assert len(calls) == 2 and path.read_bytes() == before
        journal.append(RECORDS[:1])
    found, journal = replayed(tmp_path)
    journal.close()
    assert found == [*RECORDS, RECORDS[0]]
