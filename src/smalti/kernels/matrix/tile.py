"""Register tiles of matrix kernels in float32: how channels split into panels and how many pixels go with each."""

from __future__ import annotations

from functools import lru_cache

from smalti.kernels.matrix.floats import element_lanes
from smalti.kernels.matrix.shapes import GemmTile, Group, Panel
from smalti.target.target import Target

MANY_REGISTERS = 32
MAX_ROWS = 14
SPARE, SPARE_WIDENED = 2, 6


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
    count, groups = len(vectors), tuple(Group(1, n) for n in vectors)
    registers = target.vector_registers
    if element_lanes(target) > 1:
        # A register for each pixel.
        return Panel(channels, groups, min((registers - spare) // (count + 1), MAX_ROWS))
    # One register holds the broadcast pixel value, `count` the weights, the others the sums.
    rows = max(1, (registers - 1 - count) // count)
    return Panel(channels, groups, min(rows, MAX_ROWS))
