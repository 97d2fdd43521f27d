"""Names of many pictures, and what became of them: exact in little memory."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from smalti.errors import UsageError
from smalti.labelling.ledger import Ledger, report_csv, report_json
from smalti.vision import names as module
from smalti.vision.names import NameList, OutputNames, strip_suffix
from smalti.vision.voc import find_pictures, output_names

ODD = ["a.jpg", "\udcff.png", "ä/b.jpeg", "new\nline.png", "", "x" * 300, "zero\0.jpg", "🙂.PNG"]


def expected(names: list[str]) -> list[str]:
    """The rule by itself: whoever shares a name keeps the full one, until nobody does."""
    full: set[int] = set()
    while True:
        chosen = [(name if i in full else strip_suffix(name)) + ".png" for i, name in enumerate(names)]
        shared = {i for i, name in enumerate(chosen) if Counter(chosen)[name] > 1} - full
        if not shared:
            return chosen
        full |= shared


def test_a_list_gives_its_names_back() -> None:
    names = NameList(ODD)
    assert list(names) == ODD and [names[i] for i in range(len(ODD))] == ODD and names[-1] == ODD[-1]
    assert names[2:4] == ODD[2:4] and len(names) == len(ODD)
    assert [names.find(name) for name in ODD] == list(range(len(ODD))) and names.find("missing") is None
    with pytest.raises(IndexError):
        names[len(ODD)]
    assert len(NameList()) == 0 and NameList().find("a") is None and NameList().repeated() is None


@pytest.mark.parametrize("weak", [False, True], ids=["as it is", "all hashes equal"])
def test_output_names_follow_the_rule(weak: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if weak:
        monkeypatch.setattr(module, "hash_names", lambda names: np.zeros(len(names), dtype=np.int64))
        monkeypatch.setattr(module, "hash", lambda name: 0, raising=False)
    choices = random.Random(5)
    suffixes = (".jpg", ".png", ".jpeg", ".JPG", ".jpg.png", ".png.png", "")
    for _ in range(60):
        names = list(dict.fromkeys(choices.choice("abc") + choices.choice(suffixes) for _ in range(9)))
        found = OutputNames(names)
        assert list(found) == expected(names) and len(set(found)) == len(names)
        assert [found.find(name) for name in found] == list(range(len(names))) and found.find("other") is None
    assert NameList(["a", "b", "a", "b"]).repeated() == 2 and NameList(["b", "a"]).repeated() is None


def test_names_of_a_list_must_differ(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "list.txt").write_text("a\na.png\n")
    entries = find_pictures(tmp_path, tmp_path / "list.txt")
    assert [entry.name for entry in entries] == ["a.png", "a.png"]
    with pytest.raises(UsageError, match=r"names a\.png twice"):
        output_names(entries)


def test_a_folder_is_sorted_and_its_links_are_known(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.png", "c.txt", "ab.jpeg", "a\x01.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a.jpg").symlink_to("b.jpg")
    found = find_pictures(tmp_path)
    assert [entry.name for entry in found] == ["a\x01.png", "a.jpg", "a.png", "ab.jpeg", "b.jpg"]
    assert list(found.links) == [1] and found[-1].name == "b.jpg"
    assert len(find_pictures(tmp_path, image_num=2)) == 2
    (tmp_path / "list.txt").write_bytes(b"b\n\nmissing\na.jpg\n" + b"x" * 5000 + b"\n")
    listed = find_pictures(tmp_path, tmp_path / "list.txt")
    assert [entry.problem for entry in listed] == [None, "no such picture", None, "no such picture"]
    assert list(listed.links) == [2] and listed[-1].problem and listed[1:3] == [listed[1], listed[2]]


def test_a_ledger_counts_and_reports_in_order() -> None:
    ledger, names = Ledger(5), ["a", "b\n", "c", "d,\"'", "e"]
    ledger.set_failed(1, "no good")
    ledger.set_done(0)
    ledger.set_failed(3, "no good")
    ledger.set_failed(2, "other")
    assert list(ledger.pending()) == [4] and (ledger.done, ledger.failed, ledger.left) == (1, 3, 1)
    ledger.set_done(2)
    ledger.set_done(2)
    ledger.forget(0)
    assert list(ledger.pending()) == [0, 4] and (ledger.done, ledger.failed, ledger.left) == (1, 2, 2)
    report = json.loads(b"".join(report_json(ledger, names, {"model": "m"})))
    failures = [{"name": "b\\n", "reason": "no good"}, {"name": "d,\"'", "reason": "no good"}]
    assert report["failures"] == failures and (report["pictures"], report["done"], report["failed"]) == (5, 1, 2)
    text = b"".join(report_csv(ledger, names, OutputNames(names))).decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["name", "result", "output", "reason"] and text.count("\n") == 6
    assert rows[1:] == [
        ["a", "left", "", ""],
        ["b\\n", "failed", "", "no good"],
        ["c", "done", "c.png", ""],
        ["d,\"'", "failed", "", "no good"],
        ["e", "left", "", ""],
    ]
    assert json.loads(b"".join(report_json(Ledger(0), [], {})))["failures"] == []
