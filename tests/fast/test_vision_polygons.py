"""Polygons of label maps: filled they are the map again, every ring is simple, borders and holes included."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from smalti.errors import InputError
from smalti.vision.polygon_masks import polygon_mask, without_holes
from smalti.vision.polygons import MAX_SIDE, Polygon, find_polygons, simplify_polygon
from smalti.vision.rings import are_apart, ring_area

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
MAPS = arrays.arrays(np.int32, SHAPES, elements=st.sampled_from([0, 1, 2]))
MASKS = arrays.arrays(np.int32, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(0, 1))
WIDE = arrays.arrays(np.int32, SHAPES, elements=st.sampled_from([-(2**31), -1, 0, 255, 256, 70_000, 2**31 - 1]))


def _refill(polygons: tuple[Polygon, ...], shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the labels that polygons paint and how many of them paint each pixel."""
    labels, times = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for polygon in polygons:
        mask, (top, left) = polygon_mask(polygon)
        box = np.s_[top : top + mask.shape[0], left : left + mask.shape[1]]
        labels[box][mask] = polygon.label
        times[box] += mask
    return labels, times


def _is_simple(ring: NDArray[np.float64]) -> bool:
    """Whether an upright ring of pixel edges never comes to a place twice, without the code under test."""
    seen: list[tuple[int, int]] = []
    for (x, y), (u, v) in pairwise([*ring.astype(int).tolist(), ring[0].astype(int).tolist()]):
        assert (x == u) != (y == v), "no edge is slanted or empty"
        length = abs(u - x) + abs(v - y)
        seen.extend((x + (u - x) * i // length, y + (v - y) * i // length) for i in range(length))
    return len(seen) == len(set(seen))


def _check_exact(labels: NDArray[np.integer]) -> None:
    polygons = find_polygons(labels)
    painted, times = _refill(polygons, labels.shape)
    np.testing.assert_array_equal(painted, labels)
    assert (times == 1).all()
    regions = 0
    for label in np.unique(labels):
        mask = labels == label
        regions += cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] - 1
        assert sum(p.area for p in polygons if p.label == label) == mask.sum()
    assert len(polygons) == regions
    for polygon in polygons:
        assert ring_area(polygon.outer) > 0 and all(ring_area(hole) < 0 for hole in polygon.holes)
        for ring in (polygon.outer, *polygon.holes):
            assert ring.dtype == np.float64 and len(ring) >= 4 and _is_simple(ring)
            turns = np.diff(np.concatenate([ring, ring[:2]]), axis=0)
            assert ((turns[1:] == 0) != (turns[:-1] == 0)).all(), "every point is a corner"


def _first_pixels(labels: NDArray[np.integer]) -> list[tuple[int, int]]:
    found = []
    for polygon in find_polygons(labels):
        mask, (top, left) = polygon_mask(polygon)
        row, column = np.argwhere(mask)[0]
        found.append((polygon.label, int((row + top) * labels.shape[1] + column + left)))
    return found


@settings(max_examples=150, deadline=None)
@given(st.one_of(MAPS, MASKS, WIDE))
def test_filled_they_are_the_map_again(labels: NDArray[np.int32]) -> None:
    _check_exact(labels)
    order = _first_pixels(labels)
    assert order == sorted(order)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 2), (60, 45)])
def test_sizes_and_noise(shape: tuple[int, int]) -> None:
    for levels in (1, 2, 5):
        _check_exact(np.random.default_rng(levels).integers(0, levels, shape))


def test_order_of_a_map_that_opencv_works_on_in_bands() -> None:
    labels = (np.random.default_rng(3).random((2500, 500)) < 0.001).astype(np.uint8)
    order = _first_pixels(labels)
    assert len(order) > 1000 and order == sorted(order)


def test_a_pixel_is_a_square() -> None:
    labels = np.zeros((4, 5), dtype=np.uint8)
    labels[2, 3] = 7
    (polygon,) = find_polygons(labels, leave_out=(0,))
    assert polygon.label == 7 and polygon.holes == ()
    assert {tuple(point) for point in polygon.outer.tolist()} == {(3, 2), (4, 2), (4, 3), (3, 3)}
    assert polygon.area == 1.0 and polygon.bounds == (3.0, 2.0, 4.0, 3.0)
    assert not polygon.outer.flags.writeable


def test_pixels_that_meet_at_a_corner_are_two_regions() -> None:
    assert [p.area for p in find_polygons(np.eye(3, dtype=np.int64), leave_out={0})] == [1.0, 1.0, 1.0]


