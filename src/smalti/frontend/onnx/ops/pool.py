"""Pooling over windows of images with one or two spatial dimensions, and over whole images."""

from __future__ import annotations

from dataclasses import replace

from smalti.frontend.lower import reduce as plain
from smalti.frontend.lower.steps import Steps
from smalti.frontend.onnx.registry import Context, onnx_op
from smalti.frontend.onnx.windows import Window, plane, read_window, unplane
from smalti.frontend.table import Handled
from smalti.frontend.values import Special, Value
from smalti.ir import ops
from smalti.ir.dims import minimum
from smalti.ir.graph import Node
from smalti.ir.ops import BinaryFn, Layout, Pads, PoolFn, ReduceFn, UnaryFn
from smalti.ir.shapes import windows

MOST_TAPS = 1024
"""Elements of a window whose elements lie apart: each is a step."""
_LOWEST = float("-inf")


@onnx_op("MaxPool", inputs=1, since=(1, 8, 10, 11, 12, 22), ignore=("storage_order",), note="floats; not Indices")
def max_pool(ctx: Context) -> Handled:
    """The largest element of each window."""
    x = ctx.floats(0)[0]
    window = _window(ctx, x)
    s = Steps(ctx, x.type.dtype, exact=True)
    image = plane(s, x)
    pooled = _pooled(s, image, window, PoolFn.MAX) if window.dilation == (1, 1) else _taps(ctx, s, image, window)
    return s.result(unplane(s, pooled, x.type.rank)), Special.ABSENT


@onnx_op("AveragePool", inputs=1, since=(1, 7, 10, 11, 19, 22), note="no dilations")
def average_pool(ctx: Context) -> Handled:
    """The mean of each window; paddings count where ``count_include_pad`` says so."""
    padded = ctx.attrs.flag("count_include_pad", False)
    x = ctx.floats(0)[0]
    window = _window(ctx, x)
    _refuse_dilation(ctx, window)
    s = Steps(ctx, x.type.dtype, exact=True)
    image = plane(s, x)
    pads = None
    if padded:
        image, pads = _filled(s, image, window)
    return s.result(unplane(s, _pooled(s, image, window, PoolFn.AVG, pads), x.type.rank))


@onnx_op("LpPool", inputs=1, since=(2, 11, 18, 22), note="p 1 and 2; no dilations, no ceil_mode")
def lp_pool(ctx: Context) -> Handled:
    """The p-norm of each window."""
    p = _order(ctx)
    x = ctx.floats(0)[0]
    window = _window(ctx, x)
    _refuse_dilation(ctx, window)
    if window.ceil:
        ctx.unsupported("ceil_mode=1 of a norm")
    s = Steps(ctx, x.type.dtype)
    image, pads = _filled(s, plane(s, x), window)
    powers = s.unary(UnaryFn.ABS if p == 1 else UnaryFn.SQUARE, image)
    total = s.mul(_pooled(s, powers, window, PoolFn.AVG, pads), float(window.size[0] * window.size[1]))
    norm = total if p == 1 else s.unary(UnaryFn.SQRT, total)
    return s.result(unplane(s, norm, x.type.rank))


@onnx_op("GlobalAveragePool", "GlobalMaxPool", inputs=1, since=(1, 22))
def global_pool(ctx: Context) -> Handled:
    """The mean or the largest element of each channel."""
    fn = ReduceFn.MEAN if ctx.op == "GlobalAveragePool" else ReduceFn.MAX
    x = ctx.floats(0)[0]
    return plain.reduce(ctx, fn, x, tuple(range(2, x.type.rank)), True)


@onnx_op("GlobalLpPool", inputs=1, since=(2, 22), note="p 1 and 2")
def global_lp_pool(ctx: Context) -> Handled:
    """The p-norm of each channel."""
    p = _order(ctx)
    x = ctx.floats(0)[0]
    s = Steps(ctx, x.type.dtype)
    powers = s.unary(UnaryFn.ABS if p == 1 else UnaryFn.SQUARE, s.take(x))
    total = s.op(ops.Reduce(ReduceFn.SUM, tuple(range(2, x.type.rank)), True), powers)
    return s.result(total if p == 1 else s.unary(UnaryFn.SQRT, total))


def _order(ctx: Context) -> int:
    p = ctx.attrs.integer("p", 2)
    if p not in (1, 2):
        ctx.unsupported(f"p={p}")
    return p


def _window(ctx: Context, x: Value) -> Window:
    ceil = ctx.attrs.flag("ceil_mode", False)
    window = replace(read_window(ctx, x.type.rank), ceil=ceil)
    for axis in (0, 1):
        if max(window.pads[2 * axis : 2 * axis + 2]) >= window.extent[axis]:
            ctx.invalid("a window would see padding alone")
    return window


def _refuse_dilation(ctx: Context, window: Window) -> None:
    if any(d > 1 and k > 1 for d, k in zip(window.dilation, window.size, strict=True)):
        ctx.unsupported(f"dilations {list(window.dilation)} of an average or a norm")


def _pooled(s: Steps, image: Node, window: Window, fn: PoolFn, pads: Pads | None = None) -> Node:
    if pads is None:
        pads = window.pads_for((image.type.shape[2], image.type.shape[3]))
    return s.op(ops.Pool(fn, window.size, window.stride, pads, Layout.NCHW), image)


def _filled(s: Steps, image: Node, window: Window) -> tuple[Node, Pads]:
    """Return images whose paddings are zeros that count, and what is left of them: the room for a last window."""
    sides = image.type.shape[2], image.type.shape[3]
    top, bottom, left, right = window.pads_for(sides)
    stated = replace(window, ceil=False).pads_for(sides)
    below, beside = minimum(bottom, stated[1]), minimum(right, stated[3])
    amounts = ((0, 0), (0, 0), (top, below), (left, beside))
    if amounts != ((0, 0),) * 4:
        image = s.op(ops.Pad(amounts), image)
    return image, (0, bottom - below, 0, right - beside)


def _taps(ctx: Context, s: Steps, image: Node, window: Window) -> Node:
    """Return the largest of elements that lie apart: one image for each place in the window."""
    if window.size[0] * window.size[1] > MOST_TAPS:
        ctx.unsupported(f"dilations of a window of more than {MOST_TAPS} elements")
    pads = window.pads_for((image.type.shape[2], image.type.shape[3]))
    if any(pad != 0 for pad in pads):
        image = s.op(ops.Pad(((0, 0), (0, 0), pads[:2], pads[2:]), ops.PadMode.CONSTANT, _LOWEST), image)
    none = (0, 0, 0, 0)
    size = windows(image.type.shape, Layout.NCHW, window.size, window.stride, window.dilation, none)
    shape = (*image.type.shape[:2], *size)
    best: Node | None = None
    for ky in range(window.size[0]):
        for kx in range(window.size[1]):
            begin = (0, 0, ky * window.dilation[0], kx * window.dilation[1])
            tap = s.op(ops.Slice(begin, shape, (1, 1, *window.stride)), image)
            best = tap if best is None else s.binary(BinaryFn.MAXIMUM, best, tap)
    return best if best is not None else image
