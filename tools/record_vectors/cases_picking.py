"""Rounding to the steps of a range, bicubic resizes, one-hot rows, the largest, turned axes, pieces written."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from case import EXACT, Case, binary_case, constant, floats, raw, rng_of, unary_case

RANGES = (
    (-1.0, 2.0, 8, False),
    (-3.3, 0.7, 8, True),
    (0.0, 6.0, 4, False),
    (-0.2, 5.1, 16, False),
    (1.0, 2.0, 8, False),
)
BICUBIC = (((4, 5), (9, 13)), ((7, 6), (3, 4)), ((5, 5), (5, 9)), ((1, 3), (4, 6)))


def _fake_quant_cases() -> Iterator[Case]:
    rng = rng_of("fake_quant")
    x = np.concatenate([floats(rng, (90,), 3.0), np.float32([0, 1, -1, 50, -50, np.inf, -np.inf, np.nan])])
    for low, high, bits, narrow in RANGES:
        name = f"{low}_{high}_{bits}{'_narrow' if narrow else ''}"
        how = {"num_bits": bits, "narrow_range": narrow}
        yield unary_case(
            f"fake_quant/args_{name}",
            x,
            lambda y, a=low, b=high, h=how: raw.FakeQuantWithMinMaxArgs(inputs=y, min=a, max=b, **h),
        )
        yield unary_case(
            f"fake_quant/vars_{name}",
            x,
            lambda y, a=low, b=high, h=how: raw.FakeQuantWithMinMaxVars(inputs=y, min=a, max=b, **h),
        )
    yield unary_case("fake_quant/zero", x[:40], lambda y: raw.FakeQuantWithMinMaxVars(inputs=y, min=0.0, max=0.0))
    low, high = np.float32([-1, 0, -2.5, 0]), np.float32([1, 3, -0.5, 0])
    for bits in (8, 16):
        yield unary_case(
            f"fake_quant/channels_{bits}",
            floats(rng, (3, 2, 4), 2.0),
            lambda y, b=bits: raw.FakeQuantWithMinMaxVarsPerChannel(
                inputs=y, min=constant(low), max=constant(high), num_bits=b
            ),
        )


def _bicubic_cases() -> Iterator[Case]:
    for (height, width), goal in BICUBIC:
        for align, half in ((False, False), (True, False), (False, True)):
            name = f"resize/bicubic_{height}x{width}_{goal[0]}x{goal[1]}{'_align' * align}{'_half' * half}"
            yield unary_case(
                name,
                floats(rng_of(name), (2, height, width, 3)),
                lambda y, g=goal, a=align, h=half: raw.ResizeBicubic(
                    images=y, size=list(g), align_corners=a, half_pixel_centers=h
                ),
                "float:16",
            )


def _picking_cases() -> Iterator[Case]:
    rng = rng_of("picking")
    labels = rng.integers(-2, 6, (3, 4)).astype(np.int32)
    for axis in (-1, 0, 1):
        yield unary_case(
            f"picking/one_hot_{axis}",
            labels,
            lambda y, a=axis: raw.OneHot(indices=y, depth=5, on_value=2.0, off_value=-1.0, axis=a),
        )
    scores = rng.integers(-3, 4, (2, 3, 9)).astype(np.float32)
    yield unary_case("picking/top_k", scores, lambda y: raw.TopKV2(input=y, k=4, sorted=True))
    for axes in ([1], [0, 2], [-1]):
        name = "_".join(str(a) for a in axes)
        yield unary_case(
            f"picking/reverse_{name}", floats(rng, (2, 3, 4)), lambda y, a=axes: raw.ReverseV2(tensor=y, axis=a)
        )
    places = rng.permutation(6)[:4].reshape(4, 1).astype(np.int32)
    pieces = floats(rng, (4, 3))
    for fn in (raw.TensorScatterUpdate, raw.TensorScatterAdd, raw.TensorScatterMax, raw.TensorScatterMin):
        yield unary_case(
            f"picking/{fn.__name__}",
            floats(rng, (6, 3)),
            lambda y, f=fn: f(tensor=y, indices=constant(places), updates=constant(pieces)),
        )


def _other_cases() -> Iterator[Case]:
    rng = rng_of("others")
    a, b = floats(rng, (4, 5), 2.0), floats(rng, (4, 5), 2.0)
    b[1, :3] = 0
    yield binary_case("others/div_no_nan", a, b, lambda x, y: raw.DivNoNan(x=x, y=y), EXACT)
    x = floats(rng, (1, 3, 4, 7), 2.0)
    for radius, bias, alpha, beta in ((5, 1.0, 1.0, 0.5), (2, 2.0, 1e-3, 0.75), (0, 1.0, 0.3, 0.5)):
        yield unary_case(
            f"others/lrn_{radius}",
            x,
            lambda y, r=radius, c=bias, d=alpha, e=beta: raw.LRN(input=y, depth_radius=r, bias=c, alpha=d, beta=e),
            "float:12",
        )
    yield unary_case("others/ensure_shape", a, lambda y: raw.EnsureShape(input=y, shape=tf.TensorShape([None, 5])))


def cases() -> Iterator[Case]:
    """Return all cases of this file."""
    yield from _fake_quant_cases()
    yield from _bicubic_cases()
    yield from _picking_cases()
    yield from _other_cases()
