"""Resizes equal the reference bit for bit; the fused resize and arg-max gives the labels of the plain composition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.harness import check, compile_graph, expected, run_compiled, single
from shared_data import shared_dir
from smalti.ir.dims import symbol
from smalti.ir.ops import Resize, ResizeArgMax, ResizeFn
from smalti.kernels.resize import KERNELS, cells
from smalti.numerics import DType
from smalti.target.host import arch, missing_features
from smalti.target.target import Target, levels_of

TARGETS = [t for t in levels_of(arch()) if not missing_features(t.features)]
BEST = TARGETS[-1]
H, W = symbol("H", 1, 100), symbol("W", 1, 100)
FLAGS = ((False, False), (True, False), (False, True))
FLAG_NAMES = ("legacy", "align_corners", "half_pixel")


def floats(*shape: int, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def bilinear(size: Any, flags: tuple[bool, bool] = (True, False)) -> Resize:
    return Resize(ResizeFn.BILINEAR, size, *flags)


def labels(size: Any, flags: tuple[bool, bool] = (True, False), crop: Any = None, dtype: DType = DType.INT32) -> Any:
    return ResizeArgMax((bilinear(size, flags),), crop or size, dtype)


def blobs(height: int, width: int, classes: int, block: int = 4, seed: int = 0) -> NDArray[Any]:
    """Scores as a network gives them: regions where one class leads, borders where none does."""
    coarse = floats(1, -(-height // block), -(-width // block), classes, seed=seed) * 5
    fine = np.repeat(np.repeat(coarse, block, 1), block, 2)[:, :height, :width]
    return np.ascontiguousarray(fine + floats(1, height, width, classes, seed=seed + 1) * np.float32(0.3))


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("flags", FLAGS, ids=FLAG_NAMES)
@pytest.mark.parametrize("fn", ResizeFn, ids=lambda f: f.value)
def test_resize(fn: ResizeFn, flags: tuple[bool, bool], target: Target) -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 9, 11, 3)).astype(np.uint8)
    check(Resize(fn, (13, 17), *flags), [floats(1, 5, 7, 21)], target, KERNELS)
    check(Resize(fn, (3, 2), *flags), [images], target, KERNELS)
    check(Resize(fn, (1, 1), *flags), [images.astype(np.int32)], target, KERNELS)
    check(Resize(fn, (5, 9), *flags), [floats(1, 1, 1, 64)], target, KERNELS)
    check(Resize(fn, (5, 7), *flags), [floats(1, 5, 7, 3)], target, KERNELS)
    moving = Resize(fn, (H * 2 + 1, W * 8 - 7), *flags)
    check(moving, [floats(1, 5, 7, 21)], target, KERNELS, shapes=[(1, H, W, 21)])


def test_nearest_moves_any_type() -> None:
    for dtype in (np.int64, np.float16, np.bool_, np.uint8):
        image = np.random.default_rng(1).integers(0, 2, (1, 9, 11, 5)).astype(dtype)
        check(Resize(ResizeFn.NEAREST, (20, 21), True), [image], BEST, KERNELS)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("flags", FLAGS, ids=FLAG_NAMES)
@pytest.mark.parametrize("dtype", (DType.INT32, DType.INT64), ids=lambda d: d.value)
def test_labels(dtype: DType, flags: tuple[bool, bool], target: Target) -> None:
    check(labels((89, 97), flags, (87, 90), dtype), [blobs(12, 13, 21)], target, KERNELS)


def test_labels_of_a_batch() -> None:
    check(labels((33, 41)), [np.round(floats(2, 5, 6, 4))], BEST, KERNELS)


@pytest.mark.parametrize("flags", FLAGS, ids=FLAG_NAMES)
@pytest.mark.parametrize("size", ((4, 3), (1, 1), (9, 7), (97, 200), (70, 3)), ids=str)
def test_labels_at_any_scale(size: tuple[int, int], flags: tuple[bool, bool]) -> None:
    check(labels(size, flags), [blobs(9, 7, 5)], BEST, KERNELS)


def test_labels_of_one_pixel() -> None:
    check(labels((9, 7)), [floats(1, 1, 1, 3)], BEST, KERNELS)
    check(labels((9, 70), (False, True)), [floats(1, 1, 5, 3)], BEST, KERNELS)


@pytest.mark.parametrize("channels", (1, 2, 33, 150))
def test_labels_of_any_number_of_classes(channels: int) -> None:
    check(labels((41, 43)), [blobs(7, 6, channels, 2)], BEST, KERNELS)


@pytest.mark.parametrize("flags", FLAGS, ids=FLAG_NAMES)
def test_labels_of_two_stages(flags: tuple[bool, bool]) -> None:
    chain = (bilinear((9, 11), flags), bilinear((65, 81)))
    check(ResizeArgMax(chain, (65, 80), DType.INT32), [blobs(5, 6, 21)], BEST, KERNELS)
    moving = (bilinear((H * 2, W * 2), flags), bilinear((H * 8, W * 8 - 7)))
    op = ResizeArgMax(moving, (H * 8 - 3, W * 8 - 7), DType.INT32)
    check(op, [blobs(5, 6, 7)], BEST, KERNELS, shapes=[(1, H, W, 7)])
    check(op, [np.concatenate([blobs(5, 6, 7), floats(1, 5, 6, 7)])], BEST, KERNELS, shapes=[(2, H, W, 7)])


def test_labels_with_symbolic_sizes() -> None:
    op = labels((H * 8 - 7, W * 8 - 7), crop=(H * 8 - 9, W * 7))
    compiled = compile_graph(single(op, [floats(1, 9, 8, 21)], [(1, H, W, 21)]), BEST, KERNELS)
    for height, width in ((9, 8), (2, 23), (17, 7)):
        x = blobs(height, width, 21)
        want = expected(op, [x], [(1, H, W, 21)])
        assert (run_compiled(compiled, {"x0": x}, 2)[0] == want).all()


def near_ties(scale: float, offset: float) -> NDArray[Any]:
    """Scores of classes that are a few units in the last place apart: the roundings of the interpolation decide."""
    return (np.float32(offset) + floats(1, 20, 20, 3) * np.float32(scale)).astype(np.float32)


@pytest.mark.parametrize("op", (labels((157, 159)), labels((111, 213), (False, True))), ids=("aligned", "half_pixel"))
def test_near_ties(op: ResizeArgMax) -> None:
    compiled = compile_graph(single(op, [near_ties(1.0, 0.0)]), BEST, KERNELS)
    for scale in (1e-7, 3e-7, 1e-6, 1e-5, 1e-3):
        for offset in (0.0, 1.0, -30.0):
            x = near_ties(scale, offset)
            assert (run_compiled(compiled, {"x0": x}, 2)[0] == expected(op, [x])).all(), (scale, offset)


def test_near_ties_need_the_safety_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the margin the corner rule is wrong somewhere, so the test above can fail."""
    monkeypatch.setattr(cells, "gap_limit", lambda fn, magnitude: fn.f32(0.0))
    op, wrong = labels((157, 159)), 0
    compiled = compile_graph(single(op, [near_ties(1.0, 0.0)]), BEST, KERNELS)
    for scale in (1e-7, 3e-7, 1e-6):
        x = near_ties(scale, 1.0)
        wrong += int((run_compiled(compiled, {"x0": x})[0] != expected(op, [x])).sum())
    assert wrong


