"""Arrays checked against the manifest before anything runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from artifact_kit import label_manifest, reverse_manifest
from smalti.artifact.manifest import TensorSpec
from smalti.errors import InputError, ResourceError
from smalti.numerics import DType
from smalti.runtime.plan import ShapePlanner
from smalti.runtime.request import bind_arrays, bind_shapes

_IMAGE = np.zeros((1, 4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "'image:0' is missing"),
        ({"picture": _IMAGE}, "'image:0' is missing; 'picture' is not an input"),
        ({"image": _IMAGE, "mask": _IMAGE}, "'mask' is not an input"),
        ({"image:0": _IMAGE, "image": _IMAGE}, "'image' is not an input"),
        ({"image": _IMAGE.astype(np.float32)}, "needs uint8 values, got float32"),
        ({"image": _IMAGE.astype(">u2")}, "needs uint8 values, got >u2"),
        ({"image": [[1, 2], [3]]}, "is not an array"),
        ({"image": "text"}, "needs uint8 values"),
        ({"image": None}, "needs uint8 values, got object"),
        ({3: _IMAGE}, "'3' is not an input"),
    ],
)
def test_wrong_arrays(arrays: dict[Any, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        bind_arrays(label_manifest(), arrays)


@pytest.mark.parametrize("given", [_IMAGE[0], memoryview(_IMAGE), [[1, 2], [3]], None, 3, "image", b"ab"])
def test_arrays_without_names(given: Any) -> None:
    for bind in (bind_arrays, bind_shapes):
        with pytest.raises(InputError, match=r"by name \('image:0'\), in a dict; got "):
            bind(label_manifest(), given)


def test_names_with_and_without_output_number() -> None:
    for name in ("image", "image:0"):
        assert bind_arrays(label_manifest(), {name: _IMAGE}).shapes == ((1, 4, 5, 3),)


def test_contiguous_arrays_are_not_copied() -> None:
    stack = np.zeros((2, 4, 5, 3), np.uint8)
    for image in (_IMAGE, stack[1:], stack[1][np.newaxis]):
        (array,) = bind_arrays(label_manifest(), {"image": image}).arrays
        assert np.shares_memory(array, image)


def test_layouts_are_made_contiguous_and_scalars_stay_scalars() -> None:
    wide = np.arange(4 * 10 * 3, dtype=np.uint8).reshape(1, 4, 10, 3)[:, ::-1, ::2]
    (array,) = bind_arrays(label_manifest(), {"image": wide}).arrays
    assert array.flags.c_contiguous and (array == wide).all()
    skewed = np.frombuffer(bytes(41), np.uint8)[1:].view(np.float32).reshape(1, 10)
    (array,) = bind_arrays(reverse_manifest(), {"x": skewed}).arrays
    assert array.flags.aligned
    m = reverse_manifest()
    scalar = replace(m, inputs=(*m.inputs, TensorSpec("s:0", DType.FLOAT32, ())))
    request = bind_arrays(scalar, {"x": np.zeros((1, 2), np.float32), "s": np.float32(3)})
    assert request.arrays[1].shape == () and request.shapes == ((1, 2), ())


def test_batches() -> None:
    batch = np.zeros((3, 4, 5, 3), np.uint8)
    assert bind_arrays(label_manifest(None), {"image": batch}).count == 3
    assert bind_arrays(label_manifest(3), {"image": batch}).count == 3
    assert bind_arrays(label_manifest(1), {"image": batch}, any_batch=True).count == 3
    whole = bind_arrays(label_manifest(1), {"image": batch})
    with pytest.raises(InputError, match=r"must have shape \[1, "):
        ShapePlanner(label_manifest(1)).plan(whole.shapes)
    with pytest.raises(InputError, match="batch size of this model is 4, got 3"):
        bind_arrays(label_manifest(4), {"image": batch})
    with pytest.raises(InputError, match="empty batch"):
        bind_arrays(label_manifest(None), {"image": batch[:0]})


def test_parts_follow_each_other_in_memory() -> None:
    m = label_manifest(None)
    request = bind_arrays(m, {"image": np.zeros((3, 4, 5, 3), np.uint8)})
    plan = ShapePlanner(m).plan(request.shapes)
    outputs = request.allocate(plan)
    assert outputs[0].shape == (3, 4, 5) and outputs[0].dtype == np.int32
    first, second = request.addresses(outputs, 0), request.addresses(outputs, 1)
    assert [b - a for a, b in zip(first, second, strict=True)] == [60, 80]


def test_outputs_that_cannot_be_stacked() -> None:
    m = replace(label_manifest(None), outputs=(TensorSpec("labels:0", DType.INT32, (1, 2)),))
    request = bind_shapes(m, {"image": (2, 4, 5, 3)})
    with pytest.raises(InputError, match="one image at a time"):
        request.output_shapes(ShapePlanner(m).plan(request.shapes))


def test_shapes_alone() -> None:
    assert bind_shapes(label_manifest(None), {"image": [np.int64(2), 4, 5, 3]}).count == 2
    for shape in ([1, -4, 5, 3], [1, 4.0, 5, 3], [1, 2**70, 5, 3], 5, None):
        with pytest.raises(InputError):
            ShapePlanner(label_manifest()).plan(bind_shapes(label_manifest(), {"image": shape}).shapes)  # type: ignore[dict-item]


def test_no_memory_for_outputs() -> None:
    m = replace(label_manifest(None), symbols=tuple(replace(s, maximum=None) for s in label_manifest().symbols))
    request = bind_shapes(m, {"image": (1, 2**21, 2**21, 3)})
    with pytest.raises(ResourceError):
        request.allocate(ShapePlanner(m).plan(request.shapes))
