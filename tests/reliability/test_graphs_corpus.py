"""Every small hostile file that we keep is given to its reader again, also without asserts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import seeds, targets

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 2048


def test_every_file_of_the_corpus_ends_as_it_must() -> None:
    count, wrong = targets.replay()
    assert count >= 140
    assert not wrong


def test_without_asserts_the_same_files_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-O", "-W", "error", "-m", "fuzz.targets"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 wrong" in done.stdout


def test_the_corpus_is_what_its_rules_make() -> None:
    for folder, files in (("graphs", seeds.graphs()), ("models", seeds.models())):
        kept = {str(p.relative_to(targets.CORPUS / folder)) for p in (targets.CORPUS / folder).glob("*/*")}
        assert kept >= set(files)
        assert [n for n, data in files.items() if (targets.CORPUS / folder / n).read_bytes() != data] == []


def test_files_of_the_corpus_are_small() -> None:
    assert [p.name for p in targets.CORPUS.glob("*/*/*") if p.stat().st_size > LARGEST] == []


@pytest.mark.parametrize(("folder", "data"), [("accepted", b"\0"), ("refused", None)])
def test_a_file_that_ends_otherwise_is_seen(folder: str, data: bytes | None, tmp_path: Path) -> None:
    (tmp_path / "graphs" / folder).mkdir(parents=True)
    taken = (targets.CORPUS / "graphs" / "accepted" / "scale-that-underflows.pb").read_bytes()
    (tmp_path / "graphs" / folder / "file.pb").write_bytes(taken if data is None else data)
    count, wrong = targets.replay(tmp_path)
    assert (count, len(wrong)) == (1, 1)
