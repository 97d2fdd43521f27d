"""Calibration of the embedded network on the compiled engine, through the functions and the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import smalti.apps
from deeplab_golden import graph_bytes as real_graph_bytes
from shared_data import shared_dir
from smalti.artifact.reader import open_model
from smalti.building.calibrate import calibrate_folder, calibrate_model, check_ranges
from smalti.cli.exit_codes import ExitCode
from smalti.cli.main import run as smalti_run
from smalti.compiler import CompileOptions
from smalti.compiling.sizes import import_shaped
from smalti.demo.dataset import GRAPH_PATH, graph_bytes, write_voc_layout
from smalti.demo.generator import TRAIN_FIRST, demo_image
from smalti.errors import ImageError, InputError, UsageError
from smalti.frontend.tensorflow.importer import import_graph
from smalti.ir.graph import Graph
from smalti.ir.reference import run
from smalti.passes.pipeline import run_pipeline
from smalti.quant.modes import CalibAlgo, QuantMode, QuantOptions
from smalti.quant.observers import observed_nodes, tap
from smalti.quant.record import CalibrationRecord, TensorStats
from smalti.target.host import resolve_targets
from smalti.vision.preprocess import Resize, resize_picture, target_size
from tolerance import Tol, assert_close

IMAGES = 3
SIZE = 193
TERMS = 400
OPTIONS = CompileOptions(
    resolve_targets("native"), QuantOptions(QuantMode.QINT8_MIXED_FLOAT16, CalibAlgo.MSE), name="demo"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC root with pictures of the demo."""
    root = tmp_path_factory.mktemp("voc")
    write_voc_layout(root, 4, train_count=IMAGES)
    return root


@pytest.fixture(scope="module")
def train_list(data: Path) -> Path:
    return data / "ImageSets" / "Segmentation" / "train.txt"


@pytest.fixture(scope="module")
def record(data: Path, train_list: Path) -> CalibrationRecord:
    return calibrate_folder(GRAPH_PATH, OPTIONS, data, file_list=train_list, threads=1)


@pytest.fixture(scope="module")
def canonical() -> Graph:
    return run_pipeline(import_shaped(graph_bytes(), OPTIONS).graph).graph


def pictures() -> list[NDArray[np.uint8]]:
    """Return what the files of the train list hold."""
    return [demo_image(TRAIN_FIRST + i)[0] for i in range(IMAGES)]


def test_the_engine_sees_what_numpy_sees(record: CalibrationRecord, canonical: Graph) -> None:
    names = [node.name for node in observed_nodes(canonical)]
    assert sorted(record.tensors) == sorted(names) and len(names) > 40
    fitted = [resize_picture(image, *target_size(*image.shape[:2], Resize.FIT, SIZE)) for image in pictures()]
    per_image = [run(canonical, {canonical.inputs[0].name: image[None]}, names) for image in fitted]
    for name in names:
        stats = record.tensors[name]
        values = np.concatenate([v[name].reshape(1, -1, v[name].shape[-1]) for v in per_image])
        tol = Tol.FLOAT(TERMS, float(np.abs(values).max()))
        for got, want in (
            (stats.channel_low, values.min(axis=(0, 1))),
            (stats.channel_high, values.max(axis=(0, 1))),
            (stats.channel_mean, values.mean(axis=(0, 1), dtype=np.float64)),
        ):
            assert_close(np.array(got, np.float32), want.astype(np.float32), tol, name)
        assert stats.seen_low <= stats.low <= stats.high <= stats.seen_high
        assert stats.seen_low == min(stats.channel_low) and stats.seen_high == max(stats.channel_high)


def test_the_record_says_where_it_comes_from(record: CalibrationRecord) -> None:
    assert record.options == OPTIONS.quant
    assert record.preprocess == {"resize": "fit", "input_size": SIZE}
    assert [image.name for image in record.images] == [f"demo_train_{i:04d}.png" for i in range(IMAGES)]
    assert len({image.sha256 for image in record.images}) == IMAGES
    assert any("only 3 images were seen" in w for w in record.warnings)


def test_threads_and_a_users_own_iterator_change_no_bit(record: CalibrationRecord) -> None:
    seen: list[tuple[int, int]] = []
    own = smalti.apps.calibrate_model(
        GRAPH_PATH, OPTIONS, pictures(), threads=3, progress=lambda done, total: seen.append((done, total))
    )
    assert own.tensors == record.tensors and own.warnings == record.warnings
    assert [image.name for image in own.images] == ["0", "1", "2"]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_what_is_no_picture_is_refused() -> None:
    def images() -> Iterator[Any]:
        yield np.zeros((8, 8, 3), np.float32)

    with pytest.raises(InputError, match=r"picture 0 .* must be uint8 \[H, W, 3\], not float32"):
        calibrate_model(GRAPH_PATH, OPTIONS, images())
    with pytest.raises(UsageError, match="at least one image"):
        calibrate_model(GRAPH_PATH, OPTIONS, [])


