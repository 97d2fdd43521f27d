"""What ``smalti bench`` feeds a model with: shapes, batches, pictures, and never one constant input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from artifact_kit import Parts, label_manifest, reverse_manifest
from smalti.artifact.manifest import TensorSpec
from smalti.bench.inputs import (
    OWN_SIZES,
    POOL,
    Generated,
    Pictures,
    ShapeGroup,
    choose_groups,
    is_image_model,
    parse_dims,
    part_shapes,
    read_pictures,
    textured_picture,
    with_batch,
)
from smalti.errors import DataError, ImageError, UsageError
from smalti.jobs.pictures import PassedOver
from smalti.jobs.stream import Preprocess
from smalti.numerics import DType
from smalti.vision.images import encode_picture
from smalti.vision.preprocess import Resize

MANIFEST = label_manifest()
ANY_BATCH = label_manifest(batch_size=None)
GROUP = ShapeGroup("1x20x30x3", {"image:0": (1, 20, 30, 3)})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Parts(MANIFEST, bytes(64), bytes(64)).write(tmp_path / "m.smalti")


def config(folder: Path, value: object) -> Path:
    path = folder / "run.json"
    path.write_text(json.dumps(value))
    return path


def test_dims_with_commas_and_repeated() -> None:
    assert parse_dims(["1x513x513x3,1x375x500x3", "7"]) == ((1, 513, 513, 3), (1, 375, 500, 3), (7,))
    assert parse_dims([]) == ()


@pytest.mark.parametrize("text", ["", "1x", "0x3", "-1", "1X2", "1x2,", "1 x 2", "1x٣", "9" * 10])
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="1x513x513x3"):
        parse_dims([text])


def test_the_groups_of_options(model: Path) -> None:
    (default,) = choose_groups(MANIFEST, model, (), None, has_pictures=False)
    assert default.shapes == {"image:0": (1, 600, 600, 3)} and default.name == "1x600x600x3"
    (own,) = choose_groups(MANIFEST, model, (), None, has_pictures=True)
    assert own == ShapeGroup(OWN_SIZES, None)
    two = choose_groups(MANIFEST, model, ("1x8x9x3", "1x20x30x3"), None, has_pictures=True)
    assert [group.shapes for group in two] == [{"image:0": (1, 8, 9, 3)}, GROUP.shapes]
    with pytest.raises(UsageError, match="one name"):
        choose_groups(MANIFEST, model, ("1x8x9x3,1x8x9x3",), None, has_pictures=False)


def test_a_run_config_by_order_and_by_name(model: Path, tmp_path: Path) -> None:
    groups = [{"name": "small", "inputs": [[1, 8, 9, 3]]}, {"inputs": {"image": [1, 20, 30, 3]}}]
    found = choose_groups(MANIFEST, model, (), config(tmp_path, {"groups": groups}), has_pictures=False)
    assert found == (ShapeGroup("small", {"image:0": (1, 8, 9, 3)}), GROUP)
    with pytest.raises(UsageError, match="not both"):
        choose_groups(MANIFEST, model, ("1x8x9x3",), tmp_path / "run.json", has_pictures=False)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([], DataError),
        ({"groups": []}, UsageError),
        ({"groups": [1]}, DataError),
        ({"groups": [{"inputs": []}]}, DataError),
        ({"groups": [{"inputs": [[1, 0, 9, 3]]}]}, DataError),
        ({"groups": [{"inputs": [[1, True, 9, 3]]}]}, DataError),
        ({"groups": [{"inputs": {"other": [1]}}]}, DataError),
        ({"groups": [{"inputs": {"image": [1, 8, 9, 3], "other": [1]}}]}, UsageError),
        ({"groups": [{"inputs": [[1, 8, 9, 3]], "name": 3}]}, DataError),
        ({"groups": [{"inputs": [[1, 8, 9, 3]], "more": 3}]}, DataError),
    ],
    ids=str,
)
def test_damaged_run_configs(model: Path, tmp_path: Path, value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        choose_groups(MANIFEST, model, (), config(tmp_path, value), has_pictures=False)


def test_a_batch_widens_the_shapes() -> None:
    assert with_batch(GROUP, None, ANY_BATCH) == (GROUP, 1)
    group, count = with_batch(GROUP, 4, MANIFEST)
    assert count == 4 and group == ShapeGroup("4x20x30x3", {"image:0": (4, 20, 30, 3)})
    assert part_shapes(ANY_BATCH, {"image:0": (4, 20, 30, 3)}) == GROUP.shapes
    assert with_batch(group, None, ANY_BATCH) == (group, 4)
    assert with_batch(GROUP, None, label_manifest(batch_size=2))[1] == 2
    named, _ = with_batch(ShapeGroup("mine", GROUP.shapes), 2, MANIFEST)
    assert named.name == "mine"
    with pytest.raises(UsageError, match="does not fit"):
        with_batch(group, 3, ANY_BATCH)
    with pytest.raises(UsageError, match="batch size of this model is 2"):
        with_batch(GROUP, 3, label_manifest(batch_size=2))
    plain = replace(MANIFEST, inputs=(TensorSpec("image:0", DType.UINT8, (3, 1, 2)),))
    shapes = {"image:0": (3, 8, 9)}
    assert with_batch(ShapeGroup("x", shapes), None, plain) == (ShapeGroup("x", shapes), 1)
    with pytest.raises(UsageError, match="no leading dimension"):
        with_batch(ShapeGroup("x", shapes), 2, plain)


def test_generated_inputs_differ_and_are_textured() -> None:
    source = Generated(MANIFEST, GROUP)
    seen = [source.prepare(index)["image:0"] for index in range(POOL)]
    assert len({array.tobytes() for array in seen}) == POOL
    assert all(array.dtype == np.uint8 and array.shape == (1, 20, 30, 3) and array.std() > 10 for array in seen)
    again = source.prepare(POOL)["image:0"]
    assert np.array_equal(again, seen[0]) and again is not seen[0]
    picture = textured_picture(64, 80, 3)
    assert picture.shape == (64, 80, 3) and len(np.unique(picture)) > 100


def test_pictures_in_turns_at_their_own_and_at_given_sizes() -> None:
    pictures = [textured_picture(12 + i, 20, i) for i in range(3)]
    own = Pictures(MANIFEST, ShapeGroup(OWN_SIZES, None), 1, pictures, Preprocess(Resize.NONE, None))
    assert [own.prepare(i)["image:0"].shape for i in range(4)] == [(1, h, 20, 3) for h in (12, 13, 14, 12)]
    assert own.shapes_of(1) == {"image:0": (1, 13, 20, 3)}
    fit = Pictures(MANIFEST, ShapeGroup(OWN_SIZES, None), 1, pictures, Preprocess(Resize.FIT, 40))
    assert fit.prepare(0)["image:0"].shape == (1, 24, 40, 3)
    pair = Pictures(MANIFEST, ShapeGroup("g", {"image:0": (2, 8, 9, 3)}), 2, pictures, None)
    assert pair.prepare(1)["image:0"].shape == (2, 8, 9, 3)
    assert not np.array_equal(*pair.prepare(1)["image:0"])
    labels = pair.finish(1, [np.zeros((2, 8, 9), np.int32)])
    assert [part.shape for part in labels] == [(14, 20), (12, 20)]
    with pytest.raises(UsageError, match="NxHxWx3"):
        Pictures(MANIFEST, ShapeGroup("g", {"image:0": (1, 8, 9)}), 1, pictures, None)


@pytest.mark.parametrize("images", [1 << 40, (1 << 62)])
def test_more_images_than_the_memory_holds_are_refused_at_once(images: int) -> None:
    group = ShapeGroup("g", {"image:0": (images, 20, 30, 3)})
    with pytest.raises(MemoryError):
        Generated(MANIFEST, group)
    with pytest.raises(MemoryError):
        Pictures(MANIFEST, group, images, [textured_picture(12, 20, 0)], None).prepare(0)


def test_own_sizes_need_pictures() -> None:
    with pytest.raises(UsageError, match="--image-dir"):
        Generated(MANIFEST, ShapeGroup(OWN_SIZES, None))
    assert is_image_model(MANIFEST) and not is_image_model(reverse_manifest())


def test_pictures_are_read_from_a_folder(tmp_path: Path) -> None:
    for index in range(2):
        (tmp_path / f"{index}.jpg").write_bytes(encode_picture(textured_picture(10, 12, index)))
    assert [picture.shape for picture in read_pictures(tmp_path)] == [(10, 12, 3)] * 2
    (tmp_path / "list.txt").write_text("0\n7\n")
    with pytest.raises(ImageError, match="7: no such picture"):
        read_pictures(tmp_path, tmp_path / "list.txt")
    passed_over = PassedOver()
    assert len(read_pictures(tmp_path, tmp_path / "list.txt", passed_over=passed_over)) == 1
    assert [(failure.name, failure.reason) for failure in passed_over.failures] == [("7", "no such picture")]
