"""Small networks as channels-first devices get them: a U-Net and a DeepLab, all of whose tensors are NCHW."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from case import Case, constant, floats, placeholder, raw, rng_of, v1

SIDE = 16


class _Network:
    """Writes layers in a layout; the numbers depend on the name alone, so that both layouts have the same."""

    def __init__(self, name: str, layout: str) -> None:
        self.rng = rng_of(name)
        self.layout = layout
        self.channels = 1 if layout == "NCHW" else 3

    def four(self, n: int, h: int, w: int, c: int) -> list[int]:
        return [n, c, h, w] if self.layout == "NCHW" else [n, h, w, c]

    def turned(self, x: tf.Tensor, to: str) -> tf.Tensor:
        """Bring images from this layout to NHWC, or back."""
        if self.layout == "NHWC":
            return x
        return tf.transpose(x, [0, 2, 3, 1] if to == "NHWC" else [0, 3, 1, 2])

    def conv(self, x: tf.Tensor, into: int, out: int, size: int = 3, stride: int = 1, dilation: int = 1) -> tf.Tensor:
        filters = constant(floats(self.rng, (size, size, into, out), (size * size * into) ** -0.5))
        y = raw.Conv2D(
            input=x,
            filter=filters,
            strides=self.four(1, stride, stride, 1),
            dilations=self.four(1, dilation, dilation, 1),
            padding="SAME",
            data_format=self.layout,
        )
        scale, offset, mean = (constant(floats(self.rng, (out,), 0.3) + np.float32(i == 0)) for i in range(3))
        variance = constant((1 + self.rng.random(out)).astype(np.float32))
        y = v1.nn.fused_batch_norm(y, scale, offset, mean, variance, data_format=self.layout, is_training=False)[0]
        return tf.nn.relu6(y)

    def depthwise(self, x: tf.Tensor, channels: int, stride: int = 1) -> tf.Tensor:
        filters = constant(floats(self.rng, (3, 3, channels, 1), 0.3))
        strides = self.four(1, stride, stride, 1)
        y = raw.DepthwiseConv2dNative(input=x, filter=filters, strides=strides, padding="SAME", data_format=self.layout)
        bias = constant(floats(self.rng, (channels,), 0.1))
        return tf.nn.relu(raw.BiasAdd(value=y, bias=bias, data_format=self.layout))

    def halved(self, x: tf.Tensor) -> tf.Tensor:
        two = self.four(1, 2, 2, 1)
        return raw.MaxPool(input=x, ksize=two, strides=two, padding="SAME", data_format=self.layout)

    def doubled(self, x: tf.Tensor, into: int, out: int, side: int) -> tf.Tensor:
        filters = constant(floats(self.rng, (2, 2, out, into), 0.2))
        return raw.Conv2DBackpropInput(
            input_sizes=constant(self.four(1, side, side, out)),
            filter=filters,
            out_backprop=x,
            strides=self.four(1, 2, 2, 1),
            padding="SAME",
            data_format=self.layout,
        )

    def resized(self, x: tf.Tensor, side: int) -> tf.Tensor:
        image = raw.ResizeBilinear(images=self.turned(x, "NHWC"), size=constant([side, side]), align_corners=True)
        return self.turned(image, "NCHW")

    def ends(self, y: tf.Tensor) -> list[tf.Tensor]:
        labels = raw.ArgMax(input=y, dimension=constant(self.channels), output_type=tf.int32)
        return [labels, tf.nn.softmax(self.turned(y, "NHWC"))]


def _unet(net: _Network, y: tf.Tensor) -> tf.Tensor:
    first = net.conv(y, 3, 4)
    second = net.conv(net.halved(first), 4, 8)
    y = net.conv(net.halved(second), 8, 16)
    y = tf.concat([net.doubled(y, 16, 8, SIDE // 2), second], net.channels)
    y = net.conv(y, 16, 8)
    y = tf.concat([net.doubled(y, 8, 4, SIDE), first], net.channels)
    return net.conv(net.conv(y, 8, 4), 4, 3, 1)


def _deeplab(net: _Network, y: tf.Tensor) -> tf.Tensor:
    low = net.conv(y, 3, 8, stride=2)
    y = net.conv(net.depthwise(low, 8, 2), 8, 8, 1)
    y = net.conv(net.depthwise(y, 8), 8, 8, 1) + y
    whole = tf.reduce_mean(y, [2, 3] if net.layout == "NCHW" else [1, 2], keepdims=True)
    whole = net.resized(net.conv(whole, 8, 4, 1), SIDE // 4)
    parts = [whole, net.conv(y, 8, 4, 1), net.conv(y, 8, 4, dilation=2)]
    y = net.resized(net.conv(tf.concat(parts, net.channels), 12, 8, 1), SIDE // 2)
    y = net.conv(tf.concat([y, net.conv(low, 8, 4, 1)], net.channels), 12, 3)
    return net.resized(y, SIDE)


def cases() -> Iterator[Case]:
    """Return all cases of this file."""
    for name, write in (("nchw/unet", _unet), ("nchw/deeplab", _deeplab)):
        x = floats(rng_of(name), (1, SIDE, SIDE, 3))

        def build(layout: str = "NCHW", name=name, write=write) -> list[tf.Tensor]:
            net = _Network(f"{name}/weights", layout)
            image = net.turned(placeholder("x", (1, SIDE, SIDE, 3)), "NCHW")
            return net.ends(write(net, image))

        yield Case(name, build, [{"x": x}], "float:64", lambda b=build: b("NHWC"))
