"""Random chains of operations written into TensorFlow's graphs, and TensorFlow's answers.  Needs ``tensorflow``."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

raw = tf.raw_ops

CHANNELS = (1, 3, 7, 16, 21, 24, 32, 33)

Tensor = Any
Step = Callable[["Chain", Tensor], Tensor]


class Chain:
    """A random chain of operations on an image tensor, written into TensorFlow's default graph.

    With ``any_size`` height and width are unknown to the graph and only operations that fit every size are used.
    Values stay of the size of 1, so that an error is not magnified on its way; ``terms`` counts the summed products.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.any_size = self.rng.random() < 0.5
        self.size = (self.rng.randint(5, 17), self.rng.randint(5, 17))
        self.channels = self.rng.choice(CHANNELS[:5])
        self.batch = 1 if self.any_size else self.rng.choice((1, 1, 2))
        self.terms = 8

    def floats(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        return (self.numbers.normal(0, 1, shape) * scale).astype(np.float32)

    def between(self, low: float, high: float, *shape: int) -> np.ndarray:
        return self.numbers.uniform(low, high, shape).astype(np.float32)

    def weights(self, kh: int, kw: int, cin: int, cout: int, fan: int) -> Tensor:
        self.terms += fan
        return tf.constant(self.floats(kh, kw, cin, cout, scale=fan**-0.5))

    def build(self) -> dict[str, np.ndarray]:
        """Write the graph (results ``out:0``, and labels ``labels:0``); return what to feed."""
        shape = (self.batch, *((None, None) if self.any_size else self.size), self.channels)
        x = tf.compat.v1.placeholder(tf.float32, shape, "x")
        for _ in range(self.rng.randint(1, 6)):
            x = self.rng.choice(STEPS)(self, x)
        out, index = tf.identity(x, name="out"), self.rng.choice((tf.int32, tf.int64))
        tf.identity(raw.ArgMax(input=out, dimension=3, output_type=index), name="labels")
        feed = self.floats(self.batch, *self.size, int(shape[3] or 0))
        return {"x:0": feed}

    def padding(self, x: Tensor, span: int) -> str:
        fits = not self.any_size and min(int(x.shape[1]), int(x.shape[2])) >= span
        return self.rng.choice(("SAME", "VALID")) if fits else "SAME"


def conv(c: Chain, x: Tensor) -> Tensor:
    kernel, out = c.rng.choice((1, 2, 3, 5)), c.rng.choice(CHANNELS)
    stride = c.rng.choice((1, 1, 2))
    dilation = c.rng.choice((1, 2, 3, 6, 12, 18)) if stride == 1 else 1
    cin = int(x.shape[3])
    return raw.Conv2D(
        input=x,
        filter=c.weights(kernel, kernel, cin, out, kernel * kernel * cin),
        strides=[1, stride, stride, 1],
        padding=c.padding(x, (kernel - 1) * dilation + 1),
        dilations=[1, dilation, dilation, 1],
    )


def depthwise(c: Chain, x: Tensor) -> Tensor:
    cin, stride = int(x.shape[3]), c.rng.choice((1, 2))
    multiplier = c.rng.choice((1, 1, 2)) if cin < 30 else 1
    w = c.weights(3, 3, cin, multiplier, 9)
    return raw.DepthwiseConv2dNative(
        input=x, filter=w, strides=[1, stride, stride, 1], padding=c.padding(x, 3), dilations=[1, 1, 1, 1]
    )


def atrous(c: Chain, x: Tensor) -> Tensor:
    """A dilated convolution between SpaceToBatchND and BatchToSpaceND; paddings constant or computed at run time."""
    rate, cin = c.rng.choice((2, 3, 4, 6, 12, 18)), int(x.shape[3])
    w = c.weights(3, 3, cin, 1, 9) if c.rng.random() < 0.5 else c.weights(3, 3, cin, 5, 9 * cin)
    operation = raw.DepthwiseConv2dNative if int(w.shape[3]) == 1 else raw.Conv2D

    def inner(y: Tensor, _: Any, padding: str) -> Tensor:
        return operation(input=y, filter=w, strides=[1, 1, 1, 1], padding=padding)

    return tf.nn.with_space_to_batch(x, [rate, rate], c.padding(x, 2 * rate + 1), inner, filter_shape=[3, 3])


def batch_norm(c: Chain, x: Tensor) -> Tensor:
    n = int(x.shape[3])
    return raw.FusedBatchNormV3(
        x=x,
        scale=tf.constant(c.between(0.6, 1.4, n)),
        offset=tf.constant(c.floats(n, scale=0.3)),
        mean=tf.constant(c.floats(n, scale=0.3)),
        variance=tf.constant(c.between(0.6, 1.5, n)),
        epsilon=c.rng.choice((1e-3, 1e-5)),
        is_training=False,
    )[0]


def bias(c: Chain, x: Tensor) -> Tensor:
    return tf.nn.bias_add(x, tf.constant(c.floats(int(x.shape[3]), scale=0.3)))


def activation(c: Chain, x: Tensor) -> Tensor:
    return c.rng.choice(
        (
            tf.nn.relu,
            tf.nn.relu6,
            tf.nn.elu,
            tf.tanh,
            tf.sigmoid,
            lambda y: raw.LeakyRelu(features=y, alpha=0.1),
            lambda y: y * tf.nn.relu6(y + np.float32(3)) * np.float32(1 / 6),
            lambda y: tf.maximum(y, np.float32(0.1)),
        )
    )(x)


def pad(c: Chain, x: Tensor) -> Tensor:
    amounts = [[0, 0], [c.rng.randint(0, 3), 1], [0, c.rng.randint(0, 2)], [0, 0]]
    small = c.any_size or min(int(x.shape[1]), int(x.shape[2])) < 5
    mode = "CONSTANT" if small else c.rng.choice(("CONSTANT", "REFLECT", "SYMMETRIC"))
    return tf.pad(x, amounts, mode)


def resize(c: Chain, x: Tensor) -> Tensor:
    operation = c.rng.choice((raw.ResizeBilinear, raw.ResizeBilinear, raw.ResizeNearestNeighbor))
    flags = c.rng.choice(({}, {"align_corners": True}, {"half_pixel_centers": True}))
    if c.rng.random() < 0.5:
        size: Tensor = [c.rng.randint(1, 20), c.rng.randint(1, 20)]
    else:
        size = (tf.shape(x)[1:3] - 1) * c.rng.choice((1, 2)) + 1
    return operation(images=x, size=size, **flags)


def pool(c: Chain, x: Tensor) -> Tensor:
    stride = c.rng.choice((1, 2))
    fn = c.rng.choice((tf.nn.avg_pool2d, tf.nn.max_pool2d))
    return fn(x, c.rng.choice((2, 3)), stride, c.padding(x, 3))


def image_pooling(c: Chain, x: Tensor) -> Tensor:
    """DeepLab's image-level branch: global mean, 1x1 convolution, resize back, concat."""
    cin = int(x.shape[3])
    c.terms += 64
    branch = tf.nn.relu(tf.nn.conv2d(tf.reduce_mean(x, [1, 2], keepdims=True), c.weights(1, 1, cin, 4, cin), 1, "SAME"))
    branch = raw.ResizeBilinear(images=branch, size=tf.shape(x)[1:3], align_corners=True)
    return tf.concat([branch, x], 3)


def residual(c: Chain, x: Tensor) -> Tensor:
    cin = int(x.shape[3])
    return x + tf.nn.conv2d(x, c.weights(3, 3, cin, cin, 9 * cin), 1, "SAME")


def cut(c: Chain, x: Tensor) -> Tensor:
    return c.rng.choice(
        (
            lambda y: y[:, ::2, ::2],
            lambda y: y[:, :, ::-1],
            lambda y: tf.concat([y, -y], 3) if int(y.shape[3]) < 40 else -y,
            lambda y: tf.transpose(y, [0, 2, 1, 3]),
            lambda y: tf.concat([y[..., -1:], y[..., :1], y[..., -1:]], 3),
            lambda y: tf.where(y > np.float32(0.5), y, tf.square(y)),
        )
    )(x)


STEPS: tuple[Step, ...] = (
    *(conv, conv, depthwise, atrous, batch_norm, bias, activation, activation),
    *(pad, resize, pool, image_pooling, residual, cut),
)


def answers(seed: int) -> tuple[bytes, dict[str, np.ndarray], dict[str, np.ndarray], int]:
    """Return GraphDef bytes, inputs, TensorFlow's outputs, and the number of summed terms."""
    chain = Chain(seed)
    with tf.Graph().as_default() as graph:
        feed = chain.build()
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        with tf.compat.v1.Session(graph=graph, config=config) as session:
            out, labels = session.run(["out:0", "labels:0"], feed)
        return graph.as_graph_def().SerializeToString(), feed, {"out:0": out, "labels:0": labels}, chain.terms
