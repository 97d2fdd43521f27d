"""Windows without an operation of their own: one slice for each place in a window, axis after axis.

Maxima and sums over a window are those over its rows, of which only some are wanted, so an axis of ``k`` elements is
``k`` slices, whatever the other axes have.
"""

from __future__ import annotations

from collections.abc import Iterator

from smalti.frontend.context import Lowering
from smalti.frontend.lower.steps import Steps
from smalti.frontend.onnx.windows import Window
from smalti.ir import ops
from smalti.ir.dims import Dim, floor_div, product
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn
from smalti.numerics import DType

MOST_TAPS = 1024
"""Elements of a window along an axis."""
FIRST = 2
"""The first spatial axis."""
Around = tuple[tuple[int | Dim, int | Dim], ...]
"""(before, after) of each spatial axis."""


def check_taps(ctx: Lowering, window: Window) -> None:
    """Refuse windows of more slices than anyone needs."""
    if max(window.size) > MOST_TAPS:
        ctx.unsupported(f"a window of more than {MOST_TAPS} elements along an axis, with dilations or of a volume")


def padded(s: Steps, image: Node, pads: Around, number: float) -> Node:
    """Return images with a number around them."""
    if all(pair == (0, 0) for pair in pads):
        return image
    return s.op(ops.Pad(((0, 0), (0, 0), *pads), ops.PadMode.CONSTANT, number), image)


def folded(s: Steps, image: Node, window: Window, fn: BinaryFn) -> Node:
    """Return a function of the elements of each window of padded images."""
    for axis in reversed(range(len(window.size))):
        total: Node | None = None
        for tap in _along(s, image, window, axis):
            total = tap if total is None else s.binary(fn, total, tap)
        image = image if total is None else total
    return image


def counted(s: Steps, image: Node, pads: Around, counts: Around, window: Window) -> Node:
    """Return how many elements of each window count: those of the image, and of its paddings as many as ``counts``."""
    shape = (1, 1, *image.type.shape[FIRST:])
    ones = s.op(ops.BroadcastTo(shape), 1.0)
    inner = tuple((c[0], c[1]) for c in counts)
    outer = tuple((p[0] - c[0], p[1] - c[1]) for p, c in zip(pads, counts, strict=True))
    return folded(s, padded(s, padded(s, ones, inner, 1.0), outer, 0.0), window, BinaryFn.ADD)


def places(s: Steps, image: Node, pads: Around, window: Window, *, lowest: float, columns_first: bool) -> Node:
    """Return where the largest element of each window is, the first of several: its number in the whole tensor.

    ``columns_first`` counts the last spatial axis as the slowest.
    """
    n, channels, *sides = image.type.shape
    order = tuple(reversed(range(len(sides)))) if columns_first else tuple(range(len(sides)))
    inside = s.op(ops.Iota(0, 1, product(sides), DType.INT64))
    inside = s.op(ops.Reshape(tuple(sides[a] for a in order)), inside)
    if columns_first:
        inside = s.op(ops.Transpose(order), inside)
    # A place in the padding is -1: any element of the image is taken instead.
    inside = padded(s, s.op(ops.Reshape((1, 1, *sides)), inside), pads, -1.0)
    best, where = padded(s, image, pads, lowest), inside
    for axis in reversed(range(len(sides))):
        best, where = _best_along(s, best, where, window, axis)
    step = product(sides)
    planes = s.op(ops.Iota(0, 1, n * channels, DType.INT64))
    size = s.op(ops.SizeTensor((step,), (1, 1), DType.INT64))
    before = s.binary(BinaryFn.MUL, s.op(ops.Reshape((n, channels)), planes), size)
    return s.add(where, s.op(ops.Reshape((n, channels, *(1,) * len(sides))), before))


def _best_along(s: Steps, image: Node, where: Node, window: Window, axis: int) -> tuple[Node, Node]:
    pairs = zip(_along(s, image, window, axis), _along(s, where, window, axis), strict=True)
    best, place = next(pairs)
    zero = s.op(ops.SizeTensor((0,), (), DType.INT64))
    for tap, there in pairs:
        outside = s.binary(BinaryFn.LESS, place, zero)
        same = s.binary(BinaryFn.LOGICAL_AND, s.binary(BinaryFn.EQUAL, tap, best), outside)
        taken = s.binary(BinaryFn.LOGICAL_OR, s.binary(BinaryFn.GREATER, tap, best), same)
        best, place = s.op(ops.Select(), taken, tap, best), s.op(ops.Select(), taken, there, place)
    return best, place


def _along(s: Steps, image: Node, window: Window, axis: int) -> Iterator[Node]:
    """Yield the element of every window at each place along an axis."""
    at, shape, rank = axis + FIRST, image.type.shape, image.type.rank
    count = floor_div(shape[at] - window.extent[axis], window.stride[axis]) + 1
    sizes = tuple(count if a == at else size for a, size in enumerate(shape))
    strides = tuple(window.stride[axis] if a == at else 1 for a in range(rank))
    for i in range(window.size[axis]):
        begin = tuple(i * window.dilation[axis] if a == at else 0 for a in range(rank))
        yield s.op(ops.Slice(begin, sizes, strides), image)
