"""ONNX's resizes: every mode and version, by which record, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from smalti.errors import GraphError, UnsupportedGraphError
from smalti.frontend.lower.resampling import Axis, Kernel, Position, Rounding, Weighing, nearest, weights
from smalti.ir import ops
from smalti.passes.pipeline import run_pipeline
from tolerance import Tol, assert_close

onnx_kit = pytest.importorskip("onnx_kit", reason="the onnx package is not installed")
onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")

Array = NDArray[Any]
RNG = np.random.default_rng(8)
NEAR = Tol.FLOAT(64, 4.0)
MODES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def data(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def model(
    x: Array,
    *,
    sizes: Sequence[int] | None = None,
    scales: Sequence[float] | None = None,
    opset: int = 19,
    coords: str = "half_pixel",
    shape: Sequence[int | str] | None = None,
    **attributes: Any,
) -> bytes:
    """Return a model of one Resize whose sizes or scales are stored."""
    operands: list[Array | None] = [x, None, None, None]
    operands[2] = None if scales is None else np.array(scales, np.float32)
    operands[3] = None if sizes is None else np.array(sizes, np.int64)
    stated = {} if shape is None else {0: shape}
    held = [i for i in (2, 3) if operands[i] is not None]
    data: bytes = onnx_kit.one_node(
        "Resize",
        operands if sizes is not None else operands[:3],
        opset=opset,
        stored=held,
        sizes=stated,
        coordinate_transformation_mode=coords,
        **attributes,
    )
    return data


def check(x: Array, tol: Tol = NEAR, **settings: Any) -> None:
    """Compare the numpy meaning of the imported node with ONNX's reference."""
    found = model(x, **settings)
    (got,), (want,) = onnx_kit.meaning(found, {"x0": x}), onnx_kit.wanted(found, {"x0": x})
    assert_close(got, want.astype(x.dtype), tol, str(settings))


def records(found: bytes) -> list[ops.Op]:
    """Return the operations of the imported graph that compute."""
    plain = (ops.Constant, ops.Input, ops.Transpose, ops.Reshape, ops.Cast)
    return [n.op for n in onnx_kit.imported(found).graph.nodes() if not isinstance(n.op, plain)]


def refused(message: str, x: Array, **settings: Any) -> None:
    with pytest.raises((GraphError, UnsupportedGraphError), match=message):
        onnx_kit.imported(model(x, **settings))


# -- what is computed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(10, 12), (3, 4), (1, 1), (5, 6), (8, 5)])
@pytest.mark.parametrize("coords", MODES)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_neighbours_are_weighed(mode: str, coords: str, size: tuple[int, int]) -> None:
    x = data(1, 2, 5, 6)
    if coords == "pytorch_half_pixel" and size == (1, 1):
        # A single element stands for position 0; ONNX's reference takes -1/2, against its own definition.
        found, same = (model(x, sizes=(1, 2, 1, 1), mode=mode, coords=c) for c in (coords, "asymmetric"))
        assert_close(onnx_kit.meaning(found, {"x0": x})[0], onnx_kit.wanted(same, {"x0": x})[0], NEAR)
    else:
        check(x, sizes=(1, 2, *size), mode=mode, coords=coords)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("coords", MODES)
def test_the_nearest_of_four_kinds(coords: str, rounding: str) -> None:
    for size in ((10, 18), (7, 8), (2, 3)):
        check(data(1, 2, 5, 6), Tol.EXACT, sizes=(1, 2, *size), mode="nearest", coords=coords, nearest_mode=rounding)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("inside", [0, 1])
def test_borders_and_smoothing(mode: str, inside: int) -> None:
    for scales in ((1, 1, 0.6, 0.35), (1, 1, 2.5, 1.3)):
        check(data(1, 2, 7, 9), scales=scales, mode=mode, exclude_outside=inside, antialias=1)
        check(data(1, 2, 7, 9), scales=scales, mode=mode, exclude_outside=inside, cubic_coeff_a=-0.5)


