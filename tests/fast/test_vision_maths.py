"""Palette, resize, overlay and metrics."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from smalti.errors import DataError, InputError, UsageError
from smalti.vision.metrics import ConfusionMatrix
from smalti.vision.overlay import add_legend, blend
from smalti.vision.palette import VOC_LABELS, colourise, voc_palette
from smalti.vision.preprocess import Resize, resize_labels, resize_picture, target_size

SIDES = st.integers(1, 700)


def test_palette_has_the_known_colours() -> None:
    palette = voc_palette()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    for label, colour in {**known, 255: (224, 224, 192)}.items():
        assert tuple(palette[label]) == colour
    assert len(np.unique(palette, axis=0)) == 256


def test_names() -> None:
    assert len(VOC_LABELS) == 21 and VOC_LABELS[15] == "person"
    np.testing.assert_array_equal(colourise(np.array([[0, 15]])), [[[0, 0, 0], [192, 128, 128]]])


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES)
def test_nearest_equals_opencv(h: int, w: int, height: int, width: int) -> None:
    labels = (np.arange(h)[:, None] * 31 + np.arange(w) * 7).astype(np.uint8)
    want = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    got = resize_labels(labels, height, width)
    np.testing.assert_array_equal(got, want)
    assert got.dtype == np.uint8


def test_labels_keep_their_dtype() -> None:
    labels = np.array([[1, 70_000]], dtype=np.int32)
    got = resize_labels(labels, 2, 4)
    assert got.dtype == np.int32 and got.tolist() == [[1, 1, 70_000, 70_000]] * 2
    assert resize_labels(labels, 1, 2) is labels


@pytest.mark.parametrize(
    ("size", "policy", "input_size", "want"),
    [
        ((375, 500), Resize.FIT, 513, (385, 513)),
        ((500, 334), Resize.FIT, 513, (513, 343)),
        ((513, 513), Resize.FIT, 513, (513, 513)),
        ((1, 65500), Resize.FIT, 513, (1, 513)),
        ((4000, 3), Resize.FIT, 513, (513, 1)),
        ((1, 2), Resize.FIT, 513, (256, 513)),
        ((375, 500), Resize.STRETCH, 513, (513, 513)),
        ((375, 500), Resize.NONE, 513, (375, 500)),
        ((375, 500), Resize.NONE, None, (375, 500)),
    ],
)
def test_target_size(size: tuple[int, int], policy: Resize, input_size: int | None, want: tuple[int, int]) -> None:
    assert target_size(*size, policy, input_size) == want


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 2048))
def test_fit_gives_the_longer_side_the_input_size(height: int, width: int, size: int) -> None:
    got = target_size(height, width, Resize.FIT, size)
    assert max(got) == size and min(got) >= 1


def test_a_size_is_needed() -> None:
    for policy in (Resize.FIT, Resize.STRETCH):
        with pytest.raises(UsageError, match="--resize none"):
            target_size(3, 4, policy, None)


@pytest.mark.parametrize("size", [(1, 65500), (65500, 1), (37, 53), (900, 20)])
def test_pictures_are_scaled_by_area(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    height, width = target_size(*size, Resize.FIT, 513)
    want = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(resize_picture(picture, height, width), want)
    assert resize_picture(picture, *size) is picture


def test_blend_leaves_the_background_alone() -> None:
    picture = np.full((2, 2, 3), 100, dtype=np.uint8)
    labels = np.array([[0, 15], [0, 0]], dtype=np.int32)
    got = blend(picture, labels, strength=0.5)
    assert got[0, 1].tolist() == [146, 114, 114]
    assert (got[1] == 100).all() and (got[0, 0] == 100).all()
    assert blend(picture, labels, strength=0.0).tolist() == picture.tolist()
    assert blend(picture, labels, strength=1.0)[0, 1].tolist() == [192, 128, 128]
    with pytest.raises(InputError):
        blend(picture, labels[:1])


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (40, 60)])
def test_legend_adds_a_strip(size: tuple[int, int]) -> None:
    picture = np.zeros((*size, 3), dtype=np.uint8)
    labels = np.resize(np.array([0, 3, 15, 255, 30], dtype=np.int32), size)
    got = add_legend(picture, labels, VOC_LABELS)
    assert got.dtype == np.uint8 and got.shape[1] == size[1] and got.shape[0] > size[0]
    np.testing.assert_array_equal(got[: size[0]], picture)
    if size[1] >= 60:
        assert (got[size[0] :].reshape(-1, 3) == voc_palette()[3]).all(axis=1).any()


def legend_of(height: int, width: int) -> NDArray[np.uint8]:
    """Return the strip below a picture of four usual classes."""
    labels = np.zeros((height, width), dtype=np.uint8)
    labels[: height // 2, : width // 4], labels[: height // 2, -width // 4 :] = 15, 255
    labels[-height // 4 :] = 2
    return add_legend(np.zeros((height, width, 3), dtype=np.uint8), labels, VOC_LABELS)[height:]


def letters_height(strip: NDArray[np.uint8]) -> int:
    """Return the rows of the first line of a legend that have the white of its letters."""
    bright = (strip.min(axis=2) > 180).any(axis=1)
    first = int(np.argmax(bright))
    return int(np.argmin(bright[first:])) if not bright[first:].all() else strip.shape[0] - first


@pytest.mark.parametrize(("height", "width"), [(375, 500), (750, 1000), (3000, 4000), (4000, 3000), (6000, 8000)])
def test_a_legend_looks_the_same_on_pictures_of_any_size(height: int, width: int) -> None:
    strip = legend_of(height, width)
    side = (height * width) ** 0.5
    assert 0.018 <= letters_height(strip) / side <= 0.04
    assert 0.05 <= strip.shape[0] / height <= 0.2


def test_a_legend_of_a_small_picture_can_be_read() -> None:
    strip = legend_of(200, 300)
    assert strip.shape[0] == 2 * 18 + 10 and letters_height(strip) >= 8
    # A tall and narrow picture: no entry may be wider than it.
    tall = legend_of(9000, 300)
    assert not (tall[:, -2:].min(axis=2) > 180).any() and letters_height(tall) >= 8


def test_a_legend_takes_a_class_name_of_undecodable_bytes() -> None:
    """In a process of its own: what this guards against is a signal."""
    program = (
        "import numpy as np; from smalti.vision.overlay import add_legend;"
        "print(add_legend(np.zeros((9, 90, 3), np.uint8), np.zeros((9, 90), int), ['a\\udcffb']).shape[1])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "90"), done.stderr


def test_a_small_confusion_matrix_by_hand() -> None:
    counter = ConfusionMatrix(["a", "b", "c"])
    counter.add(np.array([[0, 1, 1], [2, 0, 0]]), np.array([[0, 1, 0], [255, 255, 1]], dtype=np.uint8))
    result = counter.result()
    assert result.confusion.dtype == np.int64
    assert result.confusion.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert result.iou[:2].tolist() == [1 / 3, 1 / 3] and math.isnan(result.iou[2])
    assert result.miou == 1 / 3 and result.pixel_accuracy == 0.5 and result.pixels == 4 and result.images == 1
    assert result.class_accuracy[0] == 0.5
    out = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert out["per_class"] == [1 / 3, 1 / 3, None] and out["miou"] == 1 / 3 and out["images"] == 1


def test_a_class_only_predicted_counts_as_zero() -> None:
    counter = ConfusionMatrix(["a", "b"])
    counter.add(np.array([[0, 1]]), np.array([[0, 0]]))
    assert counter.result().iou.tolist() == [0.5, 0.0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_iou_equals_counting_with_sets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counter = ConfusionMatrix(["a", "b", "c", "d"])
    maps = [(rng.integers(0, 4, (5, 6)), rng.choice([0, 1, 2, 3, 255], (5, 6))) for _ in range(3)]
    for prediction, mask in maps:
        counter.add(prediction, mask)
    result = counter.result()
    for label in range(4):
        both = sum(int(((p == label) & (m == label)).sum()) for p, m in maps)
        either = sum(int((((p == label) | (m == label)) & (m != 255)).sum()) for p, m in maps)
        assert (math.isnan(result.iou[label]) and not either) or result.iou[label] == both / either


@pytest.mark.parametrize(
    ("prediction", "mask"),
    [
        ([[3]], [[0]]),
        ([[-1]], [[0]]),
        ([[255]], [[255]]),
        ([[0]], [[3]]),
        ([[0]], [[254]]),
        ([[0, 0]], [[0]]),
    ],
)
def test_wrong_labels_are_errors_and_count_nothing(prediction: list[list[int]], mask: list[list[int]]) -> None:
    counter = ConfusionMatrix(["a", "b", "c"])
    with pytest.raises(DataError):
        counter.add(np.array(prediction), np.array(mask))
    assert counter.result().images == 0 and counter.result().pixels == 0


def test_nothing_counted_is_not_zero() -> None:
    result = ConfusionMatrix(["a"]).result()
    assert math.isnan(result.miou) and math.isnan(result.pixel_accuracy)
    assert result.to_json()["miou"] is None


@given(
    arrays(np.uint8, (4, 5), elements=st.integers(0, 20)),
    arrays(np.uint8, (4, 5), elements=st.integers(0, 21)),
    st.data(),
)
def test_without_names_the_accuracy_is_the_same(
    prediction: NDArray[np.uint8], mask: NDArray[np.uint8], data: st.DataObject
) -> None:
    mask[mask == 21] = 255
    named, numbered = ConfusionMatrix(VOC_LABELS), ConfusionMatrix(None)
    cut = data.draw(st.integers(0, 3))
    for counter in (named, numbered):
        for part in (slice(0, cut), slice(cut, 4)):
            counter.add(prediction[part], mask[part])
    one, other = named.result(), numbered.result()
    classes = 1 + max(int(prediction.max()), *(int(label) for label in mask.ravel() if label != 255), 0)
    assert other.classes == classes and other.labels[-1] == f"class {classes - 1}"
    np.testing.assert_array_equal(one.confusion[:classes, :classes], other.confusion)
    assert one.confusion.sum() == other.confusion.sum() and one.images == other.images == 2
    np.testing.assert_array_equal([one.miou, one.pixel_accuracy], [other.miou, other.pixel_accuracy])


def test_without_names_the_void_label_is_no_prediction() -> None:
    counter = ConfusionMatrix(None)
    with pytest.raises(DataError, match="a predicted label is outside the 255 classes: 255"):
        counter.add(np.array([[255]]), np.array([[0]]))
    assert counter.result().labels == ("class 0",)


@pytest.mark.parametrize("count", [0, 256])
def test_the_number_of_classes_is_limited(count: int) -> None:
    with pytest.raises(UsageError):
        ConfusionMatrix(["x"] * count)


def test_a_result_is_frozen() -> None:
    counter = ConfusionMatrix(["a"])
    result = counter.result()
    counter.add(np.zeros((2, 2), int), np.zeros((2, 2), int))
    assert result.pixels == 0 and counter.result().pixels == 4
    with pytest.raises(ValueError, match="read-only"):
        result.confusion[0, 0] = 1
