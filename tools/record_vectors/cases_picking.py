"""Fake quantisation, maxima with their positions, picks and updates by position, bicubic resizes, more functions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from case import EXACT, Case, binary_case, constant, floats, placeholder, raw, rng_of, unary_case

F32 = np.float32
RANGES = ((-6.0, 6.0), (-1.3, 2.7), (0.0, 6.0), (0.3, 5.0), (-4.0, -1.0), (-0.013, 3.1))


def _fake_quant_cases() -> Iterator[Case]:
    for bits, narrow in ((8, False), (8, True), (4, False), (2, True), (16, False)):
        name = f"fake_quant/{bits}{'_narrow' if narrow else ''}"
        rng, steps = rng_of(name), np.arange(90) % (1 << bits)
        spread = rng.uniform(-6.5, 6.5, 90)
        # Halves between the numbers that are left show how the quotient is rounded.
        halves = [low + (steps + 0.5) * ((high - low) / ((1 << bits) - 1)) for low, high in RANGES]
        x = np.concatenate([spread, *halves, [0, -0.0, np.inf, -np.inf]]).astype(F32)
        how = {"num_bits": bits, "narrow_range": narrow}

        def apply(y: tf.Tensor, how=how) -> list[tf.Tensor]:
            found = [y + raw.FakeQuantWithMinMaxVars(inputs=y, min=constant(F32(0)), max=constant(F32(0)), **how)]
            for low, high in RANGES:
                ends = {"min": constant(F32(low)), "max": constant(F32(high))}
                found.append(raw.FakeQuantWithMinMaxVars(inputs=y, **ends, **how))
                if low <= 0 <= high:
                    found.append(raw.FakeQuantWithMinMaxArgs(inputs=y, min=low, max=high, **how))
            return found

        yield unary_case(name, x, apply)
    rng = rng_of("fake_quant/channels")
    lows, highs = np.array([-1, -2, 0, 0.5, -3], F32), np.array([1, 0.7, 6, 2.5, -1], F32)
    for shape in ((5,), (40, 5), (2, 3, 4, 5)):
        x = (rng.normal(0, 3, shape)).astype(F32)
        yield unary_case(
            f"fake_quant/channels_{len(shape)}",
            x,
            lambda y: raw.FakeQuantWithMinMaxVarsPerChannel(inputs=y, min=constant(lows), max=constant(highs)),
        )


def _argmax_pool_case(size: int, stride: int, padding: str, whole: bool, dynamic: bool = False) -> Case:
    name = f"pool_argmax/{size}_s{stride}_{padding.lower()}{'_batch' if whole else ''}{'_any' if dynamic else ''}"
    # Few different numbers, so that several elements of a window are the largest.
    x = rng_of(name).integers(-3, 3, (2, 7, 6, 3)).astype(F32)
    kind = tf.int32 if size == 3 else tf.int64

    def apply(image: tf.Tensor) -> list[tf.Tensor]:
        return list(
            raw.MaxPoolWithArgmax(
                input=image,
                ksize=[1, size, size, 1],
                strides=[1, stride, stride, 1],
                padding=padding,
                include_batch_in_index=whole,
                Targmax=kind,
            )
        )

    return unary_case(name, x, apply, EXACT, (2, None, None, 3) if dynamic else None)


def _unpool_case(name: str, whole: bool) -> Case:
    """What SegNet-like networks write: the positions of a pooling say where its results go back to."""
    x = floats(rng_of(name), (2, 4, 6, 3))

    def apply(image: tf.Tensor) -> tf.Tensor:
        pooled, places = raw.MaxPoolWithArgmax(
            input=image,
            ksize=[1, 2, 2, 1],
            strides=[1, 2, 2, 1],
            padding="SAME",
            include_batch_in_index=whole,
        )
        if whole:
            flat = raw.ScatterNd(
                indices=tf.reshape(places, [-1, 1]), updates=tf.reshape(pooled, [-1]), shape=constant([144], tf.int64)
            )
            return tf.reshape(flat, [2, 4, 6, 3])
        ones = tf.ones_like(places)
        batch = ones * tf.reshape(tf.range(2, dtype=tf.int64), [2, 1, 1, 1])
        channel = ones * tf.range(3, dtype=tf.int64)
        rows = tf.stack([batch, places // 18, places // 3 % 6, channel])
        indices = tf.transpose(tf.reshape(rows, [4, 36]))
        return tf.scatter_nd(indices, tf.reshape(pooled, [36]), constant([2, 4, 6, 3], tf.int64))

    return unary_case(name, x, apply)


def _picking_cases() -> Iterator[Case]:
    rng = rng_of("picking")
    scores = rng.integers(-4, 4, (3, 4, 9)).astype(F32)
    for k in (1, 3, 9):
        yield unary_case(f"picking/top_k_{k}", scores, lambda y, k=k: list(raw.TopKV2(input=y, k=constant(k))))
    labels = rng.integers(-1, 5, (2, 3, 4)).astype(np.int32)
    for axis in (-1, 0, 2):
        yield unary_case(
            f"picking/one_hot_{axis}",
            labels,
            lambda y, a=axis: raw.OneHot(
                indices=y, depth=constant(4), on_value=constant(F32(2)), off_value=constant(F32(-1)), axis=a
            ),
        )
    x = floats(rng, (2, 3, 4, 5))
    for axes in ([1], [-1, 1], [0, 1, 2, 3], []):
        yield unary_case(
            f"picking/reverse_{'_'.join(map(str, axes))}",
            x,
            lambda y, a=axes: raw.ReverseV2(tensor=y, axis=constant(a, tf.int32)),
        )
    indices = np.int32([[1, 2], [0, 0], [2, 3]])
    table, updates = floats(rng, (3, 4, 2)), floats(rng, (3, 2))
    for operation in (raw.TensorScatterUpdate, raw.TensorScatterAdd, raw.TensorScatterMax, raw.TensorScatterMin):
        yield binary_case(
            f"picking/{operation.__name__}",
            table,
            updates,
            lambda t, u, f=operation: f(tensor=t, indices=constant(indices), updates=u),
        )


def _resize_cases() -> Iterator[Case]:
    for mode, flags in (
        ("legacy", {}),
        ("align", {"align_corners": True}),
        ("half", {"half_pixel_centers": True}),
    ):
        for source, size in (
            ((5, 7), (10, 14)),
            ((9, 13), (4, 5)),
            ((3, 4), (3, 4)),
            ((1, 3), (5, 7)),
            ((6, 5), (1, 1)),
        ):
            name = f"resize/bicubic_{mode}_{source[0]}x{source[1]}_to_{size[0]}x{size[1]}"
            yield unary_case(
                name,
                floats(rng_of(name), (2, *source, 3)),
                lambda y, s=size, f=flags: raw.ResizeBicubic(images=y, size=constant(list(s)), **f),
                "float:16",
            )


def _function_cases() -> Iterator[Case]:
    rng = rng_of("hyperbolic")
    wide = np.concatenate([floats(rng, (60,), 4.0), np.float32([0, 1e-6, -1e-6, 20, -20, 88.9, -88.9, 1e-3, -1e-3])])
    inside = np.clip(floats(rng, (40,), 0.4), -0.95, 0.95).astype(F32)
    above = (1 + np.abs(floats(rng, (40,), 3.0))).astype(F32)
    table = (
        ("expm1", raw.Expm1, wide[wide < 80]),
        ("sinh", raw.Sinh, wide),
        ("cosh", raw.Cosh, wide),
        ("asinh", raw.Asinh, np.concatenate([wide, np.float32([1e4, -1e4])])),
        ("acosh", raw.Acosh, above),
        ("atanh", raw.Atanh, np.concatenate([inside, np.float32([0, 1e-6, -1e-6])])),
        ("log1p", raw.Log1p, np.concatenate([np.abs(wide), inside, np.float32([-1e-6, 1e20, np.inf, -1])])),
    )
    for name, operation, x in table:
        yield unary_case(f"functions/{name}", x, lambda y, f=operation: f(x=y), "ulp:8")
    a, b = floats(rng, (4, 6)), np.where(rng.random((4, 6)) < 0.4, 0, floats(rng, (4, 6))).astype(F32)
    a[0, :2] = np.inf, np.nan
    yield binary_case("functions/div_no_nan", a, b, lambda x, y: raw.DivNoNan(x=x, y=y))
    yield binary_case("functions/mul_no_nan", a, b, lambda x, y: raw.MulNoNan(x=x, y=y))
    image = floats(rng, (2, 3, 4, 7))
    for radius, bias, alpha, beta in ((5, 1.0, 1.0, 0.5), (2, 1.5, 0.3, 0.75), (0, 1.0, 2.0, 0.5)):
        yield unary_case(
            f"functions/lrn_{radius}",
            image,
            lambda y, r=radius, c=bias, p=alpha, q=beta: raw.LRN(input=y, depth_radius=r, bias=c, alpha=p, beta=q),
            "ulp:16",
        )
    yield unary_case("functions/ensure_shape", image, lambda y: raw.EnsureShape(input=y, shape=[2, None, 4, 7]))
    yield unary_case("functions/l2_loss", image, lambda y: raw.L2Loss(t=y), "float:168")


def _depthwise_cases() -> Iterator[Case]:
    for stride, padding, multiplier in ((2, "SAME", 1), (2, "VALID", 2), (1, "SAME", 1)):
        name = f"transposed/depthwise_s{stride}_{padding.lower()}_m{multiplier}"
        rng = rng_of(name)
        size = 10 if padding == "SAME" else 11
        rows = -(-size // stride) if padding == "SAME" else (size - 3) // stride + 1
        x, filters = floats(rng, (2, rows, rows, 4 * multiplier)), floats(rng, (3, 3, 4, multiplier))

        def build(x=x, filters=filters, stride=stride, padding=padding, size=size) -> list[tf.Tensor]:
            image = placeholder("x", x.shape)
            return [
                raw.DepthwiseConv2dNativeBackpropInput(
                    input_sizes=constant([2, size, size, 4]),
                    filter=constant(filters),
                    out_backprop=image,
                    strides=[1, stride, stride, 1],
                    padding=padding,
                )
            ]

        yield Case(name, build, [{"x": x}], "float:18")


@tf.function(autograph=False)
def _halved(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    first, second = tf.split(x, 2, axis=-1)
    return second, tf.nn.relu(first)


@tf.function(autograph=False)
def _scored(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    second, first = _halved(x)
    again, _ = _halved(first - second)
    values, places = tf.math.top_k(again, 2)
    return values, places, again * 2.0


def _function_call_cases() -> Iterator[Case]:
    x = floats(rng_of("calls"), (2, 3, 8))
    yield unary_case("control/calls_once", x, lambda y: list(_halved(y)))
    yield unary_case("control/calls_nested", x, lambda y: [*_scored(y), _halved(y + 1.0)[1]])


def cases() -> Iterator[Case]:
    """Return all cases of this file."""
    yield from _fake_quant_cases()
    for size, stride, padding in ((2, 2, "SAME"), (2, 2, "VALID"), (3, 2, "SAME"), (3, 1, "VALID"), (3, 1, "SAME")):
        for whole in (False, True):
            yield _argmax_pool_case(size, stride, padding, whole)
    yield _argmax_pool_case(2, 2, "SAME", True, dynamic=True)
    yield _unpool_case("pool_argmax/unpool_rows", False)
    yield _unpool_case("pool_argmax/unpool_flat", True)
    yield from _picking_cases()
    yield from _resize_cases()
    yield from _function_cases()
    yield from _depthwise_cases()
    yield from _function_call_cases()
