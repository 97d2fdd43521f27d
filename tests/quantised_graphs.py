"""A small graph in which every operation of level quantised takes part, for tests of the text form and the rules."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.ir import ops
from smalti.ir.dims import symbol
from smalti.ir.graph import Graph, Level, Node, TensorType
from smalti.ir.infer import constant, make_node
from smalti.ir.reference import float32_to_bfloat16
from smalti.ir.shapes import same_pads
from smalti.numerics import DType

CHANNELS = 4


def graph_of_quantised_operations(seed: int = 11) -> Graph:
    """Return a graph of a picture ``[1, H, W, 3]``: integers of 8 and 16 bits, and constants of bfloat16."""
    rng = np.random.default_rng(seed)
    height, width = symbol("H", 2, 64), symbol("W", 2)
    image = make_node(ops.Input(), (), "image:0", TensorType(DType.UINT8, (1, height, width, 3)))
    pads = (*same_pads(height, 3, 2), *same_pads(width, 3, 2))
    stem_op = ops.ImageConv2d((2, 2), pads, 255, True, _f32(0.02), 3, 3, 250)
    stem = make_node(stem_op, (image, _weights(rng, np.int16, 3, 3, 3, CHANNELS), *_parameters(rng, 1e-5)), "stem")
    deep_op = ops.QuantisedConv2d(dilation=(2, 2), pads=(2, 2, 2, 2), zero_point=3, bias=True, addend=True,
                                  groups=CHANNELS)  # fmt: skip
    addend = constant(rng.normal(0, 5, CHANNELS).astype(np.float32))
    deep = make_node(deep_op, (stem, _weights(rng, np.int8, 3, 3, 1, CHANNELS), *_parameters(rng, 1e-3), addend))
    thin_op = ops.QuantisedConv2d(bias=True, residual=True, residual_zero_point=3, residual_scale=_f32(0.7))
    thin = make_node(thin_op, (deep, _weights(rng, np.int8, 1, 1, CHANNELS, CHANNELS), *_parameters(rng, 1e-3), stem))
    mean = make_node(ops.QuantisedMean((1, 2), True, 0, _f32(1.3), _f32(0.01), 5), (thin,), "mean")
    real = make_node(ops.Dequantise(_f32(0.01), 5, DType.BFLOAT16), (mean,), "real")
    half = constant(float32_to_bfloat16(rng.normal(0, 1, CHANNELS).astype(np.float32)), "half", bfloat16=True)
    large = constant(float32_to_bfloat16(rng.normal(0, 1, (5, CHANNELS)).astype(np.float32)), bfloat16=True)
    added = make_node(ops.Binary(ops.BinaryFn.ADD), (real, half), "added")
    rows = make_node(ops.Binary(ops.BinaryFn.MUL), (added, large), "rows")
    wide = make_node(ops.Quantise(_f32(0.001), 0, DType.INT16), (rows,), "wide")
    last_op = ops.QuantisedConv2d(dtype=DType.FLOAT32, activation=ops.Activation.RELU, scale=1.0)
    last = make_node(last_op, (wide, _weights(rng, np.int16, 1, 1, CHANNELS, CHANNELS), *_parameters(rng, 1e-7)[:1]))
    return Graph((image,), (thin, last), ("thin:0", "last:0"), Level.QUANTISED, "quantised")


def picture(height: int = 6, width: int = 7) -> dict[str, NDArray[Any]]:
    """Return an input of :func:`graph_of_quantised_operations`."""
    return {"image:0": np.random.default_rng(1).integers(0, 256, (1, height, width, 3)).astype(np.uint8)}


def _f32(value: float) -> float:
    return float(np.float32(value))


def _weights(rng: np.random.Generator, dtype: type[np.int8] | type[np.int16], *shape: int) -> Node:
    largest = np.iinfo(dtype).max
    return constant(rng.integers(-largest, largest + 1, shape).astype(dtype))


def _parameters(rng: np.random.Generator, size: float) -> list[Node]:
    """Return multiplier and bias."""
    multiplier = (size * rng.uniform(0.5, 2, CHANNELS)).astype(np.float32)
    return [constant(multiplier), constant(rng.integers(-9999, 9999, CHANNELS).astype(np.int32))]
