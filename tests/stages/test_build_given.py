"""Models built with given shapes and values: what the file says of pictures is true, and it can be made again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import smalti
from graph_builder import GraphBuilder
from smalti.building.build import build
from smalti.building.calibrate import calibrate_folder, load_record, write_record
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.comparing.taps import check_same_steps, lower, options_of
from smalti.compiler import CompileOptions
from smalti.compiling.source import read_graph
from smalti.errors import UsageError
from smalti.jobs.stream import choose_preprocess
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.target.host import resolve_targets
from smalti.vision.images import ImageFormat, encode_picture
from smalti.vision.preprocess import Resize, target_size
from switched_graphs import switched_network

HEIGHT, WIDTH = 20, 36
GIVEN = CompileOptions(
    resolve_targets("native"), input_shapes={"x": (1, HEIGHT, WIDTH, 3)}, binds={"is_training": False}
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that needs --bind, and pictures of other sizes than the model's."""
    root = tmp_path_factory.mktemp("given")
    (root / "g.pb").write_bytes(switched_network(dtype=np.uint8))
    (root / "pictures").mkdir()
    random = np.random.default_rng(3)
    for index, size in enumerate([(30, 40), (HEIGHT, WIDTH), (9, 50)]):
        picture = random.integers(0, 256, (*size, 3), np.uint8)
        (root / "pictures" / f"{index}.png").write_bytes(encode_picture(picture, ImageFormat.PNG))
    return root


def test_pictures_are_scaled_to_exactly_the_given_sides(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(folder / "wide.smalti")
    graph = ["--model", str(folder / "g.pb"), "--output-model-path", model]
    assert run(["build", *graph, "--bind", "is_training=false", "--input-shape", f"x=1x{HEIGHT}x{WIDTH}x3"]) == 0
    with smalti.load(model) as engine:
        m = engine.manifest
        assert m.preprocess == {"input_size": [HEIGHT, WIDTH], "resize": "stretch"} and not m.shape_mutable
        assert m.graph["input_shapes"] == {"x:0": [1, HEIGHT, WIDTH, 3]} and m.graph["binds"] == {
            "is_training:0": False
        }
        chosen = choose_preprocess(engine)
        assert target_size(300, 50, chosen.resize, chosen.input_size) == (HEIGHT, WIDTH)
        with pytest.raises(UsageError, match=f"exactly {HEIGHT} x {WIDTH} pixels"):
            choose_preprocess(engine, Resize.FIT)
    out = folder / "labels"
    capsys.readouterr()
    pictures = ["--image-dir", str(folder / "pictures"), "--output-dir", str(out)]
    assert run(["infer", "--model", model, *pictures, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["preprocess"] == {"resize": "stretch", "input_size": [HEIGHT, WIDTH]}
    assert len(list(out.rglob("*.png"))) == 3
    assert run(["inspect", model]) == 0
    assert "is_training:0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "preprocess", "mutable"),
    [
        ({}, {"input_size": None, "resize": "none"}, True),
        ({"input_shapes": {"x": (1, None, None, 3)}}, {"input_size": None, "resize": "none"}, True),
        ({"input_shapes": {"x": (1, None, None, 3)}, "input_size": 33}, {"input_size": 33, "resize": "fit"}, True),
        ({"input_shapes": {"x": (1, 24, None, 3)}}, {"input_size": None, "resize": "none"}, True),
        ({"input_shapes": {"x": (1, 24, 24, 3)}}, {"input_size": 24, "resize": "stretch"}, False),
    ],
)
def test_what_a_file_says_can_be_made_again(
    folder: Path, tmp_path: Path, options: dict[str, object], preprocess: dict[str, object], mutable: bool
) -> None:
    chosen = replace(GIVEN, **{"input_shapes": {}, **options})  # type: ignore[arg-type]
    made = build(folder / "g.pb", tmp_path / "m", chosen)
    data = read_graph(folder / "g.pb")
    with smalti.load(made.path) as engine:
        manifest = engine.manifest
    assert manifest.preprocess == preprocess and manifest.shape_mutable is mutable
    again, _ = options_of(manifest, data)
    assert build(folder / "g.pb", tmp_path / "again", replace(again, name=chosen.name)).sha256 == made.sha256


def test_a_square_says_what_it_always_said(folder: Path, tmp_path: Path) -> None:
    """A file built without the new options has no new key."""
    data = GraphBuilder().placeholder("x", np.uint8, [1, None, None, 3]).node("Cast", "y", ["x"], DstT=np.float32)
    (tmp_path / "g.pb").write_bytes(data.bytes())
    options = CompileOptions(resolve_targets("native"), shape_mutable=False, input_size=33)
    with smalti.load(build(tmp_path / "g.pb", tmp_path / "m", options).path) as engine:
        assert set(engine.manifest.graph) == {"name", "sha256", "bytes"}
        assert engine.manifest.preprocess == {"input_size": 33, "resize": "stretch"}


def test_ranges_go_with_shapes_and_values(folder: Path, tmp_path: Path) -> None:
    options = replace(GIVEN, quant=QuantOptions(QuantMode.QINT8_MIXED_FLOAT16))
    record = calibrate_folder(folder / "g.pb", options, folder / "pictures", threads=1)
    assert record.preprocess == {"resize": "stretch", "input_size": [HEIGHT, WIDTH]}
    write_record(tmp_path / "r.json", record)
    assert load_record(tmp_path / "r.json") == record
    made = build(folder / "g.pb", tmp_path / "m", options, record=record)
    again = ["build", "--tf-model", str(folder / "g.pb"), "--output-model-path", str(tmp_path / "again")]
    again += ["--ranges", str(tmp_path / "r.json"), "--name", "model", "--bind", "is_training=false"]
    assert run([*again, "--input-shape", f"x:0=1x{HEIGHT}x{WIDTH}x3"]) == ExitCode.OK
    assert (tmp_path / "again").read_bytes() == made.path.read_bytes()
    data = read_graph(folder / "g.pb")
    with smalti.load(made.path) as engine:
        chosen, ranges = options_of(engine.manifest, data)
        check_same_steps(lower(data, chosen, ranges), engine.manifest)


def test_compare_reads_shapes_and_values_back(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(folder / "g.pb", tmp_path / "m", GIVEN)
    arguments = ["--tf-model", str(folder / "g.pb"), "--model", str(tmp_path / "m"), "--json"]
    assert run(["compare", *arguments, "--image-dir", str(folder / "pictures")]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["images"] == 3
