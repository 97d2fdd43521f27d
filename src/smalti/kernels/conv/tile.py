"""Register tiles of matrix-like kernels: how output channels split into panels and how many pixels go with each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from smalti.target.target import Target

TAIL_ROWS = (4, 1)
MANY_REGISTERS = 32
MAX_ROWS = 14
SPARE, SPARE_WIDENED = 2, 6

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Panel:
    """``channels`` output channels computed together.

    ``lanes`` are the vector lengths that cover them (the last may reach over by zero weights), ``rows`` the pixels
    whose sums are in registers at the same time.
    """

    channels: int
    lanes: tuple[int, ...]
    rows: int

    @property
    def width(self) -> int:
        """Channels including the ones that only pad the last vector."""
        return sum(self.lanes)


@dataclass(frozen=True, slots=True)
class GemmTile:
    """The panels of a kernel in order of output channels; pixels of a work item, and of one round over all panels."""

    panels: tuple[Panel, ...]
    chunk: int
    block: int


def choose_tile(target: Target, channels: int, depth: int, least: int = 1, spare: int = SPARE) -> GemmTile:
    """Choose panels for ``channels`` output channels and sums over ``depth`` loads of 4 bytes.

    No vector has fewer than ``least`` lanes.  Of many registers whose lanes are taken one by one, ``spare`` stay free
    for weights.
    """
    lanes = target.vector_bits // 32
    total = -(-channels // lanes)
    many = target.vector_registers >= MANY_REGISTERS
    # Wide panels load fewer pixels per product, but with few registers they leave too few pixels to share the weights.
    # Five or six vectors are within noise of four (docs/performance.md, what did not help).
    max_vectors = 4 if many else 3 if total == 3 else 2
    groups = -(-total // max_vectors)
    panels: list[Panel] = []
    left = channels
    for i in range(groups):
        vectors = total * (i + 1) // groups - total * i // groups
        take = min(left, vectors * lanes)
        panels.append(make_panel(target, take, least, spare))
        left -= take
    # Larger chunks make deep projections 1 to 2 % faster (docs/performance.md, what made the difference).
    chunk = 48
    budget = max(target.caches.l2 // 2, 1 << 16)
    while chunk < 192 and 2 * chunk * depth * 4 <= budget:
        chunk *= 2
    # Narrow panels write short pieces of many rows; few rows at a time keep those and the pixels in the first cache.
    # With AVX2 that is 96 to 106 GFLOP/s on 160 to 960 channels; with AVX-512 it costs up to 5 % (same page).
    block = chunk if many else min(chunk, max(12, target.caches.l1d // 2 // (4 * depth) // 12 * 12))
    return GemmTile(tuple(panels), chunk, block)


def element_lanes(target: Target) -> int:
    """Return how many float32 of a register a product can take its second factor from."""
    return 4 if target.arch == "aarch64" else 1


@lru_cache(maxsize=1024)
def make_panel(target: Target, channels: int, least: int = 1, spare: int = SPARE) -> Panel:
    """Return the panel of ``channels`` with as many pixels as the registers hold."""
    lanes = target.vector_bits // 32
    vectors = [lanes] * (channels // lanes)
    rest = channels % lanes
    if rest:
        width = least
        while width < rest:
            width *= 2
        vectors.append(width)
    count = len(vectors)
    registers = target.vector_registers
    if element_lanes(target) > 1:
        # A register for each pixel.
        return Panel(channels, tuple(vectors), min((registers - spare) // (count + 1), MAX_ROWS))
    # One register holds the broadcast pixel value, `count` the weights, the others the sums.
    rows = max(1, (registers - 1 - count) // count)
    return Panel(channels, tuple(vectors), min(rows, MAX_ROWS))


def pack_panels(weights: NDArray[Scalar], panels: tuple[Panel, ...]) -> NDArray[Scalar]:
    """Pack ``[depth, channels]`` weights panel after panel, each ``[depth, width]`` with zeros in the padding."""
    depth = weights.shape[0]
    parts: list[NDArray[Scalar]] = []
    first = 0
    for panel in panels:
        block = np.zeros((depth, panel.width), weights.dtype)
        block[:, : panel.channels] = weights[:, first : first + panel.channels]
        parts.append(block.reshape(-1))
        first += panel.channels
    return np.concatenate(parts)


def pack_pairs(weights: NDArray[Scalar], run: int, panels: tuple[Panel, ...]) -> NDArray[Scalar]:
    """Pack weights panel after panel, each ``[depth / 2, width, 2]``; ``run`` rows begin with a new pair."""
    runs, channels = weights.shape[0] // run, weights.shape[1]
    even = np.zeros((runs, -(-run // 2), 2, channels), weights.dtype)
    even.reshape(runs, -1, channels)[:, :run] = weights.reshape(runs, run, channels)
    parts: list[NDArray[Scalar]] = []
    first = 0
    for panel in panels:
        block = np.zeros((runs * even.shape[1], panel.width, 2), weights.dtype)
        columns = even[..., first : first + panel.channels]
        block[:, : panel.channels] = columns.reshape(-1, 2, panel.channels).swapaxes(1, 2)
        parts.append(block.reshape(-1))
        first += panel.channels
    return np.concatenate(parts)


def pack_bias(bias: NDArray[np.float32], panels: tuple[Panel, ...]) -> NDArray[np.float32]:
    """Pack a bias vector as the panels lie, zeros in the padding."""
    return pack_panels(bias.reshape(1, -1), panels)
