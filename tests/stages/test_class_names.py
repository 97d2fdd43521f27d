"""Names and colours of classes: from the file that brings them to tables, pictures and reports, and never VOC's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graph_builder import GraphBuilder
from smalti.artifact.colours import colours_of
from smalti.artifact.reader import open_model
from smalti.building.build import build as build_model
from smalti.building.build import build_table
from smalti.cli.main import run
from smalti.comparing import maps
from smalti.compiler import CompileOptions
from smalti.demo.generator import CLASS_NAMES, demo_image
from smalti.errors import DamagedModelError
from smalti.segmenter import label_map
from smalti.segmenter.segmenter import Segmenter
from smalti.target.host import resolve_targets
from smalti.vision.classes import class_names
from smalti.vision.images import read_mask
from smalti.vision.overlay import add_legend
from smalti.vision.palette import VOC_LABELS, voc_palette

FOREIGN = set(VOC_LABELS) - set(CLASS_NAMES)
GRAPH = "data/demo/frozen_inference_graph.pb"
VAL = ["--file-list", "data/demo_voc/ImageSets/Segmentation/val.txt", "--image-num", "4"]


def words(text: str) -> set[str]:
    """Return the words of a text, without what tables and JSON put around them."""
    return {word.strip('",:[]{}()%') for word in text.split()}


@pytest.fixture
def legends(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names that legends were drawn with, most recent last."""
    seen: list[list[str]] = []

    def watch(picture: NDArray[np.uint8], labels: NDArray[np.integer], names: Sequence[str], **how: Any) -> Any:
        seen.append([str(name) for name in names])
        return add_legend(picture, labels, names, **how)

    for module in (label_map, maps):
        monkeypatch.setattr(module, "add_legend", watch)
    return seen


def said(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """Return what a command prints, which must succeed."""
    assert run(list(command)) == 0, command
    return capsys.readouterr().out


def test_the_demo_has_its_own_names_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], legends: list[list[str]]
) -> None:
    monkeypatch.chdir(tmp_path)
    exported = said(capsys, "export", "--model", "demo", "--dataset", "demo", "--output-dir", "data")
    assert "data/demo/labels.txt" in exported
    names = "data/demo/labels.txt"
    assert Path(names).read_text().split() == list(CLASS_NAMES) == Path("data/demo_voc/labels.txt").read_text().split()
    build = ["build", "--tf-model", GRAPH, "--output-model-path"]
    assert "9 names: background, disk" in " ".join(said(capsys, *build, "m.smalti", "--labels", names).split())
    said(capsys, *build, "plain.smalti")
    infer = ["--image-dir", "data/demo_voc", *VAL, "--overlay", "--output-dir"]
    masks = ["--gt-dir", "data/demo_voc", *VAL]
    flips = ["--tf-model", GRAPH, "--image-dir", "data/demo_voc", *VAL[:2], "--image-num", "1", "--maps"]
    own = {
        "eval, files": ["eval", "--pred-dir", "labels", *masks, "--labels", names, "--confusion"],
        "eval, model": ["eval", "--model", "m.smalti", "--image-dir", "data/demo_voc", *masks, "--confusion"],
        "eval, JSON": ["eval", "--model", "m.smalti", "--image-dir", "data/demo_voc", *masks, "--json"],
        "compare": ["compare", "--model", "m.smalti", *flips, "flips"],
        "inspect": ["inspect", "m.smalti"],
    }
    numbers = {
        "eval, files": ["eval", "--pred-dir", "labels", *masks, "--confusion"],
        "eval, model": ["eval", "--model", "plain.smalti", "--image-dir", "data/demo_voc", *masks],
        "compare": ["compare", "--model", "plain.smalti", *flips, "flips"],
    }
    given = {
        "eval": [*numbers["eval, model"], "--labels", names],
        "compare": [*numbers["compare"], "--labels", names],
    }
    for model, wanted in (("plain.smalti", []), ("m.smalti", list(CLASS_NAMES))):
        said(capsys, "infer", "--model", model, *infer, "labels", "--restart")
        assert len(legends) == 4 and all(drawn == wanted for drawn in legends), "square is square, disk is disk"
        legends.clear()
    for what, command in own.items():
        text = said(capsys, *command)
        assert not words(text) & FOREIGN, what
        if what != "compare":
            assert {"square", "disk"} <= words(text), what
    assert legends and all(drawn == list(CLASS_NAMES) for drawn in legends)
    legends.clear()
    mious = []
    for what, command in numbers.items():
        text = said(capsys, *command)
        assert not words(text) & (FOREIGN | set(CLASS_NAMES)), what
        if what != "compare":
            assert "class 8" in text and "class 9" not in text
            mious.append(json.loads(said(capsys, *command, "--json")))
    assert all(drawn == [] for drawn in legends) and legends
    legends.clear()
    mious += [json.loads(said(capsys, *own["eval, JSON"]))]
    assert mious[0]["labels"] == list(class_names(9)) and mious[2]["labels"] == list(CLASS_NAMES)
    assert len({found["miou"] for found in mious}) == 1
    for what, command in given.items():
        text = said(capsys, *command)
        assert not words(text) & FOREIGN and (what == "compare" or "square" in words(text))
    assert legends and all(drawn == list(CLASS_NAMES) for drawn in legends)


