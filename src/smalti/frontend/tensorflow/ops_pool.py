"""Maximum over windows together with where it was found, and normalisation over neighbouring channels."""

from __future__ import annotations

import numpy as np

from smalti.frontend.lower import norms, window
from smalti.frontend.lower.checks import Size
from smalti.frontend.lower.fill import kept
from smalti.frontend.lower.steps import Steps
from smalti.frontend.tensorflow.ops_conv import pair_of, read_padding
from smalti.frontend.tensorflow.registry import Context, Handled, tf_op
from smalti.frontend.tensorflow.tensors import TfType
from smalti.frontend.values import Value
from smalti.ir import ops
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, Layout, PadMode, Pads, UnaryFn
from smalti.numerics import DType

MOST_TAPS = 256
"""Elements of a window whose positions are asked for: each is a step."""


@tf_op("MaxPoolWithArgmax", inputs=1, types={"T": 0}, note="windows of at most 256 elements; int32 or int64 positions")
def max_pool_with_argmax(ctx: Context) -> Handled:
    """The largest element of each window, and where it stands in the image (or batch) counted through; the first."""
    size = pair_of(ctx, ctx.attrs.ints("ksize"), "ksize", Layout.NHWC)
    stride = pair_of(ctx, ctx.attrs.ints("strides"), "strides", Layout.NHWC)
    padding = read_padding(ctx, Layout.NHWC)
    whole_batch = ctx.attrs.flag("include_batch_in_index", False)
    kind = ctx.attrs.kind("Targmax", TfType.INT64)
    if kind not in (TfType.INT32, TfType.INT64):
        ctx.unsupported(f"Targmax {kind.label}")
    if size[0] * size[1] > MOST_TAPS:
        ctx.unsupported(f"positions in a window of more than {MOST_TAPS} elements")
    x = ctx.value(0)
    pooled = window.pool(ctx, x, ops.PoolFn.MAX, size, stride, padding, Layout.NHWC)
    pads = pooled.node.op.pads if pooled.node is not None and isinstance(pooled.node.op, ops.Pool) else (0, 0, 0, 0)
    places = _Places(ctx, x, size, stride, pads, pooled.type.shape).counted(whole_batch)
    return pooled, ctx.emit(ops.Cast(DType.INT32 if kind is TfType.INT32 else DType.INT64), (places,), 1)


class _Places:
    """The steps that find where the largest element of each window stands.

    Beyond the border its nearest element is repeated, and stands where that stands: it is in the window too, and in
    the same order, so the first of the largest stays the first.
    """

    __slots__ = ("_ctx", "_numbers", "_pads", "_s", "_shape", "_size", "_stride", "_x")

    def __init__(
        self,
        ctx: Context,
        x: Value,
        size: tuple[int, int],
        stride: tuple[int, int],
        pads: Pads,
        shape: tuple[Size, ...],
    ) -> None:
        self._ctx, self._x, self._size, self._stride, self._pads, self._shape = ctx, x, size, stride, pads, shape
        self._s = Steps(ctx, x.type.dtype, exact=True)
        self._numbers: dict[Size, Node] = {}

    def counted(self, whole_batch: bool) -> Node:
        """Return positions: ``(row * width + column) * channels + channel``, with the image before the row."""
        s, (images, height, width, channels) = self._s, self._x.type.shape
        tap = self._tap()
        across = s.binary(BinaryFn.FLOOR_DIV, tap, self._number(self._size[1]))
        row = self._inside(0, across, height)
        column = self._inside(1, s.binary(BinaryFn.FLOOR_MOD, tap, self._number(self._size[1])), width)
        if whole_batch:
            row = s.add(s.mul(self._line(images, 0), self._number(height)), row)
        found = s.add(s.mul(row, self._number(width)), column)
        return s.add(s.mul(found, self._number(channels)), self._line(channels, 3))

    def _tap(self) -> Node:
        """Return which element of its window is the first of the largest, counted row by row."""
        s, pads = self._s, self._pads
        image = s.take(self._x)
        if any(pad != 0 for pad in pads):
            image = s.op(ops.Pad(((0, 0), pads[:2], pads[2:], (0, 0)), PadMode.EDGE), image)
        best = self._slice(image, 0, 0)
        place = s.op(ops.BroadcastTo(self._shape), self._number(0))
        for tap in range(1, self._size[0] * self._size[1]):
            value = self._slice(image, *divmod(tap, self._size[1]))
            larger = s.binary(BinaryFn.GREATER, value, best)
            best = s.op(ops.Select(), larger, value, best)
            place = s.op(ops.Select(), larger, self._number(tap), place)
        return place

    def _slice(self, image: Node, row: int, column: int) -> Node:
        return self._s.op(ops.Slice((0, row, column, 0), self._shape, (1, *self._stride, 1)), image)

    def _inside(self, which: int, tap: Node, extent: Size) -> Node:
        """Return the row (0) or column (1) of an element of a window, the nearest that the image has."""
        s = self._s
        first = self._line(self._shape[1 + which], 1 + which, self._stride[which])
        place = s.binary(BinaryFn.SUB, s.add(first, tap), self._number(self._pads[2 * which]))
        low = s.binary(BinaryFn.MAXIMUM, place, self._number(0))
        return s.binary(BinaryFn.MINIMUM, low, self._number(extent - 1))

    def _line(self, count: Size, axis: int, step: int = 1) -> Node:
        """Return ``0, step, ...`` along an axis of four."""
        line = self._s.op(ops.Iota(0, step, count, DType.INT64))
        return self._s.op(ops.Reshape(tuple(count if a == axis else 1 for a in range(4))), line)

    def _number(self, number: Size) -> Node:
        found = self._numbers.get(number)
        if found is None:
            if isinstance(number, int):
                found = self._ctx.node_of(kept(self._ctx, np.array(number, np.int64), f"number_{number}"))
            else:
                found = self._s.op(ops.SizeTensor((number,), (), DType.INT64))
            self._numbers[number] = found
        return found


@tf_op("LRN", inputs=1, types={"T": 0})
def local_response_norm(ctx: Context) -> Handled:
    """``x / (bias + alpha * sum)^beta``, the sum of the squares of the channels within a radius."""
    radius = ctx.attrs.integer("depth_radius", 5)
    bias, alpha, beta = (ctx.attrs.number(n, d) for n, d in (("bias", 1.0), ("alpha", 1.0), ("beta", 0.5)))
    x = ctx.value(0)
    ctx.require_rank(x, 4)
    if radius < 0:
        ctx.invalid(f"attribute depth_radius is {radius}")
    size = 2 * radius + 1
    return norms.local_response_norm(ctx, x, size, alpha * size, beta, bias, axis=3)


@tf_op("L2Loss", inputs=1, types={"T": 0})
def half_sum_of_squares(ctx: Context) -> Handled:
    """Half the sum of the squares of all elements."""
    (x,) = ctx.floats(0)
    s = Steps(ctx, x.type.dtype)
    squares = s.unary(UnaryFn.SQUARE, s.take(x))
    return s.result(s.mul(s.op(ops.Reduce(ops.ReduceFn.SUM, tuple(range(x.type.rank)), False), squares), 0.5))
