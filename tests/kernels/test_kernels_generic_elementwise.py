"""Elementwise kernels: every function, every kind of broadcast, accuracy to the last places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.harness import check, edge_sizes, run_node, weights
from smalti.ir.dims import symbol
from smalti.ir.ops import Binary, BinaryFn, Cast, Select, Unary, UnaryFn
from smalti.ir.ops.elementwise import BINARY
from smalti.kernels.elementwise import KERNELS
from smalti.numerics import DType
from smalti.target.host import arch, missing_features
from smalti.target.target import Target, levels_of
from tolerance import Tol

TARGETS = [t for t in levels_of(arch()) if not missing_features(t.features)]
BEST = TARGETS[-1]
H, W = symbol("H", 1, 100), symbol("W", 1, 100)
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e-45, 88.72, 88.73, -87.4, -103.9, -104.5, 3e38, -3e38)
LIMITS = {
    UnaryFn.RSQRT: 1,
    UnaryFn.EXP: 1,
    UnaryFn.LOG: 1,
    UnaryFn.ELU: 1,
    UnaryFn.SIGMOID: 1,
    UnaryFn.SILU: 4,
    UnaryFn.SOFTPLUS: 3,
    UnaryFn.TANH: 2,
    UnaryFn.ERF: 2,
}
CIRCULAR = (UnaryFn.SIN, UnaryFn.COS)
FLOATS = [fn for fn in UnaryFn if fn not in (UnaryFn.LOGICAL_NOT, *CIRCULAR)]
INTEGERS = tuple(dtype for dtype in DType if dtype.is_integer)
INTEGER_UNARY = (UnaryFn.NEG, UnaryFn.ABS, UnaryFn.SQUARE, UnaryFn.RELU, UnaryFn.RELU6, UnaryFn.FLOOR, UnaryFn.SIGN)
ARITHMETIC = [fn for fn in BinaryFn if fn not in (BinaryFn.LOGICAL_AND, BinaryFn.LOGICAL_OR)]
EXACT_ON_FLOATS = [fn for fn in ARITHMETIC if fn is not BinaryFn.POW and not BINARY[fn].bits]


def floats(*shape: int, seed: int = 0, dtype: Any = np.float32) -> NDArray[Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def integers(dtype: DType, *shape: int, seed: int = 0) -> NDArray[Any]:
    """All values of the type, the smallest and largest among them."""
    info = np.iinfo(dtype.value)
    values = np.random.default_rng(seed).integers(info.min, info.max, shape, dtype=dtype.numpy, endpoint=True)
    flat = values.reshape(-1)
    extremes = np.array([info.min, info.max, 0, 1, info.min == 0 or -1], dtype.numpy)
    flat[: extremes.size] = extremes[: flat.size]
    return values


def every_magnitude(count: int, dtype: Any) -> NDArray[Any]:
    """Floats of all exponents and signs (drawn as bit patterns), numbers of common size, and special values."""
    rng = np.random.default_rng(1)
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    wild = rng.integers(0, np.iinfo(bits).max, count, dtype=bits, endpoint=True).view(dtype)
    with np.errstate(over="ignore"):
        common = [rng.standard_normal(count) * scale for scale in (0.01, 1.0, 10.0, 60.0)]
        return np.concatenate([wild, *(c.astype(dtype) for c in common), np.array(SPECIAL, dtype)])


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("fn", FLOATS, ids=lambda fn: fn.value)
def test_unary_float32(fn: UnaryFn, target: Target) -> None:
    tolerance = Tol.ULP(LIMITS[fn]) if fn in LIMITS else Tol.EXACT
    check(Unary(fn, 0.2), [every_magnitude(20000, np.float32)], target, KERNELS, tolerance)


@pytest.mark.parametrize("fn", FLOATS, ids=lambda fn: fn.value)
def test_unary_float64(fn: UnaryFn) -> None:
    # The reference itself is float64 arithmetic, off by a unit or more.
    tolerance = Tol.ULP(LIMITS[fn] + 3) if fn in LIMITS else Tol.EXACT
    if fn is UnaryFn.ERF:
        tolerance = Tol.ULP(32)
    check(Unary(fn, 0.2), [every_magnitude(200, np.float64)], BEST, KERNELS, tolerance)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("fn", CIRCULAR, ids=lambda fn: fn.value)
def test_sine_and_cosine(fn: UnaryFn, target: Target) -> None:
    values = every_magnitude(20000, np.float32)
    limit = np.float32(2.0**20)
    quarters = (np.arange(-40, 40) * np.pi / 2).astype(np.float32)
    near = np.concatenate([values[~(np.abs(values) > limit)], quarters, np.float32([np.inf, -np.inf, np.nan])])
    check(Unary(fn), [near], target, KERNELS, Tol.ULP(1))
    check(Unary(fn), [values[np.abs(values) > limit]], target, KERNELS, Tol.FLOAT(1))
    wide = every_magnitude(200, np.float64)
    check(Unary(fn), [wide[~(np.abs(wide) > limit)]], target, KERNELS, Tol.ULP(3))
    assert np.isnan(run_node(Unary(fn), [np.float64([2e9, -1e300, np.inf])], target, KERNELS)).all()


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_powers(target: Target) -> None:
    """The special cases of C, and numbers of all magnitudes."""
    special = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 3.0, -2.0, -3.0, 2.5, 1e30, -1e30, np.inf, -np.inf, np.nan]
    a, b = (m.ravel() for m in np.meshgrid(np.float32(special), np.float32(special)))
    rng = np.random.default_rng(5)
    bases, exponents = np.exp(rng.standard_normal(3000) * 9), rng.standard_normal(3000) * 4
    a, b = np.concatenate([a, np.float32(bases)]), np.concatenate([b, np.float32(exponents)])
    check(Binary(BinaryFn.POW), [a, b], target, KERNELS, Tol.ULP(1))
    check(Binary(BinaryFn.POW), [np.float64(a), np.float64(b)], target, KERNELS, Tol.ULP(2048))
    whole = np.repeat(np.arange(-12.0, 13.0), 13), np.tile(np.arange(13.0), 25)
    check(Binary(BinaryFn.POW), list(whole), target, KERNELS)


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda d: d.value)
def test_unary_integers(dtype: DType) -> None:
    for fn in INTEGER_UNARY:
        check(Unary(fn), [integers(dtype, 77)], BEST, KERNELS)


def test_logic() -> None:
    a, b = np.arange(150) % 2 == 0, np.arange(150) % 3 == 0
    check(Unary(UnaryFn.LOGICAL_NOT), [a], BEST, KERNELS)
    for fn in (BinaryFn.LOGICAL_AND, BinaryFn.LOGICAL_OR, BinaryFn.EQUAL, BinaryFn.NOT_EQUAL):
        check(Binary(fn), [a, b], BEST, KERNELS)


@pytest.mark.parametrize("fn", EXACT_ON_FLOATS, ids=lambda fn: fn.value)
def test_binary_float32(fn: BinaryFn) -> None:
    rng = np.random.default_rng(2)
    special = np.array([0.0, -0.0, 1.0, -1.5, 2.5, np.inf, -np.inf, np.nan, 1e-42, 7.0], np.float32)
    a, b = np.meshgrid(special, special)
    a = np.concatenate([a.ravel(), rng.standard_normal(500) * 100, rng.standard_normal(100) * 1e30]).astype(np.float32)
    b = np.concatenate([b.ravel(), rng.standard_normal(500) * 3, rng.standard_normal(100) * 1e-3]).astype(np.float32)
    check(Binary(fn), [a, b], BEST, KERNELS)
    check(Binary(fn), [a[:40].astype(np.float64), b[:40].astype(np.float64)], TARGETS[0], KERNELS)


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda d: d.value)
@pytest.mark.parametrize("fn", ARITHMETIC, ids=lambda fn: fn.value)
def test_binary_integers(fn: BinaryFn, dtype: DType) -> None:
    """Division by zero gives 0 and the lowest integer divided by -1 wraps: neither may raise a signal."""
    a = np.concatenate([np.repeat(integers(dtype, 5), 5), integers(dtype, 60, seed=1)])
    b = np.concatenate([np.tile(integers(dtype, 5), 5), integers(dtype, 60, seed=2)])
    check(Binary(fn), [a, b], BEST, KERNELS)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("width", edge_sizes(16))
def test_tails(width: int, target: Target) -> None:
    check(Binary(BinaryFn.SUB), [floats(3, width), floats(3, width, seed=1)], target, KERNELS)
    check(Binary(BinaryFn.MUL), [floats(3, width), floats(width, seed=1)], target, KERNELS)


BROADCASTS = (
    ((5, 7, 21), (21,), None),
    ((21,), (5, 7, 21), None),
    ((2, 3, 5), (), None),
    ((1, 1, 1, 1), (1, 1), None),
    ((4, 1, 3), (1, 5, 1), None),
    ((2, 1, 3, 1, 5), (1, 4, 1, 6, 1), None),
    ((9, 1), (1, 40), None),
    ((1, 9, 8, 21), (1, 9, 1, 21), [(1, H, W, 21), (1, H, 1, 21)]),
    ((1, 9, 8, 3), (3,), [(1, H, W, 3), None]),
    ((1, 9, 8, 1), (1, 1, 1, 64), [(1, H, W, 1), None]),
    ((1, 9, 8), (1, 9, 8), [(1, H, W), (1, H, W)]),
    ((0, 3), (3,), None),
    ((300, 200), (300, 200), None),
    ((300, 200), (300, 1), None),
)


@pytest.mark.parametrize(("left", "right", "shapes"), BROADCASTS, ids=str)
def test_broadcast(left: tuple[int, ...], right: tuple[int, ...], shapes: Any) -> None:
    check(Binary(BinaryFn.SUB), [floats(*left), floats(*right, seed=1)], BEST, KERNELS, shapes=shapes)


@pytest.mark.parametrize(
    "dtype", (*INTEGERS, DType.FLOAT32, DType.FLOAT64, DType.FLOAT16, DType.BOOL), ids=lambda d: d.value
)
def test_select_moves_any_type(dtype: DType) -> None:
    rng = np.random.default_rng(3)
    condition = rng.random((3, 1, 50)) > 0.5
    a, b = ((rng.standard_normal((3, 4, 50)) * 9).astype(dtype.numpy), (rng.random((4, 1)) * 2).astype(dtype.numpy))
    check(Select(), [condition, a, b], BEST, KERNELS)


@pytest.mark.parametrize("target", sorted({TARGETS[0], BEST}, key=str), ids=str)
@pytest.mark.parametrize("source", (*INTEGERS, DType.FLOAT32, DType.FLOAT64, DType.BOOL), ids=lambda d: d.value)
def test_cast(source: DType, target: Target) -> None:
    values = (np.random.default_rng(4).random(45) * 120).astype(source.numpy)
    if source in (DType.FLOAT32, DType.FLOAT64, DType.INT32):
        values[::3] *= -1
    for wanted in (*INTEGERS, DType.FLOAT32, DType.FLOAT64, DType.BOOL):
        if wanted.is_unsigned:
            check(Cast(wanted), [np.abs(values) if source is not DType.BOOL else values], target, KERNELS)
        else:
            check(Cast(wanted), [values], target, KERNELS)


def test_cast_out_of_range_does_not_trap() -> None:
    values = np.array([1e30, -1e30, np.inf, -np.inf, np.nan, 3e9, 300.0, 7.5], np.float32)
    for wanted in (DType.INT32, DType.INT64, DType.UINT8):
        assert run_node(Cast(wanted), [values], BEST, KERNELS)[-1] == 7


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_half_precision(target: Target) -> None:
    a, b = floats(70, dtype=np.float16), floats(70, seed=1, dtype=np.float16)
    check(Binary(BinaryFn.MUL), [a, b], target, KERNELS)
    check(Unary(UnaryFn.RELU6), [a], target, KERNELS)


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_half_precision_conversions(target: Target) -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    check(Cast(DType.FLOAT32), [every], target, KERNELS)
    with np.errstate(over="ignore", invalid="ignore"):
        exact = every[np.isfinite(every)].astype(np.float32)
        between = exact + np.spacing(every[np.isfinite(every)]).astype(np.float32) / 2
    values = np.concatenate([exact, *(np.nextafter(between, np.float32(s)) for s in (-np.inf, np.inf)), between])
    check(Cast(DType.FLOAT16), [np.append(values, np.float32(SPECIAL))], target, KERNELS)


def test_constant_operands() -> None:
    check(Binary(BinaryFn.MUL), [floats(2, 9), weights(floats(9, seed=1))], BEST, KERNELS)