@pytest.mark.parametrize("policy", ["stretch", "not_larger", "not_smaller"])
def test_sizes_that_keep_the_aspect_ratio(policy: str) -> None:
    for axes, sizes in (([2, 3], (7, 8)), ([3, 2], (8, 3))):
        check(data(1, 1, 4, 5), sizes=sizes, axes=axes, mode="linear", keep_aspect_ratio_policy=policy)


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((6,), (9,)),
        ((4, 6), (8, 9)),
        ((2, 3, 6), (2, 3, 9)),
        ((1, 2, 3, 4, 5), (1, 2, 5, 7, 8)),
        ((2, 4, 5, 3), (2, 8, 7, 3)),
    ],
)
def test_any_number_of_dimensions(shape: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    check(data(*shape), sizes=sizes, mode="linear")
    check(data(*shape), Tol.EXACT, sizes=sizes, mode="nearest")
    check(data(*shape), sizes=sizes, mode="cubic")


def test_a_scale_that_is_not_the_quotient_of_the_sizes() -> None:
    x = data(1, 1, 5, 6)
    check(x, scales=(1, 1, 1.5, 2.3), mode="linear")
    assert not any(isinstance(op, ops.Resize) for op in records(model(x, scales=(1, 1, 1.5, 2.3), mode="linear")))
    # 513/65 as float32 keeps it is the quotient.
    (op,) = records(model(data(1, 1, 65, 65), scales=(1, 1, 513 / 65, 513 / 65), mode="linear", coords="asymmetric"))
    assert op == ops.Resize(ops.ResizeFn.BILINEAR, (513, 513))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats(dtype: Any) -> None:
    x = data(1, 2, 5, 6).astype(dtype)
    for mode in ("linear", "cubic"):
        found = model(x, sizes=(1, 2, 8, 11), mode=mode)
        want = onnx_kit.wanted(
            model(x.astype(np.float32), sizes=(1, 2, 8, 11), mode=mode), {"x0": x.astype(np.float32)}
        )
        (got,) = onnx_kit.meaning(found, {"x0": x})
        assert got.dtype == dtype
        assert_close(got.astype(np.float32), want[0], Tol.FLOAT(4, 4096.0 if dtype is np.float16 else 4.0))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64, np.float16, np.float64])
def test_the_nearest_of_any_type(dtype: Any) -> None:
    x = (data(1, 2, 3, 4) * 9).astype(dtype)
    check(x, Tol.EXACT, scales=(1, 1, 2, 2), mode="nearest", coords="asymmetric", nearest_mode="floor")
    check(x, Tol.EXACT, sizes=(1, 2, 5, 7), mode="nearest", nearest_mode="ceil")
    if np.dtype(dtype).kind != "f":
        refused("linear interpolation of element type", x, sizes=(1, 2, 5, 7), mode="linear")


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_older_versions_have_a_region_to_ignore(opset: int) -> None:
    x = data(1, 1, 4, 4)
    empty = np.zeros(0, np.float32)
    scales = np.array([1, 1, 2, 1.5], np.float32)
    operands: list[Array | None] = [x, empty, scales]
    found = onnx_kit.one_node("Resize", operands, opset=opset, stored=(1, 2), mode="linear")
    assert_close(onnx_kit.meaning(found, {"x0": x})[0], onnx_kit.wanted(found, {"x0": x})[0], NEAR)
    operands = [x, empty, empty, np.array([1, 1, 6, 7])]
    found = onnx_kit.one_node("Resize", operands, opset=opset, stored=(1, 2, 3), mode="cubic")
    want = onnx_kit.wanted(model(x, sizes=(1, 1, 6, 7), mode="cubic"), {"x0": x})[0]
    assert_close(onnx_kit.meaning(found, {"x0": x})[0], want, NEAR)


def test_the_first_resizes() -> None:
    x = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 4)
    larger = np.array([1, 1, 2, 3], np.float32)
    want = np.repeat(np.repeat(x, 2, axis=2), 3, axis=3)
    for op, opset in (("Upsample", 9), ("Resize", 10)):
        found = onnx_kit.one_node(op, [x, larger], opset=opset, stored=(1,), mode="nearest")
        assert_close(onnx_kit.meaning(found, {"x0": x})[0], want, Tol.EXACT)
    found = onnx_kit.one_node("Upsample", [x], opset=7, mode="nearest", scales=[1.0, 1.0, 2.0, 3.0])
    assert_close(onnx_kit.meaning(found, {"x0": x})[0], want, Tol.EXACT)
    # A smaller result takes the element behind the position.
    found = onnx_kit.one_node("Resize", [x, np.array([1, 1, 0.6, 0.6], np.float32)], opset=10, stored=(1,))
    assert onnx_kit.meaning(found, {"x0": x})[0].tolist() == [[[[1.0, 3.0]]]]
    found = onnx_kit.one_node("Resize", [x, larger], opset=10, stored=(1,), mode="linear")
    want = onnx_kit.wanted(model(x, scales=larger.tolist(), mode="linear", coords="asymmetric"), {"x0": x})[0]
    assert_close(onnx_kit.meaning(found, {"x0": x})[0], want, NEAR)


def test_nothing_is_done_where_no_size_changes() -> None:
    x = data(1, 2, 3, 4)
    for mode in ("nearest", "linear", "cubic"):
        assert records(model(x, sizes=x.shape, mode=mode)) == []
        check(x, Tol.EXACT, scales=(1, 1, 1, 1), mode=mode)


