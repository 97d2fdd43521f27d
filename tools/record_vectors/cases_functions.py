"""Functions of several steps, powers and remainders, bits, batches of matrix products, Einstein sums."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from case import EXACT, Case, binary_case, floats, raw, rng_of, unary_case

INT = np.int32
SPECIAL = np.array([0.0, 1.0, np.inf, -np.inf, np.nan], np.float32)


def _function_cases() -> Iterator[Case]:
    rng = rng_of("functions")
    x = np.concatenate([floats(rng, (60,), 3.0), np.float32([0, 1, -1, 0.5, 1e-3, -1e-3, 15, -15])])
    table = (
        ("softplus", lambda y: raw.Softplus(features=y), "float:4"),
        ("softsign", lambda y: raw.Softsign(features=y), "ulp:2"),
        ("selu", lambda y: raw.Selu(features=y), "float:4"),
        ("erf", lambda y: raw.Erf(x=y), "ulp:4"),
        ("erfc", lambda y: raw.Erfc(x=y), "float:4"),
        ("sin", lambda y: raw.Sin(x=y), "float:2"),
        ("cos", lambda y: raw.Cos(x=y), "float:2"),
        ("sign", lambda y: raw.Sign(x=y), EXACT),
    )
    for name, operation, tolerance in table:
        yield unary_case(f"functions/{name}", x, operation, tolerance)
    yield unary_case("functions/tan", np.clip(x, -1.4, 1.4), lambda y: raw.Tan(x=y), "ulp:6")
    for name, operation in (("reciprocal", raw.Reciprocal), ("inv", raw.Inv)):
        yield unary_case(f"functions/{name}", x[x != 0], lambda y, f=operation: f(x=y), "ulp:2")
    for name, operation in (("is_nan", raw.IsNan), ("is_inf", raw.IsInf), ("is_finite", raw.IsFinite)):
        yield unary_case(f"functions/{name}", SPECIAL, lambda y, f=operation: f(x=y))
    yield unary_case("functions/log_softmax", floats(rng, (3, 7), 5.0), lambda y: raw.LogSoftmax(logits=y), "float:7")
    scores = rng.integers(-3, 3, (4, 6, 5)).astype(np.float32)
    for axis in (0, 2):
        for dtype in (tf.int32, tf.int64):
            yield unary_case(
                f"functions/arg_min_{axis}_{dtype.name}",
                scores,
                lambda y, a=axis, t=dtype: raw.ArgMin(input=y, dimension=a, output_type=t),
            )


def _pair_cases() -> Iterator[Case]:
    rng = rng_of("pairs")
    a, b = np.abs(floats(rng, (4, 5), 2.0)) + np.float32(0.1), floats(rng, (5,), 2.0)
    yield binary_case("pairs/pow", a, b, lambda x, y: raw.Pow(x=x, y=y), "ulp:3")
    for exponent in (-1.0, -0.5, 0.5, 2.0, 3.0, 4.0, 2.5):
        yield unary_case(f"pairs/pow_{exponent}", a, lambda x, e=exponent: tf.pow(x, e), "ulp:3")
    i, j = rng.integers(-20, 20, (6, 5)).astype(INT), rng.integers(1, 7, (6, 5)).astype(INT)
    yield binary_case("pairs/pow_int32", i, j % 4, lambda x, y: raw.Pow(x=x, y=y))
    j = np.where(rng.random(j.shape) < 0.5, -j, j).astype(INT)
    yield binary_case("pairs/truncate_div", i, j, lambda x, y: raw.TruncateDiv(x=x, y=y))
    yield binary_case("pairs/div_int32", i, j, lambda x, y: raw.Div(x=x, y=y))
    yield binary_case("pairs/truncate_mod", i, j, lambda x, y: raw.TruncateMod(x=x, y=y))
    yield binary_case("pairs/mod", floats(rng, (9,), 9.0), floats(rng, (9,), 3.0), lambda x, y: raw.Mod(x=x, y=y))
    shifts = rng.integers(0, 8, (6, 5)).astype(INT)
    for operation in (raw.BitwiseAnd, raw.BitwiseOr, raw.BitwiseXor, raw.LeftShift, raw.RightShift):
        name = operation.__name__
        other = shifts if name.endswith("shift") else j
        yield binary_case(f"pairs/{name}", i, other, lambda x, y, f=operation: f(x=x, y=y))


def _truth_cases() -> Iterator[Case]:
    truth = rng_of("truth").random((3, 4, 5)) < 0.6
    for name, operation in (("all", raw.All), ("any", raw.Any)):
        for axes in ([0], [1, 2], [-1]):
            yield unary_case(
                f"truth/{name}_{'_'.join(str(a) for a in axes)}",
                truth,
                lambda y, f=operation, a=axes: f(input=y, axis=a, keep_dims=False),
            )


def _product_cases() -> Iterator[Case]:
    rng = rng_of("products")
    for turned in ((False, False), (True, False), (False, True), (True, True)):
        a, b = floats(rng, (2, 3, 4, 7)), floats(rng, (2, 3, 7, 5))
        a, b = (np.ascontiguousarray(m.swapaxes(2, 3)) if t else m for m, t in zip((a, b), turned, strict=True))
        yield binary_case(
            f"products/batch_{int(turned[0])}{int(turned[1])}",
            a,
            b,
            lambda x, y, t=turned: raw.BatchMatMulV2(x=x, y=y, adj_x=t[0], adj_y=t[1]),
            "float:7",
        )
    for shapes in (((2, 1, 4, 7), (3, 7, 5)), ((4, 7), (2, 7, 5)), ((2, 4, 7), (7, 5))):
        yield binary_case(
            f"products/broadcast_{len(shapes[0])}{len(shapes[1])}",
            floats(rng, shapes[0]),
            floats(rng, shapes[1]),
            lambda x, y: raw.BatchMatMulV2(x=x, y=y),
            "float:7",
        )
    yield binary_case(
        "products/batch_v1",
        floats(rng, (3, 4, 7)),
        floats(rng, (3, 7, 2)),
        lambda x, y: raw.BatchMatMul(x=x, y=y),
        "float:7",
    )
    yield binary_case(
        "products/batch_v3",
        floats(rng, (3, 4, 7)),
        floats(rng, (1, 7, 2)),
        lambda x, y: raw.BatchMatMulV3(x=x, y=y, Tout=tf.float32),
        "float:7",
    )
    for equation, shapes in (("bij,bjk->bik", ((2, 3, 4), (2, 4, 5))), ("bhwc,hkc->bhwk", ((2, 3, 4, 5), (3, 6, 5)))):
        yield binary_case(
            f"products/einsum_{equation}",
            floats(rng, shapes[0]),
            floats(rng, shapes[1]),
            lambda x, y, e=equation: raw.Einsum(inputs=[x, y], equation=e),
            "float:7",
        )


def cases() -> Iterator[Case]:
    """Return all cases of this file."""
    yield from _function_cases()
    yield from _pair_cases()
    yield from _truth_cases()
    yield from _product_cases()
