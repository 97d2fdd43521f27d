"""Annotation files that infer makes of its label maps."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs_kit import fill, make_model
from smalti.cli.main import run
from smalti.errors import UsageError
from smalti.labelling.exports import ExportKind, ExportOptions
from smalti.labelling.infer import InferOptions, InferResult, JobOptions, infer
from smalti.runtime.engine import load
from smalti.vision.images import read_mask

coco = pytest.importorskip("pycocotools.coco")

NAMES = ("ground", "square", "disk", "ring")
EVERY = tuple(ExportKind)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("exports"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    fill(tmp_path / "in", 5)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no picture")
    return tmp_path


def _infer(model: Path, work: Path, kinds: tuple[ExportKind, ...] = EVERY, **job: Any) -> InferResult:
    options = InferOptions(labels=NAMES, export=ExportOptions(kinds))
    with load(model) as engine:
        return infer(engine, work / "in", work / "out", options=options, job=JobOptions(engine.digest, **job))


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@pytest.mark.parametrize("kind", [ExportKind.COCO_RLE, ExportKind.COCO])
def test_coco_gives_the_masks_again(
    model: Path, work: Path, kind: ExportKind, capsys: pytest.CaptureFixture[str]
) -> None:
    result = _infer(model, work, (kind,))
    assert result.exported.paths == (work / "out" / kind.place,) and result.images == 5 and result.failed == 1
    found = coco.COCO(str(work / "out" / kind.place))
    capsys.readouterr()
    assert [found.cats[i]["name"] for i in found.getCatIds()] == list(NAMES[1:])
    assert sorted(image["file_name"] for image in found.imgs.values()) == [
        f"{i:04}.{'jpg' if i % 3 else 'png'}" for i in range(5)
    ]
    for image in found.imgs.values():
        want = read_mask(work / "out" / f"{Path(image['file_name']).stem}.png")
        seen = np.zeros(want.shape, np.uint8)
        for annotation in found.loadAnns(found.getAnnIds(imgIds=[image["id"]])):
            seen[found.annToMask(annotation) > 0] = annotation["category_id"]
        np.testing.assert_array_equal(seen, want)


def test_shares_geojson_and_labelme_say_what_the_label_maps_say(model: Path, work: Path) -> None:
    result = _infer(model, work)
    assert result.finished and len(result.exported.paths) == len(EVERY)
    with open(work / "out" / "annotations" / "shares.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    for row in rows:
        want = read_mask(work / "out" / f"{Path(row['name']).stem}.png")
        for label, name in enumerate(NAMES):
            assert float(row[name]) == float(f"{(want == label).mean():.9g}")
        shapes = json.loads((work / "out" / "labelme" / f"{Path(row['name']).stem}.json").read_text())
        assert (work / "out" / "labelme" / shapes["imagePath"]).resolve() == (work / "in" / row["name"]).resolve()
        assert {shape["label"] for shape in shapes["shapes"]} == {NAMES[i] for i in np.unique(want) if i}
        features = json.loads((work / "out" / "geojson" / f"{Path(row['name']).stem}.geojson").read_text())["features"]
        assert sum(feature["properties"]["area"] for feature in features) == (want != 0).sum()


def test_a_labelme_file_that_was_corrected_is_kept(model: Path, work: Path) -> None:
    _infer(model, work, (ExportKind.LABELME,))
    corrected, other = (work / "out" / "labelme" / f"{name}.json" for name in ("0001", "0002"))
    written = other.read_bytes()
    said = json.loads(corrected.read_text())
    said["shapes"][0]["points"][0][0] += 1
    corrected.write_text(json.dumps(said))
    other.write_text(json.dumps({**json.loads(other.read_text()), "version": "5.4.1"}, indent=2))
    again = _infer(model, work, (ExportKind.LABELME,))
    assert again.resumed == 5 and again.exported.kept == 1
    assert json.loads(corrected.read_text()) == said and other.read_bytes() == written
    afresh = _infer(model, work, (ExportKind.LABELME,), restart=True)
    assert afresh.exported.kept == 0 and json.loads(corrected.read_text()) != said


@pytest.mark.parametrize("text", ["[]", "{", "nothing", "[" * 100_000, '{"shapes": 3}', '{"shapes": [{"points": 7}]}'])
def test_a_labelme_file_of_another_kind_is_kept(model: Path, work: Path, text: str) -> None:
    target = work / "out" / "labelme" / "0001.json"
    target.parent.mkdir(parents=True)
    target.write_text(text)
    assert _infer(model, work, (ExportKind.LABELME,)).exported.kept == 1
    assert target.read_text() == text


def test_a_stop_while_exporting_leaves_the_job_to_go_on(model: Path, work: Path) -> None:
    told: list[tuple[ExportKind, int, int]] = []
    result = _infer(
        model,
        work,
        (ExportKind.CSV, ExportKind.COCO),
        exporting=lambda *said: told.append(said),
        stop=lambda: len(told) > 8,
    )
    assert told[:2] == [(ExportKind.CSV, 1, 6), (ExportKind.CSV, 2, 6)]
    assert not result.finished and result.left == 0 and result.exported.stopped
    assert (work / "out" / "annotations" / "shares.csv").exists()
    assert not (work / "out" / "annotations" / "coco.json").exists()
    again = _infer(model, work, (ExportKind.CSV, ExportKind.COCO))
    assert again.finished and again.resumed == 5 and (work / "out" / "annotations" / "coco.json").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"save_img": False, "overlay": True}, "leave --save-img at true"),
        ({"output_size": "input"}, "leave --output-size at original"),
    ],
)
def test_what_annotations_need_is_said_before_the_work(
    model: Path, work: Path, options: dict[str, Any], text: str
) -> None:
    with load(model) as engine, pytest.raises(UsageError, match=text):
        infer(engine, work / "in", work / "out", options=InferOptions(**options, export=ExportOptions(EVERY)))
    assert not (work / "out").exists()


@pytest.mark.parametrize("wrong", [{"min_area": -1.0}, {"tolerance": float("nan")}, {"kinds": EVERY + EVERY[:1]}])
def test_options_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ExportOptions(**wrong)


def test_the_command_writes_annotations(model: Path, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "in" / "bad.jpg").unlink()
    labels = work / "labels.txt"
    labels.write_text("\n".join(NAMES))
    arguments = ["infer", "--model", str(model), "--image-dir", str(work / "in"), "--output-dir", str(work / "out")]
    assert run([*arguments, "--labels", str(labels), "--export", "csv, coco", "--min-area", "3", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [Path(path).name for path in said["annotations"]] == ["shares.csv", "coco.json"]
    assert run([*arguments, "--export", "xml"]) == 2
    assert "coco, coco-rle, labelme, geojson, csv" in capsys.readouterr().err
    assert run([*arguments, "--tile", "3x"]) == 2
    assert "HEIGHTxWIDTH" in capsys.readouterr().err
