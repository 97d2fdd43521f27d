"""Layers measured one by one on a small network, and the fewest to keep in float."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from small_segmenter import LABELS, SIDE, network
from smalti.building.calibrate import calibrate_folder
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.comparing.sensitivity import choose_kept_layers, kept_table, sensitivity, sensitivity_table
from smalti.comparing.trials import PictureSet, Trials, blocks_of
from smalti.compiler import CompileOptions
from smalti.errors import UsageError
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord
from smalti.target.host import resolve_targets
from smalti.vision.headers import ImageFormat
from smalti.vision.images import encode_picture

IMAGES = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the graph, pictures in JPEGImages and as masks what the float32 network says."""
    folder = tmp_path_factory.mktemp("sensitivity")
    (folder / "g.pb").write_bytes(network())
    random = np.random.default_rng(11)
    for part in ("JPEGImages", "SegmentationClass"):
        (folder / part).mkdir()
    for index in range(IMAGES):
        picture = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        (folder / "JPEGImages" / f"p{index}.png").write_bytes(encode_picture(picture, ImageFormat.PNG))
    model = folder / "f32.smalti"
    assert run(["build", "--tf-model", str(folder / "g.pb"), "--output-model-path", str(model)]) == ExitCode.OK
    assert run(["infer", "--model", str(model), "--image-dir", str(folder), "--output-dir", str(folder / "out")]) == 0
    for made in (folder / "out").glob("*.png"):
        made.rename(folder / "SegmentationClass" / made.name)
    return folder


@pytest.fixture(scope="module")
def record(place: Path) -> CalibrationRecord:
    return calibrate_folder(place / "g.pb", options(), place)


def options(mode: QuantMode = QuantMode.QINT8_MIXED_FLOAT32) -> CompileOptions:
    return CompileOptions(resolve_targets("native"), QuantOptions(mode), shape_mutable=False, labels=LABELS)


def pictures(place: Path, masks: bool = True) -> PictureSet:
    return PictureSet(place, place if masks else None)


def damaged(record: CalibrationRecord, name: str) -> CalibrationRecord:
    """Return ranges in which one tensor is cut to nearly nothing."""
    return replace(record, tensors={**record.tensors, name: replace(record.tensors[name], low=0.0, high=0.05)})


def test_every_layer_is_measured_alone(place: Path, record: CalibrationRecord) -> None:
    result = sensitivity(place / "g.pb", options(), record, pictures(place), without=True)
    assert result.images == IMAGES
    assert result.float32.miou == 1.0, "the masks are the labels of float32"
    assert result.none.logit_error == 0.0 and result.none.flipped == 0.0
    assert 0 < result.full.logit_error < 0.5
    assert {"one", "two", "three"} <= {row.name.split("/")[1] for row in result.rows}
    for row in result.rows:
        assert row.only.logit_error < result.full.logit_error * 1.5
        # The first layer computes in integers only where a layer behind it reads integers.
        assert row.only.logit_error > 0 or row.name.startswith("a/stem")
        assert row.without is not None and row.only != row.without
    drops = [1.0 - (row.only.miou or 0.0) for row in result.rows]
    assert drops == sorted(drops, reverse=True)
    table = sensitivity_table(result)
    assert len(table.rows) == len(result.rows) and table.columns[-1] == "layer" and "#" in table.rows[0][-2]
    assert len(result.to_csv().splitlines()) == 1 + len(result.rows)


def test_a_damaged_range_is_found_and_its_reader_kept(place: Path, record: CalibrationRecord) -> None:
    name = next(n for n in record.tensors if n.startswith("b/two"))
    reader = next(n for n in Trials(place / "g.pb", options(), record, pictures(place)).layers if "three" in n)
    kept = choose_kept_layers(place / "g.pb", options(), damaged(record, name), pictures(place), 0.25)
    assert kept.names == (reader,), kept.why
    assert kept.drop <= 0.25 < kept.trials[0].drop
    assert kept.sensitivity[0].name == reader
    assert "points of mIoU" in kept.why and len(kept_table(kept).rows) == len(kept.trials)


