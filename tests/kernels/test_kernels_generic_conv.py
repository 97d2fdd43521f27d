"""The generic convolutions: every geometry, run-time weights, vectors of any number of channels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.guard import Side
from kernels.harness import check, edge_sizes, expected, run_node, weights
from smalti.errors import CompilerError
from smalti.ir.dims import symbol
from smalti.ir.ops import Activation, Conv2d, QuantisedConv2d
from smalti.kernels.convgeneric import KERNELS
from smalti.numerics import DType
from smalti.target.host import arch, missing_features
from smalti.target.target import Target, levels_of
from tolerance import Tol, assert_close

TARGETS = [t for t in levels_of(arch()) if not missing_features(t.features)]
BEST = TARGETS[-1]
H, W = symbol("H", 1, 100), symbol("W", 1, 100)


def floats(*shape: int, seed: int = 0, dtype: Any = np.float32) -> NDArray[Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("channels", edge_sizes(16))
def test_conv_channels(channels: int, target: Target) -> None:
    op = Conv2d(pads=(1, 1, 1, 1), bias=True, activation=Activation.RELU6)
    operands = [floats(1, 6, 7, 5), weights(floats(3, 3, 5, channels, seed=1)), weights(floats(channels, seed=2))]
    check(op, operands, target, KERNELS, Tol.FLOAT(45, 6.0))


@pytest.mark.parametrize("stride", ((1, 1), (2, 2), (1, 3)), ids=str)
@pytest.mark.parametrize("dilation", ((1, 1), (2, 1), (6, 18)), ids=str)
@pytest.mark.parametrize("pads", ((0, 1, 1, 0), (6, 6, 18, 18), (20, 13, 1, 40)), ids=str)
def test_geometry(stride: tuple[int, int], dilation: tuple[int, int], pads: tuple[int, int, int, int]) -> None:
    x = floats(2, 13, 38, 3)
    check(Conv2d(stride, dilation, pads), [x, weights(floats(3, 3, 3, 7))], BEST, KERNELS, Tol.FLOAT(27))
    op = Conv2d(stride, dilation, pads, groups=3)
    check(op, [x, weights(floats(3, 3, 1, 3))], BEST, KERNELS, Tol.FLOAT(9))


@pytest.mark.parametrize("kernel", ((1, 1), (2, 5), (5, 1)), ids=str)
def test_kernel_sizes(kernel: tuple[int, int]) -> None:
    x = floats(1, 9, 10, 6)
    check(Conv2d(), [x, weights(floats(*kernel, 6, 4))], BEST, KERNELS, Tol.FLOAT(60))
    check(Conv2d(groups=6), [x, weights(floats(*kernel, 1, 6))], BEST, KERNELS, Tol.FLOAT(10))


def test_run_time_weights_bias_and_residual() -> None:
    op = Conv2d((2, 2), pads=(0, 1, 1, 0), bias=True, residual=True, activation=Activation.RELU)
    operands = [floats(2, 9, 9, 5), floats(3, 3, 5, 7, seed=1), floats(7, seed=2), floats(2, 4, 4, 7, seed=3)]
    check(op, operands, BEST, KERNELS, Tol.FLOAT(45))


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_images_with_an_offset(target: Target) -> None:
    image = np.random.default_rng(4).integers(0, 256, (1, 9, 9, 3)).astype(np.uint8)
    op = Conv2d((2, 2), pads=(1, 1, 1, 1), input_offset=127.5)
    check(op, [image, weights(floats(3, 3, 3, 8))], target, KERNELS, Tol.FLOAT(27))
    check(op, [image.astype(np.float32), weights(floats(3, 3, 3, 1))], target, KERNELS, Tol.FLOAT(27))


def test_float64() -> None:
    operands = [floats(1, 9, 9, 3, dtype=np.float64), floats(3, 3, 3, 9, seed=1, dtype=np.float64)]
    check(Conv2d(dilation=(2, 2), pads=(2, 2, 2, 2)), operands, BEST, KERNELS, Tol.FLOAT(27))
    check(Conv2d(groups=3), [operands[0], operands[1][:, :, :1, :6]], BEST, KERNELS, Tol.FLOAT(9))


@pytest.mark.parametrize("multiplier", (1, 2, 5, 19))
def test_depthwise_multipliers(multiplier: int) -> None:
    op = Conv2d((2, 1), (1, 2), (1, 0, 2, 2), bias=True, activation=Activation.RELU, groups=21)
    operands = [floats(1, 9, 12, 21), weights(floats(3, 3, 1, 21 * multiplier)), weights(floats(21 * multiplier))]
    check(op, operands, BEST, KERNELS, Tol.FLOAT(9))


def test_symbolic_sizes_and_pads() -> None:
    shapes = [(1, H, W, 3), None]
    op = Conv2d((2, 2), pads=(H % 2, 1, 1, W % 3))
    check(op, [floats(1, 13, 11, 3), weights(floats(3, 3, 3, 8))], BEST, KERNELS, Tol.FLOAT(27), shapes)
    atrous = Conv2d(dilation=(12, 12), pads=(12, 12, 12, 12), groups=3)
    check(atrous, [floats(1, 13, 11, 3), weights(floats(3, 3, 1, 3))], BEST, KERNELS, Tol.FLOAT(9), shapes)


def test_relu6_keeps_nan() -> None:
    x = floats(1, 4, 4, 3)
    x[0, 1, 1] = np.nan
    op = Conv2d(activation=Activation.RELU6)
    check(op, [x, weights(floats(1, 1, 3, 8))], BEST, KERNELS, Tol.FLOAT(3))


GROUPS = ((1, 3, 33), (2, 3, 1), (3, 1, 1), (17, 1, 1), (64, 1, 1), (2, 5, 15), (3, 4, 17), (5, 2, 16), (16, 1, 3))
"""Groups, channels of one, and its results: fewer than a vector, a vector, a few more; groups of one channel."""


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("groups", GROUPS, ids=str)
def test_groups_of_floats(groups: tuple[int, int, int], target: Target) -> None:
    count, depth, results = groups
    op = Conv2d((1, 2), pads=(1, 0, 2, 1), bias=True, residual=True, activation=Activation.RELU, groups=count)
    operands = [floats(2, 5, 6, count * depth), floats(3, 2, depth, count * results), floats(count * results)]
    operands.append(floats(2, 4, 4, count * results, seed=3))
    check(op, operands, target, KERNELS, Tol.FLOAT(6 * depth + 1, 8.0))
    halves = [o.astype(np.float16) for o in operands]
    check(op, halves, target, KERNELS, Tol.ROUNDED(2.0**-10, 2.0**-24, 6 * depth + 1, 8.0))


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("groups", GROUPS, ids=str)
def test_groups_of_bytes(groups: tuple[int, int, int], target: Target) -> None:
    count, depth, results = groups
    rng, channels = np.random.default_rng(1), count * results
    x = rng.integers(0, 256, (2, 5, 6, count * depth)).astype(np.uint8)
    w = rng.integers(-128, 128, (3, 2, depth, channels)).astype(np.int8)
    multiplier = (0.003 * rng.uniform(0.5, 1.5, channels)).astype(np.float32)
    bias, addend = rng.integers(-9999, 9999, channels).astype(np.int32), floats(channels, seed=2)
    addend[0] = np.nan
    op = QuantisedConv2d((1, 2), pads=(1, 0, 2, 1), zero_point=131, bias=True, addend=True, groups=count,
                         residual=True, residual_zero_point=9, residual_scale=0.5, result_zero_point=77, low=3,
                         high=250)  # fmt: skip
    other = rng.integers(0, 256, (2, 4, 4, channels)).astype(np.uint8)
    result = check(op, [x, w, multiplier, bias, addend, other], target, KERNELS, Tol.EXACT)
    assert (result[..., 0] == 3).all() and len(np.unique(result)) > 9
    real = replace(op, dtype=DType.FLOAT32, residual=False, activation=Activation.RELU6)
    check(real, [x, w, multiplier, bias, addend], target, KERNELS, Tol.EXACT)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("groups", GROUPS, ids=str)
def test_groups_of_words(groups: tuple[int, int, int], target: Target) -> None:
    count, depth, results = groups
    rng, channels = np.random.default_rng(1), count * results
    x = rng.integers(-32768, 32768, (2, 5, 6, count * depth)).astype(np.int16)
    w = rng.integers(-32767, 32768, (3, 2, depth, channels)).astype(np.int16)
    multiplier = (5e-6 * rng.uniform(0.5, 1.5, channels)).astype(np.float32)
    op = QuantisedConv2d((1, 2), pads=(1, 0, 2, 1), zero_point=-70, addend=True, groups=count, dtype=DType.INT16,
                         low=-30_000, high=32767)  # fmt: skip
    operands = [x, w, multiplier, floats(channels)]
    alone, together = (run_node(op, operands, target, KERNELS, n, s) for n, s in ((1, Side.LEFT), (3, Side.RIGHT)))
    assert alone.tobytes() == together.tobytes() and len(np.unique(alone)) > 9 and alone.min() >= -30_000
    want, tolerance = expected(op, operands), Tol.ROUNDED(0.0, 1.0, 6 * depth, 2.0**31 * 5e-6)
    assert_close(alone.astype(np.float32), want.astype(np.float32), tolerance)


def test_what_has_no_steps_is_refused() -> None:
    weights_, multiplier = np.ones((1, 1, 2, 4), np.int8), np.ones(4, np.float32)
    x, other = np.ones((1, 2, 2, 4), np.uint8), floats(1, 2, 2, 4)
    for op in (
        QuantisedConv2d(groups=2, activation=Activation.RELU),
        QuantisedConv2d(groups=2, residual=True, dtype=DType.FLOAT32),
    ):
        operands = [x, weights_, multiplier, *([other] if op.residual else [])]
        with pytest.raises(CompilerError, match="no kernel for"):
            check(op, operands, BEST, KERNELS, Tol.EXACT)
