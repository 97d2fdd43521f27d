"""The numpy meaning of the real DeepLab graphs gives TensorFlow's labels and logits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from deeplab_golden import (
    ANY_SIZE,
    FULL,
    HALF,
    IMAGE,
    LABELS,
    LOGITS,
    Array,
    Difference,
    Example,
    compare,
    crop_examples,
    differences,
    graph_bytes,
    size_example,
)
from smalti.frontend.tensorflow.importer import ImportOptions, import_graph
from smalti.ir.graph import Level
from smalti.ir.reference import run
from smalti.ir.verify import verify

SECONDS_PER_IMAGE = 60


def imported(model: str) -> Callable[[Mapping[str, Array]], Mapping[str, Array]]:
    """Return the numpy meaning of a model as imported."""
    graph = import_graph(graph_bytes(model), ImportOptions(outputs=(LABELS, LOGITS))).graph
    verify(graph, Level.IMPORTED)
    return lambda inputs: run(graph, inputs)


def compare_images(model: str, count: int) -> list[Difference]:
    """Run ``count`` images of a model through the numpy meaning and return the differences to TensorFlow."""
    runner = imported(model)
    examples = [size_example(size) for size in ("97x131", "375x500", "640x427", "513x513")[:count]]
    return [compare(e, runner) for e in (examples if model == ANY_SIZE else crop_examples(model, count))]


@pytest.mark.parametrize("model", [FULL, HALF, ANY_SIZE])
def test_reference_gives_the_golden_answer(model: str) -> None:
    start = time.monotonic()
    for found in compare_images(model, 1):
        assert found.accepted, found
    assert time.monotonic() - start < SECONDS_PER_IMAGE


def test_the_comparison_notices_wrong_answers() -> None:
    example = size_example("97x131")
    labels, logits = example.labels[None].astype(np.int32), example.logits
    assert differences(example, labels, logits) == Difference(1.0, 0.0, 0.0)
    assert differences(example, labels, logits).accepted

    assert differences(example, labels, logits + 2e-4 * np.abs(logits).max()).accepted is False
    off_by_one_pixel = np.roll(labels, 1, axis=1)
    found = differences(example, off_by_one_pixel, logits)
    assert not found.accepted and found.equal < 0.9999 and found.margin > 1e-3
    one_wrong = labels.copy()
    one_wrong[0, 0, 0] = (one_wrong[0, 0, 0] + 1) % 21
    assert not differences(example, one_wrong, logits).accepted
    with pytest.raises(AssertionError):
        differences(example, labels[:, :-1], logits)


def test_examples_are_what_they_say() -> None:
    example = next(crop_examples(FULL, 1))
    assert isinstance(example, Example)
    assert example.image.shape[:2] == example.labels.shape
    assert max(example.image.shape) == 513
    assert IMAGE.encode().split(b":")[0] in graph_bytes(FULL)
