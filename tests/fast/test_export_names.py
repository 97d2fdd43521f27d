"""The class names beside what is exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from smalti.delivery.export import ExportOptions, ExportResult, export
from smalti.errors import FetchError
from smalti.fetch.class_names import name_classes
from smalti.fetch.registry import DEMO_LABELS
from smalti.fetch.stamp import Stamp, read_stamp, write_stamp
from smalti.vision.classes import LABELS_FILE, Classes, read_classes


def run(out: Path, *, force: bool = False) -> ExportResult:
    return export(ExportOptions(out, "demo", force=force))


def older_note(root: Path) -> Stamp:
    """Write the note that an export without class names wrote; return the one that was there."""
    stamp = read_stamp(root)
    assert stamp is not None
    files = tuple(file for file in stamp.files if file.path != LABELS_FILE)
    assert len(files) == len(stamp.files) - 1
    write_stamp(root, replace(stamp, files=files))
    return stamp


def test_names_are_beside_the_graph_and_the_pictures(tmp_path: Path) -> None:
    both = export(ExportOptions(tmp_path, "demo", "demo"))
    assert both.graph is not None and both.voc_root is not None
    assert both.labels == both.graph.parent / LABELS_FILE
    for folder in (both.graph.parent, both.voc_root):
        assert read_classes(folder / LABELS_FILE) == Classes(DEMO_LABELS)
    alone = export(ExportOptions(tmp_path, dataset="demo"))
    assert alone.was_cached and alone.labels == both.voc_root / LABELS_FILE
    assert alone.to_json()["labels"] == str(alone.labels)


def test_the_folder_of_an_earlier_version_gets_its_names(tmp_path: Path) -> None:
    labels = run(tmp_path).labels
    assert labels is not None
    stamp = older_note(labels.parent)
    assert run(tmp_path).was_cached and read_stamp(labels.parent) == stamp, "killed between the file and the note"
    older_note(labels.parent)
    labels.unlink()
    assert run(tmp_path).was_cached and read_classes(labels).names == DEMO_LABELS
    assert run(tmp_path, force=True).labels == labels, "nothing in the folder is foreign"


def test_names_of_somebody_else_are_left_alone(tmp_path: Path) -> None:
    labels = run(tmp_path).labels
    assert labels is not None
    older_note(labels.parent)
    labels.write_text("mine\n")
    assert run(tmp_path).labels == labels and labels.read_text() == "mine\n"
    (tmp_path / "other").mkdir()
    with pytest.raises(FetchError, match="no note of what was exported"):
        name_classes(tmp_path / "other", DEMO_LABELS)
