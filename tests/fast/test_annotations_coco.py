"""COCO files: strict JSON, pycocotools reads them and gives the masks back, memory does not grow with the pictures."""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from smalti.annotations.coco import CocoMasks, coco_pieces
from smalti.annotations.picture import Annotated
from smalti.errors import InputError, OutputError
from smalti.vision.rle import decode_rle, expand_counts

NAMES = ("background", "road", "sign")
MAPS = arrays.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2))


def _no_constant(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


def _content(*pictures: Annotated, **options: Any) -> dict[str, Any]:
    text = "".join(coco_pieces(pictures, NAMES, **options))
    assert text.isascii()
    content: dict[str, Any] = json.loads(text, parse_constant=_no_constant)
    return content


def _example() -> NDArray[np.int32]:
    labels = np.zeros((60, 80), dtype=np.int32)
    labels[10:40, 20:50] = 1
    labels[20:30, 30:40] = 0
    labels[50, 70] = 2
    labels[0, :5] = 2
    return labels


def test_the_parts_of_a_file() -> None:
    content = _content(Annotated("a.jpg", _example()), Annotated("b/c.jpg", np.zeros((2, 3), dtype=np.uint8)))
    assert content["images"] == [
        {"id": 1, "file_name": "a.jpg", "height": 60, "width": 80},
        {"id": 2, "file_name": "b/c.jpg", "height": 2, "width": 3},
    ]
    assert content["licenses"] == [] and set(content) == {"info", "licenses", "images", "annotations", "categories"}
    assert [(c["id"], c["name"]) for c in content["categories"]] == [(1, "road"), (2, "sign")]
    found = content["annotations"]
    assert [a["id"] for a in found] == [1, 2, 3] and {a["image_id"] for a in found} == {1}
    assert [a["iscrowd"] for a in found] == [0, 0, 0]
    assert [(a["category_id"], a["area"], a["bbox"]) for a in found] == [
        (1, 800.0, [20.0, 10.0, 30.0, 30.0]),
        (2, 5.0, [0.0, 0.0, 5.0, 1.0]),
        (2, 1.0, [70.0, 50.0, 1.0, 1.0]),
    ]
    assert isinstance(found[0]["segmentation"], dict) and found[0]["segmentation"]["size"] == [60, 80]
    assert found[2]["segmentation"] == [[70, 50, 71, 50, 71, 51, 70, 51]]


def test_no_pictures() -> None:
    content = _content()
    assert (content["images"], content["annotations"], len(content["categories"])) == ([], [], 2)


def test_the_background_and_labels_without_a_name() -> None:
    labels = np.array([[0, 9, -3]], dtype=np.int32)
    content = _content(Annotated("a.png", labels), leave_out=())
    names = {c["id"]: c["name"] for c in content["categories"]}
    assert names == {-3: "class -3", 0: "background", 1: "road", 2: "sign", 9: "class 9"}
    assert [a["category_id"] for a in content["annotations"]] == [-3, 0, 9]


@settings(max_examples=100, deadline=None)
@given(MAPS)
def test_run_lengths_are_the_classes(labels: NDArray[np.int32]) -> None:
    content = _content(Annotated("a", labels), masks=CocoMasks.RLE, leave_out=())
    painted = np.full(labels.shape, -1)
    for annotation in content["annotations"]:
        mask = decode_rle(expand_counts(annotation["segmentation"]["counts"]), *labels.shape)
        assert (painted[mask] == -1).all() and annotation["area"] == mask.sum()
        painted[mask] = annotation["category_id"]
    np.testing.assert_array_equal(painted, labels)
    assert len(content["annotations"]) == len(np.unique(labels))


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
@settings(max_examples=40, deadline=None)
@given(MAPS, st.sampled_from(CocoMasks))
def test_pycocotools_gives_the_masks_back(labels: NDArray[np.int32], masks: CocoMasks) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coco.json"
        path.write_text("".join(coco_pieces([Annotated("a", labels)], NAMES, masks=masks, leave_out=())))
        read = coco.COCO(str(path))
    painted = np.full(labels.shape, -1)
    for annotation in read.loadAnns(read.getAnnIds(imgIds=[1])):
        mask = read.annToMask(annotation) == 1
        assert (painted[mask] == -1).all() and mask.sum() == annotation["area"]
        painted[mask] = annotation["category_id"]
    np.testing.assert_array_equal(painted, labels)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
def test_pycocotools_measures_what_the_file_says(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    mask_tools = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    labels = cv2.circle(_example(), (60, 25), 9, 2, -1)
    path = tmp_path / "coco.json"
    path.write_text("".join(coco_pieces([Annotated("a", labels)], NAMES)))
    read = coco.COCO(str(path))
    for annotation in read.loadAnns(read.getAnnIds()):
        mask = np.asfortranarray(read.annToMask(annotation))
        assert mask_tools.toBbox(mask_tools.encode(mask)).tolist() == annotation["bbox"]
        assert float(mask.sum()) == annotation["area"]
    assert len(read.getAnnIds(catIds=[2])) == 3


def test_small_regions_and_tolerance() -> None:
    labels = cv2.circle(_example(), (60, 25), 9, 2, -1)
    content = _content(Annotated("a", labels), min_area=4, tolerance=1.0)
    assert [a["category_id"] for a in content["annotations"]] == [1, 2, 2]
    assert len(content["annotations"][2]["segmentation"][0]) < 40
    content = _content(Annotated("a", _example()), min_area=7, masks=CocoMasks.RLE)
    assert [a["area"] for a in content["annotations"]] == [800.0]


def test_names_of_any_bytes() -> None:
    labels = np.array([[1, 3]], dtype=np.uint8)
    text = "".join(coco_pieces([Annotated("\udcff Gr\u00fc\u00df\n.jpg", labels)], ("", "r\udcfe")))
    content = json.loads(text)
    assert content["images"][0]["file_name"] == "\\udcff Gr\u00fc\u00df\\n.jpg"
    assert [c["name"] for c in content["categories"]] == ["r\\udcfe", "class 3"]
    text.encode("utf-8")


def test_memory_does_not_grow_with_the_pictures() -> None:
    labels = np.eye(4, dtype=np.uint8)

    def peak(count: int) -> int:
        pictures = (Annotated(f"{number:0800}.jpg", labels) for number in range(count))
        tracemalloc.start()
        size = sum(len(piece) for piece in coco_pieces(pictures, NAMES))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert size > count * 1200
        return top

    peak(1)
    few, many = peak(200), peak(1000)
    assert many - few < 100_000, "the records of 800 pictures are 680000 bytes"


def test_annotations_come_as_pictures_do() -> None:
    taken = []

    def pictures() -> Iterator[Annotated]:
        for number in range(3):
            taken.append(number)
            yield Annotated(str(number), np.ones((1, 1), dtype=np.uint8))

    pieces = coco_pieces(pictures(), NAMES)
    next(pieces)
    assert taken == [] and "category_id" in next(pieces) and taken == [0]


def test_a_full_disk_is_an_output_error(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")

    def full(*_: object, **__: object) -> Any:
        return open("/dev/full", "w")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", full)
    with pytest.raises(OutputError, match="No space left"):
        list(coco_pieces([Annotated("a" * 2**14, np.ones((1, 1), dtype=np.uint8))] * 2, NAMES))


def test_labels_that_are_no_label_map() -> None:
    with pytest.raises(InputError, match="a.jpg"):
        Annotated("a.jpg", np.zeros((2, 2), dtype=np.float32))
    with pytest.raises(InputError, match="tolerance"):
        _content(Annotated("a", _example()), tolerance=-1.0)
    with pytest.raises(InputError, match="min_area"):
        _content(Annotated("a", _example()), masks=CocoMasks.RLE, min_area=float("nan"))