def test_colours_of_a_labels_file_are_in_label_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said(capsys, "export", "--model", "demo", "--dataset", "demo", "--output-dir", "data")
    Path("own.txt").write_text(
        "ground #010203\n" + "\n".join(f"the {name} #0a0b{i:02x}" for i, name in enumerate("abcdefgh"))
    )
    said(capsys, "build", "--tf-model", GRAPH, "--output-model-path", "m.smalti", "--labels", "own.txt")
    said(capsys, "build", "--tf-model", GRAPH, "--output-model-path", "plain.smalti")
    infer = ["infer", "--image-dir", "data/demo_voc", *VAL[:2], "--image-num", "1", "--output-dir"]
    said(capsys, *infer, "a", "--model", "m.smalti")
    said(capsys, *infer, "b", "--model", "plain.smalti", "--labels", "own.txt")
    said(capsys, *infer, "c", "--model", "plain.smalti")
    a, b, c = (next(Path(folder).glob("*.png")) for folder in "abc")
    assert a.read_bytes() == b.read_bytes() != c.read_bytes()
    np.testing.assert_array_equal(read_mask(a), read_mask(c))
    with Segmenter("m.smalti") as segmenter:
        found = segmenter(demo_image(0)[0])
    assert found.names[:2] == ("ground", "the a") and found.palette[:3].tolist() == [
        [1, 2, 3],
        [10, 11, 0],
        [10, 11, 1],
    ]
    assert found.palette[9:].tolist() == voc_palette()[9:].tolist()
    assert run([*infer, "b", "--model", "plain.smalti", "--labels", "data/demo/labels.txt"]) != 0, "another job"


def test_names_and_colours_go_from_the_graph_to_the_pictures(tmp_path: Path) -> None:
    graph = (
        GraphBuilder()
        .placeholder("x", np.uint8, [1, 4, 4, 3])
        .const("axis", np.array(3, np.int32))
        .node("ArgMax", "labels", ["x", "axis"])
    )
    (tmp_path / "g.pb").write_bytes(graph.bytes())
    plain = CompileOptions(targets=resolve_targets("native"), labels=("red", "green", "blue"))
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[..., 2] = 9
    found = {}
    for name, options in (("plain", plain), ("own", replace(plain, colours=(None, None, "#0102fd")))):
        made = build_model(tmp_path / "g.pb", tmp_path / name, options)
        assert made.labels == plain.labels and made.colours == (1 if name == "own" else 0)
        assert ("1 with colours of their own: red, green, blue" in str(build_table(made))) == (name == "own")
        with Segmenter(tmp_path / name) as segmenter:
            found[name] = segmenter(picture)
            assert segmenter.names == plain.labels
    np.testing.assert_array_equal(found["plain"].colour()[0, 0], voc_palette()[2])
    assert found["own"].colour()[0, 0].tolist() == [1, 2, 253] and found["own"].share() == {"blue": 1.0}
    with Segmenter(tmp_path / "own", labels=("r", "g", "b"), colours=("#000000", None, "#ffffff")) as segmenter:
        assert segmenter(picture).colour()[0, 0].tolist() == [255, 255, 255]
    manifest = open_model(tmp_path / "own").manifest
    for wrong in ("#0102fd", ["#0102fd"], [None, None, "blue"], [None, None, 3]):
        with pytest.raises(DamagedModelError, match="graph.colours"):
            colours_of(replace(manifest, graph={"colours": wrong}))
    assert colours_of(replace(manifest, graph={})) is None
