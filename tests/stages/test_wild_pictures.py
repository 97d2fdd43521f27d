"""Public networks that take numbers and give scores label pictures, as made by hand from what they give."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import smalti
from deeplab_kit import mask, picture, val_names
from shared_data import shared_dir
from smalti.building.build import build
from smalti.compiler import CompileOptions
from smalti.compiling.pictures import Fit, PictureOptions, Preset
from smalti.target.host import resolve_targets
from smalti.vision.images import read_mask
from smalti.vision.metrics import ConfusionMatrix
from smalti.vision.preprocess import Resize, resize_labels

CLASSES, SIDE = 21, 257
NETWORKS = ("meet_segm_full_v679", "unet_person_w8", "pose_cpm_mobile")


@pytest.mark.parametrize("name", NETWORKS)
def test_tensorflow_networks_label_pictures(name: str, tmp_path: Path) -> None:
    graph = shared_dir() / "wild" / "pb" / f"{name}.pb"
    plain = CompileOptions(resolve_targets("native"))
    made = build(graph, tmp_path / "m", CompileOptions(plain.targets, pictures=PictureOptions(Preset.ZERO_ONE)))
    raw = build(graph, tmp_path / "raw", plain)
    with smalti.load(raw.path) as engine, smalti.Segmenter(made.path) as segmenter:
        _, height, width, _ = engine.inputs[0].shape
        image = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
        smooth = cv2.GaussianBlur(image, (0, 0), 5)
        x = (smooth / np.float32(255)).astype(np.float32)[np.newaxis]
        scores = engine.run({engine.inputs[0].name: x})[engine.outputs[0].name][0]
        wanted = cv2.resize(scores, (width, height), interpolation=cv2.INTER_LINEAR).argmax(2)
        assert np.mean(segmenter(smooth).labels == wanted) > 0.999


def test_an_onnx_network_gives_the_golden_labels(tmp_path: Path) -> None:
    """191 pictures: the labels of another engine on 99.99 % of the pixels, and its mean IoU."""
    graph = shared_dir() / "wild" / "onnx" / "deeplabv3_mnv2_voc_257_tf2onnx.onnx"
    golden = shared_dir() / "golden" / "wild"
    options = CompileOptions(resolve_targets("native"), pictures=PictureOptions(Preset.TF, resize=Fit.STRETCH))
    made = build(graph, tmp_path / "m", options)
    counter, same, total = ConfusionMatrix([str(label) for label in range(CLASSES)]), 0, 0
    with smalti.load(made.path) as engine:
        for name in val_names():
            labels = engine(picture(name, Resize.STRETCH, SIDE))
            same += int((labels == read_mask(golden / "deeplabv3_mnv2_voc_257_onnx" / f"{name}.png")).sum())
            total += labels.size
            truth = mask(name)
            counter.add(resize_labels(labels, *truth.shape), truth)
    wanted = json.loads((golden / "expected.json").read_text())["deeplabv3_mnv2_voc_257_onnx"]
    assert same >= 0.9999 * total
    assert abs(counter.measured().miou - wanted["miou"]) <= 0.0002
