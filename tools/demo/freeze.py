"""Write the trained demo network as a frozen GraphDef, node for node as DeepLab's exporter does.

``python tools/demo/freeze.py --weights build/demo_weights.npz --out src/smalti/demo/frozen_inference_graph.pb``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from network import FEATURE_SIDE, Network, parameter_shapes, resize

from smalti.demo.generator import CROP

MAX_BYTES = 3_000_000
GREY = 127.5
RAW = tf.raw_ops
SCOPE = "pad_to_bounding_box"


def int_const(value: object, name: str) -> tf.Tensor:
    return tf.constant(np.asarray(value, dtype=np.int32), name=name)


def strided_slice(
    x: tf.Tensor, name: str, begin: int, end: int, *, shrink: bool = False, first: bool = False
) -> tf.Tensor:
    """Return ``x[begin:end]`` (or ``x[begin]``, or ``x[:end]``) with the exporter's constants."""
    return RAW.StridedSlice(
        input=x,
        begin=int_const([begin], f"{name}/stack"),
        end=int_const([end], f"{name}/stack_1"),
        strides=int_const([1], f"{name}/stack_2"),
        begin_mask=int(first),
        shrink_axis_mask=int(shrink),
        name=name,
    )


def padded_size(side: tf.Tensor, suffix: str) -> tf.Tensor:
    """Return ``side + max(crop - side, 0)``."""
    missing = RAW.Sub(x=int_const(CROP, f"sub{suffix}/x"), y=side, name=f"sub{suffix}")
    missing = RAW.Maximum(x=missing, y=int_const(0, f"Maximum{suffix}/y"), name=f"Maximum{suffix}")
    return RAW.AddV2(x=side, y=missing, name=f"add{suffix}")


def check(condition: tf.Tensor, message: str, name: str) -> tf.Operation:
    return RAW.Assert(condition=condition, data=[tf.constant(message, name=f"{name}/data_0")], name=name)


