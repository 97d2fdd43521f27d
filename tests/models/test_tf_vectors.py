"""Every recorded TensorFlow answer, at every stage of the compiler."""

from __future__ import annotations

from collections.abc import Mapping
from unittest import mock

import pytest

from kernels.harness import level_for
from smalti.codegen import assemble
from smalti.llvm.backend import emit_object
from stage_runners import EXCLUDED, OTHER_TARGETS, STAGES, Array, LoadedCase, Runner, run_loaded
from tf_vectors import Vector, vectors
from tolerance import assert_close


def sampled(runner: Runner) -> Runner:
    """Let LLVM optimise a part of the modules for the oldest CPUs, as tests of kernels do."""

    def run(graph: bytes, inputs: Mapping[str, Array], outputs: tuple[str, ...]) -> Mapping[str, Array]:
        with mock.patch.object(assemble, "emit_object", lambda text, to: emit_object(text, to, level_for(text, to))):
            return runner(graph, inputs, outputs)

    return run


RUNNERS = {**STAGES, **{stage: sampled(runner) for stage, runner in OTHER_TARGETS.items()}}
TARGET_STRIDE = 3
LOADED_STRIDE = 6


def sample(stage: str) -> tuple[Vector, ...]:
    """Return the vectors that a stage is run on: other targets share them out between them and over their families."""
    if stage not in OTHER_TARGETS:
        return vectors()
    return vectors()[list(OTHER_TARGETS).index(stage) % TARGET_STRIDE :: TARGET_STRIDE]


def cases() -> list[object]:
    found: list[object] = []
    for stage in RUNNERS:
        for vector in sample(stage):
            reason = EXCLUDED[stage].get(vector.name)
            marks = [] if reason is None else [pytest.mark.xfail(reason=reason, strict=True)]
            found.append(pytest.param(stage, vector, marks=marks, id=f"{stage}-{vector.name}"))
    return found


@pytest.mark.parametrize(("stage", "vector"), cases())
def test_recorded_answer(stage: str, vector: Vector) -> None:
    for index, example in enumerate(vector.runs):
        results = RUNNERS[stage](vector.graph, example.inputs, tuple(example.outputs))
        for name, want in example.outputs.items():
            assert_close(results[name], want, vector.tolerance, f"{name} of run {index}")


def test_recorded_answers_from_files_in_a_fresh_process() -> None:
    chosen = [v for v in vectors()[::LOADED_STRIDE] if v.name not in EXCLUDED["loaded"]]
    answers = run_loaded(
        [LoadedCase(v.graph, tuple(v.runs[0].outputs), tuple(r.inputs for r in v.runs)) for v in chosen]
    )
    for vector, runs in zip(chosen, answers, strict=True):
        for example, results in zip(vector.runs, runs, strict=True):
            for name, want in example.outputs.items():
                assert_close(results[name], want, vector.tolerance, f"{vector.name} {name}")


def test_excluded_vectors_exist() -> None:
    names = {vector.name for vector in vectors()}
    for stage, reasons in EXCLUDED.items():
        assert stage in {*RUNNERS, "loaded"}
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
