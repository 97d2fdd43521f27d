"""What an engine says of its inputs and outputs: values, words, layouts, sizes and their limits."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smalti
from artifact_kit import Parts, label_manifest, plain_parts, reverse_manifest
from smalti.artifact import manifest as file
from smalti.artifact.manifest import DimInstr, DimOp, Manifest, Symbol
from smalti.errors import InputError
from smalti.numerics import DType
from smalti.runtime.dims import bind_symbols
from smalti.runtime.request import bind_arrays
from smalti.runtime.signature import Size, TensorSpec, tensor_specs


def inputs(manifest: Manifest) -> tuple[TensorSpec, ...]:
    return tensor_specs(manifest, manifest.inputs)


def outputs(manifest: Manifest) -> tuple[TensorSpec, ...]:
    return tensor_specs(manifest, manifest.outputs)


def test_an_engine_says_what_it_takes_and_gives(tmp_path: Path) -> None:
    manifest = replace(label_manifest(), labels=("dark", "bright"), precision="qint8_mixed_float16")
    path = Parts(manifest, b"", plain_parts().code).write(tmp_path / "m.smalti")
    with smalti.load(path, threads=1) as engine:
        (image,), (labels,) = engine.inputs, engine.outputs
        assert isinstance(image, smalti.TensorSpec)
        assert image == TensorSpec(
            "image:0", np.dtype(np.uint8), "uint8", "NHWC", (1, Size("H", 1, 600), Size("W", 1, 600), 3)
        )
        assert str(image) == "image:0 uint8 [1, H, W, 3], H from 1 to 600, W from 1 to 600"
        assert str(labels) == "labels:0 int32 [1, H, W], H from 1 to 600, W from 1 to 600"
        assert labels.dtype == np.int32 and labels.layout == "" and labels.shape[1] == image.shape[1]
        assert engine.labels == ("dark", "bright") and engine.precision == "qint8_mixed_float16"
        with pytest.raises(dataclasses.FrozenInstanceError):
            image.name = "other"  # type: ignore[misc]
        array = np.zeros([7 if isinstance(size, Size) else size for size in image.shape], image.dtype)
        assert engine.output_shapes({image.name: array.shape}) == {labels.name: (1, 7, 7)}
    path = Parts(label_manifest(), b"", plain_parts().code).write(tmp_path / "m.smalti")
    with smalti.load(path, threads=1) as engine:
        assert engine.labels is None and engine.precision == "force_float32"


@pytest.mark.parametrize(
    ("batch", "leading", "text"),
    [
        (1, 1, "[1, H, W, 3], H from 1 to 600, W from 1 to 600"),
        (4, 4, "[4, H, W, 3], H from 1 to 600, W from 1 to 600"),
        (None, Size("batch"), "[batch, H, W, 3], batch at least 1, H from 1 to 600, W from 1 to 600"),
    ],
)
def test_batches(batch: int | None, leading: int | Size, text: str) -> None:
    manifest = label_manifest(batch)
    assert str(inputs(manifest)[0]) == f"image:0 uint8 {text}"
    assert inputs(manifest)[0].shape[0] == outputs(manifest)[0].shape[0] == leading
    assert inputs(manifest)[0].layout == "NHWC"


@pytest.mark.parametrize("batch", [None, 4])
def test_outputs_that_cannot_be_stacked_allow_one_image(batch: int | None) -> None:
    whole = replace(label_manifest(batch), outputs=(file.TensorSpec("labels:0", DType.INT32, (1, 2)),))
    assert inputs(whole)[0].shape[0] == 1 and str(outputs(whole)[0]).startswith("labels:0 int32 [H, W], ")


def test_limits_in_words() -> None:
    assert Size("H", 5).limits == "H at least 5" and str(Size("H", 5)) == "H"
    assert Size("H", 8, 64, 8).limits == "H from 8 to 64 in multiples of 8"
    m = replace(reverse_manifest(), batch_size=1, symbols=(Symbol("N", 8, None, 8),))
    square = replace(m, inputs=(file.TensorSpec("x:0", DType.FLOAT32, (1, 1)),))
    assert str(inputs(square)[0]) == "x:0 float32 [N, N], N at least 8 in multiples of 8"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.none() | st.integers(0, 40), st.integers(1, 9), st.integers(0, 100))
def test_limits_are_those_of_the_checks(low: int, more: int | None, multiple: int, size: int) -> None:
    m = replace(reverse_manifest(), symbols=(Symbol("N", low, None if more is None else low + more, multiple),))
    said = inputs(m)[0].shape[1]
    assert isinstance(said, Size)
    fits = said.low <= size <= (size if said.high is None else said.high) and size % said.multiple == 0
    try:
        bound = bind_symbols(m, {"x:0": (1, size)})
    except InputError:
        bound = []
    assert bound == ([size] if fits else [])


def test_sizes_that_are_computed_and_scalars() -> None:
    m = replace(reverse_manifest(), batch_size=1)
    m = replace(
        m,
        outputs=(file.TensorSpec("y:0", DType.INT64, (0, 3, 1)), file.TensorSpec("z:0", DType.BOOL, ())),
    )
    twice, scalar = outputs(m)
    assert twice.shape == (1, Size("?"), Size("N", 1, 100_000))
    assert str(twice) == "y:0 int64 [1, ?, N], N from 1 to 100000"
    assert scalar.shape == () and str(scalar) == "z:0 bool []"


@pytest.mark.parametrize("dtype", list(DType))
def test_every_element_type_says_what_arrays_have(dtype: DType) -> None:
    m = replace(label_manifest(), inputs=(replace(label_manifest().inputs[0], dtype=dtype),))
    (spec,) = inputs(m)
    assert spec.element == dtype.value
    words = "bfloat16 (as uint16)" if dtype is DType.BFLOAT16 else dtype.value
    assert str(spec).startswith(f"image:0 {words} [1, ")
    assert bind_arrays(m, {spec.name: np.zeros((1, 4, 5, 3), spec.dtype)}).count == 1
    with pytest.raises(InputError) as refused:
        bind_arrays(m, {spec.name: np.zeros((1, 4, 5, 3), np.complex64)})
    assert str(refused.value) == f"input 'image:0' needs {words} values, got complex64"


@pytest.mark.parametrize(
    ("sizes", "layout"),
    [
        ((1, 513, 513, 3), "NHWC"),
        ((2, 5, 7, 1), "NHWC"),
        ((1, 5, 3, 4), "NHWC"),
        ((1, 3, 513, 513), ""),
        ((1, 33, 33, 21), ""),
        ((1, 3, 513, 3), ""),
        ((1, 5, 7, 0), ""),
        ((513, 513, 3), ""),
        ((1, 1, 513, 513, 3), ""),
    ],
)
def test_layouts(sizes: tuple[int, ...], layout: str) -> None:
    m = reverse_manifest()
    dims = (*m.dims, *(DimInstr(DimOp.CONST, size) for size in sizes))
    shape = tuple(range(len(m.dims), len(dims)))
    m = replace(m, batch_size=1, dims=dims, outputs=(file.TensorSpec("y:0", DType.UINT8, shape),))
    assert outputs(m)[0].layout == layout and outputs(m)[0].shape == sizes