def test_ties_go_to_the_first_class() -> None:
    x = np.repeat(floats(1, 6, 6, 3), 3, axis=3)
    result = check(labels((41, 41)), [x], BEST, KERNELS)
    assert set(np.unique(result)) <= {0, 3, 6}
    assert not check(labels((41, 41)), [np.zeros((1, 6, 6, 9), np.float32)], BEST, KERNELS).any()


def test_infinities_nan_and_huge_scores() -> None:
    x = floats(1, 9, 9, 7)
    x[0, 2, 3, 1] = np.inf
    x[0, 1, 1, 2] = np.nan
    x[0, 4, 0] = 3e38
    x[0, 0, 0] = -3e38
    x[0, 4, 5] = np.nan
    x[0, 7, 7] = -np.inf
    check(labels((65, 67)), [x], BEST, KERNELS)
    check(labels((65, 67), (False, True)), [x], BEST, KERNELS)
    check(labels((5, 4), (False, False)), [x], BEST, KERNELS)
    check(ResizeArgMax((bilinear((18, 17)), bilinear((65, 67))), (65, 67), DType.INT32), [x], BEST, KERNELS)


def test_subnormal_scores() -> None:
    x = floats(1, 9, 9, 7) * np.float32(1e-42)
    check(labels((65, 67)), [x], BEST, KERNELS)


@pytest.mark.parametrize("model", ("deeplabv3_mnv2_pascal_train_aug", "deeplabv3_mnv2_dm05_pascal_trainval"))
def test_labels_of_real_scores(model: str) -> None:
    """TensorFlow's own logits of real pictures."""
    stored = np.load(shared_dir() / "golden" / model / "logits.npz")
    scores = [stored[name][None] for name in stored.files if name.endswith("_logits")]
    assert scores
    op = labels((513, 513))
    compiled = compile_graph(single(op, scores[:1]), BEST, KERNELS)
    for x in scores:
        assert (run_compiled(compiled, {"x0": x}, 2)[0] == expected(op, [x])).all()