def test_a_picture_that_cannot_be_read_ends_the_calibration(data: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("demo_train_0000\nnot_there\n")
    with pytest.raises(ImageError, match="not_there: no such picture"):
        calibrate_folder(GRAPH_PATH, OPTIONS, data, file_list=listed)


def test_ranges_of_another_graph_are_refused(record: CalibrationRecord, tmp_path: Path) -> None:
    check_ranges(record, GRAPH_PATH, OPTIONS)
    other = tmp_path / "other.pb"
    other.write_bytes(graph_bytes() + b"\x22\x02\x08\x16")
    with pytest.raises(UsageError, match="another graph"):
        check_ranges(record, other, OPTIONS)
    wrong = CalibrationRecord({"nothing:0": TensorStats(0.0, 1.0, 0.0, 1.0)})
    with pytest.raises(UsageError, match="'nothing:0'"):
        check_ranges(wrong, GRAPH_PATH, OPTIONS)


def build(*arguments: object) -> int:
    return smalti_run(["build", "--tf-model", str(GRAPH_PATH), *map(str, arguments)])


def test_saved_ranges_make_the_same_file(
    data: Path, train_list: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, ranges, again = (tmp_path / name for name in ("a.smalti", "b.smalti", "r.json", "s.json"))
    mode = ("--quant-mode", "q8_f32", "--weight-granularity", "per_tensor")
    pictures_from = ("--image-dir", data, "--file-list", train_list, "--calib-num", 2, "--calib-algo", "percentile")
    assert build("--output-model-path", first, *mode, *pictures_from, "--save-ranges", ranges) == ExitCode.OK
    assert "calibration: only 2 images were seen" in capsys.readouterr().err
    assert build("--output-model-path", second, "--ranges", ranges, "--save-ranges", again) == ExitCode.OK
    assert first.read_bytes() == second.read_bytes()
    assert ranges.read_bytes() == again.read_bytes()
    with open_model(first) as file:
        kept = file.manifest.quantisation
    assert kept["calib_algo"] == "percentile" and kept["weight_granularity"] == "per_tensor"
    assert kept["calibration"]["images"] == 2 and kept["calibration"]["warnings"]


def test_ranges_written_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranges, model = tmp_path / "r.json", tmp_path / "m.smalti"
    ranges.write_text(json.dumps({"tensors": {"MobilenetV2/Conv/Relu6:0": {"low": 0, "high": 6}}}))
    assert build("--output-model-path", model, "--ranges", ranges) == ExitCode.USAGE
    assert "do not say for which mode" in capsys.readouterr().err
    assert build("--output-model-path", model, "--ranges", ranges, "--quant-mode", "q8_f32") == ExitCode.OK
    with open_model(model) as file:
        (steps,) = file.manifest.quantisation["tensors"].values()
    assert steps["range"][0] == 0.0 and abs(steps["range"][1] - 6.0) < 1e-5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--quant-mode", "q8_f16"), "add --image-dir FOLDER"),
        (("--quant-mode", "qint7"), "qint8_mixed_float16 (q8_f16)"),
        (
            ("--quant-mode", "f16", "--image-dir", "."),
            "force_float16 quantises nothing, so it has no use for --image",
        ),
        (("--calib-algo", "mse"), "has no use for --calib-algo; the modes that do are qint8_mixed_float16"),
        (("--quant-mode", "q8_f16", "--file-list", "x"), "add --image-dir FOLDER"),
        (("--quant-mode", "q8_f16", "--image-dir", "nowhere"), "there is no folder nowhere"),
        (("--quant-mode", "q8_f16", "--ranges", "none.json"), "none.json: there is no such file"),
    ],
)
def test_options_that_do_not_fit_say_what_to_do(
    arguments: tuple[str, ...],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert build("--output-model-path", "m.smalti", *arguments) == ExitCode.USAGE
    assert says in " ".join(capsys.readouterr().err.split())


def test_ranges_and_pictures_together_are_refused(
    record: CalibrationRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(record.to_json())
    assert build("--output-model-path", tmp_path / "m", "--ranges", path, "--calib-algo", "linear") == ExitCode.USAGE
    assert "leave one of them out" in capsys.readouterr().err


def test_graphs_of_every_kind_can_be_tapped() -> None:
    """Names are unique in the real graphs, and the taps of a graph of any size have sizes that follow the image's."""
    shared_dir()
    for name in ("deeplabv3_mnv2_pascal_train_aug", "deeplabv3_mnv2_dm05_anysize"):
        graph = run_pipeline(import_graph(real_graph_bytes(name)).graph).graph
        tapped = tap(graph)
        assert len(tapped.nodes) > 50 and tapped.has_labels
