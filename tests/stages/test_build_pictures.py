"""A graph that holds only a network is built to label pictures: by every command, in every precision, and again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import smalti
from graph_builder import GraphBuilder
from smalti.building.build import build
from smalti.building.calibrate import calibrate_folder
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.comparing.taps import check_same_steps, lower, options_of
from smalti.compiler import CompileOptions
from smalti.compiling.pictures import Fit, PictureOptions, Preset
from smalti.compiling.source import read_graph
from smalti.errors import UsageError
from smalti.quant.modes import QuantMode, QuantOptions
from smalti.target.host import resolve_targets
from smalti.vision.images import ImageFormat, encode_mask, encode_picture

CLASSES = 5
OPTIONS = CompileOptions(
    resolve_targets("native"), name="g", pictures=PictureOptions(Preset.IMAGENET, pad_to_multiple=8), input_size=40
)


def network() -> bytes:
    """A network of any even size, channels first: a convolution of stride 2, one of 1 x 1, scores of half the size."""
    random = np.random.default_rng(7)
    made = GraphBuilder().placeholder("x", np.float32, [1, 3, None, None])
    made.const("a/w", (random.standard_normal((3, 3, 3, 16)) / 4).astype(np.float32))
    made.node("Conv2D", "a", ["x", "a/w"], strides=[1, 1, 2, 2], padding="SAME", data_format="NCHW")
    made.node("Relu", "r", ["a"]).const("b/w", (random.standard_normal((1, 1, 16, CLASSES)) / 4).astype(np.float32))
    made.node("Conv2D", "scores", ["r", "b/w"], strides=[1, 1, 1, 1], padding="SAME", data_format="NCHW")
    return made.bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The graph, pictures of several sizes, and masks."""
    root = tmp_path_factory.mktemp("pictures")
    (root / "g.pb").write_bytes(network())
    random = np.random.default_rng(3)
    for name in ("pictures", "masks"):
        (root / name).mkdir()
    for index, size in enumerate([(30, 40), (41, 23), (9, 50)]):
        picture = random.integers(0, 256, (*size, 3), np.uint8)
        (root / "pictures" / f"{index}.png").write_bytes(encode_picture(picture, ImageFormat.PNG))
        (root / "masks" / f"{index}.png").write_bytes(encode_mask(random.integers(0, CLASSES, size).astype(np.int32)))
    return root


def test_the_commands_label_pictures(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph, model = str(folder / "g.pb"), str(tmp_path / "m.smalti")
    words = ["--preset", "imagenet", "--pad-to-multiple", "8", "--input-size", "40"]
    assert run(["build", "--model", graph, "--output-model-path", model, *words]) == ExitCode.OK
    shown = " ".join(capsys.readouterr().out.split())
    assert "the largest of 5 channels of scores:0" in shown
    assert run(["inspect", model, "--json"]) == ExitCode.OK
    said = json.loads(capsys.readouterr().out)
    assert said["preprocess"]["input_size"] == 40 and said["preprocess"]["resize"] == "fit"
    assert said["preprocess"]["built_in"]["preset"] == "imagenet"
    assert run(["inspect", model]) == ExitCode.OK
    assert "preset imagenet" in " ".join(capsys.readouterr().out.split())
    pictures = ["--image-dir", str(folder / "pictures")]
    assert run(["infer", "--model", model, *pictures, "--output-dir", str(tmp_path / "out")]) == ExitCode.OK
    assert len(list((tmp_path / "out").rglob("*.png"))) == 3
    capsys.readouterr()
    assert run(["compare", "--graph", graph, "--model", model, *pictures, "--json"]) == ExitCode.OK
    compared = json.loads(capsys.readouterr().out)
    assert compared["flips"]["pixels"] > 0 and compared["flips"]["flipped"] <= 0.01 * compared["flips"]["pixels"]
    assert run(["compare", "--graph", graph, "--model", model, *pictures, "--reference", "tensorflow"]) != ExitCode.OK
    assert "options about pictures" in " ".join(capsys.readouterr().err.split())
    with smalti.Segmenter(model) as segmenter:
        assert segmenter(folder / "pictures" / "1.png").labels.shape == (41, 23)


def test_an_accuracy_table_with_one_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["accuracy", "--model", str(folder / "g.pb"), "--image-dir", str(folder / "pictures"), "--json"]
    arguments += ["--gt-dir", str(folder / "masks"), "--output-dir", str(tmp_path / "a"), "--modes", "f32,f16,q8_f16"]
    arguments += ["--calib-dir", str(folder / "pictures"), "--preset", "imagenet", "--pad-to-multiple", "8"]
    assert run(arguments) == ExitCode.OK
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["quant_mode"] for row in rows] == ["force_float32", "force_float16", "qint8_mixed_float16"]


def test_a_file_says_all_that_makes_it_again(folder: Path, tmp_path: Path) -> None:
    made = build(folder / "g.pb", tmp_path / "m", OPTIONS)
    graph = read_graph(folder / "g.pb")
    with smalti.load(made.path) as engine:
        again, _ = options_of(engine.manifest, graph)
        assert [t.name for t in engine.manifest.inputs] == ["x:0"]
    assert build(folder / "g.pb", tmp_path / "again", replace(again, name="g")).sha256 == made.sha256


def test_integers_are_calibrated_on_what_the_network_sees(folder: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, quant=QuantOptions(QuantMode.QINT8_MIXED_FLOAT16))
    record = calibrate_folder(folder / "g.pb", options, folder / "pictures", threads=1)
    made = build(folder / "g.pb", tmp_path / "m", options, record=record)
    with smalti.load(made.path) as engine:
        chosen, ranges = options_of(engine.manifest, read_graph(folder / "g.pb"), record)
        check_same_steps(lower(read_graph(folder / "g.pb"), chosen, ranges), engine.manifest)
        labels = engine(np.random.default_rng(1).integers(0, 256, (37, 21, 3), np.uint8))
    assert labels.shape == (37, 21) and 0 <= labels.min() <= labels.max() < CLASSES


def test_the_raw_network_stays_in_reach(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = build(folder / "g.pb", tmp_path / "raw", replace(OPTIONS, pictures=None, input_size=None))
    x = np.random.default_rng(1).standard_normal((1, 3, 16, 24)).astype(np.float32)
    with smalti.load(made.path) as engine:
        assert engine.run({"x:0": x})["scores:0"].shape == (1, CLASSES, 8, 12)
        assert engine.manifest.preprocess == {"input_size": None, "resize": "none"}
    with pytest.raises(UsageError, match="--preset imagenet, tf, zero-one or none"):
        smalti.Segmenter(made.path)
    with pytest.raises(UsageError, match="--preset"):
        calibrate_folder(folder / "g.pb", replace(OPTIONS, pictures=None), folder / "pictures")


@pytest.mark.parametrize("resize", [Fit.FIT, Fit.STRETCH])
def test_one_size_takes_pictures_by_either_policy(folder: Path, tmp_path: Path, resize: Fit) -> None:
    shape = {"x": (1, 3, 24, 24)}
    fixed = replace(OPTIONS, input_size=None, input_shapes=shape, pictures=PictureOptions(Preset.TF, resize=resize))
    made = build(folder / "g.pb", tmp_path / "m", fixed)
    with smalti.Segmenter(made.path) as segmenter:
        assert (segmenter.preprocess.resize.value, segmenter.preprocess.input_size) == (resize.value, 24)
        assert segmenter(folder / "pictures" / "2.png").labels.shape == (9, 50)
