"""Graphs frozen with their training branches: a boolean placeholder decides what every batch normalisation does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graph_builder import GraphBuilder

CHANNELS = 3


def switched_network(
    layers: int = 2,
    shape: Sequence[int | None] | None = (1, None, None, 3),
    dtype: type = np.float32,
    switches: bool = True,
) -> bytes:
    """Convolutions whose batch normalisation stands behind Switch and Merge on ``is_training``, then argmax.

    Without ``switches`` the branch for inference stands there alone, with the same weights.
    """
    random = np.random.default_rng(11)
    made = GraphBuilder().placeholder("x", dtype, shape).placeholder("is_training", np.bool_, [])
    before = "x"
    if dtype is not np.float32:
        made.node("Cast", "real", ["x"], DstT=np.float32)
        before = "real"
    made.const("empty", np.zeros(0, np.float32))
    for index in range(layers):
        bn = f"bn{index}"
        made.const(f"w{index}", random.standard_normal((3, 3, CHANNELS, CHANNELS)).astype(np.float32))
        for name in ("scale", "offset", "mean", "variance"):
            made.const(f"{bn}/{name}", (1 + random.random(CHANNELS)).astype(np.float32))
        made.node("Conv2D", f"conv{index}", [before, f"w{index}"], strides=[1, 1, 1, 1], padding="SAME")
        if not switches:
            inference = [f"conv{index}", *(f"{bn}/{name}" for name in ("scale", "offset", "mean", "variance"))]
            made.node("FusedBatchNorm", f"{bn}/merge", inference, is_training=False, epsilon=0.001, data_format="NHWC")
            before = f"{bn}/merge"
            continue
        made.node("Switch", f"{bn}/switch", [f"conv{index}", "is_training"], T=np.float32)
        common = [f"{bn}/scale", f"{bn}/offset"]
        made.node(
            "FusedBatchNorm",
            f"{bn}/train",
            [f"{bn}/switch:1", *common, "empty", "empty"],
            is_training=True,
            epsilon=0.001,
            data_format="NHWC",
        )
        made.node(
            "FusedBatchNorm",
            f"{bn}/infer",
            [f"{bn}/switch", *common, f"{bn}/mean", f"{bn}/variance"],
            is_training=False,
            epsilon=0.001,
            data_format="NHWC",
        )
        made.node("Merge", f"{bn}/merge", [f"{bn}/infer", f"{bn}/train"], N=2, T=np.float32)
        before = f"{bn}/merge"
    made.const("axis", np.int32(3)).node("ArgMax", "labels", [before, "axis"], output_type=np.int32, T=np.float32)
    return made.bytes()
