"""Every recorded TensorFlow answer, at every stage of the compiler."""

from __future__ import annotations

import pytest

from stage_runners import EXCLUDED, STAGES
from tf_vectors import Vector, vectors
from tolerance import assert_close


def cases() -> list[object]:
    found: list[object] = []
    for stage in STAGES:
        for vector in vectors():
            reason = EXCLUDED[stage].get(vector.name)
            marks = [] if reason is None else [pytest.mark.xfail(reason=reason, strict=True)]
            found.append(pytest.param(stage, vector, marks=marks, id=f"{stage}-{vector.name}"))
    return found


@pytest.mark.parametrize(("stage", "vector"), cases())
def test_recorded_answer(stage: str, vector: Vector) -> None:
    for index, example in enumerate(vector.runs):
        results = STAGES[stage](vector.graph, example.inputs, tuple(example.outputs))
        for name, want in example.outputs.items():
            assert_close(results[name], want, vector.tolerance, f"{name} of run {index}")


def test_excluded_vectors_exist() -> None:
    names = {vector.name for vector in vectors()}
    for stage, reasons in EXCLUDED.items():
        assert stage in STAGES
        assert set(reasons) <= names


def test_the_recording_covers_what_it_must() -> None:
    families = {vector.name.split("/")[0] for vector in vectors()}
    assert {"conv2d", "depthwise", "resize", "strided_slice", "const", "dequantize", "control", "labels"} <= families
    names = [vector.name for vector in vectors()]
    for channels in (1, 3, 7, 16, 21, 24, 32, 33, 960):
        assert f"conv2d/3x3_c{channels}_to_2" in names
        assert f"depthwise/c{channels}_s2" in names
    for dilation in (2, 3, 4, 6, 8, 12, 18):
        for padding in ("same", "valid"):
            assert f"conv2d/dilated{dilation}_{padding}" in names
    assert len(names) == len(set(names)) > 700
