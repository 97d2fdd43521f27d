"""labelme and GeoJSON files and the table of shares: strict, exact, and safe with any name."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from smalti.annotations.geojson import geojson_text
from smalti.annotations.labelme import labelme_text
from smalti.annotations.picture import Annotated, class_name, plain_points
from smalti.annotations.shares import shares_pieces
from smalti.errors import InputError
from smalti.vision.label_counts import count_labels, fit_a_byte
from smalti.vision.polygon_masks import polygon_mask
from smalti.vision.polygons import Polygon
from smalti.vision.rings import ring_area

NAMES = ("background", "road", "sign")
MAPS = arrays.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2))
NAME = st.text(st.characters(), max_size=12)


def _strict(text: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert text.isascii() and text.endswith("\n")
    content: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return content


def _paint(parts: list[Polygon], shape: tuple[int, ...]) -> NDArray[np.int64]:
    painted = np.full(shape, -1)
    for part in parts:
        mask, (top, left) = polygon_mask(part)
        box = painted[top : top + mask.shape[0], left : left + mask.shape[1]]
        assert (box[mask] == -1).all(), "no pixel is of two"
        box[mask] = part.label
    return painted


def _ring(points: list[list[float]]) -> NDArray[np.float64]:
    return np.array(points, dtype=np.float64)


@settings(max_examples=100, deadline=None)
@given(MAPS)
def test_labelme_shapes_are_the_regions(labels: NDArray[np.int32]) -> None:
    content = _strict(labelme_text(Annotated("a.jpg", labels), NAMES, leave_out=()))
    shapes = content["shapes"]
    parts = [Polygon(NAMES.index(shape["label"]), _ring(shape["points"]), ()) for shape in shapes]
    np.testing.assert_array_equal(_paint(parts, labels.shape), labels)
    groups: dict[int, set[str]] = {}
    for shape in shapes:
        if shape["group_id"] is not None:
            groups.setdefault(shape["group_id"], set()).add(shape["label"])
    assert sorted(groups) == list(range(1, len(groups) + 1)) and all(len(names) == 1 for names in groups.values())


def test_labelme_content() -> None:
    labels = np.zeros((6, 8), dtype=np.uint8)
    labels[1:4, 1:4] = 1
    labels[2, 2] = 0
    labels[5, 7] = 30
    content = _strict(labelme_text(Annotated("deep/a.jpg", labels), NAMES, image_path="../deep/a.jpg"))
    shapes = content.pop("shapes")
    assert content == {
        "version": "5.0.0",
        "flags": {},
        "imagePath": "../deep/a.jpg",
        "imageData": None,
        "imageHeight": 6,
        "imageWidth": 8,
    }
    assert [(s["label"], s["group_id"]) for s in shapes] == [("road", 1), ("road", 1), ("class 30", None)]
    assert {tuple(sorted(s)) for s in shapes} == {("flags", "group_id", "label", "points", "shape_type")}
    assert {s["shape_type"] for s in shapes} == {"polygon"}
    assert _strict(labelme_text(Annotated("\udcff.jpg", labels), NAMES))["imagePath"] == "\\udcff.jpg"


def test_labelme_simplifies_after_the_cut() -> None:
    labels = cv2.circle(np.zeros((90, 90), np.uint8), (45, 45), 40, 1, 12)
    exact = _strict(labelme_text(Annotated("a", labels), NAMES))["shapes"]
    simple = _strict(labelme_text(Annotated("a", labels), NAMES, tolerance=1.0))["shapes"]
    assert len(exact) == len(simple) == 2
    assert sum(len(s["points"]) for s in simple) < 80 < 200 < sum(len(s["points"]) for s in exact)


@settings(max_examples=100, deadline=None)
@given(MAPS)
def test_geojson_features_are_the_regions(labels: NDArray[np.int32]) -> None:
    content = _strict(geojson_text(Annotated("a.jpg", labels), NAMES, leave_out=()))
    assert content["type"] == "FeatureCollection" and content["image"] == "a.jpg"
    parts = []
    for feature in content["features"]:
        assert feature["type"] == "Feature" and feature["geometry"]["type"] == "Polygon"
        rings = feature["geometry"]["coordinates"]
        assert all(ring[0] == ring[-1] and len(ring) >= 5 for ring in rings)
        outer, *holes = (_ring(ring[:-1]) for ring in rings)
        assert ring_area(outer) > 0 and all(ring_area(hole) < 0 for hole in holes)
        told = feature["properties"]
        part = Polygon(told["label"], outer, tuple(holes))
        assert told["name"] == NAMES[told["label"]] and told["area"] == part.area
        assert told["share"] == part.area / labels.size
        parts.append(part)
    np.testing.assert_array_equal(_paint(parts, labels.shape), labels)


def test_geojson_options() -> None:
    labels = np.zeros((5, 5), dtype=np.uint8)
    labels[0, 0] = 1
    labels[2:, 2:] = 2
    content = _strict(geojson_text(Annotated("\udcff", labels), NAMES, min_area=2))
    assert [f["properties"]["name"] for f in content["features"]] == ["sign"] and content["image"] == "\\udcff"
    with pytest.raises(InputError):
        geojson_text(Annotated("a", labels), NAMES, tolerance=float("nan"))


def _table(pictures: list[Annotated], names: tuple[str, ...]) -> list[list[str]]:
    text = "".join(shares_pieces(pictures, names))
    text.encode("utf-8")
    return list(csv.reader(io.StringIO(text, newline="")))


def test_shares() -> None:
    labels = np.array([[0, 0, 1, 9], [0, -1, 1, 0]], dtype=np.int32)
    rows = _table([Annotated("a.jpg", labels), Annotated("b.jpg", np.zeros((0, 3), dtype=np.uint8))], NAMES)
    assert rows == [
        ["name", "height", "width", "background", "road", "sign", "(other labels)"],
        ["a.jpg", "2", "4", "0.5", "0.25", "0", "0.25"],
        ["b.jpg", "0", "3", "0", "0", "0", "0"],
    ]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_spreadsheet_runs_no_name(start: str) -> None:
    labels = np.zeros((1, 1), dtype=np.uint8)
    header, row = _table([Annotated(f"{start}1+1.jpg", labels)], (f"{start}A1",))
    assert header[3] == f"'{start}A1" and row[0] == f"'{start}1+1.jpg"


@settings(max_examples=100, deadline=None)
@given(NAME, NAME)
def test_any_name(name: str, label: str) -> None:
    picture = Annotated(name, np.array([[0]], dtype=np.uint8))
    header, row = _table([picture], (label,))
    assert len(header) == len(row) == 5 and row[1:] == ["1", "1", "1", "0"]
    assert not header[3].startswith(("=", "+", "-", "@")) and not row[0].startswith(("=", "+", "-", "@"))
    shapes = _strict(labelme_text(picture, (label,), leave_out=()))["shapes"]
    features = _strict(geojson_text(picture, (label,), leave_out=()))["features"]
    assert shapes[0]["label"] == features[0]["properties"]["name"] == class_name(0, (label,))
    shapes[0]["label"].encode("utf-8")


def test_points_that_are_not_whole() -> None:
    assert json.dumps(plain_points(_ring([[1.0, 2.0], [3.0, 4.0]]))) == "[[1, 2], [3, 4]]"
    assert json.dumps(plain_points(_ring([[1.5, 2.0], [3.0, 4.0]]))) == "[[1.5, 2.0], [3.0, 4.0]]"


@pytest.mark.parametrize("values", [[0, 1, 255], [-5, 3], [-(2**62), 2**62], [0, 2**20]])
def test_labels_are_counted(values: list[int]) -> None:
    labels = np.random.default_rng(0).choice(np.array(values, dtype=np.int64), (1100, 1000))
    want = np.unique(labels, return_counts=True)
    assert count_labels(labels) == dict(zip(want[0].tolist(), want[1].tolist(), strict=True))
    assert count_labels(labels[:0]) == {} and count_labels(labels[:, :0]) == {}


@pytest.mark.parametrize(
    ("values", "fit"), [([0, 255], True), ([], True), ([-1, 3], False), ([256], False), ([2**63 - 1], False)]
)
def test_labels_that_fit_a_byte(values: list[int], fit: bool) -> None:
    assert fit_a_byte(np.array(values, np.int64)) is fit
    assert fit_a_byte(np.array([0, 255], np.uint8)) and fit_a_byte(np.array([200], np.int16))
