"""Register tiles of integer matrix kernels, and the packing of weights and channel constants into panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.kernels.quantised.dot import Dot
from smalti.kernels.quantised.requant import RequantSpec, in_pack_order
from smalti.target.target import Target

TAIL_ROWS = (4, 2, 1)
MANY_REGISTERS = 32
MAX_ROWS = 14


@dataclass(frozen=True, slots=True)
class Panel:
    """``channels`` output channels computed together, ``rows`` pixels at a time.

    ``groups`` are the vectors that are narrowed together (see :mod:`smalti.kernels.quantised.requant`).
    """

    channels: int
    groups: tuple[int, ...]
    lanes: int
    rows: int

    @property
    def vectors(self) -> int:
        """Vectors of one pixel."""
        return sum(self.groups)

    @property
    def width(self) -> int:
        """Channels including the ones that only pad the last vector."""
        return self.vectors * self.lanes

    @property
    def key(self) -> str:
        """Text that names the panel."""
        return f"{self.rows}x{'+'.join(map(str, self.groups))}x{self.lanes}of{self.channels}"


@dataclass(frozen=True, slots=True)
class GemmTile:
    """The panels of a kernel in order of channels; pixels of a work item, and of one round over all panels."""

    panels: tuple[Panel, ...]
    chunk: int
    block: int

    @property
    def channels(self) -> int:
        """Output channels of all panels."""
        return sum(p.channels for p in self.panels)

    @property
    def width(self) -> int:
        """Output channels with padding."""
        return sum(p.width for p in self.panels)


def make_panel(target: Target, requant: RequantSpec, channels: int) -> Panel:
    """Return the panel of ``channels`` with as many pixels as the registers hold."""
    lanes = target.vector_bits // 32
    vectors = -(-channels // lanes)
    # One register holds the pixel's bytes, one a product, `vectors` the weights, the others the sums.
    rows = max(1, (target.vector_registers - 2 - vectors) // vectors)
    return Panel(channels, requant.groups(vectors), lanes, min(rows, MAX_ROWS))


def choose_tile(target: Target, requant: RequantSpec, channels: int, depth: int) -> GemmTile:
    """Choose panels for ``channels`` output channels and sums over ``depth`` products."""
    most = (4 if target.vector_registers >= MANY_REGISTERS else 2) * (target.vector_bits // 32)
    panels = tuple(make_panel(target, requant, min(most, channels - i)) for i in range(0, channels, most))
    element = Dot.of(target).element_bytes
    chunk = 96
    block = chunk
    while block > 24 and block * depth * element > target.caches.l2 // 4:
        block //= 2
    return GemmTile(panels, chunk, block)


def pack_weights(
    weights: NDArray[np.int8], runs: tuple[int, int], panels: Sequence[Panel], dot: Dot
) -> NDArray[np.generic]:
    """Pack weights panel after panel as ``[run][group][lane][product of the group]``.

    Args:
        weights: int8 ``[depth, channels]``.
        runs: how the depth splits: runs of consecutive activations, and the length of one (which is padded to whole
            groups with zero weights).
        panels: the panels, in order of channels.
        dot: the dot product.
    """
    count, length = runs
    channels = weights.shape[1]
    steps = -(-length // dot.group)
    padded = np.zeros((count, steps * dot.group, channels), dot.weight_type)
    padded[:, :length] = weights.reshape(count, length, channels)
    grouped = padded.reshape(count, steps, dot.group, channels)
    parts: list[NDArray[np.generic]] = []
    first = 0
    for panel in panels:
        ordered = in_pack_order(grouped[..., first : first + panel.channels], panel.groups, panel.lanes)
        parts.append(ordered.transpose(0, 1, 3, 2).reshape(-1))
        first += panel.channels
    return np.concatenate(parts)


def pack_constants(values: Sequence[NDArray[np.generic]], panels: Sequence[Panel]) -> NDArray[np.int32]:
    """Pack 32-bit values of channels panel after panel, all kinds of a panel together, as int32 bits."""
    parts: list[NDArray[np.int32]] = []
    first = 0
    for panel in panels:
        for value in values:
            piece = in_pack_order(value[first : first + panel.channels], panel.groups, panel.lanes)
            parts.append(np.ascontiguousarray(piece).view(np.int32))
        first += panel.channels
    return np.concatenate(parts)


def weight_bytes(panels: Sequence[Panel], runs: tuple[int, int], dot: Dot) -> int:
    """Return the bytes of the packed weights of some panels."""
    return sum(p.width for p in panels) * runs[0] * -(-runs[1] // dot.group) * dot.lane_bytes


def parameter_bytes(panels: Sequence[Panel]) -> int:
    """Return the bytes of the packed biases and multipliers of some panels."""
    return 8 * sum(p.width for p in panels)


def addend_bytes(panels: Sequence[Panel]) -> int:
    """Return the bytes of the packed addends of some panels."""
    return 4 * sum(p.width for p in panels)
