"""From ranges and weights to scales, zero points and integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.ir.ops import Activation
from smalti.numerics import DType
from smalti.quant.modes import ActivationScheme, Granularity

WEIGHT_LEVELS = {DType.INT8: 127, DType.INT16: 32767}
MAX_BIAS = 1 << 30
CLIPS = {Activation.NONE: (None, None), Activation.RELU: (0.0, None), Activation.RELU6: (0.0, 6.0)}
"""The activations that only limit numbers, and their limits; others take a table (see :mod:`smalti.quant.tables`)."""


@dataclass(frozen=True, slots=True)
class QParams:
    """How a tensor is quantised: ``real = (q - zero_point) * scale``; ``scale`` is a float32 value."""

    scale: float
    zero_point: int
    dtype: DType

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and highest real number that the integers reach."""
        low, high = self.dtype.limits
        return (low - self.zero_point) * self.scale, (high - self.zero_point) * self.scale

    def limits(self, activation: Activation) -> tuple[int, int]:
        """Return the lowest and highest integer that an activation which is among ``CLIPS`` lets through."""
        low, high = self.dtype.limits
        lowest, highest = CLIPS[activation]
        if lowest is not None:
            low = max(low, self.zero_point + round(lowest / self.scale))
        return low, high if highest is None else min(high, self.zero_point + round(highest / self.scale))


def activation_params(low: float, high: float, dtype: DType, scheme: ActivationScheme) -> QParams:
    """Return scale and zero point for values in ``[low, high]``, widened to hold zero exactly.

    A uint8 tensor that is never negative has zero point 0 in both schemes; a symmetric one that is has 128.  int16 is
    always symmetric.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if dtype is DType.INT16:
        return QParams(_scale(max(-low, high) / 32767), 0, dtype)
    if scheme is ActivationScheme.SYMMETRIC and low < 0.0:
        return QParams(_scale(max(-low, high) / 127), 128, dtype)
    scale = _scale((high - low) / 255)
    return QParams(scale, min(max(round(-low / scale), 0), 255), dtype)


def _scale(value: float) -> float:
    """Return a scale as the float32 value that is stored; a tensor that is always zero gets 1."""
    scale = float(np.float32(value))
    return scale if np.isfinite(scale) and scale > float(np.finfo(np.float32).tiny) else 1.0


@dataclass(frozen=True, slots=True)
class QWeights:
    """Quantised weights: integers (shaped as the floats) and the scale of each result channel (float64)."""

    values: NDArray[np.generic]
    scales: NDArray[np.float64]

    @property
    def real(self) -> NDArray[np.float64]:
        """The weights that the integers stand for, result channels last."""
        return self.values.astype(np.float64) * self.scales


def quantise_weights(
    weights: NDArray[np.float32], dtype: DType, granularity: Granularity, smallest: NDArray[np.float64]
) -> QWeights:
    """Quantise weights whose last axis is the result channel, symmetrically.

    Args:
        weights: ``[..., channels]``.
        dtype: int8 or int16.
        granularity: one scale for each channel, or one for all.
        smallest: the smallest scale each channel may have (the bias must fit its integers, too).
    """
    levels = WEIGHT_LEVELS[dtype]
    flat = weights.reshape(-1, weights.shape[-1]).astype(np.float64)
    peaks = np.abs(flat).max(axis=0, initial=0.0)
    if granularity is Granularity.PER_TENSOR:
        peaks = np.full_like(peaks, peaks.max(initial=0.0))
    scales = np.maximum(peaks / levels, smallest)
    scales[scales == 0.0] = 1.0
    values = np.clip(np.rint(flat / scales), -levels, levels).reshape(weights.shape).astype(dtype.numpy)
    return QWeights(values, scales)
