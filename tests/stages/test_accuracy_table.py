"""The accuracy table of a small network: rows, what is kept of an earlier run, the report, the earlier table."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from small_segmenter import CLASSES, LABELS, SIDE, network
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.errors import UsageError
from smalti.quant.modes import QuantMode
from smalti.scoring.accuracy import TABLE_FILE, AccuracyOptions, accuracy, find_material
from smalti.scoring.rows import read_table
from smalti.target.host import resolve_target
from smalti.vision.headers import ImageFormat
from smalti.vision.images import encode_mask, encode_picture, read_mask
from smalti.vision.palette import VOID_LABEL

IMAGES = 3
MODES = (QuantMode.FORCE_BFLOAT16, QuantMode.QINT8_MIXED_FLOAT32)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC root with random pictures and masks, the graph and its class names."""
    folder = tmp_path_factory.mktemp("accuracy")
    (folder / "g.pb").write_bytes(network())
    (folder / "labels.txt").write_text("\n".join(LABELS))
    random = np.random.default_rng(2)
    for part in ("JPEGImages", "SegmentationClass"):
        (folder / part).mkdir()
    for index in range(IMAGES):
        picture = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        (folder / "JPEGImages" / f"p{index}.png").write_bytes(encode_picture(picture, ImageFormat.PNG))
        mask = random.integers(0, CLASSES, (SIDE, SIDE))
        (folder / "SegmentationClass" / f"p{index}.png").write_bytes(encode_mask(mask))
    return folder


@pytest.fixture(scope="module")
def done(place: Path) -> AccuracyOptions:
    chosen = options(place, place / "out")
    accuracy(chosen)
    return chosen


def options(place: Path, out: Path) -> AccuracyOptions:
    return AccuracyOptions(
        resolve_target("native"),
        out,
        str(place / "g.pb"),
        modes=MODES,
        shape_modes=(False,),
        image_dir=place,
        gt_dir=place,
        calib_dir=place,
        labels=LABELS,
    )


def command(place: Path, *more: str) -> list[str]:
    found = ["accuracy", "--model", str(place / "g.pb"), "--image-dir", str(place), "--gt-dir", str(place)]
    found += ["--calib-dir", str(place), "--labels", str(place / "labels.txt"), "--shape-mutable", "false"]
    return [*found, "--modes", "bf16,q8_f32", "--output-dir", str(place / "out"), *more]


def test_rows_are_measured_against_float32(done: AccuracyOptions) -> None:
    table = read_table(done.output_dir / TABLE_FILE)
    assert [row.mode for row in table.rows] == [QuantMode.FORCE_FLOAT32, *MODES]
    float32, half, int8 = table.rows
    assert float32.flipped_share == 0.0 and table.drop(float32) == 0.0
    for row in (half, int8):
        assert 0 < row.flipped_share < 0.2 and row.ms > 0 and row.calls >= 3
        assert table.drop(row) == 100 * (float32.accuracy.miou - row.accuracy.miou)
        assert row.file_bytes == (done.output_dir / row.model_file).stat().st_size
        for name, count in row.flipped.items():
            maps = [read_mask(done.output_dir / r.labels_dir / name) for r in (float32, row)]
            assert int((maps[0] != maps[1]).sum()) == count
    assert int8.notes, "three pictures are too few to calibrate on"
    assert (done.output_dir / f"ranges-{int8.name}.json").is_file()


def test_finished_rows_are_kept_until_something_changes(done: AccuracyOptions, place: Path) -> None:
    told: list[str] = []
    again = accuracy(done, tell=told.append)
    assert all(row.was_kept for row in again.rows) and told == []
    (done.output_dir / again.rows[1].model_file).unlink()
    repaired = accuracy(done, tell=told.append)
    assert [row.was_kept for row in repaired.rows] == [True, False, True]
    assert repaired.rows[1].sha256 == again.rows[1].sha256
    fewer = accuracy(replace(done, image_num=2, modes=(QuantMode.FORCE_FLOAT32,), output_dir=place / "fewer"))
    assert not fewer.rows[0].was_kept and fewer.images == 2
    other = accuracy(replace(done, image_num=1, modes=(QuantMode.FORCE_FLOAT32,), output_dir=place / "fewer"))
    assert not other.rows[0].was_kept, "another list of pictures"
    forced = accuracy(replace(done, image_num=1, modes=(), output_dir=place / "fewer", force=True))
    assert not forced.rows[0].was_kept


