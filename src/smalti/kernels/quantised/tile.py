"""Register tiles of integer matrix kernels: how channels split into panels and how many pixels go with each."""

from __future__ import annotations

from smalti.kernels.epilogue.steps import Epilogue
from smalti.kernels.matrix.shapes import GemmTile, Group, Panel
from smalti.kernels.quantised.dot import Dot, DotKind
from smalti.target.target import Target

MANY_REGISTERS = 32
WIDEST_BITS = 512
MAX_ROWS = 14
SMALLEST_CHUNK = 24
LARGEST_CHUNK = 192
ITEM_PRODUCTS = 1 << 20


def make_panel(target: Target, epilogue: Epilogue, channels: int) -> Panel:
    """Return the panel of ``channels`` with as many pixels as the registers hold."""
    lanes = target.vector_bits // 32
    full, rest = divmod(channels, lanes)
    # CPUs run instructions on 512 bits at half the rate of shorter ones, or on fewer ports.
    half = target.vector_bits == WIDEST_BITS and 0 < rest <= lanes // 2
    groups = [Group(n, lanes) for n in _groups(epilogue, full + (rest > 0 and not half))]
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


def _groups(epilogue: Epilogue, vectors: int) -> tuple[int, ...]:
    """Return how to split so many vectors into groups that narrow well."""
    if not epilogue.makes_bytes:
        return (1,) * vectors
    return (4,) * (vectors // 4) + (2,) * (vectors % 4 // 2) + (1,) * (vectors % 2)


def choose_tile(target: Target, epilogue: Epilogue, channels: int, depth: int) -> GemmTile:
    """Choose panels for ``channels`` output channels and sums over ``depth`` products."""
    most = (4 if target.vector_registers >= MANY_REGISTERS else 2) * (target.vector_bits // 32)
    panels = tuple(make_panel(target, epilogue, min(most, channels - i)) for i in range(0, channels, most))
    chunk = SMALLEST_CHUNK
    while chunk < LARGEST_CHUNK and chunk * depth * channels < ITEM_PRODUCTS:
        chunk *= 2
    # Pixels that are copied to 16 bits should still be in the second cache when the last panel reads them.
    block = chunk
    while block > SMALLEST_CHUNK and block * depth * Dot.of_matrix(target).element_bytes > target.caches.l2 // 4:
        block //= 2
    return GemmTile(panels, chunk, block)
