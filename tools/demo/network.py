"""The demo network, written once for training and for the frozen graph.

Every node has the name that DeepLab's exporter gives it, so the frozen graph reads like a published one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from smalti.demo.generator import CLASS_NAMES, CROP

OUTPUT_STRIDE = 8
FEATURE_SIDE = (CROP - 1) // OUTPUT_STRIDE + 1
STEM_CHANNELS = 16
HEAD_CHANNELS = 96
BODY_EPSILON = 1e-3
HEAD_EPSILON = 1e-5


@dataclass(frozen=True)
class Block:
    """An inverted residual block: expansion factor, output channels, stride and dilation of its 3x3 convolution."""

    expand: int
    channels: int
    stride: int = 1
    rate: int = 1


# The strides 2 stop at output stride 8; from there on the rates 2 and 4 take their place, as in DeepLab.
BLOCKS = (
    Block(1, 16),
    Block(4, 16, stride=2),
    Block(4, 16),
    Block(4, 24, stride=2),
    Block(4, 24),
    Block(4, 24),
    Block(4, 32),
    Block(4, 32, rate=2),
    Block(4, 32, rate=2),
    Block(4, 48, rate=2),
    Block(4, 48, rate=4),
    Block(4, 48, rate=4),
    Block(4, 80, rate=4),
)

GetTensor = Callable[[str], tf.Tensor]
BatchNorm = Callable[[tf.Tensor, str, float], tf.Tensor]


def block_name(index: int) -> str:
    """Return the scope of a block as the exporter names it."""
    return "MobilenetV2/expanded_conv" + (f"_{index}" if index else "")


def parameter_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and shape of every parameter."""

    def normed(
        scope: str, weights: str, shape: tuple[int, ...], channels: int
    ) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{scope}/{weights}", shape
        for kind in ("gamma", "beta", "moving_mean", "moving_variance"):
            yield f"{scope}/BatchNorm/{kind}", (channels,)

    yield from normed("MobilenetV2/Conv", "weights", (3, 3, 3, STEM_CHANNELS), STEM_CHANNELS)
    channels = STEM_CHANNELS
    for index, block in enumerate(BLOCKS):
        scope, wide = block_name(index), channels * block.expand
        if block.expand > 1:
            yield from normed(f"{scope}/expand", "weights", (1, 1, channels, wide), wide)
        yield from normed(f"{scope}/depthwise", "depthwise_weights", (3, 3, wide, 1), wide)
        yield from normed(f"{scope}/project", "weights", (1, 1, wide, block.channels), block.channels)
        channels = block.channels
    for scope, inputs in (("image_pooling", channels), ("aspp0", channels), ("concat_projection", 2 * HEAD_CHANNELS)):
        yield from normed(scope, "weights", (1, 1, inputs, HEAD_CHANNELS), HEAD_CHANNELS)
    yield "logits/semantic/weights", (1, 1, HEAD_CHANNELS, len(CLASS_NAMES))
    yield "logits/semantic/biases", (len(CLASS_NAMES),)


