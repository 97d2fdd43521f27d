"""The real DeepLab graphs, compiled and loaded from their files, give TensorFlow's labels and logits."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest

import smalti
from deeplab_golden import (
    ANY_SIZE,
    FULL,
    HALF,
    IMAGE,
    LABELS,
    LABELS_EQUAL,
    LOGITS,
    SMALL_MARGIN,
    Array,
    crop_examples,
    differences,
    graph_bytes,
    size_example,
)
from deeplab_kit import Engines, golden_labels, golden_names, picture
from smalti.ir import ops
from smalti.runtime.context import Context
from smalti.runtime.plan import ShapePlan
from smalti.runtime.request import Request
from smalti.vision.preprocess import Resize
from stage_runners import OTHER_TARGETS

THREADS = (1, 2, 3, 4, 8)
SIZES = ("97x131", "375x500", "513x513", "640x427")
POISONS = {"nan": b"\xff", "zero": b"\0", "noise": None}


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    made = Engines(tmp_path_factory.mktemp("models"))
    yield made
    made.close()


@pytest.mark.parametrize("model", [FULL, HALF])
def test_any_picture_within_the_crop(engines: Engines, model: str) -> None:
    for example in crop_examples(model, 4):
        feed = {IMAGE: example.image[None]}
        labels = engines.labels(model).run(feed)[LABELS]
        assert labels.dtype == np.int32
        found = differences(example, labels, engines.logits(model).run(feed)[LOGITS])
        assert found.accepted, (example.name, found)


@pytest.mark.parametrize("model", [FULL, HALF])
def test_one_fixed_size(engines: Engines, model: str) -> None:
    for name in golden_names(model, "static")[:4]:
        image = picture(name, Resize.STRETCH)
        found = engines.difference(model, False, image, golden_labels(model, "static", name))
        assert found.equal >= LABELS_EQUAL and found.margin < SMALL_MARGIN, (name, found)


def test_any_size_from_one_file(engines: Engines) -> None:
    for example in map(size_example, SIZES):
        feed = {IMAGE: example.image[None]}
        found = differences(
            example, engines.labels(ANY_SIZE).run(feed)[LABELS], engines.logits(ANY_SIZE).run(feed)[LOGITS]
        )
        assert found.accepted, (example.name, found)


def test_pictures_at_their_own_sizes(engines: Engines) -> None:
    for name in golden_names(ANY_SIZE, "native")[:3]:
        image = picture(name, Resize.NONE)
        found = engines.difference(ANY_SIZE, True, image, golden_labels(ANY_SIZE, "native", name))
        assert found.equal >= LABELS_EQUAL and found.margin < SMALL_MARGIN, (name, found)


@pytest.mark.parametrize("model", [FULL, HALF, ANY_SIZE])
def test_no_tensor_is_cut_into_batches(engines: Engines, model: str) -> None:
    made = engines.compiled(model)
    left = [n for n in made.plan.graph.nodes() if isinstance(n.op, (ops.SpaceToBatch, ops.BatchToSpace))]
    assert not left
    convolutions = [n.op for n in made.plan.graph.nodes() if isinstance(n.op, ops.Conv2d)]
    dilations = {op.dilation for op in convolutions if op.groups > 1}
    assert {(2, 2), (4, 4)} <= dilations


@pytest.mark.parametrize("model", [FULL, ANY_SIZE])
def test_same_bits_for_every_number_of_threads(engines: Engines, model: str) -> None:
    image = size_example("375x500").image[None]
    for engine, output in ((engines.labels(model), LABELS), (engines.logits(model), LOGITS)):
        results = []
        for threads in THREADS:
            engine.set_threads(threads)
            results.append(engine.run({IMAGE: image})[output].tobytes())
        engine.set_threads(2)
        assert len(set(results)) == 1


def test_same_bits_at_every_place_of_a_batch(engines: Engines) -> None:
    image = next(crop_examples(HALF, 1)).image
    batch = np.stack([image, image[::-1], image[:, ::-1]])
    together = engines.labels(HALF)(batch)
    assert together.dtype == np.int32 and together.shape == batch.shape[:3]
    for image, labels in zip(batch, together, strict=True):
        assert np.array_equal(engines.labels(HALF)(image), labels)
    logits = engines.logits(HALF).run({IMAGE: batch})[LOGITS]
    alone = [engines.logits(HALF).run({IMAGE: image[None]})[LOGITS][0] for image in batch]
    assert logits.tobytes() == np.stack(alone).tobytes()


def test_a_fixed_size_takes_any_batch(engines: Engines) -> None:
    image = picture(golden_names(HALF, "static")[0], Resize.STRETCH)
    batch = np.stack([image, image[::-1], image[:, ::-1]])
    together = engines.labels(HALF, False)(batch)
    for one, labels in zip(batch, together, strict=True):
        assert np.array_equal(engines.labels(HALF, False)(one), labels)


@pytest.mark.parametrize("stage", sorted(OTHER_TARGETS))
def test_code_for_other_cpus(stage: str) -> None:
    example = size_example("97x131")
    found = OTHER_TARGETS[stage](graph_bytes(ANY_SIZE), {IMAGE: example.image[None]}, (LABELS, LOGITS))
    difference = differences(example, found[LABELS], found[LOGITS])
    assert difference.accepted, difference


def test_sizes_may_alternate(engines: Engines) -> None:
    examples = [size_example(size) for size in SIZES[:2]]
    first = [engines.labels(ANY_SIZE)(e.image) for e in examples]
    for _ in range(3):
        for example, labels in zip(examples, first, strict=True):
            assert np.array_equal(engines.labels(ANY_SIZE)(example.image), labels)


@pytest.mark.parametrize("poison", sorted(POISONS))
def test_nothing_is_read_before_it_is_written(engines: Engines, poison: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workspace and outputs filled with garbage before every run change no bit; every byte of an output is written."""
    image = size_example("97x131").image[None]
    before = image.copy()
    clean = _labels_and_logits(engines, image)
    rng = np.random.default_rng(7)
    original_run, original_allocate = Context.run, Request.allocate
    filled: list[int] = []

    def fill(address: int, size: int) -> None:
        pattern = POISONS[poison]
        garbage = rng.bytes(size) if pattern is None else pattern * size
        ctypes.memmove(address, garbage, size)
        filled.append(size)

    def run(self: Context, plan: ShapePlan, *args: object, **options: object) -> object:
        arena = self._arena or self._grow(plan.workspace_bytes)
        fill(arena.address, arena.size)
        return original_run(self, plan, *args, **options)  # type: ignore[arg-type]

    def allocate(self: Request, plan: ShapePlan) -> list[Array]:
        outputs = original_allocate(self, plan)
        for output in outputs:
            fill(output.ctypes.data, output.nbytes)
        return outputs

    monkeypatch.setattr(Context, "run", run)
    monkeypatch.setattr(Request, "allocate", allocate)
    assert _labels_and_logits(engines, image) == clean
    assert len(filled) == 8 and min(filled) > 0
    assert np.array_equal(image, before)


def _labels_and_logits(engines: Engines, image: Array) -> list[bytes]:
    pairs: list[tuple[smalti.Engine, str]] = []
    for model in (FULL, ANY_SIZE):
        pairs += [(engines.labels(model), LABELS), (engines.logits(model), LOGITS)]
    return [engine.run({IMAGE: image})[output].tobytes() for engine, output in pairs]
