"""Where each element of a resized axis comes from: positions, numbers of the nearest, weights of the neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", np.float32, np.float64)


class Position(Enum):
    """What position of the operand element ``i`` of a result stands for, with ``scale`` = result / operand."""

    HALF_PIXEL = "half_pixel"
    """``(i + 1/2) / scale - 1/2``."""
    HALF_PIXEL_OF_SEVERAL = "pytorch_half_pixel"
    """The same; 0 where the result has one element."""
    HALF_PIXEL_CENTRED = "half_pixel_symmetric"
    """The same, moved so that the middles meet where the size of the result had to be rounded."""
    CORNERS = "align_corners"
    """``i * (operand - 1) / (result - 1)``."""
    ASYMMETRIC = "asymmetric"
    """``i / scale``."""


class Rounding(Enum):
    """Which whole position is the nearest."""

    HALF_DOWN = "round_prefer_floor"
    HALF_UP = "round_prefer_ceil"
    DOWN = "floor"
    UP = "ceil"


class Kernel(Enum):
    """How neighbours are weighed."""

    LINEAR = "linear"
    CUBIC = "cubic"


@dataclass(frozen=True, slots=True)
class Axis:
    """One resized axis of known sizes.

    Attributes:
        before: its size in the operand.
        after: its size in the result.
        scale: as given; not always their quotient.
    """

    before: int
    after: int
    scale: float


@dataclass(frozen=True, slots=True)
class Weighing:
    """How elements of a result are made of those around a position.

    Attributes:
        kernel: the function of the distance.
        cubic: the parameter of a cubic kernel.
        wide: a smaller result averages over all that an element stands for (``antialias``).
        inside: elements outside the operand weigh nothing; else the border is repeated.
    """

    kernel: Kernel
    cubic: float = -0.75
    wide: bool = False
    inside: bool = False


def positions(axis: Axis, rule: Position, dtype: type[F]) -> NDArray[F]:
    """Return the position of each element of a result, computed in ``dtype``."""
    i = np.arange(axis.after, dtype=dtype)
    half, scale = dtype(0.5), dtype(axis.scale)
    if rule is Position.CORNERS:
        return i * dtype(axis.before - 1) / dtype(max(axis.after - 1, 1))
    if rule is Position.ASYMMETRIC:
        return i / scale
    if rule is Position.HALF_PIXEL_OF_SEVERAL and axis.after == 1:
        return i
    found = (i + half) / scale
    if rule is Position.HALF_PIXEL_CENTRED:
        wanted = scale * dtype(axis.before)
        found = dtype(axis.before / 2) * (dtype(1) - dtype(axis.after) / wanted) + found
    return found - half


def nearest(axis: Axis, rule: Position, rounding: Rounding) -> NDArray[np.int32]:
    """Return the number of the nearest element for each of a result.

    Positions are computed in float32, as the runtimes do that models are exported for: which of two neighbours is
    nearer then follows the same rounding.
    """
    at = positions(axis, rule, np.float32)
    half = np.float32(0.5)
    if rounding is Rounding.HALF_DOWN:
        at = np.ceil(at - half)
    elif rounding is Rounding.HALF_UP:
        at = np.floor(at + half)
    else:
        at = np.floor(at) if rounding is Rounding.DOWN else np.ceil(at)
    return np.clip(at, 0, axis.before - 1).astype(np.int32)


def weights(axis: Axis, rule: Position, how: Weighing) -> NDArray[np.float64]:
    """Return the matrix ``[after, before]`` that a result is the product of."""
    at = positions(axis, rule, np.float64)
    reach = math.ceil(_reach(axis, how))
    places = np.floor(at).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
    distance = np.abs(places - at[:, None]) * _stretch(axis, how)
    parts = _linear(distance) if how.kernel is Kernel.LINEAR else _cubic(distance, how.cubic)
    is_inside = (places >= 0) & (places < axis.before)
    if how.inside:
        # Where nothing is inside, the border is all there is.
        parts = np.where(is_inside | ~is_inside.any(axis=1, keepdims=True), parts, 0.0)
    parts = parts / parts.sum(axis=1, keepdims=True)
    found = np.zeros((axis.after, axis.before))
    rows = np.broadcast_to(np.arange(axis.after)[:, None], places.shape)
    np.add.at(found, (rows, np.clip(places, 0, axis.before - 1)), parts)
    return found


def _stretch(axis: Axis, how: Weighing) -> float:
    return min(axis.scale, 1.0) if how.wide else 1.0


def _reach(axis: Axis, how: Weighing) -> float:
    return (1 if how.kernel is Kernel.LINEAR else 2) / _stretch(axis, how)


def _linear(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1.0 - distance, 0.0)


def _cubic(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