def test_a_damaged_table_is_measured_again(done: AccuracyOptions, place: Path) -> None:
    out = place / "damaged"
    out.mkdir()
    (out / TABLE_FILE).write_text('{"format": "smalti-accuracy-1"')
    told: list[str] = []
    accuracy(replace(done, output_dir=out, modes=(), image_num=1), tell=told.append)
    assert "cannot be read" in told[0] and read_table(out / TABLE_FILE).images == 1


def test_the_command_writes_every_form(done: AccuracyOptions, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [place / name for name in ("r.html", "r.md", "r.csv")]
    more = [
        text for name, path in zip(("--html", "--markdown", "--csv"), files, strict=True) for text in (name, str(path))
    ]
    assert run(command(place, *more)) == ExitCode.OK
    assert f"{IMAGES} images" in capsys.readouterr().out
    page = files[0].read_text()
    outside = re.findall(r'(?:src|href)="(?!data:)', page)
    assert outside == [] and "http" not in page
    table = read_table(done.output_dir / TABLE_FILE)
    flipping = sum(count > 0 for row in table.rows for count in row.flipped.values())
    assert page.count("<details") == 3 and page.count("<img") == 5 * flipping > 0
    assert page.count('<div class="b"') == 3 * CLASSES
    assert f"<code>smalti {' '.join(command(place, *more))}</code>" in page and f"<dd>{place}</dd>" in page
    for row in table.rows:
        for name, count in row.flipped.items():
            share = f"{100 * count / row.pixels[name]:.3f} %"
            heading = f'<span class="f">{name}</span> {share} of the pixels flip'
            assert not count or (heading in page and f"<figcaption>flips, {share}</figcaption>" in page)
    lines = files[1].read_text().splitlines()
    assert lines[2].startswith("| Model | Quant_Mode | Shape_Mutable | mIoU | drop | flipped % | ms | file MB |")
    assert len(files[2].read_text().splitlines()) == 4


def test_reports_of_a_graph_whose_name_is_no_text(done: AccuracyOptions, place: Path) -> None:
    graph = place / os.fsdecode(b"g\xff.pb")
    graph.write_bytes((place / "g.pb").read_bytes())
    arguments = [str(graph) if word == str(place / "g.pb") else word for word in command(place, "--image-num", "1")]
    arguments += ["--output-dir", str(place / "out-odd")]
    for option in ("--html", "--markdown", "--csv"):
        assert run([*arguments, "--modes", "f32", option, str(place / "odd")]) == ExitCode.OK
        assert r"g\udcff" in (place / "odd").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seconds", math.nan),
        ("pixels", {}),
        ("flipped", {"p0.png": 10**9, "p1.png": 0, "p2.png": 0}),
        ("confusion", [[0] * CLASSES] * CLASSES),
        ("confusion", [[0.5] * CLASSES] * CLASSES),
        ("confusion", [[2**62] * CLASSES] * CLASSES),
    ],
)
def test_a_table_with_numbers_that_cannot_be(
    done: AccuracyOptions, place: Path, key: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    table = json.loads((done.output_dir / TABLE_FILE).read_text())
    row = table["rows"][1]
    (row["accuracy"] if key == "confusion" else row)[key] = value
    path = place / "edited.json"
    path.write_text(json.dumps(table))
    assert run(command(place, "--baseline", str(path), "--json")) == ExitCode.BAD_DATA
    assert "edited.json is not a table" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_bad_picture_or_mask_is_named(
    done: AccuracyOptions, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, model = str(place / "g.pb"), str(done.output_dir / "g-force_float32-static.smalti")
    (tmp_path / "p0.png").write_bytes(b"")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "p0.png").write_bytes(encode_mask(np.full((SIDE, SIDE), 250)))
    masks = ["--calib-dir", str(place), "--labels", str(place / "labels.txt"), "--shape-mutable", "false"]
    for name in (str(tmp_path), str(tmp_path / "labels"), str(tmp_path / "none")):
        (tmp_path / "none").mkdir(exist_ok=True)
        said = ["--image-dir", str(place), "--image-num", "1", "--gt-dir", name, *masks]
        table = ["accuracy", "--model", graph, "--output-dir", str(tmp_path / "o")]
        for job in (table, ["sensitivity", "--tf-model", graph]):
            assert run([*job, *said]) == ExitCode.BAD_DATA
            assert f"{Path(name) / 'p0.png'}: " in capsys.readouterr().err
    for job in (["compare", "--tf-model", graph], ["bench"]):
        assert run([*job, "--model", model, "--image-dir", str(tmp_path)]) == ExitCode.BAD_DATA
        assert "smalti: the only picture is no good: give others (p0.png: the file is empty)" in capsys.readouterr().err


def test_masks_that_are_all_void(done: AccuracyOptions, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    void = place / "void"
    void.mkdir()
    for index in range(IMAGES):
        (void / f"p{index}.png").write_bytes(encode_mask(np.full((SIDE, SIDE), VOID_LABEL)))
    arguments = command(place, "--gt-dir", str(void), "--output-dir", str(place / "out-void"), "--json")
    assert run(arguments) == ExitCode.BAD_DATA
    assert "nothing to measure" in json.loads(capsys.readouterr().out)["error"]["message"]
    arguments = ["--image-dir", str(place), "--gt-dir", str(void), "--labels", str(place / "labels.txt"), "--json"]
    arguments += ["--calib-dir", str(place), "--shape-mutable", "false"]
    assert run(["sensitivity", "--tf-model", str(place / "g.pb"), *arguments]) == ExitCode.BAD_DATA
    assert "nothing to measure" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_an_earlier_table_decides_the_exit_code(
    done: AccuracyOptions, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = json.loads((done.output_dir / TABLE_FILE).read_text())
    same = place / "same.json"
    same.write_text(json.dumps(earlier))
    assert run(command(place, "--baseline", str(same), "--max-drop-increase", "0")) == ExitCode.OK
    # In the better table the int8 row has more pixels on the diagonal.
    counts = np.array(earlier["rows"][2]["accuracy"]["confusion"])
    earlier["rows"][2]["accuracy"]["confusion"] = (counts + 10 * np.eye(CLASSES, dtype=int)).tolist()
    better = place / "better.json"
    better.write_text(json.dumps(earlier))
    capsys.readouterr()
    assert run(command(place, "--baseline", str(better), "--json")) == ExitCode.ACCURACY
    shown = json.loads(capsys.readouterr().out)["baseline"]
    assert [row["worse"] for row in shown["rows"]] == [False, False, True]
    assert run(command(place, "--baseline", str(better), "--max-drop-increase", "50")) == ExitCode.OK
    (place / "none.json").write_text("{}")
    assert run(command(place, "--baseline", str(place / "none.json"))) == ExitCode.BAD_DATA


def test_what_is_missing_is_said(place: Path, tmp_path: Path) -> None:
    plain = AccuracyOptions(resolve_target("native"), tmp_path / "out", str(place / "g.pb"))
    with pytest.raises(UsageError, match="--image-dir and --gt-dir"):
        accuracy(plain)
    with pytest.raises(UsageError, match="calibrated"):
        accuracy(replace(plain, image_dir=place, gt_dir=place))
    with pytest.raises(UsageError, match="no model"):
        accuracy(replace(plain, model="deeplabv9"))
    with pytest.raises(UsageError, match="no graph"):
        accuracy(replace(plain, model=str(place / "other.pb")))


def test_a_known_model_brings_its_own_data(tmp_path: Path) -> None:
    found = find_material(AccuracyOptions(resolve_target("native"), tmp_path, "demo"))
    assert found.name == "demo" and found.graph.is_file() and found.labels is not None
    assert found.file_list is not None and found.file_list.name == "val.txt"
    assert found.calib_list is not None and found.calib_list.name == "train.txt"
