"""The first convolution of a network, from float32 weights to exact integers."""

from __future__ import annotations

import numpy as np

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.infer import constant, make_node
from smalti.ir.ops import Layout
from smalti.ir.ops.quantised import LARGEST_DOUBLE_OFFSET
from smalti.numerics import DType
from smalti.quant.params import CLIPS, MAX_BIAS, QParams

LARGEST_WEIGHT = 32767
LARGEST_SUM = 1 << 30
"""Of the products; the bias may be as large (``MAX_BIAS``), and both together fit int32."""


def reads_image(node: Node) -> bool:
    """Whether a convolution of a uint8 image can be exact in integers: twice its offset must be an integer."""
    op = node.op
    if not isinstance(op, ops.Conv2d) or op.residual or op.groups != 1 or op.layout is not Layout.NHWC:
        return False
    if op.dilation != (1, 1) or op.activation not in CLIPS:
        return False
    double = 2.0 * op.input_offset
    if node.inputs[0].type.dtype is not DType.UINT8 or double % 1.0 or not 0.0 <= double <= LARGEST_DOUBLE_OFFSET:
        return False
    values = [n.op.value for n in node.inputs[1:] if isinstance(n.op, ops.Constant) and n.type.dtype is DType.FLOAT32]
    return len(values) == 1 + op.bias and all(bool(np.isfinite(v).all()) for v in values) and _levels(node) > 0


def image_convolution(node: Node, own: QParams) -> Node:
    """Return the integer form of a convolution for which :func:`reads_image` holds.

    ``sum w * (x - offset) + b`` is ``sum (w / 2) * (2 * x - 2 * offset) + b``; weights get 16 bits and one scale for
    each channel, so that the result differs from that of float weights by far less than one step.

    Args:
        node: the float32 convolution.
        own: steps of the result (uint8).
    """
    op = node.op
    if not isinstance(op, ops.Conv2d):
        raise CompilerError(f"{node!r} is no convolution")
    halves = _value(node.weights) / 2.0
    channels = halves.shape[3]
    bias = np.zeros(channels) if node.bias is None else _value(node.bias)
    levels = _levels(node)
    scales = np.maximum(np.abs(halves).max(axis=(0, 1, 2)) / levels, np.abs(bias) / MAX_BIAS)
    scales[scales == 0.0] = 1.0
    weights = np.clip(np.rint(halves / scales), -levels, levels).astype(np.int16)
    whole = np.clip(np.rint(bias / scales), -MAX_BIAS, MAX_BIAS).astype(np.int32)
    low, high = own.limits(op.activation)
    made = ops.ImageConv2d(op.stride, op.pads, round(2.0 * op.input_offset), True, own.scale, own.zero_point, low, high)
    operands = (
        node.inputs[0],
        constant(weights, f"{node.name}/weights"),
        constant((scales / own.scale).astype(np.float32)),
        constant(whole, f"{node.name}/bias"),
    )
    return make_node(made, operands, node.name)


def _levels(node: Node) -> int:
    """Return the largest integer weight with which no sum of products can leave ``LARGEST_SUM``."""
    op, shape = node.op, node.weights.type.shape
    double = round(2.0 * op.input_offset) if isinstance(op, ops.Conv2d) else 0
    taps = int(np.prod([size for size in shape[:3] if isinstance(size, int)]))
    return min(LARGEST_WEIGHT, LARGEST_SUM // (taps * max(double, LARGEST_DOUBLE_OFFSET - double)))


def _value(node: Node) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    if not isinstance(node.op, ops.Constant):
        raise CompilerError(f"{node!r} is no constant")
    return np.asarray(node.op.value, np.float64)
