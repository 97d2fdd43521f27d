"""Register tiles of integer matrix kernels, and the packing of weights and channel constants into panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalti.kernels.quantised.dot import Dot, DotKind
from smalti.kernels.quantised.requant import RequantSpec, pack_order
from smalti.target.target import Target

TAIL_ROWS = (4, 2, 1)
MANY_REGISTERS = 32
WIDEST_BITS = 512
MAX_ROWS = 14
SMALLEST_CHUNK = 24
LARGEST_CHUNK = 192
ITEM_PRODUCTS = 1 << 20


@dataclass(frozen=True, slots=True)
class Group:
    """Vectors of ``lanes`` channels that are narrowed together (see :mod:`smalti.kernels.quantised.requant`)."""

    vectors: int
    lanes: int

    @property
    def width(self) -> int:
        """Channels of the group, with padding."""
        return self.vectors * self.lanes


@dataclass(frozen=True, slots=True)
class Panel:
    """``channels`` output channels computed together, ``rows`` pixels at a time."""

    channels: int
    groups: tuple[Group, ...]
    rows: int

    @property
    def vectors(self) -> tuple[int, ...]:
        """Lanes of each vector of one pixel."""
        return tuple(g.lanes for g in self.groups for _ in range(g.vectors))

    @property
    def width(self) -> int:
        """Channels including the ones that only pad the last vector."""
        return sum(g.width for g in self.groups)

    @property
    def order(self) -> NDArray[np.int64]:
        """The channel that each lane holds."""
        starts = np.cumsum([0, *(g.width for g in self.groups)])
        parts = [start + pack_order((g.vectors,), g.lanes) for start, g in zip(starts, self.groups, strict=False)]
        return np.concatenate(parts)

    @property
    def key(self) -> str:
        """Text that names the panel."""
        groups = "+".join(f"{g.vectors}x{g.lanes}" for g in self.groups)
        return f"{self.rows}x{groups}of{self.channels}"


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
    full, rest = divmod(channels, lanes)
    # CPUs run instructions on 512 bits at half the rate of shorter ones, or on fewer ports.
    half = target.vector_bits == WIDEST_BITS and 0 < rest <= lanes // 2
    groups = [Group(n, lanes) for n in requant.groups(full + (rest > 0 and not half))]
    if half:
        groups.append(Group(1, lanes // 2))
    vectors = sum(g.vectors for g in groups)
    dot = Dot.of_matrix(target)
    if dot.by_element:
        # A register for each pixel (products of 16 bits take a part of the first 16 registers only), two for weights,
        # with bytes one for a constant; matrices hold two pixels.
        spare, most = (2, 8) if dot.kind is DotKind.SINGLE else (3, MAX_ROWS)
        rows = min((target.vector_registers - spare) // (vectors + 1), most)
        return Panel(channels, tuple(groups), rows // 2 * 2 if dot.kind is DotKind.MATRIX else rows)
    # One register holds the pixel's bytes, one a product, `vectors` the weights, the others the sums.
    rows = max(1, (target.vector_registers - 2 - vectors) // vectors)
    return Panel(channels, tuple(groups), min(rows, MAX_ROWS))


def choose_tile(target: Target, requant: RequantSpec, channels: int, depth: int) -> GemmTile:
    """Choose panels for ``channels`` output channels and sums over ``depth`` products."""
    most = (4 if target.vector_registers >= MANY_REGISTERS else 2) * (target.vector_bits // 32)
    panels = tuple(make_panel(target, requant, min(most, channels - i)) for i in range(0, channels, most))
    chunk = SMALLEST_CHUNK
    while chunk < LARGEST_CHUNK and chunk * depth * channels < ITEM_PRODUCTS:
        chunk *= 2
    # Pixels that are copied to 16 bits should still be in the second cache when the last panel reads them.
    block = chunk
    while block > SMALLEST_CHUNK and block * depth * Dot.of_matrix(target).element_bytes > target.caches.l2 // 4:
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
        ordered = _ordered(grouped[..., first : first + panel.channels], panel)
        parts.append(ordered.transpose(0, 1, 3, 2).reshape(-1))
        first += panel.channels
    return np.concatenate(parts)


def pack_constants(values: Sequence[NDArray[np.generic]], panels: Sequence[Panel]) -> NDArray[np.int32]:
    """Pack 32-bit values of channels panel after panel, all kinds of a panel together, as int32 bits."""
    parts: list[NDArray[np.int32]] = []
    first = 0
    for panel in panels:
        for value in values:
            piece = _ordered(value[first : first + panel.channels], panel)
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


def _ordered(values: NDArray[np.generic], panel: Panel) -> NDArray[np.generic]:
    padded = np.zeros((*values.shape[:-1], panel.width), values.dtype)
    padded[..., : panel.channels] = values
    return padded[..., panel.order]
