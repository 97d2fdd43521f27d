"""Weights and biases of a layer that computes in integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from smalti.errors import CompilerError
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.ops.convolution import depthwise
from smalti.numerics import DType
from smalti.quant.modes import Granularity
from smalti.quant.params import MAX_BIAS, WEIGHT_LEVELS, QParams, QWeights, quantise_weights
from smalti.quant.rounding import round_filters


def layer_weights(
    node: Node, steps: QParams, dtype: DType, granularity: Granularity, means: Sequence[float]
) -> tuple[QWeights, NDArray[np.float64]]:
    """Return the quantised weights of a convolution and its constant bias ``[out]`` in real units.

    Args:
        node: a convolution with constant weights; a bias that is not constant counts as zero.
        steps: those of its input.
        dtype: type of the weights.
        granularity: whether each result channel has a scale of its own.
        means: mean of each input channel as far as it was observed.

    Raises:
        CompilerError: it is no such convolution.
    """
    op, value = node.op, node.weights.op
    if not isinstance(value, ops.Constant) or not isinstance(op, ops.Conv2d):
        raise CompilerError(f"{node!r} has no constant weights")
    weights = np.asarray(value.value, np.float32)
    bias = np.zeros(weights.shape[3])
    if node.bias is not None and isinstance(node.bias.op, ops.Constant):
        bias = np.asarray(node.bias.op.value, np.float64)
    made = quantise_weights(weights, dtype, granularity, np.abs(bias) / (steps.scale * MAX_BIAS))
    if depthwise(node.weights.type, op.groups) and granularity is Granularity.PER_AXIS:
        values, scales = round_filters(weights[:, :, 0], made.scales, WEIGHT_LEVELS[dtype])
        made = QWeights(values.astype(dtype.numpy).reshape(weights.shape), scales)
    if len(means) == node.x.type.shape[3]:
        bias = bias - _mean_error(np.asarray(means), made.real - weights)
    return made, bias


def _mean_error(means: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far rounded weights move each result channel on average, given the mean of each input channel.

    Taking this off the bias costs nothing and undoes most of what rounding weights does (Nagel et al., "Data-Free
    Quantization Through Weight Equalization and Bias Correction", 2019, section 4.2, with observed means).
    """
    taps = error.sum(axis=(0, 1))
    groups = means.size // taps.shape[0]
    parts = zip(np.split(means, groups), np.split(taps, groups, axis=1), strict=True)
    return np.concatenate([mean @ tap for mean, tap in parts])


def integer_bias(bias: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return a bias in steps of the sums of a layer, within the limits of a bias."""
    return np.clip(np.rint(bias / steps), -MAX_BIAS, MAX_BIAS).astype(np.int32)