def test_holes_in_holes() -> None:
    labels = np.zeros((9, 9), dtype=np.int16)
    for inset in range(1, 4):
        labels[inset:-inset, inset:-inset] = inset % 2
    polygons = find_polygons(labels)
    assert [(p.label, p.area, len(p.holes)) for p in polygons] == [(0, 32, 1), (0, 16, 1), (1, 24, 1), (1, 9, 0)]


def test_empty_maps() -> None:
    for shape in [(0, 0), (0, 5), (5, 0)]:
        assert find_polygons(np.zeros(shape, dtype=np.int32)) == ()
    assert find_polygons(np.zeros((3, 3), dtype=np.int32), leave_out=[0]) == ()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int64", "uint64"])
def test_extremes_of_a_dtype(dtype: str) -> None:
    info = np.iinfo(dtype)
    labels = np.array([[info.min, info.max], [info.max, info.max]], dtype=dtype)
    assert [(p.label, p.area) for p in find_polygons(labels)] == [(info.min, 1.0), (info.max, 3.0)]


def test_any_layout_of_the_array() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (20, 31), dtype=np.int32)
    want = [p.outer.tolist() for p in find_polygons(labels)]
    for same in (np.asfortranarray(labels), labels[::-1, ::-1].copy()[::-1, ::-1], np.repeat(labels, 2, 1)[:, ::2]):
        assert [p.outer.tolist() for p in find_polygons(same)] == want
    labels.flags.writeable = False
    assert len(find_polygons(labels)) == len(want)


def test_small_regions_and_holes_go() -> None:
    labels = np.zeros((10, 12), dtype=np.uint8)
    labels[1:9, 1:9] = 1
    labels[3, 3] = 2
    labels[5:7, 5:7] = 0
    labels[0, 11] = 3
    found = find_polygons(labels, leave_out=(0,), min_area=2)
    assert [(p.label, p.area, len(p.holes)) for p in found] == [(1, 60.0, 1)]
    found = find_polygons(labels, leave_out=(0,), min_area=4.5)
    assert [(p.label, p.area, len(p.holes)) for p in found] == [(1, 64.0, 0)]
    assert find_polygons(labels, leave_out=(0,), min_area=1e9) == ()


def test_a_circle_gets_few_points() -> None:
    labels = cv2.circle(np.zeros((200, 200), np.uint8), (100, 100), 80, 1, -1)
    (exact,) = find_polygons(labels, leave_out=(0,))
    (simple,) = find_polygons(labels, leave_out=(0,), tolerance=1.5)
    assert len(simple.outer) < 40 < 200 < len(exact.outer)
    assert abs(simple.area - exact.area) < 0.02 * exact.area
    assert {tuple(p) for p in simple.outer} <= {tuple(p) for p in exact.outer}


def test_a_small_hole_stays_while_the_outline_is_simplified() -> None:
    labels = cv2.circle(np.zeros((200, 200), np.uint8), (100, 100), 80, 1, -1)
    labels[100, 100] = 0
    (simple,) = find_polygons(labels, leave_out=(0,), tolerance=1.5)
    assert len(simple.outer) < 40 and [ring_area(hole) for hole in simple.holes] == [-1.0]


@settings(max_examples=150, deadline=None)
@given(st.one_of(MAPS, MASKS), st.sampled_from([0.3, 0.8, 1.5, 4.0]))
def test_simplified_they_are_polygons_still(labels: NDArray[np.int32], tolerance: float) -> None:
    exact, simple = find_polygons(labels), find_polygons(labels, tolerance=tolerance)
    assert len(exact) == len(simple)
    for was, now in zip(exact, simple, strict=True):
        assert now.label == was.label and len(now.holes) == len(was.holes) and now.area > 0
        same = all(np.array_equal(a, b) for a, b in zip((was.outer, *was.holes), (now.outer, *now.holes), strict=True))
        assert same or are_apart([now.outer, *now.holes])


