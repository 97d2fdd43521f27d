"""The calibration record: what was observed of every tensor, on which images, with which settings.

A record is all that a quantised build needs besides the graph, so the same graph and record give the same file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TensorStats:
    """What was observed of one float tensor.

    Attributes:
        low, high: the chosen range (before it is widened to hold zero).
        seen_low, seen_high: lowest and highest value seen.
        channel_low, channel_high, channel_mean: the same for each channel (last axis) over all images.
    """

    low: float
    high: float
    seen_low: float
    seen_high: float
    channel_low: tuple[float, ...] = field(default=(), repr=False)
    channel_high: tuple[float, ...] = field(default=(), repr=False)
    channel_mean: tuple[float, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class CalibrationRecord:
    """Ranges by tensor name (the name of the canonical graph's node)."""

    tensors: Mapping[str, TensorStats]

    def summary(self) -> dict[str, Any]:
        """Return what an offline model file keeps of the calibration, as plain JSON values."""
        return {}
