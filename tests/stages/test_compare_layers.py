"""Models compared layer by layer: with numpy, with their own float32, with another model file."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from small_segmenter import SIDE, network
from smalti.artifact.manifest import Manifest
from smalti.artifact.reader import open_model
from smalti.building.build import build
from smalti.building.calibrate import calibrate_folder
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run
from smalti.comparing.compare import FLOAT32, CompareOptions, compare
from smalti.comparing.tables import flips_table, layer_table
from smalti.comparing.taps import Lowered, check_same_steps, keeps_means, lower, options_of
from smalti.compiler import CompileOptions
from smalti.demo.dataset import GRAPH_PATH, graph_bytes, write_voc_layout
from smalti.errors import ModelFileError, UsageError
from smalti.fetch.registry import DEMO_LABELS
from smalti.ir import ops
from smalti.quant.modes import ActivationScheme, QuantMode, QuantOptions
from smalti.quant.record import CalibrationRecord, parse_record
from smalti.target.host import resolve_targets
from smalti.vision.headers import ImageFormat
from smalti.vision.images import encode_picture, read_image

STEM = "MobilenetV2/Conv/Relu6:0"
LOGITS = "logits/semantic/BiasAdd:0"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, a float32 model, and an int8 model with the record of its ranges."""
    folder = tmp_path_factory.mktemp("compare")
    write_voc_layout(folder, 2)
    build(GRAPH_PATH, folder / "f32.smalti", options(QuantMode.FORCE_FLOAT32))
    record = calibrate_folder(GRAPH_PATH, options(QuantMode.QINT8_MIXED_FLOAT16), folder)
    (folder / "ranges.json").write_bytes(record.to_json())
    build(GRAPH_PATH, folder / "q8.smalti", options(QuantMode.QINT8_MIXED_FLOAT16), record=record)
    return folder


def options(mode: QuantMode) -> CompileOptions:
    return CompileOptions(resolve_targets("native"), QuantOptions(mode), labels=DEMO_LABELS)


def manifest_of(path: Path) -> Manifest:
    with open_model(path) as file:
        return file.manifest


def test_float32_agrees_with_numpy_in_every_layer(place: Path) -> None:
    result = compare(CompareOptions(GRAPH_PATH, place / "f32.smalti", place, image_num=1))
    assert result.reference == "numpy, float32" and result.not_compared == ()
    assert len(result.layers) > 40 and result.layers[0].name == STEM and result.layers[-1].name == LOGITS
    assert all(layer.differences.diff2 < 1e-5 for layer in result.layers)
    assert result.first_departing is None and result.total.flipped == 0
    assert result.taps.differing == 0, "the tapped code is that of the file"
    assert set(result.taps.apart) < {layer.name for layer in result.layers}
    assert result.taps.steps < result.taps.steps_with_taps or not result.taps.apart


def test_int8_is_the_file_bit_for_bit_with_its_record(place: Path, tmp_path: Path) -> None:
    chosen = CompareOptions(
        GRAPH_PATH,
        place / "q8.smalti",
        place,
        reference=FLOAT32,
        threshold=0.0,
        ranges=place / "ranges.json",
        maps=tmp_path / "maps",
    )
    result = compare(chosen)
    assert result.taps.differing == 0 and result.taps.same_biases
    kinds = {layer.dtype for layer in result.layers}
    assert "uint8" in kinds
    first = result.first_departing
    assert first is not None and first.differences.diff2 > 0
    worst = result.worst[0].differences
    assert 0.005 < worst.diff2 < 0.3 and worst.cosine > 0.95 and worst.diff1 > 0 and worst.diff3 > worst.diff1
    total = result.total
    assert 0 < total.flipped < 0.02 * total.pixels
    assert list(total.below) == sorted(total.below) and total.below[-1] <= total.flipped
    assert sum(pixels for _, _, pixels in result.flips[0].pairs) <= result.flips[0].flipped
    drawn = read_image(tmp_path / "maps" / "demo_0000.png")
    assert drawn.shape[1] > 3 * 100 and drawn.std() > 20
    assert len(layer_table(result.layers, "x").rows) == len(result.layers)
    assert "disk" in str(flips_table(total, DEMO_LABELS)) or "background" in str(flips_table(total, DEMO_LABELS))
    assert len(result.to_csv().splitlines()) == 1 + len(result.layers)
    json.dumps(result.to_json(), allow_nan=False)