def test_the_nearest_truth() -> None:
    x = np.array([[[[True, False], [False, True]]]])
    (got,) = onnx_kit.meaning(model(x, scales=(1, 1, 2, 2), mode="nearest"), {"x0": x})
    assert_close(got, x.repeat(2, axis=2).repeat(2, axis=3), Tol.EXACT)


# -- open sizes, layouts ----------------------------------------------------------------------------------------------

NCHW = [1, 3, "h", "w"]


@pytest.mark.parametrize(
    ("attributes", "flags"),
    [
        ({"mode": "linear"}, (False, True)),
        ({"mode": "linear", "coords": "pytorch_half_pixel"}, (False, True)),
        ({"mode": "linear", "coords": "align_corners"}, (True, False)),
        ({"mode": "linear", "coords": "asymmetric"}, (False, False)),
        ({"mode": "nearest", "coords": "asymmetric", "nearest_mode": "floor"}, (False, False)),
        ({"mode": "nearest"}, (False, False)),
        ({"mode": "nearest", "nearest_mode": "round_prefer_ceil"}, (False, False)),
    ],
)
def test_open_sizes_by_one_record_between_transposes(attributes: dict[str, Any], flags: tuple[bool, bool]) -> None:
    x = data(1, 3, 5, 7)
    (op,) = records(model(x, scales=(1, 1, 2, 2), shape=NCHW, **attributes))
    assert isinstance(op, ops.Resize)
    assert (op.align_corners, op.half_pixel_centers) == flags
    assert [str(s) for s in op.size] == ["2*H", "2*W"]
    check(x, scales=(1, 1, 2, 2), shape=NCHW, **attributes)


def test_whole_factors_of_open_sizes_are_exact() -> None:
    for factor in (3, 5, 7, 11):
        x = data(1, 3, 29, 31)
        attributes: dict[str, Any] = {"mode": "nearest", "coords": "asymmetric", "nearest_mode": "floor"}
        found = model(x, scales=(1, 1, factor, factor), shape=NCHW, **attributes)
        want = np.repeat(np.repeat(x, factor, axis=2), factor, axis=3)
        assert_close(onnx_kit.meaning(found, {"x0": x})[0], want, Tol.EXACT)


