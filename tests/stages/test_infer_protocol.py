"""The reference protocol on real pictures: the same pixels in, the same mean intersection over union out."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from shared_data import shared_dir
from smalti.scoring.evaluate import evaluate_folder
from smalti.vision.images import read_image
from smalti.vision.preprocess import Resize, resize_picture, target_size

MODELS = ("deeplabv3_mnv2_pascal_train_aug", "deeplabv3_mnv2_dm05_pascal_trainval")
ARCHIVE = "VOCtrainval_11-May-2012.tar"


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shared = shared_dir()
    folder = tmp_path_factory.mktemp("voc")
    with tarfile.open(shared / "mirror" / ARCHIVE) as archive:
        for member in archive:
            if member.isfile():
                target = folder / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                assert source is not None
                target.write_bytes(source.read())
    return folder / "VOCdevkit" / "VOC2012"


@pytest.mark.parametrize("model", MODELS)
def test_pictures_reach_the_network_pixel_for_pixel(model: str, voc: Path) -> None:
    with np.load(shared_dir() / "golden" / model / "logits.npz") as golden:
        names = sorted(name.removesuffix("_image") for name in golden.files if name.endswith("_image"))
        assert len(names) == 4
        for name in names:
            picture = read_image(voc / "JPEGImages" / f"{name}.jpg")
            size = target_size(*picture.shape[:2], Resize.FIT, 513)
            np.testing.assert_array_equal(resize_picture(picture, *size), golden[f"{name}_image"])


@pytest.mark.parametrize("model", MODELS)
def test_golden_label_maps_give_the_expected_accuracy(model: str, voc: Path) -> None:
    expected = json.loads((shared_dir() / "golden" / "expected.json").read_text())[model]["shape_mutable_true"]
    result = evaluate_folder(
        shared_dir() / "golden" / model / "mutable", voc, voc / "ImageSets" / "Segmentation" / "val.txt"
    )
    assert result.accuracy.images == expected["images"] and not result.failures
    assert abs(result.miou - expected["miou"]) < 1e-9
    assert np.abs(result.accuracy.iou - expected["per_class"]).max() < 1e-9


def test_golden_label_maps_at_native_size_give_the_expected_accuracy(voc: Path) -> None:
    model = "deeplabv3_mnv2_dm05_anysize"
    expected = json.loads((shared_dir() / "golden" / "expected.json").read_text())[model]["native"]
    result = evaluate_folder(shared_dir() / "golden" / model / "native", voc)
    assert result.accuracy.images == expected["images"]
    assert abs(result.miou - expected["miou"]) < 1e-9
