"""Activations of bytes: limits where they only limit numbers, else a table of what each of the 256 bytes becomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smalti import numerics
from smalti.ir.ops import Activation
from smalti.ir.ops.convolution import activate
from smalti.numerics import DType
from smalti.quant.modes import ActivationScheme
from smalti.quant.params import CLIPS, QParams, activation_params

BEYOND, POINTS = 16.0, 1 << 14
"""Where activations are looked at: as far beyond the range of results, at so many places."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What integer sums end in: these steps within these limits, then the table if there is one."""

    steps: QParams
    low: int
    high: int
    table: tuple[int, ...] = ()


def ending(own: QParams, activation: Activation) -> Ending | None:
    """Return what the sums of a layer end in whose results have the steps ``own``.

    ``None`` where integers cannot say it: 16 bits have no table.
    """
    if activation in CLIPS:
        return Ending(own, *own.limits(activation))
    if own.dtype is not DType.UINT8:
        return None
    steps = _before(own, activation)
    numbers = numerics.dequantise(np.arange(256), steps.scale, steps.zero_point)
    return Ending(steps, *own.dtype.limits, tuple(_whole(own, activation, numbers).tolist()))


def _before(own: QParams, activation: Activation) -> QParams:
    """Return steps over all numbers that make a difference to results in the steps ``own``."""
    reach = max(map(abs, own.range)) + BEYOND
    numbers = np.linspace(-reach, reach, POINTS, dtype=np.float32)
    changes = np.flatnonzero(np.diff(_whole(own, activation, numbers)))
    low, high = (float(numbers[changes[0]]), float(numbers[changes[-1] + 1])) if changes.size else (0.0, 0.0)
    return activation_params(low, high, own.dtype, ActivationScheme.ASYMMETRIC)


def _whole(own: QParams, activation: Activation, numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        results = activate(numbers, activation)
    return numerics.quantise(results, own.scale, own.zero_point, *own.dtype.limits)
