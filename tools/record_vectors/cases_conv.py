"""Convolutions: paddings, strides, channels, and dilation in every spelling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from case import Case, constant, floats, placeholder, raw, rng_of

CHANNELS = (1, 3, 7, 16, 21, 24, 32, 33, 960)
DILATIONS = (2, 3, 4, 6, 8, 12, 18)


def _conv(x: tf.Tensor, w: np.ndarray, stride: int, padding: str, dilation: int, pads: Sequence[int]) -> tf.Tensor:
    return raw.Conv2D(
        input=x,
        filter=constant(w),
        strides=[1, stride, stride, 1],
        padding=padding,
        explicit_paddings=list(pads),
        dilations=[1, dilation, dilation, 1],
    )


def _conv_case(
    name: str,
    image: tuple[int, int, int],
    kernel: tuple[int, int],
    out: int,
    stride: int = 1,
    padding: str = "SAME",
    dilation: int = 1,
    pads: Sequence[int] = (),
    batch: int = 1,
    groups: int = 1,
) -> Case:
    rng = rng_of(name)
    x, w = floats(rng, (batch, *image)), floats(rng, (*kernel, image[2] // groups, out), 0.5)

    def build() -> list[tf.Tensor]:
        return [_conv(placeholder("x", x.shape), w, stride, padding, dilation, pads)]

    return Case(name, build, [{"x": x}], f"float:{w.size // out}")


def _nchw(shape: Sequence[int]) -> list[int]:
    return [shape[0], shape[3], shape[1], shape[2]]


def _nchw_case(name: str, kernel: int, stride: int, padding: str, dilation: int, depthwise: bool) -> Case:
    rng = rng_of(name)
    x, w = floats(rng, (1, 9, 8, 3)), floats(rng, (kernel, kernel, 3, 2))
    pads = [0, 0, 1, 2, 0, 1, 0, 0] if padding == "EXPLICIT" else []
    operation = raw.DepthwiseConv2dNative if depthwise else raw.Conv2D

    def build() -> list[tf.Tensor]:
        result = operation(
            input=placeholder("x", _nchw(x.shape)),
            filter=constant(w),
            strides=[1, 1, stride, stride],
            padding=padding,
            explicit_paddings=[0, 0, 0, 0, 1, 2, 0, 1] if pads else [],
            dilations=[1, 1, dilation, dilation],
            data_format="NCHW",
        )
        return [
            raw.BiasAdd(
                value=result,
                bias=constant(np.float32([0.5, -1, 2, 3, 4, 5][: 6 if depthwise else 2])),
                data_format="NCHW",
            )
        ]

    def answer() -> list[tf.Tensor]:
        image = tf.transpose(placeholder("x", _nchw(x.shape)), [0, 2, 3, 1])
        result = operation(
            input=image,
            filter=constant(w),
            strides=[1, stride, stride, 1],
            padding=padding,
            explicit_paddings=pads,
            dilations=[1, dilation, dilation, 1],
        )
        bias = constant(np.float32([0.5, -1, 2, 3, 4, 5][: 6 if depthwise else 2]))
        return [tf.transpose(raw.BiasAdd(value=result, bias=bias), [0, 3, 1, 2])]

    feed = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    return Case(name, build, [{"x": feed}], f"float:{kernel * kernel * 3 + 1}", answer)


def _depthwise_case(
    name: str,
    image: tuple[int, int, int],
    kernel: tuple[int, int],
    multiplier: int = 1,
    stride: int = 1,
    padding: str = "SAME",
    dilation: int = 1,
    pads: Sequence[int] = (),
    batch: int = 1,
) -> Case:
    rng = rng_of(name)
    x, w = floats(rng, (batch, *image)), floats(rng, (*kernel, image[2], multiplier), 0.5)

    def build() -> list[tf.Tensor]:
        return [
            raw.DepthwiseConv2dNative(
                input=placeholder("x", x.shape),
                filter=constant(w),
                strides=[1, stride, stride, 1],
                padding=padding,
                explicit_paddings=list(pads),
                dilations=[1, dilation, dilation, 1],
            )
        ]

    def answer() -> list[tf.Tensor]:
        # The CPU kernel does not read the attribute; nn.depthwise_conv2d dilates with SpaceToBatchND.
        rate = [dilation, dilation]
        return [tf.nn.depthwise_conv2d(placeholder("x", x.shape), w, [1, 1, 1, 1], padding, dilations=rate)]

    tolerance = f"float:{kernel[0] * kernel[1]}"
    return Case(name, build, [{"x": x}], tolerance, answer if dilation > 1 else None)


def _atrous_case(name: str, rate: tuple[int, int], padding: str, known_size: bool, depthwise: bool) -> Case:
    """SpaceToBatchND -> convolution -> BatchToSpaceND as nn.with_space_to_batch writes it.

    With an unknown image size the paddings and crops are computed at run time.
    """
    rng = rng_of(name)
    span = (2 * rate[0] + 1, 2 * rate[1] + 1)
    sizes = [(13, 10), (9, 15)] if padding == "SAME" else [(span[0] + 3, span[1] + 6), (span[0], span[1] + 1)]
    sizes = sizes[:1] if known_size else sizes
    w = floats(rng, (3, 3, 3, 1 if depthwise else 4))
    images = [floats(rng, (1, *size, 3)) for size in sizes]

    def convolve(x: tf.Tensor, conv_padding: str) -> tf.Tensor:
        operation = raw.DepthwiseConv2dNative if depthwise else raw.Conv2D
        return operation(input=x, filter=constant(w), strides=[1, 1, 1, 1], padding=conv_padding)

    def build() -> list[tf.Tensor]:
        x = placeholder("x", images[0].shape if known_size else (1, None, None, 3))
        return [
            tf.nn.with_space_to_batch(
                x, list(rate), padding, lambda y, _, conv_padding: convolve(y, conv_padding), filter_shape=[3, 3]
            )
        ]

    return Case(name, build, [{"x": image} for image in images], f"float:{9 if depthwise else 27}")


def _residual_case() -> Case:
    """An inverted-residual block: expand, depthwise, project, add."""
    rng = rng_of("block")
    x = floats(rng, (1, 9, 7, 8))
    weights = [floats(rng, s, 0.4) for s in ((1, 1, 8, 24), (3, 3, 24, 1), (1, 1, 24, 8))]
    biases = [floats(rng, (n,)) for n in (24, 24, 8)]

    def build() -> list[tf.Tensor]:
        image = placeholder("x", (1, None, None, 8))
        y = tf.nn.relu6(tf.nn.bias_add(_conv(image, weights[0], 1, "SAME", 1, ()), biases[0]))
        y = raw.DepthwiseConv2dNative(input=y, filter=constant(weights[1]), strides=[1, 1, 1, 1], padding="SAME")
        y = tf.nn.relu6(tf.nn.bias_add(y, biases[1]))
        y = tf.nn.bias_add(_conv(y, weights[2], 1, "SAME", 1, ()), biases[2])
        return [raw.AddV2(x=image, y=y)]

    return Case("conv2d/inverted_residual", build, [{"x": x}, {"x": floats(rng, (1, 4, 11, 8))}], "float:256")


def cases() -> Iterator[Case]:
    """Return the cases."""
    for kernel in ((1, 1), (3, 3), (2, 2), (5, 3), (1, 7)):
        for stride in (1, 2):
            for size in ((9, 7), (8, 8), (7, 10)):
                for padding in ("SAME", "VALID", "EXPLICIT"):
                    pads = (0, 0, 1, 2, 3, 0, 0, 0) if padding == "EXPLICIT" else ()
                    suffix = f"{padding.lower()}_k{kernel[0]}x{kernel[1]}_s{stride}_{size[0]}x{size[1]}"
                    yield _conv_case(f"conv2d/{suffix}", (*size, 3), kernel, 4, stride, padding, 1, pads)
                    if kernel[0] == kernel[1]:
                        name = f"depthwise/{suffix}"
                        yield _depthwise_case(name, (*size, 4), kernel, 1, stride, padding, 1, pads)
    for channels in CHANNELS:
        yield _conv_case(f"conv2d/1x1_c{channels}_to_5", (4, 3, channels), (1, 1), 5)
        yield _conv_case(f"conv2d/1x1_c3_to_{channels}", (4, 3, 3), (1, 1), channels)
        yield _conv_case(f"conv2d/3x3_c{channels}_to_2", (5, 4, channels), (3, 3), 2)
        yield _conv_case(f"conv2d/3x3_c2_to_{channels}_s2", (5, 4, 2), (3, 3), channels, 2)
        yield _depthwise_case(f"depthwise/c{channels}", (5, 4, channels), (3, 3))
        yield _depthwise_case(f"depthwise/c{channels}_s2", (5, 6, channels), (3, 3), 1, 2)
    for multiplier in (2, 3):
        yield _depthwise_case(f"depthwise/multiplier{multiplier}", (5, 6, 7), (3, 3), multiplier)
    yield _conv_case("conv2d/batch3", (6, 5, 4), (3, 3), 5, batch=3)
    for groups, channels, out in ((2, 6, 4), (3, 3, 3), (4, 8, 20)):
        yield _conv_case(f"conv2d/groups{groups}", (6, 5, channels), (3, 3), out, 2, groups=groups)
    yield _conv_case("conv2d/larger_than_image", (2, 3, 3), (5, 5), 4)
    yield _depthwise_case("depthwise/batch3", (6, 5, 4), (3, 3), batch=3)
    for dilation in DILATIONS:
        for padding in ("SAME", "VALID"):
            size = (13, 11) if padding == "SAME" else (2 * dilation + 3, 2 * dilation + 2)
            suffix = f"dilated{dilation}_{padding.lower()}"
            yield _conv_case(f"conv2d/{suffix}", (*size, 3), (3, 3), 4, 1, padding, dilation)
            yield _depthwise_case(f"depthwise/{suffix}", (*size, 3), (3, 3), 1, 1, padding, dilation)
    yield _conv_case("conv2d/dilated2_stride2", (13, 11, 3), (3, 3), 4, 2, "SAME", 2)
    yield _conv_case("conv2d/dilated3_explicit", (9, 8, 3), (3, 3), 4, 1, "EXPLICIT", 3, (0, 0, 3, 2, 1, 4, 0, 0))
    for known_size in (True, False):
        for depthwise in (True, False):
            for rate in ((2, 2), (3, 2), (4, 4), (6, 6), (12, 12), (18, 18)):
                for padding in ("SAME", "VALID"):
                    kind = f"{'depthwise' if depthwise else 'conv2d'}/space_to_batch{rate[0]}x{rate[1]}"
                    name = f"{kind}_{padding.lower()}_{'constant' if known_size else 'runtime'}"
                    yield _atrous_case(name, rate, padding, known_size, depthwise)
    for depthwise in (True, False):
        for kernel, stride, padding, dilation in (
            (1, 1, "SAME", 1),
            (3, 1, "SAME", 1),
            (3, 2, "SAME", 1),
            (3, 2, "VALID", 1),
            (2, 1, "EXPLICIT", 1),
            *(() if depthwise else ((3, 1, "SAME", 2),)),
        ):
            name = f"{'depthwise' if depthwise else 'conv2d'}/nchw_k{kernel}_s{stride}_{padding.lower()}_d{dilation}"
            yield _nchw_case(name, kernel, stride, padding, dilation, depthwise)
    yield _residual_case()