@pytest.mark.parametrize(
    ("rings", "apart"),
    [
        ([[(0, 0), (4, 0), (4, 4), (0, 4)]], True),
        ([[(0, 0), (4, 4), (4, 0), (0, 4)]], False),
        ([[(0, 0), (4, 0), (2, 0), (2, 4)]], False),
        ([[(0, 0), (4, 0), (4, 4), (2, 0), (0, 4)]], False),
        ([[(0, 0), (8, 0), (8, 8), (0, 8)], [(2, 2), (2, 4), (4, 4)]], True),
        ([[(0, 0), (8, 0), (8, 8), (0, 8)], [(0, 0), (2, 4), (4, 4)]], True),
        ([[(0, 0), (8, 0), (8, 8), (0, 8)], [(0, 0), (0, 4), (4, 4)]], False),
        ([[(0, 0), (8, 0), (8, 8), (0, 8)], [(8, 8), (9, 12), (12, 12)]], False),
        ([[(0, 0), (8, 0), (8, 8), (0, 8)], [(4, 0), (2, 4), (6, 4)]], False),
        ([[(0, 0), (8, 0), (8, 8), (0, 8)], [(6, 2), (6, 4), (9, 4)]], False),
        ([[(0, 0), (8, 0), (8, 8), (0, 8)], [(12, 2), (12, 4), (14, 4)]], False),
        ([[(0, 0), (9, 0), (9, 9), (0, 9)], [(1, 1), (1, 8), (8, 8), (8, 1)], [(3, 3), (3, 4), (4, 4)]], False),
        ([[(0, 0), (9, 0), (9, 9), (0, 9)], [(3, 3), (3, 4), (4, 4)], [(1, 1), (1, 8), (8, 8), (8, 1)]], False),
        ([[(0, 0), (9, 0), (9, 9), (0, 9)], [(1, 1), (1, 2), (2, 2)], [(5, 5), (5, 6), (6, 6)]], True),
    ],
)
def test_rings_that_touch_are_seen(rings: list[list[tuple[int, int]]], apart: bool) -> None:
    assert are_apart([np.array(ring, dtype=np.float64) for ring in rings]) is apart


def test_a_long_ring_that_touches_is_seen() -> None:
    angles = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    ring = 1000 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert are_apart([ring])
    ring[[2500, 4000]] = ring[[4000, 2500]]
    assert not are_apart([ring])


@settings(max_examples=100, deadline=None)
@given(st.one_of(MAPS, MASKS))
def test_pieces_without_holes_are_the_same_pixels(labels: NDArray[np.int32]) -> None:
    pieces = tuple(piece for polygon in find_polygons(labels) for piece in without_holes(polygon))
    assert all(piece.holes == () and _is_simple(piece.outer) for piece in pieces)
    painted, times = _refill(pieces, labels.shape)
    np.testing.assert_array_equal(painted, labels)
    assert (times == 1).all()


def test_many_holes_are_cut() -> None:
    labels = np.ones((41, 41), dtype=np.uint8)
    labels[1::2, 1::2] = 0
    (polygon,) = find_polygons(labels, leave_out=(0,))
    assert len(polygon.holes) == 400
    pieces = without_holes(polygon)
    assert sum(piece.area for piece in pieces) == polygon.area == labels.sum()


def test_a_slanted_polygon_is_filled_by_pixel_centres() -> None:
    triangle = Polygon(1, np.array([[0.5, 0.25], [6.0, 0.25], [0.5, 5.75]]), ())
    mask, place = polygon_mask(triangle)
    row, column = np.mgrid[:6, :6] + 0.5
    assert place == (0, 0)
    np.testing.assert_array_equal(mask, (column >= 0.5) & (row > 0.25) & (column - 0.5 + row - 0.25 < 5.5))


@pytest.mark.parametrize(
    ("labels", "options", "says"),
    [
        (np.zeros((2, 2), dtype=np.float32), {}, "integers"),
        (np.zeros((2, 2), dtype=np.bool_), {}, "integers"),
        (np.zeros((2, 2, 1), dtype=np.int32), {}, "integers"),
        (np.broadcast_to(np.int32(1), (20_000, 20_000)), {}, "too large"),
        (np.broadcast_to(np.int32(1), (1, MAX_SIDE + 1)), {}, "too large"),
        (np.zeros((2, 2), dtype=np.int32), {"min_area": -1.0}, "min_area"),
        (np.zeros((2, 2), dtype=np.int32), {"tolerance": float("nan")}, "tolerance"),
        (np.zeros((2, 2), dtype=np.int32), {"tolerance": float("inf")}, "tolerance"),
    ],
)
def test_wrong_arguments(labels: NDArray[np.integer], options: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        find_polygons(labels, **options)


def test_a_wrong_tolerance_of_one_polygon() -> None:
    (polygon,) = find_polygons(np.ones((1, 1), dtype=np.int32))
    with pytest.raises(InputError, match="tolerance"):
        simplify_polygon(polygon, -1.0)
