"""Shapes of a matrix product: the loops of a sum, register tiles, and how constants are packed into panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalti.kernels.epilogue.packed import pack_order


@dataclass(frozen=True, slots=True)
class Depth:
    """The loops of a sum: ``outer`` (byte step given at run time) x ``middle`` x ``inner`` consecutive elements."""

    outer: int
    middle: int
    middle_step: int
    inner: int

    @classmethod
    def flat(cls, length: int) -> Depth:
        """Return the depth of a sum over consecutive elements."""
        return cls(1, 1, 0, length)

    @classmethod
    def window(cls, kernel: tuple[int, int], channels: int, dilation: int, itemsize: int) -> Depth:
        """Return the depth of a convolution whose input lies in plain memory."""
        kh, kw = kernel
        if dilation == 1:
            return cls(kh, 1, 0, kw * channels)
        return cls(kh, kw, itemsize * dilation * channels, channels)

    @property
    def runs(self) -> tuple[int, int]:
        """Runs of consecutive elements, and the length of one."""
        return self.outer * self.middle, self.inner

    @property
    def total(self) -> int:
        """Products in one sum."""
        return self.outer * self.middle * self.inner


@dataclass(frozen=True, slots=True)
class Group:
    """Vectors of ``lanes`` channels that are narrowed together (see :mod:`smalti.kernels.epilogue.packed`)."""

    vectors: int
    lanes: int

    @property
    def width(self) -> int:
        """Channels of the group, with padding."""
        return self.vectors * self.lanes


@dataclass(frozen=True, slots=True)
class Panel:
    """``channels`` output channels computed together, for ``rows`` pixels whose sums are in registers at once.

    The last vectors of the groups may reach over by zero weights.
    """

    channels: int
    groups: tuple[Group, ...]
    rows: int

    @property
    def vectors(self) -> tuple[int, ...]:
        """Lanes of each vector of one pixel."""
        return tuple(g.lanes for g in self.groups for _ in range(g.vectors))

    @property
    def lanes(self) -> tuple[tuple[int, int], ...]:
        """First lane and number of lanes of each vector of one pixel."""
        starts = np.cumsum([0, *self.vectors]).tolist()
        return tuple(zip(starts, self.vectors, strict=False))

    @property
    def width(self) -> int:
        """Channels including the ones that only pad."""
        return sum(g.width for g in self.groups)

    @property
    def order(self) -> NDArray[np.int64]:
        """The channel that each lane holds."""
        starts = np.cumsum([0, *(g.width for g in self.groups)])
        parts = [start + pack_order((g.vectors,), g.lanes) for start, g in zip(starts, self.groups, strict=False)]
        return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class GemmTile:
    """The panels of a kernel in order of channels; pixels of a work item, and of one round over all panels."""

    panels: tuple[Panel, ...]
    chunk: int
    block: int

    @property
    def width(self) -> int:
        """Output channels with padding."""
        return sum(p.width for p in self.panels)


@dataclass(frozen=True, slots=True)
class Layout:
    """How weights lie in a panel: ``[run][step][lane][group]``, a run padded to whole steps with zero weights."""

    group: int
    dtype: np.dtype[np.generic]

    @property
    def lane_bytes(self) -> int:
        """Bytes of the weights of one lane in one step."""
        return self.group * self.dtype.itemsize

    def column_bytes(self, depth: Depth) -> int:
        """Return the bytes of the packed weights of one channel."""
        count, length = depth.runs
        return count * -(-length // self.group) * self.lane_bytes

    def pack(self, weights: NDArray[Any], depth: Depth, panels: Sequence[Panel]) -> NDArray[np.generic]:
        """Pack ``[depth, channels]`` weights, panel after panel."""
        count, length = depth.runs
        channels = weights.shape[-1]
        steps = -(-length // self.group)
        padded = np.zeros((count, steps * self.group, channels), self.dtype)
        padded[:, :length] = weights.reshape(count, length, channels)
        grouped = padded.reshape(count, steps, self.group, channels)
        parts = [ordered.transpose(0, 1, 3, 2).reshape(-1) for ordered in _by_panel(grouped, panels)]
        return np.concatenate(parts)


def pack_rows(rows: Sequence[NDArray[Any]], panels: Sequence[Panel]) -> NDArray[np.int32]:
    """Pack 32-bit numbers of channels panel after panel, all rows of a panel together, as int32 bits."""
    packed = [list(_by_panel(row, panels)) for row in rows]
    pieces = [row[i] for i in range(len(panels)) for row in packed]
    return np.concatenate([np.ascontiguousarray(piece).view(np.int32) for piece in pieces])


def _by_panel(values: NDArray[Any], panels: Sequence[Panel]) -> list[NDArray[Any]]:
    """Return the part of each panel of ``[..., channels]`` values, in its order, zeros in the padding."""
    parts: list[NDArray[Any]] = []
    first = 0
    for panel in panels:
        padded = np.zeros((*values.shape[:-1], panel.width), values.dtype)
        padded[..., : panel.channels] = values[..., first : first + panel.channels]
        parts.append(padded[..., panel.order])
        first += panel.channels
    return parts