@dataclass(frozen=True)
class Network:
    """Builds the network out of raw operations.

    ``tensor`` gives the parameter of a name, ``batch_norm`` normalises (by batch in training, frozen in the export).
    """

    tensor: GetTensor
    batch_norm: BatchNorm

    def read(self, parameter: str, reader: str) -> tf.Tensor:
        """Return a parameter through the Identity that freezing leaves of a variable read."""
        return tf.raw_ops.Identity(input=self.tensor(parameter), name=reader)

    def conv(self, x: tf.Tensor, scope: str, stride: int = 1) -> tf.Tensor:
        weights = self.read(f"{scope}/weights", f"{scope}/Conv2D/ReadVariableOp")
        return tf.raw_ops.Conv2D(
            input=x, filter=weights, strides=[1, stride, stride, 1], padding="SAME", name=f"{scope}/Conv2D"
        )

    def depthwise(self, x: tf.Tensor, scope: str, stride: int, rate: int) -> tf.Tensor:
        name = f"{scope}/depthwise"
        weights = self.read(f"{scope}/depthwise_weights", f"{name}/ReadVariableOp")
        strides = [1, stride, stride, 1]
        if rate == 1:
            return tf.raw_ops.DepthwiseConv2dNative(input=x, filter=weights, strides=strides, padding="SAME", name=name)
        side = int(x.shape[1])
        extra = -(side + 2 * rate) % rate
        to_batch, to_space = f"{name}/SpaceToBatchND", f"{name}/BatchToSpaceND"
        x = tf.raw_ops.SpaceToBatchND(
            input=x,
            block_shape=_const([rate, rate], f"{to_batch}/block_shape"),
            paddings=_const([[rate, rate + extra]] * 2, f"{to_batch}/paddings"),
            name=to_batch,
        )
        x = tf.raw_ops.DepthwiseConv2dNative(input=x, filter=weights, strides=strides, padding="VALID", name=name)
        return tf.raw_ops.BatchToSpaceND(
            input=x,
            block_shape=_const([rate, rate], f"{to_space}/block_shape"),
            crops=_const([[0, extra]] * 2, f"{to_space}/crops"),
            name=to_space,
        )

    def body(self, x: tf.Tensor) -> tf.Tensor:
        """Return the features [N, 25, 25, C] of scaled pictures [N, 193, 193, 3]."""
        x = tf.raw_ops.Identity(input=x, name="MobilenetV2/MobilenetV2/input")
        x = self.batch_norm(self.conv(x, "MobilenetV2/Conv", 2), "MobilenetV2/Conv", BODY_EPSILON)
        x = tf.raw_ops.Relu6(features=x, name="MobilenetV2/Conv/Relu6")
        for index, block in enumerate(BLOCKS):
            x = self._block(x, block_name(index), block)
        return x

    def _block(self, x: tf.Tensor, scope: str, block: Block) -> tf.Tensor:
        first = x = tf.raw_ops.Identity(input=x, name=f"{scope}/input")
        if block.expand > 1:
            x = self.batch_norm(self.conv(x, f"{scope}/expand"), f"{scope}/expand", BODY_EPSILON)
            x = tf.raw_ops.Relu6(features=x, name=f"{scope}/expand/Relu6")
            x = tf.raw_ops.Identity(input=x, name=f"{scope}/expansion_output")
        x = self.depthwise(x, f"{scope}/depthwise", block.stride, block.rate)
        x = self.batch_norm(x, f"{scope}/depthwise", BODY_EPSILON)
        x = tf.raw_ops.Relu6(features=x, name=f"{scope}/depthwise/Relu6")
        x = tf.raw_ops.Identity(input=x, name=f"{scope}/depthwise_output")
        x = self.batch_norm(self.conv(x, f"{scope}/project"), f"{scope}/project", BODY_EPSILON)
        x = tf.raw_ops.Identity(input=x, name=f"{scope}/project/Identity")
        if block.stride == 1 and int(first.shape[3]) == block.channels:
            x = tf.raw_ops.AddV2(x=x, y=first, name=f"{scope}/add")
        return tf.raw_ops.Identity(input=x, name=f"{scope}/output")

    def _head_layer(self, x: tf.Tensor, scope: str) -> tf.Tensor:
        x = self.batch_norm(self.conv(x, scope), scope, HEAD_EPSILON)
        return tf.raw_ops.Relu(features=x, name=f"{scope}/Relu")

    def head(self, features: tf.Tensor) -> tf.Tensor:
        """Return the logits [N, 25, 25, classes] of the features."""
        side = FEATURE_SIDE
        pooled = tf.raw_ops.AvgPool(
            value=features,
            ksize=[1, side, side, 1],
            strides=[1, 1, 1, 1],
            padding="VALID",
            name="AvgPool2D/AvgPool",
        )
        pooled = self._head_layer(pooled, "image_pooling")
        pooled = resize(pooled, _const([side, side], "ResizeBilinear/size"), "ResizeBilinear")
        direct = self._head_layer(features, "aspp0")
        x = tf.raw_ops.ConcatV2(values=[pooled, direct], axis=_const(3, "concat/axis"), name="concat")
        x = self._head_layer(x, "concat_projection")
        x = tf.raw_ops.Identity(input=x, name="concat_projection_dropout/Identity")
        x = self.conv(x, "logits/semantic")
        biases = self.read("logits/semantic/biases", "logits/semantic/BiasAdd/ReadVariableOp")
        return tf.raw_ops.BiasAdd(value=x, bias=biases, name="logits/semantic/BiasAdd")


def resize(x: tf.Tensor, size: tf.Tensor, name: str) -> tf.Tensor:
    """Return ``x`` resized with aligned corners."""
    return tf.raw_ops.ResizeBilinear(images=x, size=size, align_corners=True, name=name)


def _const(value: object, name: str) -> tf.Tensor:
    return tf.constant(np.asarray(value, dtype=np.int32), name=name)
