"""A damaged picture ends no job that measures: it is listed, the exit code is 3, the rest is as if it was not there."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_segmenter import CLASSES, LABELS, SIDE, network
from smalti.building.build import build
from smalti.building.calibrate import calibrate_folder
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.compiler import CompileOptions
from smalti.errors import ImageError
from smalti.jobs.pictures import PassedOver, usable_pictures
from smalti.jobs.stream import OnError
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.scoring.accuracy import TABLE_FILE
from smalti.scoring.rows import read_table
from smalti.target.host import resolve_targets
from smalti.vision.headers import ImageFormat
from smalti.vision.images import encode_mask, encode_picture
from smalti.vision.voc import find_pictures

QUICK = ("--duration", "0", "--warmup", "0", "--iterations", "4", "--cold-starts", "0")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph, a model, pictures with masks: good ones, a cut one, a text, and a file of a kind that is not read."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "g.pb").write_bytes(network())
    (folder / "labels.txt").write_text("\n".join(LABELS))
    build(folder / "g.pb", folder / "m.smalti", CompileOptions(resolve_targets("native"), shape_mutable=False))
    random = np.random.default_rng(2)
    for part in ("good", "mixed/sub", "masks/sub"):
        (folder / part).mkdir(parents=True)
    for name in ("a.png", "c.png", "sub/d.png"):
        data = encode_picture(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8), ImageFormat.PNG)
        (folder / "mixed" / name).write_bytes(data)
        (folder / "good" / name.replace("sub/", "")).write_bytes(data)
    mask = encode_mask(random.integers(0, CLASSES, (SIDE, SIDE)))
    for name in ("a.png", "b.png", "c.png", "e.png", "sub/d.png"):
        (folder / "masks" / name).write_bytes(mask)
    (folder / "mixed" / "a.jpg").write_bytes(data[:60])
    (folder / "mixed" / "b.jpg").write_text("no picture")
    (folder / "mixed" / "left.gif").write_bytes(b"GIF89a")
    return folder


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


def of(place: Path, *more: str) -> list[str]:
    return ["--image-dir", str(place / "mixed"), "--recursive", *more]


def check(record: dict[str, Any], names: tuple[str, ...] = ("a.jpg", "b.jpg")) -> None:
    assert [failure["name"] for failure in record["failures"]] == list(names) and record["failed"] == len(names)
    assert all(failure["reason"] for failure in record["failures"])
    assert record["pictures_left_out"] == {"GIF": 1}


def test_ranges_are_those_of_the_good_pictures(place: Path) -> None:
    options = CompileOptions(
        resolve_targets("native"), QuantOptions(QuantMode.QINT8_MIXED_FLOAT32), shape_mutable=False
    )
    passed_over = PassedOver()
    got = calibrate_folder(place / "g.pb", options, place / "mixed", recursive=True, passed_over=passed_over)
    want = calibrate_folder(place / "g.pb", options, place / "good")
    assert got.tensors == want.tensors
    assert [image.sha256 for image in got.images] == [image.sha256 for image in want.images]
    assert [image.name for image in got.images] == ["a.png", "c.png", "sub/d.png"]
    assert [failure.name for failure in passed_over.failures] == ["a.jpg", "b.jpg"]
    with pytest.raises(ImageError, match=r"a\.jpg: "):
        calibrate_folder(place / "g.pb", options, place / "mixed")
    (place / "list.txt").write_text("b.jpg\nnowhere\n")
    with pytest.raises(ImageError, match="all 2 pictures are no good: give others"):
        calibrate_folder(
            place / "g.pb", options, place / "mixed", file_list=place / "list.txt", passed_over=PassedOver()
        )


def test_build_passes_over_bad_pictures(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["build", "--tf-model", str(place / "g.pb"), "--output-model-path", str(tmp_path / "q.smalti")]
    arguments += ["--quant-mode", "q8_f32", "--shape-mutable", "false"]
    assert run([*arguments, *of(place, "--json")]) == ExitCode.DONE_WITH_ERRORS
    check(said(capsys))
    first = (tmp_path / "q.smalti").read_bytes()
    assert run([*arguments, "--image-dir", str(place / "good")]) == ExitCode.OK
    assert len(first) == len((tmp_path / "q.smalti").read_bytes())
    capsys.readouterr()
    assert run([*arguments, *of(place)]) == ExitCode.DONE_WITH_ERRORS
    shown = capsys.readouterr()
    assert "2 skipped" in shown.out and "left out: 1 GIF; what is read is JPEG" in shown.err
    assert run([*arguments, *of(place, "--on-error", "stop")]) == ExitCode.BAD_DATA
    assert "smalti: a.jpg: " in capsys.readouterr().err


def test_bench_passes_over_bad_pictures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "--model", str(place / "m.smalti"), *QUICK, "--e2e"]
    assert run([*arguments, *of(place, "--json")]) == ExitCode.DONE_WITH_ERRORS
    record = said(capsys)
    check(record)
    assert record["e2e"]["images"] == 4 and record["performance"]["iterations"] >= 4
    assert run([*arguments, *of(place)]) == ExitCode.DONE_WITH_ERRORS
    assert "2 skipped" in capsys.readouterr().out
    assert run([*arguments, *of(place, "--on-error", "stop")]) == ExitCode.BAD_DATA
    single = ["--image-dir", str(place / "mixed" / "a.png"), "--images", str(place / "good")]
    assert run([*arguments, *single]) == ExitCode.OK
    assert run([*arguments, "--image-dir", str(place / "mixed" / "a.jpg")]) == ExitCode.BAD_DATA


def test_compare_passes_over_bad_pictures(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["compare", "--tf-model", str(place / "g.pb"), "--model", str(place / "m.smalti")]
    assert run([*arguments, *of(place, "--json", "--maps", str(tmp_path / "maps"))]) == ExitCode.DONE_WITH_ERRORS
    record = said(capsys)
    check(record)
    assert record["images"] == 3
    # The name of a map does not depend on which pictures are good: a.jpg would be beside a.png.
    assert sorted(str(p.relative_to(tmp_path / "maps")) for p in (tmp_path / "maps").rglob("*.png")) == [
        "a.png.png",
        "c.png",
        "sub/d.png",
    ]
    assert run([*arguments, *of(place, "--on-error", "stop")]) == ExitCode.BAD_DATA


def test_accuracy_measures_every_row_on_the_good_pictures(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["accuracy", "--model", str(place / "g.pb"), "--gt-dir", str(place / "masks"), "--modes", "bf16,q8_f32"]
    arguments += ["--calib-dir", str(place / "mixed"), "--shape-mutable", "false", "--output-dir", str(tmp_path)]
    arguments += ["--labels", str(place / "labels.txt")]
    assert run([*arguments, *of(place, "--json", "--html", str(tmp_path / "r.html"))]) == ExitCode.DONE_WITH_ERRORS
    record = said(capsys)
    check(record)
    assert record["images"] == 3
    for row in record["rows"]:
        assert sorted(row["pixels"]) == ["a.png.png", "c.png", "sub/d.png"]
        assert (tmp_path / row["labels_dir"] / "sub" / "d.png").is_file()
    table = read_table(tmp_path / TABLE_FILE)
    assert [failure.name for failure in table.failures] == ["a.jpg", "b.jpg"] and table.left_out == {"GIF": 1}
    assert "3 images, 2 skipped" in (tmp_path / "r.html").read_text()
    assert run([*arguments, *of(place)]) == ExitCode.DONE_WITH_ERRORS
    shown = capsys.readouterr()
    assert "3 of 3 rows are kept" in shown.err and "2 skipped" in shown.out
    assert run([*arguments, *of(place, "--on-error", "stop")]) == ExitCode.BAD_DATA


def test_a_picture_without_a_mask_is_passed_over_in_every_row(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = tmp_path / "masks"
    shutil.copytree(place / "masks", masks)
    (masks / "c.png").unlink()
    arguments = ["accuracy", "--model", str(place / "g.pb"), "--gt-dir", str(masks), "--modes", "bf16"]
    arguments += ["--shape-mutable", "false", "--output-dir", str(tmp_path / "out")]
    assert run([*arguments, *of(place, "--json")]) == ExitCode.DONE_WITH_ERRORS
    record = said(capsys)
    check(record, ("a.jpg", "b.jpg", "c.png"))
    assert "its mask" in record["failures"][2]["reason"] and "No such file" in record["failures"][2]["reason"]


def test_usable_pictures_are_those_that_decode(place: Path) -> None:
    found = find_pictures(place / "mixed", recursive=True)
    passed_over = PassedOver()
    good = usable_pictures(found, passed_over)
    assert [found[index].name for index in good] == ["a.png", "c.png", "sub/d.png"]
    usable_pictures(found, passed_over)
    assert len(passed_over.failures) == 2, "each is listed once"
    with pytest.raises(ImageError, match=r"^a\.jpg: "):
        usable_pictures(found, PassedOver(OnError.STOP))
    bad = [replace(entry) for entry in found if entry.name.endswith("jpg")]
    with pytest.raises(ImageError, match="all 2 pictures are no good"):
        usable_pictures(bad, PassedOver())