def test_nothing_is_kept_where_the_bound_holds_anyway(place: Path, record: CalibrationRecord) -> None:
    kept = choose_kept_layers(place / "g.pb", options(), record, pictures(place), 0.9)
    assert kept.names == () and len(kept.trials) == 1 and kept.sensitivity == ()


def test_what_cannot_be_measured_is_said(place: Path, record: CalibrationRecord) -> None:
    with pytest.raises(UsageError, match="masks"):
        choose_kept_layers(place / "g.pb", options(), record, pictures(place, masks=False), 0.1)
    with pytest.raises(UsageError, match="no layer to look at"):
        sensitivity(place / "g.pb", options(QuantMode.FORCE_FLOAT32), None, pictures(place))


def test_scores_are_remembered(place: Path, record: CalibrationRecord, tmp_path: Path) -> None:
    state = tmp_path / "scores.json"
    first = Trials(place / "g.pb", options(), record, pictures(place), state=state)
    score = first.score(first.layers[:1])
    remembered = json.loads(state.read_text())
    next(iter(remembered["scores"].values()))["flipped"] = 10**400
    told: list[str] = []
    again = Trials(place / "g.pb", options(), record, pictures(place), state=state, tell=told.append)
    assert again.score(first.layers[:1]) == score and told == []
    other = Trials(place / "g.pb", options(), damaged(record, list(record.tensors)[1]), pictures(place), state=state)
    assert other.score(first.layers[:1]) != score, "other ranges are another job"
    for damaged_text in ("{}", json.dumps(remembered)):
        state.write_text(damaged_text)
        with pytest.raises(UsageError, match="left alone"):
            Trials(place / "g.pb", options(), record, pictures(place), state=state)


def test_the_command_measures_blocks(place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS))
    arguments = [
        "sensitivity",
        "--tf-model",
        str(place / "g.pb"),
        "--image-dir",
        str(place),
        "--shape-mutable",
        "false",
    ]
    arguments += ["--labels", str(labels), "--quant-mode", "f16", "--csv", str(tmp_path / "r.csv"), "--json"]
    assert run(arguments) == ExitCode.OK
    shown = json.loads(capsys.readouterr().out)
    assert shown["mode"] == "force_float16" and shown["float32"]["miou"] is None
    errors = [row["only"]["logit_error"] for row in shown["rows"]]
    assert errors == sorted(errors, reverse=True) and errors[0] > 0
    assert (tmp_path / "r.csv").read_text().startswith("name,layers,only_miou")


def test_a_bounded_build_prints_one_json_object(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    listed, labels = tmp_path / "list.txt", tmp_path / "labels.txt"
    listed.write_text("".join(f"p{index}\n" for index in range(IMAGES)))
    labels.write_text("\n".join(LABELS))
    arguments = ["build", "--tf-model", str(place / "g.pb"), "--output-model-path", str(tmp_path / "q.smalti")]
    arguments += ["--shape-mutable", "false", "--quant-mode", "q8_f32", "--labels", str(labels)]
    arguments += ["--image-dir", str(place), "--gt-dir", str(place), "--eval-list", str(listed)]
    assert run([*arguments, "--max-miou-drop", "0.9", "--json"]) == ExitCode.OK
    shown = capsys.readouterr()
    assert json.loads(shown.out)["precision"] == "qint8_mixed_float32" and "every layer" in shown.err


def test_blocks_are_the_first_parts_of_paths() -> None:
    names = ["net/a/conv:0", "net/a/add:0", "net/b/conv:0", "net/b/relu:0/part", "top/relu:0"]
    assert blocks_of(names, enough=2) == {"net": tuple(names[:4]), "top": ("top/relu:0",)}
    assert list(blocks_of(names, enough=3)) == ["net/a", "net/b", "top/relu"]
    assert len(blocks_of(names, enough=50)) == 5
