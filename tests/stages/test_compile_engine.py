"""A compiled network keeps its promises in use: the same bits however it is called, and special numbers as they are."""

from __future__ import annotations

import ctypes
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smalti
from smalti.compiler import CompileOptions, compile_graph
from smalti.demo import dataset
from smalti.demo.generator import demo_image
from smalti.target.host import resolve_targets
from stage_runners import run_compiled, run_imported, save
from tf_vectors import vectors
from tolerance import Tol, assert_close

RUNS = 100
CALLERS, CALLS = 16, 25
SIZES = ((96, 96), (40, 77), (1, 1), (64, 9))
UPWARD = 0x800
WATCHDOG_SECONDS = 120


@pytest.fixture(scope="module")
def demo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "demo.smalti"
    save(compile_graph(dataset.graph_bytes(), CompileOptions(resolve_targets("native"))), path)
    return path


@pytest.fixture
def engine(demo_file: Path) -> Iterator[smalti.Engine]:
    with smalti.load(demo_file, threads=2) as loaded:
        yield loaded


def images(count: int = 1, size: tuple[int, int] = SIZES[0]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(count).integers(0, 256, (count, *size, 3), np.uint8)


def test_every_run_gives_the_same_bits(engine: smalti.Engine, demo_file: Path) -> None:
    image, _ = demo_image(0)
    want = engine(image).tobytes()
    for number in range(RUNS):
        engine.set_threads((1, 2, 3, 4, 8)[number % 5])
        assert engine(image).tobytes() == want
    with smalti.load(demo_file, threads=1) as fresh:
        assert fresh(image).tobytes() == want


def test_the_address_of_an_image_does_not_matter(engine: smalti.Engine) -> None:
    image, _ = demo_image(0)
    want = engine(image)
    for offset in (1, 3, 16, 63):
        memory = np.empty(image.size + 64, np.uint8)
        moved = memory[offset : offset + image.size].reshape(image.shape)
        moved[...] = image
        assert np.array_equal(engine(moved), want)
    assert np.array_equal(engine(np.asfortranarray(image)), want)
    assert np.array_equal(engine(np.repeat(image, 2, axis=1)[:, ::2]), want)


def test_place_and_size_of_a_batch_do_not_matter(engine: smalti.Engine) -> None:
    batch = images(5)
    alone = [engine(image) for image in batch]
    for order in ([0, 1, 2, 3, 4], [4, 2], [3, 3, 0]):
        for labels, number in zip(engine(batch[order]), order, strict=True):
            assert np.array_equal(labels, alone[number])


def test_many_callers_with_many_sizes(demo_file: Path) -> None:
    pictures = {size: images(1, size)[0] for size in SIZES}
    failures: list[str] = []
    with smalti.load(demo_file, threads=2, concurrency=3) as engine:
        want = {size: engine(picture) for size, picture in pictures.items()}

        def call(caller: int) -> None:
            chosen = random.Random(caller)
            for _ in range(CALLS):
                size = chosen.choice(SIZES)
                if not np.array_equal(engine(pictures[size]), want[size]):
                    failures.append(f"caller {caller} at {size}")

        callers = [threading.Thread(target=call, args=(i,), daemon=True) for i in range(CALLERS)]
        for caller in callers:
            caller.start()
        deadline = time.monotonic() + WATCHDOG_SECONDS
        while any(caller.is_alive() for caller in callers):
            assert time.monotonic() < deadline, "callers wait for each other"
            for threads in (1, 3, 2):
                engine.set_threads(threads)
                callers[0].join(0.01)
        assert not failures


def conv_vector(name: str) -> tuple[bytes, str, str, np.ndarray[Any, Any]]:
    """Return the graph of a recorded convolution, its input and output names, and an input."""
    vector = next(v for v in vectors() if v.name == name)
    ((feed, value),) = vector.runs[0].inputs.items()
    (output,) = vector.runs[0].outputs
    return vector.graph, feed, output, value


SPECIAL = {"nan": np.nan, "infinity": np.inf, "minus infinity": -np.inf, "subnormal": 1e-40, "minus zero": -0.0}


@pytest.mark.parametrize("name", ["conv2d/3x3_c16_to_2", "conv2d/3x3_c33_to_2", "depthwise/c24_s2"])
@pytest.mark.parametrize("special", sorted(SPECIAL))
def test_special_numbers_go_where_the_reference_says(special: str, name: str) -> None:
    graph, feed, output, value = conv_vector(name)
    changed = value.copy()
    flat = changed.reshape(-1)
    flat[:: max(1, flat.size // 3)] = SPECIAL[special]
    inputs = {feed: changed}
    with np.errstate(invalid="ignore"):
        want = run_imported(graph, inputs, (output,))[output]
    assert_close(run_compiled(graph, inputs, (output,))[output], want, Tol.FLOAT(reduction=9 * 33))


def test_only_subnormal_numbers_are_not_lost() -> None:
    graph, feed, output, value = conv_vector("depthwise/c24_s2")
    tiny = value * np.float32(1e-40)
    got = run_compiled(graph, {feed: tiny}, (output,))[output]
    want = run_imported(graph, {feed: tiny}, (output,))[output]
    assert np.count_nonzero(got) > got.size / 2
    smallest = np.finfo(np.float32).smallest_subnormal
    assert np.abs(got - want).max() <= 9 * smallest


def test_the_callers_rounding_changes_nothing(demo_file: Path) -> None:
    graph, feed, output, value = conv_vector("conv2d/3x3_c16_to_2")
    library = ctypes.CDLL("libm.so.6")
    path = demo_file.with_name("conv.smalti")
    save(compile_graph(graph, CompileOptions(resolve_targets("native"), outputs=(output,))), path)
    for threads in (1, 3):
        with smalti.load(path, threads=threads) as engine:
            want = engine.run({feed: value})[output].tobytes()
            library.fesetround(UPWARD)
            try:
                got = engine.run({feed: value})[output].tobytes()
                rounding = library.fegetround()
            finally:
                library.fesetround(0)
            assert got == want
            assert rounding == UPWARD