def test_a_model_file_is_a_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "g.pb").write_bytes(network())
    random = np.random.default_rng(2)
    for index in range(4):
        picture = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        (tmp_path / f"p{index}.png").write_bytes(encode_picture(picture, ImageFormat.PNG))
    for mode in ("f32", "bf16"):
        build(tmp_path / "g.pb", tmp_path / f"{mode}.smalti", replace(options(QuantMode.parse(mode)), labels=None))
    arguments = ["compare", "--tf-model", str(tmp_path / "g.pb"), "--model", str(tmp_path / "bf16.smalti")]
    arguments += ["--image-dir", str(tmp_path), "--reference", str(tmp_path / "f32.smalti")]
    assert run([*arguments, "--json", "--max-flipped", "0"]) == ExitCode.ACCURACY
    shown = json.loads(capsys.readouterr().out)
    assert "force_float32" in shown["reference"] and 0 < shown["flips"]["share"] < 0.1
    assert {layer["dtype"] for layer in shown["layers"]} == {"bfloat16", "float32"}
    assert run([*arguments, "--max-flipped", "0.1", "--csv", str(tmp_path / "layers.csv")]) == ExitCode.OK
    assert "taps:" in capsys.readouterr().out
    assert (tmp_path / "layers.csv").read_text().count("\n") == 1 + len(shown["layers"])


def test_another_graph_or_record_is_refused(place: Path) -> None:
    manifest = manifest_of(place / "q8.smalti")
    with pytest.raises(UsageError, match="another graph"):
        options_of(manifest, graph_bytes() + b"\0")
    stranger = CalibrationRecord({})
    with pytest.raises(UsageError, match="another calibration record"):
        options_of(manifest, graph_bytes(), stranger)
    nothing = replace(manifest, quantisation={})
    with pytest.raises(ModelFileError, match="how it was quantised"):
        options_of(nothing, graph_bytes())


@pytest.mark.parametrize("scheme", list(ActivationScheme))
@pytest.mark.parametrize("mode", [QuantMode.QINT8_MIXED_FLOAT32, QuantMode.QINT16_MIXED_FLOAT32])
def test_a_file_says_enough_to_make_its_steps_again(place: Path, mode: QuantMode, scheme: ActivationScheme) -> None:
    """The steps come from the manifest alone; with the channel means in it, the biases do, too."""
    record = calibrated(place)
    quant = QuantOptions(mode, activation=scheme)
    first = lower(graph_bytes(), replace(options(mode), quant=quant), record)
    manifest = replace(manifest_of(place / "q8.smalti"), precision=mode.value, quantisation=described(first, quant))
    made_options, made_record = options_of(manifest, graph_bytes())
    assert made_options.quant == quant
    check_same_steps(lower(graph_bytes(), made_options, made_record), manifest)
    means = {
        name: base64.b64encode(np.asarray(stats.channel_mean, "<f4").tobytes()).decode()
        for name, stats in record.tensors.items()
    }
    full = replace(manifest, quantisation={**manifest.quantisation, "means": means})
    assert keeps_means(full) and not keeps_means(manifest)
    again = lower(graph_bytes(), *options_of(full, graph_bytes()))
    for one, two in zip(constants(first), constants(again), strict=True):
        assert one.tobytes() == two.tobytes()


def calibrated(place: Path) -> CalibrationRecord:
    from_file = (place / "ranges.json").read_bytes()
    return parse_record(from_file)


def described(lowered: Lowered, quant: QuantOptions) -> dict[str, object]:
    tensors = {
        name: {"scale": p.scale, "zero_point": p.zero_point, "dtype": p.dtype.value}
        for name, p in lowered.params.items()
    }
    return {"activation": quant.activation.value, "keep": [], "tensors": tensors}


def constants(lowered: Lowered) -> list[np.ndarray]:
    return [np.asarray(node.op.value) for node in lowered.graph.nodes() if isinstance(node.op, ops.Constant)]
