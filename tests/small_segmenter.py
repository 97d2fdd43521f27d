"""A segmentation network that compiles in a moment, for tests that build many variants of one graph."""

from __future__ import annotations

import numpy as np

from graph_builder import GraphBuilder

SIDE, CLASSES = 24, 4
LABELS = tuple(f"class {index}" for index in range(CLASSES))


def network(side: int | None = SIDE) -> bytes:
    """A segmenter of five convolutions: image / 128 - 1, 3x3, 1x1, depthwise, 1x1, logits, argmax.

    The tensors are ``image:0``, ``c/logits/conv:0`` and ``labels:0``; ``side`` None leaves height and width open.
    """
    random = np.random.default_rng(5)
    width = 16

    def weights(*shape: int) -> np.ndarray:
        fan_in = shape[0] * shape[1] * (1 if len(shape) == 4 and shape[3] == 1 else shape[2])
        return (random.standard_normal(shape) * np.sqrt(2.0 / fan_in)).astype(np.float32)

    made = (
        GraphBuilder().placeholder("image", np.uint8, [1, side, side, 3]).node("Cast", "f", ["image"], DstT=np.float32)
    )
    made.const("k", np.float32(1 / 128)).node("Mul", "scaled", ["f", "k"]).const("one", np.float32(1))
    made.node("Sub", "x0", ["scaled", "one"])
    layers = [
        ("a/stem", weights(3, 3, 3, width)),
        ("b/one", weights(1, 1, width, width)),
        ("b/two", weights(3, 3, width, 1)),
        ("c/three", weights(1, 1, width, width)),
        ("c/logits", weights(1, 1, width, CLASSES)),
    ]
    before = "x0"
    for name, value in layers:
        op = "DepthwiseConv2dNative" if value.shape[3] == 1 else "Conv2D"
        made.const(f"{name}/w", value)
        made.node(op, f"{name}/conv", [before, f"{name}/w"], strides=[1, 1, 1, 1], padding="SAME")
        before = f"{name}/conv"
        if name != "c/logits":
            before = made.node("Relu6", f"{name}/relu", [before]) and f"{name}/relu"
    made.const("axis", np.int32(3)).node("ArgMax", "labels", [before, "axis"], output_type=np.int32)
    return made.bytes()