@pytest.mark.parametrize("stride", [8, 2])
@pytest.mark.parametrize("size", [(33, 18), (1, 9), (2, 1)])
def test_open_sizes_that_follow_from_the_image(size: tuple[int, int], stride: int) -> None:
    x = data(1, 3, *size)
    helper = onnx.helper
    how = {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}
    nodes = [
        helper.make_node("Slice", ["x", "zeros", "ends", "axes", "steps"], ["small"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        # Twice half an odd size is one more than the size: a result of one pixel may be of two.
        helper.make_node("Resize", ["small", "", "twice"], ["large"], **how),
        helper.make_node("Resize", ["large", "", "", "shape"], ["y"], **how),
    ]
    held = {"zeros": [0, 0], "ends": [1 << 30, 1 << 30], "axes": [2, 3], "steps": [stride, stride]}
    stored = [onnx.numpy_helper.from_array(np.array(v, np.int64), k) for k, v in held.items()]
    stored.append(onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice"))
    inputs = [helper.make_tensor_value_info("x", 1, NCHW)]
    graph = helper.make_graph(nodes, "g", inputs, [onnx.ValueInfoProto(name="y")], stored)
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    assert_close(onnx_kit.meaning(found, {"x": x})[0], onnx_kit.wanted(found, {"x": x})[0], NEAR)


def test_passes_leave_one_transpose_of_an_nchw_network() -> None:
    x = data(1, 3, 4, 5)
    helper = onnx.helper
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Resize", ["a", "", "scales"], ["b"], mode="nearest"),
        helper.make_node("InstanceNormalization", ["b", "ones", "ones"], ["c"]),
        helper.make_node("Resize", ["c", "", "scales"], ["d"], mode="linear"),
        helper.make_node("ArgMax", ["d"], ["y"], axis=1, keepdims=0),
    ]
    held = {"scales": np.array([1, 1, 2, 2], np.float32), "ones": np.ones(3, np.float32)}
    stored = [onnx.numpy_helper.from_array(v, k) for k, v in held.items()]
    inputs = [helper.make_tensor_value_info("x", 1, NCHW)]
    graph = helper.make_graph(nodes, "g", inputs, [onnx.ValueInfoProto(name="y")], stored)
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    imported = onnx_kit.imported(found).graph
    final = run_pipeline(imported, check=True).graph
    assert sum(isinstance(n.op, ops.Transpose) for n in final.nodes()) == 1
    assert_close(onnx_kit.meaning(found, {"x": x})[0], onnx_kit.wanted(found, {"x": x})[0], Tol.EXACT)


@pytest.mark.parametrize(
    ("message", "attributes"),
    [
        (
            "cubic interpolation by half_pixel, float32, of a size",
            {"scales": (1, 1, 2, 2), "mode": "cubic"},
        ),
        (
            "nearest by half_pixel and floor of a size",
            {"scales": (1, 1, 2, 2), "mode": "nearest", "nearest_mode": "floor"},
        ),
        ("the scale 2.3 of a size that depends", {"scales": (1, 1, 2.3, 2), "mode": "linear"}),
        ("linear interpolation by half_pixel, float32, of a size", {"scales": (1, 1, 1.5, 2), "mode": "linear"}),
        (
            "keep_aspect_ratio_policy not_larger of a size",
            {"sizes": (1, 3, 9, 9), "mode": "linear", "keep_aspect_ratio_policy": "not_larger"},
        ),
    ],
)
def test_what_open_sizes_cannot_have(message: str, attributes: dict[str, Any]) -> None:
    refused(message, data(1, 3, 5, 7), shape=NCHW, **attributes)


@pytest.mark.parametrize(
    ("message", "attributes"),
    [
        ("coordinate_transformation_mode tf_crop_and_resize", {"coords": "tf_crop_and_resize"}),
        ("coordinate_transformation_mode tf_half_pixel", {"coords": "tf_half_pixel"}),
        ("mode area", {"mode": "area"}),
        ("nearest_mode simple", {"nearest_mode": "simple"}),
        ("antialias of the nearest", {"mode": "nearest", "antialias": 1}),
        ("keep_aspect_ratio_policy is fit", {"keep_aspect_ratio_policy": "fit"}),
        ("cubic_coeff_a is nan", {"mode": "cubic", "cubic_coeff_a": float("nan")}),
        ("the axes .2, 2. repeat", {"axes": [2, 2], "sizes": (3, 3)}),
        ("3 sizes for 4 axes", {"sizes": (1, 1, 3)}),
        ("4 elements become 0", {"sizes": (1, 1, 0, 4)}),
        ("4 elements become -3", {"sizes": (1, 1, -3, 4)}),
        ("4 elements become 4611686018427387904; the limit", {"sizes": (1, 1, 1 << 62, 4)}),
        ("weights of 4 elements that become 16777216", {"sizes": (1, 1, 1 << 24, 4), "mode": "cubic"}),
    ],
)
def test_what_is_refused(message: str, attributes: dict[str, Any]) -> None:
    refused(message, data(1, 1, 4, 4), **{"sizes": (1, 1, 8, 8), "mode": "linear", **attributes})


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_scales_that_are_none(scale: float) -> None:
    refused("the scale", data(1, 1, 4, 4), scales=(1, 1, scale, 1), mode="linear")


def test_corners_by_a_scale_that_gives_no_whole_size() -> None:
    refused("align_corners by scales that give no whole size", data(1, 1, 4, 4), scales=(1, 1, 0.6, 1), coords=MODES[2])


def test_scales_and_sizes_of_a_run_are_refused() -> None:
    x, scales = data(1, 1, 4, 4), np.array([1, 1, 2, 2], np.float32)
    with pytest.raises(UnsupportedGraphError, match="the scales must be constant"):
        onnx_kit.imported(onnx_kit.one_node("Resize", [x, None, scales]))
    with pytest.raises(GraphError, match="sizes and scales are left out"):
        onnx_kit.imported(onnx_kit.one_node("Resize", [x]))


# -- tables -----------------------------------------------------------------------------------------------------------

AXES = st.builds(lambda before, after: Axis(before, after, after / before), st.integers(1, 40), st.integers(1, 60))


@settings(max_examples=80, deadline=None)
@given(AXES, st.sampled_from(list(Position)), st.sampled_from(list(Kernel)), st.booleans(), st.booleans())
def test_weights_of_every_element_add_up_to_one(
    axis: Axis, position: Position, kernel: Kernel, wide: bool, inside: bool
) -> None:
    found = weights(axis, position, Weighing(kernel, wide=wide, inside=inside))
    assert found.shape == (axis.after, axis.before)
    assert_close(found.sum(axis=1), np.ones(axis.after), Tol.FLOAT(8))


@settings(max_examples=80, deadline=None)
@given(AXES, st.sampled_from(list(Position)), st.sampled_from(list(Rounding)))
def test_the_nearest_are_inside_and_in_order(axis: Axis, position: Position, rounding: Rounding) -> None:
    found = nearest(axis, position, rounding)
    assert found.min() >= 0
    assert found.max() < axis.before
    assert np.all(np.diff(found) >= 0)