def pad_to_bounding_box(image: tf.Tensor, mean: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Return the picture [H, W, 3] padded at the bottom and right with ``mean``, behind the exporter's four checks."""
    rank = RAW.Equal(x=int_const(3, f"{SCOPE}/Rank"), y=int_const(3, f"{SCOPE}/Equal/y"), name=f"{SCOPE}/Equal")
    other = RAW.Equal(x=int_const(3, f"{SCOPE}/Rank_1"), y=int_const(4, f"{SCOPE}/Equal_1/y"), name=f"{SCOPE}/Equal_1")
    either = RAW.LogicalOr(x=rank, y=other, name=f"{SCOPE}/LogicalOr")
    with tf.control_dependencies([check(either, "Wrong image tensor rank.", f"{SCOPE}/Assert/Assert")]):
        centred = RAW.Sub(x=image, y=mean, name=f"{SCOPE}/sub")
    batch = RAW.ExpandDims(input=centred, axis=int_const(0, f"{SCOPE}/ExpandDims/dim"), name=f"{SCOPE}/ExpandDims")
    shape = RAW.Shape(input=batch, name=f"{SCOPE}/Shape")
    sides = RAW.Unpack(value=shape, num=4, name=f"{SCOPE}/unstack")
    wide = RAW.GreaterEqual(x=width, y=sides[2], name=f"{SCOPE}/GreaterEqual")
    wide_check = check(wide, "target_width must be >= width", f"{SCOPE}/Assert_1/Assert")
    high = RAW.GreaterEqual(x=height, y=sides[1], name=f"{SCOPE}/GreaterEqual_1")
    high_check = check(high, "target_height must be >= height", f"{SCOPE}/Assert_2/Assert")
    right = _missing(width, sides[2], wide_check, f"{SCOPE}/sub_1", f"{SCOPE}/sub_2")
    below = _missing(height, sides[1], high_check, f"{SCOPE}/sub_3", f"{SCOPE}/sub_4")
    enough = [
        RAW.GreaterEqual(x=value, y=int_const(0, f"{SCOPE}/{name}/y"), name=f"{SCOPE}/{name}")
        for value, name in ((right, "GreaterEqual_2"), (below, "GreaterEqual_3"))
    ]
    both = RAW.LogicalAnd(x=enough[0], y=enough[1], name=f"{SCOPE}/LogicalAnd")
    possible = check(both, "target size not possible with the given target offsets", f"{SCOPE}/Assert_3/Assert")
    rows = [
        int_const([0, 0], f"{SCOPE}/stack"),
        _pack([int_const(0, f"{SCOPE}/stack_1/0"), below], f"{SCOPE}/stack_1"),
        _pack([int_const(0, f"{SCOPE}/stack_2/0"), right], f"{SCOPE}/stack_2"),
        int_const([0, 0], f"{SCOPE}/stack_3"),
    ]
    with tf.control_dependencies([possible]):
        paddings = _pack(rows, f"{SCOPE}/stack_4")
    padded = RAW.Pad(input=batch, paddings=paddings, name=f"{SCOPE}/Pad")
    squeezed = RAW.Squeeze(input=padded, axis=[0], name=f"{SCOPE}/Squeeze")
    return RAW.AddV2(x=squeezed, y=mean, name=f"{SCOPE}/add")


def _missing(target: tf.Tensor, side: tf.Tensor, after: tf.Operation, offset: str, name: str) -> tf.Tensor:
    with tf.control_dependencies([after]):
        zero = int_const(0, f"{offset}/y")
    return RAW.Sub(x=RAW.Sub(x=target, y=zero, name=offset), y=side, name=name)


def _pack(values: Sequence[tf.Tensor], name: str) -> tf.Tensor:
    return RAW.Pack(values=values, axis=0, name=name)


def frozen_norm(weights: dict[str, np.ndarray]) -> object:
    def norm(x: tf.Tensor, scope: str, epsilon: float) -> tf.Tensor:
        prefix = f"{scope}/BatchNorm"
        readers = {
            "gamma": "ReadVariableOp",
            "beta": "ReadVariableOp_1",
            "moving_mean": "FusedBatchNormV3/ReadVariableOp",
            "moving_variance": "FusedBatchNormV3/ReadVariableOp_1",
        }
        values = [
            RAW.Identity(
                input=tf.constant(weights[f"{prefix}/{kind}"], name=f"{prefix}/{kind}"), name=f"{prefix}/{reader}"
            )
            for kind, reader in readers.items()
        ]
        return RAW.FusedBatchNormV3(
            x=x,
            scale=values[0],
            offset=values[1],
            mean=values[2],
            variance=values[3],
            epsilon=epsilon,
            is_training=False,
            name=f"{prefix}/FusedBatchNormV3",
        )[0]

    return norm


def build(weights: dict[str, np.ndarray]) -> tf.compat.v1.GraphDef:
    """Return the export graph: uint8 ``ImageTensor:0`` [1, ?, ?, 3] to int32 ``SemanticPredictions:0`` [1, ?, ?]."""
    graph = tf.Graph()
    with graph.as_default():
        image = RAW.Placeholder(dtype=tf.uint8, shape=[1, None, None, 3], name="ImageTensor")
        out_size = strided_slice(RAW.Shape(input=image, name="Shape"), "strided_slice", 1, 3)
        squeezed = RAW.Squeeze(input=image, axis=[0], name="Squeeze")
        floats = RAW.Cast(x=squeezed, DstT=tf.float32, name="Cast")
        shape = RAW.Shape(input=floats, name="Shape_1")
        height = padded_size(strided_slice(shape, "strided_slice_1", 0, 1, shrink=True), "")
        width = padded_size(strided_slice(shape, "strided_slice_2", 1, 2, shrink=True), "_1")
        mean = RAW.Reshape(
            tensor=tf.constant(np.full(3, GREY, dtype=np.float32), name="Reshape/tensor"),
            shape=int_const([1, 1, 3], "Reshape/shape"),
            name="Reshape",
        )
        padded = pad_to_bounding_box(floats, mean, height, width)
        own_size = strided_slice(RAW.Shape(input=squeezed, name="Shape_2"), "strided_slice_3", 0, 2, first=True)
        padded.set_shape([CROP, CROP, 3])
        batch = RAW.ExpandDims(input=padded, axis=int_const(0, "ExpandDims/dim"), name="ExpandDims")
        scaled = RAW.Mul(x=tf.constant(np.float32(2.0 / 255.0), name="mul/x"), y=batch, name="mul")
        scaled = RAW.Sub(x=scaled, y=tf.constant(np.float32(1.0), name="sub_2/y"), name="sub_2")
        network = Network(lambda name: tf.constant(weights[name], name=name), frozen_norm(weights))
        _predictions(network.head(network.body(scaled)), own_size, out_size)
    return graph.as_graph_def()


def _predictions(logits: tf.Tensor, own_size: tf.Tensor, out_size: tf.Tensor) -> None:
    size = int_const([FEATURE_SIDE, FEATURE_SIDE], "ResizeBilinear_1/size")
    logits = resize(logits, size, "ResizeBilinear_1")
    crop = strided_slice(int_const([1, CROP, CROP, 3], "Shape_3"), "strided_slice_4", 1, 3)
    logits = resize(logits, crop, "ResizeBilinear_2")
    labels = RAW.ArgMax(input=logits, dimension=int_const(3, "ArgMax/dimension"), output_type=tf.int64, name="ArgMax")
    rows = strided_slice(own_size, "strided_slice_5", 0, 1, shrink=True)
    columns = strided_slice(own_size, "strided_slice_6", 1, 2, shrink=True)
    sides = _pack([int_const(1, "Slice/size/0"), rows, columns], "Slice/size")
    labels = RAW.Slice(input=labels, begin=int_const([0, 0, 0], "Slice/begin"), size=sides, name="Slice")
    labels = RAW.ExpandDims(input=labels, axis=int_const(3, "ExpandDims_1/dim"), name="ExpandDims_1")
    labels = RAW.ResizeNearestNeighbor(
        images=labels, size=out_size, align_corners=True, name="resize/ResizeNearestNeighbor"
    )
    labels = RAW.Squeeze(input=labels, axis=[3], name="Squeeze_1")
    RAW.Identity(input=RAW.Cast(x=labels, DstT=tf.int32, name="Cast_1"), name="SemanticPredictions")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    with np.load(chosen.weights) as saved:
        weights = {name: saved[name] for name, _ in parameter_shapes()}
    data = build(weights).SerializeToString(deterministic=True)
    if len(data) > MAX_BYTES:
        print(f"the graph has {len(data)} bytes, more than {MAX_BYTES}", file=sys.stderr)
        return 1
    chosen.out.write_bytes(data)
    print(f"{chosen.out}: {len(data)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
